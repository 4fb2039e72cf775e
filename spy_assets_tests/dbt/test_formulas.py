"""The SQL against the contract's definitions, written once more as plain loops."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
import pytest

from spy_assets.features.contracts import DAILY_15_PROXY_V1, Dimension
from spy_assets.features.observation import build_observation, parse_quality, portfolio_dimensions
from spy_assets.features.regime import rule_regime
from spy_assets.market.availability import release_session
from spy_assets.sessions import decision_time
from spy_assets.warehouse.dbt_sql import CompiledModel, compute_features
from spy_assets_tests.dbt.conftest import SESSIONS, Tables
from spy_assets_tests.features import slow_indicators as slow


@dataclass
class Series:
    """Plain lists of one symbol."""

    raw_close: list[float]
    close: list[float]
    volume: list[float]
    factor: list[float]
    vix: list[float]

    def change(self, i: int) -> float:
        return math.log(self.close[i] / self.close[i - 1])


@pytest.fixture(scope="module")
def series(raw: Tables, features: Tables) -> Series:
    adjusted = features["features.adjusted_bars"]
    vix = raw["market.volatility"].filter(pl.col("name") == "VIX")
    return Series(
        raw["market.daily_bars"]["close"].to_list(),
        adjusted["close"].to_list(),
        adjusted["volume"].to_list(),
        adjusted["factor"].to_list(),
        vix["close"].to_list(),
    )


@pytest.fixture(scope="module")
def daily(features: Tables) -> pl.DataFrame:
    return features["features.daily_15"].sort("session")


@pytest.fixture(scope="module")
def wide(features: Tables) -> pl.DataFrame:
    return features["features.market_daily"].sort("session")


def clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def price(s: Series, i: int) -> float:
    x = s.close[i] / statistics.fmean(s.close[i - 251 : i + 1])
    return x**5 / (1 + x**5)


def rsi14(s: Series, i: int) -> float:
    value = slow.rsi_cutler(s.close[: i + 1])[-1]
    assert value is not None
    return value / 100


def macd_hist(s: Series, i: int) -> float:
    value = slow.macd_hist(s.close[: i + 1], 12, 26, 9)[-1]
    assert value is not None
    return clip(value / s.factor[i] / 10 + 0.5)


def iv(s: Series, i: int) -> float:
    return clip((s.vix[i] / 100 - 0.10) / 0.40)


def iv_rank(s: Series, i: int) -> float:
    year = s.vix[i - 251 : i + 1]
    return (s.vix[i] - min(year)) / (max(year) - min(year))


def pcr(s: Series, i: int) -> float:
    days = range(i - 9, i + 1)
    down = sum(s.volume[j] for j in days if s.change(j) < 0)
    up = sum(s.volume[j] for j in days if s.change(j) > 0)
    return clip(down / up / 3)


def volume_surge(s: Series, i: int) -> float:
    return clip(s.volume[i] / statistics.fmean(s.volume[i - 20 : i]) / 5)


def iv_skew(s: Series, i: int) -> float:
    changes = [s.change(j) for j in range(i - 19, i + 1)]
    down = math.sqrt(252 / 20 * sum(c * c for c in changes if c < 0))
    up = math.sqrt(252 / 20 * sum(c * c for c in changes if c > 0))
    return clip((down - up) / 0.40 + 0.5)


def gamma_proxy(s: Series, i: int) -> float:
    rest = s.raw_close[i] % 5
    return min(rest, 5 - rest) / 5


def mom5(s: Series, i: int) -> float:
    return clip((s.close[i] / s.close[i - 5] - 1) * 100 / 10 + 0.5)


DEFINITIONS: tuple[Callable[[Series, int], float], ...] = (
    price, rsi14, macd_hist, iv, iv_rank, pcr, volume_surge, iv_skew, gamma_proxy, mom5,
)  # fmt: skip


def test_every_market_dimension_has_a_twin() -> None:
    assert tuple(twin.__name__ for twin in DEFINITIONS) == DAILY_15_PROXY_V1.market_names


@pytest.mark.parametrize("twin", DEFINITIONS, ids=lambda twin: twin.__name__)
def test_dimension_equals_its_definition(
    twin: Callable[[Series, int], float], series: Series, daily: pl.DataFrame
) -> None:
    days = range(SESSIONS - 40, SESSIONS)
    expected = [twin(series, i) for i in days]
    assert daily[twin.__name__][list(days)].to_list() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "dimension", [d for d in DAILY_15_PROXY_V1.market if d.lookback > 1], ids=lambda d: d.name
)
def test_dimension_is_null_until_its_lookback_is_full(
    dimension: Dimension, daily: pl.DataFrame
) -> None:
    nulls = daily[dimension.name].is_null().to_list()
    assert nulls == [i < dimension.lookback - 1 for i in range(SESSIONS)]


def test_quality_explains_the_first_session(daily: pl.DataFrame) -> None:
    reasons = parse_quality(daily["quality"][0])
    assert reasons.pop("iv_rank") == "vix_warmup"
    assert set(reasons.values()) == {"warmup"}
    assert {"iv", "gamma_proxy"}.isdisjoint(reasons)


def test_a_full_row_is_an_observation(daily: pl.DataFrame) -> None:
    row = daily.row(-1, named=True)
    assert row["quality"] == "ok"
    flat = portfolio_dimensions(value=10_000, initial_capital=10_000)
    assert build_observation(row, flat).shape == (15,)


def test_regime_equals_the_python_rule(features: Tables) -> None:
    regime = features["features.regime"]
    expected = [rule_regime(vix, trend) for vix, trend in regime.select("vix", "trend").iter_rows()]
    assert regime["regime"].to_list() == expected
    assert regime["regime"].n_unique() >= 3


def test_realized_volatility_equals_the_polars_one(features: Tables, wide: pl.DataFrame) -> None:
    polars = features["features.indicators"]["realized_vol_20"].to_list()[20:]
    assert wide["realized_vol_20"].to_list()[20:] == pytest.approx(polars, rel=1e-9)


def test_range_volatilities_equal_their_papers(raw: Tables, wide: pl.DataFrame) -> None:
    bars = raw["market.daily_bars"].tail(20).select("open", "high", "low", "close").rows()
    parkinson = statistics.fmean(math.log(h / lo) ** 2 / (4 * math.log(2)) for _, h, lo, _ in bars)
    assert wide["parkinson_vol_20"][-1] == pytest.approx(math.sqrt(252 * parkinson))
    klass = statistics.fmean(
        0.5 * math.log(h / lo) ** 2 - (2 * math.log(2) - 1) * math.log(c / o) ** 2
        for o, h, lo, c in bars
    )
    assert wide["garman_klass_vol_20"][-1] == pytest.approx(math.sqrt(252 * klass))


def test_percentile_counts_the_days_below(series: Series, wide: pl.DataFrame) -> None:
    below = sum(value < series.vix[-1] for value in series.vix[-252:])
    assert wide["iv_percentile_252"][-1] == pytest.approx(below / 252)


def test_put_call_is_the_day_before_s(raw: Tables, wide: pl.DataFrame) -> None:
    total = raw["market.put_call"].filter(pl.col("series") == "total").sort("session")
    assert wide["put_call_total"].to_list()[1:] == total["ratio"].to_list()[:-1]
    assert wide["put_call_index"].null_count() == SESSIONS


def test_rate_is_the_preferred_one_known_at_the_decision(raw: Tables, wide: pl.DataFrame) -> None:
    bills = raw["market.rates"].filter(pl.col("series") == "DGS3MO").sort("session")
    released = {release_session(day): rate for day, rate in bills.select("session", "rate").rows()}
    expected, known = [], None
    for day in wide["session"]:
        known = released.get(day, known)
        expected.append(known)
    assert wide["rate"].to_list() == expected


def test_a_row_is_known_before_the_decision(daily: pl.DataFrame) -> None:
    due = [decision_time(day) for day in daily["session"]]
    assert (daily["available_at"] <= pl.Series(due)).all()


def test_without_vix_the_row_says_so(raw: Tables, models: list[CompiledModel]) -> None:
    last = pl.col("session") == raw["market.volatility"]["session"].max()
    gone = raw | {"market.volatility": raw["market.volatility"].filter(~last)}
    made = compute_features(gone, models)
    row = made["features.daily_15"].sort("session").row(-1, named=True)
    assert (row["iv"], row["iv_rank"]) == (None, None)
    assert row["quality"] == "iv:vix_missing;iv_rank:vix_missing"
    assert made["features.regime"].sort("session")["regime"][-1] is None


def test_without_volume_the_row_says_so(raw: Tables, models: list[CompiledModel]) -> None:
    bars = raw["market.daily_bars"].with_columns(pl.lit(0.0).alias("volume"))
    made = compute_features(raw | {"market.daily_bars": bars}, models)
    reasons = parse_quality(made["features.daily_15"].sort("session")["quality"][-1])
    assert reasons == {"pcr": "no_volume", "volume_surge": "no_volume"}


def test_old_rates_are_missing_and_constants_never_old(
    raw: Tables, models: list[CompiledModel]
) -> None:
    head = raw["market.rates"].sort("session").head(2)
    made = compute_features(raw | {"market.rates": head}, models)["features.daily_15"]
    assert made.sort("session")["rate"][-1] is None
    constant = head.with_columns(pl.lit(True).alias("is_constant"))
    made = compute_features(raw | {"market.rates": constant}, models)["features.daily_15"]
    assert made.sort("session")["rate"][-1] is not None
