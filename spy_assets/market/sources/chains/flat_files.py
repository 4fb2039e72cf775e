"""Massive's (formerly Polygon's) flat files: what was traded, per contract and day or minute.

Objects of an S3 store, one per session and all contracts of the market:

    us_options_opra/day_aggs_v1/2024/03/2024-03-07.csv.gz
    us_options_opra/minute_aggs_v1/2024/03/2024-03-07.csv.gz
    ticker,volume,open,close,high,low,window_start,transactions

`window_start` is the start of the window in nanoseconds UTC. There are no quotes in them: bid and
ask are null, only contracts that were traded appear, and `last` is the last trade. Of a day's bar
the moment of that trade is unknown (null); of minute bars it is known to be before the minute's end,
which is what `last_at` says. Files are out on the next morning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

import polars as pl

from spy_assets.errors import EmptyResponse, NotProvided, SchemaDrift, WrongContent
from spy_assets.market.schemas import TIMESTAMP, require_names
from spy_assets.market.sources.chains.drops import named_day, opening
from spy_assets.market.sources.chains.protocol import files_out, opened_by
from spy_assets.market.sources.chains.rows import Types, finish, is_of, reading, traded
from spy_assets.market.sources.chains.s3 import Credentials, S3Bucket
from spy_assets.market.sources.http import Gate
from spy_assets.options.chain import RawChain
from spy_assets.options.expiries import options_close

NAME = "flat_files"
ENDPOINT = "https://files.massive.com"
BUCKET = "flatfiles"
Window = Literal["day", "minute"]

_FOLDER = "us_options_opra/{window}_aggs_v1"
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})\.csv\.gz$")
_GZIP = b"\x1f\x8b"
_MINUTE = timedelta(minutes=1)
_TYPES: Types = {
    "ticker": pl.String(),
    "volume": pl.Float64(),
    "open": pl.Float64(),
    "close": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "window_start": pl.Int64(),
    "transactions": pl.Int64(),
}
_READ = ("ticker", "volume", "close", "window_start")


class FlatFileChains:
    """Traded contracts of past sessions.

    Parameters
    ----------
    gate
        Budget and retries of the run.
    credentials
        The account's S3 key pair (not its API key).
    folder
        Where downloaded files are kept.
    window
        Bars of a `"day"`, or of a `"minute"` (30 times larger, and with the times of trades).
    endpoint, bucket
        Another store than Massive's.
    """

    name = NAME

    def __init__(
        self,
        gate: Gate,
        *,
        credentials: Credentials,
        folder: Path,
        window: Window = "day",
        endpoint: str = ENDPOINT,
        bucket: str = BUCKET,
    ) -> None:
        self._gate = gate
        self._credentials = credentials
        self._folder = folder
        self._endpoint, self._bucket = endpoint, bucket
        self.window = window

    def _store(self) -> S3Bucket:
        return S3Bucket(self._endpoint, self._bucket, self._credentials, self._gate)

    def sessions(self, symbol: str, *, now: datetime) -> Sequence[date]:  # noqa: ARG002
        """The days that the store has a file of, whatever the symbol."""
        with self._store() as store:
            keys = store.keys(_FOLDER.format(window=self.window) + "/")
        found = [match[1] for match in map(_DAY.search, keys) if match]
        return opened_by(filter(None, map(named_day, found)), now)

    def key(self, session: date) -> str:
        """Name of the object of a session."""
        return f"{_FOLDER.format(window=self.window)}/{session:%Y/%m}/{session}.csv.gz"

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """The contracts that were traded; the file is fetched once and kept.

        Raises
        ------
        NotProvided
            If the store has no file of that session.
        """
        key = self.key(session)
        with self._store() as store:
            path = store.download(key, self._folder / key)
        try:
            return read_flat_file(path, symbol, session, window=self.window, now=now)
        except WrongContent:
            # Whatever broke it, the next run shall not find it here.
            path.unlink(missing_ok=True)
            raise


@reading(NAME)
def read_flat_file(
    path: Path, symbol: str, session: date, *, window: Window, now: datetime
) -> RawChain:
    """The contracts of one underlying in a flat file.

    Raises
    ------
    WrongContent
        If the file is not gzip, or damaged.
    SchemaDrift
        If its columns are not the vendor's.
    EmptyResponse
        If it has no row at all.
    NotProvided
        If the underlying is not in it.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if not start.startswith(_GZIP):
        raise WrongContent(
            f"{path.name}: not gzip: {start[:40]!r}", hint="check the endpoint; fetch it again"
        )
    with opening(path):
        bars = _bars(path)
    if bars.is_empty():
        raise EmptyResponse(f"{path.name}: not one row", hint="fetch it again later")
    root = pl.col("ticker").str.extract(r"^(?:O:)?(.+)[0-9]{6}[CP][0-9]{8}$", 1)
    # Few tickers begin like the symbol; of those, one that cannot be read is kept to be reported.
    own = bars.filter(pl.col("ticker").str.contains(f"^(?:O:)?{symbol}")).filter(
        is_of(symbol, root) | root.is_null()
    )
    if own.is_empty():
        raise NotProvided(
            f"{path.name}: no contract of {symbol} was traded", hint="check the symbol"
        )
    frame = own.with_columns(_start().alias("start"))
    traded_rows = _per_day(frame) if window == "day" else _per_minute(frame)
    return finish(
        traded_rows.with_columns(
            pl.lit(options_close(session, symbol)).cast(TIMESTAMP).alias("quoted_at")
        ),
        symbol=symbol,
        session=session,
        source=NAME,
        available_at=min(files_out(session), now),
        ticker="ticker",
    )


def _bars(path: Path) -> pl.DataFrame:
    header = pl.read_csv(path, n_rows=0, infer_schema=False).columns
    require_names(header, _TYPES, path.name)
    try:
        return pl.read_csv(path, schema={name: _TYPES[name] for name in header}, columns=_READ)
    except pl.exceptions.PolarsError as error:
        raise SchemaDrift(
            f"{path.name}: {error}", hint="the vendor changed its format, or the file is broken"
        ) from error


def _start() -> pl.Expr:
    return (pl.col("window_start") // 1_000).cast(TIMESTAMP)


def _per_day(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.select(
        "ticker",
        "volume",
        traded(pl.col("close")).alias("last"),
        pl.lit(None, TIMESTAMP).alias("last_at"),
    )


def _per_minute(bars: pl.DataFrame) -> pl.DataFrame:
    return (
        bars.sort("window_start", maintain_order=True)
        .group_by("ticker", maintain_order=True)
        .agg(
            pl.col("volume").sum(),
            traded(pl.col("close")).last().alias("last"),
            (pl.col("start").last() + _MINUTE).alias("last_at"),
        )
    )
