"""Prices and Greeks against 60-digit reference values, and the laws that any price obeys."""

from __future__ import annotations

import json
from pathlib import Path

import mpmath
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.options import american
from spy_assets.options.black_scholes import (
    AllGreeks,
    all_greeks,
    delta,
    greeks,
    intrinsic,
    lenient_sign_of,
    price,
    price_scalar,
    sign_of,
)
from spy_assets_tests.options.option_markets import arguments_of
from spy_assets_tests.options.option_markets import markets as option_markets

pytestmark = pytest.mark.filterwarnings("error")

#: (S, K, T, r, q, sigma, right) -> (price, delta, gamma, vega, theta, rho), to 60 digits.
REFERENCE = [
    (
        (688.12, 662.2537397483062, 2.6727892738851065, 0.0, 0.0125, 0.03, "C"),
        (
            14.681466463275802,
            0.5314923545765317,
            0.011343980461676284,
            430.7048930917907,
            2.154466221813555,
            938.2801423110845,
        ),
    ),
    (
        (100.0, 100.01316065030693, 0.0006281658507779007, 0.01, 0.0, 0.05, "C"),
        (
            0.04398062938319734,
            0.46042089339387887,
            3.167805834742765,
            0.9949537236401935,
            -40.05755402138462,
            0.02889444109199446,
        ),
    ),
    (
        (27.5, 25.15424577476086, 0.3844297776876712, 0.01, 0.0, 0.3, "P"),
        (
            0.9636695334225346,
            -0.2765893708083001,
            0.06541646460545411,
            5.705460881984934,
            -2.1405052887978524,
            -3.2945159985897177,
        ),
    ),
    (
        (27.5, 33.883232767637175, 0.019178082191780823, 0.0525, 0.0, 0.5, "P"),
        (
            6.349941538667146,
            -0.9984884476198209,
            0.00258063611196144,
            0.018714030709172432,
            1.5309888695722866,
            -0.6483797724314673,
        ),
    ),
]
GREEKS = ("delta", "gamma", "vega", "theta", "rho")

markets = option_markets(moneyness=0.5, years=(1e-5, 2.0), sigma=(0.03, 1.5))


def _arguments(m: dict[str, float]) -> tuple[float, float, float, float, float, float]:
    return (*arguments_of(m), m["sigma"])


@pytest.mark.parametrize(("market", "expected"), REFERENCE)
def test_prices_and_greeks_are_the_reference_values(market, expected):
    got = (float(price(*market)), *(float(x) for x in greeks(*market)))
    assert got == pytest.approx(expected, rel=1e-11, abs=1e-12)


def test_all_shared_reference_values(shared_vectors: Path):
    rows = json.loads((shared_vectors / "pricing_vectors.json").read_text())["european"]
    column = {key: np.array([row[key] for row in rows]) for key in rows[0] if key != "flag"}
    right = np.array([row["flag"].upper() for row in rows])
    market = [column[key] for key in ("S", "K", "T", "r", "q", "sigma")]
    scale = np.maximum(column["S"], column["K"])
    assert np.max(np.abs(price(*market, right) - column["price"]) / scale) < 1e-14
    for name, values in zip(GREEKS, greeks(*market, right), strict=True):
        error = np.abs(values - column[name]) / (scale + np.abs(column[name]))
        assert np.max(error) < 1e-11, name


def test_shared_degenerate_values(shared_vectors: Path):
    for case in json.loads((shared_vectors / "pricing_vectors.json").read_text())[
        "degenerate_price"
    ]:
        given_ = [case["inputs"][key] for key in ("S", "K", "T", "r", "q", "sigma")]
        right = case["inputs"]["flag"].upper()
        got = {"price": price(*given_, right), **greeks(*given_, right)._asdict()}
        for name, expected in case["expect"].items():
            assert float(got[name]) == pytest.approx(expected, abs=1e-12), case["name"]


