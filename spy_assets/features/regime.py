"""The rule regime: four named states from VIX and the trend (the first description's rule).

The trend is the 20-session simple return of the forward-adjusted close: about one month, so that
±2 % is about half a standard deviation at VIX 15. High volatility is asked first. The mart
``features.regime`` has the same rule in SQL; a test holds the two equal.
"""

from __future__ import annotations

from typing import Final

HIGH_VOLATILITY_VIX: Final = 25.0
TREND_THRESHOLD: Final = 0.02
TREND_SESSIONS: Final = 20
REGIMES: Final = ("high_volatility", "strong_uptrend", "strong_downtrend", "neutral")


def rule_regime(vix: float | None, trend: float | None) -> str | None:
    """Name the regime, or None where an input that decides it is missing.

    Parameters
    ----------
    vix
        VIX close, index points.
    trend
        20-session simple return, decimal.

    >>> rule_regime(26.0, 0.05)
    'high_volatility'
    >>> rule_regime(25.0, 0.021), rule_regime(12.0, -0.021), rule_regime(12.0, 0.02)
    ('strong_uptrend', 'strong_downtrend', 'neutral')
    >>> rule_regime(12.0, None) is None
    True
    """
    if vix is None:
        return None
    if vix > HIGH_VOLATILITY_VIX:
        return "high_volatility"
    if trend is None:
        return None
    if trend > TREND_THRESHOLD:
        return "strong_uptrend"
    if trend < -TREND_THRESHOLD:
        return "strong_downtrend"
    return "neutral"
