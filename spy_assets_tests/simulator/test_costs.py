"""Fills around a mid and at a quote, and the presets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, DataError
from spy_assets.simulator.costs import PRESETS, CostModel, cost_preset

RLTRADE = PRESETS["rltrade"]


def test_rltrade_buys_at_the_ask_and_sells_at_the_bid_with_two_percent_slippage():
    assert RLTRADE.fill(2.0, 1) == pytest.approx((2.09, 0.05, 0.04))
    assert RLTRADE.fill(2.0, -1) == pytest.approx((1.91, 0.05, 0.04))
    assert RLTRADE.fees(3, 1, 2.0, 100) == pytest.approx(3 * 0.65)


def test_a_quote_replaces_the_spread_model():
    assert RLTRADE.fill(2.0, 1, bid=1.98, ask=2.02) == pytest.approx((2.06, 0.02, 0.04))
    assert RLTRADE.fill(2.0, -1, bid=1.98, ask=2.02) == pytest.approx((1.94, 0.02, 0.04))


@given(st.sampled_from(list(PRESETS.values())), st.floats(0.0, 50.0), st.sampled_from([1, -1]))
@settings(deadline=None, max_examples=50)
def test_no_fill_beats_the_mid_and_no_price_is_negative(costs, mid, side):
    price, spread, slippage = costs.fill(mid, side)
    assert price >= 0.0
    assert spread >= 0.0
    assert slippage >= 0.0
    assert price == pytest.approx(mid + side * (spread + slippage), abs=1e-12)


def test_selling_something_worthless_gives_nothing():
    assert RLTRADE.fill(0.03, -1).price == 0.0
    assert RLTRADE.fill(0.0, -1) == (0.0, 0.0, 0.0)


def test_the_fee_on_sales_is_paid_by_sellers_only():
    tradier = PRESETS["tradier"]
    assert tradier.fees(1, 1, 10.0, 100) == 0.402
    assert tradier.fees(1, -1, 10.0, 100) == pytest.approx(0.402 + 1000 * 27.8e-6)


@pytest.mark.parametrize("mid", [float("nan"), -0.01, float("inf")])
def test_an_option_without_a_price_does_not_fill(mid):
    with pytest.raises(DataError, match="mid"):
        RLTRADE.fill(mid, 1)


def test_wrong_costs_and_unknown_presets_are_refused():
    with pytest.raises(ConfigError, match=r"commission -0\.65"):
        CostModel("wrong", -0.65, 0.0, 0.0)
    with pytest.raises(ConfigError, match="spymaster"):
        cost_preset("robinhood")
    assert cost_preset("alpaca").commission < cost_preset("tradier").commission
