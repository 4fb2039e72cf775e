"""Where the profit and the losses are: by regime, hour, weekday, structure, exit and holding time.

Each group has its number of trades, its mean P&L with Student's t interval (dollars a trade, after all
costs), and its win rate with Wilson's. A group of one trade has no interval. Groups are small and many,
and the best of many groups looks good by chance: a table's intervals are each group's own, and only
:func:`loss_clusters` divides the level by how many groups it looked at (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Final, Literal, get_args

import numpy as np

from spy_assets.errors import ConfigError
from spy_assets.evaluation.statistics import Interval, wilson_interval
from spy_assets.options.structures import legs_for, risk_profile
from spy_assets.sessions import NEW_YORK
from spy_assets.simulator.kernel import Trade

Dimension = Literal[
    "structure", "premium", "regime", "weekday", "hour", "units", "exit_reason", "holding"
]
#: Session of the decision to the regime that was known then; ``None`` where it was not.
Regimes = Mapping[date, str | None]

DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)
#: What was known at the entry: how a trade ended is no place to look for why it lost.
ENTRY_DIMENSIONS: Final[tuple[Dimension, ...]] = DIMENSIONS[:6]
UNKNOWN: Final = "unknown"
#: Fewer trades are no cluster.
DEFAULT_MIN_TRADES: Final = 5
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
#: Whether a payoff is ever positive does not depend on where and when it is.
_ANY_SPOT: Final = 400.0
_ANY_EXPIRY: Final = date(2024, 1, 19)
#: Upper ends of the holding-time groups, in closes held through.
_HOLDING_ENDS: Final = (0, 1, 3, 5, 10)


@dataclass(frozen=True)
class GroupProfit:
    """Trades that share one value of a dimension; dollars after costs."""

    dimension: Dimension
    value: str
    trades: int
    net_pnl: float
    mean: Interval | None
    win_rate: Interval


@dataclass(frozen=True)
class LossCluster:
    """A group that has more of the losses than of the trades.

    Attributes
    ----------
    group
        The trades, their mean at the level divided by ``tests``.
    lost
        Sum of its losing trades, a positive number of dollars.
    share_of_losses, share_of_trades
        Of all trades, decimals.
    tests
        How many groups were looked at.
    """

    group: GroupProfit
    lost: float
    share_of_losses: float
    share_of_trades: float
    tests: int

    @property
    def proven(self) -> bool:
        """Whether its mean is below zero even among so many groups."""
        return self.group.mean is not None and self.group.mean.below_zero

    @property
    def excess(self) -> float:
        """Dollars lost beyond its share of the trades."""
        return self.lost * (1 - self.share_of_trades / self.share_of_losses)


def breakdown(
    trades: Iterable[Trade],
    dimension: Dimension,
    *,
    regimes: Regimes | None = None,
    level: float = 0.95,
) -> tuple[GroupProfit, ...]:
    """Split trades by one dimension, groups in their natural order.

    Parameters
    ----------
    trades
        Closed trades.
    dimension
        ``regime`` and ``weekday`` are those of the decision's session, ``hour`` is that of the entry in
        New York, ``premium`` whether the structure pays (long) or receives it (short), ``units`` the
        size.
    regimes
        Needed for ``regime``; a session that it lacks is of the group ``unknown``.
    level
        Of the intervals.

    Raises
    ------
    ConfigError
        If the dimension is unknown, or is ``regime`` and there are no regimes.
    """
    groups: dict[tuple[int, str], list[Trade]] = {}
    key = _key_of(dimension, regimes)
    for trade in trades:
        groups.setdefault(key(trade), []).append(trade)
    return tuple(
        _profit(dimension, value, members, level) for (_, value), members in sorted(groups.items())
    )


def breakdowns(
    trades: Sequence[Trade], *, regimes: Regimes | None = None, level: float = 0.95
) -> dict[Dimension, tuple[GroupProfit, ...]]:
    """Split by every dimension that has more than one group; without ``regimes`` not by regime."""
    found = {
        dimension: breakdown(trades, dimension, regimes=regimes, level=level)
        for dimension in DIMENSIONS
        if dimension != "regime" or regimes is not None
    }
    return {dimension: groups for dimension, groups in found.items() if len(groups) > 1}


def loss_clusters(
    trades: Sequence[Trade],
    *,
    regimes: Regimes | None = None,
    min_trades: int = DEFAULT_MIN_TRADES,
    level: float = 0.95,
) -> tuple[LossCluster, ...]:
    """Find groups that lose more than their share, proven ones first, then by the excess.

    Looks at what was known at the entry (:data:`ENTRY_DIMENSIONS`). Groups below ``min_trades`` are not
    looked at, so that they cost no level either.
    """
    total = -math.fsum(min(trade.pnl, 0.0) for trade in trades)
    if total <= 0:
        return ()
    candidates = [
        (dimension, group.value)
        for dimension, groups in breakdowns(trades, regimes=regimes).items()
        if dimension in ENTRY_DIMENSIONS
        for group in groups
        if group.trades >= min_trades
    ]
    corrected = 1 - (1 - level) / max(1, len(candidates))
    found = []
    for dimension, value in candidates:
        key = _key_of(dimension, regimes)
        members = [trade for trade in trades if key(trade)[1] == value]
        lost = -math.fsum(min(trade.pnl, 0.0) for trade in members)
        cluster = LossCluster(
            group=_profit(dimension, value, members, corrected),
            lost=lost,
            share_of_losses=lost / total,
            share_of_trades=len(members) / len(trades),
            tests=len(candidates),
        )
        if cluster.share_of_losses > cluster.share_of_trades:
            found.append(cluster)
    return tuple(sorted(found, key=lambda one: (not one.proven, -one.excess)))


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> Interval | None:
    """Mean of independent values with Student's t interval; ``None`` for fewer than two.

    For a few skewed trades it is wider than a bootstrap's, which cannot imagine what it has not seen.
    """
    from scipy.stats import t

    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return None
    mean = float(sample.mean())
    half = float(t.ppf(0.5 + level / 2, len(sample) - 1) * sample.std(ddof=1) / len(sample) ** 0.5)
    return Interval(mean, mean - half, mean + half, level)


@cache
def receives_credit(structure: str) -> bool:
    """Whether opening a structure brings a credit: its payoff at expiry is never above zero.

    >>> from spy_assets.options.structures import STRUCTURES
    >>> [name for name in STRUCTURES if receives_credit(name)]
    ['short_call', 'short_put', 'bull_put_credit', 'bear_call_credit', 'iron_condor']
    """
    legs = legs_for(structure, _ANY_SPOT, _ANY_EXPIRY)
    return bool(legs) and risk_profile(legs, [0.0] * len(legs)).max_profit <= 0.0


def _profit(dimension: Dimension, value: str, trades: Sequence[Trade], level: float) -> GroupProfit:
    pnl = [trade.pnl for trade in trades]
    return GroupProfit(
        dimension=dimension,
        value=value,
        trades=len(pnl),
        net_pnl=math.fsum(pnl),
        mean=mean_interval(pnl, level=level),
        win_rate=wilson_interval(sum(gain > 0 for gain in pnl), len(pnl), level=level),
    )


def _key_of(dimension: Dimension, regimes: Regimes | None) -> Callable[[Trade], tuple[int, str]]:
    """Give the function from a trade to its group's place and name."""
    if dimension == "regime":
        if regimes is None:
            raise ConfigError("no regimes to split by", hint="give the regime of each session")
        return lambda trade: (0, regimes.get(trade.decision_session) or UNKNOWN)
    if dimension not in _KEYS:
        raise ConfigError(f"dimension {dimension!r}", hint=f"choose of: {', '.join(DIMENSIONS)}")
    return _KEYS[dimension]


