"""What to improve next, in the order of the first week's rule, from numbers only.

The order is fixed (inventory S1-48): risk, entry timing, market filters, ensemble, more assets, and
preference learning only once the strategy earns. A topic without evidence has no recommendation, and
each recommendation says the numbers it rests on and whether they prove anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from spy_assets.evaluation.breakdown import (
    Dimension,
    LossCluster,
    Regimes,
    loss_clusters,
    mean_interval,
)
from spy_assets.evaluation.seed_spread import SeedSpread
from spy_assets.evaluation.statistics import Interval
from spy_assets.simulator.kernel import Trade

Topic = Literal[
    "risk", "entry timing", "market filters", "ensemble", "more assets", "preference learning"
]
#: First to last.
PRIORITIES: Final[tuple[Topic, ...]] = (
    "risk", "entry timing", "market filters", "ensemble", "more assets", "preference learning",
)  # fmt: skip
_TOPIC_OF: Final[dict[Dimension, Topic]] = {
    "structure": "risk",
    "premium": "risk",
    "units": "risk",
    "hour": "entry timing",
    "weekday": "entry timing",
    "regime": "market filters",
}
#: The worst tenth of the losses should not be half of all; of exponential ones it is a third.
_TAIL: Final = 0.10
_TAIL_SHARE: Final = 0.50
_LEAST_LOSSES: Final = 3
#: Drawdown at which the risk layer halts.
_DEEP: Final = 0.10
#: Share of profitable runs between which seeds disagree.
_DISAGREE: Final = (0.25, 0.75)


@dataclass(frozen=True)
class Recommendation:
    """One step: ``priority`` from 1, its topic, a sentence with its numbers, whether it is proven."""

    priority: int
    topic: Topic
    text: str
    proven: bool


def recommendations(
    trades: Sequence[Trade],
    *,
    regimes: Regimes | None = None,
    spread: SeedSpread | None = None,
    max_drawdown: float | None = None,
    level: float = 0.95,
) -> tuple[Recommendation, ...]:
    """Say what the numbers call for, most urgent first; empty where they call for nothing.

    Parameters
    ----------
    trades
        Closed trades.
    regimes
        Session to regime, as for :func:`~spy_assets.evaluation.breakdown.loss_clusters`.
    spread
        Net P&L of several seeds, if several were run.
    max_drawdown
        Of the account, a positive decimal.
    level
        Of all intervals.
    """
    pnl = np.array([trade.pnl for trade in trades], dtype=np.float64)
    mean = mean_interval(pnl.tolist(), level=level)
    found = [*_tail(pnl), *_drawdown(max_drawdown)]
    found += [_cluster(one) for one in loss_clusters(trades, regimes=regimes, level=level)]
    found += [*_seeds(spread), *_sample(pnl, mean), *_preferences(mean)]
    return tuple(sorted(found, key=lambda one: one.priority))


def _step(topic: Topic, text: str, *, proven: bool) -> Recommendation:
    return Recommendation(PRIORITIES.index(topic) + 1, topic, text, proven)


def _tail(pnl: np.ndarray) -> list[Recommendation]:
    losses = np.sort(pnl[pnl < 0])
    worst = losses[: math.ceil(_TAIL * len(losses))]
    if len(losses) < _LEAST_LOSSES or worst.sum() / losses.sum() < _TAIL_SHARE:
        return []
    text = (
        f"the worst {len(worst)} of {len(losses)} losing trades made {worst.sum() / losses.sum():.0%} "
        f"of all losses (${-worst.sum():,.0f} of ${-losses.sum():,.0f}): smaller size or an earlier "
        "stop acts there"
    )
    return [_step("risk", text, proven=True)]


def _drawdown(depth: float | None) -> list[Recommendation]:
    if depth is None or depth < _DEEP:
        return []
    text = f"the account fell {depth:.1%} from its peak, limit {_DEEP:.0%}: trade smaller"
    return [_step("risk", text, proven=True)]


def _cluster(cluster: LossCluster) -> Recommendation:
    group = cluster.group
    certainty = "" if group.mean is None else f", mean {_words(group.mean)}"
    verdict = "avoid it" if cluster.proven else "watch it, chance could do this"
    text = (
        f"{group.dimension.replace('_', ' ')} {group.value}: {cluster.share_of_trades:.0%} of the "
        f"trades ({group.trades}), {cluster.share_of_losses:.0%} of the losses "
        f"(${cluster.lost:,.0f}){certainty} among {cluster.tests} groups: {verdict}"
    )
    return _step(_TOPIC_OF[group.dimension], text, proven=cluster.proven)


def _seeds(spread: SeedSpread | None) -> list[Recommendation]:
    if spread is None or not _DISAGREE[0] <= spread.positive <= _DISAGREE[1]:
        return []
    text = (
        f"{spread.positive:.0%} of {spread.seeds * spread.windows} runs ({spread.seeds} seeds, "
        f"{spread.windows} windows) earned, interquartile mean {_words(spread.iqm)}: one seed is "
        "chance, let several vote"
    )
    return [_step("ensemble", text, proven=spread.seeds > 1)]


def _sample(pnl: np.ndarray, mean: Interval | None) -> list[Recommendation]:
    """More trades would prove a mean that is positive and not proven yet."""
    if mean is None or mean.estimate <= 0 or mean.above_zero:
        return []
    needed = math.ceil(len(pnl) * ((mean.high - mean.estimate) / mean.estimate) ** 2)
    text = (
        f"{len(pnl)} trades earned {_words(mean)} each; at this mean and spread about {needed:,} would "
        "prove it: more assets bring them sooner"
    )
    return [_step("more assets", text, proven=False)]


def _preferences(mean: Interval | None) -> list[Recommendation]:
    if mean is None or not mean.above_zero:
        return []
    text = f"the strategy earns {_words(mean)} a trade: preferences can refine what is profitable"
    return [_step("preference learning", text, proven=True)]


def _words(interval: Interval) -> str:
    return (
        f"${interval.estimate:,.2f} [{interval.low:,.2f}, {interval.high:,.2f}] at "
        f"{interval.level:.1%}"
    )
