"""Coverage and gaps: half days, clock changes, holes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import polars as pl
import pytest

from spy_assets.market.cleaning import clean_daily_bars, clean_minute_bars
from spy_assets.market.gaps import (
    Coverage,
    coverage_frame,
    daily_coverage,
    minute_coverage,
    missing_sessions,
    regular_grid,
)
from spy_assets.market.schemas import COVERAGE
from spy_assets.sessions import install_overrides
from spy_assets_tests.market.frames import AS_OF, bar, bars, frame, minute

FULL, HALF = date(2018, 2, 1), date(2018, 11, 23)


def coverage(session: date, present: Iterable[int]) -> Coverage:
    rows = frame("minute_bars", [minute(session, n) for n in present])
    clean = clean_minute_bars(rows, symbol="SPY", session=session).frame
    return minute_coverage(clean, symbol="SPY", session=session)


@pytest.mark.fault(2)
def test_a_half_day_is_due_210_bars() -> None:
    got = coverage(HALF, range(210))
    assert (got.due, got.present, got.gaps, got.complete) == (210, 210, 0, True)


@pytest.mark.fault(3)
@pytest.mark.fault(4)
@pytest.mark.parametrize("monday", [date(2018, 3, 12), date(2018, 11, 5)])
def test_sessions_around_clock_changes_have_390_bars(monday: date) -> None:
    assert coverage(monday, range(390)).complete
    assert coverage(date.fromordinal(monday.toordinal() - 3), range(390)).complete


@pytest.mark.fault(13)
def test_missing_minutes_are_measured() -> None:
    got = coverage(FULL, [n for n in range(390) if not (10 <= n < 20 or n == 389)])
    assert (got.missing, got.gaps, got.longest) == (11, 2, 10)


@pytest.mark.fault(13)
def test_gaps_are_filled_to_the_limit_and_no_further() -> None:
    rows = [minute(FULL, n, 100.0 + n) for n in (1, 12)]
    clean = clean_minute_bars(frame("minute_bars", rows), symbol="SPY", session=FULL).frame
    grid = regular_grid(clean, session=FULL, limit=5)
    assert grid.height == 390
    assert grid["close"][:13].to_list() == [None, *[101.0] * 6, *[None] * 5, 112.0]
    assert grid["filled"].sum() == 10
    assert grid["volume"].drop_nulls().len() == 2


def test_nothing_present_is_one_gap() -> None:
    got = coverage(FULL, [])
    assert (got.present, got.gaps, got.longest) == (0, 1, 390)


def test_daily_coverage_counts_sessions_and_crypto_days() -> None:
    rows = [row for row in bars(20) if row["session"] != date(2018, 1, 10)]
    rows += [bar(date(2018, 1, day), symbol="BTC-USD") for day in (5, 6, 7)]
    clean = clean_daily_bars(frame("daily_bars", rows), as_of=AS_OF).frame
    spy, coin = (
        daily_coverage(
            clean, dataset="daily_bars", symbol=s, start=date(2018, 1, 5), end=date(2018, 1, 12)
        )
        for s in ("SPY", "BTC-USD")
    )
    assert (spy.due, spy.present, spy.gaps, spy.session) == (6, 5, 1, date(2018, 1, 12))
    assert (coin.due, coin.present, coin.longest) == (8, 3, 5)


@pytest.mark.fault(1)
def test_holidays_are_not_missing() -> None:
    clean = clean_daily_bars(frame("daily_bars", bars(20)), as_of=AS_OF).frame
    assert missing_sessions(clean, start=date(2018, 1, 12), end=date(2018, 1, 17)) == []


@pytest.mark.fault(5)
def test_an_unscheduled_closure_is_no_false_alarm() -> None:
    rows = [row for row in bars(20) if row["session"] != FULL]
    rows = [row for row in rows if row["session"] != date(2018, 1, 24)]
    clean = clean_daily_bars(frame("daily_bars", rows), as_of=AS_OF).frame
    span = {"start": date(2018, 1, 22), "end": date(2018, 1, 26)}
    assert missing_sessions(clean, **span) == [date(2018, 1, 24)]
    install_overrides({date(2018, 1, 24): None})
    try:
        assert missing_sessions(clean, **span) == []
    finally:
        install_overrides({})


def test_the_frame_has_the_columns_of_the_table() -> None:
    got = coverage_frame([Coverage("minute_bars", "SPY", FULL, 390, 380, 1, 10, "from x")])
    assert got.schema == pl.Schema(COVERAGE)
    assert got["note"].item() == "longest gap 10; from x"
