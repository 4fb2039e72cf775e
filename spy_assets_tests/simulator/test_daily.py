"""The daily clock: when things happen, what they cost, what may be done, and what is remembered."""

from __future__ import annotations

import json
import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.features.observation import POSITION_TYPE_CODES
from spy_assets.sessions import session_close, session_open
from spy_assets.simulator.actions import CLOSE, DAILY_ACTIONS, ENTRIES, HOLD, DailyAction
from spy_assets.simulator.book import DailyConfig, FixedUnits, PathBook, RiskFraction
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.exits import ExitRules, exit_rules
from spy_assets.simulator.kernel import check_invariant
from spy_assets_tests.simulator.paths import path_of, random_path

pytestmark = pytest.mark.filterwarnings("error")
NO_RULES = ExitRules(chain=())
CLOSE_FILL = DailyConfig(fill="next_close")
#: 2016-01-08, a Friday: the entry fills on Monday the 11th and expires on Friday the 15th.
FRIDAY = 4
_REVERSED = ("sell", "buy", "buy", "sell")


def walk(simulator, plan=None, seed=None):
    """Steps to the end: planned actions by index, else random ones of the mask, else HOLD."""
    rng = None if seed is None else np.random.default_rng(seed)
    results = []
    while not simulator.done:
        action = (plan or {}).get(simulator.index, HOLD)
        if rng is not None:
            action = int(rng.choice(np.flatnonzero(simulator.mask())))
        results.append(simulator.step(action))
    return results


# ---------------------------------------------------------------- golden trades, by hand


def test_golden_long_call_held_to_expiry():
    """Spot 200, VIX 20, rate 0. Call 200, 4 days and 6.5 hours: sigma = 0.871 x 0.2.

    Mid 1.503459267866 (30-digit arithmetic). Paid: 1.503459 + 0.05 + 2 % of mid = 1.583528, that is
    158.352845, and 0.65. Settled at 206: 600. P&L = 600 - 158.352845 - 0.65 = 440.997155.
    """
    path = path_of([200.0] * 9 + [206.0, 206.0], rate=0.0)
    simulator = DailySimulator(path, rules=NO_RULES)
    walk(simulator, {FRIDAY: DailyAction.BUY_CALL})
    (trade,) = simulator.trades
    assert trade.legs[0].symbol == "SPY   160115C00200000"
    assert trade.entry_fills[0].mid == pytest.approx(1.50345926786589, abs=1e-12)
    assert trade.entry_value == pytest.approx(158.352845322321, abs=1e-9)
    assert (trade.exit_value, trade.exit_reason) == (600.0, "expiry")
    assert trade.pnl == pytest.approx(440.997154677679, abs=1e-9)
    assert simulator.value == pytest.approx(10_440.997154677679, abs=1e-9)


@pytest.mark.parametrize(
    ("last", "pnl"),
    [(200.0, 11.635162845528093), (207.0, -188.364837154471907), (230.0, -488.364837154471907)],
)
def test_golden_iron_condor_held_to_expiry(last, pnl):
    """Mids 0.144213, 0.383136, 0.122727, 0.006173; after spread and slippage 14.235163 of credit.

    Commission 4 x 0.65 = 2.60. Expired between the short strikes it earns the credit less that;
    2 dollars above the short call it loses 200 more; beyond the wings 500 more.
    """
    path = path_of([200.0] * 9 + [last, last], rate=0.0)
    simulator = DailySimulator(path, rules=NO_RULES)
    walk(simulator, {FRIDAY: DailyAction.IRON_CONDOR})
    (trade,) = simulator.trades
    assert trade.entry_value == pytest.approx(-14.235162845528093, abs=1e-9)
    assert trade.pnl == pytest.approx(pnl, abs=1e-9)
    assert trade.risk.max_loss == pytest.approx(488.364837154471907, abs=1e-9)


# ---------------------------------------------------------------- the clock


