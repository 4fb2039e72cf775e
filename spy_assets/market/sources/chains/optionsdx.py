"""OptionsDX: text files of end-of-day chains, a call and a put in each line.

Drops are `chains/optionsdx/SYMBOL/*.txt` (or .csv) as the vendor names them
(`spy_eod_202301.txt`, a month each). Columns are in brackets; a blank is a missing number; a size
is "bid x ask". The quote's moment is a Unix time in seconds. There is no open interest and no OCC
symbol, so the symbol itself is taken for the option root: weekly roots (SPXW) cannot be told.
"""

from __future__ import annotations

import re
from datetime import date, datetime

import polars as pl

from spy_assets.market.sources.chains.drops import LineDrops
from spy_assets.market.sources.chains.protocol import files_out
from spy_assets.market.sources.chains.rows import (
    Types,
    epoch,
    finish,
    known_iv,
    read_csv_columns,
    reading,
    traded,
    vendor_greeks,
)
from spy_assets.options.chain import RawChain

NAME = "optionsdx"
_OF = re.compile(r"([a-z]+)_(?:eod|[0-9]+x)_", re.IGNORECASE)

_F, _I, _S = pl.Float64(), pl.Int64(), pl.String()
_SHARED: Types = {
    "QUOTE_UNIXTIME": _I,
    "QUOTE_READTIME": _S,
    "QUOTE_DATE": _S,
    "QUOTE_TIME_HOURS": _F,
    "UNDERLYING_LAST": _F,
    "EXPIRE_DATE": _S,
    "EXPIRE_UNIX": _I,
    "DTE": _F,
    "STRIKE": _F,
    "STRIKE_DISTANCE": _F,
    "STRIKE_DISTANCE_PCT": _F,
}
_NUMBERS = ("BID", "ASK", "LAST", "VOLUME", "IV", "DELTA", "GAMMA", "VEGA", "THETA", "RHO")
_TYPES: Types = {
    **_SHARED,
    **{f"{side}_{name}": _F for side in "CP" for name in _NUMBERS},
    "C_SIZE": _S,
    "P_SIZE": _S,
}


class OptionsDxChains(LineDrops):
    """The files of a folder."""

    name = NAME
    suffixes = (".txt", ".csv")
    dated = "%Y%m"
    first_column = "[quote_unixtime]"

    def column(self, name: str) -> str:
        """Columns lose their brackets."""
        return name.strip("[]")

    def own(self, lines: pl.DataFrame, symbol: str) -> pl.DataFrame:
        """All, unless the vendor's name of a file that was given alone has another symbol."""
        named = _OF.match(self.only.stem) if self.only is not None else None
        return lines if named is None or named[1].upper() == symbol else lines.clear()

    def days(self, lines: pl.DataFrame) -> pl.Series:
        """The day of each line."""
        return lines["QUOTE_DATE"].str.strip_chars()

    def read(
        self, lines: pl.DataFrame, symbol: str, session: date, *, now: datetime, what: str
    ) -> RawChain:
        """See :func:`read_lines`."""
        return read_lines(lines, symbol, session, now=now, what=what)


@reading(NAME)
def read_lines(
    lines: pl.DataFrame, symbol: str, session: date, *, now: datetime, what: str
) -> RawChain:
    """The chain in lines of strings, whose columns have lost their brackets.

    Raises
    ------
    SchemaDrift
        If columns are missing or new, or hold no numbers.
    """
    frame = read_csv_columns(lines, _TYPES, what)
    frame = pl.concat([_side(frame, side) for side in ("C", "P")])
    return finish(
        frame.with_columns(pl.lit(symbol).alias("root")).sort("expiry", "strike", "right"),
        symbol=symbol,
        session=session,
        source=NAME,
        available_at=min(files_out(session), now),
    )


def _side(frame: pl.DataFrame, side: str) -> pl.DataFrame:
    sizes = pl.col(f"{side}_SIZE").str.extract_groups(r"^\s*(\d+)\s*x\s*(\d+)\s*$")
    iv = known_iv(pl.col(f"{side}_IV"))
    names = {name: f"{side}_{name.upper()}" for name in ("delta", "gamma", "vega", "theta", "rho")}
    return frame.select(
        pl.col("EXPIRE_DATE").str.to_date().alias("expiry"),
        pl.lit(side).alias("right"),
        pl.col("STRIKE").alias("strike"),
        epoch(pl.col("QUOTE_UNIXTIME"), "s").alias("quoted_at"),
        pl.col(f"{side}_BID").alias("bid"),
        pl.col(f"{side}_ASK").alias("ask"),
        sizes.struct[0].cast(pl.Int64).alias("bid_size"),
        sizes.struct[1].cast(pl.Int64).alias("ask_size"),
        traded(pl.col(f"{side}_LAST")).alias("last"),
        pl.col(f"{side}_VOLUME").alias("volume"),
        iv.alias("vendor_iv"),
        *vendor_greeks(known=iv.is_not_null(), **names),
        pl.col("UNDERLYING_LAST").alias("spot"),
    )
