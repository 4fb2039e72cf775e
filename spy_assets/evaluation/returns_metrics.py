r"""Metrics of a series of returns, with the definitions of empyrical-reloaded 0.7.1.

Returns are decimals of one period each (a session unless ``periods`` says otherwise), not cumulated,
oldest first, shape ``[n]``. Ratios are annualised with ``periods`` = 252 sessions a year where the
docstring says "annual"; :func:`excess_sharpe` is per period, as it is there.

**Missing values** are treated as empyrical treats them: a NaN counts as no growth in everything that
compounds, and is left out of everything that averages. Two exceptions follow it too: a NaN anywhere
makes :func:`value_at_risk`, :func:`skewness` and :func:`kurtosis` unknown.

**Undefined is None.** Where empyrical answers NaN, an infinity or a number that only looks like one,
the answer here is ``None``: no values, no variation (an infinite Sharpe ratio), no loss (Sortino,
Omega, Calmar, tail ratio), growth beyond the range of a float, the root of an account below zero, and
a total return of nothing but missing values, which empyrical calls 0.

Infinite returns are refused. The tests compare every function with empyrical itself to 1e-12.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError
from spy_assets.evaluation.statistics import SESSIONS_PER_YEAR, Floats

#: Below this variance a benchmark does not move (empyrical's own bound).
_LEAST_VARIANCE: Final = 1e-30
_TAIL: Final = 0.05

Calendar = Literal["weekly", "monthly", "quarterly", "yearly"]


@dataclass(frozen=True)
class ReturnsMetrics:
    """All metrics of one series; decimals, annual where the function of the same name says so."""

    total_return: float | None
    annual_return: float | None
    annual_volatility: float | None
    sharpe: float | None
    sortino: float | None
    downside_risk: float | None
    calmar: float | None
    omega: float | None
    max_drawdown: float | None
    stability: float | None
    tail_ratio: float | None
    value_at_risk: float | None
    conditional_value_at_risk: float | None
    skewness: float | None
    kurtosis: float | None
    gain_to_pain: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Name to value, ready for JSON or MLflow."""
        return asdict(self)


@dataclass(frozen=True)
class BenchmarkMetrics:
    """Metrics of one series against another of the same periods."""

    alpha: float | None
    beta: float | None
    excess_sharpe: float | None
    capture: float | None
    up_capture: float | None
    down_capture: float | None
    batting_average: float | None
    up_batting_average: float | None
    down_batting_average: float | None


def returns_metrics(returns: npt.ArrayLike, *, periods: int = SESSIONS_PER_YEAR) -> ReturnsMetrics:
    """Compute every metric of one series, without a risk-free rate."""
    r = _checked(returns)
    return ReturnsMetrics(
        total_return=total_return(r),
        annual_return=annual_return(r, periods=periods),
        annual_volatility=annual_volatility(r, periods=periods),
        sharpe=sharpe(r, periods=periods),
        sortino=sortino(r, periods=periods),
        downside_risk=downside_risk(r, periods=periods),
        calmar=calmar(r, periods=periods),
        omega=omega(r, periods=periods),
        max_drawdown=max_drawdown(r),
        stability=stability(r),
        tail_ratio=tail_ratio(r),
        value_at_risk=value_at_risk(r),
        conditional_value_at_risk=conditional_value_at_risk(r),
        skewness=skewness(r),
        kurtosis=kurtosis(r),
        gain_to_pain=gain_to_pain(r),
    )


def benchmark_metrics(
    returns: npt.ArrayLike, benchmark: npt.ArrayLike, *, periods: int = SESSIONS_PER_YEAR
) -> BenchmarkMetrics:
    """Compare a series with a benchmark's, paired by position.

    Raises
    ------
    ConfigError
        If the two differ in length or hold infinities.
    """
    r, f = _paired(returns, benchmark)
    batting = batting_average(r, f)
    return BenchmarkMetrics(
        alpha=alpha(r, f, periods=periods),
        beta=beta(r, f),
        excess_sharpe=excess_sharpe(r, f),
        capture=capture(r, f, periods=periods),
        up_capture=up_capture(r, f, periods=periods),
        down_capture=down_capture(r, f, periods=periods),
        batting_average=batting[0],
        up_batting_average=batting[1],
        down_batting_average=batting[2],
    )


# ------------------------------------------------------------------------------- growth


def cumulative_returns(returns: npt.ArrayLike) -> Floats:
    """Growth since the start after each period, decimals, shape ``[n]``; a NaN is no growth."""
    return _growth(_checked(returns)) - 1.0


