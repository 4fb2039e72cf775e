"""Sessions and minutes of trading, looked up."""

from __future__ import annotations

from datetime import date

from spy_assets.sessions import session_close, session_open, trading_minutes_between
from spy_assets.simulator.trading_time import TradingTime

#: Thanksgiving 2018 was the 22nd; the 23rd closed at 13:00.
WEDNESDAY, FRIDAY, MONDAY = date(2018, 11, 21), date(2018, 11, 23), date(2018, 11, 26)


def test_a_holiday_counts_nothing_and_a_half_day_its_own_minutes():
    time = TradingTime(date(2018, 11, 19), date(2018, 11, 30))
    assert time.sessions(WEDNESDAY, MONDAY) == 2
    assert time.minutes(WEDNESDAY, FRIDAY) == 210.0
    assert time.minutes(WEDNESDAY, MONDAY) == 600.0
    assert time.minutes(FRIDAY, FRIDAY, from_open=True) == 210.0


def test_minutes_are_those_of_the_calendar():
    time = TradingTime(date(2018, 11, 19), date(2018, 11, 30))
    expected = trading_minutes_between(session_open(WEDNESDAY), session_close(MONDAY))
    assert time.minutes(WEDNESDAY, MONDAY, from_open=True) == expected
