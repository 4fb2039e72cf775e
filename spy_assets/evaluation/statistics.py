"""Statistics of daily equity: returns, Sharpe, drawdown, bootstrap intervals. NumPy, seeded.

Everything annual is computed from **daily equity**, never per trade. Intervals are percentile
intervals of the stationary bootstrap of Politis & Romano (1994, JASA 89): blocks of geometric
length with the given mean, wrapped around, so that short-range dependence of daily P&L survives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError

Floats = npt.NDArray[np.float64]

SESSIONS_PER_YEAR: Final = 252
DEFAULT_RESAMPLES: Final = 2_000
#: Mean block length in sessions: the longest hold of the daily policy is five sessions.
DEFAULT_BLOCK: Final = 5.0


@dataclass(frozen=True)
class Interval:
    """A point estimate and its two-sided interval at ``level``, in the estimate's unit."""

    estimate: float
    low: float
    high: float
    level: float

    @property
    def above_zero(self) -> bool:
        """True when the whole interval lies above zero."""
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        """True when the whole interval lies below zero."""
        return self.high < 0


@dataclass(frozen=True)
class DailyStatistics:
    """What daily equity says. Money in dollars, returns and drawdown as decimals.

    ``sharpe`` is annualised from daily returns in excess of zero, and ``nan``-free: 0 where the
    returns do not vary.
    """

    sessions: int
    net_pnl: float
    total_return: float
    mean_daily: float
    std_daily: float
    sharpe: float
    max_drawdown: float


@dataclass(frozen=True)
class TradeStatistics:
    """What the list of closed trades says. ``profit_factor`` is ``None`` when nothing was lost."""

    trades: int
    win_rate: float | None
    profit_factor: float | None
    expectancy: float | None
    average_win: float | None
    average_loss: float | None


def daily_pnl(equity: Floats) -> Floats:
    """Day-to-day changes in dollars of an equity curve of n+1 points; gives n numbers."""
    return np.diff(_finite(equity, "equity"))


def daily_statistics(equity: Floats) -> DailyStatistics:
    """Summarise an equity curve whose first point is the capital at the start.

    Raises
    ------
    ConfigError
        If the curve has fewer than two points, is not finite, or starts at or below zero.
    """
    curve = _finite(equity, "equity")
    if len(curve) < 2 or curve[0] <= 0:
        raise ConfigError(
            f"equity of {len(curve)} point(s), first {curve[:1]}",
            hint="give the capital at the start and one point per session after it",
        )
    pnl = np.diff(curve)
    returns = pnl / _positive(curve[:-1])
    return DailyStatistics(
        sessions=len(pnl),
        net_pnl=float(curve[-1] - curve[0]),
        total_return=float(curve[-1] / curve[0] - 1.0),
        mean_daily=float(pnl.mean()),
        std_daily=float(pnl.std(ddof=1)) if len(pnl) > 1 else 0.0,
        sharpe=sharpe(returns),
        max_drawdown=max_drawdown(curve),
    )


def sharpe(returns: Floats) -> float:
    """Annualised Sharpe ratio of daily returns: mean / sample deviation x sqrt(252).

    Zero where there are fewer than two returns or they do not vary.
    """
    if len(returns) < 2:
        return 0.0
    deviation = float(returns.std(ddof=1))
    if deviation <= 1e-15:
        return 0.0
    return float(returns.mean()) / deviation * math.sqrt(SESSIONS_PER_YEAR)


def max_drawdown(equity: Floats) -> float:
    """Largest fall from a running peak, as a decimal of that peak."""
    curve = _finite(equity, "equity")
    if not len(curve):
        return 0.0
    peak = _positive(np.maximum.accumulate(curve))
    return float(np.max(1.0 - curve / peak))


