"""The registry, its legs, and payoffs against a brute-force grid."""

from __future__ import annotations

import math
from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, DataError
from spy_assets.options.contracts import OptionContract
from spy_assets.options.structures import (
    STRUCTURES,
    Leg,
    display_symbol,
    legs_for,
    payoff_at_expiry,
    risk_profile,
    structure_named,
    worst_payoff,
)

EXPIRY = date(2026, 1, 16)
OPENING = [name for name, structure in STRUCTURES.items() if structure.templates]


def test_the_ids_are_fixed():
    assert {structure.id: name for name, structure in STRUCTURES.items()} == {
        0: "hold",
        1: "close",
        2: "long_call",
        3: "long_put",
        4: "short_call",
        5: "short_put",
        6: "bull_call_debit",
        7: "bear_put_debit",
        8: "bull_put_credit",
        9: "bear_call_credit",
        10: "iron_condor",
        11: "long_straddle",
        12: "long_strangle",
        13: "butterfly",
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hold", []),
        ("close", []),
        ("long_call", ["+1C600"]),
        ("long_put", ["+1P600"]),
        ("short_call", ["-1C600"]),
        ("short_put", ["-1P600"]),
        ("bull_call_debit", ["+1C600", "-1C605"]),
        ("bear_put_debit", ["+1P600", "-1P595"]),
        ("bull_put_credit", ["-1P600", "+1P595"]),
        ("bear_call_credit", ["-1C600", "+1C605"]),
        ("iron_condor", ["+1P590", "-1P595", "-1C605", "+1C610"]),
        ("long_straddle", ["+1C600", "+1P600"]),
        ("long_strangle", ["+1P595", "+1C605"]),
        ("butterfly", ["+1C595", "-2C600", "+1C605"]),
    ],
)
def test_legs_at_a_spot_of_600_40(name, expected):
    legs = legs_for(name, 600.40, EXPIRY)
    shown = [f"{leg.quantity:+d}{leg.contract.right}{leg.contract.strike:g}" for leg in legs]
    assert shown == expected
    assert all(leg.symbol == leg.contract.occ and leg.contract.expiry == EXPIRY for leg in legs)


@pytest.mark.parametrize(
    ("spot", "payoff"),
    [(580.0, -500.0), (592.0, -300.0), (600.0, 0.0), (608.0, -300.0), (620.0, -500.0)],
)
def test_condor_payoff_at_five_spots(spot, payoff):
    assert payoff_at_expiry(legs_for("iron_condor", 600.0, EXPIRY), spot) == payoff


@given(st.sampled_from(OPENING), st.lists(st.floats(0.0, 30.0), min_size=4, max_size=4))
@settings(deadline=None, max_examples=50)
def test_risk_profile_is_the_extreme_of_the_payoff(name, prices):
    legs = legs_for(name, 600.0, EXPIRY)
    paid = prices[: len(legs)]
    profile = risk_profile(legs, paid, costs=2.6)
    cost = 100 * math.fsum(leg.quantity * p for leg, p in zip(legs, paid, strict=True)) + 2.6
    grid = [payoff_at_expiry(legs, spot) - cost for spot in np.arange(0.0, 1200.5, 0.5)]
    if math.isfinite(profile.max_profit):
        assert profile.max_profit == pytest.approx(max(grid), abs=1e-9)
    if math.isfinite(profile.max_loss):
        assert profile.max_loss == pytest.approx(max(0.0, -min(grid)), abs=1e-9)
    for spot in profile.breakevens:
        assert payoff_at_expiry(legs, spot) - cost == pytest.approx(0.0, abs=1e-6)
    crossings = sum(1 for a, b in pairwise(grid) if a * b < 0)
    assert len(profile.breakevens) >= crossings


def test_d08_maximum_profit_and_loss_of_a_vertical_come_from_its_prices():
    # D-08: they were the constants $300 and $200, whatever the debit.
    legs = legs_for("bear_put_debit", 688.2, EXPIRY)
    for debit in (1.25, 2.0, 3.4):
        profile = risk_profile(legs, [debit + 1.0, 1.0])
        assert profile.max_loss == pytest.approx(100 * debit)
        assert profile.max_profit == pytest.approx(500 - 100 * debit)
        assert profile.breakevens == pytest.approx((688.0 - debit,))


def test_condor_profile_by_hand():
    profile = risk_profile(legs_for("iron_condor", 600.0, EXPIRY), [0.5, 1.1, 1.0, 0.4])
    assert (profile.max_profit, profile.max_loss) == pytest.approx((120.0, 380.0))
    assert profile.breakevens == pytest.approx((593.8, 606.2))


def test_unbounded_sides_are_infinite():
    call, put = legs_for("short_call", 600.0, EXPIRY), legs_for("short_put", 600.0, EXPIRY)
    assert risk_profile(call, [5.0]).max_loss == math.inf
    assert worst_payoff(call) == -math.inf
    assert risk_profile(put, [5.0]).max_loss == 59_500.0
    assert risk_profile(legs_for("long_straddle", 600.0, EXPIRY), [5.0, 5.0]).max_profit == math.inf


@pytest.mark.parametrize("name", [n for n in OPENING if not STRUCTURES[n].naked])
def test_structures_that_are_not_naked_have_bounded_losses(name):
    assert math.isfinite(worst_payoff(legs_for(name, 600.0, EXPIRY)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bear_put_debit", "SPY 260116 P 600/595"),
        ("iron_condor", "SPY 260116 IC 590/595/605/610"),
        ("long_straddle", "SPY 260116 C+P 600/600"),
        ("long_call", "SPY 260116 C 600"),
        ("hold", ""),
    ],
)
def test_display_symbol(name, text):
    assert display_symbol(name, legs_for(name, 600.0, EXPIRY)) == text


def test_an_unknown_structure_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="iron_condor"):
        structure_named("covered_call")


def test_a_strike_below_zero_is_refused():
    with pytest.raises(DataError, match="strike"):
        legs_for("iron_condor", 8.0, EXPIRY)


def test_a_profile_needs_one_price_a_leg_and_one_expiry():
    legs = legs_for("bull_call_debit", 600.0, EXPIRY)
    with pytest.raises(DataError, match="2 legs but 1 prices"):
        risk_profile(legs, [1.0])
    other = Leg(OptionContract("SPY", date(2026, 1, 23), "C", 605.0), -1)
    with pytest.raises(DataError, match="one expiry"):
        risk_profile([legs[0], other], [1.0, 2.0])
