"""American prices under a continuous yield: oracles, the readable twin, limits and properties."""

from __future__ import annotations

import functools
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813 - the name in all of its documentation
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.options import _american_twin, american, black_scholes
from spy_assets.options._american_grid import make_grid

MARKET = {
    "spot": st.floats(60.0, 160.0),
    "strike": st.just(100.0),
    "years": st.floats(1.0 / 365.0, 2.0),
    "rate": st.floats(0.0, 0.1),
    "dividend_yield": st.floats(0.0, 0.1),
    "volatility": st.floats(0.06, 1.2),
    "right": st.sampled_from("CP"),
}
contracts = st.fixed_dictionaries(MARKET)
prop = settings(deadline=None, max_examples=50)


@pytest.fixture(scope="module")
def vectors(shared_vectors: Path) -> list[dict[str, float]]:
    found = shared_vectors / "pricing_vectors.json"
    return json.loads(found.read_text())["american"]


def columns(rows: list[dict[str, float]]) -> list[np.ndarray]:
    names = ("S", "K", "T", "r", "q", "sigma")
    right = np.array([str(row["flag"]).upper() for row in rows])
    return [*(np.array([row[name] for row in rows]) for name in names), right]


@pytest.mark.parametrize(
    ("preset", "most"), [("fast", 1e-3), ("accurate", 1e-5), ("reference", 2e-6)]
)
def test_the_reference_vectors(
    vectors: list[dict[str, float]], preset: american.Preset, most: float
) -> None:
    expected = np.array([row["price"] for row in vectors])
    got = american.price(*columns(vectors), preset=preset)
    assert np.abs(got - expected).max() < most


def test_the_reference_vectors_greeks(vectors: list[dict[str, float]]) -> None:
    away = [row for row in vectors if not row["immediate_exercise"]]
    got = american.greeks(*columns(away), preset="reference")
    delta = np.array([row["delta_bump"] for row in away])
    vega = np.array([row["vega_bump"] for row in away])
    # The vectors' own bumps are 6e-4 of the spot wide, which is what is seen here.
    assert np.abs(got.delta - delta).max() < 2e-3
    assert np.abs(got.vega - vega).max() < 2e-2


def quantlib(
    spot: float,
    strike: float,
    days: int,
    rate: float,
    dividend_yield: float,
    volatility: float,
    right: str,
) -> float:
    today, count = ql.Date(15, 5, 2024), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today
    process = ql.BlackScholesMertonProcess(
        ql.QuoteHandle(ql.SimpleQuote(spot)),
        ql.YieldTermStructureHandle(ql.FlatForward(today, dividend_yield, count)),
        ql.YieldTermStructureHandle(ql.FlatForward(today, rate, count)),
        ql.BlackVolTermStructureHandle(
            ql.BlackConstantVol(today, ql.NullCalendar(), volatility, count)
        ),
    )
    kind = ql.Option.Call if right == "C" else ql.Option.Put
    option = ql.VanillaOption(
        ql.PlainVanillaPayoff(kind, strike), ql.AmericanExercise(today, today + days)
    )
    option.setPricingEngine(
        ql.QdFpAmericanEngine(process, ql.QdFpAmericanEngine.highPrecisionScheme())
    )
    return option.NPV()


GRID_OF_CONTRACTS = list(
    itertools.product(
        (360.0, 650.0, 730.0, 1030.0), (1, 30, 730), (0.01, 0.05), (0.0, 0.0125),
        (0.08, 0.2, 0.9), "CP",
    )
)  # fmt: skip


@functools.cache
def quantlib_on_the_grid() -> list[float]:
    return [quantlib(688.12, *contract) for contract in GRID_OF_CONTRACTS]


