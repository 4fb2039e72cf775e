"""Ask only for what is missing, and a week before it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets import sessions
from spy_assets.market.increment import OVERLAP, Gap, due_days, gaps_to_ask
from spy_assets.market.schemas import Dataset

START, END = date(2016, 1, 1), date(2018, 12, 31)


def days(first: date, last: date) -> set[date]:
    return set(sessions.sessions_between(first, last))


FULL = days(START, date(2017, 12, 31))
ALL = days(START, END)


def ask(
    stored: Iterable[date],
    *keys: str,
    due: date = END,
    start: date = START,
    end: date = END,
    dataset: Dataset = "daily_bars",
) -> list[Gap]:
    """Gaps where only SPY, or the only key, has days stored."""
    wanted = keys or ("SPY",)
    first = "SPY" if "SPY" in wanted else wanted[0]
    there = {first: set(stored)}
    return gaps_to_ask(there, wanted, start=start, end=end, due=due, dataset=dataset)


def test_of_an_empty_lake_everything_is_asked() -> None:
    assert ask([]) == [Gap(("SPY",), START, END)]


def test_nothing_is_asked_of_complete_years() -> None:
    assert ask(ALL) == []


def test_a_new_year_alone_is_asked() -> None:
    assert ask(FULL) == [Gap(("SPY",), date(2018, 1, 1), END)]


def test_a_running_year_is_asked_with_a_week_before_it() -> None:
    stored = FULL | days(date(2018, 1, 1), date(2018, 3, 1))
    due = date(2018, 3, 2)
    assert ask(stored, due=due) == [Gap(("SPY",), date(2018, 3, 1) - OVERLAP, due)]


def test_the_week_does_not_reach_into_the_year_before() -> None:
    stored = FULL | days(date(2018, 1, 1), date(2018, 1, 3))
    assert ask(stored, due=date(2018, 1, 4)) == [Gap(("SPY",), date(2018, 1, 1), date(2018, 1, 4))]


def test_a_hole_within_a_year_is_asked_with_a_week_before_it() -> None:
    hole = date(2017, 6, 15)
    assert ask(ALL - {hole}) == [Gap(("SPY",), date(2017, 6, 14) - OVERLAP, hole)]


def test_two_holes_are_one_request() -> None:
    holes = {date(2016, 3, 1), date(2018, 6, 15)}
    assert ask(ALL - holes) == [Gap(("SPY",), date(2016, 2, 29) - OVERLAP, date(2018, 6, 15))]


def test_a_hole_of_another_year_is_not_asked() -> None:
    assert ask(ALL - {date(2016, 3, 1)}, start=date(2017, 1, 1)) == []


def test_a_crypto_weekend_is_a_hole() -> None:
    saturday, first = date(2018, 1, 6), date(2018, 1, 1)
    every = {first + timedelta(days=n) for n in range(10)}
    (gap,) = ask(every - {saturday}, "BTC-USD", start=first, due=date(2018, 1, 10))
    assert (gap.keys, gap.end) == (("BTC-USD",), saturday)
    assert ask(every, "BTC-USD", start=first, due=date(2018, 1, 10)) == []


def test_a_crypto_day_is_due_when_it_is_over() -> None:
    due = due_days("daily_bars", "ETH-USD", date(2018, 12, 28), END, date(2018, 12, 31))
    assert due == [date(2018, 12, 28), date(2018, 12, 29), date(2018, 12, 30)]


@pytest.mark.parametrize("dataset", ["rates", "put_call"])
def test_what_is_known_a_session_later_is_due_then(dataset: Dataset) -> None:
    known = days(date(2018, 1, 1), date(2018, 3, 1))
    year = {"start": date(2018, 1, 1), "dataset": dataset}
    assert ask(known, due=date(2018, 3, 2), **year) == []
    assert ask(known, due=date(2018, 3, 5), **year)[0].end == date(2018, 3, 5)


def test_no_rate_is_due_before_it_is_published() -> None:
    thursday, columbus, tuesday = date(2018, 10, 4), date(2018, 10, 8), date(2018, 10, 9)
    assert due_days("rates", "DGS10", thursday, END, columbus) == [thursday]
    assert due_days("rates", "DGS10", thursday, END, tuesday) == [thursday, date(2018, 10, 5)]
    assert due_days("put_call", "x", thursday, END, columbus)[-1] == date(2018, 10, 5)


def test_nothing_after_what_is_due_is_asked() -> None:
    assert ask([], due=date(2017, 6, 1)) == [Gap(("SPY",), START, date(2017, 6, 1))]
    assert ask([], due=date(2015, 6, 1)) == []


def test_keys_with_the_same_gap_go_together() -> None:
    assert ask(ALL, "SPY", "QQQ", "IWM") == [Gap(("QQQ", "IWM"), START, END)]


def test_keys_with_different_gaps_go_apart() -> None:
    gaps = ask(FULL, "QQQ", "SPY")
    assert gaps == [Gap(("QQQ",), START, END), Gap(("SPY",), date(2018, 1, 1), END)]


@pytest.mark.parametrize("year", range(2005, 2026))
def test_a_year_that_ends_with_holidays_is_complete(year: int) -> None:
    first, last = date(year, 1, 1), date(year, 12, 31)
    assert ask(days(first, last), start=first, end=last, due=date(year + 1, 2, 1)) == []


def test_the_last_session_of_a_year_is_not_forgotten() -> None:
    stored = days(date(2017, 1, 1), date(2017, 12, 28))
    (gap,) = ask(stored, start=date(2017, 1, 1), due=date(2018, 1, 3))
    assert gap.start <= date(2017, 12, 29) <= gap.end


any_day = st.dates(date(2015, 1, 1), date(2019, 12, 31))


@settings(deadline=None, max_examples=50)
@given(st.sets(st.sampled_from(sorted(ALL)), max_size=4), any_day, any_day)
def test_what_is_asked_covers_what_is_missing_and_nothing_more(
    holes: set[date], start: date, due: date
) -> None:
    gaps = ask(ALL - holes, start=start, due=due)
    last = min(END, due)
    assert len(gaps) <= 1
    assert all(start <= gap.start <= gap.end <= last for gap in gaps)
    due_sessions = sessions.sessions_between(start, last) if start <= last else []
    missing = [day for day in due_sessions if day in holes or day not in ALL]
    assert bool(gaps) == bool(missing)
    assert all(gap.start <= day <= gap.end for gap in gaps for day in missing)
