"""The compiled elementary functions, against 40-digit values: about one unit in the last place."""

from __future__ import annotations

import math

import mpmath
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spy_assets.options._elementary_kernel import (
    exponential,
    exponential_minus_one,
    log_ratio,
    mills_ratio,
)
from spy_assets.options._exact_kernel import expm1, two_product

EPS = 2.0**-53


def _units(got: float, exact: mpmath.mpf) -> float:
    """The error in units of the last place of a number just below a power of two."""
    return float(abs((mpmath.mpf(got) - exact) / exact)) / EPS


@given(st.floats(-700.0, 700.0))
@settings(deadline=None, max_examples=50)
def test_exponential(y):
    with mpmath.workdps(40):
        assert _units(exponential(y), mpmath.exp(y)) < 1.6


@given(st.floats(-30.0, 30.0).filter(bool))
@settings(deadline=None, max_examples=50)
@example(1e-18)
def test_exponential_minus_one(y):
    with mpmath.workdps(40):
        assert _units(exponential_minus_one(y), mpmath.expm1(y)) < 3.0


@given(st.floats(1e-8, 1e8), st.floats(1e-8, 1e8))
@settings(deadline=None, max_examples=50)
@example(100.0, 100.00000000000001)
@example(1.0, 1.4142135623730951)
def test_log_ratio(a, b):
    with mpmath.workdps(40):
        exact = mpmath.log(mpmath.mpf(a) / mpmath.mpf(b))
        assert log_ratio(a, b) == 0.0 if a == b else _units(log_ratio(a, b), exact) < 4.0


@given(st.floats(0.0, 1e8))
@settings(deadline=None, max_examples=50)
@example(5.0)
@example(38.0)
def test_mills_ratio(z):
    with mpmath.workdps(40):
        x = mpmath.mpf(z)
        if z > 1e3:  # The asymptotic series, where 40 digits do not hold exp(x^2/2).
            exact = (1 - 1 / x**2 + 3 / x**4 - 15 / x**6) / x
        else:
            exact = (
                mpmath.sqrt(mpmath.pi / 2) * mpmath.exp(x * x / 2) * mpmath.erfc(x / mpmath.sqrt(2))
            )
        assert _units(mills_ratio(z), exact) < 5.0


@pytest.mark.parametrize(("y", "value"), [(-1e4, 0.0), (-709.0, 0.0), (0.0, 1.0), (-0.0, 1.0)])
def test_exponential_at_its_ends(y, value):
    assert exponential(y) == value
    assert math.isfinite(exponential(1e4))


@given(st.floats(-2.0, 2.0).filter(lambda y: abs(y) > 1e-12))
@settings(deadline=None, max_examples=50)
def test_the_double_precision_exponential_has_twice_the_digits(y):
    with mpmath.workdps(60):
        high, low = expm1((y, 0.0))
        exact = mpmath.expm1(mpmath.mpf(y))
        assert abs((mpmath.mpf(high) + mpmath.mpf(low) - exact) / exact) < mpmath.mpf(10) ** -28


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
@settings(deadline=None, max_examples=50)
def test_a_product_without_error(a, b):
    high, low = two_product(a, b)
    with mpmath.workdps(60):
        error = mpmath.mpf(high) + mpmath.mpf(low) - mpmath.mpf(a) * mpmath.mpf(b)
        assert abs(error) <= 1e-300