@given(markets, st.sampled_from("CP"))
@settings(deadline=None, max_examples=50)
def test_scalar_twin_is_the_vector_price(market, right):
    arguments = _arguments(market)
    scalar = price_scalar(*arguments, right == "C")
    assert scalar == pytest.approx(float(price(*arguments, right)), abs=1e-12 * market["spot"])


@given(markets)
@settings(deadline=None, max_examples=50)
def test_put_call_parity(market):
    spot, strike, years, rate, carry, _ = arguments = _arguments(market)
    forward = spot * np.exp(-carry * years) - strike * np.exp(-rate * years)
    difference = float(price(*arguments, "C") - price(*arguments, "P"))
    assert difference == pytest.approx(forward, abs=1e-11 * spot)


@given(markets, st.sampled_from("CP"))
@settings(deadline=None, max_examples=50)
def test_delta_and_vega_are_slopes(market, right):
    spot, strike, years, rate, carry, sigma = _arguments(market)
    step = 1e-4 * spot * sigma * years**0.5
    up, down = (price(spot + h, strike, years, rate, carry, sigma, right) for h in (step, -step))
    slope = float(up - down) / (2 * step)
    assert slope == pytest.approx(
        float(delta(spot, strike, years, rate, carry, sigma, right)), abs=1e-5
    )


@given(markets, st.sampled_from("CP"))
@settings(deadline=None, max_examples=50)
def test_a_price_lies_between_its_bounds(market, right):
    spot, strike, years, rate, carry, _ = arguments = _arguments(market)
    spot_pv, strike_pv = spot * np.exp(-carry * years), strike * np.exp(-rate * years)
    low = spot_pv - strike_pv if right == "C" else strike_pv - spot_pv
    high = spot_pv if right == "C" else strike_pv
    slack = 1e-12 * spot
    assert max(low, 0.0) - slack <= float(price(*arguments, right)) <= high + slack


@pytest.mark.parametrize(
    ("spot", "right", "value", "slope"),
    [
        (105.0, "C", 5.0, 1.0),
        (95.0, "C", 0.0, 0.0),
        (100.0, "C", 0.0, 0.5),
        (95.0, "P", 5.0, -1.0),
        (105.0, "P", 0.0, 0.0),
    ],
)
def test_at_expiry_price_is_intrinsic_and_delta_a_step(spot, right, value, slope):
    market = (spot, 100.0, 0.0, 0.05, 0.0, 0.2, right)
    assert float(price(*market)) == value == float(intrinsic(spot, 100.0, right))
    assert float(delta(*market)) == slope
    assert price_scalar(*market[:6], right == "C") == value


@pytest.mark.fault(25)
def test_greeks_stay_finite_as_time_runs_out():
    years = np.array([0.0, 1e-300, 1e-18, 1e-12, 1e-8, 1e-5])[:, None]
    spots = np.array([1.0, 99.999999, 100.0, 100.000001, 1e4])
    result = greeks(spots, 100.0, years, 0.02, 0.0, 0.2, "C")
    assert all(np.isfinite(values).all() for values in result)
    assert np.isfinite(price(spots, 100.0, years, 0.02, 0.0, 0.2, "P")).all()


def test_arguments_broadcast():
    right = np.array(["C", "P"])[:, None]
    assert price([90.0, 100.0, 110.0], 100.0, 0.1, 0.0, 0.0, 0.2, right).shape == (2, 3)
    assert sign_of([1, -1]).tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("market", "named"),
    [
        ((0.0, 100.0, 0.1, 0.0, 0.0, 0.2, "C"), "spot 0.0"),
        ((100.0, -1.0, 0.1, 0.0, 0.0, 0.2, "C"), "strike -1.0"),
        ((100.0, 100.0, -0.1, 0.0, 0.0, 0.2, "C"), "years -0.1"),
        ((100.0, 100.0, 0.1, 0.0, 0.0, float("nan"), "C"), "volatility nan"),
        ((100.0, 100.0, 0.1, 0.0, 0.0, 0.2, "X"), "'X'"),
        ((100.0, 100.0, 0.1, 0.0, 0.0, 0.2, 0), "right 0"),
    ],
)
def test_what_cannot_be_priced_is_named(market, named):
    with pytest.raises(DataError, match=named):
        price(*market)


