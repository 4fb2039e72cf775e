"""OptionsDX: text files of end-of-day chains, a call and a put in each line.

Drops are `chains/optionsdx/SYMBOL/*.txt` (or .csv) as the vendor names them
(`spy_eod_202301.txt`, a month each). Columns are in brackets; a blank is a missing number; a size
is "bid x ask". The quote's moment is a Unix time in seconds. There is no open interest and no OCC
symbol, so the symbol itself is taken for the option root: weekly roots (SPXW) cannot be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import polars as pl

from spy_assets.errors import EmptyResponse, NotProvided
from spy_assets.market.sources.chains.protocol import files_out, opened_by
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


class OptionsDxChains:
    """The files of a folder.

    Parameters
    ----------
    root
        The folder of files, as for the `files` source.
    """

    name = NAME

    def __init__(self, root: Path) -> None:
        self._folder = root / "chains" / "optionsdx"

    def _files(self, symbol: str) -> list[Path]:
        folder = self._folder / symbol
        return sorted(path for path in folder.glob("*") if path.suffix in {".txt", ".csv"})

    def sessions(self, symbol: str, *, now: datetime) -> Sequence[date]:
        """The days of all files' lines."""
        days: set[str] = set()
        for path in self._files(symbol):
            days |= set(_lines(path, ["QUOTE_DATE"])["QUOTE_DATE"].str.strip_chars())
        return opened_by(map(date.fromisoformat, days), now)

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """The lines of that day.

        Raises
        ------
        NotProvided
            If no file has a line of it.
        SchemaDrift
            If a file's columns are not the vendor's.
        """
        files = self._files(symbol)
        # A file of a month has it in its name; a file without one may hold any day.
        named = [path for path in files if f"{session:%Y%m}" in path.stem]
        for path in named or files:
            rows = _lines(path).filter(
                pl.col("QUOTE_DATE").str.strip_chars() == session.isoformat()
            )
            if not rows.is_empty():
                return read_lines(rows, symbol, session, now=now, what=path.name)
        raise NotProvided(
            f"no line of {session} in {[path.name for path in files]}",
            hint="put the vendor's file of that month into the folder (docs/chains.md)",
        )


def _lines(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    frame = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=False)
    frame = frame.rename(lambda name: name.strip().strip("[]"))
    if frame.is_empty():
        raise EmptyResponse(f"{path.name}: not one line", hint="fetch it again from the vendor")
    return frame.select(columns) if columns else frame


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