def test_a_decision_at_a_close_fills_at_the_next_open():
    path = path_of([200.0, 201.0, 202.0, 203.0], open=[199.0, 200.5, 204.0, 203.0])
    simulator = DailySimulator(path)
    simulator.step(DailyAction.BUY_CALL)
    fill = simulator.position.entry_fills[0]
    assert fill.event_time == session_open(path.sessions[1])
    assert simulator.position.spot_entry == 200.5
    assert simulator.position.decision_session == path.sessions[0]
    assert simulator.position.legs[0].contract.strike == 200.0  # known at the decision


def test_next_close_fills_at_the_next_close():
    path = path_of([200.0, 201.0, 202.0, 203.0])
    simulator = DailySimulator(path, config=CLOSE_FILL)
    simulator.step(DailyAction.BUY_CALL)
    assert simulator.position.entry_time == session_close(path.sessions[1])
    assert simulator.position.closes_held == 0
    simulator.step(CLOSE)
    assert simulator.trades[0].exit_time == session_close(path.sessions[2])


def test_the_signal_price_is_not_the_fill_price():
    # A jump at the open is not earned: the call is bought after it.
    path = path_of([200.0, 220.0, 220.0], open=[200.0, 220.0, 220.0])
    simulator = DailySimulator(path, rules=NO_RULES)
    result = simulator.step(DailyAction.BUY_CALL)
    assert result.reward < 0.0


def test_five_sessions_are_held_and_the_exit_fills_at_the_sixth_open():
    # Decided on Wednesday: the expiry is Friday of the next week, after the longest holding time.
    path = path_of([200.0] * 14)
    rules = exit_rules(stop=9.0, target=9.0)
    simulator = DailySimulator(path, rules=rules)
    walk(simulator, {2: DailyAction.BUY_CALL})
    (trade,) = simulator.trades
    assert trade.exit_reason == "max_hold"
    assert path.index_of(trade.exit_session) - path.index_of(trade.entry_session) == 5
    assert trade.exit_time == session_open(trade.exit_session)
    assert trade.holding_sessions == 5


def test_a_stop_fires_at_a_close_and_fills_at_the_next_open():
    path = path_of([200.0, 200.0, 190.0, 190.0, 190.0])
    simulator = DailySimulator(path)
    walk(simulator, {0: DailyAction.BUY_CALL})
    (trade,) = simulator.trades
    assert trade.exit_reason == "stop_loss"
    assert trade.exit_session == path.sessions[3]
    assert trade.pnl_pct < -0.30


def test_hold_does_not_take_an_exit_back():
    path = path_of([200.0, 200.0, 190.0, 200.0, 200.0], open=[200.0, 200.0, 200.0, 190.0, 200.0])
    simulator = DailySimulator(path)
    walk(simulator, {0: DailyAction.BUY_CALL})
    assert simulator.trades[0].exit_reason == "stop_loss"


def test_the_policy_can_close():
    simulator = DailySimulator(path_of([200.0] * 6))
    walk(simulator, {0: DailyAction.BUY_PUT, 1: CLOSE})
    assert simulator.trades[0].exit_reason == "action_close"
    assert simulator.trades[0].holding_sessions == 1


def test_what_is_open_at_the_end_is_closed_at_the_last_close():
    simulator = DailySimulator(path_of([200.0] * 3))
    walk(simulator, {0: DailyAction.BUY_PUT})
    (trade,) = simulator.trades
    assert (trade.exit_reason, simulator.position) == ("end_of_path", None)
    with pytest.raises(DataError, match="last session"):
        simulator.step(HOLD)


# ---------------------------------------------------------------- missing inputs


def test_a_session_with_a_missing_observation_allows_no_entry():
    seen = np.full((4, 10), 0.5)
    seen[1, 7] = np.nan
    simulator = DailySimulator(path_of([200.0] * 4, observation=seen))
    assert simulator.mask().sum() == 6
    simulator.step(HOLD)
    assert np.flatnonzero(simulator.mask()).tolist() == [HOLD]
    assert np.isnan(simulator.observe()[7])
    assert not simulator.observation_valid


def test_a_missing_observation_does_not_forbid_closing():
    seen = np.full((4, 10), 0.5)
    seen[1, 7] = np.nan
    simulator = DailySimulator(path_of([200.0] * 4, observation=seen))
    simulator.step(DailyAction.BUY_CALL)
    assert np.flatnonzero(simulator.mask()).tolist() == [HOLD, CLOSE]


