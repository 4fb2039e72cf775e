"""Markets that single options are priced in, drawn at random."""

from __future__ import annotations

import math

from hypothesis import strategies as st


def markets(
    *,
    moneyness: float,
    years: tuple[float, float],
    sigma: tuple[float, float],
) -> st.SearchStrategy[dict[str, float]]:
    """Spot, log-moneyness up to so much on both sides, years, rate, yield and volatility."""
    return st.fixed_dictionaries(
        {
            "spot": st.floats(5.0, 900.0),
            "moneyness": st.floats(-moneyness, moneyness),
            "years": st.floats(*years),
            "rate": st.floats(-0.01, 0.08),
            "carry": st.floats(0.0, 0.04),
            "sigma": st.floats(*sigma),
        }
    )


def arguments_of(m: dict[str, float]) -> tuple[float, float, float, float, float]:
    """Spot, strike, years, rate and yield, as the pricing functions take them."""
    strike = m["spot"] * math.exp(m["moneyness"])
    return m["spot"], strike, m["years"], m["rate"], m["carry"]