@pytest.mark.parametrize(("preset", "most"), [("fast", 1e-3), ("accurate", 1e-4)])
def test_quantlib_on_spy_contracts(preset: american.Preset, most: float) -> None:
    expected = quantlib_on_the_grid()
    k, d, r, q, v, f = (np.array(x) for x in zip(*GRID_OF_CONTRACTS, strict=True))
    got = american.price(688.12, k, d / 365.0, r, q, v, f, preset=preset)
    assert np.abs(got - expected).max() < most


def leisen_reimer(
    spot: float, strike: float, years: float, rate: float, carry: float, vol: float, right: str,
    steps: int,
) -> float:  # fmt: skip
    """Binomial tree of Leisen and Reimer (1996), "Binomial models for option valuation"."""
    sign, dt = (1.0 if right == "C" else -1.0), years / steps

    def inverted(z: float) -> float:
        inner = (z / (steps + 1 / 3 + 0.1 / (steps + 1))) ** 2 * (steps + 1 / 6)
        return 0.5 + math.copysign(math.sqrt(0.25 - 0.25 * math.exp(-inner)), z)

    d1 = (math.log(spot / strike) + (rate - carry + vol**2 / 2) * years) / (vol * math.sqrt(years))
    p, p1 = inverted(d1 - vol * math.sqrt(years)), inverted(d1)
    growth = math.exp((rate - carry) * dt)
    up, down = growth * p1 / p, growth * (1 - p1) / (1 - p)
    k = np.arange(steps + 1)
    value = np.maximum(sign * (spot * up**k * down ** (steps - k) - strike), 0.0)
    for n in range(steps - 1, -1, -1):
        k = np.arange(n + 1)
        held = math.exp(-rate * dt) * (p * value[1:] + (1 - p) * value[:-1])
        value = np.maximum(held, sign * (spot * up**k * down ** (n - k) - strike))
    return float(value[0])


@pytest.mark.parametrize("right", "CP")
@pytest.mark.parametrize("rate", [0.0, 0.03, 0.08])
def test_a_binomial_tree(rate: float, right: str) -> None:
    market = (100.0, 104.0, 0.75, rate, 0.04, 0.3)
    coarse, fine = (leisen_reimer(*market, right, steps) for steps in (401, 801))
    assert american.price(*market, right) == pytest.approx(2.0 * fine - coarse, abs=5e-4)


@pytest.mark.parametrize(
    "market",
    [
        (100.0, 100.0, 1.0, 0.05, 0.0, 0.2),
        (95.0, 100.0, 0.02, 0.03, 0.01, 0.4),
        (80.0, 100.0, 2.0, 0.02, 0.06, 0.5),
        (100.0, 100.0, 2.0, 0.08, 0.01, 0.06),
        (60.0, 100.0, 2.0, 0.08, 0.01, 0.06),
        (101.0, 100.0, 1.0, 0.03, -0.02, 0.3),
    ],
)
def test_the_readable_twin(market: tuple[float, ...]) -> None:
    grid = make_grid(*american.PRESETS["reference"][:6])
    twin = _american_twin.put(*market, grid)
    assert american.price(*market, "P", preset="reference") == pytest.approx(twin, abs=1e-7)


@prop
@given(contracts)
def test_never_below_european_or_intrinsic(m: dict) -> None:
    got = american.price(**m)
    assert got >= black_scholes.price(**m) - 1e-9
    assert got >= black_scholes.intrinsic(m["spot"], m["strike"], m["right"])


@prop
@given(contracts, st.floats(1.01, 2.0))
def test_more_time_is_worth_more(m: dict, longer: float) -> None:
    later = {**m, "years": m["years"] * longer}
    assert american.price(**later) >= american.price(**m) - 2e-5


@prop
@given(contracts, st.floats(1.01, 1.5))
def test_more_volatility_is_worth_more(m: dict, more: float) -> None:
    wilder = {**m, "volatility": m["volatility"] * more}
    assert american.price(**wilder) >= american.price(**m) - 2e-5