def test_without_a_volatility_nothing_is_opened():
    path = path_of([200.0] * 4, iv=[np.nan] * 4)
    simulator = DailySimulator(path)
    assert np.flatnonzero(simulator.mask()).tolist() == [HOLD]
    assert np.isnan(simulator.book.requirement).all()


def test_an_entry_that_cannot_be_priced_at_its_fill_is_dropped():
    iv = [0.2, np.nan, 0.2, 0.2]
    path = path_of([200.0] * 4, iv=iv, iv_open=[0.2, 0.2, np.nan, 0.2])
    simulator = DailySimulator(path, config=CLOSE_FILL)
    assert "entry_not_priceable" in simulator.step(DailyAction.BUY_CALL).events
    assert simulator.ledger == []


def test_an_exit_waits_for_a_quote_and_marks_are_carried():
    iv = [0.2, 0.2, np.nan, np.nan, 0.2, 0.2]
    path = path_of([200.0] * 6, iv=iv, iv_open=[0.2, 0.2, 0.2, np.nan, np.nan, 0.2])
    simulator = DailySimulator(path, rules=NO_RULES)
    results = walk(simulator, {1: DailyAction.BUY_CALL, 2: CLOSE})
    assert results[1].events == ("mark_carried",)
    assert results[2].events == ("exit_waits_for_quote", "mark_carried")
    (trade,) = simulator.trades
    assert (trade.exit_session, trade.exit_reason) == (path.sessions[5], "action_close")
    assert trade.stale_marks == 2
    check_invariant(simulator.account)


# ---------------------------------------------------------------- masks, sizes, rewards


def test_masks_flat_and_in_position():
    simulator = DailySimulator(path_of([200.0] * 4))
    assert simulator.mask().tolist() == [True] * 6 + [False]
    simulator.step(DailyAction.IRON_CONDOR)
    assert simulator.mask().tolist() == [False] * 5 + [True, True]
    assert [simulator.allows(action) for action in DAILY_ACTIONS] == simulator.mask().tolist()


def test_entries_that_the_cash_does_not_pay_for_are_masked():
    simulator = DailySimulator(path_of([200.0] * 4), capital=300.0)
    allowed = {DailyAction(a).name for a in np.flatnonzero(simulator.mask())}
    assert "IRON_CONDOR" not in allowed  # needs 500 of margin
    assert {"BUY_CALL", "BULL_SPREAD", "HOLD"} <= allowed


def test_an_entry_that_became_too_dear_overnight_is_rejected():
    path = path_of([200.0, 200.0, 200.0], iv_open=[0.2, 0.9, 0.2])
    simulator = DailySimulator(path, capital=300.0)
    assert "entry_rejected_funds" in simulator.step(DailyAction.BUY_CALL).events
    assert simulator.value == 300.0


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_requirement_is_what_a_fill_at_the_decision_would_need(seed):
    book = PathBook(random_path(seed, 12))
    at, action = seed % 11, ENTRIES[seed % len(ENTRIES)]
    legs = book.legs(at, action)
    quotes, costs = book.mids(legs, at, False), book.costs
    paid = sum(
        100 * leg.quantity * costs.fill(mid, leg.side).price + costs.commission
        for leg, mid in zip(legs, quotes, strict=True)
    )
    margin = 500.0 if action == DailyAction.IRON_CONDOR else 0.0
    assert book.requirement[at, action] == pytest.approx(paid + margin, abs=1e-9)


def test_an_action_outside_the_mask_is_hold_with_a_penalty():
    held, wrong = (DailySimulator(path_of([200.0] * 4)) for _ in range(2))
    result = wrong.step(CLOSE)
    assert result.reward == result.components.invalid_action == -0.1
    assert result.events == ("invalid_action",)
    assert held.step(HOLD).reward == 0.0
    assert wrong.account.value == held.account.value
    assert wrong.invalid_actions == 1


