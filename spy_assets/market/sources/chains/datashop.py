"""CBOE DataShop: CSV files of option quotes, end of day or at intervals, with or without Greeks.

Drops are `chains/datashop/SYMBOL/*.csv` (or .zip of one CSV) as the vendor names them, for instance
`UnderlyingOptionsEODCalcs_2024-03-07.csv` (https://datashop.cboe.com/option-eod-summary). The
end-of-day product has two snapshots: 15:45 New York (12:45 on half days since 2020-02-05), of which
its Greeks are, and the end of trading. The interval product has one line per contract and moment;
the last moment of the session is taken. An OHLC of 0 means that there was no trade.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Literal

import polars as pl

from spy_assets.errors import EmptyResponse, NotProvided, SchemaDrift, WrongContent
from spy_assets.market.schemas import TIMESTAMP
from spy_assets.market.sources.chains.protocol import files_out, opened_by
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


class DataShopChains:
    """The files of a folder.

    Parameters
    ----------
    root
        The folder of files, as for the `files` source.
    snapshot
        Of the end-of-day product: `"eod"` (without Greeks, which are of 15:45) or `"1545"`.
    """

    name = NAME

    def __init__(self, root: Path, *, snapshot: Snapshot = "eod") -> None:
        self._folder = root / "chains" / "datashop"
        self.snapshot = snapshot

    def _files(self, symbol: str) -> list[Path]:
        folder = self._folder / symbol
        return sorted(path for path in folder.glob("*") if path.suffix in {".csv", ".zip"})

    def sessions(self, symbol: str, *, now: datetime) -> Sequence[date]:
        """The days of all files' lines."""
        days: set[str] = set()
        for path in self._files(symbol):
            days |= set(_days(_lines(path), path.name).unique())
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
        named = [path for path in files if session.isoformat() in path.stem]
        for path in named or files:
            lines = _lines(path)
            rows = lines.filter(_days(lines, path.name) == session.isoformat())
            if not rows.is_empty():
                return read_lines(rows, symbol, session, now=now, snapshot=self.snapshot)
        raise NotProvided(
            f"no line of {session} in {[path.name for path in files]}",
            hint="put the vendor's file of that day into the folder (docs/chains.md)",
        )


def _lines(path: Path) -> pl.DataFrame:
    if path.suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".csv")]
                frame = pl.read_csv(BytesIO(archive.read(names[0])), infer_schema=False)
        except (zipfile.BadZipFile, IndexError) as error:
            raise WrongContent(
                f"{path.name}: not a zip of a CSV: {error}", hint="fetch it again"
            ) from error
    else:
        frame = pl.read_csv(path, infer_schema=False)
    if frame.is_empty():
        raise EmptyResponse(f"{path.name}: not one line", hint="fetch it again from the vendor")
    return frame.rename(lambda name: name.strip().lower())


def _days(lines: pl.DataFrame, what: str) -> pl.Series:
    for name in ("quote_date", "quote_datetime"):
        if name in lines.columns:
            return lines[name].str.slice(0, 10)
    raise SchemaDrift(
        f"{what}: neither quote_date nor quote_datetime in {lines.columns}",
        hint="the vendor changed its format; adapt the source",
    )


@reading(NAME)
def read_lines(
    lines: pl.DataFrame,
    symbol: str,
    session: date,
    *,
    now: datetime,
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
    frame = read_csv_columns(lines, types, f"{NAME} {symbol}", optional=_OPTIONAL)
    absent = [name for name in types if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, types[name]).alias(name) for name in absent)
    frame = frame.filter(is_of(symbol, pl.col("root")))
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
