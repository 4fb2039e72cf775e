r"""How much of a backtest's success is the search for it: PSR, DSR, PBO and SPA.

Sharpe ratios here are **per period**, mean over population deviation, never annualised, and their
variance among trials too.

    probabilistic Sharpe (PSR)   probability that the true ratio exceeds a benchmark, by its standard
                                 error under skewed, fat-tailed returns
    minimum track record         periods after which PSR reaches a level
    deflated Sharpe (DSR)        PSR against the best ratio that so many noise strategies would show
    overfitting (PBO)            how often the best candidate of one half of the time is below the
                                 median in the other half
    superior ability (SPA)       whether the best of all candidates beats a benchmark, by a bootstrap
                                 that knows how many there were

The best of 100 noise strategies looks certain by PSR (0.995) and is a coin by DSR (0.53).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError
from spy_assets.evaluation.statistics import (
    DEFAULT_BLOCK,
    DEFAULT_RESAMPLES,
    SESSIONS_PER_YEAR,
    Floats,
    Interval,
    long_run_error,
    stationary_indices,
)

_NORMAL: Final = NormalDist()
_EULER_MASCHERONI: Final = 0.5772156649015329
#: Fewer returns have no sample kurtosis.
_LEAST_RETURNS: Final = 4
#: Blocks of PBO; 16 give 12,870 ways to halve them.
DEFAULT_BLOCKS: Final = 16
#: More blocks would need gigabytes: 20 give 184,756 ways.
MAX_BLOCKS: Final = 20
#: Share of a series' mean square below which its variance is rounding.
_ROUNDING: Final = 1e-12


@dataclass(frozen=True)
class SharpeMoments:
    """What the standard error of a Sharpe ratio needs; ``kurtosis`` is 3 for a normal series."""

    count: int
    sharpe: float
    skewness: float
    kurtosis: float

    @property
    def variance_term(self) -> float:
        """Variance of the estimated ratio times ``count - 1`` (Mertens 2002)."""
        return 1 - self.skewness * self.sharpe + (self.kurtosis - 1) / 4 * self.sharpe**2


@dataclass(frozen=True, eq=False)
class Overfitting:
    """What the halvings said.

    Attributes
    ----------
    probability
        Share of halvings in which the best candidate in sample was below the median out of sample.
    probability_of_loss
        Share in which it earned nothing or less out of sample.
    slope
        Slope of its ratio out of sample on that in sample; ``None`` if the latter never varied.
    logits
        Logit of its relative rank out of sample, one per halving.
    """

    probability: float
    probability_of_loss: float
    slope: float | None
    logits: Floats


@dataclass(frozen=True)
class SuperiorAbility:
    """P-values of "no candidate is better than the benchmark"; small ones say that one is.

    ``consistent`` is Hansen's; ``lower`` and ``upper`` bound it, ``upper`` being the reality check's
    recentring. ``best`` is the position of the candidate with the largest statistic.
    """

    lower: float
    consistent: float
    upper: float
    best: int


# ------------------------------------------------------------------------------- PSR and DSR


def sharpe_moments(returns: npt.ArrayLike) -> SharpeMoments | None:
    """Give the ratio and the sample moments; ``None`` for fewer than four returns or equal ones.

    Raises
    ------
    ConfigError
        If a return is not finite.
    """
    from scipy.stats import kurtosis, skew

    r = _finite(returns)
    deviation = float(r.std()) if len(r) >= _LEAST_RETURNS else 0.0
    if deviation <= 1e-15:
        return None
    return SharpeMoments(
        count=len(r),
        sharpe=float(r.mean()) / deviation,
        skewness=float(skew(r, bias=False)),
        kurtosis=float(kurtosis(r, bias=False, fisher=False)),
    )


def probabilistic_sharpe(returns: npt.ArrayLike, *, benchmark: float = 0.0) -> float | None:
    r"""Probability that the true Sharpe ratio per period exceeds ``benchmark``.

    .. math::

        \Phi\left(\frac{(\hat{SR} - SR^*)\sqrt{n - 1}}
        {\sqrt{1 - \gamma_3 \hat{SR} + \frac{\gamma_4 - 1}{4} \hat{SR}^2}}\right)

    Bailey & López de Prado (2012, Journal of Risk 15(2)), equation 7. ``None`` where there are no
    :func:`sharpe_moments`, or where they are so extreme that the variance is negative.
    """
    moments = sharpe_moments(returns)
    if moments is None or moments.variance_term <= 0:
        return None
    error = math.sqrt(moments.variance_term / (moments.count - 1))
    return _NORMAL.cdf((moments.sharpe - benchmark) / error)


def sharpe_interval(
    returns: npt.ArrayLike, *, level: float = 0.95, periods: int = SESSIONS_PER_YEAR
) -> Interval | None:
    """Annual Sharpe ratio with its interval under skewed, fat-tailed returns (Mertens 2002).

    ``None`` where :func:`probabilistic_sharpe` is. Autocorrelation is not in it.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level {level} is no probability", hint="give a level such as 0.95")
    moments = sharpe_moments(returns)
    if moments is None or moments.variance_term <= 0:
        return None
    scale = math.sqrt(periods)
    ratio = moments.sharpe * math.sqrt((moments.count - 1) / moments.count) * scale
    error = math.sqrt(moments.variance_term / (moments.count - 1)) * scale
    half = _NORMAL.inv_cdf(0.5 + level / 2) * error
    return Interval(ratio, ratio - half, ratio + half, level)


