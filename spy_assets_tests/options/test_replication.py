"""The VIX formula: the official sum, its limit, and the surface's own index."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.options.black_scholes import price
from spy_assets.options.replication import (
    interpolated_index,
    log_contract,
    log_contract_of_smile,
    otm_price,
    strike_widths,
    strip_of_smile,
    strip_variance,
    surface_index,
)
from spy_assets.options.ssvi import Smile, SsviShape, SsviSurface, ThetaTerm, total_variance

SHAPE = SsviShape.projected(-0.64, 1.13, 0.5, 0.5, 0.001)
shapes = st.builds(
    SsviShape.projected, st.floats(-0.95, 0.95), st.floats(0.05, 1.6), st.floats(0, 0.5)
)


def quotes(strikes, sigma=0.2, years=30 / 365, rate=0.03, spot=100.0):
    """Bids and asks a cent around flat Black-Scholes prices: calls, then puts."""
    calls, puts = (price(spot, strikes, years, rate, 0.0, sigma, right) for right in "CP")
    return [np.maximum(side + off, 0.0) for side in (calls, puts) for off in (-0.005, 0.005)]


@given(shapes, st.floats(1e-9, 1.5))
@settings(deadline=None, max_examples=50)
def test_prices_and_smile_give_the_same_log_contract(shape, theta):
    smile = shape.smile(np.array([theta]))
    assert log_contract(smile) == pytest.approx(log_contract_of_smile(smile), rel=1e-10)


@given(st.floats(1e-9, 2.0))
@settings(deadline=None, max_examples=20)
def test_without_a_smile_the_log_contract_is_the_variance(theta):
    flat = Smile(np.array([theta]), np.array([0.0]), np.array([1e-9 * theta]))
    assert log_contract(flat) == pytest.approx(theta, rel=1e-8)


def test_more_nodes_change_nothing():
    smile = SHAPE.smile(np.geomspace(1e-9, 2.0, 30))
    for integral in (log_contract, log_contract_of_smile):
        assert integral(smile, nodes=480) == pytest.approx(integral(smile), rel=1e-11)


@pytest.mark.parametrize("theta", [1e-6, 0.002, 0.3])
def test_log_contract_is_the_integral_at_thirty_digits(theta):
    rho, psi = SHAPE.rho, float(SHAPE.psi(theta))

    def integrand(k):
        u = psi / theta * k
        s = mpmath.sqrt(theta / 2 * (1 + rho * u + mpmath.sqrt((u + rho) ** 2 + 1 - rho**2)))
        away = abs(k)
        call = mpmath.ncdf(-away / s + s / 2) - mpmath.exp(away) * mpmath.ncdf(-away / s - s / 2)
        return call * mpmath.exp(-max(k, 0))

    with mpmath.workdps(30):
        grid = [d * mpmath.sqrt(theta) for d in (-200, -40, -10, -5, -2, 0, 2, 5, 10, 40)]
        wanted = float(2 * mpmath.quad(integrand, grid))
    assert float(log_contract(SHAPE.smile(theta))) == pytest.approx(wanted, rel=1e-10)


def test_steepest_wings_neither_overflow_nor_vanish():
    edge = SsviShape.projected(-0.9, 99.0).smile(np.geomspace(1e-8, 50.0, 20))
    assert np.all(log_contract(edge) >= edge.theta)


@given(st.floats(-1, 1), st.floats(1e-4, 1.0))
@settings(deadline=None, max_examples=50)
def test_otm_price_is_black_scholes(k, sigma):
    right = "P" if k < 0 else "C"
    wanted = price(1.0, np.exp(k), 1.0, 0.0, 0.0, sigma, right)
    assert float(otm_price(k, sigma**2)) == pytest.approx(float(wanted), rel=1e-9, abs=1e-15)


def test_the_exchanges_own_example():
    """Cboe, Volatility Index Methodology: 13.69 from 0.01846292 and 0.01882101."""
    index = interpolated_index(0.01846292, 35924, 0.01882101, 46394)
    assert index == pytest.approx(13.6858, abs=1e-4)


def test_one_expiry_of_thirty_days_is_its_own_index():
    assert interpolated_index(0.04, 43200, 0.09, 50000) == pytest.approx(20.0)


def test_an_index_needs_variance():
    with pytest.raises(DataError, match="no index"):
        interpolated_index(0.01, 10_000, 0.0, 20_000)


def test_a_fine_strip_gives_back_a_flat_volatility():
    strikes = np.arange(40.0, 200.0, 0.25)
    cb, ca, pb, pa = quotes(strikes)
    strip = strip_variance(strikes, cb, ca, pb, pa, 30 / 365, 0.03)
    assert strip.forward == pytest.approx(100 * np.exp(0.03 * 30 / 365), abs=1e-9)
    assert strip.k0 == 100.0
    assert np.sqrt(strip.variance) == pytest.approx(0.2, rel=2e-3)


def test_the_strip_ends_at_the_first_two_empty_bids_in_a_row():
    """K0 100: puts stop below 94 (93 and 92 empty, 97 alone is only left out), calls above 105."""
    strikes = np.arange(90.0, 111.0)
    calls, puts = np.maximum(100.2 - strikes, 0) + 1.0, np.maximum(strikes - 100.2, 0) + 1.0
    cb, pb = calls - 0.1, puts - 0.1
    pb[[2, 3, 7]] = 0.0
    cb[[13, 16, 17]] = np.nan
    strip = strip_variance(strikes, cb, calls + 0.1, pb, puts + 0.1, 0.1, 0.0)
    assert strip.k0 == 100.0
    assert strikes[strip.used].tolist() == [94, 95, 96, 98, 99, 100, 101, 102, 104, 105]


def test_the_sum_by_hand():
    """Five strikes, F = 100.5: every term of the formula written out."""
    strikes = np.array([95.0, 98.0, 100.0, 103.0, 110.0])
    calls, puts = np.array([6.0, 3.5, 2.0, 0.8, 0.1]), np.array([0.3, 0.9, 1.5, 3.6, 9.5])
    strip = strip_variance(strikes, calls, calls, puts, puts, 0.25, 0.0)
    terms = (
        3 / 95**2 * 0.3
        + 2.5 / 98**2 * 0.9
        + 2.5 / 100**2 * 1.75
        + 5 / 103**2 * 0.8
        + 7 / 110**2 * 0.1
    )
    assert strip.forward == pytest.approx(100.5)
    assert strip.variance == pytest.approx(2 / 0.25 * terms - (100.5 / 100 - 1) ** 2 / 0.25)


def test_widths_are_half_the_distance_of_the_neighbours():
    assert strike_widths(np.array([1.0, 2.0, 4.0, 8.0])).tolist() == [1.0, 1.5, 3.0, 4.0]


@pytest.mark.parametrize(
    ("strikes", "bid", "message"),
    [
        ([100.0, 101.0], 1.0, "2 strikes"),
        ([1.0, 3.0, 2.0], 1.0, "3 strikes"),
        ([1.0, 2.0, 3.0], 0.0, "bid"),
    ],
)
def test_no_variance_without_a_strip(strikes, bid, message):
    quote = np.full(len(strikes), bid)
    with pytest.raises(DataError, match=message):
        strip_variance(strikes, quote, quote, quote, quote, 0.1, 0.0)


def test_no_variance_from_one_side_of_the_money():
    strikes = np.arange(95.0, 106.0)
    cb, ca, pb, pa = quotes(strikes)
    pb[:5] = 0.0
    with pytest.raises(DataError, match="no bids on one side"):
        strip_variance(strikes, cb, ca, pb, pa, 30 / 365, 0.03)


def test_a_surface_on_strikes_is_the_official_sum_of_its_prices():
    strikes, forward, years = np.arange(40.0, 180.0, 1.0), 100.3, 30 / 365
    smile = SHAPE.smile(0.003)
    otm = (
        otm_price(np.log(strikes / forward), total_variance(np.log(strikes / forward), smile))
        * forward
    )
    calls = np.where(strikes >= forward, otm, otm + forward - strikes)
    puts = calls - forward + strikes
    # Prices of zero in the far wings have no bid; the strip is complete without them.
    official = strip_variance(strikes, calls, calls, puts, puts, years, 0.0)
    assert float(strip_of_smile(smile, strikes, forward)) == pytest.approx(
        official.variance * years
    )


def test_a_fine_strip_tends_to_the_log_contract():
    smile, limit = SHAPE.smile(0.003), float(log_contract(SHAPE.smile(0.003)))
    errors = [
        abs(float(strip_of_smile(smile, np.arange(5.0, 400.0, step), 100.0)) / limit - 1)
        for step in (1.0, 0.5, 0.25)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 3e-4


def test_the_surfaces_own_index():
    flat = SsviSurface(SsviShape(0.0, 1e-9), ThetaTerm((1.0,), (0.04,), 0.04))
    assert surface_index(flat) == pytest.approx(20.0)
    assert surface_index(flat, [9, 93]) == pytest.approx([20.0, 20.0])