def trade_statistics(pnl: Floats) -> TradeStatistics:
    """Summarise closed trades by their net P&L in dollars; what cannot be known is ``None``."""
    values = _finite(pnl, "trade P&L")
    if not len(values):
        return TradeStatistics(0, None, None, None, None, None)
    wins, losses = values[values > 0], values[values < 0]
    lost = float(-losses.sum())
    return TradeStatistics(
        trades=len(values),
        win_rate=len(wins) / len(values),
        profit_factor=float(wins.sum()) / lost if lost > 0 else None,
        expectancy=float(values.mean()),
        average_win=float(wins.mean()) if len(wins) else None,
        average_loss=float(losses.mean()) if len(losses) else None,
    )


def wilson_interval(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """Interval of a rate by Wilson (1927, JASA 22); honest at 0 %, at 100 % and for few trials.

    Raises
    ------
    ConfigError
        If there are no trials, or the counts or the level are impossible.
    """
    _check_level(level)
    if trials < 1 or not 0 <= successes <= trials:
        raise ConfigError(
            f"{successes} successes of {trials} trials have no rate",
            hint="give at least one trial and 0 <= successes <= trials",
        )
    z, rate = _normal_quantile(0.5 + level / 2), successes / trials
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / scale
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half), level)


def bootstrap_mean(
    values: Floats,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    mean_block: float = DEFAULT_BLOCK,
) -> Interval:
    """Interval of the mean by the stationary bootstrap; the same seed gives the same interval.

    A constant series (cash) has an interval of width zero.

    Raises
    ------
    ConfigError
        If there are fewer than two values, or a parameter is out of range.
    """
    return bootstrap_means(
        [values], seed=seed, level=level, resamples=resamples, mean_block=mean_block
    )[0]


def bootstrap_means(
    series: Sequence[Floats],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    mean_block: float = DEFAULT_BLOCK,
) -> list[Interval]:
    """Intervals of the means of several series of equal length, each as :func:`bootstrap_mean` has it.

    The resampled periods are drawn once for all of them: drawing costs most of the time, and is the
    same for one seed anyway.

    Raises
    ------
    ConfigError
        As there, or if the series differ in length.
    """
    _check_level(level)
    samples = [_finite(values, "values") for values in series]
    lengths = {len(sample) for sample in samples}
    if not samples:
        return []
    if len(lengths) > 1 or min(lengths) < 2 or resamples < 100 or mean_block < 1:
        raise ConfigError(
            f"cannot bootstrap {sorted(lengths)} values with {resamples} resamples in blocks of "
            f"{mean_block}",
            hint="give series of one length, at least 2, 100 resamples and a mean block of at least 1",
        )
    generator = np.random.default_rng(seed)
    indices = stationary_indices(lengths.pop(), resamples, mean_block, generator)
    tail = (1 - level) / 2
    intervals = []
    for sample in samples:
        low, high = np.quantile(sample[indices].mean(axis=1), [tail, 1 - tail])
        intervals.append(Interval(float(sample.mean()), float(low), float(high), level))
    return intervals


def guarded_means(
    series: Sequence[Floats],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = DEFAULT_RESAMPLES,
    mean_block: float = DEFAULT_BLOCK,
) -> list[Interval]:
    """Intervals of means that hold far out in the tails, where levels divided among trials lie.

    Percentiles of a bootstrap are too narrow there: of samples of 62 normal values, at 1 - 0.05 / 20,
    0.7 % lie above zero without an edge instead of 0.125 %. Each bound is therefore the outer one of
    :func:`bootstrap_means` and of Student's t with the long-run standard error, whose expectation and
    degrees of freedom are those of independent normal values (Satterthwaite 1946, Biometrics 2). With
    rare large losses both are too narrow still: a sample in which none happened does not tell of them.

    Raises
    ------
    ConfigError
        As there.
    """
    inner = bootstrap_means(
        series, seed=seed, level=level, resamples=resamples, mean_block=mean_block
    )
    if not inner:
        return []
    halves = _student_halves(np.column_stack(list(series)), level, mean_block)
    return [
        Interval(
            found.estimate,
            min(found.low, found.estimate - half),
            max(found.high, found.estimate + half),
            level,
        )
        for found, half in zip(inner, halves.tolist(), strict=True)
    ]