def minimum_track_record(
    returns: npt.ArrayLike, *, benchmark: float = 0.0, level: float = 0.95
) -> int | None:
    """Periods after which these moments would make PSR reach ``level`` (2012, equation 11).

    ``None`` where no length would do, because the ratio is not above ``benchmark``, and where
    :func:`probabilistic_sharpe` is.
    """
    if not 0.5 < level < 1:
        raise ConfigError(f"level {level}", hint="give a probability above one half, such as 0.95")
    moments = sharpe_moments(returns)
    if moments is None or moments.variance_term <= 0 or moments.sharpe <= benchmark:
        return None
    needed = _NORMAL.inv_cdf(level) / (moments.sharpe - benchmark)
    return math.ceil(moments.variance_term * needed**2) + 1


def expected_best_sharpe(trials: int, variance: float) -> float:
    """Sharpe ratio that the best of ``trials`` noise strategies is expected to show.

    ``variance`` is that of the trials' ratios per period. Zero for one trial.

    Raises
    ------
    ConfigError
        If ``trials`` is below one or ``variance`` is negative or not finite.
    """
    if trials < 1 or not 0 <= variance < math.inf:
        raise ConfigError(
            f"trials={trials}, variance={variance}",
            hint="count at least the strategy itself; a variance is at least 0",
        )
    if trials == 1:
        return 0.0
    first, second = (_NORMAL.inv_cdf(1 - 1 / (trials * scale)) for scale in (1.0, math.e))
    middle = (1 - _EULER_MASCHERONI) * first + _EULER_MASCHERONI * second
    return math.sqrt(variance) * middle


def deflated_sharpe(
    returns: npt.ArrayLike, *, trials: int, sharpe_variance: float | None = None
) -> float | None:
    """Probability of a true Sharpe ratio above the best of ``trials`` noise strategies.

    Bailey & López de Prado (2014, Journal of Portfolio Management 40(5)).

    Parameters
    ----------
    returns
        Of the strategy that was chosen.
    trials
        How many were tried, this one included.
    sharpe_variance
        Variance of the ratios per period among the trials (:func:`trial_variance`). ``None`` if they
        are not known: then the variance of this ratio's own estimate stands in, which is what trials
        without any skill and with returns like these would show.

    Raises
    ------
    ConfigError
        If ``trials`` is below one, or the variance or a return is not finite.
    """
    expected_best_sharpe(trials, sharpe_variance or 0.0)
    moments = sharpe_moments(returns)
    if moments is None or moments.variance_term <= 0:
        return None
    spread = estimator_variance(moments) if sharpe_variance is None else sharpe_variance
    return probabilistic_sharpe(returns, benchmark=expected_best_sharpe(trials, spread))


def estimator_variance(moments: SharpeMoments) -> float:
    """Variance of the estimated ratio per period: what trials without skill and like this one show."""
    return moments.variance_term / (moments.count - 1)