def _weekday(trade: Trade) -> tuple[int, str]:
    day = trade.decision_session.weekday()
    return day, _WEEKDAYS[day]


def _hour(trade: Trade) -> tuple[int, str]:
    hour = trade.entry_time.astimezone(NEW_YORK).hour
    return hour, f"{hour:02d}:00-{hour:02d}:59"


def _premium(trade: Trade) -> tuple[int, str]:
    """By the structure: a condor whose credit its costs have eaten is short premium still."""
    short = receives_credit(trade.structure)
    return (1, "short premium") if short else (0, "long premium")


def _holding(trade: Trade) -> tuple[int, str]:
    closes = trade.holding_sessions
    first = 0
    for place, end in enumerate(_HOLDING_ENDS):
        if closes <= end:
            return place, f"{first}-{end} closes" if first < end else _counted(end, "close")
        first = end + 1
    return len(_HOLDING_ENDS), f"{first}+ closes"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


_KEYS: Final[dict[str, Callable[[Trade], tuple[int, str]]]] = {
    "structure": lambda trade: (0, trade.structure),
    "premium": _premium,
    "weekday": _weekday,
    "hour": _hour,
    "units": lambda trade: (trade.quantity, _counted(trade.quantity, "unit")),
    "exit_reason": lambda trade: (0, trade.exit_reason),
    "holding": _holding,
}
