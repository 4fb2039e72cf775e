"""The intraday clock: when things fill, what they cost, and that nothing is left over at the close."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, DataError
from spy_assets.options.black_scholes import delta, price
from spy_assets.options.structures import STRUCTURES
from spy_assets.options.surface import VixSurface
from spy_assets.sessions import session_close, session_open
from spy_assets.simulator.exits import (
    CreditStop,
    ExitRules,
    ModelExit,
    NearExpiry,
    ProfitTarget,
    TimeStop,
)
from spy_assets.simulator.intraday import NO_RULES, IntradaySimulator, Order
from spy_assets.simulator.intraday_book import (
    IntradayBook,
    IntradayConfig,
    expiry_for,
)
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.simulator.kernel import check_invariant, is_uncovered
from spy_assets.simulator.session_filter import SessionFilter
from spy_assets_tests.simulator.intraday_paths import (
    FIRST,
    bars_of,
    daily_of,
    days_from,
    flat_path,
    path_of,
    random_path,
)

OPENING = [name for name, structure in STRUCTURES.items() if structure.templates]
SECOND = date(2024, 7, 2)


def order(simulator, structure="bull_put_credit", dte=0, rules=None, units=1, width=5.0):
    expiry = expiry_for(simulator.path.session(simulator.bar), dte)
    legs = simulator.book.legs(structure, simulator.bar, expiry, width=width)
    return Order(structure, legs, units, rules)


def run(simulator, plan):
    """Walk to the end, entering ``plan[bar]``'s orders at the end of that bar."""
    events = []
    while not simulator.done:
        for entry in plan.get(simulator.bar, ()):
            simulator.enter(entry)
        events += simulator.step().events
        check_invariant(simulator.account)
    return events


def one_trade(path, bar=5, rules=NO_RULES, config=None, **what):
    """The trade of one entry decided at the end of a bar."""
    simulator = IntradaySimulator(path, rules=rules, config=config)
    while simulator.bar < bar:
        simulator.step()
    simulator.enter(order(simulator, **what))
    run(simulator, {})
    (trade,) = simulator.account.trades
    return trade


def test_a_decision_at_a_bars_end_fills_at_the_next_bars_open_at_bid_and_ask():
    path = flat_path()
    trade = one_trade(path, bar=5, structure="bull_put_credit")
    assert trade.entry_time == session_open(FIRST) + timedelta(minutes=30)
    years = (2.0 / 3.0) / 252.0 * 360.0 / 390.0
    for fill, strike in zip(trade.entry_fills, (500.0, 495.0), strict=True):
        sigma = VixSurface().iv(500.0, strike, years, 0.20)
        mid = float(price(500.0, strike, years, 0.05, 0.0, sigma, "P"))
        assert fill.mid == pytest.approx(mid, abs=1e-12)
        assert fill.quote_kind == "surface"
        assert 0.0 < abs(fill.price - mid) <= 0.05
        assert (fill.price > mid) is (fill.quantity > 0)
        assert round(fill.price * 100) == pytest.approx(fill.price * 100, abs=1e-9)
        assert fill.commission == 0.65


def test_an_option_of_the_day_is_settled_at_the_close():
    trade = one_trade(flat_path())
    assert trade.exit_reason == "expiry"
    assert trade.exit_time == session_close(FIRST)
    # The spread ends at the money, worth nothing: the credit is kept.
    assert trade.pnl == pytest.approx(-trade.entry_value - 1.30, abs=1e-9)
    assert trade.holding_sessions == 1


def test_settlement_is_at_intrinsic_value_of_the_last_price():
    trade = one_trade(path_of([500.0] * 77 + [496.0]))
    assert trade.exit_value == pytest.approx(-400.0)
    assert trade.exit_fills == ()


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(OPENING), holes=st.booleans())
@settings(deadline=None, max_examples=30)
def test_no_option_of_the_day_sees_the_night(seed, name, holes):
    rng = np.random.default_rng(seed)
    path = random_path(seed, 5, minutes=15, holes=holes)
    simulator = IntradaySimulator(path, config=IntradayConfig(allow_naked=True))
    while not simulator.done:
        if rng.uniform() < 0.2:
            simulator.enter(order(simulator, name, units=int(rng.integers(1, 4))))
        simulator.step()
        check_invariant(simulator.account)
        if path.is_last(simulator.bar):
            assert not simulator.account.positions
            assert simulator.account.marks == 0.0
    assert all(trade.exit_session == trade.entry_session for trade in simulator.account.trades)
    assert simulator.value - 125_000.0 == pytest.approx(
        math.fsum(trade.pnl for trade in simulator.account.trades), abs=1e-9
    )


def test_d22_a_missing_last_print_leaves_no_position_without_an_end():
    bars = bars_of(FIRST, [500.0] * 70 + [490.0] * 8)[:74]
    path = IntradayPath.from_bars(bars, daily_of([FIRST]), minutes=5)
    trade = one_trade(path)
    assert trade.exit_reason == "expiry_missing_print"
    assert trade.exit_value == pytest.approx(-500.0)


