"""The calendar against `exchange_calendars` and against known days."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from spy_assets import sessions
from spy_assets.errors import ConfigError, NaiveTimestamp

SESSION = st.sampled_from(sessions.sessions_between(date(1993, 1, 1), date(2030, 12, 31)))


@pytest.fixture
def overrides():
    yield sessions.install_overrides
    sessions.install_overrides({})


def test_tables_equal_the_calendar_package():
    import exchange_calendars

    calendar = exchange_calendars.get_calendar("XNYS", start="1990-01-01", end="2045-12-31")
    days = sessions.sessions_between(sessions.CALENDAR_START, sessions.CALENDAR_END)
    assert [stamp.date() for stamp in calendar.sessions] == days
    closes = [stamp.to_pydatetime().astimezone(UTC) for stamp in calendar.closes]
    assert closes == [sessions.session_close(day) for day in days]
    opens = [stamp.to_pydatetime().astimezone(UTC) for stamp in calendar.opens]
    assert opens == [sessions.session_open(day) for day in days]


@pytest.mark.fault(1)
@pytest.mark.parametrize(
    "day", [date(2018, 12, 25), date(2018, 12, 5), date(2012, 10, 29), date(2001, 9, 12)]
)
def test_closed_days_are_no_sessions(day):
    assert not sessions.is_session(day)
    with pytest.raises(ConfigError, match=str(day)):
        sessions.session_close(day)


@pytest.mark.fault(2)
def test_half_day_has_210_minutes():
    assert sessions.is_half_day(date(2018, 11, 23))
    assert sessions.bars_due(date(2018, 11, 23)) == 210
    assert sessions.bars_due(date(2018, 11, 23), 5) == 42


@pytest.mark.parametrize(
    ("day", "opens"),
    [
        pytest.param(date(2024, 3, 8), "14:30", marks=pytest.mark.fault(3)),
        pytest.param(date(2024, 3, 11), "13:30", marks=pytest.mark.fault(3)),
        pytest.param(date(2024, 11, 1), "13:30", marks=pytest.mark.fault(4)),
        pytest.param(date(2024, 11, 4), "14:30", marks=pytest.mark.fault(4)),
    ],
)
def test_clock_changes_move_the_bell_in_utc_only(day, opens):
    assert sessions.session_open(day).strftime("%H:%M") == opens
    assert sessions.bars_due(day) == 390


@pytest.mark.fault(5)
def test_unscheduled_closure_comes_from_the_override_table(tmp_path: Path, overrides):
    table = tmp_path / "overrides.csv"
    table.write_text("date,close\n2026-12-09,\n2026-12-10,12:00\n")
    overrides(sessions.read_overrides(table))
    assert not sessions.is_session(date(2026, 12, 9))
    assert sessions.next_session(date(2026, 12, 8)) == date(2026, 12, 10)
    assert sessions.bars_due(date(2026, 12, 10)) == 150


def test_bad_override_names_the_row(tmp_path: Path):
    table = tmp_path / "overrides.csv"
    table.write_text("date,close\n2026-13-09,\n")
    with pytest.raises(ConfigError, match="2026-13-09"):
        sessions.read_overrides(table)


@given(SESSION, st.integers(1, 300))
@hypothesis_settings(deadline=None, max_examples=50)
def test_next_and_previous_are_inverse(day, n):
    later = sessions.next_session(day, n)
    assert sessions.previous_session(later, n) == day
    assert sessions.sessions_apart(day, later) == n


@given(SESSION, st.floats(0, 20_000), st.integers(0, 2000))
@hypothesis_settings(deadline=None, max_examples=50)
def test_adding_trading_minutes_is_measured_back(day, minutes, start):
    begin = sessions.session_open(day) + timedelta(minutes=start)
    end = sessions.add_trading_minutes(begin, minutes)
    assert sessions.trading_minutes_between(begin, end) == pytest.approx(minutes, abs=1e-4)


def test_a_day_of_market_time_is_26_fifteen_minute_bars():
    opened = sessions.session_open(date(2018, 10, 10))
    assert sessions.add_trading_minutes(opened, 26 * 15) == sessions.session_close(
        date(2018, 10, 10)
    )


@pytest.mark.parametrize(
    ("now", "closed", "decided"),
    [
        ("2018-11-23T17:59", date(2018, 11, 21), date(2018, 11, 21)),
        ("2018-11-23T18:00", date(2018, 11, 23), date(2018, 11, 21)),
        ("2018-11-23T22:00", date(2018, 11, 23), date(2018, 11, 23)),
        ("2018-11-25T12:00", date(2018, 11, 23), date(2018, 11, 23)),
    ],
)
def test_last_closed_and_last_decided(now, closed, decided):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert sessions.last_closed_session(moment) == closed
    assert sessions.last_decided_session(moment) == decided


@given(SESSION)
@hypothesis_settings(deadline=None, max_examples=50)
def test_decision_is_after_the_close_and_before_the_next_open(day):
    assert sessions.session_close(day) < sessions.decision_time(day)
    assert sessions.decision_time(day) < sessions.session_open(sessions.next_session(day))


@pytest.mark.fault(18)
def test_naive_moments_are_refused():
    with pytest.raises(NaiveTimestamp, match="2018-01-02"):
        sessions.last_closed_session(datetime(2018, 1, 2, 12))  # noqa: DTZ001


def test_days_outside_the_calendar_are_named():
    with pytest.raises(ConfigError, match="1989-12-29"):
        sessions.session_open(date(1989, 12, 29))


def test_close_is_four_o_clock_in_new_york():
    close = sessions.session_close(date(2018, 7, 2)).astimezone(sessions.NEW_YORK)
    assert close.time() == time(16)
