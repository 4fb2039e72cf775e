"""Publication times, from a table of expected answers."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from spy_assets.errors import ConfigError, DataError
from spy_assets.market.availability import (
    available_at,
    days_of,
    event_time,
    is_crypto,
    with_availability,
)
from spy_assets.market.cleaning import clean_daily_bars
from spy_assets.market.schemas import Dataset
from spy_assets.sessions import decision_time, is_session
from spy_assets_tests.market.frames import AS_OF, bar, frame

WINTER, SUMMER, HALF, GOOD_FRIDAY = (
    date(2018, 1, 3),
    date(2018, 7, 2),
    date(2018, 11, 23),
    date(2018, 3, 30),
)


@pytest.mark.parametrize(
    ("dataset", "day", "expected"),
    [
        ("daily_bars", WINTER, "2018-01-03 21:15 UTC"),
        ("daily_bars", SUMMER, "2018-07-02 20:15 UTC"),
        ("daily_bars", HALF, "2018-11-23 18:15 UTC"),
        ("volatility", WINTER, "2018-01-03 21:30 UTC"),
        ("put_call", WINTER, "2018-01-04 14:30 UTC"),
        ("put_call", HALF, "2018-11-26 14:30 UTC"),
        ("rates", WINTER, "2018-01-04 21:15 UTC"),
        ("rates", GOOD_FRIDAY, "2018-04-02 20:15 UTC"),
        ("rates", date(2018, 7, 7), "2018-07-09 20:15 UTC"),
    ],
)  # fmt: skip
def test_publication_times(dataset: Dataset, day: date, expected: str) -> None:
    assert f"{available_at(dataset, day):%Y-%m-%d %H:%M} UTC" == expected


@pytest.mark.parametrize("day", [WINTER, SUMMER, HALF])
def test_bars_and_indices_are_known_at_the_decision_but_rates_and_put_call_are_not(
    day: date,
) -> None:
    assert max(available_at("daily_bars", day), available_at("volatility", day)) <= decision_time(
        day
    )
    assert min(available_at("rates", day), available_at("put_call", day)) > decision_time(day)


def test_crypto_days_end_at_midnight() -> None:
    assert is_crypto("ETH-USD")
    assert not is_crypto("^GSPC")
    assert event_time("daily_bars", WINTER, "BTC-USD") == datetime(2018, 1, 4, tzinfo=UTC)
    assert available_at("daily_bars", WINTER, "BTC-USD") > decision_time(WINTER)


def test_frames_get_the_same_times_as_days() -> None:
    rows = [bar(WINTER), bar(SUMMER), bar(SUMMER, symbol="BTC-USD")]
    clean = clean_daily_bars(frame("daily_bars", rows), as_of=AS_OF).frame
    got = with_availability(clean, "daily_bars")
    for symbol, day, moment in got.select("symbol", "session", "available_at").iter_rows():
        assert moment == available_at("daily_bars", day, symbol)
    assert got.schema["available_at"] == pl.Datetime("us", "UTC")


def test_days_without_a_session_are_refused() -> None:
    with pytest.raises(ConfigError, match="not a session"):
        available_at("daily_bars", date(2018, 7, 4))


def test_minute_bars_have_no_day() -> None:
    with pytest.raises(DataError, match="no availability by day"):
        available_at("minute_bars", WINTER)


@pytest.mark.fault(1)
@pytest.mark.parametrize(
    ("day", "rests"),
    [
        (date(2024, 10, 14), True),  # Columbus Day
        (date(2024, 10, 7), False),
        (date(2016, 11, 11), True),  # Veterans Day, a Friday
        (date(2018, 11, 12), True),  # its Monday, as the 11th was a Sunday
        (date(2017, 11, 10), False),  # the Friday before a Saturday is worked
        (date(1997, 1, 20), True),  # Martin Luther King Day, stocks traded
    ],
)
def test_no_rate_is_due_when_the_bond_market_rests(day: date, rests: bool) -> None:
    assert is_session(day)
    assert days_of("rates", "DGS10", day, day) == ([] if rests else [day])
    assert days_of("volatility", "VIX", day, day) == [day]


def test_treasury_yields_have_a_row_for_every_day_due(shared_data: Path) -> None:
    rates = pl.read_parquet(shared_data / "fred" / "fred_rates_daily.parquet")
    for series in ("DGS10", "DGS3MO", "DFII10"):
        found = rates.filter(pl.col("series") == series).drop_nulls("value")
        there = set(found["date"].cast(pl.Date))
        due = days_of("rates", series, max(min(there), date(1993, 1, 4)), max(there))
        assert set(due) <= there, series