@pytest.mark.parametrize("action", [-1, 7])
def test_an_action_that_does_not_exist_is_an_error(action):
    with pytest.raises(ConfigError, match=f"action {action} does not exist"):
        DailySimulator(path_of([200.0] * 4)).step(action)


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from(["next_open", "next_close"]))
@settings(deadline=None, max_examples=40)
def test_the_books_reconcile_and_the_reward_is_the_change_of_value(seed, holes, fill):
    config = DailyConfig(fill=fill, sizing=RiskFraction(0.1))
    simulator = DailySimulator(random_path(seed, 50, holes=holes), config=config)
    rng = np.random.default_rng(seed)
    while not simulator.done:
        before = simulator.value
        result = simulator.step(int(rng.choice(np.flatnonzero(simulator.mask()))))
        check_invariant(simulator.account)
        change = (simulator.value - before) / 10_000.0 * 100.0
        assert result.reward == sum(result.components)
        assert result.reward == pytest.approx(change, abs=1e-9)
    assert simulator.position is None


def test_sizing_by_risk_buys_at_least_one_and_never_beyond_the_cash():
    two_percent = RiskFraction(0.02)
    assert two_percent(value=10_000.0, available=10_000.0, max_loss=50.0) == 4
    assert two_percent(value=10_000.0, available=10_000.0, max_loss=500.0) == 1
    assert two_percent(value=10_000.0, available=120.0, max_loss=50.0) == 2
    assert two_percent(value=10_000.0, available=10_000.0, max_loss=0.0) == 1


def test_more_units_cost_and_earn_in_proportion():
    path = path_of([200.0] * 9 + [206.0, 206.0])
    one, three = (
        DailySimulator(path, rules=NO_RULES, config=DailyConfig(sizing=FixedUnits(n)))
        for n in (1, 3)
    )
    for simulator in (one, three):
        walk(simulator, {FRIDAY: DailyAction.BULL_SPREAD})
    assert three.trades[0].pnl == pytest.approx(3 * one.trades[0].pnl)
    assert three.trades[0].pnl_pct == pytest.approx(one.trades[0].pnl_pct)


# ---------------------------------------------------------------- observation


def test_portfolio_observations_when_flat_and_in_a_position():
    simulator = DailySimulator(path_of([200.0] * 6), rules=NO_RULES)
    assert simulator.observe()[10:].tolist() == [0.5, 0.0, 0.0, 0.5, 0.0]
    simulator.step(DailyAction.BEAR_SPREAD)
    balance, has, kind, unrealized, holding = simulator.observe()[10:].tolist()
    assert balance == pytest.approx(simulator.value / 20_000.0)
    assert (has, kind, holding) == pytest.approx((1.0, 0.6, 0.2))
    position = simulator.position
    paid = position.entry_value + sum(fill.commission for fill in position.entry_fills)
    assert unrealized == pytest.approx(position.pnl / paid + 0.5)


def test_a_credit_s_open_profit_is_over_what_it_risks_not_over_the_credit():
    """Contract, dimension 13: a condor for a credit of 4.64 that costs 20.95 has lost 4 % of 497.96.

    Over the credit it would be -450 %, and every condor's first close would look like ruin.
    """
    simulator = DailySimulator(path_of([200.0] * 6), rules=NO_RULES)
    simulator.step(DailyAction.IRON_CONDOR)
    position = simulator.position
    width, credit = 500.0, -position.entry_value
    at_risk = width - credit + sum(fill.commission for fill in position.entry_fills)
    assert credit == pytest.approx(4.64, abs=0.01)
    assert position.capital_at_risk == pytest.approx(at_risk)
    assert at_risk == pytest.approx(497.96, abs=0.01)
    assert position.pnl == pytest.approx(-20.95, abs=0.01)
    assert simulator.observe()[13] == pytest.approx(0.5 - 20.95 / 497.96, abs=1e-4)


