"""What of a closed trade a judgement can depend on, as numbers that are zero for doing nothing.

The same numbers come from a row of the ledger and from a trade of the simulator, so that a reward learnt
from the one can be given to the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spy_assets.simulator.kernel import Trade

Vector = npt.NDArray[np.float64]

#: Name -> what it is. All are zero for doing nothing.
FEATURES: Final[Mapping[str, str]] = {
    "gain": "profit over capital at risk, 0 for a loss; at most 3",
    "loss": "loss over capital at risk, positive, 0 for a profit; at most 3",
    "costs": "commissions, spread and slippage over capital at risk; at most 1",
    "holding": "sessions held, over five",
    "risk": "capital at risk over the account's initial capital; at most 1",
    "stopped": "1 if the stop ended it",
    "credit": "1 if a premium was received at the entry",
}
_LONGEST_HOLD: Final = 5.0
_MOST: Final = 3.0
_STOP: Final = "stop_loss"


@dataclass(frozen=True)
class ClosedTrade:
    """A trade as it is compared. Dollars, for all units.

    Attributes
    ----------
    trade_id
        The signal's id, or another name that is unique.
    structure
        Its option structure.
    entry_session, exit_session
        Sessions of the fills.
    exit_reason
        The exit rule that ended it.
    holding_sessions
        Closes held through.
    pnl, costs
        P&L after all costs, and these.
    capital_at_risk
        What could be lost.
    entry_value
        Premium paid; negative where it was received.
    spot_entry, spot_exit
        The underlying at the fills.
    """

    trade_id: str
    structure: str
    entry_session: date
    exit_session: date
    exit_reason: str
    holding_sessions: int
    pnl: float
    costs: float
    capital_at_risk: float
    entry_value: float
    spot_entry: float
    spot_exit: float

    @classmethod
    def of_trade(cls, trade: Trade) -> ClosedTrade:
        """Take a trade of the simulator."""
        return cls(
            trade_id=str(trade.trade_id),
            capital_at_risk=_capital_at_risk(trade.pnl, trade.pnl_pct, trade.entry_value),
            **{name: getattr(trade, name) for name in _SHARED},
        )

    @classmethod
    def of_rows(cls, signal: Mapping[str, Any], outcome: Mapping[str, Any]) -> ClosedTrade:
        """Take a row of ``ledger.signals`` and its row of ``ledger.outcomes``."""
        known = {"structure": signal["structure"], **outcome}
        return cls(
            trade_id=str(outcome["signal_id"]),
            capital_at_risk=_capital_at_risk(
                outcome["pnl"], outcome["pnl_pct"], outcome["entry_value"]
            ),
            **{name: known[name] for name in _SHARED},
        )

    @property
    def return_on_risk(self) -> float:
        """P&L over capital at risk, a decimal."""
        return self.pnl / self.capital_at_risk

    def features(self, capital: float) -> Vector:
        """The numbers of :data:`FEATURES`, for an account of ``capital`` dollars; ``[k]``."""
        earned = self.return_on_risk
        return np.array(
            [
                min(max(earned, 0.0), _MOST),
                min(max(-earned, 0.0), _MOST),
                min(self.costs / self.capital_at_risk, 1.0),
                self.holding_sessions / _LONGEST_HOLD,
                min(self.capital_at_risk / capital, 1.0),
                float(self.exit_reason == _STOP),
                float(self.entry_value < 0.0),
            ]
        )


_SHARED: Final = (
    "structure", "entry_session", "exit_session", "exit_reason", "holding_sessions", "pnl", "costs",
    "entry_value", "spot_entry", "spot_exit",
)  # fmt: skip


def _capital_at_risk(pnl: float, pnl_pct: float, entry_value: float) -> float:
    """Capital at risk, which the ledger stores as the P&L and its share of it, at least a dollar.

    Where both are zero nothing can be told of it but the premium.
    """
    risk = pnl / pnl_pct if pnl_pct else abs(entry_value)
    return max(risk if math.isfinite(risk) else 0.0, 1.0)


def feature_matrix(trades: Sequence[ClosedTrade], capital: float) -> Vector:
    """Features of several trades, ``[n, k]``."""
    rows = [trade.features(capital) for trade in trades]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(FEATURES))