def total_return(returns: npt.ArrayLike) -> float | None:
    """Growth over the whole series, a decimal."""
    r = _checked(returns)
    return _finite_or_none(_growth(r)[-1] - 1.0) if len(_present(r)) else None


def annual_return(returns: npt.ArrayLike, *, periods: int = SESSIONS_PER_YEAR) -> float | None:
    """Compound annual growth rate: (1 + total)^(periods / n) - 1, missing periods counted in n."""
    r = _checked(returns)
    if not len(_present(r)):
        return None
    end = _growth(r)[-1]
    with np.errstate(over="ignore", invalid="ignore"):
        return _finite_or_none(np.float64(end) ** (periods / len(r)) - 1.0)


def drawdown_series(returns: npt.ArrayLike) -> Floats:
    """Fall from the running peak after each period, 0 or negative decimals, shape ``[n]``.

    The capital before the first period is a peak too.
    """
    growth = _growth(_checked(returns))
    peak = np.maximum.accumulate(np.concatenate(([1.0], growth)))[1:]
    with np.errstate(invalid="ignore"):
        return np.asarray((growth - peak) / peak, dtype=np.float64)


def max_drawdown(returns: npt.ArrayLike) -> float | None:
    """Deepest fall from a running peak, 0 or a negative decimal."""
    r = _checked(returns)
    return _finite_or_none(drawdown_series(r).min()) if len(_present(r)) else None


def calmar(returns: npt.ArrayLike, *, periods: int = SESSIONS_PER_YEAR) -> float | None:
    """Annual return over the depth of the deepest drawdown."""
    return _ratio(annual_return(returns, periods=periods), _absolute(max_drawdown(returns)))


def stability(returns: npt.ArrayLike) -> float | None:
    """R squared of a straight line through the cumulated log returns, 0 to 1."""
    from scipy.stats import linregress

    r = _present(_checked(returns))
    if len(r) < 2 or r.min() <= -1.0:
        return None
    climbed = np.log1p(r).cumsum()
    if climbed.min() == climbed.max():
        return None
    return _finite_or_none(linregress(np.arange(len(climbed)), climbed)[2] ** 2)


# ------------------------------------------------------------------------------- risk


def annual_volatility(returns: npt.ArrayLike, *, periods: int = SESSIONS_PER_YEAR) -> float | None:
    """Sample deviation of the returns times the root of ``periods``."""
    r = _present(_checked(returns))
    return _finite_or_none(r.std(ddof=1) * math.sqrt(periods)) if len(r) > 1 else None


def sharpe(
    returns: npt.ArrayLike, *, risk_free: float = 0.0, periods: int = SESSIONS_PER_YEAR
) -> float | None:
    """Annual Sharpe ratio: mean excess over its sample deviation; ``risk_free`` is per period."""
    per_period = _mean_over_deviation(_present(_checked(returns)) - risk_free)
    return None if per_period is None else per_period * math.sqrt(periods)


def downside_risk(
    returns: npt.ArrayLike, *, required_return: float = 0.0, periods: int = SESSIONS_PER_YEAR
) -> float | None:
    """Annual root mean square of what falls short of ``required_return``, which is per period."""
    r = _present(_checked(returns))
    if not len(r):
        return None
    short = np.minimum(r - required_return, 0.0)
    return _finite_or_none(np.sqrt(np.square(short).mean()) * math.sqrt(periods))


def sortino(
    returns: npt.ArrayLike, *, required_return: float = 0.0, periods: int = SESSIONS_PER_YEAR
) -> float | None:
    """Annual mean excess over the annual downside risk; ``required_return`` is per period."""
    r = _checked(returns)
    present = _present(r)
    if len(r) < 2 or not len(present):
        return None
    excess = float((present - required_return).mean()) * periods
    return _ratio(excess, downside_risk(r, required_return=required_return, periods=periods))


def omega(
    returns: npt.ArrayLike,
    *,
    risk_free: float = 0.0,
    required_return: float = 0.0,
    periods: int = SESSIONS_PER_YEAR,
) -> float | None:
    """Sum of gains over sum of losses against a threshold.

    ``risk_free`` is per period, ``required_return`` per year unless ``periods`` is 1.
    """
    r = _checked(returns)
    if len(r) < 2 or (periods != 1 and required_return <= -1.0):
        return None
    daily = required_return if periods == 1 else (1.0 + required_return) ** (1.0 / periods) - 1.0
    excess = _present(r) - risk_free - daily
    return _ratio(float(excess[excess > 0].sum()), float(-excess[excess < 0].sum()))


