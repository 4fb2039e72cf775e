"""A folder of Parquet files; docs/files-source.md defines the layout.

Files are scanned lazily, for the days asked for alone. `adj_close` is never read: its level knows
later dividends. Where two files have the same thing, one is preferred and the other is the second
opinion that ingest holds it against.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import polars as pl

from spy_assets.errors import ConfigError, NaiveTimestamp, NotProvided
from spy_assets.market.adjustment import undo_split_adjustment
from spy_assets.market.schemas import (
    TIMESTAMP,
    Columns,
    Dataset,
    empty,
    raw_columns,
    require_names,
)
from spy_assets.market.sources.base import not_provided
from spy_assets.sessions import CALENDAR_START, session_close, session_open

if TYPE_CHECKING:
    from spy_assets.settings import Settings

NAME = "files"
_NEW_YORK = ZoneInfo("America/New_York")
_BAR = ("open", "high", "low", "close", "volume")
#: Daily and overnight rates in percent; other series (inflation, spreads, balances) are no rates.
RATE_SERIES = frozenset(
    {"DFF", "EFFR", "SOFR", "DTB3", "DGS1MO", "DGS3MO", "DGS6MO"}
    | {f"DGS{years}" for years in (1, 2, 3, 5, 7, 10, 20, 30)}
)


@dataclass(frozen=True)
class _Ratio:
    """Which columns of a put/call file hold a series."""

    series: str
    ratio: str
    puts: str | None = None
    calls: str | None = None


#: By preference. The wide file with `*_pc_ratio` comes first: the other lost digits (11.0 for
#: 1.11) on 138 days. Files in the long form (ratio, puts, calls) are known by their name.
_PUT_CALL = (
    _Ratio("total", "total_pc_ratio"),
    _Ratio("equity", "equity_pc_ratio"),
    _Ratio("index", "index_pc_ratio"),
    _Ratio("total", "total_pc"),
    _Ratio("equity", "equity_pc"),
    _Ratio("index", "index_pc"),
)


def _names(path: Path) -> list[str]:
    return pl.scan_parquet(path).collect_schema().names()


def _scan_days(path: Path, column: str, start: date, end: date) -> pl.LazyFrame:
    first = max(start, CALENDAR_START)
    return pl.scan_parquet(path).filter(pl.col(column).is_between(first, end))


class FilesSource:
    """See the module's docstring.

    Parameters
    ----------
    root
        The folder that docs/files-source.md describes.
    symbols
        Symbols wanted; those without a file are left out.
    primary
        The traded underlying; its bars define the span of the source.
    """

    name = NAME
    historical = True

    def __init__(self, root: Path, symbols: Sequence[str] = ("SPY",), primary: str = "SPY") -> None:
        self.root = root
        self.primary = primary
        self._wanted = tuple(symbols)
        if not self._daily_file(primary).is_file():
            missing = self._daily_file(primary).relative_to(root)
            raise ConfigError(
                f"SPY_FILES_DIR={str(root)!r}: no file {missing}",
                hint="lay the folder out as docs/files-source.md says",
            )

    @classmethod
    def from_settings(cls, settings: Settings) -> FilesSource:
        """The source of `settings.files_dir`.

        Raises
        ------
        ConfigError
            If the folder is not set, or has no daily bars of the traded symbol.
        """
        if settings.files_dir is None:
            raise ConfigError("SPY_FILES_DIR is not set", hint="point it at the folder of files")
        return cls(settings.files_dir, settings.symbols, settings.symbol)

    def _daily_file(self, symbol: str) -> Path:
        return self.root / "bars" / "daily" / f"{symbol}.parquet"

    def _files(self, *parts: str) -> list[Path]:
        return sorted(self.root.joinpath(*parts).glob("*.parquet"))

    def symbols(self) -> tuple[str, ...]:
        """Those of the wanted symbols that have a file of daily bars."""
        return tuple(name for name in self._wanted if self._daily_file(name).is_file())

    def display_symbol(self, symbol: str) -> str:
        """The symbol itself."""
        return symbol

    @cached_property
    def _spans(self) -> dict[Dataset, tuple[date, date]]:
        found: dict[Dataset, tuple[date, date] | None] = {
            "daily_bars": _span([self._daily_file(self.primary)], "date"),
            "volatility": _span([self.root / "vol" / "VIX.parquet"], "date"),
            "rates": _span(self._rate_files(), "date"),
            "put_call": _span(self._files("putcall"), "date"),
            "minute_bars": _span(self._files("bars", "1min", self.primary), "ts"),
            "minute_bars_5": _span(self._files("bars", "5min", self.primary), "ts"),
        }
        return {dataset: span for dataset, span in found.items() if span is not None}

    def span(self, dataset: Dataset) -> tuple[date, date] | None:
        """First and last day, not before the calendar's first (1990)."""
        return self._spans.get(dataset)

    def last_session(self) -> date:
        """The last day of the traded symbol's daily bars."""
        return self._spans["daily_bars"][1]

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Unadjusted daily bars; no row for symbols without a file.

        Where the file records a split but its prices are continuous over it, the prices before it
        are put back to what was traded. A dividend that only `dividends/` has is filled in from
        there.
        """
        frames = [
            self._daily(name, start, end) for name in symbols if self._daily_file(name).is_file()
        ]
        return pl.concat(frames) if frames else empty(raw_columns("daily_bars"))

    def _daily(self, symbol: str, start: date, end: date) -> pl.DataFrame:
        path = self._daily_file(symbol)
        due = ["date", *_BAR, "adj_close", "dividend", "split"]
        require_names([n for n in _names(path) if n != "adj_close"], due[:6] + due[7:], str(path))
        # Every later split matters for undoing the adjustment, so the end of the range is cut last.
        frame = _scan_days(path, "date", start, date.max).select(
            pl.lit(symbol).alias("symbol"),
            pl.col("date").alias("session"),
            *[pl.col(name).cast(pl.Float64) for name in _BAR],
            pl.col("dividend").cast(pl.Float64).fill_null(0.0),
            # The files write "no split" as 0 or null; the canonical value is the neutral ratio.
            pl.when(pl.col("split") > 0).then(pl.col("split")).otherwise(1.0).alias("split"),
        )
        return self._with_dividends(undo_split_adjustment(frame.collect()), symbol).filter(
            pl.col("session") <= end
        )

    def _with_dividends(self, bars: pl.DataFrame, symbol: str) -> pl.DataFrame:
        path = self.root / "dividends" / f"{symbol}.parquet"
        if not path.is_file():
            return bars
        require_names(_names(path), ["ex_date", "dividend"], str(path))
        paid = pl.read_parquet(path).select(
            pl.col("ex_date").alias("session"), pl.col("dividend").alias("_second")
        )
        joined = bars.join(paid, on="session", how="left", maintain_order="left")
        own, second = pl.col("dividend"), pl.col("_second").fill_null(0.0)
        filled = pl.when(own > 0).then(own).otherwise(second).alias("dividend")
        return joined.with_columns(filled).drop("_second")

    def volatility(self, names: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Indices as the exchange publishes them; no row for names without a file."""
        frames = []
        for name in names:
            path = self.root / "vol" / f"{name}.parquet"
            if not path.is_file():
                continue
            require_names(_names(path), ["date", *_BAR[:4]], str(path))
            frames.append(
                _scan_days(path, "date", start, end)
                .select(
                    pl.lit(name).alias("name"),
                    pl.col("date").alias("session"),
                    *[pl.col(column).cast(pl.Float64) for column in _BAR[:4]],
                )
                .collect()
            )
        return pl.concat(frames) if frames else empty(raw_columns("volatility"))

    def _rate_files(self) -> list[Path]:
        """Files in the long form (date, series, value), the longest history first."""
        long = [f for f in self._files("fred") if _names(f) == ["date", "series", "value"]]
        return sorted(long, key=lambda f: (_span([f], "date") or (date.max,))[0])

    def rates(self, series: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Rates by observation date; where two files have a day, the longer history wins."""
        wanted = [name for name in series if name in RATE_SERIES]
        frames = [self._rates(path, wanted, start, end) for path in self._rate_files()]
        if not frames:
            raise not_provided(NAME, "rates", "put the series into fred/*.parquet")
        together = pl.concat(frames)
        return together.unique(["series", "session"], keep="first", maintain_order=True)

    def _rates(self, path: Path, series: Sequence[str], start: date, end: date) -> pl.DataFrame:
        return (
            _scan_days(path, "date", start, end)
            .filter(pl.col("series").is_in(list(series)))
            .select(
                "series",
                pl.col("date").alias("session"),
                (pl.col("value") / 100).alias("rate"),
                pl.lit(False).alias("is_constant"),
            )
            .collect()
        )

    def put_call(self, start: date, end: date) -> pl.DataFrame:
        """Series total, equity, index and spx; volumes where a file has them.

        Where two files have a day, see `_PUT_CALL` for which is preferred; the other fills its
        gaps.
        """
        frames = self._put_call_frames(start, end)
        if not frames:
            raise not_provided(NAME, "put_call", "put ratios into putcall/*.parquet")
        ratios = pl.concat(frames).unique(["series", "session"], keep="first", maintain_order=True)
        volumes = [frame for frame in frames if frame["put_volume"].null_count() < frame.height]
        if not volumes:
            return ratios
        key = ["series", "session"]
        known = pl.concat(volumes).unique(key, keep="first", maintain_order=True)
        joined = ratios.join(known, on=key, how="left", suffix="_known", maintain_order="left")
        return joined.with_columns(
            pl.coalesce("put_volume", "put_volume_known").alias("put_volume"),
            pl.coalesce("call_volume", "call_volume_known").alias("call_volume"),
        ).select(raw_columns("put_call").keys())

    def _put_call_frames(self, start: date, end: date) -> list[pl.DataFrame]:
        """One frame per series and file, by preference."""
        files = [(path, set(_names(path))) for path in self._files("putcall")]
        frames = [
            _put_call(path, known, start, end)
            for known in _PUT_CALL
            for path, names in files
            if known.ratio in names
        ]
        for path, names in files:
            if {"puts", "calls", "ratio"} <= names:
                series = "spx" if path.name.startswith("spx") else "total"
                frames.append(_put_call(path, _Ratio(series, "ratio", "puts", "calls"), start, end))
        return [frame for frame in frames if not frame.is_empty()]

    def minute_bars(self, symbol: str, session: date, *, minutes: int = 1) -> pl.DataFrame:
        """Bars of the most complete file for that session, extended hours included.

        `origin` names the file. Cleaning leaves out what lies outside of regular hours.

        Raises
        ------
        NotProvided
            If no file has a bar within regular hours of that session.
        """
        files = self._files("bars", f"{minutes}min", symbol)
        best = max(files, key=lambda path: _completeness(path, session), default=None)
        if best is None or _completeness(best, session)[0] == 0:
            raise NotProvided(
                f"no {minutes}-minute bar of {symbol!r} on {session} in "
                f"{[path.name for path in files]}",
                hint="see the spans of the files, or ask for another session",
            )
        return _minutes(best, symbol, session)

    def five_minute_bars(self, symbol: str, session: date) -> pl.DataFrame:
        """As :meth:`minute_bars`, from the files of five-minute bars."""
        return self.minute_bars(symbol, session, minutes=5)

    def second_opinion(
        self, dataset: Dataset, keys: Sequence[str], start: date, end: date
    ) -> pl.DataFrame | None:
        """Raw rows of the same data set from other files, or None if there are none.

        Put/call: the less preferred file. Volatility: FRED's VIXCLS for VIX. Rates: the shorter
        file.
        """
        if dataset == "put_call":
            first = self.put_call(start, end).select("series", "session")
            frames = self._put_call_frames(start, end)
            seen = pl.concat(frames).with_columns(
                pl.int_range(pl.len()).over("series", "session").alias("_n")
            )
            second = seen.filter(pl.col("_n") == 1).drop("_n")
            return second.join(first, on=["series", "session"], how="semi")
        if dataset == "volatility" and "VIX" in keys:
            return self._vixcls(start, end)
        if dataset == "rates":
            frames = [self._rates(path, keys, start, end) for path in self._rate_files()[1:]]
            return pl.concat(frames) if frames else None
        return None

    def _vixcls(self, start: date, end: date) -> pl.DataFrame | None:
        frames = [
            _scan_days(path, "date", start, end)
            .filter(pl.col("series") == "VIXCLS")
            .select(
                pl.lit("VIX").alias("name"),
                pl.col("date").alias("session"),
                *[pl.lit(None, pl.Float64).alias(column) for column in _BAR[:3]],
                pl.col("value").alias("close"),
            )
            .collect()
            for path in self._rate_files()
        ]
        return pl.concat(frames) if frames else None


def _span(files: Iterable[Path], column: str) -> tuple[date, date] | None:
    ends = [
        pl.scan_parquet(path)
        .select(pl.col(column).min().alias("a"), pl.col(column).max().alias("b"))
        .collect()
        .row(0)
        for path in files
        if path.is_file()
    ]
    days = [
        moment.astimezone(_NEW_YORK).date() if isinstance(moment, datetime) else moment
        for pair in ends
        for moment in pair
        if moment is not None
    ]
    return (max(min(days), CALENDAR_START), max(days)) if days else None


def _put_call(path: Path, known: _Ratio, start: date, end: date) -> pl.DataFrame:
    def volume(name: str | None) -> pl.Expr:
        return pl.col(name).cast(pl.Float64) if name else pl.lit(None, pl.Float64)

    columns: Columns = raw_columns("put_call")
    return (
        _scan_days(path, "date", start, end)
        .select(
            pl.lit(known.series).alias("series"),
            pl.col("date").alias("session"),
            volume(known.puts).alias("put_volume"),
            volume(known.calls).alias("call_volume"),
            pl.col(known.ratio).alias("ratio"),
        )
        .drop_nulls("ratio")
        .select(pl.col(name).cast(kind) for name, kind in columns.items())
        .collect()
    )


def _completeness(path: Path, session: date) -> tuple[int, bool]:
    """Bars within regular hours, and whether the file has vwap: more is better."""
    opened, closed = session_open(session), session_close(session)
    scan = pl.scan_parquet(path)
    kind = scan.collect_schema().get("ts")
    if not isinstance(kind, pl.Datetime) or kind.time_zone is None:
        raise NaiveTimestamp(
            f"{path}: the column ts is {kind}, not a timestamp with a time zone",
            hint="write it as Datetime(us, UTC)",
        )
    inside = scan.filter((pl.col("ts") >= opened) & (pl.col("ts") < closed)).select(pl.len())
    return int(inside.collect().item()), "vwap" in scan.collect_schema().names()


def _minutes(path: Path, symbol: str, session: date) -> pl.DataFrame:
    """All bars of that New York day."""
    names = _names(path)
    required = ["ts", *_BAR]
    require_names([n for n in names if n not in {"vwap", "trades"}], required, str(path))
    midnight = datetime.combine(session, time(0), _NEW_YORK).astimezone(UTC)
    following = datetime.combine(session + timedelta(days=1), time(0), _NEW_YORK).astimezone(UTC)

    def optional(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Float64) if name in names else pl.lit(None, pl.Float64)

    return (
        pl.scan_parquet(path)
        .filter((pl.col("ts") >= midnight) & (pl.col("ts") < following))
        .select(
            pl.lit(symbol).alias("symbol"),
            pl.col("ts").cast(TIMESTAMP).alias("bar_start"),
            pl.lit(session).alias("session"),
            *[pl.col(name).cast(pl.Float64) for name in _BAR],
            optional("vwap").alias("vwap"),
            optional("trades").fill_nan(None).cast(pl.Int64).alias("trades"),
            pl.lit(False).alias("synthetic"),
            pl.lit(path.name).alias("origin"),
        )
        .collect()
    )
