"""Ask only for what is missing, and a week before it."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets import sessions
from spy_assets.market.increment import OVERLAP, Gap, gaps_to_ask

START, END = date(2016, 1, 1), date(2018, 12, 31)
FULL = {("SPY", 2016): date(2016, 12, 30), ("SPY", 2017): date(2017, 12, 29)}


def ask(
    stored: dict[tuple[str, int], date], *keys: str, due: date = END, start: date = START
) -> list[Gap]:
    return gaps_to_ask(stored, keys or ("SPY",), start=start, end=END, due=due)


def test_of_an_empty_lake_everything_is_asked() -> None:
    assert ask({}) == [Gap(("SPY",), START, END)]


def test_nothing_is_asked_of_complete_years() -> None:
    assert ask(FULL | {("SPY", 2018): END}) == []


def test_a_new_year_alone_is_asked() -> None:
    assert ask(FULL) == [Gap(("SPY",), date(2018, 1, 1), END)]


def test_a_running_year_is_asked_with_a_week_before_it() -> None:
    stored = FULL | {("SPY", 2018): date(2018, 3, 1)}
    due = date(2018, 3, 2)
    assert ask(stored, due=due) == [Gap(("SPY",), date(2018, 3, 1) - OVERLAP, due)]


def test_the_week_does_not_reach_into_the_year_before() -> None:
    stored = FULL | {("SPY", 2018): date(2018, 1, 3)}
    assert ask(stored, due=date(2018, 1, 4)) == [Gap(("SPY",), date(2018, 1, 1), date(2018, 1, 4))]


def test_nothing_after_what_is_due_is_asked() -> None:
    assert ask({}, due=date(2017, 6, 1)) == [Gap(("SPY",), START, date(2017, 6, 1))]
    assert ask({}, due=date(2015, 6, 1)) == []


def test_keys_with_the_same_gap_go_together() -> None:
    stored = FULL | {("SPY", 2018): END}
    gaps = ask(stored, "SPY", "QQQ", "IWM")
    assert gaps == [Gap(("QQQ", "IWM"), START, END)]


def test_keys_with_different_gaps_go_apart() -> None:
    gaps = ask(FULL, "QQQ", "SPY")
    assert gaps == [Gap(("QQQ",), START, END), Gap(("SPY",), date(2018, 1, 1), END)]


@pytest.mark.parametrize("year", range(2005, 2026))
def test_a_year_that_ends_with_holidays_is_complete(year: int) -> None:
    last = sessions.previous_session(date(year + 1, 1, 1))
    stored = {("SPY", year): last}
    gaps = gaps_to_ask(
        stored, ["SPY"], start=date(year, 1, 1), end=date(year, 12, 31), due=date(year + 1, 2, 1)
    )
    assert gaps == []


def test_the_last_session_of_a_year_is_not_forgotten() -> None:
    stored = {("SPY", 2017): date(2017, 12, 28)}
    (gap,) = ask(stored, start=date(2017, 1, 1), due=date(2018, 1, 3))
    assert gap.start <= date(2017, 12, 29) <= gap.end


days = st.dates(date(2015, 1, 1), date(2019, 12, 31))


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.integers(2016, 2018), st.integers(0, 364), max_size=3), days, days)
def test_what_is_asked_covers_what_is_missing_and_nothing_more(
    reached: dict[int, int], start: date, due: date
) -> None:
    stored = {("SPY", y): date(y, 1, 1) + timedelta(days=n) for y, n in reached.items()}
    gaps = gaps_to_ask(stored, ["SPY"], start=start, end=END, due=due)
    last = min(END, due)
    assert all(start <= gap.start <= gap.end <= last for gap in gaps)
    due_sessions = sessions.sessions_between(start, last) if start <= last else []
    missing = [d for d in due_sessions if d > stored.get(("SPY", d.year), date.min)]
    assert all(any(gap.start <= d <= gap.end for gap in gaps) for d in missing)
