"""Yahoo's option chains: its v7 JSON through yfinance's own client, and files of such snapshots.

One request per expiry. yfinance supplies the cookie and the crumb that Yahoo wants; its frames are
not used, since they fill renamed columns with NaN. Yahoo gives no sizes, no Greeks, and no time of
the quotes: they are dated by the latest trade of the whole chain, which is never too late. An
implied volatility of 1e-5, or beside an empty quote, stands for none. `volume` is that of the day
of the last trade: measured on real snapshots, nine in ten contracts that did not trade today carry
the volume of an earlier day. Of those it is 0 here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from curl_cffi.requests import Response
from curl_cffi.requests.exceptions import RequestException

from spy_assets.errors import NotProvided, SourceUnavailable
from spy_assets.market.schemas import TIMESTAMP, require_names
from spy_assets.market.sources.chains.client import gather_all
from spy_assets.market.sources.chains.drops import Drops, opening
from spy_assets.market.sources.chains.protocol import (
    SnapshotSource,
    open_session,
    opened_by,
    snapshot_at,
)
from spy_assets.market.sources.chains.rows import (
    Types,
    epoch,
    finish,
    index_prefix,
    is_of,
    known_iv,
    reading,
    require_field,
    require_rows,
    require_symbol,
    table,
    traded,
)
from spy_assets.market.sources.http import Answer, Gate, redact
from spy_assets.market.sources.yahoo import YahooSession
from spy_assets.options.chain import RawChain
from spy_assets.options.expiries import options_close
from spy_assets.sessions import is_session, previous_session

NAME = "yfinance"
#: How late Yahoo's option quotes are at most.
DELAY = timedelta(minutes=15)
_OPTIONS = "/v7/finance/options/"
_HOST = "https://query2.finance.yahoo.com"
#: Shares per contract by Yahoo's word for it.
_SIZES = {"REGULAR": 100, "MINI": 10}

_OPTIONAL = ("bid", "ask", "volume", "openInterest", "lastPrice", "lastTradeDate")
_TYPES: Types = {
    "contractSymbol": pl.String(),
    "strike": pl.Float64(),
    "contractSize": pl.String(),
    "impliedVolatility": pl.Float64(),
    "expiration": pl.Int64(),
    **dict.fromkeys(_OPTIONAL[:-1], pl.Float64()),
    "lastTradeDate": pl.Int64(),
}
_IGNORED = ("currency", "change", "percentChange", "inTheMoney")

_FILE: tuple[str, ...] = (
    "contractSymbol",
    "lastTradeDate",
    "strike",
    "lastPrice",
    "bid",
    "ask",
    "volume",
)
_FILE += ("openInterest", "impliedVolatility", "contractSize", "underlyingPrice")
_FILE_KNOWN = {"change", "percentChange", "inTheMoney", "currency", "optionType", "expirationDate"}
_FILE_KNOWN |= {"days_to_expire", "time_to_expire_years", "moneyness", "src_file"}
_PLAIN: tuple[str, ...] = (
    "date",
    "maturity_date",
    "underlying",
    "underlying_price",
    "strike",
    "option_type",
)
_PLAIN += ("bid", "ask", "volume", "open_interest")
_PLAIN_KNOWN = {"time_to_expiry", "mid", "risk_free_rate", "dividend_yield"}


class OptionsSession(YahooSession):
    """As :class:`YahooSession`, for the options pages.

    A 401 goes back to yfinance, which then takes another cookie and asks once more.
    """

    guarded = _OPTIONS

    def view(self, response: Response) -> Answer:
        """The answer that is validated."""
        answer = super().view(response)
        return replace(answer, status=200, body=b"{}") if answer.status == 401 else answer


class YahooChains(SnapshotSource):
    """The chain of today.

    Parameters
    ----------
    gate
        Budget and retries of the run.
    base_url
        Another host than Yahoo's.
    """

    name = NAME

    def __init__(self, gate: Gate, *, base_url: str | None = None) -> None:
        self._session = OptionsSession(gate, base_url)

    def _page(self, symbol: str, expiry: int | None) -> dict[str, Any]:
        from yfinance.data import YfData
        from yfinance.exceptions import YFException

        url = f"{_HOST}{_OPTIONS}{index_prefix(symbol, '^')}"
        params = {} if expiry is None else {"date": str(expiry)}
        try:
            body = YfData(session=self._session).get_raw_json(url, params=params)
        except (YFException, RequestException) as error:
            raise SourceUnavailable(
                f"{NAME} {symbol}: {redact(str(error))}",
                hint="Yahoo refused its own cookie; try again later, or update yfinance",
            ) from error
        return _result(body, f"{NAME} {symbol}")

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """All expiries; after a partial failure only the failed ones are asked again."""
        self.require_now(symbol, session, now)
        first = self._page(symbol, None)
        what = f"{NAME} {symbol}"
        listed = [str(day) for day in require_field(first, "expirationDates", what)]
        pages = {str(block["expirationDate"]): first for block in _blocks(first, what)}
        missing = [day for day in listed if day not in pages]
        pages |= gather_all(missing, lambda day: self._page(symbol, int(day)), what=what)
        return read_options(list(pages.values()), symbol, session, now=now)


def _result(body: Any, what: str) -> dict[str, Any]:
    answer = require_field(body, "optionChain", what)
    if require_field(answer, "error", what):
        raise SourceUnavailable(
            f"{what}: Yahoo says {answer['error']!r}", hint="check the symbol; try again later"
        )
    result: dict[str, Any] = require_rows(require_field(answer, "result", what), what)[0]
    return result


def _blocks(result: dict[str, Any], what: str) -> list[dict[str, Any]]:
    return require_rows(require_field(result, "options", what), what)


@reading(NAME)
def read_options(
    results: Sequence[dict[str, Any]], symbol: str, session: date, *, now: datetime
) -> RawChain:
    """The chain in the results of the v7 options JSON, one or more expiries each.

    Raises
    ------
    SchemaDrift
        If fields are missing or new.
    WrongContent
        If a result is about another symbol.
    """
    what = f"{NAME} {symbol}"
    for result in results:
        require_symbol(result, "underlyingSymbol", symbol, what)
    rows = [
        row
        for result in results
        for block in _blocks(result, what)
        for side in ("calls", "puts")
        for row in require_field(block, side, what)
    ]
    quotes = table(require_rows(rows, what), _TYPES, what, optional=_OPTIONAL, ignored=_IGNORED)
    quotes = quotes.with_columns(
        epoch(pl.col("lastTradeDate"), "s").alias("last_at"),
        pl.from_epoch("expiration", time_unit="s").dt.date().alias("expiry"),
    )
    spot = require_field(results[0], "quote", what).get("regularMarketPrice")
    quoted_at = _latest_trade(quotes, symbol, now)
    frame = _canonical(quotes, session=session, quoted_at=quoted_at, spot=pl.lit(spot))
    return finish(
        frame, symbol=symbol, session=session, source=NAME, available_at=now, ticker="ticker"
    )


def _latest_trade(quotes: pl.DataFrame, symbol: str, now: datetime) -> datetime | None:
    latest = quotes["last_at"].max()
    return snapshot_at(symbol, min(latest, now)) if isinstance(latest, datetime) else None


def _canonical(
    quotes: pl.DataFrame, *, session: date, quoted_at: datetime | None, spot: pl.Expr
) -> pl.DataFrame:
    day = pl.col("last_at").dt.convert_time_zone("America/New_York").dt.date()
    quoted = (pl.col("bid") > 0) | (pl.col("ask") > 0)
    return quotes.select(
        pl.col("contractSymbol").alias("ticker"),
        "strike",
        *(["expiry"] if "expiry" in quotes.columns else []),
        pl.col("contractSize")
        .replace_strict(_SIZES, default=None, return_dtype=pl.Int32)
        .alias("multiplier"),
        "bid",
        "ask",
        traded(pl.col("lastPrice")).alias("last"),
        "last_at",
        pl.when(day == session)
        .then(pl.col("volume"))
        .when(day < session)
        .then(0.0)
        .alias("volume"),
        pl.col("openInterest").alias("open_interest"),
        known_iv(pl.col("impliedVolatility"), also=quoted).alias("vendor_iv"),
        spot.cast(pl.Float64).alias("spot"),
        pl.lit(quoted_at, TIMESTAMP).alias("quoted_at"),
    )


@dataclass(frozen=True)
class _Snapshot:
    """One snapshot in a file."""

    frame: pl.DataFrame
    session: date
    quoted_at: datetime | None
    plain: bool


class YahooFileChains(Drops):
    """Files of snapshots, `chains/yfinance/*.parquet`, in yfinance's columns or the plain ones.

    A file may hold several snapshots, told apart by `src_file`. Of several of one session the last
    is given. `lastTradeDate` is UTC, as in yfinance. The plain columns have no time of the last trade,
    so that their volume, which may be of any day, is left out (null).
    """

    name = NAME

    @cached_property
    def _frames(self) -> list[tuple[Path, pl.DataFrame]]:
        found = []
        for path in sorted(self._folder.glob("*.parquet")):
            with opening(path):
                found.append((path, pl.read_parquet(path)))
        return found

    def _snapshots(self, symbol: str) -> Iterator[_Snapshot]:
        for path, frame in self._frames:
            if "contractSymbol" in frame.columns:
                yield from _yfinance_snapshots(path, frame, symbol)
            else:
                yield from _plain_snapshots(path, frame, symbol)

    def sessions(self, symbol: str, *, now: datetime) -> Sequence[date]:
        """The sessions that a snapshot is of."""
        return opened_by((snapshot.session for snapshot in self._snapshots(symbol)), now)

    @reading(NAME)
    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """The last snapshot of that session.

        Raises
        ------
        NotProvided
            If there is none.
        """
        found = [one for one in self._snapshots(symbol) if one.session == session]
        if not found:
            raise NotProvided(
                f"no snapshot of {symbol} in session {session} in {self._folder.name}",
                hint=f"there are {[str(day) for day in self.sessions(symbol, now=now)]}",
            )
        latest = max(
            found, key=lambda one: one.quoted_at.timestamp() if one.quoted_at else float("-inf")
        )
        known_at = min(latest.quoted_at + DELAY, now) if latest.quoted_at else now
        if latest.plain:
            return _plain_chain(latest, symbol, known_at)
        frame = _canonical(
            latest.frame,
            session=session,
            quoted_at=latest.quoted_at,
            spot=pl.col("underlyingPrice"),
        )
        return finish(
            frame,
            symbol=symbol,
            session=session,
            source=NAME,
            available_at=known_at,
            ticker="ticker",
        )


def _yfinance_snapshots(path: Path, frame: pl.DataFrame, symbol: str) -> Iterator[_Snapshot]:
    require_names([n for n in frame.columns if n not in _FILE_KNOWN], _FILE, str(path))
    root = pl.col("contractSymbol").str.extract(r"^(.+)[0-9]{6}[CP][0-9]{8}$", 1)
    own = frame.filter(is_of(symbol, root) | root.is_null())
    parts = (
        own.partition_by("src_file", maintain_order=True) if "src_file" in own.columns else [own]
    )
    for part in parts:
        utc = pl.col("lastTradeDate").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        dated = part.with_columns(utc.alias("last_at"))
        latest = dated["last_at"].max()
        if isinstance(latest, datetime):
            moment = snapshot_at(symbol, latest)
            yield _Snapshot(dated, open_session(moment), moment, plain=False)


def _plain_snapshots(path: Path, frame: pl.DataFrame, symbol: str) -> Iterator[_Snapshot]:
    require_names([n for n in frame.columns if n not in _PLAIN_KNOWN], _PLAIN, str(path))
    for part in frame.filter(pl.col("underlying") == symbol).partition_by("date"):
        day: date = part["date"].cast(pl.Date)[0]
        # On a day without trading the quotes are the last close's; else their time is unknown.
        session = day if is_session(day) else previous_session(day)
        quoted_at = None if session == day else options_close(session, symbol)
        yield _Snapshot(part, session, quoted_at, plain=True)


def _plain_chain(snapshot: _Snapshot, symbol: str, known_at: datetime) -> RawChain:
    frame = snapshot.frame.select(
        pl.lit(symbol).alias("root"),
        pl.col("maturity_date").cast(pl.Date).alias("expiry"),
        pl.col("option_type").str.slice(0, 1).str.to_uppercase().alias("right"),
        "strike",
        "bid",
        "ask",
        "open_interest",
        pl.col("underlying_price").alias("spot"),
        pl.lit(snapshot.quoted_at, TIMESTAMP).alias("quoted_at"),
    )
    return finish(
        frame, symbol=symbol, session=snapshot.session, source=NAME, available_at=known_at
    )
