"""The rule regime."""

from __future__ import annotations

import pytest

from spy_assets.features.regime import REGIMES, rule_regime


@pytest.mark.parametrize(
    ("vix", "trend", "expected"),
    [
        (25.01, 0.10, "high_volatility"),
        (30.0, None, "high_volatility"),
        (25.0, 0.021, "strong_uptrend"),
        (12.0, -0.021, "strong_downtrend"),
        (12.0, 0.02, "neutral"),
        (12.0, -0.02, "neutral"),
        (None, 0.1, None),
        (12.0, None, None),
    ],
)
def test_rule(vix: float | None, trend: float | None, expected: str | None) -> None:
    assert rule_regime(vix, trend) == expected
    assert expected is None or expected in REGIMES
