"""CBOE DataShop: CSV files of option quotes, end of day or at intervals, with or without Greeks.

Drops are `chains/datashop/SYMBOL/*.csv` (or .zip of one CSV) as the vendor names them, for instance
`UnderlyingOptionsEODCalcs_2024-03-07.csv` (https://datashop.cboe.com/option-eod-summary). The
end-of-day product has two snapshots: 15:45 New York (12:45 on half days since 2020-02-05), of which
its Greeks are, and the end of trading. The interval product has one line per contract and moment;
the last moment of the session is taken. An OHLC of 0 means that there was no trade.
"""

from __future__ import annotations

import zipfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

import polars as pl

from spy_assets.errors import WrongContent
from spy_assets.market.schemas import TIMESTAMP
from spy_assets.market.sources.chains.drops import LineDrops
from spy_assets.market.sources.chains.protocol import files_out
from spy_assets.market.sources.chains.rows import (
    Types,
    finish,
    is_of,
    known_iv,
    new_york,
    read_csv_columns,
    reading,
    traded,
    vendor_greeks,
)
from spy_assets.options.chain import RawChain
from spy_assets.options.expiries import options_close
from spy_assets.sessions import session_close

NAME = "datashop"
Snapshot = Literal["eod", "1545"]
#: How long before the close the first snapshot is.
BEFORE_CLOSE = timedelta(minutes=15)

_F, _S = pl.Float64(), pl.String()
_BARS: Types = dict.fromkeys(("open", "high", "low", "close", "trade_volume"), _F)
_CONTRACT: Types = {
    "root": _S,
    "expiration": _S,
    "strike": _F,
    "option_type": _S,
    **_BARS,
}
_SIDES = ("bid_size", "bid", "ask_size", "ask", "underlying_bid", "underlying_ask")
_CALCS: tuple[str, ...] = (
    "implied_underlying_price",
    "active_underlying_price",
    "implied_volatility",
)
_CALCS += ("delta", "gamma", "theta", "vega", "rho")
_EOD: Types = {
    "underlying_symbol": _S,
    "quote_date": _S,
    **_CONTRACT,
    **{f"{name}_1545": _F for name in (*_SIDES, *_CALCS)},
    **{f"{name}_eod": _F for name in _SIDES},
    "vwap": _F,
    "open_interest": _F,
    "delivery_code": _S,
}
_INTERVAL: Types = {
    "underlying_symbol": _S,
    "quote_datetime": _S,
    **_CONTRACT,
    **dict.fromkeys((*_SIDES, *_CALCS), _F),
    "open_interest": _F,
}
_OPTIONAL = {"vwap", "open_interest", "delivery_code", *_CALCS, *(f"{n}_1545" for n in _CALCS)}


class DataShopChains(LineDrops):
    """The files of a folder.

    Parameters
    ----------
    root
        The folder of files, as for the `files` source.
    snapshot
        Of the end-of-day product: `"eod"` (without Greeks, which are of 15:45) or `"1545"`.
    """

    name = NAME
    suffixes = (".csv", ".zip")
    dated = "%Y-%m-%d"
    first_column = "underlying_symbol"

    def __init__(self, root: Path, *, snapshot: Snapshot = "eod") -> None:
        super().__init__(root)
        self.snapshot = snapshot

    def open(self, path: Path) -> bytes:
        """The text of a file, or of the CSV in a zip."""
        if path.suffix.lower() != ".zip":
            return super().open(path)
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".csv")]
            if not names:
                raise WrongContent(f"{path.name}: no CSV in it", hint="fetch it again")
            return archive.read(names[0])

    def column(self, name: str) -> str:
        """Columns are in lower case."""
        return name.lower()

    def own(self, lines: pl.DataFrame, symbol: str) -> pl.DataFrame:
        """Those whose option root is one of the symbol's."""
        return lines.filter(is_of(symbol, pl.col("root")))

    def days(self, lines: pl.DataFrame) -> pl.Series:
        """The day of each line."""
        named = "quote_datetime" if "quote_datetime" in lines.columns else "quote_date"
        return lines[named].str.slice(0, 10)

    def read(
        self, lines: pl.DataFrame, symbol: str, session: date, *, now: datetime, what: str
    ) -> RawChain:
        """See :func:`read_lines`."""
        return read_lines(lines, symbol, session, now=now, what=what, snapshot=self.snapshot)


