"""The embedded sample: real S&P 500 and VIX history out of the `arch` package, no network.

SPY is the index divided by ten and rounded to the cent, without dividends, so it is shown as `SPY*`
everywhere. VIX has closes alone. The rate is a labelled constant. Minute bars are bridged between
the real open, high, low and close of the day and marked `synthetic`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spy_assets.errors import EmptyResponse, NotProvided, SourceUnavailable
from spy_assets.market.schemas import Dataset, empty, raw_columns
from spy_assets.market.sources.base import not_provided
from spy_assets.sessions import bars_due, is_session, session_open, sessions_between

NAME = "sample"
SYMBOL = "SPY"
DISPLAY_SYMBOL = "SPY*"
START, END = date(1999, 1, 4), date(2018, 12, 31)
VIX_START = date(2014, 1, 3)
RATE_SERIES = "SAMPLE_CONST"
#: Roughly the mean of the three-month bill over 1999-2018; a stand-in, labelled `is_constant`.
CONSTANT_RATE = 0.02
#: The constant starts a session earlier than the bars, so that the first decision has a rate.
RATE_START = date(1998, 12, 31)
#: Path points per minute that high and low of a bar are taken from.
POINTS_PER_MINUTE = 4
_SEED = 20_240_612
Floats = NDArray[np.float64]


def _arch_file(*parts: str) -> Path:
    spec = find_spec("arch")
    if spec is None or spec.origin is None:
        raise SourceUnavailable(
            "the package 'arch', which holds the sample data, is not installed",
            hint="run `make setup`",
        )
    return Path(spec.origin).parent.joinpath("data", *parts)


def _read(*parts: str) -> pl.DataFrame:
    path = _arch_file(*parts)
    if not path.is_file():
        raise SourceUnavailable(
            f"the sample file {path} is missing", hint="install the pinned version of 'arch'"
        )
    raw = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True)
    dates = pl.col("Date").str.to_date("%m/%d/%Y").alias("session")
    return raw.rename(str.strip).with_columns(dates)


@lru_cache(maxsize=1)
def _bars() -> pl.DataFrame:
    raw = _read("sp500", "sp500.csv.gz")
    prices = [
        (pl.col(name.title()).cast(pl.Float64) / 10).round(2).alias(name)
        for name in ("open", "high", "low", "close")
    ]
    return (
        raw.select(
            pl.lit(SYMBOL).alias("symbol"),
            "session",
            *prices,
            pl.col("Volume").cast(pl.Float64).alias("volume"),
            pl.lit(0.0).alias("dividend"),
            pl.lit(1.0).alias("split"),
        )
        .filter(pl.col("session").is_between(START, END))
        .sort("session")
    )


@lru_cache(maxsize=1)
def _vix() -> pl.DataFrame:
    raw = _read("vix", "vix.csv.gz")
    nothing = pl.lit(None, pl.Float64)
    return (
        raw.select(
            pl.lit("VIX").alias("name"),
            "session",
            nothing.alias("open"),
            nothing.alias("high"),
            nothing.alias("low"),
            # The package's holiday rows are empty.
            pl.col("vix").str.strip_chars().cast(pl.Float64, strict=False).alias("close"),
        )
        .drop_nulls("close")
        .filter(pl.col("session").is_between(VIX_START, END))
        .sort("session")
    )


class SampleSource:
    """See the module's docstring. Needs no setting and no network; instances are
    interchangeable.
    """

    name = NAME
    historical = True

    def span(self, dataset: Dataset) -> tuple[date, date] | None:
        """First and last day of the data set; None for put/call volumes."""
        starts = {"volatility": VIX_START, "rates": RATE_START, "put_call": None}
        start = starts.get(dataset, START)
        return None if start is None else (start, END)

    def symbols(self) -> tuple[str, ...]:
        """SPY alone."""
        return (SYMBOL,)

    def display_symbol(self, symbol: str) -> str:
        """`SPY*`, because it is the index and not the fund."""
        return DISPLAY_SYMBOL if symbol == SYMBOL else symbol

    def last_session(self) -> date:
        """The last session of the sample, 2018-12-31."""
        return END

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Index bars divided by ten; no row for symbols other than SPY."""
        wanted = pl.col("session").is_between(start, end) & pl.col("symbol").is_in(list(symbols))
        return _bars().filter(wanted)

    def volatility(self, names: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """VIX closes, 2014-01-03 to 2018-12-31; open, high and low are null."""
        wanted = pl.col("session").is_between(start, end) & pl.col("name").is_in(list(names))
        return _vix().filter(wanted)

    def rates(self, series: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """The labelled constant for every session, whatever series is asked for."""
        del series  # the sample has one stand-in for all of them
        days = sessions_between(max(start, RATE_START), min(end, END))
        if not days:
            return empty(raw_columns("rates"))
        return pl.DataFrame({"session": days}).select(
            pl.lit(RATE_SERIES).alias("series"),
            "session",
            pl.lit(CONSTANT_RATE).alias("rate"),
            pl.lit(True).alias("is_constant"),
        )

    def put_call(self, start: date, end: date) -> pl.DataFrame:
        """Not in the sample.

        Raises
        ------
        NotProvided
            Always; the observation contract `daily_15_proxy_v1` has a proxy from price and volume.
        """
        raise not_provided(
            NAME, "put_call", f"use SPY_SOURCE=files for {start} to {end}, or the proxy contract"
        )

    def minute_bars(self, symbol: str, session: date) -> pl.DataFrame:
        """Bars bridged between the day's real open, high, low and close, marked `synthetic`.

        The same session always gives the same bars. First open, highest high, lowest low, last
        close and the sum of the volumes are exactly those of the day.

        Raises
        ------
        NotProvided
            If the sample has no daily bar of that symbol and session.
        """
        day = self.daily_bars([symbol], session, session)
        if day.is_empty() or not is_session(session):
            raise NotProvided(
                f"the sample has no bar of {symbol!r} on {session}",
                hint=f"ask for {SYMBOL} on a session from {START} to {END}",
            )
        return bridge(day.row(0, named=True), session)


def _u_shape(n: int, depth: float) -> Floats:
    """Weights of mean 1 that are high at the open and the close: 1 + depth * (2x - 1)^2."""
    x = (np.arange(n) + 0.5) / n
    weights = 1.0 + depth * (2.0 * x - 1.0) ** 2
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def _fold(values: Floats, low: float, high: float) -> Floats:
    """Reflect values at both bounds until all lie within; values inside stay as they are."""
    width = high - low
    if width <= 0.0:
        return np.full_like(values, low)
    phase = np.mod(values - low, 2.0 * width)
    return np.asarray(low + np.where(phase > width, 2.0 * width - phase, phase), dtype=np.float64)


def _pinned(noise: Floats, pins: list[tuple[int, float]]) -> Floats:
    """A random walk made to pass through `pins` (position, value) by Brownian bridges."""
    walk = np.concatenate([[0.0], np.cumsum(noise)])
    at = np.array([position for position, _ in pins])
    due = np.array([value for _, value in pins])
    correction = np.interp(np.arange(walk.size), at, due - walk[at])
    return np.asarray(walk + correction, dtype=np.float64)


def _extreme(walk: Floats, wanted: float, opened: float, closed: float, *, highest: bool) -> int:
    """Where the day's high (or low) falls: at an end if it equals open or close, else as drawn."""
    if wanted == opened:
        return 0
    if wanted == closed:
        return walk.size - 1
    inner = walk[1:-1]
    return 1 + int(inner.argmax() if highest else inner.argmin())


def _path(day: dict[str, float], steps: int, rng: np.random.Generator) -> Floats:
    """A price path of `steps` + 1 points from open to close that touches high and low exactly."""
    opened, high, low, closed = (day[name] for name in ("open", "high", "low", "close"))
    # Parkinson (1980): the range of a Brownian day is 1.67 standard deviations.
    sigma = max(high - low, 0.01) / 1.67
    noise = rng.normal(size=steps) * sigma * np.sqrt(_u_shape(steps, 2.5) / steps)
    ends = [(0, opened), (steps, closed)]
    draft = _pinned(noise, ends)
    top = _extreme(draft, high, opened, closed, highest=True)
    bottom = _extreme(draft, low, opened, closed, highest=False)
    if top == bottom and high != low:  # two inner extremes cannot share a point
        bottom = top - 1 if top > 1 else top + 1
    pins = dict([*ends, (top, high), (bottom, low)])
    pins |= dict(ends)
    path = _fold(_pinned(noise, sorted(pins.items())), low, high)
    for position, value in pins.items():
        path[position] = value
    return path


def _volumes(total: float, n: int, rng: np.random.Generator) -> Floats:
    """Whole shares per minute, U-shaped, that sum to `total`."""
    weights = _u_shape(n, 3.0) * rng.lognormal(sigma=0.35, size=n)
    shares = np.floor(total * weights / weights.sum())
    shares[-1] += total - shares.sum()
    return np.asarray(shares, dtype=np.float64)


def bridge(day: dict[str, float], session: date) -> pl.DataFrame:
    """Minute bars between the `open`, `high`, `low`, `close` (in cents) and `volume` of a day.

    Raises
    ------
    EmptyResponse
        If one of them is missing.
    """
    names = ("open", "high", "low", "close", "volume")
    if any(day[name] is None for name in names):
        raise EmptyResponse(
            f"the daily bar of {session} is incomplete: {day}", hint="choose another session"
        )
    n = bars_due(session)
    rng = np.random.default_rng([_SEED, session.toordinal()])
    path = np.round(_path(day, n * POINTS_PER_MINUTE, rng), 2)
    starts = path[:-1].reshape(n, POINTS_PER_MINUTE)
    points = np.column_stack([starts, path[POINTS_PER_MINUTE::POINTS_PER_MINUTE]])
    high, low, close = points.max(axis=1), points.min(axis=1), points[:, -1]
    frame = pl.DataFrame(
        {
            "minute": np.arange(n),
            "open": points[:, 0],
            "high": high,
            "low": low,
            "close": close,
            "volume": _volumes(float(day["volume"]), n, rng),
            "vwap": (high + low + close) / 3.0,
        }
    )
    started = pl.lit(session_open(session)) + pl.duration(minutes=pl.col("minute"))
    return frame.with_columns(
        pl.lit(SYMBOL).alias("symbol"),
        started.alias("bar_start"),
        pl.lit(session).alias("session"),
        pl.lit(None, pl.Int64).alias("trades"),
        pl.lit(True).alias("synthetic"),
    ).select(pl.col(name).cast(kind) for name, kind in raw_columns("minute_bars").items())
