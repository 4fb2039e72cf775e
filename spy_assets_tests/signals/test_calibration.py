"""Calibrated confidence: Platt's curve, its limits, and that it never prefers doubt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.signals.calibration import MIN_TRADES, Calibration, calibrate
from spy_assets.signals.statistics import brier_score, expected_calibration_error

PAIR = st.tuples(st.floats(0.0, 1.0), st.booleans())


def drawn(count: int, slope: float, level: float, seed: int = 0) -> list[tuple[float, bool]]:
    """Trades whose chance of a profit is a known function of the policy's probability."""
    dice = np.random.default_rng(seed)
    raw = dice.uniform(0.2, 0.95, count)
    chance = 1.0 / (1.0 + np.exp(-(slope * np.log(raw / (1.0 - raw)) + level)))
    return [(float(p), bool(dice.random() < c)) for p, c in zip(raw, chance, strict=True)]


def fitted(pairs: list[tuple[float, bool]]) -> Calibration:
    curve = calibrate(pairs, min_trades=1)
    assert curve is not None
    return curve


def test_too_few_trades_have_no_curve() -> None:
    pairs = drawn(MIN_TRADES, 1.0, 0.0)
    assert calibrate(pairs[1:], min_trades=MIN_TRADES) is None
    assert calibrate(pairs, min_trades=MIN_TRADES) is not None


def test_it_finds_the_curve_that_made_the_trades() -> None:
    curve = fitted(drawn(20_000, 0.6, -0.5))
    assert (curve.slope, curve.intercept) == pytest.approx((0.6, -0.5), abs=0.05)


def test_an_overconfident_policy_is_corrected_on_trades_that_it_was_not_fitted_on() -> None:
    curve, later = fitted(drawn(200, 0.4, -1.0, seed=1)), drawn(2_000, 0.4, -1.0, seed=2)
    mended = [(curve(raw), won) for raw, won in later]
    for score in (brier_score, expected_calibration_error):
        assert score(mended) < score(later)  # type: ignore[operator]
    assert expected_calibration_error(mended) < 0.06  # type: ignore[operator]


def test_a_policy_that_is_wrong_where_it_is_sure_gets_the_hit_rate_not_its_opposite() -> None:
    pairs = drawn(500, -1.0, 0.0)
    curve = fitted(pairs)
    rate = sum(won for _, won in pairs) / len(pairs)
    assert curve(0.3) == curve(0.9) == pytest.approx(rate, abs=0.01)


@pytest.mark.parametrize(("won", "low", "high"), [(True, 0.95, 1.0), (False, 0.0, 0.05)])
def test_fifty_of_one_kind_are_not_certainty(won: bool, low: float, high: float) -> None:
    assert low < fitted([(0.5, won)] * MIN_TRADES)(0.5) < high


@settings(deadline=None, max_examples=50)
@given(st.lists(PAIR, min_size=1, max_size=80))
def test_every_curve_is_a_probability_and_rises(pairs: list[tuple[float, bool]]) -> None:
    curve = fitted(pairs)
    values = [curve(p) for p in (0.0, 0.2, 0.5, 0.8, 1.0)]
    assert all(0.0 <= value <= 1.0 for value in values)
    assert values == sorted(values)
    assert curve == fitted(pairs)
