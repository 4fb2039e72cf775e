"""Implied volatility: 60-digit reference values, the twin, round trips, and every reason for none."""

from __future__ import annotations

import json
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spy_assets.options import _exact_kernel, _iv_kernel
from spy_assets.options.black_scholes import all_greeks
from spy_assets.options.implied_vol import IvStatus, implied_volatility, volatility_of_tick
from spy_assets_tests.options import implied_vol_twin as twin
from spy_assets_tests.options.option_markets import arguments_of
from spy_assets_tests.options.option_markets import markets as option_markets

pytestmark = pytest.mark.filterwarnings("error")

#: spot, strike, years, rate, yield
MARKET = (688.12, 700.0, 0.25, 0.0433, 0.0125)

markets = option_markets(moneyness=1.0, years=(1e-5, 3.0), sigma=(0.02, 3.0))
rights = st.sampled_from("CP")


def _reference(shared_vectors: Path) -> list[dict]:
    return json.loads((shared_vectors / "pricing_vectors.json").read_text())["european"]


def _invert(rows):
    columns = [[row[key] for row in rows] for key in ("price", "S", "K", "T", "r", "q")]
    return implied_volatility(*columns, [row["flag"].upper() for row in rows])


def _exact_price(market, sigma, right):
    """The price to 50 digits."""
    with mpmath.workdps(50):
        s, k, t, r, q, v = (mpmath.mpf(a) for a in (*market, sigma))
        d1 = (mpmath.log(s / k) + (r - q + v * v / 2) * t) / (v * mpmath.sqrt(t))
        g = 1 if right == "C" else -1
        held, exercised = mpmath.ncdf(g * d1), mpmath.ncdf(g * (d1 - v * mpmath.sqrt(t)))
        return g * (s * mpmath.exp(-q * t) * held - k * mpmath.exp(-r * t) * exercised)


def test_every_informative_reference_value_within_four_times_the_attainable_error(shared_vectors):
    rows = [r for r in _reference(shared_vectors) if r["iv_from_double_price"] is not None]
    exact = np.array([row["iv_from_double_price"] for row in rows])
    condition = np.array([row["iv_ulp_cond"] for row in rows])
    found = _invert(rows)
    assert (found.status == IvStatus.OK).all()
    attainable = np.maximum(condition, np.spacing(exact))
    assert np.max(np.abs(found.iv - exact) / attainable) <= 4.0
    assert np.max(np.abs(found.iv - exact) / found.attainable) <= 4.0


def test_reference_prices_without_time_value_are_uninformative(shared_vectors):
    rows = [r for r in _reference(shared_vectors) if r["iv_from_double_price"] is None and r["itm"]]
    found = _invert(rows)
    assert (found.status == IvStatus.UNINFORMATIVE).all()
    assert np.isnan(found.iv).all()


def test_tiny_out_of_the_money_prices_still_have_their_volatility(shared_vectors):
    """Rows of 1e-286 to 1e-89 dollars, too small for the reference's 60 digits but not for float64."""
    rows = [r for r in _reference(shared_vectors) if r["iv_from_double_price"] is None]
    rows = [row for row in rows if not row["itm"]]
    found = _invert(rows)
    assert np.max(np.abs(found.iv - [row["sigma"] for row in rows]) / found.attainable) <= 4.0


def test_shared_failures_have_no_volatility(shared_vectors):
    cases = json.loads((shared_vectors / "pricing_vectors.json").read_text())["iv_failures"]
    expected = {
        "below_intrinsic": "BELOW_INTRINSIC", "at_intrinsic_fwd": "UNINFORMATIVE",
        "zero_price": "UNINFORMATIVE", "negative_price": "BELOW_INTRINSIC",
        "above_max_call": "ABOVE_MAX", "above_max_put": "ABOVE_MAX", "T_zero": "EXPIRED",
        "T_negative": "EXPIRED", "nan_price": "INVALID", "K_zero": "INVALID", "S_zero": "INVALID",
    }  # fmt: skip
    for case in cases:
        one = {**case["inputs"], "price": case["inputs"]["price"] or math.nan}
        one["price"] = 0.0 if case["name"] == "zero_price" else one["price"]
        found = _invert([one])
        assert np.isnan(found.iv[0]), case["name"]
        assert IvStatus(found.status[0]).name == expected[case["name"]], case["name"]


