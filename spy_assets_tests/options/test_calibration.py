"""A day's surface from the volatility indices."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.options.black_scholes import price
from spy_assets.options.calibration import (
    EQUITY_SMILE,
    INDEX_DAYS,
    POINTS_TOLERANCE,
    SmileConstants,
    StrikeList,
    calibrate_to_indices,
    missing_reason,
)
from spy_assets.options.replication import interpolated_index, strip_variance, surface_index
from spy_assets.options.ssvi import broken_conditions
from spy_assets.options.surface_checks import check_surface

points = st.floats(9.0, 90.0)
#: A minute to two years.
YEARS = np.unique(
    np.concatenate([np.geomspace(1 / 525600, 2.0, 50), np.array([1, 9, 30, 93, 184]) / 365])
)


@st.composite
def agreeing(draw):
    """Indices that do not contradict each other: means of forward variances over their days."""
    names = sorted(INDEX_DAYS, key=INDEX_DAYS.get)
    days = np.array([INDEX_DAYS[name] for name in names])
    forward = np.array([draw(points) for _ in names])
    total = np.cumsum(forward**2 * np.diff(days, prepend=0))
    return dict(zip(names, np.sqrt(total / days).tolist(), strict=True))


@given(points)
@settings(deadline=None, max_examples=50)
def test_the_surfaces_own_vix_is_the_vix(vix):
    fit = calibrate_to_indices({"VIX": vix})
    assert float(surface_index(fit.surface)) == pytest.approx(vix, abs=POINTS_TOLERANCE)
    assert fit.unmet == ()


@given(
    st.fixed_dictionaries(
        {"VIX": points}, optional=dict.fromkeys(set(INDEX_DAYS) - {"VIX"}, points)
    )
)
@settings(deadline=None, max_examples=50)
def test_every_index_is_met_or_refused_and_nothing_is_given_away(given_points):
    fit = calibrate_to_indices(given_points)
    assert {pin.name for pin in fit.pins} == set(given_points)
    assert "VIX" not in {pin.name for pin in fit.unmet}
    for pin in fit.pins:
        assert (abs(pin.error) <= POINTS_TOLERANCE) == (pin.reason is None)
    assert broken_conditions(fit.surface.smile(YEARS)) == []
    assert check_surface(fit.surface, YEARS).violations == 0


@given(agreeing())
@settings(deadline=None, max_examples=30)
def test_indices_that_agree_are_all_met(given_points):
    assert calibrate_to_indices(given_points).unmet == ()


@pytest.mark.parametrize("ratio", [(0.6, 0.85), (1.0, 1.0), (1.29, 0.88), (1.0, 1.6)])
def test_no_arbitrage_from_vix_9_to_90_and_a_minute_to_two_years(ratio):
    """The grid of the requirement: every VIX, with calm and inverted term structures."""
    for vix in np.arange(9.0, 90.5, 1.5):
        levels = {"VIX": vix, "VIX9D": vix * ratio[0], "VIX3M": vix * ratio[1]}
        fit = calibrate_to_indices(levels)
        report = check_surface(fit.surface, YEARS)
        assert report.violations == 0, (levels, report)
        assert fit.unmet == ()


@pytest.mark.parametrize("vix", [9.0, 18.0, 90.0])
def test_discounted_black_scholes_prices_keep_the_order_of_strikes(vix):
    """In dollars, with rates and dividends, through the price function that all use."""
    surface = calibrate_to_indices({"VIX": vix}).surface
    for years in (1 / 525600, 1 / 365, 30 / 365, 2.0):
        width = 8 * vix / 100 * np.sqrt(years)
        strikes = 500.0 * np.exp(np.linspace(-width, width, 161))
        forward = 500.0 * np.exp((0.04 - 0.013) * years)
        sigma = surface.iv(np.log(strikes / forward), years)
        calls = price(500.0, strikes, years, 0.04, 0.013, sigma, "C")
        slopes = np.diff(calls) / np.diff(strikes)
        assert slopes.max() <= 1e-9
        assert slopes.min() >= -np.exp(-0.04 * years) - 1e-9
        # A price is a difference of numbers near 500, and rounded as those are.
        assert np.diff(slopes).min() >= -4 * np.spacing(500.0) / np.diff(strikes).min()


@pytest.mark.parametrize(
    ("levels", "refused"),
    [
        ({"VIX": 30.0, "VIX9D": 60.0}, {"VIX9D"}),
        ({"VIX": 30.0, "VIX3M": 14.0}, {"VIX3M"}),
        ({"VIX": 30.0, "VIX9D": 30.0, "VIX1D": 95.0}, {"VIX1D"}),
        ({"VIX": 30.0, "VIX3M": 30.0, "VIX6M": 20.0}, {"VIX6M"}),
    ],
)
def test_an_index_that_contradicts_another_is_reported(levels, refused):
    fit = calibrate_to_indices(levels)
    assert {pin.name for pin in fit.unmet} == refused
    assert all("calendar arbitrage" in str(pin.reason) for pin in fit.unmet)
    assert float(surface_index(fit.surface)) == pytest.approx(30.0, abs=POINTS_TOLERANCE)


@pytest.mark.parametrize("vix", [None, float("nan"), 0.18, -1.0, 1000.0])
def test_without_a_vix_there_is_no_surface(vix):
    assert missing_reason(vix) is not None
    with pytest.raises(DataError, match="no volatility surface from VIX"):
        calibrate_to_indices({"VIX": vix, "VIX9D": 15.0, "VIX3M": 20.0})


def test_vix_must_be_among_them():
    with pytest.raises(DataError, match="VIX None"):
        calibrate_to_indices({"VIX9D": 15.0})


def test_other_indices_may_be_missing_but_not_wrong():
    fit = calibrate_to_indices({"VIX": 20.0, "VIX9D": None, "VIX3M": float("nan")})
    assert [pin.name for pin in fit.pins] == ["VIX"]
    with pytest.raises(DataError, match=r"VIX9D 0\.15"):
        calibrate_to_indices({"VIX": 20.0, "VIX9D": 0.15})


def test_an_unknown_index_is_refused():
    with pytest.raises(DataError, match="'VVIX'"):
        calibrate_to_indices({"VIX": 20.0, "VVIX": 90.0})


def test_a_usable_vix_has_no_reason_against_it():
    assert [missing_reason(x) for x in (18.0, None, 0.18)] == [
        None,
        "vix_missing",
        "vix_out_of_range",
    ]


def test_on_a_strike_list_the_official_sum_is_met():
    strikes = StrikeList(tuple(np.arange(300.0, 1100.0, 5.0)), 742.3)
    fit = calibrate_to_indices({"VIX": 18.0}, strikes=strikes)
    total = strikes.total_variance(fit.surface.smile(30 / 365))
    assert 100 * np.sqrt(float(total) * 365 / 30) == pytest.approx(18.0, abs=POINTS_TOLERANCE)
    assert abs(float(surface_index(fit.surface)) - 18.0) > 0.001


def test_the_smile_in_deviations_does_not_depend_on_the_level():
    """At 30 days, except for the flattening of very large variances."""
    calm, wild = (calibrate_to_indices({"VIX": vix}).surface for vix in (12.0, 48.0))
    at = [
        s.iv(-np.sqrt(s.smile(30 / 365).theta), 30 / 365) / s.iv(0.0, 30 / 365)
        for s in (calm, wild)
    ]
    assert at[0] == pytest.approx(at[1], rel=0.01)


def test_puts_below_the_money_cost_more_and_nearer_smiles_are_flatter():
    surface = calibrate_to_indices({"VIX": 18.0}).surface
    below, middle, above = (
        surface.iv(z * np.sqrt(surface.smile([2 / 365, 60 / 365]).theta), [2 / 365, 60 / 365])
        for z in (-1, 0, 1)
    )
    assert np.all(below > middle)
    assert np.all(middle > above)
    assert (below / middle)[0] < (below / middle)[1]


def test_the_constants_are_inside_the_set():
    assert EQUITY_SMILE.shape(90.0).broken_conditions() == []
    wild = SmileConstants(-3.0, 50.0, 2.0, 3.0, 10.0)
    assert wild.shape(20.0).broken_conditions() == []


def test_every_third_day_of_history_is_met(shared_data: Path):
    """VIX, VIX9D and VIX3M since 2011: no day contradicts itself, none misses."""
    frames = [
        pl.read_parquet(shared_data / f"vol/{name}.parquet").select(
            "date", pl.col("close").alias(name)
        )
        for name in ("VIX", "VIX9D", "VIX3M")
    ]
    days = frames[0].join(frames[1], on="date").join(frames[2], on="date").drop("date")[::3]
    fits = [calibrate_to_indices(day) for day in days.iter_rows(named=True)]
    assert len(fits) > 1100
    assert [pin for fit in fits for pin in fit.unmet] == []


def test_the_official_formula_on_quotes_of_the_surface_gives_the_index_back():
    """Near and next expiry around 30 days, strikes $1 apart, cent ticks: within 0.1 points."""
    surface = calibrate_to_indices({"VIX": 18.0}).surface
    strikes = np.arange(300.0, 1000.0, 1.0)
    variances = []
    for days in (27, 34):
        years = days / 365
        iv = surface.iv(np.log(strikes / 740.0), years)
        sides = [price(740.0, strikes, years, 0.0, 0.0, iv, right) for right in "CP"]
        quotes = list(
            itertools.chain.from_iterable(
                (np.floor(side * 100 + 1e-6) / 100, np.ceil(side * 100 - 1e-6) / 100)
                for side in sides
            )
        )
        variances.append(strip_variance(strikes, *quotes, years, 0.0).variance)
    index = interpolated_index(variances[0], 27 * 1440, variances[1], 34 * 1440)
    assert index == pytest.approx(18.0, abs=0.1)
