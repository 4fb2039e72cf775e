"""Exit rules: an ordered chain, evaluated at closes; the first rule that fires names the exit.

Defaults follow the rltrade set-up: a debit structure stops at -30 % of the premium paid and takes
+50 %; at most five sessions are held. A credit structure is measured in the credit received: it
stops when the loss is 100 % of the credit (what its spot stop, short strike plus or minus the
credit, loses at expiry) and takes 50 % of it. All percentages are P&L after costs so far, over the
premium (:attr:`~spy_assets.simulator.kernel.Position.pnl_of_premium`).

A rule fires at a close and the order fills at the next fill time, so that a loss can exceed the
stop. Expiry is settled by the clock before any rule is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from spy_assets.errors import ConfigError
from spy_assets.simulator.kernel import Position


class ExitRule(Protocol):
    """One rule of the chain."""

    @property
    def name(self) -> str:
        """The exit reason that is stored."""
        ...

    def fires(self, position: Position, spot: float) -> bool:
        """Whether the position should be closed, given its mark and the underlying's close."""
        ...


@dataclass(frozen=True, slots=True)
class StopLoss:
    """Loss limit: a fraction of the premium paid (debit) or of the credit received (credit)."""

    of_debit: float = 0.30
    of_credit: float = 1.00
    name: str = "stop_loss"

    def fires(self, position: Position, spot: float) -> bool:  # noqa: ARG002
        """Whether the loss has reached the limit."""
        limit = self.of_debit if position.entry_value > 0.0 else self.of_credit
        return position.pnl_of_premium <= -limit


@dataclass(frozen=True, slots=True)
class ProfitTarget:
    """Profit target: a fraction of the premium paid (debit) or of the credit received (credit)."""

    of_debit: float = 0.50
    of_credit: float = 0.50
    name: str = "profit_target"

    def fires(self, position: Position, spot: float) -> bool:  # noqa: ARG002
        """Whether the profit has reached the target."""
        target = self.of_debit if position.entry_value > 0.0 else self.of_credit
        return position.pnl_of_premium >= target


@dataclass(frozen=True, slots=True)
class SpotMove:
    """Underlying's move since entry, as fractions with the sign of the price change.

    Fires at or below ``down`` or at or above ``up``; for example -0.008 and 0.012 for a long call.
    """

    down: float
    up: float
    name: str = "spot_move"

    def fires(self, position: Position, spot: float) -> bool:
        """Whether the underlying left the band."""
        return not self.down < spot / position.spot_entry - 1.0 < self.up


@dataclass(frozen=True, slots=True)
class MaxHold:
    """Longest holding time in sessions, counted in closes; the exit fills at the next fill time."""

    sessions: int = 5
    name: str = "max_hold"

    def fires(self, position: Position, spot: float) -> bool:  # noqa: ARG002
        """Whether the position was held through that many closes."""
        return position.closes_held >= self.sessions


@dataclass(frozen=True, slots=True)
class ExitRules:
    """The ordered chain, and the holding time by which observation 14 is scaled."""

    chain: tuple[ExitRule, ...] = (StopLoss(), ProfitTarget(), MaxHold())
    max_hold: int = 5

    def __post_init__(self) -> None:
        if self.max_hold < 1:
            raise ConfigError(f"max_hold {self.max_hold} is not a number of sessions")

    def first(self, position: Position, spot: float) -> str | None:
        """Name of the first rule that fires, or None."""
        for rule in self.chain:
            if rule.fires(position, spot):
                return rule.name
        return None


def exit_rules(
    stop: float = 0.30,
    target: float = 0.50,
    max_hold: int = 5,
    *,
    credit_stop: float = 1.00,
    credit_target: float = 0.50,
) -> ExitRules:
    """Build the default chain with other numbers; stop, target and holding time in that order."""
    chain = (StopLoss(stop, credit_stop), ProfitTarget(target, credit_target), MaxHold(max_hold))
    return ExitRules(chain, max_hold)


#: Stop, target and longest holding time as documented above.
DEFAULT_RULES = ExitRules()