# The compiled kernel.


def _columns(rows):
    market = [np.array([row[key] for row in rows]) for key in ("S", "K", "T", "r", "q", "sigma")]
    return [*market, np.array([row["flag"].upper() for row in rows])]


def _exact(market, right):
    """All nine values of one option: the price and its derivatives to 50 digits."""
    names = ("s", "k", "t", "r", "q", "v")
    g = 1 if right == "C" else -1

    def value(s, k, t, r, q, v):
        d1 = (mpmath.log(s / k) + (r - q + v * v / 2) * t) / (v * mpmath.sqrt(t))
        held, exercised = mpmath.ncdf(g * d1), mpmath.ncdf(g * (d1 - v * mpmath.sqrt(t)))
        return g * (s * mpmath.exp(-q * t) * held - k * mpmath.exp(-r * t) * exercised)

    def slope(*by):
        orders = tuple(by.count(name) for name in names)
        return mpmath.diff(value, tuple(mpmath.mpf(x) for x in market), orders)

    return AllGreeks(
        slope(), slope("s"), slope("s", "s"), slope("v"), -slope("t"), slope("r"),
        slope("s", "v"), slope("v", "v"), -slope("s", "t"),
    )  # fmt: skip


def test_compiled_values_are_the_shared_reference_values_to_1e_12_of_each(shared_vectors: Path):
    rows = json.loads((shared_vectors / "pricing_vectors.json").read_text())["european"]
    for name, values in all_greeks(*_columns(rows))._asdict().items():
        exact = np.array([row[name] for row in rows])
        # Where the reference itself is below float64's normal numbers, the kernel says 0.
        error = np.abs(values - exact) / np.maximum(np.abs(exact), 1e-300)
        assert np.max(error) < 1e-12, name


@pytest.mark.parametrize(("market", "right"), [
    ((100.0, 105.0, 0.5, 0.03, 0.01, 0.2), "C"),
    ((688.12, 550.0, 0.02, 0.0433, 0.0125, 0.4), "P"),
    ((688.12, 690.0, 1e-5, 0.0433, 0.0125, 0.15), "C"),
    ((27.5, 60.0, 2.0, -0.01, 0.02, 1.2), "P"),
    ((27.5, 20.0, 3.0, 0.05, 0.0, 2.5), "C"),
])  # fmt: skip
def test_compiled_values_are_derivatives_of_the_price(market, right):
    with mpmath.workdps(50):
        exact = _exact(market, right)
        for name, value in all_greeks(*market, right)._asdict().items():
            assert float(abs(value - getattr(exact, name)) / abs(getattr(exact, name))) < 2e-13, (
                name
            )


def test_compiled_degenerate_values(shared_vectors: Path):
    cases = json.loads((shared_vectors / "pricing_vectors.json").read_text())["degenerate_price"]
    for case in cases:
        got = all_greeks(*(column[0] for column in _columns([case["inputs"]])))
        for name, expected in case["expect"].items():
            assert float(getattr(got, name)) == pytest.approx(expected, rel=1e-15), case["name"]


@given(markets, st.sampled_from("CP"))
@settings(deadline=None, max_examples=50)
def test_compiled_values_are_their_readable_twin(market, right):
    arguments = _arguments(market)
    compiled, readable = all_greeks(*arguments, right), greeks(*arguments, right)
    scale = max(arguments[:2])
    assert float(compiled.price) == pytest.approx(
        float(price(*arguments, right)), rel=1e-9, abs=1e-13 * scale
    )
    for name, expected in readable._asdict().items():
        got = float(getattr(compiled, name))
        assert got == pytest.approx(float(expected), rel=1e-9, abs=1e-12 * scale), name


