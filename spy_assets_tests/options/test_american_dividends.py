"""American prices with cash dividends: reference values, limits, and when a call is exercised."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.options import american, black_scholes
from spy_assets.options.american import CashDividend

prop = settings(deadline=None, max_examples=25)
QUARTERLY = [CashDividend(0.1, 1.8), CashDividend(0.35, 1.8), CashDividend(0.6, 1.8)]
MARKET = (688.0, 690.0, 0.7, 0.04, 0.0, 0.16)


@pytest.fixture(scope="module")
def vectors(shared_vectors: Path) -> list[dict]:
    found = shared_vectors / "pricing_vectors.json"
    return json.loads(found.read_text())["american_discrete_div"]


def priced(row: dict, preset: american.Preset) -> float:
    dividends = [CashDividend(day / 365.0, row["div_amount"]) for day in row["div_days"]]
    market = (row[name] for name in ("S", "K", "T", "r", "q", "sigma"))
    right = row["flag"].upper()
    return float(american.price_with_dividends(*market, right, dividends, preset=preset))


@pytest.mark.parametrize("preset", ["accurate", "reference"])
def test_the_reference_vectors_within_their_own_uncertainty(
    vectors: list[dict], preset: american.Preset
) -> None:
    for row in vectors:
        assert abs(priced(row, preset) - row["price"]) < row["abs_uncertainty"]


@pytest.mark.parametrize(("preset", "most"), [("fast", 1e-3), ("accurate", 2e-4)])
def test_presets_differ_by_their_error(
    vectors: list[dict], preset: american.Preset, most: float
) -> None:
    apart = [priced(row, preset) - priced(row, "reference") for row in vectors]
    assert np.abs(apart).max() < most


@pytest.mark.parametrize("right", "CP")
def test_without_dividends_it_is_the_other_method(right: str) -> None:
    market = (100.0, [70.0, 95.0, 105.0, 130.0], 0.7, 0.05, 0.03, 0.25, right)
    got = american.greeks_with_dividends(*market, [])
    expected = american.greeks(*market, preset="reference")
    np.testing.assert_allclose(got.price, expected.price, atol=1e-4)
    np.testing.assert_allclose(got.delta, expected.delta, atol=1e-4)
    np.testing.assert_allclose(got.gamma, expected.gamma, atol=1e-4)
    np.testing.assert_allclose(got.vega, expected.vega, atol=2e-2)
    np.testing.assert_allclose(got.rho, expected.rho, rtol=2e-3)


@prop
@given(st.floats(550.0, 850.0), st.floats(0.02, 1.5), st.floats(0.08, 0.6), st.sampled_from("CP"))
def test_dividends_help_puts_and_hurt_calls(
    strike: float, years: float, volatility: float, right: str
) -> None:
    market = (688.0, strike, years, 0.04, 0.0, volatility, right)
    paid = american.price_with_dividends(*market, QUARTERLY)
    unpaid = american.price(*market)
    assert paid <= unpaid + 1e-3 if right == "C" else paid >= unpaid - 1e-3
    assert paid >= black_scholes.intrinsic(688.0, strike, right)


def test_a_call_is_worth_no_less_than_exercised_at_its_best_date() -> None:
    price = american.price_with_dividends(*MARKET, "C", QUARTERLY)
    until = [(d.ex_years, QUARTERLY[:i]) for i, d in enumerate(QUARTERLY)] + [(0.7, QUARTERLY)]
    spots = [american.escrowed_spot(688.0, years, 0.04, earlier) for years, earlier in until]
    european = [
        black_scholes.price(s, 690.0, years, 0.04, 0.0, 0.16, "C")
        for s, (years, _) in zip(spots, until, strict=True)
    ]
    assert price >= max(float(x) for x in european) - 0.15  # the escrowed spot moves a little less


def test_past_and_late_dividends_do_not_count() -> None:
    other = [CashDividend(-0.1, 50.0), CashDividend(0.0, 50.0), CashDividend(0.71, 50.0)]
    np.testing.assert_allclose(
        american.price_with_dividends(*MARKET, "C", other),
        american.price(*MARKET, "C"),
        atol=5e-4,
    )


def test_a_dividend_at_expiry_is_paid() -> None:
    paid = american.price_with_dividends(*MARKET, "P", [CashDividend(0.7, 20.0)])
    assert paid > american.price(*MARKET, "P") + 5.0


def test_without_volatility() -> None:
    got = american.price_with_dividends(
        100.0, [80.0, 120.0], 1.0, 0.0, 0.0, 0.0, ["C", "P"], [CashDividend(0.5, 3.0)]
    )
    np.testing.assert_allclose(got, [20.0, 23.0])


def test_greeks_are_the_slopes_of_the_price() -> None:
    def at(spot: float = 688.0, volatility: float = 0.16, rate: float = 0.04) -> float:
        market = (spot, 690.0, 0.7, rate, 0.0, volatility, "P", QUARTERLY)
        return float(american.price_with_dividends(*market, preset="reference"))

    got = american.greeks_with_dividends(*MARKET, "P", QUARTERLY)
    assert got.delta == pytest.approx((at(spot=690.0) - at(spot=686.0)) / 4.0, abs=1e-4)
    gamma = (at(spot=690.0) + at(spot=686.0) - 2.0 * at()) / 4.0
    assert got.gamma == pytest.approx(gamma, abs=2e-5)
    vega = (at(volatility=0.165) - at(volatility=0.155)) / 0.01
    assert got.vega == pytest.approx(vega, rel=1e-3)
    assert got.rho == pytest.approx((at(rate=0.041) - at(rate=0.039)) / 0.002, rel=2e-3)


def test_the_escrowed_spot() -> None:
    got = american.escrowed_spot(688.0, [0.05, 0.2, 1.0], 0.04, QUARTERLY)
    due = [0.0, 1.8 * math.exp(-0.004), sum(1.8 * math.exp(-0.04 * d.ex_years) for d in QUARTERLY)]
    np.testing.assert_allclose(got, 688.0 - np.array(due))
    with pytest.raises(DataError, match="700"):
        american.escrowed_spot(688.0, 1.0, 0.0, [CashDividend(0.1, 700.0)])


def test_a_call_is_exercised_where_its_time_value_is_below_the_dividend() -> None:
    strikes = np.array([500.0, 600.0, 660.0, 680.0, 700.0])
    due = american.should_exercise_call_before_dividend(688.0, strikes, 0.03, 0.04, 0.0, 0.15, 1.8)
    np.testing.assert_array_equal(due, [True, True, True, False, False])
    time_value = american.price(686.2, strikes, 0.03, 0.04, 0.0, 0.15, "C") - (686.2 - strikes)
    np.testing.assert_array_equal(due, (time_value < 1.8) & (strikes < 688.0))


def test_a_put_tells_the_same() -> None:
    strikes = np.array([500.0, 600.0, 660.0, 680.0])
    put = black_scholes.price(686.2, strikes, 0.03, 0.04, 0.0, 0.15, "P")
    from_put = american.should_exercise_call_given_put(strikes, 0.03, 0.04, put, 1.8)
    due = american.should_exercise_call_before_dividend(688.0, strikes, 0.03, 0.04, 0.0, 0.15, 1.8)
    np.testing.assert_array_equal(from_put, due)


def test_a_later_dividend_makes_exercise_no_less_due() -> None:
    strikes = np.arange(560.0, 690.0, 5.0)
    market = (688.0, strikes, 0.4, 0.04, 0.0, 0.12, 3.0)
    alone = american.should_exercise_call_before_dividend(*market)
    both = american.should_exercise_call_before_dividend(*market, later=[CashDividend(0.3, 3.0)])
    assert np.all(both | ~alone)


@pytest.mark.parametrize("bad", [CashDividend(0.1, -1.0), CashDividend(math.nan, 1.0)])
def test_a_dividend_that_cannot_be_used_is_named(bad: CashDividend) -> None:
    with pytest.raises(DataError, match="CashDividend"):
        american.price_with_dividends(*MARKET, "C", [bad])
