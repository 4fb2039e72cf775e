"""The listing calendar against known dates and against the expiries of real chains."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, date, datetime

import exchange_calendars
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.options.expiries import (
    CLOSED_AT_SHORT_NOTICE,
    expiries_listed,
    is_0dte_available,
    is_expiry,
    missing_expiries,
    month_end,
    options_close,
    settlement,
    third_friday,
    trading_day,
)
from spy_assets.sessions import is_session, next_session, session_close, session_open

sessions = st.dates(date(2011, 1, 3), date(2030, 12, 30)).map(next_session)


def days(root: str, on: date, *, certain: bool = False) -> list[date]:
    return [e.day for e in expiries_listed(root, on) if e.certain or not certain]


@pytest.mark.parametrize(
    ("month", "day"),
    [
        ((2014, 4), date(2014, 4, 17)),  # Good Friday
        ((2019, 4), date(2019, 4, 18)),  # Good Friday
        ((2026, 6), date(2026, 6, 18)),  # Juneteenth
        ((2027, 6), date(2027, 6, 17)),  # Juneteenth on a Saturday, closed on Friday
        ((2026, 7), date(2026, 7, 17)),
    ],
)
def test_monthlies_fall_on_the_third_friday_or_before(month, day):
    assert third_friday(*month) == day


@pytest.mark.parametrize(
    ("month", "day"),
    [
        ((2026, 10), date(2026, 10, 30)),
        ((2027, 1), date(2027, 1, 29)),
        ((2024, 3), date(2024, 3, 28)),
    ],
)
def test_month_ends_are_sessions(month, day):
    assert month_end(*month) == day


@given(sessions)
@settings(deadline=None, max_examples=50)
def test_every_listed_expiry_is_a_session_not_before_today(on):
    listed = days("SPY", on)
    assert listed == sorted(set(listed))
    assert all(is_session(day) and day >= on for day in listed)


@given(sessions.filter(lambda day: day >= date(2022, 11, 14)))
@settings(deadline=None, max_examples=50)
def test_since_november_2022_a_contract_expires_on_every_session(on):
    assert is_0dte_available("SPY", on)
    assert days("SPY", on)[0] == on
    assert days("SPY", on)[1] == next_session(on)


@pytest.mark.parametrize(
    ("root", "day", "available"),
    [
        ("SPY", date(2022, 11, 8), False),  # a Tuesday before
        ("SPY", date(2022, 11, 15), True),
        ("SPY", date(2022, 11, 17), True),
        ("SPY", date(2018, 2, 12), False),  # a Monday before
        ("SPY", date(2018, 2, 26), True),
        ("SPY", date(2018, 2, 20), True),  # Presidents' Day moved Monday's expiry to Tuesday
        ("SPY", date(2016, 8, 24), False),  # a Wednesday before
        ("SPY", date(2016, 9, 7), True),
        ("SPY", date(2012, 3, 9), True),  # a Friday
        ("SPY", date(2009, 3, 13), False),  # no weeklies yet
        ("SPY", date(2009, 3, 20), True),  # a monthly
        ("SPXW", date(2016, 3, 2), True),
        ("SPXW", date(2016, 8, 22), True),
        ("SPXW", date(2022, 4, 19), True),
        ("SPXW", date(2022, 5, 5), False),
        ("SPXW", date(2022, 5, 12), True),
        ("SPX", date(2026, 7, 16), False),
        ("SPX", date(2026, 7, 17), True),
        ("SPY", date(2026, 7, 25), False),  # a Saturday
    ],
)
def test_0dte_by_weekday_and_year(root, day, available):
    assert is_0dte_available(root, day) is available


def test_a_root_without_rules_has_monthlies_only():
    kinds = {expiry.kind for expiry in expiries_listed("XYZ", date(2026, 7, 22))}
    assert kinds == {"monthly", "leaps"}


def test_before_its_first_listing_a_root_has_none():
    with pytest.raises(DataError, match="SPY had no listed options on 2004-12-31"):
        expiries_listed("SPY", date(2004, 12, 31))


def test_kinds_of_a_day_are_named():
    kinds = {e.day: e.kind for e in expiries_listed("SPY", date(2026, 7, 22))}
    assert kinds[date(2026, 7, 22)] == "daily"
    assert kinds[date(2026, 7, 31)] == "month_end"
    assert kinds[date(2026, 8, 14)] == "weekly"
    assert kinds[date(2026, 8, 21)] == "monthly"
    assert kinds[date(2026, 9, 30)] == "quarterly"
    assert kinds[date(2028, 1, 21)] == "leaps"


def test_missing_expiries_are_those_listed_for_sure():
    on = date(2026, 7, 22)
    present = frozenset(days("SPY", on, certain=True)) - {date(2026, 8, 21)}
    assert missing_expiries("SPY", on, present) == [date(2026, 8, 21)]


@pytest.mark.parametrize(
    "day",
    [
        "2026-07-22",
        "2026-07-24",
        "2026-07-27",
        "2026-07-28",
        "2026-07-29",
        "2026-07-30",
        "2026-07-31",
    ],
)
def test_real_cboe_chains_have_what_is_certain_and_nothing_unknown(shared_data, day):
    file = shared_data / "chains" / "cboe" / "SPY" / f"{day}.parquet"
    present = frozenset(pl.read_parquet(file, columns=["expiry"])["expiry"])
    on = date.fromisoformat(day)
    assert missing_expiries("SPY", on, present) == []
    assert present <= set(days("SPY", on))


def test_real_yahoo_chains_have_what_is_certain_and_nothing_unknown(shared_data):
    file = shared_data / "chains" / "yfinance" / "spy_chain_yf_4snaps_2026-02.parquet"
    snapshots = pl.read_parquet(file, columns=["src_file", "expirationDate"]).unique()
    for _, rows in snapshots.group_by("src_file"):
        present = frozenset(rows["expirationDate"].str.to_date())
        on = min(present)  # the day itself has an expiry
        assert missing_expiries("SPY", on, present) == []
        assert present <= set(days("SPY", on))


def test_real_universe_files_of_the_turn_of_2024_have_nothing_unknown(shared_data):
    for file in sorted((shared_data / "lean").glob("202*.csv")):
        rows = list(csv.reader(file.read_text().splitlines()))[2:]
        present = {datetime.strptime(row[0], "%Y%m%d").date() for row in rows}  # noqa: DTZ007
        on = datetime.strptime(file.stem, "%Y%m%d").date()  # noqa: DTZ007
        assert present <= set(days("SPY", on))


def test_the_real_list_of_contracts_of_august_2025_is_that_of_the_rules(shared_data):
    """8,096 contracts on a Saturday, a year before the chains that the rules were seen in."""
    name = "v3_reference_options_contracts_SPY_2025-08-30.json.gz"
    packed = (shared_data / "fixtures/polygon_real_2025" / name).read_bytes()
    contracts = json.loads(gzip.decompress(packed))
    present = frozenset(date.fromisoformat(one["expiration_date"]) for one in contracts)
    on = date(2025, 9, 2)  # the next session; Monday was Labor Day
    assert missing_expiries("SPY", on, present) == []
    assert present <= set(days("SPY", on))


#: When options on the weekday were first listed, of SPY and of SPXW.
FIRST_BY_WEEKDAY = {
    0: (date(2018, 2, 16), date(2016, 8, 15)),
    1: (date(2022, 11, 14), date(2022, 4, 18)),
    2: (date(2016, 8, 30), date(2016, 2, 23)),
    3: (date(2022, 11, 14), date(2022, 5, 11)),
    4: (date(2010, 6, 4), date(2005, 10, 28)),
}


def test_the_closures_at_short_notice_are_those_of_the_exchange_on_days_with_an_expiry():
    """Days of mourning and storms of exchange_calendars on which a weekly or a daily was listed."""
    exchange = exchange_calendars.get_calendar("XNYS", start="2005-01-10")
    closed = {day.date() for day in exchange.adhoc_holidays if day.year >= 2005}
    assert date(2012, 10, 29) in closed  # a storm, on a Monday without expiries
    with_expiry = {day for day in closed if day >= min(FIRST_BY_WEEKDAY[day.weekday()])}
    assert with_expiry == CLOSED_AT_SHORT_NOTICE


def test_pm_series_settle_on_the_close_and_trade_a_quarter_of_an_hour_longer():
    found = settlement("SPY", date(2026, 7, 22))
    assert (found.style, found.settles_at) == ("PM", session_close(date(2026, 7, 22)))
    assert found.trades_until == datetime(2026, 7, 22, 20, 15, tzinfo=UTC)


def test_on_a_half_day_they_end_at_one():
    found = settlement("SPY", date(2018, 11, 23))
    assert found.settles_at == datetime(2018, 11, 23, 18, 0, tzinfo=UTC)


def test_am_series_settle_on_the_open_and_trade_until_the_evening_before():
    found = settlement("SPX", date(2026, 7, 17))
    assert (found.style, found.settles_at) == ("AM", session_open(date(2026, 7, 17)))
    assert found.trades_until == options_close(date(2026, 7, 16), "SPX")


def test_index_weeklies_stop_at_the_bell_of_their_last_day():
    found = settlement("SPXW", date(2026, 7, 16))
    assert found.trades_until == found.settles_at == session_close(date(2026, 7, 16))


def test_saturday_symbols_stand_for_the_friday_before():
    assert trading_day(date(2014, 11, 22)) == date(2014, 11, 21)
    assert settlement("SPY", date(2014, 11, 22)) == settlement("SPY", date(2014, 11, 21))
    assert trading_day(date(2014, 4, 19)) == date(2014, 4, 17)  # Good Friday in between


@pytest.mark.parametrize(
    "day", [date(2024, 12, 25), date(2027, 1, 2), date(2015, 2, 21), date(2014, 11, 23)]
)
def test_nothing_expires_on_a_holiday_or_a_later_weekend(day):
    assert not is_expiry(day)
    with pytest.raises(DataError, match=f"no contract expires on {day}"):
        settlement("SPY", day)


def test_a_closure_at_short_notice_moves_its_expiry():
    assert trading_day(date(2025, 1, 9)) == date(2025, 1, 8)


def test_an_expiry_beyond_the_calendar_is_refused():
    with pytest.raises(DataError, match="2099-06-19"):
        trading_day(date(2099, 6, 19))


def test_shares_stop_at_the_bell():
    assert options_close(date(2026, 7, 22), "AAPL") == session_close(date(2026, 7, 22))
