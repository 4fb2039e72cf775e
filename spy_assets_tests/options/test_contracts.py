"""OCC symbols, the expiry calendar, strikes and time to expiry."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError, NaiveTimestamp
from spy_assets.options.contracts import (
    OptionContract,
    nearest_expiry,
    nearest_strike,
    parse_occ,
    weekly_expiry,
    years_to_expiry,
)
from spy_assets.sessions import is_session, next_session, session_close, session_open

contracts = st.builds(
    OptionContract,
    root=st.from_regex(r"[A-Z]{1,5}[0-9]?", fullmatch=True),
    expiry=st.dates(date(2000, 1, 1), date(2099, 12, 31)),
    right=st.sampled_from(["C", "P"]),
    strike=st.integers(1, 99_999_999).map(lambda mills: mills / 1000),
)
sessions = st.dates(date(1999, 1, 4), date(2030, 12, 31)).map(next_session)


@given(contracts)
@settings(deadline=None, max_examples=50)
def test_symbols_round_trip(contract):
    assert len(contract.occ) == 21
    assert parse_occ(contract.occ) == contract
    assert parse_occ(contract.compact) == contract
    assert parse_occ(contract.polygon) == contract
    assert contract.compact == contract.occ.replace(" ", "")


@given(contracts, st.integers(0, 5))
@settings(deadline=None, max_examples=50)
def test_any_padding_of_the_root_reads_the_same(contract, blanks):
    text = contract.compact
    assert (
        parse_occ(text[: len(contract.root)] + " " * blanks + text[len(contract.root) :])
        == contract
    )


def test_symbol_and_display_of_a_known_contract():
    contract = OptionContract("SPY", date(2026, 1, 13), "P", 688.5)
    assert contract.occ == "SPY   260113P00688500"
    assert contract.display == "SPY 260113 P 688.5"


@pytest.mark.fault(29)
def test_an_adjusted_contract_is_flagged():
    assert parse_occ("SPY1  260113P00688000").is_adjusted
    assert not parse_occ("SPY   260113P00688000").is_adjusted


@pytest.mark.fault(29)
def test_another_multiplier_makes_a_contract_adjusted():
    mini = OptionContract("SPY", date(2026, 1, 13), "P", 688.0, multiplier=10)
    assert mini.is_adjusted
    assert mini.occ == "SPY   260113P00688000"
    assert mini != parse_occ(mini.occ)
    with pytest.raises(DataError, match="multiplier 0"):
        OptionContract("SPY", date(2026, 1, 13), "P", 688.0, multiplier=0)


@pytest.mark.parametrize(
    ("symbol", "settlement"),
    [
        ("SPX   260717C07400000", "AM"),
        ("SPXW  260717C07400000", "PM"),
        ("SPY260717C00740000", "PM"),
    ],
)
def test_settlement_follows_from_the_root(symbol, settlement):
    assert parse_occ(symbol).settlement == settlement


@pytest.mark.parametrize(
    "symbol",
    [
        "",
        "SPY",
        "SPY   260113X00688000",
        "spy   260113P00688000",
        "SPY   260231P00688000",
        "SPY   260113P0068800",
        "SPY   260113P00000000",
        "SPY   260113P00688000 ",
        "X:SPY260113P00688000",
        "SPY   260113P0068800٠",
    ],
)
def test_a_bad_symbol_is_refused_by_name(symbol):
    with pytest.raises(DataError) as caught:
        parse_occ(symbol)
    assert symbol in str(caught.value) or "strike" in str(caught.value)


@pytest.mark.parametrize(
    ("root", "right", "strike"),
    [("spy", "C", 250.0), ("SPY", "X", 250.0), ("SPY", "C", 0.0), ("SPY", "C", 250.0004)],
)
def test_a_contract_that_has_no_symbol_is_refused(root, right, strike):
    with pytest.raises(DataError):
        OptionContract(root, date(2018, 12, 28), right, strike)


@pytest.mark.parametrize(
    ("day", "expiry"),
    [
        (date(2018, 12, 12), date(2018, 12, 14)),
        (date(2018, 3, 26), date(2018, 3, 29)),  # Good Friday is closed
        (date(2015, 6, 30), date(2015, 7, 2)),  # 3 July observed
        (date(2018, 11, 21), date(2018, 11, 23)),  # the half day after Thanksgiving trades
    ],
)
def test_weekly_expiry_is_friday_or_the_session_before(day, expiry):
    assert weekly_expiry(day) == expiry


@given(sessions, st.integers(0, 45), st.integers(1, 2))
@settings(deadline=None, max_examples=50)
def test_nearest_expiry_is_the_best_of_all_later_ones(session, dte, ahead):
    got = nearest_expiry(session, dte, min_sessions=ahead)
    earliest, target = next_session(session, ahead), session + timedelta(days=dte)
    listed = {weekly_expiry(session + timedelta(days=days)) for days in range(90)}
    distances = [abs((day - target).days) for day in listed if day >= earliest]
    assert is_session(got)
    assert got in listed
    assert got >= earliest
    assert abs((got - target).days) == min(distances)


def test_a_negative_number_of_days_is_refused():
    with pytest.raises(DataError, match="-1"):
        nearest_expiry(date(2018, 12, 12), -1)


@pytest.mark.parametrize(
    ("spot", "step", "strike"),
    [(250.49, 1.0, 250.0), (250.5, 1.0, 251.0), (251.5, 1.0, 252.0), (688.2, 5.0, 690.0)],
)
def test_nearest_strike(spot, step, strike):
    assert nearest_strike(spot, step) == strike


@pytest.mark.parametrize("spot", [0.0, -3.0, float("nan"), float("inf")])
def test_no_strike_without_a_spot(spot):
    with pytest.raises(DataError, match="spot"):
        nearest_strike(spot)


def test_years_count_seconds_to_the_close():
    friday, half_day = date(2018, 12, 21), pytest.approx(3.5 / 24 / 365)
    assert years_to_expiry(session_close(date(2018, 12, 14)), friday) == 7 / 365
    assert years_to_expiry(session_open(friday), friday) == pytest.approx(6.5 / 24 / 365)
    assert years_to_expiry(session_open(date(2018, 11, 23)), date(2018, 11, 23)) == half_day
    assert years_to_expiry(session_close(friday) + timedelta(seconds=1), friday) == 0.0


def test_years_across_a_clock_change_count_real_seconds():
    # New York went from UTC-5 to UTC-4 on 11 March 2018: the week is an hour short.
    week = years_to_expiry(session_close(date(2018, 3, 9)), date(2018, 3, 16))
    assert week * 365 * 24 == pytest.approx(7 * 24 - 1)


def test_a_naive_time_is_refused():
    with pytest.raises(NaiveTimestamp):
        years_to_expiry(datetime(2018, 12, 20, 12), date(2018, 12, 21))  # noqa: DTZ001
    assert years_to_expiry(datetime(2018, 12, 20, 21, tzinfo=UTC), date(2018, 12, 21)) == 1 / 365
