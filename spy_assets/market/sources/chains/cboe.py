"""CBOE's delayed quotes: the JSON of its web site, and files of the same.

A snapshot of the whole chain, 15 minutes late, without a key. Times of the envelope are UTC, times
of trades New York's wall clock. Options of broad funds and indices trade until 16:15: after the
close their quotes are from 16:15, the underlying's `close` from 16:00, and `current_price` is an
after-hours trade. A price of 0 beside no trade time is no price; an IV of 0 is no IV, and the Greeks
beside it (delta 1, the rest 0) are none either.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from spy_assets.errors import NotProvided, SchemaDrift
from spy_assets.market.schemas import TIMESTAMP, require_names
from spy_assets.market.sources.chains.client import VendorClient
from spy_assets.market.sources.chains.drops import Drops, named_day, opening
from spy_assets.market.sources.chains.protocol import (
    SnapshotSource,
    open_session,
    opened_by,
    snapshot_at,
)
from spy_assets.market.sources.chains.rows import (
    Types,
    finish,
    index_prefix,
    known_iv,
    new_york,
    reading,
    require_field,
    require_rows,
    require_symbol,
    table,
    traded,
    vendor_greeks,
)
from spy_assets.market.sources.http import Gate
from spy_assets.options.chain import RawChain
from spy_assets.sessions import session_close

NAME = "cboe"
BASE_URL = "https://cdn.cboe.com"
DELAY = timedelta(minutes=15)

_NUMBERS = (
    *("bid", "bid_size", "ask", "ask_size", "iv", "open_interest", "volume"),
    *("delta", "gamma", "vega", "theta", "rho", "last_trade_price"),
)
_TYPES: Types = {
    "option": pl.String(),
    **dict.fromkeys(_NUMBERS, pl.Float64()),
    "last_trade_time": pl.String(),
}
_IGNORED = ("theo", "change", "open", "high", "low", "percent_change", "prev_day_close", "tick")
_FILE_ONLY = ("session_date", "ticker", "expiry", "right", "strike")
_UNDERLYING = ("session_date", "ticker", "fetched_at_utc", "payload_timestamp")


def _canonical(
    quotes: pl.DataFrame, quoted_at: datetime | None, spot: float | None
) -> pl.DataFrame:
    """`last_trade_time` is naive New York time; the result lacks what `finish` adds."""
    read = known_iv(pl.col("iv"))
    return quotes.select(
        "option",
        "bid",
        "ask",
        "bid_size",
        "ask_size",
        traded(pl.col("last_trade_price"), where=pl.col("last_trade_time").is_not_null()).alias(
            "last"
        ),
        new_york(pl.col("last_trade_time")).alias("last_at"),
        "volume",
        "open_interest",
        read.alias("vendor_iv"),
        *vendor_greeks(known=read.is_not_null()),
        pl.lit(spot, pl.Float64).alias("spot"),
        pl.lit(quoted_at, TIMESTAMP).alias("quoted_at"),
    )


def _spot(quoted_at: datetime, current: float | None, close: float | None) -> float | None:
    """The close once the session is over; before, the last price."""
    over = quoted_at >= session_close(open_session(quoted_at))
    value = close if over else current
    return value if value is not None and value > 0 else None


class CboeChains(SnapshotSource):
    """The delayed quotes of today.

    Parameters
    ----------
    gate
        Budget and retries of the run.
    base_url
        Another host than CBOE's.
    """

    name = NAME
    delay = DELAY

    def __init__(self, gate: Gate, *, base_url: str = BASE_URL) -> None:
        self._gate = gate
        self._base_url = base_url

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """The whole chain in one request."""
        self.require_now(symbol, session, now)
        path = f"/api/global/delayed_quotes/options/{index_prefix(symbol, '_')}.json"
        with VendorClient(self._base_url, self._gate) as client:
            body = client.get_json(path, {})
        return read_delayed_quotes(body, symbol, session, available_at=now)


@reading(NAME)
def read_delayed_quotes(
    body: Any, symbol: str, session: date, *, available_at: datetime
) -> RawChain:
    """The chain in a parsed body of delayed quotes.

    Raises
    ------
    SchemaDrift
        If fields are missing or new.
    WrongContent
        If the body is about another symbol.
    """
    what = f"{NAME} {symbol}"
    data = require_field(body, "data", what)
    require_symbol(data, "symbol", symbol, what)
    moment = _utc(require_field(body, "timestamp", what), what) - DELAY
    quoted_at = snapshot_at(symbol, moment)
    spot = _spot(
        quoted_at, require_field(data, "current_price", what), require_field(data, "close", what)
    )
    rows = require_rows(require_field(data, "options", what), what)
    quotes = table(rows, _TYPES, what, ignored=_IGNORED)
    quotes = quotes.with_columns(pl.col("last_trade_time").str.to_datetime(time_unit="us"))
    return finish(
        _canonical(quotes, quoted_at, spot),
        symbol=symbol,
        session=session,
        source=NAME,
        available_at=available_at,
        ticker="option",
    )


def _utc(text: object, what: str) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError as error:
        raise SchemaDrift(
            f"{what}: {text!r} is not a time", hint="the vendor changed its format"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class CboeFileChains(Drops):
    """Files of delayed quotes: `chains/cboe/SYMBOL/DAY.parquet` and `chains/cboe/underlying.parquet`.

    A file's name says which session it is of; nothing makes it so. `quoted_at` is from the envelope
    that `underlying.parquet` kept (null without one), so that the checks can tell.
    """

    name = NAME

    def _file(self, symbol: str, session: date) -> Path:
        return self._folder / symbol / f"{session.isoformat()}.parquet"

    def sessions(self, symbol: str, *, now: datetime) -> Sequence[date]:
        """The days that have a file."""
        files = (self._folder / symbol).glob("????-??-??.parquet")
        return opened_by(filter(None, (named_day(path.stem) for path in files)), now)

    @reading(NAME)
    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """The file of that day.

        Raises
        ------
        NotProvided
            If there is no file.
        SchemaDrift
            If its columns are not the vendor's.
        """
        path = self._file(symbol, session)
        if not path.is_file():
            raise NotProvided(
                f"no file {path.relative_to(self._folder.parent.parent)}",
                hint=f"there are files for {[str(d) for d in self.sessions(symbol, now=now)]}",
            )
        with opening(path):
            quotes = pl.read_parquet(path)
        known = {*_IGNORED, *_FILE_ONLY}
        require_names([name for name in quotes.columns if name not in known], _TYPES, str(path))
        quoted_at, spot, fetched_at = self._envelope(symbol, session)
        return finish(
            _canonical(quotes, quoted_at, spot),
            symbol=symbol,
            session=session,
            source=NAME,
            available_at=min(fetched_at, now) if fetched_at else now,
            ticker="option",
        )

    def _envelope(
        self, symbol: str, session: date
    ) -> tuple[datetime | None, float | None, datetime | None]:
        """When the quotes are from, the underlying's price, and when they were fetched."""
        path = self._folder / "underlying.parquet"
        if not path.is_file():
            return None, None, None
        with opening(path):
            kept = pl.read_parquet(path)
        missing = {*_UNDERLYING, "close", "current_price"} - {*kept.columns}
        if missing:
            raise SchemaDrift(f"{path}: missing {sorted(missing)}", hint="docs/chains.md")
        ticker = index_prefix(symbol, "_")
        day = pl.col("session_date").cast(pl.String) == session.isoformat()
        rows = kept.filter(day & (pl.col("ticker") == ticker)).to_dicts()
        if not rows:
            return None, None, None
        row = rows[-1]
        quoted_at = snapshot_at(symbol, _utc(row["payload_timestamp"], str(path)) - DELAY)
        spot = _spot(quoted_at, row["current_price"], row["close"])
        return quoted_at, spot, _utc(row["fetched_at_utc"], str(path))
