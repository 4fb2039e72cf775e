r"""Statistics of closed trades and of equity, with the definitions of backtesting.py 0.6.6.

Money is in dollars after all costs. A trade's **return** is its P&L over its capital at risk
(:attr:`~spy_assets.simulator.kernel.Trade.pnl_pct`), a decimal. Durations are calendar time between
fills, as there. What cannot be known is ``None``: no trades, nothing lost, nothing that varies.

Two of its numbers mislead where options are traded, and are ``None`` here instead: the geometric
average trade, which it calls 0 as soon as one trade loses its whole risk, and the Kelly fraction of a
record with no win or no loss. Its profit factor is of returns; the one of dollars stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import BacktestResult
from spy_assets.evaluation.statistics import (
    Floats,
    Interval,
    bootstrap_mean,
    wilson_interval,
)
from spy_assets.simulator.kernel import Trade

Key = TypeVar("Key")


@dataclass(frozen=True)
class TradeMetrics:
    """What a list of trades says.

    Attributes
    ----------
    trades, wins
        Their numbers; a win earned more than nothing after costs.
    win_rate
        Share of wins with its Wilson interval at 95 %.
    net_pnl
        Dollars.
    best, worst
        Best and worst trade return.
    average
        Geometric mean of the trade returns.
    expectancy
        Arithmetic mean of the trade returns.
    average_pnl
        Mean P&L in dollars with its bootstrap interval at 95 %; needs two trades.
    average_win, average_loss
        Dollars; the loss is negative.
    risk_reward
        Average win over average loss, both in dollars.
    profit_factor, profit_factor_of_returns
        Sum of gains over sum of losses, in dollars and in returns.
    sqn
        System quality number (Tharp 2008): root of n times mean over deviation of P&L.
    kelly
        Kelly fraction (1956): win rate less loss rate over ``risk_reward``.
    longest, mean_duration
        Time from first to last fill.
    """

    trades: int
    wins: int
    win_rate: Interval | None
    net_pnl: float
    best: float | None
    worst: float | None
    average: float | None
    expectancy: float | None
    average_pnl: Interval | None
    average_win: float | None
    average_loss: float | None
    risk_reward: float | None
    profit_factor: float | None
    profit_factor_of_returns: float | None
    sqn: float | None
    kelly: float | None
    longest: timedelta | None
    mean_duration: timedelta | None

    def as_dict(self) -> dict[str, Any]:
        """Name to value, ready for JSON; durations in days."""
        values = asdict(self)
        for name in ("longest", "mean_duration"):
            if values[name] is not None:
                values[name] = values[name] / timedelta(days=1)
        return values


@dataclass(frozen=True)
class EquityMetrics:
    """What an equity curve says about time spent in the market and under water.

    ``exposure`` is the share of points with an open position, a decimal. A drawdown lasts from its
    peak to the first point back at it, or to the end; depths are positive decimals of the peak. A
    drawdown of a single point has no duration, as in backtesting.py.
    """

    exposure: float | None
    max_drawdown: float
    average_drawdown: float | None
    longest_drawdown: timedelta | None
    mean_drawdown_duration: timedelta | None


def trade_metrics(trades: Sequence[Trade], *, seed: int = 0) -> TradeMetrics:
    """Summarise closed trades; see :func:`metrics_of` for plain arrays."""
    return metrics_of(
        [trade.pnl for trade in trades],
        [trade.pnl_pct for trade in trades],
        [trade.exit_time - trade.entry_time for trade in trades],
        seed=seed,
    )


def metrics_of(
    pnl: npt.ArrayLike,
    returns: npt.ArrayLike,
    durations: Sequence[timedelta],
    *,
    seed: int = 0,
) -> TradeMetrics:
    """Summarise trades given as columns: dollars, decimals and times, one per trade.

    Raises
    ------
    ConfigError
        If the columns differ in length or hold what is not finite.
    """
    gains, rates = (np.asarray(column, dtype=np.float64) for column in (pnl, returns))
    if not len(gains) == len(rates) == len(durations):
        raise ConfigError(
            f"{len(gains)} P&Ls, {len(rates)} returns, {len(durations)} durations",
            hint="give one of each per trade",
        )
    if not (np.isfinite(gains).all() and np.isfinite(rates).all()):
        raise ConfigError("a trade's P&L or return is not finite", hint="leave open trades out")
    won, lost = gains[gains > 0], gains[gains < 0]
    count, wins = len(gains), len(won)
    reward = _ratio(_mean(won), _negative(_mean(lost)))
    return TradeMetrics(
        trades=count,
        wins=wins,
        win_rate=wilson_interval(wins, count) if count else None,
        net_pnl=float(gains.sum()),
        best=float(rates.max()) if count else None,
        worst=float(rates.min()) if count else None,
        average=_geometric_mean(rates),
        expectancy=_mean(rates),
        average_pnl=bootstrap_mean(gains, seed=seed, mean_block=1.0) if count > 1 else None,
        average_win=_mean(won),
        average_loss=_mean(lost),
        risk_reward=reward,
        profit_factor=_ratio(float(won.sum()), float(-lost.sum())),
        profit_factor_of_returns=_ratio(
            float(rates[rates > 0].sum()), float(-rates[rates < 0].sum())
        ),
        sqn=_sqn(gains),
        kelly=None if not reward else wins / count - (1 - wins / count) / reward,
        longest=max(durations, default=None),
        mean_duration=sum(durations, timedelta()) / count if count else None,
    )


def metrics_by(groups: Mapping[Key, Sequence[Trade]]) -> dict[Key, TradeMetrics]:
    """Summarise each group of trades; see :func:`by_structure`."""
    return {key: trade_metrics(trades) for key, trades in groups.items()}


def by_structure(trades: Iterable[Trade]) -> dict[str, list[Trade]]:
    """Trades of each structure, structures in alphabetical order."""
    groups: dict[str, list[Trade]] = {}
    for trade in sorted(trades, key=lambda one: one.structure):
        groups.setdefault(trade.structure, []).append(trade)
    return groups


def equity_metrics(
    equity: npt.ArrayLike,
    times: Sequence[date],
    held: Iterable[tuple[int, int]] | None = None,
) -> EquityMetrics:
    """Measure an equity curve.

    Parameters
    ----------
    equity
        Dollars at each point, shape ``[n]``, the first above zero.
    times
        Session or moment of each point.
    held
        First and last point of each position, both included; ``None`` if unknown.

    Raises
    ------
    ConfigError
        If there is not one time per point, or the curve is empty or starts at or below zero.
    """
    curve = np.asarray(equity, dtype=np.float64)
    if len(curve) != len(times) or not len(curve) or curve[0] <= 0:
        raise ConfigError(
            f"{len(curve)} points of equity at {len(times)} times",
            hint="give one time per point, and a first point above zero",
        )
    fall = 1.0 - curve / np.maximum.accumulate(curve)
    spells = _drawdowns(fall)
    lengths = [times[end] - times[start] for start, end in spells]
    depths = [float(fall[start : end + 1].max()) for start, end in spells]
    return EquityMetrics(
        exposure=None if held is None else _exposure(len(curve), held),
        max_drawdown=float(fall.max()),
        average_drawdown=_mean(np.array(depths)),
        longest_drawdown=max(lengths, default=None),
        mean_drawdown_duration=sum(lengths, timedelta()) / len(lengths) if lengths else None,
    )


def equity_metrics_of(result: BacktestResult) -> EquityMetrics:
    """Measure a backtest, the capital at the first decision left out.

    Exposure is unknown for the mean of several runs, whose positions overlap.
    """
    position = {session: at for at, session in enumerate(result.sessions)}
    held = [
        (position[trade.entry_session], position[trade.exit_session])
        for trade in result.trades
        if trade.entry_session in position and trade.exit_session in position
    ]
    return equity_metrics(result.equity[1:], result.sessions, held if result.runs == 1 else None)


def _drawdowns(fall: Floats) -> list[tuple[int, int]]:
    """First and last point of each spell under water that lasts longer than one step."""
    dry = np.unique(np.append(np.flatnonzero(fall == 0), len(fall) - 1))
    return [(int(a), int(b)) for a, b in pairwise(dry) if b > a + 1]


def _exposure(points: int, held: Iterable[tuple[int, int]]) -> float:
    busy = np.zeros(points, dtype=np.bool_)
    for first, last in held:
        busy[first : last + 1] = True
    return float(busy.mean())


def _geometric_mean(rates: Floats) -> float | None:
    """Geometric mean of returns; unknown without any, or where one lost everything."""
    if not len(rates) or rates.min() <= -1.0:
        return None
    return float(np.expm1(np.log1p(rates).mean()))


def _sqn(gains: Floats) -> float | None:
    if len(gains) < 2 or gains.min() == gains.max():
        return None
    return _ratio(math.sqrt(len(gains)) * float(gains.mean()), float(gains.std(ddof=1)))


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below