@reading(NAME)
def read_lines(
    lines: pl.DataFrame,
    symbol: str,
    session: date,
    *,
    now: datetime,
    what: str,
    snapshot: Snapshot = "eod",
) -> RawChain:
    """The chain in lines of strings of one session.

    Raises
    ------
    SchemaDrift
        If columns are missing or new, or hold no numbers.
    """
    interval = "quote_datetime" in lines.columns
    types = _INTERVAL if interval else _EOD
    frame = read_csv_columns(lines, types, what, optional=_OPTIONAL)
    absent = [name for name in types if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, types[name]).alias(name) for name in absent)
    chain = _interval(frame) if interval else _end_of_day(frame, symbol, session, snapshot)
    return finish(
        chain,
        symbol=symbol,
        session=session,
        source=NAME,
        available_at=min(files_out(session), now),
    )


def _end_of_day(
    frame: pl.DataFrame, symbol: str, session: date, snapshot: Snapshot
) -> pl.DataFrame:
    ended = options_close(session, symbol)
    early = snapshot == "1545"
    moment = session_close(session) - BEFORE_CLOSE if early else ended
    known = pl.lit(early)
    suffix = f"_{snapshot}"
    greeks = {name: f"{name}_1545" for name in ("delta", "gamma", "theta", "vega", "rho")}
    iv = known_iv(pl.col("implied_volatility_1545"), also=known)
    standard = pl.col("delivery_code").is_null() | pl.col("delivery_code").is_in(["0", ""])
    return frame.select(
        *_contract(),
        pl.lit(moment).cast(TIMESTAMP).alias("quoted_at"),
        *_quote(suffix),
        "open_interest",
        (~standard).alias("is_adjusted"),
        iv.alias("vendor_iv"),
        *vendor_greeks(known=iv.is_not_null(), **greeks),
    )


def _interval(frame: pl.DataFrame) -> pl.DataFrame:
    """The lines of the last moment; volumes are of an interval each, and added up."""
    moment = new_york(pl.col("quote_datetime"), "%Y-%m-%d %H:%M:%S").cast(TIMESTAMP)
    contract = ["root", "expiration", "strike", "option_type"]
    dated = (
        frame.with_columns(moment.alias("quoted_at"))
        .sort("quoted_at", maintain_order=True)
        .with_columns(
            pl.col("trade_volume").sum().over(contract),
            traded(pl.col("close")).forward_fill().over(contract).alias("close"),
        )
    )
    iv = known_iv(pl.col("implied_volatility"))
    return dated.filter(pl.col("quoted_at") == pl.col("quoted_at").max()).select(
        *_contract(),
        "quoted_at",
        *_quote(""),
        "open_interest",
        iv.alias("vendor_iv"),
        *vendor_greeks(known=iv.is_not_null()),
    )


def _contract() -> list[pl.Expr]:
    return [
        pl.col("root"),
        pl.col("expiration").str.to_date().alias("expiry"),
        pl.col("strike"),
        pl.col("option_type").str.slice(0, 1).str.to_uppercase().alias("right"),
        traded(pl.col("close")).alias("last"),
        pl.col("trade_volume").alias("volume"),
    ]


def _quote(suffix: str) -> list[pl.Expr]:
    bid, ask = pl.col(f"underlying_bid{suffix}"), pl.col(f"underlying_ask{suffix}")
    middle = pl.when((bid > 0) & (ask > 0)).then((bid + ask) / 2)
    sides = [
        pl.col(f"{name}{suffix}").alias(name) for name in ("bid", "ask", "bid_size", "ask_size")
    ]
    return [*sides, middle.alias("spot")]
