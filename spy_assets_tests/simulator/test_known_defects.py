"""Errors found in the systems that this one replaces (D-01 to D-06, D-22): each would fail here."""

from __future__ import annotations

import numpy as np
import pytest

from spy_assets.options.black_scholes import price
from spy_assets.options.contracts import years_to_expiry
from spy_assets.options.surface import VixSurface
from spy_assets.sessions import session_open, sessions_between
from spy_assets.simulator.actions import CLOSE, HOLD, DailyAction
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.exits import ExitRules
from spy_assets.simulator.kernel import check_invariant
from spy_assets.simulator.market_path import MarketPath
from spy_assets_tests.simulator.paths import path_of, random_path
from spy_assets_tests.simulator.test_daily import FRIDAY, walk

NO_RULES = ExitRules(chain=())
FREE = PRESETS["free"]


def trade_of(closes, action, *, at=FRIDAY, close_after=None, costs=FREE, **path):
    simulator = DailySimulator(path_of(closes, **path), costs, NO_RULES)
    plan = {at: action}
    if close_after is not None:
        plan[at + close_after] = CLOSE
    walk(simulator, plan)
    check_invariant(simulator.account)
    assert simulator.value - 10_000.0 == pytest.approx(simulator.trades[0].pnl, abs=1e-9)
    return simulator.trades[0]


@pytest.mark.parametrize(
    ("last", "payoff"),
    [(185.0, -500.0), (193.0, -200.0), (200.0, 0.0), (207.0, -200.0), (215.0, -500.0)],
)
def test_d01_condor_is_paid_once(last, payoff):
    # D-01: the credit was booked at the open and 0.8 x the maximum profit again at the close.
    trade = trade_of([200.0] * 9 + [last, last], DailyAction.IRON_CONDOR)
    credit = -trade.entry_value
    assert 0.0 < credit < 100.0
    assert trade.pnl == pytest.approx(credit + payoff, abs=1e-9)


def test_d02_each_leg_of_a_vertical_is_priced_at_its_own_strike():
    # D-02: both legs were the at-the-money contract, the short one worth 0.4 of the long one.
    trade = trade_of([200.0] * 11, DailyAction.BULL_SPREAD)
    expiry, entry = trade.legs[0].contract.expiry, trade.entry_session
    years = years_to_expiry(session_open(entry), expiry)
    strikes = np.array([200.0, 205.0])
    mids = price(200.0, strikes, years, 0.02, 0.0, VixSurface().iv(200.0, strikes, years, 0.2), "C")
    assert [fill.mid for fill in trade.entry_fills] == pytest.approx(mids.tolist(), abs=1e-12)
    assert trade.entry_value == pytest.approx(100 * (mids[0] - mids[1]), abs=1e-9)


def test_d03_a_crash_costs_a_vertical_its_debit_and_no_more():
    # D-03: the exit was linear in spot; a 20 % crash lost a third of the debit.
    trade = trade_of([200.0] * 6 + [160.0] * 5, DailyAction.BULL_SPREAD, close_after=2)
    assert trade.pnl == pytest.approx(-trade.entry_value, rel=1e-3)
    assert trade.pnl >= -trade.risk.max_loss


def test_d03_time_passes_for_a_vertical_too():
    # D-03: flat for one or three days gave the same P&L.
    one, three = (
        trade_of([200.0] * 11, DailyAction.BULL_SPREAD, close_after=days).pnl for days in (1, 3)
    )
    assert three < one < 0.0


def test_d04_decay_is_taken_once():
    # D-04: the option was repriced every day and lost all its days again at the close.
    trade = trade_of([200.0] * 11, DailyAction.BUY_CALL, close_after=3)
    years = years_to_expiry(session_open(trade.exit_session), trade.legs[0].contract.expiry)
    sigma = float(VixSurface().iv(200.0, 200.0, years, 0.2))
    expected = 100 * float(price(200.0, 200.0, years, 0.02, 0.0, sigma, "C"))
    assert trade.exit_value == pytest.approx(expected, abs=1e-9)
    assert -trade.entry_value < trade.pnl < 0.0


