"""Cleaning: the fault table's rows 1-20 that concern one batch, and its laws."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from spy_assets.errors import DataError, NaiveTimestamp, SchemaDrift
from spy_assets.market.cleaning import (
    Cleaned,
    clean_daily_bars,
    clean_minute_bars,
    clean_put_call,
    clean_rates,
    clean_volatility,
    jumps,
)
from spy_assets.market.schemas import CANONICAL, QUARANTINE, raw_columns
from spy_assets.sessions import session_close, session_open
from spy_assets_tests.market.frames import AS_OF, START, bar, bars, frame, index, minute

DAY = date(2018, 2, 1)


def clean(rows: list[dict[str, Any]]) -> Cleaned:
    return clean_daily_bars(frame("daily_bars", rows), symbol="SPY", as_of=AS_OF)


def clean_with(**changes: Any) -> Cleaned:
    """Clean thirty sound bars, one of which has the changes."""
    rows = bars()
    rows[15] |= changes
    return clean(rows)


def reasons(cleaned: Cleaned) -> list[tuple[str, str]]:
    return cleaned.quarantined.select("reason", "severity").rows()


def test_sound_bars_pass_as_they_are() -> None:
    cleaned = clean(bars())
    assert cleaned.frame.schema == pl.Schema(CANONICAL["daily_bars"])
    assert cleaned.frame.select(raw_columns("daily_bars").keys()).equals(
        frame("daily_bars", bars())
    )
    assert cleaned.quarantined.is_empty()
    assert cleaned.quarantined.schema == pl.Schema(QUARANTINE)
    assert cleaned.frame["event_time"][0] == session_close(START)


def test_no_rows_give_no_rows() -> None:
    assert clean([]).frame.is_empty()


@pytest.mark.fault(8)
@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
def test_a_zero_price_is_quarantined(column: str) -> None:
    cleaned = clean_with(**{column: 0.0})
    assert cleaned.frame.height == 29
    assert "zero_price" in reasons(cleaned)[0][0]
    assert reasons(cleaned)[0][1] == "error"


@pytest.mark.fault(9)
def test_a_negative_price_is_quarantined() -> None:
    cleaned = clean_with(low=-1.0)
    assert cleaned.frame.height == 29
    assert reasons(cleaned) == [("negative_price", "error")]


@pytest.mark.fault(10)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", ["close", "volume", "dividend"])
def test_nan_and_infinity_are_quarantined(column: str, value: float) -> None:
    cleaned = clean_with(**{column: value})
    assert cleaned.frame.height == 29
    assert "not_finite" in reasons(cleaned)[0][0]
    assert json.loads(cleaned.quarantined["payload"][0])[column] == str(value)


@pytest.mark.parametrize("column", ["open", "close", "volume"])
def test_a_missing_value_is_quarantined(column: str) -> None:
    assert "missing" in reasons(clean_with(**{column: None}))[0][0]


@pytest.mark.fault(11)
def test_the_same_bar_twice_is_one_bar() -> None:
    assert_frame_equal(clean(bars() + bars()[3:9]).frame, clean(bars()).frame)


@pytest.mark.fault(12)
def test_two_bars_with_one_key_are_both_quarantined() -> None:
    rows = bars()
    cleaned = clean([*rows, rows[4] | {"close": 100.5}])
    assert cleaned.frame.height == 29
    assert reasons(cleaned) == [("duplicate_key", "error")] * 2
    assert cleaned.quarantined["session"].unique().to_list() == [rows[4]["session"]]


@pytest.mark.fault(14)
def test_rows_out_of_order_are_sorted() -> None:
    assert_frame_equal(clean(bars()[::-1]).frame, clean(bars()).frame)


@pytest.mark.fault(15)
@pytest.mark.parametrize("position", [0, 1, 15, 29])
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_another_unit_is_quarantined(position: int, factor: float) -> None:
    rows = bars()
    rows[position] |= {n: rows[position][n] * factor for n in ("open", "high", "low", "close")}
    cleaned = clean(rows)
    assert cleaned.quarantined["session"].to_list() == [rows[position]["session"]]
    assert reasons(cleaned)[0] == ("unit_error", "error")


@pytest.mark.fault(15)
def test_one_price_in_another_unit_is_quarantined() -> None:
    assert ("unit_error", "error") in reasons(clean_with(high=10_100.0))


@pytest.mark.fault(15)
def test_a_single_new_bar_is_judged_by_its_history() -> None:
    before = clean(bars()).frame
    new = frame("daily_bars", [bar(date(2018, 2, 15), 10_000.0)])
    assert clean_daily_bars(new, as_of=AS_OF).quarantined.is_empty()
    judged = clean_daily_bars(new, as_of=AS_OF, history=before)
    assert judged.frame.is_empty()
    assert judged.quarantined.height == 1


@pytest.mark.fault(6)
def test_a_split_is_no_unit_error_and_no_jump() -> None:
    rows = bars()
    for row in rows[15:]:
        row |= {name: row[name] / 50 for name in ("open", "high", "low", "close")}
    rows[15]["split"] = 50.0
    cleaned = clean(rows)
    assert cleaned.quarantined.is_empty()
    assert cleaned.frame["close"][15] == pytest.approx(2.0)


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"high": 98.0, "low": 99.5}, "high_below_low"),
        ({"close": 101.5}, "close_outside_range"),
        ({"close": 98.0}, "close_outside_range"),
        ({"open": 103.0}, "open_outside_range"),
    ],
)
def test_prices_that_contradict_each_other_are_quarantined(
    changes: dict[str, float], reason: str
) -> None:
    cleaned = clean_with(**changes)
    assert cleaned.frame.height == 29
    assert reason in reasons(cleaned)[0][0].split(",")


def test_float_noise_is_no_contradiction() -> None:
    cleaned = clean_with(close=101.0 + 1e-13, high=101.0, open=100.0, low=99.0)
    assert cleaned.quarantined.is_empty()
    assert cleaned.frame["high"][15] == cleaned.frame["close"][15]


@pytest.mark.fault(17)
def test_a_bar_of_tomorrow_is_quarantined() -> None:
    as_of = session_close(DAY) + timedelta(hours=1)
    rows = frame("daily_bars", [bar(DAY), bar(date(2018, 2, 2))])
    cleaned = clean_daily_bars(rows, as_of=as_of)
    assert cleaned.frame["session"].to_list() == [DAY]
    assert reasons(cleaned) == [("future", "error")]


def test_the_bar_of_the_running_day_is_left_out() -> None:
    as_of = session_close(DAY) - timedelta(hours=1)
    cleaned = clean_daily_bars(frame("daily_bars", [bar(DAY)]), as_of=as_of)
    assert cleaned.frame.is_empty()
    assert cleaned.quarantined.is_empty()
    assert cleaned.notes == ("1 bars of the running day left out",)


@pytest.mark.fault(18)
def test_a_naive_timestamp_is_refused() -> None:
    naive = frame("daily_bars", bars()).with_columns(
        pl.lit(datetime(2018, 1, 2)).alias("event_time")  # noqa: DTZ001
    )
    with pytest.raises(
        NaiveTimestamp, match=r"daily_bars\.event_time has no time zone.*2018-01-02"
    ):
        clean_daily_bars(naive, as_of=AS_OF)


@pytest.mark.fault(18)
def test_a_naive_as_of_is_refused() -> None:
    with pytest.raises(NaiveTimestamp):
        clean_daily_bars(frame("daily_bars", bars()), as_of=datetime(2018, 1, 2))  # noqa: DTZ001


@pytest.mark.fault(19)
def test_a_jump_is_published_with_a_warning() -> None:
    cleaned = clean_with(session=date(2018, 2, 14), close=120.0, high=121.0)
    rows = bars(60)
    rows[50] |= {"close": 120.0, "high": 121.0}
    cleaned = clean(rows)
    assert cleaned.frame.height == 60
    assert ("jump", "warn") in reasons(cleaned)


@pytest.mark.fault(19)
def test_a_jump_is_measured_by_returns_before_it() -> None:
    rows = bars(60)
    rows[50] |= {"close": 120.0, "high": 121.0}
    found = jumps(frame("daily_bars", rows))
    assert found["session"].to_list()[0] == rows[50]["session"]
    assert found["sigmas"][0] > 10
    assert (
        jumps(frame("daily_bars", rows[:51])).select("sigmas").rows()
        == found.select("sigmas").rows()[:1]
    )


@pytest.mark.fault(1)
@pytest.mark.parametrize("day", [date(2018, 12, 5), date(2018, 7, 4), date(2018, 7, 7)])
def test_a_row_on_a_day_without_a_session_is_quarantined(day: date) -> None:
    cleaned = clean([*bars(), bar(day)])
    assert cleaned.frame.height == 30
    assert reasons(cleaned) == [("not_a_session", "warn")]


def test_crypto_trades_on_saturdays() -> None:
    saturday = date(2018, 7, 7)
    rows = frame("daily_bars", [bar(saturday, symbol="BTC-USD")])
    cleaned = clean_daily_bars(rows, symbol="BTC-USD", as_of=AS_OF)
    assert cleaned.frame["event_time"].item() == datetime(2018, 7, 8, tzinfo=UTC)


def test_other_columns_are_shown() -> None:
    other = frame("daily_bars", bars()).rename({"close": "adj_close"})
    with pytest.raises(
        SchemaDrift, match=r"missing columns \['close'\], unknown columns \['adj_close'\]"
    ):
        clean_daily_bars(other, as_of=AS_OF)


def test_other_types_are_refused() -> None:
    text = frame("daily_bars", bars()).with_columns(pl.lit("a lot").alias("volume"))
    with pytest.raises(SchemaDrift, match="volume"):
        clean_daily_bars(text, as_of=AS_OF)


def test_another_symbol_is_refused() -> None:
    with pytest.raises(DataError, match="asked for 'QQQ', got a row of 'SPY'"):
        clean_daily_bars(frame("daily_bars", bars()), symbol="QQQ", as_of=AS_OF)


def test_a_row_with_two_faults_is_one_quarantine_row() -> None:
    cleaned = clean_with(close=-5.0, volume=math.nan)
    assert cleaned.quarantined.height == 1
    assert {"negative_price", "not_finite"} <= set(reasons(cleaned)[0][0].split(","))


def test_row_ids_are_stable_and_tell_rows_apart() -> None:
    first = clean_with(close=0.0).quarantined
    assert first["row_id"].to_list() == clean_with(close=0.0).quarantined["row_id"].to_list()
    assert first["row_id"][0] != clean_with(close=-1.0).quarantined["row_id"][0]


def test_vix_open_outside_range_becomes_null() -> None:
    raw = frame("volatility", [index(DAY, open=41.6), index(date(2018, 2, 2))])
    cleaned = clean_volatility(raw, as_of=AS_OF)
    assert cleaned.frame["open"].to_list() == [None, 20.0]
    assert cleaned.frame["close"].to_list() == [20.0, 20.0]
    assert reasons(cleaned) == [("open_outside_range", "warn")]
    assert json.loads(cleaned.quarantined["payload"][0])["open"] == 41.6


def test_an_index_of_closes_alone_stays_so() -> None:
    raw = frame("volatility", [index(DAY, open=None, high=None, low=None)])
    assert (
        clean_volatility(raw, as_of=AS_OF).frame.select("open", "high", "low").row(0) == (None,) * 3
    )


def test_an_impossible_index_value_is_quarantined() -> None:
    raw = frame("volatility", [index(DAY, 15.71, "VVIX")])
    assert reasons(clean_volatility(raw, as_of=AS_OF)) == [("index_out_of_range", "error")]


@pytest.mark.fault(15)
def test_a_rate_in_percent_is_quarantined() -> None:
    rows = [
        {"series": "DFF", "session": DAY, "rate": rate, "is_constant": False} for rate in (5.33,)
    ]
    cleaned = clean_rates(frame("rates", rows), as_of=AS_OF)
    assert cleaned.frame.is_empty()
    assert reasons(cleaned) == [("rate_out_of_range", "error")]


def test_rates_are_kept_on_weekends_and_below_zero() -> None:
    rows = [{"series": "DFF", "session": date(2018, 7, 7), "rate": -0.001, "is_constant": False}]
    assert clean_rates(frame("rates", rows), as_of=AS_OF).frame.height == 1


def test_a_put_call_ratio_with_a_lost_digit_is_quarantined() -> None:
    rows = [
        {"series": "total", "session": DAY, "put_volume": None, "call_volume": None, "ratio": ratio}
        for ratio in (11.0,)
    ]
    cleaned = clean_put_call(frame("put_call", rows), as_of=AS_OF)
    assert reasons(cleaned) == [("ratio_out_of_range", "error")]


def minutes(session: date, rows: list[dict[str, Any]]) -> Cleaned:
    return clean_minute_bars(frame("minute_bars", rows), symbol="SPY", session=session)


def test_sound_minutes_pass() -> None:
    cleaned = minutes(DAY, [minute(DAY, n) for n in range(390)])
    assert cleaned.frame.height == 390
    assert cleaned.quarantined.is_empty()
    assert cleaned.notes == ()
    assert cleaned.frame["event_time"][-1] == session_close(DAY)


def test_bars_outside_regular_hours_are_left_out_and_counted() -> None:
    cleaned = minutes(DAY, [minute(DAY, n) for n in (-5, 0, 389, 390, 500)])
    assert cleaned.frame.height == 2
    assert cleaned.notes == ("3 bars outside regular hours left out",)


@pytest.mark.fault(2)
def test_bars_after_an_early_close_are_left_out() -> None:
    half = date(2018, 11, 23)
    cleaned = minutes(half, [minute(half, n) for n in range(215)])
    assert cleaned.frame.height == 210


def test_a_bar_of_another_day_is_quarantined() -> None:
    late = minute(DAY, 5) | {"bar_start": session_open(date(2018, 2, 5))}
    cleaned = minutes(DAY, [*[minute(DAY, n) for n in range(5)], late])
    assert reasons(cleaned) == [("future,wrong_session", "error")]


def test_a_bar_between_two_minutes_is_quarantined() -> None:
    odd = minute(DAY, 5) | {"bar_start": session_open(DAY) + timedelta(seconds=30)}
    assert reasons(minutes(DAY, [minute(DAY, 1), minute(DAY, 2), odd])) == [("off_grid", "error")]


def test_a_vwap_out_of_range_becomes_null() -> None:
    cleaned = minutes(DAY, [minute(DAY, 0, vwap=101.0)])
    assert cleaned.frame["vwap"].to_list() == [None]
    assert reasons(cleaned) == [("vwap_outside_range", "warn")]


@pytest.mark.fault(18)
def test_naive_minutes_are_refused() -> None:
    naive = frame("minute_bars", [minute(DAY, 0)]).with_columns(
        pl.col("bar_start").dt.replace_time_zone(None)
    )
    with pytest.raises(NaiveTimestamp, match=r"minute_bars\.bar_start"):
        clean_minute_bars(naive, symbol="SPY", session=DAY)


@pytest.mark.fault(17)
def test_minutes_of_the_future_are_quarantined() -> None:
    as_of = session_open(DAY) + timedelta(minutes=2)
    raw = frame("minute_bars", [minute(DAY, n) for n in range(4)])
    cleaned = clean_minute_bars(raw, symbol="SPY", session=DAY, as_of=as_of)
    assert cleaned.frame.height == 2
    assert reasons(cleaned) == [("future", "error")] * 2


_VALUES = st.sampled_from([100.0, 101.0, 99.5, 0.0, -3.0, 1e4, 1.0, math.nan, math.inf, None])


@st.composite
def _dirty(draw: st.DrawFn) -> pl.DataFrame:
    rows = bars(25)
    for _ in range(draw(st.integers(0, 6))):
        row = dict(draw(st.sampled_from(rows)))
        column = draw(st.sampled_from(["open", "high", "low", "close", "volume", "split"]))
        rows.append(row | {column: draw(_VALUES)})
    return frame("daily_bars", draw(st.permutations(rows)))


@given(_dirty())
@settings(deadline=None, max_examples=40)
def test_cleaning_is_idempotent_and_loses_nothing(raw: pl.DataFrame) -> None:
    once = clean_daily_bars(raw, as_of=AS_OF)
    again = clean_daily_bars(once.frame.select(raw.columns), as_of=AS_OF)
    assert_frame_equal(again.frame, once.frame)
    assert again.quarantined.filter(pl.col("severity") == "error").is_empty()
    withheld = once.quarantined.filter(pl.col("severity") == "error").height
    assert once.frame.height + withheld == raw.unique().height
    prices = once.frame.select("open", "high", "low", "close", "volume", "split")
    assert all(math.isfinite(value) and value > 0 for row in prices.rows() for value in row)


@given(_dirty())
@settings(deadline=None, max_examples=20)
def test_the_order_of_rows_does_not_matter(raw: pl.DataFrame) -> None:
    one = clean_daily_bars(raw, as_of=AS_OF)
    other = clean_daily_bars(raw.reverse(), as_of=AS_OF)
    assert_frame_equal(one.frame, other.frame)
    assert_frame_equal(one.quarantined, other.quarantined)
