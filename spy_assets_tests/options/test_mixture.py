"""Surfaces of two layers: their prices are added up, and nothing is to be had for free."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from spy_assets.errors import DataError
from spy_assets.options.mixture import MixtureSurface, mixed_deviation
from spy_assets.options.replication import surface_index, variance_swap
from spy_assets.options.ssvi import EssviSurface
from spy_assets.options.surface_checks import check_surface

EXPIRIES = np.array([7, 30, 91, 365]) / 365
CALM = EssviSurface.projected(EXPIRIES, 0.02 * EXPIRIES, [-0.7] * 4, 0.7 * (0.02 * EXPIRIES) ** 0.5)
CRASH = EssviSurface.projected(EXPIRIES, 0.09 * EXPIRIES, [-0.8] * 4, (0.09 * EXPIRIES) ** 0.5)
SURFACE = MixtureSurface(CALM, CRASH, 0.1)


def black(k, deviation):
    """Out of the money, per unit of the forward: Black (1976) in SciPy's normal distribution."""
    sign = 1.0 if k >= 0.0 else -1.0
    d1 = -k / deviation + deviation / 2.0
    return sign * (norm.cdf(sign * d1) - np.exp(k) * norm.cdf(sign * (d1 - deviation)))


def price(k, years):
    parts = ((0.9, CALM), (0.1, CRASH))
    return sum(share * black(k, float(one.iv(k, years)) * np.sqrt(years)) for share, one in parts)


@pytest.mark.parametrize("years", [1 / 365, 30 / 365, 0.7])
@pytest.mark.parametrize("z", [-8.0, -3.0, -0.5, 0.0, 1.0, 3.0])
def test_the_volatility_is_that_of_the_added_prices(z, years):
    k = z * np.sqrt(0.02 * years)
    wanted = price(k, years)
    found = brentq(lambda s: black(k, s) / wanted - 1.0, 1e-4, 3.0, xtol=1e-14)
    assert float(SURFACE.iv(k, years)) == pytest.approx(found / np.sqrt(years), rel=1e-9)
    assert float(SURFACE.total_variance(k, years)) == pytest.approx(found**2, rel=1e-9)


def test_two_equal_layers_are_one():
    k = np.linspace(-0.4, 0.3, 9)
    both = MixtureSurface(CALM, CALM, 0.3)
    np.testing.assert_allclose(
        both.iv(k[:, None], EXPIRIES), CALM.iv(k[:, None], EXPIRIES), rtol=1e-12
    )


def test_where_no_price_is_left_it_is_the_largest_volatility():
    found = mixed_deviation([-60.0, -0.1], [(0.9, np.array(0.05)), (0.1, np.array(0.2))])
    assert found[0] == 0.2
    assert 0.05 < found[1] < 0.2


def test_its_variance_swap_is_the_strip_of_its_prices():
    years = 30 / 365
    strip, _ = quad(
        lambda k: 2.0 * price(k, years) * np.exp(-k),
        -3.0,
        1.5,
        points=[0.0],
        epsabs=1e-12,
        limit=200,
    )
    assert float(variance_swap(SURFACE, years)) == pytest.approx(strip, rel=1e-7)
    assert float(surface_index(SURFACE)) == pytest.approx(100 * np.sqrt(strip / years), rel=1e-7)


@given(
    levels=st.lists(st.floats(0.005, 0.3), min_size=2, max_size=2),
    rho=st.floats(-0.95, 0.5),
    bend=st.floats(0.2, 1.9),
    share=st.floats(0.01, 0.99),
)
@settings(deadline=None, max_examples=25)
def test_nothing_is_to_be_had_for_free(levels, rho, bend, share):
    layers = (
        EssviSurface.projected(EXPIRIES, theta, [rho] * 4, bend * np.sqrt(theta))
        for theta in (level * EXPIRIES for level in levels)
    )
    years = np.unique(np.concatenate([np.geomspace(1 / 525600, 2.0, 20), EXPIRIES]))
    assert check_surface(MixtureSurface(*layers, share), years).violations == 0


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_is_a_part(share):
    with pytest.raises(DataError, match="share of"):
        MixtureSurface(CALM, CRASH, share)


def test_a_time_that_is_none_is_told():
    with pytest.raises(DataError, match=r"0\.0 years"):
        SURFACE.iv(0.0, [0.1, 0.0])
