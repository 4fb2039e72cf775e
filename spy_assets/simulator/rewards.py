"""The reward of a step and what it is made of, read off the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spy_assets.simulator.kernel import LedgerEntry, Trade


class RewardComponents(NamedTuple):
    """Where a step's reward came from, in reward units; the reward is their sum.

    ``realized_pnl`` is the P&L at mid of the trades closed in the step, over their whole life;
    ``unrealized_change`` the change of the open P&L at mid (so that a closing step gives back what
    earlier steps had counted). Costs are negative. Time decay is in the marks, not a component of
    its own.
    """

    realized_pnl: float
    unrealized_change: float
    commissions: float
    slippage: float
    spread: float
    invalid_action: float

    @property
    def total(self) -> float:
        """Sum from left to right: the reward."""
        return sum(self)


def components_of(
    entries: Iterable[LedgerEntry], trades: Sequence[Trade], scale: float, penalty: float
) -> RewardComponents:
    """Sort a step's ledger entries; ``scale`` is reward per dollar, ``penalty`` in reward units."""
    gross = commissions = slippage = spread = 0.0
    for entry in entries:
        kind = entry.kind
        if kind == "commission":
            commissions += entry.amount
        elif kind == "slippage":
            slippage += entry.amount
        elif kind == "spread":
            spread += entry.amount
        else:
            gross += entry.amount
    realized = 0.0
    for trade in trades:
        realized += trade.gross
    return RewardComponents(
        realized * scale,
        (gross - realized) * scale,
        commissions * scale,
        slippage * scale,
        spread * scale,
        penalty,
    )