@pytest.mark.parametrize("action", [DailyAction.BULL_SPREAD, DailyAction.IRON_CONDOR])
def test_d05_open_spreads_are_part_of_the_account_value(action):
    # D-05: the value fell by the whole debit while a spread was open.
    simulator = DailySimulator(path_of([200.0] * 9), FREE, NO_RULES)
    simulator.step(action)
    position = simulator.position
    assert len(position.legs) >= 2
    assert simulator.value == simulator.account.cash + position.mark
    assert simulator.account.cash - 10_000.0 == pytest.approx(-position.entry_value)
    assert abs(simulator.value - 10_000.0) < 0.3 * abs(position.entry_value)


@pytest.mark.parametrize("seed", range(5))
def test_d06_rewards_add_up_to_the_gain_and_nothing_else(seed):
    # D-06: P&L was rewarded twice, with a bonus for merely opening a position.
    simulator = DailySimulator(random_path(seed, 60))
    results = walk(simulator, seed=seed)
    gain = simulator.value / 10_000.0 - 1.0
    assert sum(result.reward for result in results) == pytest.approx(100 * gain, abs=1e-9)
    assert len(simulator.trades) > 3


def test_d06_opening_is_not_rewarded():
    # A free market that stands still for a moment: opening changes nothing but time value.
    simulator = DailySimulator(path_of([200.0] * 9), rules=NO_RULES)
    result = simulator.step(DailyAction.IRON_CONDOR)
    components = result.components
    assert components.realized_pnl == components.invalid_action == 0.0
    assert components.commissions == pytest.approx(-100 * 2.6 / 10_000)
    assert result.reward < components.unrealized_change


def test_d22_an_expiry_without_a_last_print_is_settled_at_the_last_close():
    # D-22: a missing last print rejected the close, and the last mark stayed as the P&L.
    full = path_of([200.0] * 8 + [203.0, 207.0, 209.0])
    keep = [i for i, day in enumerate(full.sessions) if day.isoformat() != "2016-01-15"]
    path = MarketPath.from_arrays(
        [full.sessions[i] for i in keep],
        **{
            name: getattr(full, name)[keep]
            for name in ("open", "close", "iv_open", "iv_close", "rate", "observation")
        },
    )
    simulator = DailySimulator(path, FREE, NO_RULES)
    walk(simulator, {FRIDAY: DailyAction.BUY_CALL})
    (trade,) = simulator.trades
    assert (trade.exit_reason, trade.exit_value) == ("expiry_missing_print", 300.0)
    assert trade.exit_session.isoformat() == "2016-01-14"
    check_invariant(simulator.account)


def test_d22_an_expiry_without_a_volatility_is_settled_at_intrinsic():
    iv = [0.2] * 6 + [np.nan] * 5
    iv_open = [0.2] * 7 + [np.nan] * 4
    trade = trade_of([200.0] * 9 + [206.0] * 2, DailyAction.BUY_CALL, iv=iv, iv_open=iv_open)
    assert (trade.exit_reason, trade.exit_value) == ("expiry", 600.0)
    assert trade.stale_marks == 3


def test_a_short_expiry_beside_a_gap_is_never_opened():
    days = sessions_between(*(path_of([200.0] * 12).sessions[i] for i in (0, 11)))
    keep = [0, 1, 2, 3, 4, 10, 11]  # the whole week of the expiry is missing
    path = MarketPath.from_arrays(
        [days[i] for i in keep],
        open=[200.0] * 7,
        close=[200.0] * 7,
        iv_open=[0.2] * 7,
        iv_close=[0.2] * 7,
        rate=[0.0] * 7,
        observation=np.full((7, 10), 0.5),
    )
    simulator = DailySimulator(path)
    for _ in range(4):
        simulator.step(HOLD)
    assert simulator.step(DailyAction.BUY_CALL).events == ("entry_not_priceable",)
    assert simulator.ledger == []
