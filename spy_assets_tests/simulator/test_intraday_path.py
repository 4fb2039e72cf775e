"""Paths of minute bars: the grid, gaps, what is known before the open, and time to expiry."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from spy_assets.errors import ConfigError, DataError, NaiveTimestamp
from spy_assets.market.sources.files import FilesSource
from spy_assets.sessions import session_open
from spy_assets.simulator.intraday_path import OVERNIGHT_SHARE, IntradayPath
from spy_assets_tests.simulator.intraday_paths import (
    FIRST,
    bars_of,
    daily_of,
    days_from,
    flat_path,
    random_path,
)

HALF = date(2024, 7, 3)


def from_closes(closes, *, minutes=5, keep=None, fill_limit=0):
    frame = bars_of(FIRST, closes, minutes)
    if keep is not None:
        frame = frame[keep]
    return IntradayPath.from_bars(frame, daily_of([FIRST]), minutes=minutes, fill_limit=fill_limit)


def test_finer_bars_are_put_together():
    frame = bars_of(FIRST, [1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 7.0, 6.5, 8.0, 7.5], 1)
    path = IntradayPath.from_bars(frame, daily_of([FIRST]), minutes=5)
    bars = np.column_stack([path.open, path.high, path.low, path.close])
    assert bars.tolist() == [[1.0, 5.0, 1.0, 4.0], [4.0, 8.0, 4.0, 7.5]]


@pytest.mark.parametrize(
    ("minutes", "whole", "half", "last"), [(1, 390, 210, 1), (5, 78, 42, 5), (60, 7, 4, 30)]
)
def test_sessions_have_the_bars_of_their_length(minutes, whole, half, last):
    path = flat_path(4, minutes=minutes)
    assert np.diff(path.first_bar).tolist() == [whole, whole, half, whole]
    assert (path.end - path.start)[path.first_bar[1:] - 1].tolist() == [60 * last] * 4
    assert path.end_time(int(path.first_bar[3]) - 1).hour == 17  # 13:00 in New York


def test_bars_outside_regular_hours_are_left_out():
    extended = bars_of(FIRST, [500.0] * 100, 5).with_columns(
        pl.col("bar_start") - pl.duration(minutes=60)
    )
    path = IntradayPath.from_bars(extended, daily_of([FIRST]), minutes=5)
    assert len(path) == 78
    assert path.start_time(0) == session_open(FIRST)


def test_missing_bars_are_counted_and_stay_missing():
    keep = [n for n in range(78) if n not in (0, 10, 11, 12, 76, 77)]
    path = from_closes([500.0] * 78, keep=keep)
    assert len(path) == 72
    gaps = np.flatnonzero(path.missing_before)
    assert path.missing_before[gaps].tolist() == [1, 3]
    assert path.arrays.start_minute[gaps].tolist() == [5.0, 65.0]
    assert path.missing_after.tolist() == [2]


def test_only_short_gaps_are_filled_with_the_last_close():
    closes = [float(n) for n in range(100, 178)]
    keep = [n for n in range(78) if n not in (0, 5, 6, 20, 21, 22, 77)]
    path = from_closes(closes, keep=keep, fill_limit=2)
    assert path.start_time(0) == session_open(FIRST) + timedelta(minutes=5)
    assert path.close[path.filled].tolist() == [104.0, 104.0, 176.0]
    assert np.array_equal(path.open[path.filled], path.low[path.filled])
    assert path.missing_before[np.flatnonzero(path.missing_before)].tolist() == [1, 3]
    assert path.missing_after.tolist() == [0]


def test_volatility_and_rate_are_those_of_the_session_before():
    days = days_from(FIRST, 3)
    bars = pl.concat([bars_of(day, [500.0] * 3) for day in days])
    daily = daily_of(days, [20.0, None, 30.0])
    daily = daily.with_columns(
        pl.when(pl.col("session") == days[2])
        .then(99.0)
        .otherwise(pl.col("vix_close"))
        .alias("vix_close")
    )
    path = IntradayPath.from_bars(bars, daily, minutes=5)
    assert path.volatility.tolist() == pytest.approx([0.2, np.nan, 0.3], nan_ok=True)
    assert path.rate.tolist() == [0.05, 0.05, 0.05]


def test_time_to_expiry_is_sessions_and_their_minutes():
    path = flat_path(4)
    a, last = path.arrays, path.first_bar[1:] - 1
    today = path.ordinal[path.session_of]
    left = a.close_years[today] - a.end_years
    assert left[last].tolist() == [0.0] * 4
    day = (1.0 - OVERNIGHT_SHARE) / 252.0
    opens = (a.close_years[today] - a.start_years)[path.first_bar[:-1]]
    assert opens == pytest.approx([day, day, day * 210 / 390, day])
    # From the close of the half day to that of the next session: a night and a whole day.
    assert a.close_years[3] - a.end_years[last[2]] == pytest.approx(1.0 / 252.0)
    # 21 whole sessions make a month of VIX.
    assert a.close_years[30] - a.close_years[9] == pytest.approx(21 / 252.0)


def test_a_window_is_the_path_of_its_sessions():
    path = random_path(1, 6, holes=True)
    part = path.window(1, 4)
    assert part.sessions == path.sessions[1:4]
    low, high = path.first_bar[1], path.first_bar[4]
    assert np.array_equal(part.close, path.close[low:high])
    assert np.array_equal(part.missing_before, path.missing_before[low:high])
    assert np.array_equal(part.volatility, path.volatility[1:4], equal_nan=True)
    assert part.arrays.end_clock[0] == part.arrays.end_minute[0]
    with pytest.raises(DataError, match="sessions 3 to 9"):
        path.window(3, 9)


def test_expiries_are_sessions_ahead():
    path = flat_path()
    assert path.ordinal_of(date(2024, 7, 5)) == 3
    for wrong in (date(2024, 7, 4), date(2024, 6, 28), date(2030, 1, 2)):
        with pytest.raises(DataError, match=str(wrong)):
            path.ordinal_of(wrong)


def _twice(frame):
    return pl.concat([frame, frame[:1]])


def _unpriced(frame):
    return frame.with_columns(low=pl.lit(float("nan")))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda f: f.drop("open"), ConfigError, "open"),
        (_twice, DataError, "two bars begin at 2024-07-01T13:30"),
        (_unpriced, DataError, "nan"),
        (lambda f: f[:0], DataError, "no bar"),
        (
            lambda f: f.with_columns(pl.col("bar_start").dt.replace_time_zone(None)),
            NaiveTimestamp,
            "time zone",
        ),
    ],
)
def test_bad_bars_are_refused(change, error, says):
    frame = change(bars_of(FIRST, [500.0] * 3))
    with pytest.raises(error, match=says):
        IntradayPath.from_bars(frame, daily_of([FIRST]), minutes=5)


def test_bad_parameters_are_refused():
    frame = bars_of(FIRST, [500.0] * 3)
    with pytest.raises(ConfigError, match="bars of 7 minutes"):
        IntradayPath.from_bars(frame, daily_of([FIRST]), minutes=7)
    with pytest.raises(ConfigError, match="fill limit -1"):
        IntradayPath.from_bars(frame, daily_of([FIRST]), minutes=5, fill_limit=-1)
    with pytest.raises(DataError, match="not index points"):
        IntradayPath.from_bars(frame, daily_of([FIRST], 0.2), minutes=5)
    with pytest.raises(DataError, match="not an amount of cash"):
        IntradayPath.from_bars(frame, daily_of([FIRST], dividends={FIRST: -1.0}), minutes=5)


def test_a_dividend_is_the_ex_dates_own_and_unknown_without_a_column():
    frame, known = bars_of(FIRST, [500.0] * 3), daily_of([FIRST], dividends={FIRST: 1.75})
    assert IntradayPath.from_bars(frame, known, minutes=5).dividend.tolist() == [1.75]
    blind = IntradayPath.from_bars(frame, known.drop("dividend"), minutes=5)
    assert np.isnan(blind.dividend).all()


def test_real_minutes_come_through_the_files_source(shared_data):
    source = FilesSource(shared_data)
    days = days_from(HALF, 2)
    bars = pl.concat([source.minute_bars("SPY", day) for day in days])
    path = IntradayPath.from_bars(bars, daily_of(days), minutes=1)
    assert np.diff(path.first_bar).tolist() == [210, 390]
    assert path.missing_before.sum() == path.missing_after.sum() == 0