@given(markets)
@settings(deadline=None, max_examples=50)
def test_calls_and_puts_of_one_strike_share_gamma_vega_vanna_and_volga(market):
    call, put = (all_greeks(*_arguments(market), right) for right in "CP")
    for name in ("gamma", "vega", "vanna", "volga"):
        assert getattr(call, name) == getattr(put, name)
    assert call.price >= 0.0
    assert put.price >= 0.0
    assert call.delta - put.delta == pytest.approx(np.exp(-market["carry"] * market["years"]))


@given(
    st.tuples(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6), st.floats(0.0, 50.0)),
    st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.0, 20.0)),
    st.sampled_from("CP"),
)
@settings(deadline=None, max_examples=200)
def test_valid_arguments_never_give_nan(first, second, right):
    assert all(np.isfinite(values).all() for values in all_greeks(*first, *second, right))


@pytest.mark.parametrize("bad", [
    {0: 0.0}, {0: -1.0}, {1: np.nan}, {1: np.inf}, {2: -1e-9}, {3: np.nan}, {4: np.inf}, {5: -0.1},
    {5: np.nan}, {6: "X"},
])  # fmt: skip
def test_what_is_missing_stays_missing(bad):
    market = [100.0, 100.0, 0.5, 0.03, 0.01, 0.2, "C"]
    both = [[value, bad.get(k, value)] for k, value in enumerate(market)]
    for values in all_greeks(*both):
        assert np.isnan(values).tolist() == [False, True]


@pytest.mark.fault(25)
def test_compiled_greeks_stay_finite_as_time_runs_out():
    years = np.array([0.0, 1e-300, 1e-18, 1e-12, 1e-8, 1e-5])[:, None]
    spots = np.array([1.0, 99.999999, 100.0, 100.000001, 1e4])
    for right in "CP":
        for sigma in (0.0, 1e-200, 0.2, 5.0):
            values = all_greeks(spots, 100.0, years, 0.02, 0.01, sigma, right)
            assert all(np.isfinite(one).all() for one in values)


@pytest.mark.parametrize(("spot", "right", "value", "slope"), [
    (105.0, "C", 5.0, 1.0), (95.0, "C", 0.0, 0.0), (100.0, "C", 0.0, 0.5),
    (95.0, "P", 5.0, -1.0), (105.0, "P", 0.0, 0.0), (100.0, "P", 0.0, -0.5),
])  # fmt: skip
def test_compiled_at_expiry_price_is_intrinsic_and_delta_a_step(spot, right, value, slope):
    got = all_greeks(spot, 100.0, 0.0, 0.05, 0.01, 0.2, right)
    assert (float(got.price), float(got.delta)) == (value, slope)
    assert all(float(one) == 0.0 for one in got[2:])


def test_compiled_arguments_broadcast_and_may_be_empty():
    right = np.array(["C", "P"])[:, None]
    assert all_greeks([90.0, 100.0, 110.0], 100.0, 0.1, 0.0, 0.0, 0.2, right).vega.shape == (2, 3)
    assert all_greeks(100.0, 100.0, 0.1, 0.0, 0.0, 0.2, -1).price.shape == ()
    assert all_greeks([], 100.0, 0.1, 0.0, 0.0, 0.2, "C").price.shape == (0,)


def test_rights_may_come_as_characters_objects_or_signs():
    rights = [np.array(["C", "P", "x"]), np.array(["C", "P", "call"]), [1, -1, 2]]
    rights.append(np.array(["C", "P", None], dtype=object))
    for right in rights:
        assert lenient_sign_of(right).tolist() == [1.0, -1.0, 0.0]


def test_rights_may_come_as_objects() -> None:
    rights = pl.Series(["C", "P"]).to_numpy()
    assert rights.dtype == object
    market = (100.0, 95.0, 0.5, 0.04, 0.01, 0.2)
    for objects in (rights, np.array([1, -1], dtype=object)):
        np.testing.assert_array_equal(price(*market, objects), price(*market, ["C", "P"]))
        np.testing.assert_array_equal(
            american.greeks(*market, objects).delta, american.greeks(*market, ["C", "P"]).delta
        )
    with pytest.raises(DataError, match="None"):
        price(*market, np.array(["C", None], dtype=object))