def gain_to_pain(returns: npt.ArrayLike) -> float | None:
    """Sum of all returns over the sum of the losses (Schwager 2012, who takes monthly returns)."""
    r = _present(_checked(returns))
    return _ratio(float(r.sum()), float(-r[r < 0].sum()))


def value_at_risk(returns: npt.ArrayLike, *, cutoff: float = _TAIL) -> float | None:
    """Return that a share ``cutoff`` of the periods falls below, by linear interpolation."""
    r = _checked(returns)
    return _finite_or_none(np.percentile(r, 100 * cutoff)) if _complete(r) else None


def conditional_value_at_risk(returns: npt.ArrayLike, *, cutoff: float = _TAIL) -> float | None:
    """Mean of the worst ``cutoff`` of the periods, at least of the worst one."""
    r = np.sort(_present(_checked(returns)))
    return float(r[: int((len(r) - 1) * cutoff) + 1].mean()) if len(r) else None


def tail_ratio(returns: npt.ArrayLike) -> float | None:
    """Size of the 95th percentile over that of the 5th; 0.25: bad days are four times the good."""
    r = _present(_checked(returns))
    if not len(r):
        return None
    low, high = np.abs(np.percentile(r, [5, 95]))
    return _ratio(float(high), float(low))


def skewness(returns: npt.ArrayLike) -> float | None:
    """Third standardised moment, population form (``scipy.stats.skew``)."""
    return _moment(_checked(returns), 3)


def kurtosis(returns: npt.ArrayLike) -> float | None:
    """Fourth standardised moment less 3, population form (``scipy.stats.kurtosis``)."""
    fourth = _moment(_checked(returns), 4)
    return None if fourth is None else fourth - 3.0


# ------------------------------------------------------------------------------- benchmark


def beta(
    returns: npt.ArrayLike, benchmark: npt.ArrayLike, *, risk_free: float = 0.0
) -> float | None:
    """Slope on the benchmark: covariance over its variance; a constant rate changes nothing."""
    r, f = _both_present(*_paired(returns, benchmark))
    r, f = r - risk_free, f - risk_free
    if len(f) < 2:
        return None
    away = f - f.mean()
    variance = float(np.square(away).mean())
    return _ratio(float((away * r).mean()), variance if variance >= _LEAST_VARIANCE else None)


def alpha(
    returns: npt.ArrayLike,
    benchmark: npt.ArrayLike,
    *,
    risk_free: float = 0.0,
    periods: int = SESSIONS_PER_YEAR,
) -> float | None:
    """Annual return beyond beta times the benchmark's, compounded; ``risk_free`` is per period."""
    r, f = _both_present(*_paired(returns, benchmark))
    slope = beta(r, f)
    if slope is None:
        return None
    mean = float((r - risk_free - slope * (f - risk_free)).mean())
    with np.errstate(over="ignore"):
        return None if mean < -1.0 else _finite_or_none(np.float64(1.0 + mean) ** periods - 1.0)


def excess_sharpe(returns: npt.ArrayLike, benchmark: npt.ArrayLike) -> float | None:
    """Information ratio per period: mean lead over the benchmark over the lead's deviation."""
    r, f = _both_present(*_paired(returns, benchmark))
    return _mean_over_deviation(r - f)


def capture(
    returns: npt.ArrayLike, benchmark: npt.ArrayLike, *, periods: int = SESSIONS_PER_YEAR
) -> float | None:
    """Annual return over the benchmark's annual return."""
    r, f = _paired(returns, benchmark)
    return _ratio(annual_return(r, periods=periods), annual_return(f, periods=periods))


def up_capture(
    returns: npt.ArrayLike, benchmark: npt.ArrayLike, *, periods: int = SESSIONS_PER_YEAR
) -> float | None:
    """:func:`capture` over the periods in which the benchmark rose."""
    r, f = _both_present(*_paired(returns, benchmark))
    return capture(r[f > 0], f[f > 0], periods=periods)


def down_capture(
    returns: npt.ArrayLike, benchmark: npt.ArrayLike, *, periods: int = SESSIONS_PER_YEAR
) -> float | None:
    """:func:`capture` over the periods in which the benchmark fell."""
    r, f = _both_present(*_paired(returns, benchmark))
    return capture(r[f < 0], f[f < 0], periods=periods)


