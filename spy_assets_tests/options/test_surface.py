"""The VIX surface: it gives back its own VIX, is free of butterflies, and has no default."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.options.black_scholes import price
from spy_assets.options.surface import VixSurface, missing_reason

pytestmark = pytest.mark.filterwarnings("error")
SURFACE = VixSurface()


def vix_of_surface(vix: float, spot: float = 250.0, step: float = 0.25) -> float:
    """VIX white paper (Cboe), one 30-day term, zero rate: sqrt(2/T sum dK/K^2 Q(K))."""
    years = 30 / 365
    strikes = np.arange(0.3 * spot, 2.2 * spot, step)
    otm = np.where(strikes < spot, -1, 1)
    quotes = price(spot, strikes, years, 0.0, 0.0, SURFACE.iv(spot, strikes, years, vix), otm)
    return float(np.sqrt(2 / years * np.sum(step / strikes**2 * quotes)))


@pytest.mark.parametrize(
    ("vix", "tolerance"), [(0.10, 0.02), (0.20, 5e-4), (0.30, 0.02), (0.80, 0.025)]
)
def test_the_surface_gives_back_the_vix_that_made_it(vix, tolerance):
    assert vix_of_surface(vix) == pytest.approx(vix, rel=tolerance)


@pytest.mark.parametrize("vix", [None, float("nan"), 0.0, -0.1, 18.0])
def test_without_a_vix_there_is_no_volatility(vix):
    assert missing_reason(vix) is not None
    with pytest.raises(DataError, match="VIX"):
        SURFACE.iv(250.0, 250.0, 0.02, np.nan if vix is None else vix)


def test_a_usable_vix_has_no_reason_against_it():
    assert missing_reason(0.18) is None
    assert missing_reason(None) == "vix_missing"
    assert missing_reason(18.0) == "vix_out_of_range"


def test_quotes_are_labelled_as_a_surface():
    assert SURFACE.quote_kind == VixSurface.quote_kind == "surface"


@given(st.floats(20.0, 900.0), st.floats(-0.4, 0.4), st.floats(0.0, 0.5), st.floats(0.03, 1.5))
@settings(deadline=None, max_examples=50)
def test_scalar_twin_is_the_vector_surface(spot, moneyness, years, vix):
    strike = spot * float(np.exp(moneyness))
    scalar = SURFACE.iv_scalar(spot, strike, years, vix)
    assert scalar == pytest.approx(float(SURFACE.iv(spot, strike, years, vix)), rel=1e-13)
    assert scalar > 0.0


@given(st.floats(0.05, 1.2), st.floats(0.2 / 365, 60 / 365))
@settings(deadline=None, max_examples=50)
def test_calls_fall_and_are_convex_in_strike(vix, years):
    deviation = 250.0 * vix * years**0.5
    strikes = np.linspace(max(5.0, 250.0 - 6 * deviation - 10), 250.0 + 6 * deviation + 10, 300)
    calls = price(250.0, strikes, years, 0.02, 0.0, SURFACE.iv(250.0, strikes, years, vix), "C")
    assert np.diff(calls).max() <= 1e-12
    assert np.diff(calls, 2).min() >= -1e-10


def test_puts_below_the_money_cost_more_than_calls_above():
    below, middle, above = SURFACE.iv(250.0, [240.0, 250.0, 260.0], 7 / 365, 0.2)
    assert below > middle > above


def test_real_weekly_chains_lie_near_the_surface(shared_data: Path):
    """Median ratio of quoted to surface volatility, 4-15 days, within a standard deviation."""
    pl = pytest.importorskip("polars")
    day = date(2026, 7, 24)
    chain = pl.read_parquet(shared_data / f"chains/cboe/SPY/{day}.parquet").filter(
        (pl.col("bid") > 0) & (pl.col("iv") > 0.01) & (pl.col("right") == "P")
    )
    days = (pl.col("expiry") - pl.lit(day)).dt.total_days()
    chain = chain.with_columns(years=days / 365.0).filter(days.is_between(4, 15))
    spot, vix = 738.93, 0.1847  # close; Cboe formula over the chain's own 30-day options
    x = np.log(chain["strike"].to_numpy() / spot) / (vix * np.sqrt(chain["years"].to_numpy()))
    near = np.abs(x) < 1.5
    surface = SURFACE.iv(spot, chain["strike"].to_numpy(), chain["years"].to_numpy(), vix)
    ratio = (chain["iv"].to_numpy() / surface)[near]
    assert near.sum() > 200
    assert 0.8 < np.median(ratio) < 1.1
    assert np.std(ratio) < 0.12
