"""The short-premium plan: its rules, its sizes, its risk, and the equality of its two simulators."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.contracts import INTRADAY_8_V1
from spy_assets.features.intraday_observation import Seen, observation
from spy_assets.options.black_scholes import delta
from spy_assets.simulator.kernel import check_invariant
from spy_assets.simulator.session_filter import OPEN_ALL_DAY
from spy_assets.simulator.short_premium import ShortPremiumSimulator
from spy_assets.simulator.short_premium_batch import ShortPremiumAccounts
from spy_assets.simulator.short_premium_plan import (
    ACTION_SETS,
    ORIGINAL_RISK,
    REDUCED_RISK,
    RISK_LEVELS,
    RiskTable,
    ShortPremiumPlan,
    TradeRecord,
    kelly_contracts,
    risk_level,
    risk_score,
)
from spy_assets_tests.simulator.intraday_paths import flat_path, path_of, random_path

HOLD, SELL_PUT, SELL_PUT_10, SELL_CALL, CLOSE = range(5)


def simulator_at(bar, path=None, **plan):
    """A simulator on a quiet session, held until the end of a bar."""
    simulator = ShortPremiumSimulator(path or flat_path(), ShortPremiumPlan(**plan))
    while simulator.bar < bar:
        simulator.step(HOLD)
    return simulator


def only_position(simulator):
    (position,) = simulator.simulator.account.positions.values()
    return position


# ---------------------------------------------------------------- risk


@pytest.mark.parametrize(
    ("vix", "spot", "score", "level"),
    [
        (0.10, 500.0, 0.0, "LOW"),
        (0.179, 500.0, 0.059 / 0.18, "LOW"),
        (0.181, 500.0, 0.061 / 0.18, "MEDIUM"),
        (0.239, 500.0, 0.119 / 0.18, "MEDIUM"),
        (0.25, 500.0, 0.13 / 0.18, "HIGH"),
        (0.60, 500.0, 1.0, "HIGH"),
        # Half a daily standard deviation of a VIX of 16 is a quarter of the way to two.
        (0.16, 500.0 * math.exp(-0.5 * 0.16 / math.sqrt(252)), 0.25, "LOW"),
        (0.16, 500.0 * math.exp(1.5 * 0.16 / math.sqrt(252)), 0.75, "HIGH"),
    ],
)
def test_d18_risk_is_the_worse_of_vix_and_the_days_move(vix, spot, score, level):
    found = risk_score(vix, spot, 500.0)
    assert found == pytest.approx(score)
    assert risk_level(found) == level


@given(vix=st.floats(0.05, 1.0), more=st.floats(0.0, 0.5), move=st.floats(0.0, 0.1))
@settings(deadline=None, max_examples=60)
def test_risk_rises_with_vix_where_it_decides_and_with_the_move(vix, more, move):
    assert risk_score(vix + more, 500.0, 500.0) >= risk_score(vix, 500.0, 500.0)
    assert risk_score(vix, 500.0 * math.exp(move), 500.0) >= risk_score(vix, 500.0, 500.0)


@pytest.mark.parametrize(
    ("table", "contracts", "limit"),
    [(ORIGINAL_RISK, (30, 20, 10), 0.20), (REDUCED_RISK, (20, 15, 5), 0.15)],
)
def test_the_override_table_has_the_plans_numbers(table, contracts, limit):
    assert (table.contracts, table.delta_limit) == (contracts, limit)
    assert table.multiples == (5.0, 4.0, 3.0)
    assert table.wait_minutes == (120.0, 180.0, 240.0)


@pytest.mark.parametrize(
    "change",
    [
        {"contracts": (5, 15, 20)},
        {"multiples": (3.0, 4.0, 5.0)},
        {"wait_minutes": (240.0, 180.0, 120.0)},
        {"contracts": (5, 5, -1)},
        {"delta_limit": 0.5},
    ],
)
def test_d19_a_table_that_loosens_with_risk_is_refused(change):
    with pytest.raises(ConfigError):
        RiskTable(**{"contracts": (20, 15, 5), "delta_limit": 0.15, **change})


# ---------------------------------------------------------------- size


def record_of(share, trades=100, gain=1.0, loss=1.0):
    wins = round(share * trades)
    return TradeRecord(trades, wins, wins * gain, (trades - wins) * loss)


@pytest.mark.parametrize(
    ("share", "gain", "loss", "fraction"),
    [(0.6, 1.0, 1.0, 0.2), (0.5, 2.0, 1.0, 0.25), (0.8, 0.5, 2.0, 0.0), (1.0, 0.7, 1.0, 1.0)],
)
def test_kellys_fraction_is_the_textbooks(share, gain, loss, fraction):
    assert record_of(share, gain=gain, loss=loss).kelly(3.0) == pytest.approx(fraction)


def test_a_record_without_losses_is_held_against_the_stop():
    record = record_of(1.0, 25, gain=0.9)
    assert record.mean_loss(3.0) == 2.0
    assert record.kelly(3.0) == 1.0
    assert TradeRecord(30, 0, 0.0, 60.0).kelly(3.0) == 0.0


def test_what_happens_is_added_to_a_copy_of_the_record():
    record = TradeRecord()
    simulator = ShortPremiumSimulator(flat_path(), record=record)
    while not simulator.done:
        simulator.step(SELL_PUT if simulator.mask()[SELL_PUT] else HOLD)
    assert (simulator.record.trades, simulator.record.wins, record.trades) == (1, 1, 0)
    (trade,) = simulator.simulator.account.trades
    assert simulator.record.gained == pytest.approx(trade.pnl / -trade.entry_value)


def test_d17_every_size_of_the_table_can_be_reached():
    plan = ShortPremiumPlan(risk=ORIGINAL_RISK)
    credit = (
        125_000.0 * 0.25 / 100.0 / 35.0
    )  # all of a quarter of Kelly is 35 contracts at 1 credit
    sizes = {
        kelly_contracts(plan, record_of(0.5 + n / 2000, 1000), "LOW", 125_000.0, credit)
        for n in range(1000)
    }
    assert sizes == set(range(31))


@given(
    share=st.floats(0.0, 1.0),
    better=st.floats(0.0, 1.0),
    level=st.sampled_from(RISK_LEVELS),
    credit=st.floats(0.01, 5.0),
)
@settings(deadline=None, max_examples=60)
def test_a_better_record_is_never_a_smaller_size(share, better, level, credit):
    plan = ShortPremiumPlan()
    low, high = sorted((share, better))
    sizes = [kelly_contracts(plan, record_of(x), level, 125_000.0, credit) for x in (low, high)]
    assert 0 <= sizes[0] <= sizes[1] <= plan.risk.contracts[RISK_LEVELS.index(level)]


def test_a_short_record_is_worth_the_smallest_size_and_a_losing_one_nothing():
    plan = ShortPremiumPlan()
    assert kelly_contracts(plan, record_of(1.0, 19), "LOW", 125_000.0, 0.4) == 5
    assert kelly_contracts(plan, record_of(0.4, 20), "LOW", 125_000.0, 0.4) == 0
    assert kelly_contracts(plan, TradeRecord(), "LOW", 125_000.0, 0.0) == 0
    assert (
        kelly_contracts(
            ShortPremiumPlan(max_contracts_a_side=3), TradeRecord(), "LOW", 125_000.0, 0.4
        )
        == 3
    )


@pytest.mark.parametrize(("vix", "units"), [(14.0, 20), (20.0, 15), (30.0, 5)])
def test_the_size_falls_with_risk(vix, units):
    simulator = ShortPremiumSimulator(flat_path(vix=vix), record=record_of(0.99, gain=0.9))
    while simulator.bar < 10:
        simulator.step(HOLD)
    simulator.step(SELL_PUT)
    assert only_position(simulator).quantity == units


def test_free_cash_limits_the_size():
    simulator = simulator_at(10, capital=1_600.0)
    simulator.step(SELL_PUT)
    assert only_position(simulator).quantity == 3
    assert not simulator.mask()[[SELL_PUT, SELL_CALL]].any()


# ---------------------------------------------------------------- rules


def test_the_action_sets_are_the_plans():
    assert [spec.name for spec in ACTION_SETS[3]] == ["hold", "sell_call", "sell_put"]
    assert [spec.name for spec in ACTION_SETS[5]] == [
        "HOLD", "SELL_PUT_15D", "SELL_PUT_10D", "SELL_CALL_15D", "CLOSE",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="4 actions"):
        ShortPremiumPlan(actions=4)


@pytest.mark.parametrize(
    ("action", "naked", "name", "legs"),
    [
        (SELL_PUT, False, "bull_put_credit", 2),
        (SELL_CALL, False, "bear_call_credit", 2),
        (SELL_PUT, True, "short_put", 1),
        (SELL_CALL, True, "short_call", 1),
    ],
)
def test_spreads_are_sold_unless_naked_options_are_asked_for(action, naked, name, legs):
    simulator = simulator_at(10, naked=naked)
    simulator.step(action)
    position = only_position(simulator)
    assert (position.structure, len(position.legs)) == (name, legs)
    assert math.isfinite(position.risk.max_loss) is (name != "short_call")


@pytest.mark.parametrize(
    ("table", "actions", "action", "limit"),
    [
        (REDUCED_RISK, 5, SELL_PUT, 0.15),
        (REDUCED_RISK, 5, SELL_PUT_10, 0.10),
        (REDUCED_RISK, 3, 2, 0.15),
        (ORIGINAL_RISK, 3, 2, 0.20),
        (ORIGINAL_RISK, 5, SELL_CALL, 0.15),
    ],
)
def test_no_delta_above_the_limit_is_sold(table, actions, action, limit):
    simulator = simulator_at(10, flat_path(vix=30.0), risk=table, actions=actions)
    book = simulator.simulator.book
    simulator.step(action)
    contract = only_position(simulator).legs[0].contract
    years = book.years(10, False, contract.expiry)
    away = 1.0 if contract.right == "P" else -1.0
    found = [
        abs(
            float(
                delta(
                    500.0,
                    k,
                    years,
                    0.05,
                    0.0,
                    book.config.surface.iv(500.0, k, years, 0.3),
                    contract.right,
                )
            )
        )
        for k in (contract.strike, contract.strike + away)
    ]
    assert found[0] <= limit < found[1]


def test_s1_20_nothing_is_sold_in_the_first_and_last_half_hour():
    simulator, allowed = simulator_at(0), []
    while not simulator.done:
        if simulator.mask()[SELL_PUT]:
            allowed.append(float(simulator.path.arrays.end_minute[simulator.bar]))
        simulator.step(HOLD)
    assert (allowed[0], allowed[-1]) == (30.0, 360.0)
    assert len(allowed) == 67


def test_one_trade_a_side_a_session():
    simulator = ShortPremiumSimulator(flat_path(2))
    while simulator.bar < 20:
        simulator.step(SELL_PUT if simulator.mask()[SELL_PUT] else HOLD)
    assert not simulator.mask()[[SELL_PUT, SELL_PUT_10]].any()
    assert simulator.mask()[[SELL_CALL, CLOSE]].all()
    simulator.step(CLOSE)
    simulator.step(HOLD)
    assert not simulator.mask()[[SELL_PUT, CLOSE]].any()
    while simulator.bar < 78 + 5:
        simulator.step(HOLD)
    assert simulator.mask()[SELL_PUT]  # a new session


@pytest.mark.parametrize(("vix", "hours"), [(14.0, 2), (20.0, 3), (30.0, 4)])
def test_after_a_stop_nothing_is_sold_for_hours_by_the_risk(vix, hours):
    closes = np.full(78, 500.0)
    # One bar's fall: when the stop is filled the move is over, and VIX alone says the risk.
    closes[12] = 500.0 * np.exp(-1.2 * vix / 100.0 / math.sqrt(252.0))
    simulator = ShortPremiumSimulator(path_of(closes.tolist(), vix=vix))
    reasons, stopped, free = [], None, None
    while not simulator.done and free is None:
        selling = simulator.mask()[[SELL_PUT, SELL_CALL]].any()
        result = simulator.step(SELL_PUT if simulator.mask()[SELL_PUT] else HOLD)
        reasons += [trade.exit_reason for trade in result.trades]
        if stopped is not None and selling:
            free = simulator.bar - 1
        if reasons and stopped is None:
            stopped = simulator.bar
    assert reasons == ["stop_loss"]
    assert (free - stopped) * 5 == hours * 60


def test_d30_stops_fill_in_the_last_half_hour():
    closes = [500.0] * 75 + [480.0] * 3
    simulator = simulator_at(30, path_of(closes))
    simulator.step(SELL_PUT)
    reasons = []
    while not simulator.done:
        reasons += [trade.exit_reason for trade in simulator.step(HOLD).trades]
    assert reasons == ["stop_loss"]


def test_an_action_outside_the_mask_is_hold_and_costs_the_penalty():
    simulator = simulator_at(0)
    result = simulator.step(SELL_PUT)
    assert (result.reward, result.events) == (-0.1, ("invalid_action",))
    assert simulator.invalid_actions == 1
    with pytest.raises(ConfigError, match="action 5"):
        simulator.step(5)


def test_a_session_without_volatility_is_refused():
    path = random_path(1, 4, holes=True)
    with pytest.raises(DataError, match="nothing can be seen"):
        ShortPremiumSimulator(path)
    with pytest.raises(DataError, match="sessions 2 to 9"):
        ShortPremiumSimulator(path, first=2, sessions=7)


# ---------------------------------------------------------------- what is seen


def test_d20_the_observation_is_scaled_as_the_contract_says():
    seen = Seen(60.0, 500.0, 0.2, True, -150.0, 5, 30.0, 0.4, 330.0)
    expected = [60 / 390, 1.0, 0.2, 0.4, 330 / 390, 1.0, -0.3, 30 / 390]
    assert observation(seen).tolist() == pytest.approx(expected)
    assert observation(seen).dtype == np.float32
    assert INTRADAY_8_V1.size == 8
    assert INTRADAY_8_V1.names[-3:] == ("has_position", "pnl", "time_in_position")


def test_the_simulator_shows_minutes_prices_and_the_open_position():
    simulator = simulator_at(11)
    simulator.step(SELL_PUT)
    simulator.step(HOLD)
    seen, position = simulator.seen(), only_position(simulator)
    assert (seen.minutes_since_open, seen.minutes_to_close) == (70.0, 320.0)
    assert (seen.spot, seen.minutes_in_position) == (500.0, 10.0)
    assert (seen.pnl, seen.contracts) == (position.pnl, position.quantity)
    assert seen.atm_iv == pytest.approx(0.871 * 0.20)


# ---------------------------------------------------------------- the compiled twin


def random_plan(rng):
    return ShortPremiumPlan(
        actions=int(rng.choice([3, 5])),
        naked=bool(rng.integers(2)),
        risk=[ORIGINAL_RISK, REDUCED_RISK][int(rng.integers(2))],
        kelly_trades=int(rng.choice([2, 20])),
        capital=float(rng.choice([12_000.0, 125_000.0])),
    )


@pytest.mark.slow  # the kernels are compiled on a fresh machine
@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=12)
def test_the_compiled_plan_equals_the_readable_one(seed):
    rng = np.random.default_rng(seed)
    path = random_path(seed, 7, minutes=15, scale=float(rng.uniform(0.3, 3.0)))
    plan = random_plan(rng)
    simulator = ShortPremiumSimulator(path, plan, first=1, sessions=5)
    accounts = ShortPremiumAccounts(path, 2, plan, sessions=5)
    accounts.restart([1, 0])
    seen = accounts.observations[0]
    while True:
        np.testing.assert_allclose(seen, simulator.observe(), rtol=1e-6, atol=1e-6)
        if simulator.done:
            break
        np.testing.assert_array_equal(accounts.masks[0], simulator.mask())
        action = int(rng.integers(plan.actions))
        result = simulator.step(action)
        rewards, dones = accounts.step([action, HOLD])
        check_invariant(simulator.simulator.account)
        assert rewards[0] == pytest.approx(result.reward, abs=1e-9)
        assert accounts.desks.change[0] == pytest.approx(result.change, abs=1e-9)
        assert dones[0] == result.done
        seen = accounts.desks.terminal[0] if result.done else accounts.observations[0]


def test_overrides_need_no_new_policy():
    shapes = {
        (
            accounts.observations.shape,
            accounts.masks.shape,
        )
        for accounts in (
            ShortPremiumAccounts(flat_path(), 2, ShortPremiumPlan(risk=table, filter=rule))
            for table in (ORIGINAL_RISK, REDUCED_RISK)
            for rule in (OPEN_ALL_DAY, ShortPremiumPlan().filter)
        )
    }
    assert shapes == {((2, 8), (2, 5))}
