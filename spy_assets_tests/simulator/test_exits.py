"""Exit rules: units, order, edges."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError
from spy_assets.simulator.exits import (
    CHAINS,
    CREDIT_MULTIPLES,
    DEFAULT_RULES,
    CreditStop,
    ExitRules,
    HoldingState,
    MaxHold,
    ModelExit,
    NearExpiry,
    ProfitTarget,
    SpotMove,
    StopLoss,
    TimeStop,
    TrailingStop,
    exit_preset,
    exit_rules,
    short_premium_rules,
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


#: Nothing is near: what a clock would say in the first minutes of a long-dated position.
EARLY = HoldingState(0.0, 1.0, 5_000.0, 10.0, 0.0)


@pytest.mark.parametrize(
    ("peak", "now", "fires"),
    [
        (0.099, 0.01, False),  # was never 10 % ahead
        (0.10, 0.051, False),
        (0.10, 0.049, True),
        (0.30, 0.251, False),  # the stop has risen with the peak
        (0.30, 0.249, True),
    ],
)
def test_a_trailing_stop_is_armed_by_a_profit_and_follows_its_peak(peak, now, fires):
    rule = TrailingStop(arm=0.10, trail=0.05)
    assert rule.fires(position_at("long_call", now), 200.0, HoldingState(peak)) is fires


@pytest.mark.parametrize(
    ("rule", "state", "fires"),
    [
        (TimeStop(45), EARLY._replace(minutes_held=44.9), False),
        (TimeStop(45), EARLY._replace(minutes_held=45.0), True),
        (NearExpiry(30), EARLY._replace(minutes_to_expiry=31.0), False),
        (NearExpiry(30), EARLY._replace(minutes_to_expiry=30.0), True),
        (NearExpiry(None, sessions=1), EARLY._replace(sessions_to_expiry=2), False),
        (NearExpiry(None, sessions=1), EARLY._replace(sessions_to_expiry=1), True),
        (NearExpiry(30, sessions=0), EARLY._replace(sessions_to_expiry=0), True),
        (ModelExit(0.55), EARLY._replace(exit_probability=0.55), False),
        (ModelExit(0.55), EARLY._replace(exit_probability=0.56), True),
        (ModelExit(0.55), HoldingState(), False),
    ],
)
def test_timed_rules_look_at_what_the_clock_says(rule, state, fires):
    assert rule.fires(position_at("long_call", 0.0), 200.0, state) is fires


@pytest.mark.parametrize(
    ("rule", "needs"),
    [
        (TrailingStop(), "peak_of_premium"),
        (TimeStop(), "minutes_held"),
        (NearExpiry(), "minutes_to_expiry"),
        (NearExpiry(None, 1), "sessions_to_expiry"),
    ],
)
def test_a_rule_that_is_not_told_what_it_needs_refuses(rule, needs):
    with pytest.raises(ConfigError, match=needs):
        ExitRules((rule,)).first(position_at("long_call", 0.0), 200.0)


@pytest.mark.parametrize(
    ("name", "multiple", "mark_of_credit", "fires"),
    [
        ("short_put", 3.0, 2.99, False),
        ("short_put", 3.0, 3.01, True),
        ("bull_put_credit", 5.0, 4.99, False),
        ("bull_put_credit", 5.0, 5.01, True),
        ("long_call", 3.0, 3.01, False),
    ],
)
def test_a_credit_stop_counts_what_closing_costs(name, multiple, mark_of_credit, fires):
    _, position = opened(name)
    position.mark = mark_of_credit * position.entry_value
    assert CreditStop(multiple).fires(position, 200.0) is fires


@given(cost=st.floats(0.0, 20.0))
@settings(deadline=None, max_examples=50)
def test_d19_more_risk_is_never_a_wider_stop(cost):
    _, position = opened("short_put")
    position.mark = cost * position.entry_value
    stopped = [short_premium_rules(risk).first(position, 200.0) is not None for risk in RISKS]
    assert stopped == sorted(stopped)


RISKS = ("LOW", "MEDIUM", "HIGH")


def test_the_multiples_of_the_plan_are_all_there():
    assert [CREDIT_MULTIPLES[risk] for risk in RISKS] == [5.0, 4.0, 3.0]


#: From the gravest reason to the mildest, as the chains are ordered.
URGENCY = (
    (StopLoss, CreditStop, SpotMove),
    (ProfitTarget,),
    (TrailingStop,),
    (MaxHold, TimeStop),
    (NearExpiry,),
    (ModelExit,),
)


@pytest.mark.parametrize("name", list(CHAINS))
def test_chains_are_ordered_by_urgency(name):
    ranks = [
        next(rank for rank, kinds in enumerate(URGENCY) if isinstance(rule, kinds))
        for rule in exit_preset(name).chain
    ]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    ("name", "pnl", "state", "reason"),
    [
        ("gaussian", -0.081, EARLY, "stop_loss"),
        ("gaussian", 0.151, EARLY, "profit_target"),
        ("gaussian", 0.055, EARLY._replace(peak_of_premium=0.10), "trailing_stop"),
        ("gaussian", 0.0, EARLY._replace(minutes_held=45.0), "time_stop"),
        ("gaussian", 0.0, EARLY._replace(minutes_to_expiry=29.0), "near_expiry"),
        ("gaussian", 0.0, EARLY._replace(exit_probability=0.6), "model_exit"),
        ("gaussian", 0.0, EARLY, None),
        ("gaussian_defaults", 0.045, EARLY._replace(peak_of_premium=0.10), "trailing_stop"),
        ("gaussian_defaults", -0.16, EARLY._replace(minutes_held=300.0), "stop_loss"),
        ("spymaster", -0.49, EARLY, None),
        ("spymaster", -0.51, EARLY, "stop_loss"),
        ("spymaster", 1.01, EARLY, "profit_target"),
        ("rltrade", -0.31, EARLY, "stop_loss"),
    ],
)
def test_presets_have_the_numbers_of_their_sources(name, pnl, state, reason):
    assert exit_preset(name).first(position_at("long_call", pnl), 200.0, state) == reason


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CreditStop(1.0), "multiple 1.0"),
        (lambda: TrailingStop(0.0, 0.1), "armed at 0.0"),
        (lambda: NearExpiry(None, None), "never fires"),
        (lambda: ModelExit(1.5), "probability 1.5"),
        (lambda: exit_preset("none"), "no exit chain 'none'"),
        (lambda: short_premium_rules("EXTREME"), "no risk level 'EXTREME'"),
    ],
)
def test_senseless_rules_are_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make()