def deflating_variance(returns: npt.ArrayLike, trials: Sequence[npt.ArrayLike]) -> float | None:
    """Give the variance that deflates a chosen strategy beside trials: theirs, or its own if larger.

    Near copies of one strategy have almost no variance among themselves, but do not undo the trials
    that are not here: below its own estimator's variance no trial without skill would stay. ``None``
    for fewer than two trials, or where the chosen one has no :func:`sharpe_moments`.
    """
    among, moments = trial_variance(trials), sharpe_moments(returns)
    if among is None or moments is None:
        return None
    return max(among, estimator_variance(moments))


def trial_variance(trials: Sequence[npt.ArrayLike]) -> float | None:
    """Sample variance of the trials' Sharpe ratios per period.

    A trial whose returns do not vary has a ratio of zero: it did nothing, and was tried. ``None`` for
    fewer than two trials.
    """
    if len(trials) < 2:
        return None
    found = [sharpe_moments(returns) for returns in trials]
    return float(np.var([0.0 if one is None else one.sharpe for one in found], ddof=1))


# ------------------------------------------------------------------------------- PBO


def probability_of_overfitting(
    returns: npt.ArrayLike, *, blocks: int = DEFAULT_BLOCKS
) -> Overfitting:
    """Estimate the probability of backtest overfitting by combinatorially symmetric cross-validation.

    Time is cut into ``blocks`` contiguous blocks, and every choice of half of them is once the sample
    in which the candidate with the best Sharpe ratio is chosen, the other half being where it is
    ranked (Bailey, Borwein, López de Prado & Zhu 2017, Journal of Computational Finance 20(4)). Sums
    per block are enough for all halvings at once.

    Parameters
    ----------
    returns
        Shape ``[periods, candidates]``, at least two candidates and one period per block.
    blocks
        Even, 2 to 20.

    Raises
    ------
    ConfigError
        If the shape or ``blocks`` does not fit, or a return is not finite.
    """
    matrix = _candidate_matrix(returns)
    if blocks % 2 or not 2 <= blocks <= min(MAX_BLOCKS, len(matrix)):
        raise ConfigError(
            f"{blocks} blocks of {len(matrix)} periods",
            hint=f"give an even number from 2 to {MAX_BLOCKS}, at most one block per period",
        )
    inside = _halvings(blocks)
    sums = [_block_sums(values, blocks) for values in (np.ones_like(matrix), matrix, matrix**2)]
    chosen, ranked = (
        _sharpe_of_sums(*(half.astype(np.float64) @ block for block in sums))
        for half in (inside, ~inside)
    )
    rows, best = np.arange(len(inside)), chosen.argmax(axis=1)
    out = ranked[rows, best]
    ranks = (ranked < out[:, None]).sum(axis=1) + ((ranked == out[:, None]).sum(axis=1) + 1) / 2
    share = ranks / (matrix.shape[1] + 1)
    logits = np.log(share / (1 - share))
    return Overfitting(
        probability=float((logits < 0).mean()),
        probability_of_loss=float((out <= 0).mean()),
        slope=_slope(chosen[rows, best], out),
        logits=np.asarray(logits, dtype=np.float64),
    )