@pytest.mark.parametrize("action", ENTRIES)
def test_no_trade_loses_more_than_its_capital_at_risk_but_for_its_exit_costs(action):
    """A percentage of the risk: -100 % is all, and an exit's own costs come on top."""
    path = path_of([200.0] * 5 + [150.0] * 6)
    simulator = DailySimulator(path, rules=NO_RULES)
    walk(simulator, {FRIDAY: action})
    (trade,) = simulator.trades
    at_risk = trade.pnl / trade.pnl_pct
    assert at_risk == pytest.approx(trade.risk.max_loss * trade.quantity)
    assert trade.pnl_pct >= -1.0 - 1e-9
    if action not in (DailyAction.BUY_PUT, DailyAction.BEAR_SPREAD):
        assert trade.pnl_pct == pytest.approx(-1.0)


def test_the_portfolio_is_the_contract_s_own():
    simulator = DailySimulator(path_of([200.0] * 6), rules=NO_RULES)
    simulator.step(DailyAction.BUY_CALL)
    seen = simulator.portfolio()
    assert tuple(seen) == DAILY_15_PROXY_V1.portfolio_names
    assert {DAILY_ACTIONS[action].structure for action in ENTRIES} == set(POSITION_TYPE_CODES)
    assert simulator.observe()[10:].tolist() == pytest.approx(list(seen.values()))


@pytest.mark.parametrize(("action", "code"), [(0, 0.2), (1, 0.4), (2, 0.5), (3, 0.6), (4, 0.8)])
def test_position_type_codes(action, code):
    simulator = DailySimulator(path_of([200.0] * 4))
    simulator.step(action)
    assert simulator.observe()[12] == pytest.approx(code)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_observations_stay_in_their_ranges(seed):
    simulator = DailySimulator(random_path(seed, 40), capital=1_000.0)
    rng = np.random.default_rng(seed)
    while not simulator.done:
        seen = simulator.observe()
        assert seen.shape == (15,)
        assert seen.dtype == np.float32
        assert ((seen >= 0.0) & (seen <= 1.0)).all()
        simulator.step(int(rng.choice(np.flatnonzero(simulator.mask()))))


# ---------------------------------------------------------------- replay and checkpoints


def test_the_same_actions_give_the_same_books():
    runs = [DailySimulator(random_path(7, 80)) for _ in range(2)]
    for simulator in runs:
        walk(simulator, seed=11)
    assert runs[0].ledger == runs[1].ledger
    assert runs[0].trades == runs[1].trades
    assert len(runs[0].trades) > 5


@given(st.integers(0, 10_000), st.integers(1, 38))
@settings(deadline=None, max_examples=25)
def test_a_checkpoint_goes_on_as_if_nothing_had_happened(seed, cut):
    path, rng = random_path(seed, 40, holes=True), np.random.default_rng(seed)
    straight, resumed = DailySimulator(path), DailySimulator(path)
    actions = []
    while not straight.done:
        actions.append(int(rng.choice(np.flatnonzero(straight.mask()))))
        straight.step(actions[-1])
    for action in actions[:cut]:
        resumed.step(action)
    saved, resumed = json.dumps(resumed.state()), DailySimulator(path)
    resumed.restore(json.loads(saved))
    for action in actions[cut:]:
        resumed.step(action)
    assert resumed.state() == straight.state()
    assert resumed.trades == straight.trades


def test_a_state_of_another_version_is_refused():
    simulator = DailySimulator(path_of([200.0] * 4))
    with pytest.raises(DataError, match="version 3"):
        simulator.restore({**simulator.state(), "version": 3})


def test_a_state_from_before_there_were_several_positions_is_read():
    path = path_of([200.0, 200.0, 190.0, 190.0, 190.0])
    straight, resumed = DailySimulator(path), DailySimulator(path)
    for action in (DailyAction.BUY_CALL, HOLD):
        straight.step(action)
    old = {**straight.state(), "version": 1, "pending_exit": straight.pending_exit}
    for name in ("pending_exits", "assigned", "peaks"):
        del old[name]
    resumed.restore(json.loads(json.dumps(old)))
    straight.step(HOLD)
    resumed.step(HOLD)
    assert [trade.exit_reason for trade in resumed.trades] == ["stop_loss"]
    assert resumed.trades == straight.trades