def _round_trip(market, right):
    """The arguments, the price of the market's volatility, and what is found from it."""
    arguments = arguments_of(market)
    price = float(all_greeks(*arguments, market["sigma"], right).price)
    return arguments, price, implied_volatility(price, *arguments, right)


@given(markets, rights)
@settings(deadline=None, max_examples=50)
def test_it_is_the_twin(market, right):
    arguments, price, found = _round_trip(market, right)
    assume(found.status == IvStatus.OK and price > 1e-200)
    assume(found.attainable < 1e-6 * found.iv)
    expected = twin.implied_volatility(price, *arguments, right)
    assert abs(found.iv - expected) <= 16.0 * found.attainable + 2e-15 * expected


@given(markets, rights)
@settings(deadline=None, max_examples=50)
def test_the_price_of_the_volatility_is_the_price(market, right):
    arguments, price, found = _round_trip(market, right)
    assume(found.status == IvStatus.OK)
    slope = float(all_greeks(*arguments, found.iv, right).vega)
    exact = float(_exact_price(arguments, float(found.iv), right) - mpmath.mpf(price))
    assert abs(exact) <= 5.0 * float(found.attainable) * slope * 1.01 + 2.0 * math.ulp(price)


@given(markets, rights, st.floats(1e-6, 0.5))
@settings(deadline=None, max_examples=50)
def test_a_dearer_option_has_a_higher_volatility(market, right, more):
    arguments = arguments_of(market)
    prices = all_greeks(*arguments, [market["sigma"], market["sigma"] * (1.0 + more)], right).price
    found = implied_volatility(prices, *arguments, right)
    assume((found.status == IvStatus.OK).all() and prices[1] > prices[0])
    assert found.iv[1] >= found.iv[0] - found.attainable.max()


anything = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1e-320, 1e-300, 1e300, 1.0]))


@given(st.lists(anything, min_size=7, max_size=7), rights)
@settings(deadline=None, max_examples=200)
def test_nothing_is_raised_and_nothing_but_ok_has_a_number(values, right):
    price, spot, strike, years, rate, carry, bid = values
    found = implied_volatility(price, spot, strike, years, rate, carry, right, bid=bid)
    is_ok = found.status == IvStatus.OK
    assert np.isfinite(found.iv) == np.isfinite(found.attainable) == is_ok
    assert not is_ok or 0.0 < found.attainable < found.iv


@pytest.mark.parametrize(
    ("price", "right", "status"),
    [
        (20.0, "C", IvStatus.OK),
        (2.0, "P", IvStatus.BELOW_INTRINSIC),
        (-0.01, "C", IvStatus.BELOW_INTRINSIC),
        (0.0, "C", IvStatus.UNINFORMATIVE),
        (688.0, "C", IvStatus.ABOVE_MAX),
        (699.0, "P", IvStatus.ABOVE_MAX),
        (math.nan, "C", IvStatus.INVALID),
        (math.inf, "C", IvStatus.INVALID),
        (20.0, "X", IvStatus.INVALID),
        (20.0, 1, IvStatus.OK),
        (20.0, 0, IvStatus.INVALID),
    ],
)
def test_a_reason_for_each(price, right, status):
    assert implied_volatility(price, *MARKET, right).status == status


@pytest.mark.fault(26)
def test_below_intrinsic_is_no_volatility_and_says_so():
    found = implied_volatility([30.0, 60.0], 688.12, 650.0, 30 / 365, 0.0433, 0.0125, "C")
    assert [IvStatus(code).name for code in found.status] == ["BELOW_INTRINSIC", "OK"]
    assert np.isnan(found.iv[0])
    assert found.iv[1] > 0.4


@pytest.mark.fault(22)
def test_no_bid_is_no_volatility():
    found = implied_volatility(20.0, *MARKET, "C", bid=[19.9, 0.0, -1.0, math.nan])
    assert found.status.tolist() == [IvStatus.OK, *[IvStatus.ZERO_BID] * 3]