def _halvings(blocks: int) -> npt.NDArray[np.bool_]:
    """Every choice of half of the blocks, shape ``[choices, blocks]``."""
    chosen = np.array(list(combinations(range(blocks), blocks // 2)))
    inside = np.zeros((len(chosen), blocks), dtype=np.bool_)
    np.put_along_axis(inside, chosen, True, axis=1)
    return inside


def _block_sums(values: Floats, blocks: int) -> Floats:
    """Sums over contiguous blocks as equal as they can be, the first ones longer."""
    starts = np.cumsum([0, *[len(part) for part in np.array_split(values, blocks)][:-1]])
    return np.asarray(np.add.reduceat(values, starts, axis=0), dtype=np.float64)


def _sharpe_of_sums(count: Floats, total: Floats, squares: Floats) -> Floats:
    """Mean over sample deviation; 0 where nothing varies, so that it never wins by rounding."""
    mean = total / count
    spread = squares - total * mean
    varies = spread > _ROUNDING * squares
    deviation = np.sqrt(np.where(varies, spread, 1.0) / np.maximum(count - 1, 1))
    return np.asarray(np.where(varies, mean / deviation, 0.0), dtype=np.float64)


def _slope(x: Floats, y: Floats) -> float | None:
    variance = float(x.var())
    return float(((x - x.mean()) * (y - y.mean())).mean()) / variance if variance > 0 else None


# ------------------------------------------------------------------------------- SPA


def superior_ability(
    benchmark: npt.ArrayLike,
    candidates: npt.ArrayLike,
    *,
    seed: int,
    resamples: int = DEFAULT_RESAMPLES,
    mean_block: float = DEFAULT_BLOCK,
    studentize: bool = True,
    counts: Floats | None = None,
) -> SuperiorAbility | None:
    """Test whether any candidate beats the benchmark, knowing how many were tried.

    Hansen (2005, Journal of Business & Economic Statistics 23(4)), by the stationary bootstrap; with
    ``studentize=False`` and ``upper`` the reality check of White (2000, Econometrica 68(5)). The
    ``SPA`` of arch 8 takes its maximum over unstudentised means whatever its argument says, so that one
    noisy candidate hides the others; the tests compare it with ``studentize=False``.

    Parameters
    ----------
    benchmark
        Returns or P&L per period, shape ``[periods]``.
    candidates
        The same of each candidate, shape ``[periods, candidates]`` or ``[periods]``.
    seed, resamples, mean_block
        Of the bootstrap.
    studentize
        Whether each lead is measured in its own standard error.
    counts
        Of :func:`resample_counts` with the same seed, where several tests share them.

    Returns
    -------
    SuperiorAbility | None
        ``None`` if no candidate ever differs from the benchmark by a varying amount.

    Raises
    ------
    ConfigError
        If the shapes do not fit, a value is not finite, or there are fewer than three periods.
    """
    leads = _leads(_finite(benchmark), np.asarray(candidates, dtype=np.float64))
    varying = np.flatnonzero(np.ptp(leads, axis=0) > 0)
    if not len(varying):
        return None
    lead = leads[:, varying]
    mean, error = lead.mean(axis=0), long_run_error(lead, 1 / mean_block)
    scale = error if studentize else np.ones_like(error)
    # log(log(t)) of Hansen's threshold is negative below t = e, so that it needs three periods.
    hopeless = mean < -error * math.sqrt(2 * math.log(math.log(len(lead))))
    centres = (np.maximum(mean, 0.0), np.where(hopeless, 0.0, mean), mean)
    if counts is None:
        counts = resample_counts(len(lead), seed=seed, resamples=resamples, mean_block=mean_block)
    drawn = counts @ lead / len(lead)
    observed = mean / scale
    lower, consistent, upper = (
        float((((drawn - centre) / scale).max(axis=1) > observed.max()).mean())
        for centre in centres
    )
    return SuperiorAbility(lower, consistent, upper, int(varying[observed.argmax()]))


def resample_counts(
    periods: int,
    *,
    seed: int,
    resamples: int = DEFAULT_RESAMPLES,
    mean_block: float = DEFAULT_BLOCK,
) -> Floats:
    """How often each resample of the stationary bootstrap has each period, ``[resamples, periods]``."""
    generator = np.random.default_rng(seed)
    rows = stationary_indices(periods, resamples, mean_block, generator)
    places = rows + np.arange(resamples)[:, None] * periods
    drawn = np.bincount(places.ravel(), minlength=resamples * periods)
    return np.asarray(drawn.reshape(resamples, periods), dtype=np.float64)


def _leads(benchmark: Floats, candidates: Floats) -> Floats:
    table = candidates[:, None] if candidates.ndim == 1 else candidates
    if table.ndim != 2 or len(table) != len(benchmark) or len(table) < 3 or not table.size:
        raise ConfigError(
            f"candidates of shape {table.shape} beside {len(benchmark)} periods of the benchmark",
            hint="give at least three common periods and one column per candidate",
        )
    return np.asarray(_finite(table, dimensions=2) - benchmark[:, None], dtype=np.float64)


# ------------------------------------------------------------------------------- parts


def _candidate_matrix(returns: npt.ArrayLike) -> Floats:
    matrix = np.asarray(returns, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        raise ConfigError(
            f"candidates of shape {matrix.shape}",
            hint="give [periods, candidates] with at least two candidates",
        )
    return _finite(matrix, dimensions=2)


def _finite(values: npt.ArrayLike, dimensions: int = 1) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions or not np.isfinite(array).all():
        raise ConfigError(
            f"values of shape {array.shape}, {int((~np.isfinite(array)).sum())} of them not finite",
            hint=f"give {dimensions} dimension(s) and leave unknown periods out beforehand",
        )
    return array
