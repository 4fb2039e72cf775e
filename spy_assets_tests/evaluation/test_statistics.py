from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spy_assets.errors import ConfigError
from spy_assets.evaluation import statistics as stats

PNL = arrays(np.float64, st.integers(2, 40), elements=st.floats(-500, 500, width=32))


def test_daily_statistics_of_a_known_curve() -> None:
    found = stats.daily_statistics(np.array([100.0, 110.0, 99.0, 108.9]))
    assert found.sessions == 3
    assert found.net_pnl == pytest.approx(8.9)
    assert found.total_return == pytest.approx(0.089)
    assert found.max_drawdown == pytest.approx(0.10)
    returns = np.array([0.10, -0.10, 0.10])
    assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252))


def test_a_constant_account_has_no_sharpe_and_no_drawdown() -> None:
    found = stats.daily_statistics(np.full(10, 1_000.0))
    assert (found.sharpe, found.max_drawdown, found.net_pnl) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("curve", [[], [100.0], [0.0, 1.0], [100.0, np.nan]])
def test_curves_without_a_return_are_refused(curve: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"equity"):
        stats.daily_statistics(np.array(curve))


def test_trade_statistics_of_known_trades() -> None:
    found = stats.trade_statistics(np.array([30.0, -10.0, 20.0, -15.0]))
    assert (found.trades, found.win_rate) == (4, 0.5)
    assert found.profit_factor == pytest.approx(2.0)
    assert found.expectancy == pytest.approx(6.25)
    assert (found.average_win, found.average_loss) == (25.0, -12.5)


def test_no_trades_have_no_rate_and_only_wins_no_profit_factor() -> None:
    assert stats.trade_statistics(np.array([])).win_rate is None
    assert stats.trade_statistics(np.array([1.0])).profit_factor is None


def test_wilson_interval_of_a_published_example() -> None:
    # Newcombe (1998, Statistics in Medicine 17), table I, method 3: 81 of 263 and 0 of 20.
    interval = stats.wilson_interval(81, 263)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)
    none = stats.wilson_interval(0, 20)
    assert (round(none.low, 4), round(none.high, 4)) == (0.0, 0.1611)


@given(st.integers(1, 200), st.data())
@settings(deadline=None, max_examples=50)
def test_wilson_holds_the_rate_and_stays_within_bounds(trials: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, trials))
    interval = stats.wilson_interval(wins, trials)
    assert 0 <= interval.low <= wins / trials + 1e-12
    assert wins / trials - 1e-12 <= interval.high <= 1


@pytest.mark.parametrize(("wins", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_impossible_counts(wins: int, trials: int) -> None:
    with pytest.raises(ConfigError, match=str(trials)):
        stats.wilson_interval(wins, trials)


@given(PNL)
@settings(deadline=None, max_examples=30)
def test_bootstrap_holds_the_mean_and_repeats(pnl: np.ndarray) -> None:
    first = stats.bootstrap_mean(pnl, seed=3, resamples=200)
    assert first == stats.bootstrap_mean(pnl, seed=3, resamples=200)
    assert first.low <= first.high
    assert pnl.min() - 1e-9 <= first.low
    assert first.high <= pnl.max() + 1e-9


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    hits = 0
    for number in range(200):
        interval = stats.bootstrap_mean(generator.normal(1.0, 5.0, 120), seed=number, resamples=300)
        hits += interval.low <= 1.0 <= interval.high
    assert 175 <= hits <= 199


def test_blocks_widen_the_interval_of_dependent_data() -> None:
    noise = np.random.default_rng(1).normal(size=600)
    dependent = np.convolve(noise, np.ones(10) / 10, mode="valid")
    short = stats.bootstrap_mean(dependent, seed=0, mean_block=1)
    long = stats.bootstrap_mean(dependent, seed=0, mean_block=20)
    assert long.high - long.low > 1.5 * (short.high - short.low)


def test_paired_difference_cancels_the_market() -> None:
    market = np.random.default_rng(2).normal(0, 100, 80)
    lead = stats.bootstrap_difference(market + 1.0, market, seed=0)
    assert lead.low == pytest.approx(1.0)
    assert lead.high == pytest.approx(1.0)


def test_unpaired_series_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 sessions cannot be paired with 2"):
        stats.bootstrap_difference(np.zeros(3), np.zeros(2), seed=0)


def test_series_drawn_together_have_the_intervals_of_each_alone() -> None:
    series = list(np.random.default_rng(0).normal(1.0, 5.0, (3, 80)))
    together = stats.bootstrap_means(series, seed=4)
    assert together == [stats.bootstrap_mean(one, seed=4) for one in series]
    assert stats.bootstrap_means([], seed=4) == []
    with pytest.raises(ConfigError, match=r"\[2, 3\] values"):
        stats.bootstrap_means([np.zeros(2), np.zeros(3)], seed=0)


def test_guarded_means_keep_a_level_that_is_divided_among_twenty_trials() -> None:
    """One in 800 normal samples of 62 may lie above zero; of percentiles five times as many do."""
    level, noise = 1 - 0.05 / 20, list(np.random.default_rng(1).normal(size=(6_000, 62)))
    above = [
        sum(found.above_zero for found in method(noise, seed=0, level=level, resamples=100))
        for method in (stats.guarded_means, stats.bootstrap_means)
    ]
    assert above[0] <= 2 * 6_000 / 800
    assert above[1] > 4 * 6_000 / 800


def test_guarded_means_of_independent_values_are_students() -> None:
    from scipy.stats import t

    values = np.random.default_rng(3).normal(1.0, 5.0, 40)
    (found,) = stats.guarded_means([values], seed=0, level=0.999, mean_block=1.0)
    error = values.std(ddof=1) / np.sqrt(len(values))
    low, high = t.interval(0.999, len(values) - 1, loc=values.mean(), scale=error)
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)


def test_guarded_means_are_never_narrower_and_of_a_constant_have_no_width() -> None:
    skewed = np.random.default_rng(5).exponential(5.0, 60)
    series = [skewed, -skewed, np.full(60, 2.0)]
    pairs = zip(
        stats.guarded_means(series, seed=4), stats.bootstrap_means(series, seed=4), strict=True
    )
    assert all(outer.low <= inner.low <= inner.high <= outer.high for outer, inner in pairs)
    assert stats.guarded_means(series, seed=4)[2] == stats.Interval(2.0, 2.0, 2.0, 0.95)
    assert stats.guarded_means([], seed=4) == []
