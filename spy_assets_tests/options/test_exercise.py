"""Tables of the early-exercise premium against the boundary solver, QuantLib and cash dividends."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from spy_assets.options import american, black_scholes
from spy_assets.options.american import CashDividend
from spy_assets.options.chain_exercise import ChainExercise, cash_due, due_dividends
from spy_assets.options.exercise import ExerciseTables, Slopes, Term, drift_of

SPOT = 688.0
#: As in a chain: a table serves volatilities from half to twice that of the contract.
SPREAD = np.array([0.5, 1.0, 2.0])


def read(
    years: float, rate: float, dividend_yield: float, sigma: float, sign: int
) -> tuple[np.ndarray, Slopes]:
    """Strikes within three standard deviations, and their premiums."""
    forward = SPOT * np.exp((rate - dividend_yield) * years)
    strike = forward * np.exp(sigma * np.sqrt(years) * np.linspace(-3.0, 3.0, 25))
    tables = ExerciseTables(SPOT, [Term(years, rate, forward)], [sigma * SPREAD])
    term = np.zeros(strike.size, dtype=np.int64)
    return strike, tables.read(term, strike, np.full(strike.size, sigma), sign)


@pytest.mark.parametrize("right", ["C", "P"])
@pytest.mark.parametrize("sigma", [0.1, 0.2, 0.4])
@pytest.mark.parametrize(("years", "cents"), [(0.004, 0.1), (0.05, 0.5), (0.5, 4.0), (2.0, 20.0)])
def test_premiums_are_those_of_the_boundary(
    years: float, cents: float, sigma: float, right: str
) -> None:
    market = (years, 0.04, 0.013, sigma)
    strike, got = read(*market, 1 if right == "C" else -1)
    true = american.early_exercise_premium(SPOT, strike, *market, right, preset="reference")
    assert np.abs(got.premium - true).max() < cents / 100.0


@pytest.mark.parametrize("right", ["C", "P"])
@pytest.mark.parametrize(("years", "delta"), [(0.05, 0.002), (0.5, 0.004), (2.0, 0.01)])
def test_slopes_are_those_of_the_boundary(years: float, delta: float, right: str) -> None:
    market = (years, 0.04, 0.013, 0.15)
    strike, got = read(*market, 1 if right == "C" else -1)
    true = american.greeks(SPOT, strike, *market, right, preset="reference")
    held = black_scholes.greeks(SPOT, strike, *market, right)
    assert np.abs(held.delta + got.delta - true.delta).max() < delta
    smooth = true.gamma > 0.0
    off = np.abs(held.gamma + got.gamma - true.gamma)[smooth]
    assert np.median(off) < 0.01 * held.gamma.max()
    assert np.median(np.abs(held.vega + got.vega - true.vega)[smooth]) < 0.2


def test_quantlib_finds_the_same() -> None:
    ql = pytest.importorskip("QuantLib")
    today = ql.Date(15, 6, 2026)
    ql.Settings.instance().evaluationDate = today
    count = ql.Actual365Fixed()
    curve = [ql.YieldTermStructureHandle(ql.FlatForward(today, x, count)) for x in (0.013, 0.04)]
    level = ql.BlackConstantVol(today, ql.NullCalendar(), 0.2, count)
    spot = ql.QuoteHandle(ql.SimpleQuote(SPOT))
    process = ql.BlackScholesMertonProcess(spot, *curve, ql.BlackVolTermStructureHandle(level))
    exercise = ql.AmericanExercise(today, today + 182)
    strike, got = read(182 / 365, 0.04, 0.013, 0.2, -1)
    held = black_scholes.price(SPOT, strike, 182 / 365, 0.04, 0.013, 0.2, "P")
    for k in (8, 12, 14):
        option = ql.VanillaOption(ql.PlainVanillaPayoff(ql.Option.Put, strike[k]), exercise)
        option.setPricingEngine(ql.QdFpAmericanEngine(process))
        assert held[k] + got.premium[k] == pytest.approx(option.NPV(), abs=0.01)


@pytest.mark.parametrize("ex_years", [0.01, 0.03, 0.1, 0.132])
def test_cash_dividends_are_those_of_the_spot_model(ex_years: float) -> None:
    years, rate, sigma, cash = 0.134, 0.037, 0.13, 1.95
    forward = (747.0 - cash * np.exp(-rate * ex_years)) * np.exp(rate * years)
    strike = forward * np.exp(sigma * np.sqrt(years) * np.linspace(-2.0, 2.0, 9))
    term = Term(years, rate, forward, (ex_years,), (cash,))
    tables = ExerciseTables(747.0, [term], [np.array([sigma])])
    paid = rate - np.log(forward / 747.0) / years
    for right, sign in (("C", 1), ("P", -1)):
        told = (np.zeros(9, dtype=np.int64), strike, np.full(9, sigma), sign)
        held = black_scholes.price(747.0, strike, years, rate, paid, sigma, right)
        dividends = [CashDividend(ex_years, cash)]
        true = american.price_with_dividends(
            747.0, strike, years, rate, 0.0, sigma, right, dividends
        )
        assert np.abs(held + tables.read(*told).premium - true).max() < 0.05


def test_far_in_the_money_exercise_is_certain() -> None:
    term = Term(0.1, 0.04, SPOT * np.exp(0.004) - 2.0, (0.09,), (2.0,))
    tables = ExerciseTables(SPOT, [term], [np.array([0.15])])
    strike, where = np.array([100.0, 2000.0]), np.zeros(2, dtype=np.int64)
    got = tables.read(where, strike, np.full(2, 0.15), np.array([1, -1]))
    call = 2.0 * np.exp(-0.004) - 100.0 * (np.exp(-0.04 * 0.09) - np.exp(-0.004))
    put = 2000.0 - SPOT - (2000.0 - term.forward) * np.exp(-0.004)
    np.testing.assert_allclose(got.premium, [call, put], atol=0.02)


def test_the_drift_leads_from_the_spot_to_the_forward() -> None:
    plain = Term(0.5, 0.04, SPOT * np.exp(0.015))
    assert drift_of(SPOT, plain) == pytest.approx(0.03)
    cash = Term(0.5, 0.04, (SPOT - 2.0 * np.exp(-0.01)) * np.exp(0.02), (0.25,), (2.0,))
    assert drift_of(SPOT, cash) == pytest.approx(0.04)


def test_a_dividend_is_due_at_the_close_before() -> None:
    ex_date, years = date(2026, 9, 18), 50.0 / 365.0
    ((when, cash),) = due_dividends("SPY", ex_date, years, [(ex_date, 1.9)])
    assert (years - when) * 365.0 == pytest.approx(1.0)
    assert cash == 1.9
    assert due_dividends("SPY", date(2026, 9, 17), years, [(ex_date, 1.9)]) == []
    assert due_dividends("SPY", ex_date, 0.5 / 365.0, [(ex_date, 1.9)]) == []


def test_cash_that_is_due_is_discounted() -> None:
    forwards = pl.DataFrame(
        {
            "root": ["SPY", "SPY"],
            "expiry": [date(2026, 9, 17), date(2026, 9, 18)],
            "years": [0.134, 0.137],
            "rate": [0.04, 0.04],
        }
    )
    worth = cash_due(forwards, [(date(2026, 9, 18), 2.0)]).to_list()
    assert worth == [0.0, pytest.approx(2.0 * np.exp(-0.04 * (0.137 - 1 / 365)))]


def test_rows_without_a_term_have_no_premium() -> None:
    rows = pl.DataFrame(
        {
            "root": ["SPX", "SPY", "SPY"],
            "expiry": [date(2026, 9, 18)] * 2 + [date(2026, 9, 30)],
            "strike": [700.0] * 3,
        }
    )
    forwards = pl.DataFrame(
        {
            "root": ["SPX", "SPY", "SPY"],
            "expiry": [date(2026, 9, 18)] * 2 + [date(2026, 9, 30)],
            "years": [0.134, 0.134, 0.167],
            "rate": [0.04] * 3,
            "forward": [690.0, 690.0, None],
        }
    )
    sigma, puts = np.array([0.15, 0.15, 0.15]), np.full(3, -1, dtype=np.int8)
    found = ChainExercise(rows, forwards, SPOT, sigma, None).premium(sigma, puts)
    assert found[1] > 0.1
    assert found[[0, 2]].tolist() == [0.0, 0.0]
    unknown = np.full(3, np.nan)
    assert ChainExercise(rows, forwards, SPOT, unknown, None).premium(unknown, puts).sum() == 0.0
