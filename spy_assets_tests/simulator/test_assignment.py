"""Early assignment before ex-dates, by hand: when it happens, what it brings, what it needs to know."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spy_assets.options.structures import legs_for
from spy_assets.simulator.actions import ALL_STRUCTURES
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.exits import ExitRules
from spy_assets.simulator.kernel import check_invariant, early_assignment
from spy_assets.simulator.market_path import MarketPath
from spy_assets_tests.simulator.paths import path_of

pytestmark = pytest.mark.filterwarnings("error")
NO_RULES = ExitRules(())
EVERYTHING = DailyConfig(actions=ALL_STRUCTURES, allow_naked=True)
NUMBERS = {one.structure: number for number, one in enumerate(ALL_STRUCTURES.openings)}


def path_with(closes, dividend, *, rate=0.0, **given):
    """A path on which cash goes ex; opens are the closes before unless given."""
    path = path_of(closes, **given)
    names = ("open", "close", "iv_open", "iv_close", "observation")
    arrays = {name: getattr(path, name) for name in names}
    rates = np.broadcast_to(rate, len(path))
    return MarketPath.from_arrays(path.sessions, **arrays, rate=rates, dividend=dividend)


def simulator_on(path, costs="free"):
    """An account that may open everything and has no exit rules."""
    return DailySimulator(path, PRESETS[costs], NO_RULES, 100_000.0, config=EVERYTHING)


def held(structure, closes, dividend, *, costs="free", steps=None, **given):
    """Sell on Wednesday the 6th, expiring on Friday the 15th, and hold; all events."""
    path = path_with(closes, dividend, **given)
    simulator, events = simulator_on(path, costs), []
    for _ in range(steps or len(path) - 1):
        action = NUMBERS[structure] if simulator.index == 2 else simulator.actions.hold
        events += simulator.step(action).events
    check_invariant(simulator.account)
    return simulator, events


# Sessions 0..: the short call at 200 is filled at the open of session 3; session 6 goes ex.
CLOSES = [200.0] * 3 + [230.0] * 3 + [229.0] * 4
EX = [0.0] * 6 + [1.0] + [0.0] * 3
OPENS = [200.0] * 4 + [230.0] * 2 + [228.5] + [229.0] * 3


def test_a_deep_call_is_assigned_and_its_shares_owe_the_dividend():
    """Sold at 200 and covered at the open of the ex-date at 228.50: 28.50 and the dividend of 1."""
    simulator, events = held("short_call", CLOSES, EX, open=OPENS)
    (trade,) = simulator.trades
    assert (trade.exit_reason, trade.exit_session) == ("assignment", simulator.path.sessions[6])
    assert trade.exit_fills == ()
    assert trade.exit_value == pytest.approx(-100 * (228.5 - 200.0 + 1.0), abs=1e-9)
    assert trade.pnl == pytest.approx(-trade.entry_value - 2950.0, abs=1e-9)
    assert events.count("assigned") == 1


def test_the_other_legs_are_traded_with_their_costs():
    simulator, _ = held("bear_call_credit", CLOSES, EX, open=OPENS, costs="rltrade")
    (trade,) = simulator.trades
    (fill,) = trade.exit_fills
    assert (fill.side, fill.leg.contract.strike, fill.commission) == ("sell", 205.0, 0.65)
    # The bought call at 205 is sold at 5 cents and 2 % below its mid; shares bear no option costs.
    assert trade.exit_value == pytest.approx(100 * fill.price - 2950.0, abs=1e-9)
    assert fill.price == pytest.approx(fill.mid * 0.98 - 0.05, abs=1e-9)


def test_time_value_above_the_dividend_is_kept():
    # At the money two days are worth more than ten cents; far in the money nothing is left.
    simulator, events = held("short_call", [200.0] * 3 + [200.5] * 7, [*EX[:6], 0.10, 0, 0, 0])
    assert simulator.trades[0].exit_reason == "expiry"
    assert events == []


def test_long_calls_and_puts_are_not_touched():
    for structure in ("long_call", "short_put", "bull_put_credit", "long_straddle"):
        simulator, events = held(structure, CLOSES, EX, open=OPENS)
        assert simulator.trades[0].exit_reason == "expiry"
        assert events == []


def test_an_unknown_dividend_is_said_and_nothing_is_assumed():
    unknown = [np.nan] * 10
    simulator, events = held("short_call", CLOSES, unknown, open=OPENS)
    assert simulator.trades[0].exit_reason == "expiry"
    # At the closes of sessions 3 to 8, at each of which the call is in the money.
    assert events == ["dividend_unknown"] * 6


def test_without_a_volatility_the_rule_cannot_be_applied():
    iv = [0.2] * 5 + [np.nan] + [0.2] * 4
    simulator, events = held("short_call", CLOSES, EX, open=OPENS, iv=iv)
    assert "assignment_unpriced" in events
    assert simulator.trades[0].exit_reason == "expiry"


def test_shares_wait_with_the_legs_that_cannot_be_traded():
    # Session 6 has no rate; the shares are covered at the open of session 7, at 229.
    rate = [0.0] * 6 + [np.nan] + [0.0] * 3
    simulator, _ = held("short_call", CLOSES, EX, open=OPENS, rate=rate)
    (trade,) = simulator.trades
    assert (trade.exit_reason, trade.exit_session) == ("assignment", simulator.path.sessions[7])
    assert trade.exit_value == pytest.approx(-100 * (229.0 - 200.0 + 1.0), abs=1e-9)
    assert trade.stale_marks == 1


def test_assignment_overrides_an_exit_that_is_on_its_way():
    simulator, _ = held("short_call", CLOSES, EX, open=OPENS, steps=5)
    assert simulator.step(simulator.actions.close).trades[0].exit_reason == "assignment"


def test_a_checkpoint_remembers_the_assignment():
    straight, _ = held("bear_call_credit", CLOSES, EX, open=OPENS, steps=5)
    resumed = simulator_on(straight.path)
    resumed.restore(json.loads(json.dumps(straight.state())))
    for simulator in (straight, resumed):
        simulator.step(simulator.actions.hold)
    assert resumed.trades == straight.trades
    assert resumed.trades[0].exit_reason == "assignment"


def test_the_rule_asks_the_first_sold_call_in_the_money():
    legs = legs_for("butterfly", 200.0, path_of([200.0] * 9).sessions[8])
    found = early_assignment(legs, [35.0, 30.2, 25.0], 230.0, 0.5)
    assert (found.leg, found.strike, found.worth(229.0)) == (1, 200.0, 29.5)
    assert early_assignment(legs, [35.0, 30.7, 25.0], 230.0, 0.5) is None
    assert early_assignment(legs, [0.1, 0.1, 0.1], 199.0, 5.0) is None
