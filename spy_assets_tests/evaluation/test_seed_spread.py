from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu, trim_mean

from spy_assets.errors import ConfigError
from spy_assets.evaluation import seed_spread as spread

SCORES = np.random.default_rng(0).normal(10.0, 5.0, (5, 12)) + np.arange(12) * 20.0


@given(arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 9)),
              elements=st.floats(-1e6, 1e6)))  # fmt: skip
@settings(max_examples=50)
def test_the_interquartile_mean_is_scipys(scores: np.ndarray) -> None:
    expected = trim_mean(scores, 0.25, axis=None)
    assert float(spread.interquartile_mean(scores.reshape(-1))) == pytest.approx(expected)


def test_estimates_by_hand() -> None:
    found = spread.seed_spread(
        [[1.0, -5.0], [2.0, 30.0], [4.0, 3.0], [-1.0, 2.5]], seed=0, target=3
    )
    assert found.iqm.estimate == pytest.approx((1.0 + 2.0 + 2.5 + 3.0) / 4)
    assert found.median.estimate == pytest.approx(2.25)
    assert found.mean.estimate == pytest.approx(36.5 / 8)
    assert found.optimality_gap.estimate == pytest.approx((2 + 8 + 1 + 4 + 0.5) / 8)
    assert (found.seeds, found.windows, found.positive) == (4, 2, 0.75)


def test_one_outlier_moves_the_mean_and_not_the_interquartile_mean() -> None:
    lucky = SCORES.copy()
    lucky[0, 0] += 1e4
    before, after = (spread.seed_spread(table, seed=0) for table in (SCORES, lucky))
    assert after.mean.estimate - before.mean.estimate > 100
    assert abs(after.iqm.estimate - before.iqm.estimate) < 10


def test_a_window_keeps_its_own_level_in_every_resample() -> None:
    """Windows far apart with equal seeds: nothing is uncertain, where plain resampling would say so."""
    levels = np.tile(np.arange(12) * 100.0, (5, 1))
    found = spread.seed_spread(levels, seed=0)
    assert found.iqm.low == found.iqm.estimate == found.iqm.high
    plain = np.random.default_rng(0).choice(levels.ravel(), (500, levels.size)).mean(axis=1)
    assert plain.std() > 10


def test_intervals_cover_the_true_mean_about_as_often_as_they_say() -> None:
    hits = 0
    for number in range(150):
        scores = np.random.default_rng(number).normal(1.0, 3.0, (10, 8))
        found = spread.seed_spread(scores, seed=number, resamples=300).mean
        hits += found.low <= 1.0 <= found.high
    assert 128 <= hits <= 149


def test_the_same_seed_gives_the_same_interval() -> None:
    assert spread.seed_spread(SCORES, seed=4) == spread.seed_spread(SCORES, seed=4)


def test_the_probability_of_improvement_is_mann_whitneys() -> None:
    ours, theirs = SCORES, np.random.default_rng(1).normal(8.0, 5.0, (7, 12)) + np.arange(12) * 20.0
    theirs[0, 0] = ours[0, 0]
    expected = [mannwhitneyu(ours[:, k], theirs[:, k]).statistic / (5 * 7) for k in range(12)]
    found = spread.probability_of_improvement(ours, theirs, seed=0)
    assert found.estimate == pytest.approx(np.mean(expected))
    assert found.low < found.estimate < found.high


def test_its_interval_is_that_of_plainly_resampled_seeds() -> None:
    theirs = np.random.default_rng(1).normal(9.0, 5.0, (4, 12)) + np.arange(12) * 20.0
    generator, chances = np.random.default_rng(9), []
    for _ in range(2000):
        x, y = (
            np.column_stack([generator.choice(column, len(column)) for column in table.T])
            for table in (SCORES, theirs)
        )
        chances.append(np.mean(x[:, None] > y[None]))
    found = spread.probability_of_improvement(SCORES, theirs, seed=0)
    assert [found.low, found.high] == pytest.approx(np.quantile(chances, [0.025, 0.975]), abs=0.02)


def test_certain_improvement_and_none() -> None:
    sure = spread.probability_of_improvement(SCORES + 1e3, SCORES, seed=0)
    assert (sure.low, sure.estimate, sure.high) == pytest.approx((1.0, 1.0, 1.0))
    same = spread.probability_of_improvement(SCORES, SCORES, seed=0)
    assert same.estimate == 0.5


def test_broken_scores_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 not finite"):
        spread.seed_spread([[1.0, np.nan]], seed=0)
    with pytest.raises(ConfigError, match="3 windows cannot be compared with 2"):
        spread.probability_of_improvement(np.ones((2, 3)), np.ones((2, 2)), seed=0)
    with pytest.raises(ConfigError, match="level 95"):
        spread.seed_spread(SCORES, seed=0, level=95)