@prop
@given(contracts)
def test_a_call_is_a_put_with_everything_exchanged(m: dict) -> None:
    mirrored = {
        "spot": m["strike"], "strike": m["spot"], "rate": m["dividend_yield"],
        "dividend_yield": m["rate"], "right": "P" if m["right"] == "C" else "C",
    }  # fmt: skip
    assert american.price(**{**m, **mirrored}) == pytest.approx(american.price(**m), rel=1e-12)


@prop
@given(contracts, st.sampled_from(["spot", "years", "rate", "dividend_yield", "volatility"]))
def test_small_changes_make_small_changes(m: dict, name: str) -> None:
    moved = {**m, name: m[name] + 1e-9}  # an honest change is below 1e-6 everywhere here
    assert american.price(**moved) == pytest.approx(american.price(**m), abs=2e-5)


@prop
@given(contracts)
def test_the_boundary_is_where_the_price_is_intrinsic(m: dict) -> None:
    edge = american.exercise_boundary(**{k: v for k, v in m.items() if k != "spot"})
    due = m["spot"] <= edge * 0.999 if m["right"] == "P" else m["spot"] >= edge * 1.001
    held = m["spot"] >= edge * 1.01 if m["right"] == "P" else m["spot"] <= edge * 0.99
    time_value = american.price(**m) - black_scholes.intrinsic(m["spot"], 100.0, m["right"])
    assert time_value <= 1e-9 if due else time_value >= 0.0
    assert not held or time_value >= 0.0


def bumped(market: dict, name: str, step: float) -> float:
    up, down = (
        american.price(**{**market, name: market[name] + s}, preset="reference")
        for s in (step, -step)
    )
    return float(up - down) / (2.0 * step)


@pytest.mark.parametrize("right", "CP")
@pytest.mark.parametrize("strike", [95.0, 105.0])
def test_greeks_are_the_slopes_of_the_price(strike: float, right: str) -> None:
    market = {"spot": 100.0, "strike": strike, "years": 0.7, "rate": 0.05, "dividend_yield": 0.03,
              "volatility": 0.25, "right": right}  # fmt: skip
    got = american.greeks(**market)
    assert got.delta == pytest.approx(bumped(market, "spot", 0.02), abs=2e-6)
    assert got.vega == pytest.approx(bumped(market, "volatility", 1e-3), abs=1e-3)
    assert got.theta == pytest.approx(-bumped(market, "years", 1e-3), abs=1e-3)
    assert got.rho == pytest.approx(bumped(market, "rate", 1e-4), abs=1e-3)
    up, down = (american.greeks(**{**market, "spot": s}).delta for s in (100.02, 99.98))
    assert got.gamma == pytest.approx((up - down) / 0.04, abs=1e-5)


@pytest.mark.parametrize("right", "CP")
def test_without_gain_from_exercise_it_is_european(right: str) -> None:
    rate, dividend_yield = (0.03, -0.01) if right == "C" else (-0.01, 0.03)
    market = (100.0, 90.0, 1.0, rate, dividend_yield, 0.2, right)
    assert american.price(*market) == pytest.approx(black_scholes.price(*market), abs=1e-12)
    edge = american.exercise_boundary(*market[1:])
    assert edge == (math.inf if right == "C" else 0.0)


def test_no_rates_at_all() -> None:
    market = (100.0, [90.0, 110.0], 1.0, 0.0, 0.0, 0.2)
    for right in ("C", "P"):
        got = american.price(*market, right)
        np.testing.assert_allclose(got, black_scholes.price(*market, right), atol=1e-12)


@pytest.mark.parametrize("right", "CP")
def test_two_boundaries(right: str) -> None:
    rate, carry = (-0.02, -0.06) if right == "P" else (-0.06, -0.02)
    market = (95.0, 100.0, 2.0, rate, carry, 0.15)
    coarse, fine = (leisen_reimer(*market, right, steps) for steps in (401, 801))
    assert american.price(*market, right) == pytest.approx(2.0 * fine - coarse, abs=1e-3)
    assert np.isnan(american.exercise_boundary(*market[1:], right))