def batting_average(
    returns: npt.ArrayLike, benchmark: npt.ArrayLike
) -> tuple[float | None, float | None, float | None]:
    """Share of periods that beat the benchmark: of all, of those it did not fall in, of the rest."""
    r, f = _both_present(*_paired(returns, benchmark))
    beaten = r - f > 0
    parts = (beaten, beaten[f >= 0], beaten[f < 0])
    all_periods, up, down = (float(part.mean()) if len(part) else None for part in parts)
    return all_periods, up, down


# ------------------------------------------------------------------------------- windows


def aggregate_returns(
    returns: npt.ArrayLike, sessions: Sequence[date], by: Calendar
) -> dict[tuple[int, ...], float]:
    """Compound returns within calendar periods.

    Gives ``(year,)``, ``(year, quarter)``, ``(year, month)`` or ``(ISO year, ISO week)`` to the
    period's return as a decimal, in order. Periods without a session are not there.

    Raises
    ------
    ConfigError
        If there is not one session per return.
    """
    r = _checked(returns)
    if len(r) != len(sessions):
        raise ConfigError(
            f"{len(r)} returns of {len(sessions)} sessions", hint="give one session per return"
        )
    periods: dict[tuple[int, ...], list[int]] = {}
    for position, session in enumerate(sessions):
        periods.setdefault(_PERIOD_OF[by](session), []).append(position)
    return {key: float(_growth(r[rows])[-1] - 1.0) for key, rows in periods.items()}


def rolling(
    metric: Callable[[Floats], float | None], returns: npt.ArrayLike, window: int
) -> list[float | None]:
    """Apply a metric to every window of that many periods; n - window + 1 values, oldest first."""
    r = _checked(returns)
    if window < 1:
        raise ConfigError(f"window {window}", hint="give at least one period")
    return [metric(r[end - window : end]) for end in range(window, len(r) + 1)]


_PERIOD_OF: Final[dict[Calendar, Callable[[date], tuple[int, ...]]]] = {
    "weekly": lambda day: day.isocalendar()[:2],
    "monthly": lambda day: (day.year, day.month),
    "quarterly": lambda day: (day.year, (day.month + 2) // 3),
    "yearly": lambda day: (day.year,),
}


# ------------------------------------------------------------------------------- parts


def _checked(returns: npt.ArrayLike) -> Floats:
    r = np.asarray(returns, dtype=np.float64)
    if r.ndim != 1 or np.isinf(r).any():
        raise ConfigError(
            f"returns of shape {r.shape} with {int(np.isinf(r).sum())} infinite value(s)",
            hint="give one finite return, or NaN, per period",
        )
    return r


def _paired(returns: npt.ArrayLike, benchmark: npt.ArrayLike) -> tuple[Floats, Floats]:
    r, f = _checked(returns), _checked(benchmark)
    if len(r) != len(f):
        raise ConfigError(
            f"{len(r)} returns cannot be paired with {len(f)} of the benchmark",
            hint="give both over the same periods",
        )
    return r, f


def _both_present(r: Floats, f: Floats) -> tuple[Floats, Floats]:
    known = ~(np.isnan(r) | np.isnan(f))
    return r[known], f[known]


def _present(r: Floats) -> Floats:
    return r[~np.isnan(r)]


def _complete(r: Floats) -> bool:
    return bool(len(r)) and not bool(np.isnan(r).any())


def _growth(r: Floats) -> Floats:
    """Value of one dollar after each period."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.cumprod(1.0 + np.nan_to_num(r, nan=0.0)), dtype=np.float64)


def _mean_over_deviation(values: Floats) -> float | None:
    """Mean over sample deviation; equal values have none, whatever rounding leaves of it."""
    if len(values) < 2 or values.min() == values.max():
        return None
    return _ratio(float(values.mean()), float(values.std(ddof=1)))


def _moment(r: Floats, order: int) -> float | None:
    """Standardised central moment; unknown where rounding is all that varies, as in SciPy."""
    if not _complete(r):
        return None
    away = r - r.mean()
    variance = float(np.square(away).mean())
    # SciPy's own bound for "nearly identical data".
    if variance <= (np.finfo(np.float64).eps * float(r.mean())) ** 2:
        return None
    return _finite_or_none(float((away**order).mean()) / variance ** (order / 2))


def _ratio(above: float | None, below: float | None) -> float | None:
    if above is None or not below:
        return None
    with np.errstate(over="ignore"):
        return _finite_or_none(np.float64(above) / below)


def _absolute(value: float | None) -> float | None:
    return None if value is None else abs(value)


def _finite_or_none(value: float | np.float64) -> float | None:
    return float(value) if math.isfinite(value) else None