@pytest.mark.fault(25)
@pytest.mark.parametrize("years", [1e-12, 1e-8, 1.9e-6, 1e-4])
def test_with_little_time_left_it_is_still_found(years):
    spots = np.array([99.9999, 100.0, 100.0001])
    prices = all_greeks(spots, 100.0, years, 0.05, 0.01, 0.4, "P").price
    found = implied_volatility(prices, spots, 100.0, years, 0.05, 0.01, "P")
    known = found.status == IvStatus.OK
    assert known[1]
    assert np.all(np.abs(found.iv - 0.4)[known] <= 4.0 * found.attainable[known])


def test_exactly_at_the_money_without_carry():
    sigma = np.array([1e-6, 1e-3, 0.2, 1.0, 3.0])
    prices = [float(_exact_price((100.0, 100.0, 1.0, 0.0, 0.0), v, "C")) for v in sigma]
    found = implied_volatility(prices, 100.0, 100.0, 1.0, 0.0, 0.0, "C")
    assert np.max(np.abs(found.iv - sigma) / found.attainable) <= 4.0


def test_shapes_broadcast_and_may_be_empty():
    assert implied_volatility(20.0, *MARKET, "C").iv.shape == ()
    assert implied_volatility(np.full((3, 1), 20.0), *MARKET, ["C", "P"]).iv.shape == (3, 2)
    assert implied_volatility([], *MARKET, "C").iv.shape == (0,)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
def test_a_quote_has_the_same_volatility_wherever_it_stands(size):
    strikes = np.linspace(500.0, 900.0, 1000)
    market = (688.12, strikes, 0.25, 0.04, 0.01)
    prices = all_greeks(*market, 0.2, "C").price
    whole = implied_volatility(prices, *market, "C").iv
    part = implied_volatility(prices[:size], market[0], strikes[:size], *market[2:], "C").iv
    np.testing.assert_array_equal(part, whole[:size])


@pytest.mark.slow
def test_two_steps_are_enough_everywhere():
    """Over all zones, from 1e-9 to 60 in |x| and from 1e-5 to 14 in s: a third step changes nothing."""
    draws = np.random.default_rng(3)
    block, offset = _iv_kernel.BLOCK, _iv_kernel._S0
    for _ in range(100):
        x = 10.0 ** draws.uniform(-9.0, 1.78, block)
        s = np.minimum(np.sqrt(2.0 * x) * 10.0 ** draws.uniform(-1.0, 1.0, block), 14.0)
        price = all_greeks(1.0, np.exp(x), 1.0, 0.0, 0.0, s, "C").price
        known = (price > 1e-290) & (price < 1.0 - 1e-10)
        work = np.empty(_iv_kernel.WORK)
        columns = {"_X": (-x, -1.0), "_M": (np.exp(0.5 * x), 1.0), "_TV": (price, 0.2)}
        for column, (values, harmless) in columns.items():
            start = getattr(_iv_kernel, column)
            work[start : start + block] = np.where(known, values, harmless)
        _iv_kernel.start_block(work)
        steps = []
        for _ in range(3):
            _iv_kernel.improve_block(work)
            steps.append(work[offset : offset + block].copy())
        assert np.max(np.abs(steps[1] / steps[2] - 1.0)) < 2e-15


@given(markets, st.sampled_from([1.0, -1.0]), st.floats(-3.0, 3.0))
@settings(deadline=None, max_examples=50)
def test_the_exact_time_value_is_exact(market, sign, units):
    spot, strike, years, rate, carry = arguments_of(market)
    with mpmath.workdps(60):
        s, k, t = mpmath.mpf(spot), mpmath.mpf(strike), mpmath.mpf(years)
        inside = sign * (s * mpmath.exp(-carry * t) - k * mpmath.exp(-rate * t))
        price = float(inside) + units * math.ulp(float(abs(inside)))
        expected = float(mpmath.mpf(price) - inside)
    got = _exact_kernel.exact_time_value(spot, strike, years, rate, carry, sign, price)
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-27 * max(spot, strike))


def test_what_a_tick_is_worth():
    assert volatility_of_tick(0.01, 100.0, 100.0, 0.25, 0.04, 0.0, 0.2) == pytest.approx(
        5.07e-4, 1e-2
    )
    assert volatility_of_tick(0.01, 100.0, 900.0, 0.001, 0.04, 0.0, 0.2) == math.inf