def test_two_boundaries_have_greeks() -> None:
    got = american.greeks(95.0, 100.0, 2.0, -0.02, -0.06, 0.15, "P")
    assert got.delta == pytest.approx(
        (
            american.price(95.5, 100.0, 2.0, -0.02, -0.06, 0.15, "P")
            - american.price(94.5, 100.0, 2.0, -0.02, -0.06, 0.15, "P")
        ),
        abs=1e-3,
    )
    assert np.isfinite([float(x) for x in got]).all()


def test_no_rate_and_a_negative_yield_make_one_boundary() -> None:
    market = (100.0, 104.0, 0.75, 0.0, -0.04, 0.3)
    coarse, fine = (leisen_reimer(*market, "P", steps) for steps in (401, 801))
    assert american.price(*market, "P") == pytest.approx(2.0 * fine - coarse, abs=5e-4)
    assert 0.0 < american.exercise_boundary(*market[1:], "P") < 104.0


def test_at_expiry_it_is_intrinsic_with_a_step_of_delta() -> None:
    got = american.greeks(100.0, [90.0, 100.0, 110.0], 0.0, 0.05, 0.01, 0.2, "C")
    np.testing.assert_allclose(got.price, [10.0, 0.0, 0.0])
    np.testing.assert_array_equal(got.delta, [1.0, 0.5, 0.0])
    np.testing.assert_array_equal([got.gamma, got.vega], np.zeros((2, 3)))


def test_without_volatility_it_is_the_best_certain_payment() -> None:
    call = american.price(100.0, 90.0, 1.0, 0.05, 0.01, 0.0, "C")
    assert call == pytest.approx(100.0 * math.exp(-0.01) - 90.0 * math.exp(-0.05), abs=1e-12)
    assert american.price(100.0, 90.0, 1.0, 0.05, 0.01, 0.0, "P") == 0.0
    assert american.price(80.0, 90.0, 1.0, 0.05, 0.01, 0.0, "P") == pytest.approx(10.0)
    assert american.price(100.0, 90.0, 1.0, 0.05, 0.01, 1e-5, "C") == pytest.approx(call, abs=1e-6)


def test_exercise_now() -> None:
    got = american.greeks(50.0, 100.0, 1.0, 0.05, 0.0, 0.2, "P")
    assert [float(x) for x in got] == [50.0, -1.0, 0.0, 0.0, 0.0, 0.0]


def test_shapes_broadcast() -> None:
    got = american.price(100.0, np.array([[90.0], [110.0]]), [0.1, 0.5, 1.0], 0.05, 0.0, 0.2, "P")
    assert got.shape == (2, 3)
    assert np.all(np.diff(got, axis=1) > 0.0)


def test_premium_of_early_exercise() -> None:
    market = (100.0, 120.0, 1.0, 0.06, 0.0, 0.2)
    assert american.early_exercise_premium(*market, "P") > 1.0
    assert american.early_exercise_premium(*market, "C") < 1e-12


def test_boundary_rises_to_the_strike() -> None:
    edge = american.exercise_boundary(100.0, [1.0, 0.1, 0.001, 0.0], 0.05, 0.0, 0.2, "P")
    assert np.all(np.diff(edge) > 0.0)
    assert edge[-1] == 100.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spot", 0.0),
        ("strike", -1.0),
        ("years", -0.1),
        ("volatility", math.nan),
        ("rate", math.inf),
    ],
)
def test_what_cannot_be_priced_is_named(name: str, value: float) -> None:
    market = {"spot": 100.0, "strike": 100.0, "years": 1.0, "rate": 0.05, "dividend_yield": 0.0,
              "volatility": 0.2, "right": "P"}  # fmt: skip
    with pytest.raises(DataError, match=f"{name} {value}"):
        american.price(**{**market, name: value})


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(DataError, match="slow"):
        american.price(100.0, 100.0, 1.0, 0.05, 0.0, 0.2, "P", preset="slow")  # type: ignore[arg-type]
