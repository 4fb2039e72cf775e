"""SSVI and eSSVI: their conditions, the projection, and what comes out of them."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.options.ssvi import (
    EssviSurface,
    Smile,
    SsviShape,
    SsviSurface,
    ThetaTerm,
    broken_conditions,
    durrleman,
    heston_like_psi,
    max_eta,
    project,
    total_variance,
)
from spy_assets.options.surface_checks import check_surface

TERM = ThetaTerm((9 / 365, 30 / 365), (0.0006, 0.0025), 0.04)
YEARS = np.concatenate([np.geomspace(1 / 525600, 2.0, 40), [9 / 365, 30 / 365]])
YEARS.sort()

anything = st.floats(-1e3, 1e3)
shapes = st.builds(
    SsviShape.projected,
    st.floats(-2, 2),
    st.floats(0.01, 10),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(-0.1, 3),
)


@st.composite
def raw_smiles(draw):
    count = draw(st.integers(1, 6))

    def some(low, high):
        return draw(st.lists(st.floats(low, high), min_size=count, max_size=count))

    return some(1e-6, 3.0), some(-1.5, 1.5), some(1e-4, 6.0)


def exact(k, theta, rho, psi):
    """The formula of the paper at 50 digits."""
    k, theta, rho, psi = map(mpmath.mpf, (k, theta, rho, psi))
    u = psi / theta * k
    return theta / 2 * (1 + rho * u + mpmath.sqrt((u + rho) ** 2 + 1 - rho**2))


@given(st.floats(-3, 3), st.floats(1e-8, 2), st.floats(-0.99, 0.99), st.floats(1e-4, 2))
@settings(deadline=None, max_examples=50)
def test_total_variance_is_the_papers_formula(k, theta, rho, psi):
    smile = Smile(*map(np.array, (theta, rho, psi)))
    with mpmath.workdps(50):
        wanted = float(exact(k, theta, rho, psi))
    assert float(total_variance(k, smile)) == pytest.approx(wanted, rel=1e-11)


@pytest.mark.parametrize("k", [-0.7, -0.05, 0.0, 0.04, 0.5])
def test_durrleman_is_its_definition_with_exact_derivatives(k):
    theta, rho, psi = 0.01, -0.65, 0.11
    with mpmath.workdps(40):
        w, d1, d2 = (mpmath.diff(lambda x: exact(x, theta, rho, psi), k, n) for n in range(3))
        wanted = (1 - k * d1 / (2 * w)) ** 2 - d1**2 / 4 * (1 / w + mpmath.mpf(1) / 4) + d2 / 2
    got = float(durrleman(k, Smile(*map(np.array, (theta, rho, psi)))))
    assert got == pytest.approx(float(wanted), rel=1e-12)


def test_at_the_money_is_theta():
    smile = SsviSurface(SsviShape.projected(-0.6, 1.1), TERM).smile(YEARS)
    assert total_variance(0.0, smile) == pytest.approx(smile.theta, rel=1e-15)


@given(shapes)
@settings(deadline=None, max_examples=50)
def test_projected_shapes_fulfil_the_conditions_and_give_no_arbitrage(shape):
    assert shape.broken_conditions() == []
    surface = SsviSurface(shape, TERM)
    assert broken_conditions(surface.smile(YEARS)) == []
    assert check_surface(surface, YEARS).violations == 0


@given(st.floats(-0.99, 0.99), st.floats(0, 0.5))
@settings(deadline=None, max_examples=50)
def test_the_largest_eta_is_the_tight_one(rho, gamma):
    """At it, the worst theta of all reaches the bound of the butterfly condition, not more."""
    theta = np.concatenate([np.geomspace(1e-12, 1e6, 4000), [max(1 - 2 * gamma, 1e-12)]])
    psi = SsviShape(rho, max_eta(rho, gamma), gamma).psi(theta)
    lean = 1 + abs(rho)
    worst = max(np.max(psi * lean), np.max(psi**2 / theta * lean))
    assert worst == pytest.approx(4.0, rel=2e-3)
    assert worst <= 4.0


def test_a_shape_inside_comes_back_as_it_was():
    assert SsviShape.projected(-0.6, 1.1, 0.4, 0.3, 0.01) == SsviShape(-0.6, 1.1, 0.4, 0.3, 0.01)


def test_a_shape_outside_says_what_is_wrong():
    assert SsviShape(-0.6, 1.9, 0.7, -0.1, -1.0).broken_conditions() == [
        "gamma outside [0, 1/2]",
        "damping outside [0, gamma]",
        "theta0 below 0",
        "eta outside (0, max_eta]",
    ]


@given(raw_smiles())
@settings(deadline=None, max_examples=50)
def test_projected_smiles_give_no_arbitrage_between_behind_and_before_their_expiries(raw):
    nodes = 0.1 * np.arange(1, len(raw[0]) + 1)
    surface = EssviSurface.projected(nodes, *raw)
    years = np.unique(np.concatenate([YEARS, nodes, np.linspace(0.05, 0.7, 40)]))
    assert broken_conditions(surface.smile(years)) == []
    assert check_surface(surface, years).violations == 0


@given(raw_smiles())
@settings(deadline=None, max_examples=50)
def test_projecting_twice_changes_nothing(raw):
    once = project(*raw)
    for first, second in zip(once, project(*once), strict=True):
        assert second == pytest.approx(first, rel=1e-6)


def test_essvi_goes_through_its_expiries():
    given_smiles = ([0.002, 0.005], [-0.7, -0.6], [0.04, 0.06])
    surface = EssviSurface.projected([0.1, 0.2], *given_smiles)
    for value, wanted in zip(surface.smile([0.1, 0.2]), given_smiles, strict=True):
        assert value == pytest.approx(wanted, rel=1e-12)


def test_essvi_keeps_the_last_forward_variance():
    surface = EssviSurface.projected([0.1, 0.2], [0.002, 0.005], [-0.7, -0.6], [0.04, 0.06])
    assert surface.tail == pytest.approx(0.03)
    assert float(surface.smile(0.3).theta) == pytest.approx(0.008)


@pytest.mark.parametrize(
    ("theta", "rho", "psi", "broken"),
    [
        ([0.01], [0.5], [3.0], "butterfly: theta phi (1 + |rho|) >= 4"),
        ([0.01], [0.5], [0.3], "butterfly: theta phi^2 (1 + |rho|) > 4"),
        ([0.02, 0.01], [0.0, 0.0], [0.05, 0.02], "calendar: theta falls"),
        ([0.01, 0.02], [0.0, -0.5], [0.05, 0.05], "calendar: the upper wing falls"),
        ([0.01, 0.02], [0.0, 0.5], [0.05, 0.05], "calendar: the lower wing falls"),
        ([0.01, 0.02], [0.0, 0.0], [0.05, 0.15], "calendar: phi rises"),
    ],
)
def test_broken_conditions_are_named(theta, rho, psi, broken):
    assert broken in broken_conditions(Smile(*map(np.array, (theta, rho, psi))))


def test_linear_growth_of_theta_is_flat_forward_variance():
    assert float(TERM.at(4.5 / 365)) == pytest.approx(0.0003)
    assert float(TERM.at(19.5 / 365)) == pytest.approx(0.00155)
    assert float(TERM.at(30 / 365 + 1)) == pytest.approx(0.0425)


@pytest.mark.parametrize(
    ("years", "theta", "tail"),
    [
        ((), (), 0.0),
        ((0.1, 0.1), (0.1, 0.2), 0.0),
        ((0.1, 0.2), (0.2, 0.1), 0.0),
        ((0.1,), (0.1,), -1),
    ],
)
def test_no_term_structure_from_pins_that_fall(years, theta, tail):
    with pytest.raises(DataError, match="no term structure"):
        ThetaTerm(years, theta, tail)


@pytest.mark.parametrize("years", [0.0, -1.0, float("nan"), [0.1, 0.0]])
def test_there_is_no_volatility_at_expiry(years):
    surface = SsviSurface(SsviShape.projected(-0.6, 1.1), TERM)
    with pytest.raises(DataError, match="no volatility at"):
        surface.iv(0.0, years)


@pytest.mark.parametrize("bad", [(float("nan"), 1.0), (-0.5, 0.0), (-0.5, float("inf"))])
def test_no_shape_from_missing_parameters(bad):
    with pytest.raises(DataError, match="no smile has"):
        SsviShape.projected(*bad)


def test_no_smile_from_missing_parameters():
    with pytest.raises(DataError, match="theta=nan"):
        project([0.1, np.nan], [0.0, 0.0], [0.1, 0.1])


def test_expiries_and_smiles_go_together():
    with pytest.raises(DataError, match="smiles for expiries"):
        EssviSurface.projected([0.2, 0.1], [0.1, 0.2], [0.0, 0.0], [0.1, 0.1])


def test_heston_like_smiles_go_flat_at_short_expiries():
    """phi(0) = 1/2, so that the skew in standard deviations dies with the root of theta."""
    theta = np.array([1e-6, 1e-2])
    assert heston_like_psi(theta, 1.0) / theta == pytest.approx([0.5, 0.4983], abs=1e-4)


def test_volatility_broadcasts():
    surface = SsviSurface(SsviShape.projected(-0.6, 1.1), TERM)
    grid = surface.iv(np.linspace(-0.1, 0.1, 5), np.array([[0.1], [0.2], [0.3]]))
    assert grid.shape == (3, 5)
    assert grid[1, 3] == surface.iv(0.05, 0.2)
    assert surface.quote_kind == "surface"
