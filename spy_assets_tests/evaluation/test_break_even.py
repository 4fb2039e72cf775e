from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spy_assets.errors import ConfigError
from spy_assets.evaluation import break_even
from spy_assets.evaluation.backtest import Venue, run_policy
from spy_assets.evaluation.baselines import always, random_entries
from spy_assets.simulator.actions import DailyAction
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.exits import ExitRules, MaxHold
from spy_assets_tests.evaluation.markets import random_walk

MARKET = random_walk(1, drift=0.003)
QUOTES = PRESETS["rltrade"]
#: A month to expiry, so that no sale comes near to nothing, below which no fill can go.
MONTHLY = DailyConfig(dte=30)
#: Holding two sessions whatever happens, so that fills do not change which trades there are.
FIXED = ExitRules((MaxHold(2),), 2)


def net(alpha: float, rules: ExitRules = FIXED) -> float:
    """Net P&L of always buying calls with fills that far from mid."""
    costs = replace(QUOTES, half_spread=alpha * QUOTES.half_spread, slippage_fraction=0.0)
    result = run_policy(
        Venue(MARKET, costs=costs, rules=rules, config=MONTHLY), always(DailyAction.BUY_CALL)
    )
    return result.daily.net_pnl


def test_a_line_by_hand() -> None:
    found = break_even.solve_line(gross=100.0, spread=40.0, other=30.0)
    assert found.alpha == pytest.approx(1.75)
    assert (found.at_mid, found.at_quote, found.reason) == (70.0, 30.0, None)


def test_spread_that_was_booked_at_half_is_doubled_first() -> None:
    found = break_even.solve_line(gross=100.0, spread=40.0, other=30.0, booked_alpha=0.5)
    assert found.alpha == pytest.approx(0.875)
    assert found.at_quote == pytest.approx(-10.0)


def test_the_line_is_where_a_new_run_earns_nothing() -> None:
    costs = replace(QUOTES, slippage_fraction=0.0)
    result = run_policy(
        Venue(MARKET, costs=costs, rules=FIXED, config=MONTHLY), always(DailyAction.BUY_CALL)
    )
    found = break_even.break_even_of_trades(result.trades)
    assert found.alpha is not None
    assert found.at_quote == pytest.approx(result.daily.net_pnl)
    assert net(found.alpha) == pytest.approx(0.0, abs=1e-6)
    searched = break_even.break_even_alpha(net, limit=40.0)
    assert searched.alpha == pytest.approx(found.alpha, abs=1e-4)


def test_runs_at_half_the_spread_have_the_same_break_even() -> None:
    found = []
    for alpha in (0.5, 1.0):
        costs = replace(QUOTES, slippage_fraction=0.0, alpha=alpha)
        venue = Venue(MARKET, costs=costs, rules=FIXED, config=MONTHLY)
        trades = run_policy(venue, always(DailyAction.BUY_CALL)).trades
        found.append(break_even.break_even_of_trades(trades, booked_alpha=alpha))
    assert found[0].alpha == pytest.approx(found[1].alpha)
    assert found[0].at_quote == pytest.approx(found[1].at_quote)


def test_trades_and_ledger_agree() -> None:
    simulator = Venue(MARKET).simulator()
    act = random_entries(0.8, 0.3, seed=2)
    while not simulator.done:
        simulator.step(act(simulator.observe(), simulator.mask()))
    by_trades = break_even.break_even_of_trades(simulator.trades)
    by_ledger = break_even.break_even_of_ledger(simulator.ledger)
    assert by_ledger.at_mid == pytest.approx(by_trades.at_mid)
    assert by_ledger.at_quote == pytest.approx(by_trades.at_quote)
    assert by_ledger.at_quote == pytest.approx(sum(trade.pnl for trade in simulator.trades))


@given(st.floats(0.01, 7.9), st.floats(0.1, 1e4))
def test_bisection_finds_the_root_of_any_line(root: float, slope: float) -> None:
    found = break_even.break_even_alpha(lambda alpha: slope * (root - alpha))
    assert found.alpha == pytest.approx(root, abs=1e-4)


def test_trades_that_change_with_the_fills_are_run_again() -> None:
    found = break_even.break_even_alpha(
        lambda alpha: net(alpha, ExitRules()), limit=64.0, tolerance=0.01
    )
    assert found.alpha is not None
    assert net(found.alpha + 0.01, ExitRules()) <= 0 < net(found.alpha - 0.01, ExitRules())


def test_what_earns_nothing_at_mid_never_breaks_even() -> None:
    line = break_even.solve_line(gross=10.0, spread=5.0, other=12.0)
    searched = break_even.break_even_alpha(lambda alpha: -2.0 - 5 * alpha)
    for found in (line, searched):
        assert found.alpha is None
        assert found.reason == "not profitable even when filled at mid: $-2.00"


def test_what_never_loses_has_no_root() -> None:
    found = break_even.break_even_alpha(lambda alpha: 1.0, limit=3.0)
    assert (found.alpha, found.reason) == (None, "still profitable at 3 half-spreads")
    free = break_even.solve_line(gross=10.0, spread=0.0, other=1.0)
    assert free.reason == "no spread was paid, so that fills decide nothing"


def test_broken_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="booked_alpha 0"):
        break_even.solve_line(1.0, 1.0, 0.0, booked_alpha=0)
    with pytest.raises(ConfigError, match="net P&L nan at alpha"):
        break_even.break_even_alpha(lambda alpha: math.nan)
    with pytest.raises(ConfigError, match="limit 0"):
        break_even.break_even_alpha(lambda alpha: 1.0, limit=0)
