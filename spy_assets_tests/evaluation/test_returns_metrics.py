"""Every metric against empyrical-reloaded itself, and what differs from it on purpose."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from datetime import date

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError
from spy_assets.evaluation import returns_metrics as metrics
from spy_assets.sessions import sessions_between

#: Ours beside theirs, of one series.
SINGLE: dict[str, Callable[[np.ndarray], float]] = {
    "total_return": empyrical.cum_returns_final,
    "annual_return": empyrical.annual_return,
    "annual_volatility": empyrical.annual_volatility,
    "sharpe": empyrical.sharpe_ratio,
    "sortino": empyrical.sortino_ratio,
    "downside_risk": empyrical.downside_risk,
    "calmar": empyrical.calmar_ratio,
    "omega": empyrical.omega_ratio,
    "max_drawdown": empyrical.max_drawdown,
    "stability": empyrical.stability_of_timeseries,
    "tail_ratio": empyrical.tail_ratio,
    "value_at_risk": empyrical.value_at_risk,
    "conditional_value_at_risk": empyrical.conditional_value_at_risk,
    "skewness": empyrical.stats.stats.skew,
    "kurtosis": empyrical.stats.stats.kurtosis,
}
#: Ours beside theirs, against a benchmark.
PAIRED: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "alpha": empyrical.alpha,
    "beta": empyrical.beta,
    "excess_sharpe": empyrical.excess_sharpe,
    "capture": empyrical.capture,
    "up_capture": empyrical.up_capture,
    "down_capture": empyrical.down_capture,
}
RANDOM = np.random.default_rng(0).normal(0.0004, 0.011, (40, 260))
MARKET = np.random.default_rng(1).normal(0.0003, 0.012, (40, 260))
#: Thousandths, so that no series varies by rounding alone; a few are missing.
RETURNS = st.lists(
    st.one_of(st.integers(-900, 900).map(lambda k: k / 1000), st.just(math.nan)), max_size=40
)
EDGES = {
    "empty": [],
    "one": [0.01],
    "two": [0.01, -0.02],
    "no change": [0.0] * 8,
    "constant gain": [0.1] * 9,
    "constant loss": [-0.1] * 9,
    "only gains": [0.01, 0.02, 0.03],
    "only losses": [-0.01, -0.02, -0.03],
    "wiped out": [0.1, -1.0, 0.2],
    "missing": [math.nan, 0.01, -0.02, math.nan, 0.03],
    "one known": [math.nan, 0.01],
    "huge": [50.0] * 4 + [49.0],
}


def theirs(function: Callable[..., float], *series: np.ndarray) -> float | None:
    """Their answer, None where it is no finite number."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        answer = float(function(*series))
    return answer if math.isfinite(answer) else None


def agree(ours: float | None, expected: float | None) -> bool:
    if ours is None or expected is None:
        return ours is expected
    return ours == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", SINGLE)
def test_random_series_agree_with_empyrical(name: str) -> None:
    for series in RANDOM:
        assert agree(getattr(metrics, name)(series), theirs(SINGLE[name], series)), name


@pytest.mark.parametrize("name", PAIRED)
def test_random_pairs_agree_with_empyrical(name: str) -> None:
    for series, market in zip(RANDOM, MARKET, strict=True):
        found = getattr(metrics, name)(series, market)
        assert agree(found, theirs(PAIRED[name], series, market)), name


@given(RETURNS)
@settings(max_examples=150)
def test_any_series_agrees_with_empyrical(values: list[float]) -> None:
    series = np.array(values, dtype=np.float64)
    all_missing = bool(np.isnan(series).all())
    for name, function in SINGLE.items():
        ours = getattr(metrics, name)(series)
        if all_missing:  # empyrical calls the growth of nothing 0
            assert ours is None
        else:
            assert agree(ours, theirs(function, series)), name


@given(st.lists(st.tuples(st.integers(-90, 90), st.integers(-90, 90)), max_size=30), st.data())
@settings(max_examples=100)
def test_any_pair_agrees_with_empyrical(values: list[tuple[int, int]], data: st.DataObject) -> None:
    pairs = np.array(values, dtype=np.float64).reshape(-1, 2).T / 1000
    if pairs.size:
        pairs[0, data.draw(st.integers(0, pairs.shape[1] - 1))] = math.nan
    for name in PAIRED.keys() - {"capture"}:
        assert agree(getattr(metrics, name)(*pairs), theirs(PAIRED[name], *pairs)), name


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("case", EDGES)
def test_edge_cases_agree_with_empyrical(case: str, name: str) -> None:
    series = np.array(EDGES[case])
    assert agree(getattr(metrics, name)(series), theirs(SINGLE[name], series))