def test_d22_a_missing_session_settles_at_the_price_before_it():
    days = days_from(FIRST, 3)
    bars = pl.concat([bars_of(day, [500.0 - n] * 78) for n, day in enumerate((days[0], days[1]))])
    bars = pl.concat([bars, bars_of(date(2024, 7, 8), [520.0] * 78)])
    known = daily_of([*days[:2], date(2024, 7, 8)])
    path = IntradayPath.from_bars(bars, known, minutes=5)
    # The weekly expiry of 5 July is not on the path.
    trade = one_trade(path, structure="bull_put_credit", dte=4)
    assert (trade.exit_reason, trade.spot_exit) == ("expiry_missing_print", 499.0)


def test_close_out_trades_at_the_open_of_the_last_bar():
    trade = one_trade(flat_path(), config=IntradayConfig(close_out="trade"))
    assert trade.exit_reason == "close_out"
    assert trade.exit_time == session_close(FIRST) - timedelta(minutes=5)
    assert len(trade.exit_fills) == 2


def test_d30_the_filter_blocks_entries_and_never_exits():
    closes = [500.0] * 75 + [490.0] * 3
    config = IntradayConfig(filter=SessionFilter(30.0, 30.0))
    trade = one_trade(path_of(closes), rules=ExitRules((CreditStop(3.0),)), config=config)
    assert trade.exit_reason == "stop_loss"
    assert trade.exit_time == session_close(FIRST) - timedelta(minutes=10)
    simulator = IntradaySimulator(path_of(closes), config=config)
    assert simulator.enter(order(simulator)) == "first_minutes"
    while simulator.bar < 74:
        simulator.step()
    assert simulator.enter(order(simulator)) == "last_minutes"
    assert simulator.orders == []


@pytest.mark.parametrize(
    ("rule", "after_open"),
    [
        (TimeStop(45.0), 75.0),
        (NearExpiry(minutes=60.0), 330.0),
        (ProfitTarget(0.0, 0.05), None),
    ],
)
def test_rules_are_asked_at_each_bars_end_and_fill_at_the_next_open(rule, after_open):
    trade = one_trade(flat_path(), rules=ExitRules((rule,)), structure="bull_put_credit")
    assert trade.exit_reason == rule.name
    if after_open is not None:
        assert trade.exit_time == session_open(FIRST) + timedelta(minutes=after_open)


def test_minutes_held_do_not_count_the_night():
    trade = one_trade(flat_path(3), bar=75, rules=ExitRules((TimeStop(45.0),)), dte=4)
    # Filled 10 minutes before the close, so that 35 minutes of the next session are left.
    assert trade.exit_time == session_open(SECOND) + timedelta(minutes=35)


def test_a_longer_option_is_held_over_nights_and_settled_in_its_session():
    trade = one_trade(flat_path(5), dte=4)
    assert trade.exit_session == date(2024, 7, 5)
    assert trade.holding_sessions == 4


@pytest.mark.parametrize(("dividend", "assigned"), [(8.0, True), (0.01, False), (0.0, False)])
def test_a_sold_call_is_assigned_before_an_ex_date_above_its_time_value(dividend, assigned):
    days = days_from(FIRST, 4)
    bars = pl.concat([bars_of(day, [500.0] * 20 + [510.0] * 58) for day in days])
    known = daily_of(days, dividends={days[1]: dividend})
    path = IntradayPath.from_bars(bars, known, minutes=5)
    trade = one_trade(path, structure="bear_call_credit", dte=4)
    assert (trade.exit_reason == "assignment") is assigned
    if assigned:
        # Delivered at 500 short, covered at the next open, the dividend paid; the long call is sold.
        assert trade.exit_session == days[1]
        (sold,) = trade.exit_fills
        assert sold.leg.contract.strike == 505.0
        assert trade.exit_value == pytest.approx(100 * (sold.price - (500.0 + 8.0 - 500.0)))


def test_an_unknown_dividend_is_named_and_an_assignment_survives_a_session_without_volatility():
    days = days_from(FIRST, 5)
    bars = pl.concat([bars_of(day, [500.0] * 20 + [510.0] * 58) for day in days])
    known = daily_of(days, [20.0, 20.0, None, None, None], {days[1]: None, days[2]: 9.0})
    path = IntradayPath.from_bars(bars, known, minutes=5)
    simulator = IntradaySimulator(path)
    events = run(simulator, {5: [order(simulator, "bear_call_credit", dte=4)]})
    assert (events.count("dividend_unknown"), events.count("assigned")) == (1, 1)
    (trade,) = simulator.account.trades
    # Nothing could be traded until it expired on the fourth session, at 510.
    assert (trade.exit_reason, trade.exit_session) == ("expiry", date(2024, 7, 5))
    assert trade.exit_value == pytest.approx(100 * (5.0 - (510.0 + 9.0 - 500.0)))