def _decisions(path, seed):
    simulator, rng, taken = DailySimulator(path), np.random.default_rng(seed), {}
    while not simulator.done:
        taken[simulator.session] = int(rng.choice(np.flatnonzero(simulator.mask())))
        simulator.step(taken[simulator.session])
    return taken, simulator


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_replay_rebuilds_the_account_from_decisions(seed):
    path = random_path(seed, 40)
    taken, straight = _decisions(path, seed)
    replayed = DailySimulator.replay(path, taken)
    ended = [trade for trade in straight.trades if trade.exit_reason != "end_of_path"]
    assert replayed.trades == ended
    assert (replayed.position is None) == (len(ended) == len(straight.trades))
    check_invariant(replayed.account)


@given(st.integers(0, 10_000), st.integers(10, 39))
@settings(deadline=None, max_examples=20)
def test_a_replay_of_a_shorter_path_is_the_beginning_of_the_longer(seed, length):
    path = random_path(seed, 40)
    taken, _ = _decisions(path, seed)
    short = path.window(0, length)
    early = DailySimulator.replay(short, {d: a for d, a in taken.items() if d in short.sessions})
    late = DailySimulator.replay(path, taken)
    assert late.trades[: len(early.trades)] == early.trades
    assert late.ledger[: len(early.ledger)] == early.ledger


def test_the_decision_of_the_last_session_is_queued_not_filled():
    path = path_of([200.0] * 4)
    simulator = DailySimulator.replay(path, {path.sessions[-1]: DailyAction.BUY_CALL})
    assert simulator.pending_entry.action == DailyAction.BUY_CALL
    assert (simulator.position, simulator.ledger) == (None, [])
    assert simulator.session == path.sessions[-1]


def test_a_replayed_decision_that_is_not_allowed_is_hold():
    path = path_of([200.0] * 5)
    simulator = DailySimulator.replay(path, {path.sessions[1]: CLOSE})
    assert simulator.invalid_actions == 1
    assert simulator.value == 10_000.0


def test_a_decision_off_the_path_is_refused():
    with pytest.raises(DataError, match="2020-01-02"):
        DailySimulator.replay(path_of([200.0] * 5), {date(2020, 1, 2): 0})


# ---------------------------------------------------------------- records and configuration


def test_a_trade_records_every_leg_of_both_ways():
    simulator = DailySimulator(path_of([200.0] * 6))
    walk(simulator, {0: DailyAction.IRON_CONDOR, 1: CLOSE})
    (trade,) = simulator.trades
    assert [fill.side for fill in trade.fills] == ["buy", "sell", "sell", "buy", *_REVERSED]
    assert {fill.quote_kind for fill in trade.fills} == {"surface"}
    assert trade.costs == pytest.approx(math.fsum(fill.costs for fill in trade.fills))
    assert sum(fill.commission for fill in trade.fills) == pytest.approx(8 * 0.65)
    assert trade.pnl == pytest.approx(trade.exit_value - trade.entry_value - 8 * 0.65, abs=1e-9)


def test_cheaper_presets_cost_less():
    paid = {}
    for name, costs in PRESETS.items():
        simulator = DailySimulator(path_of([200.0] * 6), costs)
        walk(simulator, {0: DailyAction.IRON_CONDOR, 1: CLOSE})
        paid[name] = simulator.trades[0].costs
    assert paid["free"] == 0.0
    assert paid["free"] < paid["alpaca"] < paid["tradier"] < paid["spymaster"] < paid["rltrade"]


@pytest.mark.parametrize(
    "wrong", [{"fill": "same_close"}, {"invalid_action_penalty": -1.0}, {"reward_scale": 0.0}]
)
def test_wrong_configuration_is_refused(wrong):
    with pytest.raises(ConfigError):
        DailyConfig(**wrong)


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (3, 3), (0, 9)])
def test_an_empty_range_of_sessions_is_refused(start, stop):
    with pytest.raises(DataError, match="of a path with 4"):
        DailySimulator(path_of([200.0] * 4), start=start, stop=stop)


def test_the_books_still_reconcile_after_twenty_years():
    simulator = DailySimulator(random_path(5, 5_000, scale=0.006), capital=100_000.0)
    walk(simulator, seed=1)
    check_invariant(simulator.account)
    assert len(simulator.ledger) > 10_000
