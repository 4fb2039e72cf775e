"""Scores of several seeds over several windows: what training gives, not what one lucky run gave.

Agarwal, Schwarzer, Castro, Courville & Bellemare (2021), "Deep reinforcement learning at the edge of
the statistical precipice", arXiv:2108.13264. A window is what they call a task, a seed what they call
a run. Scores have shape ``[seeds, windows]``, larger is better, in any unit that windows share: net P&L
in dollars, or returns.

Intervals are percentile intervals of the **stratified** bootstrap: within each window seeds are drawn
with replacement, independently of other windows, so that a window's own level is no source of
uncertainty and the seeds are. They say nothing about windows that were not run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError
from spy_assets.evaluation.statistics import DEFAULT_RESAMPLES, Floats, Interval

#: Takes ``[..., scores]`` and gives ``[...]``.
Aggregate = Callable[[Floats], Floats]
#: Share that the interquartile mean leaves out at each end.
_TRIM: Final = 0.25


@dataclass(frozen=True)
class SeedSpread:
    """Aggregates over all seeds and windows, each with its interval, in the scores' unit.

    Attributes
    ----------
    seeds, windows
        How many of each.
    iqm
        Interquartile mean: mean of the middle half of all scores.
    median, mean
        Of all scores; the median here is of single runs, not of window means.
    optimality_gap
        Mean shortfall from the target; a score above the target counts as reaching it.
    target
        What was aimed at, for instance the best baseline's score.
    positive
        Share of runs with a score above zero.
    """

    seeds: int
    windows: int
    iqm: Interval
    median: Interval
    mean: Interval
    optimality_gap: Interval
    target: float
    positive: float


def seed_spread(
    scores: npt.ArrayLike,
    *,
    seed: int,
    target: float = 0.0,
    level: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
) -> SeedSpread:
    """Aggregate scores over seeds and windows.

    Parameters
    ----------
    scores
        Shape ``[seeds, windows]``; one seed gives intervals of width zero, which say nothing.
    seed, level, resamples
        Of the bootstrap.
    target
        Score from which a run counts as good enough.

    Raises
    ------
    ConfigError
        If the scores are not a finite, non-empty matrix, or a parameter is out of range.
    """
    table = _matrix(scores)
    drawn = _stratified(table, resamples, np.random.default_rng(seed))

    def interval(aggregate: Aggregate) -> Interval:
        return _interval(float(aggregate(table.reshape(-1))), aggregate(drawn), level)

    return SeedSpread(
        seeds=table.shape[0],
        windows=table.shape[1],
        iqm=interval(interquartile_mean),
        median=interval(lambda values: np.asarray(np.median(values, axis=-1))),
        mean=interval(lambda values: np.asarray(values.mean(axis=-1))),
        optimality_gap=interval(lambda values: optimality_gap(values, target)),
        target=target,
        positive=float((table > 0).mean()),
    )


def interquartile_mean(values: npt.ArrayLike) -> Floats:
    """Mean without the lowest and highest quarter, along the last axis (``scipy.stats.trim_mean``)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    cut = int(_TRIM * ordered.shape[-1])
    return np.asarray(ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1))


def optimality_gap(values: npt.ArrayLike, target: float) -> Floats:
    """Mean of how far each score falls short of the target, along the last axis."""
    short = np.maximum(target - np.asarray(values, dtype=np.float64), 0.0)
    return np.asarray(short.mean(axis=-1))


def probability_of_improvement(
    ours: npt.ArrayLike,
    theirs: npt.ArrayLike,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
) -> Interval:
    """Probability that a run of ours beats a run of theirs in the same window, mean over windows.

    A tie counts half (Mann & Whitney 1947). Seeds of the two need not be equally many; the windows must
    be the same.

    Raises
    ------
    ConfigError
        If the windows differ or a matrix is not finite.
    """
    x, y = _matrix(ours), _matrix(theirs)
    if x.shape[1] != y.shape[1]:
        raise ConfigError(
            f"{x.shape[1]} windows cannot be compared with {y.shape[1]}",
            hint="score both over the same windows",
        )
    generator = np.random.default_rng(seed)
    won = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
    ours_drawn, theirs_drawn = (_weights(table, resamples, generator) for table in (x, y))
    chances = np.einsum("bxw,xyw,byw->b", ours_drawn, won, theirs_drawn, optimize=True)
    return _interval(float(won.mean()), np.asarray(chances) / x.shape[1], level)


def _matrix(scores: npt.ArrayLike) -> Floats:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ConfigError(
            f"scores of shape {table.shape}, {int((~np.isfinite(table)).sum())} not finite",
            hint="give finite scores of shape [seeds, windows]; train the missing ones first",
        )
    return table


def _stratified(table: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Draw seeds within each window, shape ``[resamples, seeds x windows]``."""
    rows = generator.integers(0, len(table), size=(resamples, *table.shape))
    return np.asarray(table[rows, np.arange(table.shape[1])].reshape(resamples, -1))


def _weights(table: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Share of each seed among those drawn for each window, ``[resamples, seeds, windows]``."""
    seeds = len(table)
    rows = generator.integers(0, seeds, size=(resamples, *table.shape))
    counts = (rows[:, :, None, :] == np.arange(seeds)[None, None, :, None]).sum(axis=1)
    return np.asarray(counts / seeds, dtype=np.float64)


def _interval(estimate: float, drawn: Floats, level: float) -> Interval:
    if not 0 < level < 1:
        raise ConfigError(f"level {level} is no probability", hint="give a level such as 0.95")
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), level)
