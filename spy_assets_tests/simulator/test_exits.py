"""Exit rules: units, order, edges."""

from __future__ import annotations

import pytest

from spy_assets.errors import ConfigError
from spy_assets.simulator.exits import (
    DEFAULT_RULES,
    ExitRules,
    MaxHold,
    ProfitTarget,
    SpotMove,
    StopLoss,
    exit_rules,
)
from spy_assets_tests.simulator.test_kernel import opened


def position_at(name, pnl_of_premium, closes_held=1):
    _, position = opened(name)
    position.mark = pnl_of_premium * position.basis - position.cash_flow
    position.closes_held = closes_held
    return position


@pytest.mark.parametrize(
    ("name", "pnl_of_premium", "reason"),
    [
        ("long_call", -0.301, "stop_loss"),
        ("long_call", -0.299, None),
        ("long_call", 0.501, "profit_target"),
        ("long_call", 0.499, None),
        ("iron_condor", -0.9, None),  # 90 % of the credit: not yet
        ("iron_condor", -1.01, "stop_loss"),
        ("iron_condor", 0.51, "profit_target"),
    ],
)
def test_default_limits_are_in_premium_paid_or_credit_received(name, pnl_of_premium, reason):
    assert DEFAULT_RULES.first(position_at(name, pnl_of_premium), 200.0) == reason


@pytest.mark.parametrize(("closes", "reason"), [(4, None), (5, "max_hold"), (6, "max_hold")])
def test_the_longest_holding_time_counts_closes(closes, reason):
    assert DEFAULT_RULES.first(position_at("long_call", 0.0, closes), 200.0) == reason


def test_the_first_rule_of_the_chain_names_the_exit():
    late_and_lost = position_at("long_call", -0.5, 7)
    assert DEFAULT_RULES.first(late_and_lost, 200.0) == "stop_loss"
    turned = ExitRules((MaxHold(5), StopLoss(), ProfitTarget()))
    assert turned.first(late_and_lost, 200.0) == "max_hold"


@pytest.mark.parametrize(
    ("spot", "fires"), [(198.3, True), (198.5, False), (202.3, False), (202.5, True)]
)
def test_spot_move_is_a_fraction_of_the_spot_at_entry(spot, fires):
    assert SpotMove(-0.008, 0.012).fires(position_at("long_call", 0.0), spot) is fires


def test_other_numbers_make_another_chain():
    rules = exit_rules(0.1, 0.2, 3)
    assert rules.max_hold == 3
    assert rules.first(position_at("long_call", -0.11), 200.0) == "stop_loss"
    assert rules.first(position_at("long_call", 0.0, 3), 200.0) == "max_hold"
    with pytest.raises(ConfigError, match="max_hold 0"):
        exit_rules(max_hold=0)