def _student_halves(columns: Floats, level: float, mean_block: float) -> Floats:
    """Half the width of Student's interval of each column's mean; 0 where nothing varies."""
    from scipy.special import stdtrit

    share, freedom = _expected_share(len(columns), 1 / mean_block)
    error = long_run_error(columns, 1 / mean_block) / math.sqrt(share)
    half = stdtrit(freedom, 0.5 + level / 2) * error
    return np.where(np.ptp(columns, axis=0) > 0, half, 0.0)


def _expected_share(count: int, restart: float) -> tuple[float, float]:
    """Share of the variance that :func:`long_run_error` sees of independent normal values.

    And its degrees of freedom: both of the quadratic form of the values about their mean.
    """
    apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    form = _dependence(count, restart)[apart]
    form = form - form.mean(axis=0) - form.mean(axis=1)[:, None] + form.mean()
    trace = float(np.trace(form))
    return trace / count, trace**2 / float(np.square(form).sum())


def long_run_error(values: Floats, restart: float) -> Floats:
    """Standard error of each column's mean under the stationary bootstrap's dependence.

    Hansen (2005, Journal of Business & Economic Statistics 23(4)), equation 5; ``restart`` is the
    probability that a block ends.
    """
    count = len(values)
    away = values - values.mean(axis=0)
    variance = np.square(away).mean(axis=0)
    weights = _dependence(count, restart)
    for lag in range(1, count):
        variance = variance + 2 * weights[lag] * (away[:-lag] * away[lag:]).sum(axis=0) / count
    return np.asarray(np.sqrt(np.maximum(variance, 1e-300) / count), dtype=np.float64)


def _dependence(count: int, restart: float) -> Floats:
    """Weight of each autocovariance, by lag, that the stationary bootstrap of a series keeps."""
    lag = np.arange(count)
    share = lag / count
    weights = (1 - share) * (1 - restart) ** lag + share * (1 - restart) ** (count - lag)
    weights[0] = 1.0
    return np.asarray(weights, dtype=np.float64)


def bootstrap_difference(
    ours: Floats,
    theirs: Floats,
    *,
    seed: int,
    level: float = 0.95,
    mean_block: float = DEFAULT_BLOCK,
) -> Interval:
    """Interval of the mean daily difference, paired by session, so that the market cancels.

    Raises
    ------
    ConfigError
        If the two series differ in length: then they are not of the same sessions.
    """
    if len(ours) != len(theirs):
        raise ConfigError(
            f"{len(ours)} sessions cannot be paired with {len(theirs)}",
            hint="run both strategies over the same market path",
        )
    return bootstrap_mean(ours - theirs, seed=seed, level=level, mean_block=mean_block)


def stationary_indices(
    length: int, resamples: int, mean_block: float, generator: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Draw positions ``[resamples, length]``: each follows its predecessor, or starts a new block."""
    starts = generator.integers(0, length, size=(resamples, length))
    fresh = generator.random((resamples, length)) < 1.0 / mean_block
    fresh[:, 0] = True
    columns = np.arange(length)
    last = np.maximum.accumulate(np.where(fresh, columns, 0), axis=1)
    block_start = np.take_along_axis(starts, last, axis=1)
    return np.asarray((block_start + columns - last) % length, dtype=np.intp)


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ConfigError(f"level {level} is no probability", hint="give a level such as 0.95")


def _finite(values: Floats, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        where = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ConfigError(
            f"{name}[{where}] is {array[where]}", hint="leave unknown values out beforehand"
        )
    return array


def _positive(values: Floats) -> Floats:
    """Keep a denominator off zero; an account that is wiped out has no return to speak of."""
    return np.maximum(values, 1e-9)