@pytest.mark.parametrize("rate", [0.0, 0.0002, -0.001])
def test_rates_and_thresholds_agree_with_empyrical(rate: float) -> None:
    r, f = RANDOM[0], MARKET[0]
    assert agree(metrics.sharpe(r, risk_free=rate), empyrical.sharpe_ratio(r, rate))
    assert agree(metrics.sortino(r, required_return=rate), empyrical.sortino_ratio(r, rate))
    assert agree(metrics.downside_risk(r, required_return=rate), empyrical.downside_risk(r, rate))
    assert agree(metrics.alpha(r, f, risk_free=rate), empyrical.alpha(r, f, rate))
    assert agree(metrics.beta(r, f, risk_free=rate), empyrical.beta(r, f, rate))
    ours = metrics.omega(r, risk_free=rate, required_return=0.05)
    assert agree(ours, empyrical.omega_ratio(r, rate, 0.05))


def test_cutoffs_and_periods_agree_with_empyrical() -> None:
    r = RANDOM[1]
    assert agree(metrics.value_at_risk(r, cutoff=0.01), empyrical.value_at_risk(r, 0.01))
    ours = metrics.conditional_value_at_risk(r, cutoff=0.01)
    assert agree(ours, empyrical.conditional_value_at_risk(r, 0.01))
    assert agree(metrics.annual_return(r, periods=12), empyrical.annual_return(r, "monthly"))
    assert agree(metrics.sharpe(r, periods=52), empyrical.sharpe_ratio(r, period="weekly"))


def test_series_of_growth_and_drawdown_agree_with_empyrical() -> None:
    series = np.where(np.arange(260) % 17 == 3, np.nan, RANDOM[2])
    assert np.allclose(
        metrics.cumulative_returns(series), empyrical.cum_returns(series), atol=1e-13
    )
    depth = empyrical.stats.drawdown_series(series)
    assert np.allclose(metrics.drawdown_series(series), depth, atol=1e-13)


def test_batting_averages_agree_with_empyrical() -> None:
    for series, market in zip(RANDOM, MARKET, strict=True):
        expected = empyrical.batting_average(series, market)
        assert metrics.batting_average(series, market) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("by", ["weekly", "monthly", "quarterly", "yearly"])
def test_calendar_returns_agree_with_empyrical(by: metrics.Calendar) -> None:
    days = sessions_between(date(2015, 12, 20), date(2017, 1, 10))[:260]
    series = pd.Series(RANDOM[3][: len(days)], index=pd.DatetimeIndex(days))
    expected = empyrical.aggregate_returns(series, by)
    found = metrics.aggregate_returns(series.to_numpy(), days, by)
    keys = [key if isinstance(key, tuple) else (key,) for key in expected.index]
    assert list(found) == keys
    assert list(found.values()) == pytest.approx(expected.to_list(), rel=1e-12, abs=1e-14)


def test_rolling_windows_agree_with_empyrical() -> None:
    expected = empyrical.roll_sharpe_ratio(RANDOM[4], window=63)
    found = metrics.rolling(metrics.sharpe, RANDOM[4], 63)
    assert found == pytest.approx(list(expected), rel=1e-12)


def test_gain_to_pain_by_hand() -> None:
    assert metrics.gain_to_pain([0.04, -0.01, 0.02, -0.03]) == pytest.approx(0.02 / 0.04)
    assert metrics.gain_to_pain([0.01, 0.02]) is None


def test_a_ratio_without_a_denominator_is_unknown_and_not_infinite() -> None:
    steady = metrics.returns_metrics([0.01] * 10)
    assert (steady.sharpe, steady.sortino, steady.calmar, steady.omega) == (None,) * 4
    assert steady.total_return == pytest.approx(1.01**10 - 1)


def test_growth_beyond_a_float_is_unknown() -> None:
    assert metrics.annual_return([50.0]) is None
    assert metrics.total_return([1e200, 1e200]) is None


def test_the_summary_holds_each_function_by_its_name() -> None:
    summary = metrics.returns_metrics(RANDOM[5]).as_dict()
    assert set(SINGLE) < set(summary)
    for name, value in summary.items():
        assert value == getattr(metrics, name)(RANDOM[5])
    assert all(inspect.getdoc(getattr(metrics, name)) for name in summary)


def test_the_comparison_holds_each_function_by_its_name() -> None:
    found = metrics.benchmark_metrics(RANDOM[6], MARKET[6])
    for name in PAIRED:
        assert getattr(found, name) == getattr(metrics, name)(RANDOM[6], MARKET[6])
    batting = (found.batting_average, found.up_batting_average, found.down_batting_average)
    assert batting == metrics.batting_average(RANDOM[6], MARKET[6])


def test_infinities_and_unpaired_series_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 infinite"):
        metrics.total_return([0.1, math.inf])
    with pytest.raises(ConfigError, match="2 returns cannot be paired with 3"):
        metrics.beta([0.1, 0.2], [0.1, 0.2, 0.3])
    with pytest.raises(ConfigError, match="2 returns of 1 sessions"):
        metrics.aggregate_returns([0.1, 0.2], [date(2016, 1, 4)], "monthly")
    with pytest.raises(ConfigError, match="window 0"):
        metrics.rolling(metrics.sharpe, RANDOM[0], 0)
