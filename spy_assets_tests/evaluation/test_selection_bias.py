"""Selection bias against purgedcv and arch, by brute force, and on noise that was searched."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import purgedcv
import pytest
from arch.bootstrap import SPA
from scipy.stats import rankdata

from spy_assets.errors import ConfigError
from spy_assets.evaluation import selection_bias as bias
from spy_assets.evaluation.statistics import long_run_error, sharpe

SKEWED = [
    np.random.default_rng(seed).gamma(2.0, 0.01, 200) * sign - sign * 0.018
    for seed in range(5)
    for sign in (-1, 1)
]


def noise(seed: int, periods: int = 252, candidates: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.01, (periods, candidates))


def best_of(matrix: np.ndarray) -> np.ndarray:
    return matrix[:, (matrix.mean(axis=0) / matrix.std(axis=0)).argmax()]


@pytest.mark.parametrize("benchmark", [0.0, 0.05, -0.1])
def test_probabilistic_sharpe_agrees_with_purgedcv(benchmark: float) -> None:
    for returns in SKEWED:
        expected = purgedcv.probabilistic_sharpe_ratio(returns, benchmark)
        ours = bias.probabilistic_sharpe(returns, benchmark=benchmark)
        assert ours == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("trials", "variance"), [(1, 0.01), (10, 0.004), (500, 0.02)])
def test_deflated_sharpe_agrees_with_purgedcv(trials: int, variance: float) -> None:
    for returns in SKEWED:
        expected = purgedcv.deflated_sharpe_ratio(returns, trials, variance)
        ours = bias.deflated_sharpe(returns, trials=trials, sharpe_variance=variance)
        assert ours == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("benchmark", [0.0, -0.02])
def test_track_record_agrees_with_purgedcv(benchmark: float) -> None:
    for returns in SKEWED:
        m = bias.sharpe_moments(returns)
        assert m is not None
        expected = purgedcv.min_track_record_length(
            m.sharpe, benchmark, 0.05, m.skewness, m.kurtosis
        )
        found = bias.minimum_track_record(returns, benchmark=benchmark)
        assert (math.inf if found is None else found) == expected


def test_a_track_record_of_the_length_given_reaches_the_level() -> None:
    returns = SKEWED[1] + 0.003
    needed = bias.minimum_track_record(returns)
    m = bias.sharpe_moments(returns)
    assert needed is not None
    assert m is not None
    scores = [m.sharpe / math.sqrt(m.variance_term / (n - 1)) for n in (needed, needed - 1)]
    assert scores[0] >= 1.6448 > scores[1]


def test_the_best_of_100_noise_strategies_is_certain_alone_and_a_coin_among_them() -> None:
    """The trap in numbers: 0.99 by PSR, one half by DSR, whether or not the trials are known."""
    alone, among, known = [], [], []
    for seed in range(40):
        matrix = noise(seed)
        best = best_of(matrix)
        alone.append(bias.probabilistic_sharpe(best))
        among.append(bias.deflated_sharpe(best, trials=100))
        spread = bias.trial_variance(list(matrix.T))
        known.append(bias.deflated_sharpe(best, trials=100, sharpe_variance=spread))
    assert 0.98 < np.mean(alone) < 0.999
    assert 0.42 < np.mean(among) < 0.58
    assert 0.42 < np.mean(known) < 0.58


def test_the_sharpe_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    """Exponential losses: skewness -2, kurtosis 9, true ratio 0.1 a period."""
    generator, hits = np.random.default_rng(0), 0
    for _ in range(400):
        found = bias.sharpe_interval(1.1 - generator.exponential(1.0, 250), periods=1)
        assert found is not None
        hits += found.low <= 0.1 <= found.high
    assert 370 <= hits <= 394


def test_the_sharpe_interval_is_around_the_annual_ratio() -> None:
    found = bias.sharpe_interval(SKEWED[1], level=0.9)
    assert found is not None
    assert found.estimate == pytest.approx(sharpe(SKEWED[1]))
    assert bias.sharpe_interval([0.1] * 9) is None
    with pytest.raises(ConfigError, match="level 2"):
        bias.sharpe_interval(SKEWED[1], level=2)


def test_a_wide_search_deflates_more_than_one_of_near_copies() -> None:
    returns = SKEWED[1] + 0.004
    values = [
        bias.deflated_sharpe(returns, trials=50, sharpe_variance=v) for v in (0.0, 0.002, 0.02)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] == bias.probabilistic_sharpe(returns)


def test_trials_that_do_nothing_count_with_a_ratio_of_zero() -> None:
    moving = np.array([0.01, -0.01, 0.02, 0.01, 0.0])
    found = bias.trial_variance([moving, np.zeros(5)])
    assert found == pytest.approx((moving.mean() / moving.std()) ** 2 / 2)
    assert bias.trial_variance([moving]) is None


@pytest.mark.parametrize("returns", [[], [0.1, 0.2, 0.3], [0.01] * 30])
def test_what_does_not_vary_has_no_probability(returns: list[float]) -> None:
    assert bias.probabilistic_sharpe(returns) is None
    assert bias.deflated_sharpe(returns, trials=3) is None
    assert bias.minimum_track_record(returns) is None


def test_broken_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="trials=0"):
        bias.deflated_sharpe(SKEWED[0], trials=0)
    with pytest.raises(ConfigError, match="variance=-1"):
        bias.deflated_sharpe(SKEWED[0], trials=2, sharpe_variance=-1.0)
    with pytest.raises(ConfigError, match=r"level 0\.4"):
        bias.minimum_track_record(SKEWED[0], level=0.4)
    with pytest.raises(ConfigError, match="1 of them not finite"):
        bias.probabilistic_sharpe([0.1, math.nan])


# ------------------------------------------------------------------------------- PBO


def overfitting_by_hand(matrix: np.ndarray, blocks: int) -> list[float]:
    """Share of the median rank, halving by halving, as the paper's figure shows it."""
    parts = np.array_split(np.arange(len(matrix)), blocks)
    logits = []
    for chosen in combinations(range(blocks), blocks // 2):
        seen = np.concatenate([parts[k] for k in chosen])
        rest = np.setdiff1d(np.arange(len(matrix)), seen)
        inside, outside = (
            matrix[rows].mean(axis=0) / matrix[rows].std(axis=0, ddof=1) for rows in (seen, rest)
        )
        share = rankdata(outside)[inside.argmax()] / (matrix.shape[1] + 1)
        logits.append(math.log(share / (1 - share)))
    return logits


@pytest.mark.parametrize(("periods", "blocks", "candidates"), [(61, 4, 5), (120, 6, 8), (97, 8, 3)])
def test_overfitting_agrees_with_brute_force(periods: int, blocks: int, candidates: int) -> None:
    matrix = noise(7, periods, candidates)
    found = bias.probability_of_overfitting(matrix, blocks=blocks)
    expected = overfitting_by_hand(matrix, blocks)
    assert found.logits == pytest.approx(expected)
    assert found.probability == np.mean(np.array(expected) < 0)


def test_overfitting_agrees_with_purgedcv() -> None:
    matrix = noise(3, 200, 12)
    theirs = purgedcv.probability_of_backtest_overfitting(matrix.T, 8)
    ours = bias.probability_of_overfitting(matrix, blocks=8)
    assert ours.probability == theirs.pbo
    assert ours.slope == pytest.approx(theirs.slope, rel=1e-9)
    assert sorted(ours.logits) == pytest.approx(sorted(theirs.logits))


def test_choosing_among_noise_is_a_coin() -> None:
    found = [bias.probability_of_overfitting(noise(k, 256, 30), blocks=10) for k in range(20)]
    assert 0.4 < np.mean([one.probability for one in found]) < 0.6


def test_choosing_a_real_edge_is_no_overfitting() -> None:
    """A Sharpe ratio of 0.3 a session among 49 without any."""
    matrix = noise(0, 504, 50)
    matrix[:, 17] += 0.003
    found = bias.probability_of_overfitting(matrix)
    assert (found.probability < 0.01, found.probability_of_loss < 0.05) == (True, True)
    assert len(found.logits) == math.comb(16, 8)


def test_candidates_that_never_trade_are_ranked_at_zero() -> None:
    matrix = np.column_stack([np.zeros(60), np.full(60, 0.1), noise(1, 60, 1)[:, 0] + 0.02])
    found = bias.probability_of_overfitting(matrix, blocks=6)
    assert found.probability == 0.0


@pytest.mark.parametrize(
    ("shape", "blocks", "message"),
    [
        ((50, 1), 4, "at least two candidates"),
        ((50, 3), 5, "5 blocks"),
        ((3, 2), 4, "of 3 periods"),
    ],
)
def test_matrices_that_cannot_be_halved_are_refused(
    shape: tuple[int, int], blocks: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        bias.probability_of_overfitting(np.ones(shape), blocks=blocks)


# ------------------------------------------------------------------------------- SPA


def theirs(benchmark: np.ndarray, candidates: np.ndarray) -> SPA:
    test = SPA(-benchmark, -candidates, block_size=5, reps=4000, seed=1)
    test.compute()
    return test


@pytest.mark.parametrize("lead", [-0.001, 0.0, 0.0004, 0.001])
def test_unstudentised_p_values_agree_with_arch(lead: float) -> None:
    matrix = noise(11, 180, 6) + np.linspace(-0.004, lead, 6)
    market = noise(12, 180, 1)[:, 0]
    ours = bias.superior_ability(market, matrix, seed=0, resamples=4000, studentize=False)
    expected = theirs(market, matrix).pvalues
    assert ours is not None
    for name in ("lower", "consistent", "upper"):
        assert getattr(ours, name) == pytest.approx(expected[name], abs=0.03), name


def test_standard_errors_agree_with_arch() -> None:
    matrix = np.cumsum(noise(4, 90, 3), axis=0)
    variance = theirs(np.zeros(90), matrix)._loss_diff_var
    assert long_run_error(matrix, 0.2) == pytest.approx(np.sqrt(variance / 90))


def test_a_noisy_candidate_does_not_hide_a_good_one() -> None:
    """What studentising is for; arch 8 has the argument and no effect of it."""
    good = noise(5, 250, 1)[:, 0] * 0.1 + 0.0004
    matrix = np.column_stack([good, noise(6, 250, 4) * 5])
    found = bias.superior_ability(np.zeros(250), matrix, seed=0)
    assert found is not None
    assert (found.best, found.consistent < 0.01) == (0, True)
    assert theirs(np.zeros(250), matrix).pvalues["consistent"] > 0.2


def test_the_best_of_20_noise_strategies_is_rarely_called_superior() -> None:
    """At 5 % about one in twenty, where testing the best alone would call most of them so."""
    found = [
        bias.superior_ability(np.zeros(250), noise(seed, 250, 20), seed=seed, resamples=300)
        for seed in range(120)
    ]
    share = np.mean([one.consistent < 0.05 for one in found if one is not None])
    assert share <= 0.11
    alone = [
        bias.superior_ability(np.zeros(250), best_of(noise(seed, 250, 20)), seed=0, resamples=300)
        for seed in range(40)
    ]
    assert np.mean([one.consistent < 0.05 for one in alone if one is not None]) > 0.4


def test_candidates_that_are_the_benchmark_are_no_test() -> None:
    market = noise(1, 50, 1)[:, 0]
    assert bias.superior_ability(market, market, seed=0) is None
    found = bias.superior_ability(market, np.column_stack([market, market * 2]), seed=0)
    assert found is not None
    assert found.best == 1


def test_unpaired_candidates_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(4, 2\) beside 5 periods"):
        bias.superior_ability(np.zeros(5), np.ones((4, 2)), seed=0)