def test_a_models_word_and_a_policys_close_fill_at_the_next_open():
    simulator = IntradaySimulator(flat_path(), rules=ExitRules((ModelExit(0.55),)))
    for _ in range(2):
        simulator.enter(order(simulator))
    simulator.step()
    first, second = simulator.account.positions
    simulator.tell(first, 0.9)
    simulator.close(second)
    simulator.step()
    assert [trade.exit_reason for trade in simulator.account.trades] == ["action_close"]
    simulator.step()
    assert simulator.account.trades[-1].exit_reason == "model_exit"
    with pytest.raises(DataError, match="trade id 1"):
        simulator.close(first)


def test_entries_that_cannot_be_filled_are_named():
    keep = [n for n in range(78) if n != 6]
    path = IntradayPath.from_bars(bars_of(FIRST, [500.0] * 78)[keep], daily_of([FIRST]), minutes=5)
    simulator = IntradaySimulator(path, config=IntradayConfig(max_positions=2), capital=2_000.0)
    plan = {
        5: [order(simulator)],  # the bar after it is missing
        10: [order(simulator, units=9)],
        20: [order(simulator)] * 3,
        60: [order(simulator, width=60.0, structure="iron_condor")],
    }
    assert run(simulator, plan) == [
        "entry_gap",
        "entry_rejected_funds",
        "entry_rejected_positions",
        "entry_rejected_positions",
    ]


def test_without_volatility_nothing_is_opened_and_marks_are_carried():
    days = days_from(FIRST, 2)
    bars = pl.concat([bars_of(day, [500.0] * 78) for day in days])
    path = IntradayPath.from_bars(bars, daily_of(days, [20.0, None]), minutes=5)
    simulator = IntradaySimulator(path)
    events = run(simulator, {5: [order(simulator, dte=4)], 90: [order(simulator, dte=4)]})
    assert events.count("mark_carried") == 78
    assert events.count("entry_not_priceable") == 1
    (position,) = simulator.account.positions.values()
    assert position.stale_marks == 78
    assert simulator.close_out()[0].exit_reason == "end_of_path_unpriced"


def test_the_end_of_a_run_closes_at_mid():
    simulator = IntradaySimulator(flat_path(2))
    run(simulator, {5: [order(simulator, dte=30)]})
    value = simulator.value
    (trade,) = simulator.close_out()
    assert trade.exit_reason == "end_of_path"
    assert simulator.value == pytest.approx(value, abs=1e-9)
    check_invariant(simulator.account)


def test_naked_options_need_the_flag_and_reg_t_margin():
    simulator = IntradaySimulator(flat_path())
    with pytest.raises(ConfigError, match="nothing covers"):
        simulator.enter(order(simulator, "short_put"))
    free = IntradaySimulator(flat_path(), config=IntradayConfig(allow_naked=True))
    free.enter(order(free, "short_put", units=2))
    free.step()
    (position,) = free.account.positions.values()
    mid = position.entry_fills[0].mid
    assert position.margin == pytest.approx(2 * 100 * (mid + 100.0))


@pytest.mark.parametrize("name", OPENING)
def test_uncovered_is_what_the_registry_calls_naked(name):
    legs = IntradayBook(flat_path()).legs(name, 0, FIRST)
    assert is_uncovered(legs) is STRUCTURES[name].naked


@pytest.mark.parametrize(("right", "sign"), [("P", -1.0), ("C", 1.0)])
@pytest.mark.parametrize("limit", [0.05, 0.10, 0.15, 0.30])
def test_a_strike_for_a_delta_is_the_nearest_that_is_not_above_it(right, sign, limit):
    path = flat_path(price=500.4, vix=35.0)
    book = IntradayBook(path)
    strike = book.strike_for_delta(10, right, limit, FIRST)
    years, s = book.years(10, False, FIRST), 500.4
    own, inner = (
        abs(float(delta(s, k, years, 0.05, 0.0, VixSurface().iv(s, k, years, 0.35), right)))
        for k in (strike, strike - sign)
    )
    assert own <= limit < inner
    assert (strike - s) * sign > 0.0


def test_spreads_follow_the_time_of_day():
    path = flat_path(vix=60.0)
    book = IntradayBook(path)
    legs = book.legs("long_put", 0, expiry_for(FIRST, 45))
    early, middle, late = (book.quotes(legs, bar)[0] for bar in (1, 30, 77))
    widths = [quote.ask - quote.bid for quote in (early, middle, late)]
    assert widths[0] > widths[1]
    assert widths[2] > widths[1]
    assert all(quote.bid <= quote.mid <= quote.ask for quote in (early, middle, late))


def test_a_walk_has_an_end_and_sound_settings():
    simulator = IntradaySimulator(flat_path(), stop=2)
    simulator.step()
    with pytest.raises(DataError, match="bar 1 is the last"):
        simulator.step()
    with pytest.raises(DataError, match="bars 90 to 77"):
        IntradaySimulator(flat_path(), start=90)
    with pytest.raises(ConfigError, match="max_positions 0"):
        IntradayConfig(max_positions=0)
    with pytest.raises(ConfigError, match="close_out 'never'"):
        IntradayConfig(close_out="never")
