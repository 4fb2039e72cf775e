"""Exit rules: an ordered chain, evaluated in event time; the first rule that fires names the exit.

Rules are asked at a mark: a session's close on the daily clock, a bar's end on the intraday one. The
order goes out then and fills at the next fill time, so that a loss can exceed the stop. Expiry is
settled by the clock before any rule is asked. Chains are in this order, the most urgent first, so that
an exit for which there are several reasons carries the gravest:

1. stop          :class:`StopLoss`, :class:`CreditStop`, :class:`SpotMove`
2. target        :class:`ProfitTarget`
3. trailing      :class:`TrailingStop`
4. time          :class:`MaxHold` (sessions), :class:`TimeStop` (minutes)
5. near expiry   :class:`NearExpiry`
6. model         :class:`ModelExit`

Percentages are P&L after costs so far over the premium
(:attr:`~spy_assets.simulator.kernel.Position.pnl_of_premium`): over what was paid for a debit, over
what was received for a credit. Multiples are of the credit. :data:`CHAINS` has the chains of the
projects that this one grew out of, each number with its source.

No rule reads a clock (D-45: a holding time taken from the machine's clock made replays differ from
live). What a rule must know beside the position and the spot is a :class:`HoldingState` that the clock
of the simulation passes in; a rule that is not told what it needs refuses to answer, instead of never
firing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from spy_assets.errors import ConfigError
from spy_assets.simulator.kernel import Position


class HoldingState(NamedTuple):
    """What the clock knows of an open position; NaN is what it does not say.

    Attributes
    ----------
    peak_of_premium
        Highest P&L over premium at any mark since the entry, this one included.
    minutes_held
        Minutes of trading since the entry's fill; nights and weekends do not count.
    minutes_to_expiry
        Minutes of trading to the close of the expiry session.
    sessions_to_expiry
        Closes from this one to that of the expiry session; 0 in the expiry session.
    exit_probability
        A model's probability that closing now is better than holding.
    """

    peak_of_premium: float = math.nan
    minutes_held: float = math.nan
    minutes_to_expiry: float = math.nan
    sessions_to_expiry: float = math.nan
    exit_probability: float = math.nan


#: A clock that says nothing.
UNTOLD: Final = HoldingState()


class ExitRule(Protocol):
    """One rule of the chain."""

    @property
    def name(self) -> str:
        """The exit reason that is stored."""
        ...

    def fires(self, position: Position, spot: float, state: HoldingState = UNTOLD) -> bool:
        """Whether the position should be closed, given its mark and the underlying's price."""
        ...


def _told(rule: ExitRule, name: str, value: float) -> float:
    if math.isnan(value):
        raise ConfigError(
            f"the exit rule {rule.name!r} needs {name}, which this clock does not give",
            hint="pass it in a HoldingState, or take the rule out of the chain",
        )
    return value


@dataclass(frozen=True, slots=True)
class StopLoss:
    """Loss limit: a fraction of the premium paid (debit) or of the credit received (credit)."""

    of_debit: float = 0.30
    of_credit: float = 1.00
    name: str = "stop_loss"

    def fires(
        self,
        position: Position,
        spot: float,  # noqa: ARG002
        state: HoldingState = UNTOLD,  # noqa: ARG002
    ) -> bool:
        """Whether the loss has reached the limit."""
        limit = self.of_debit if position.entry_value > 0.0 else self.of_credit
        return position.pnl_of_premium <= -limit


@dataclass(frozen=True, slots=True)
class CreditStop:
    """Stop of a credit structure: closing costs ``multiple`` times what was received.

    At a multiple of 3 two credits are lost. Measured at mid, as premium sellers quote it; a debit
    structure never stops by it.
    """

    multiple: float = 3.0
    name: str = "stop_loss"

    def __post_init__(self) -> None:
        if not 1.0 < self.multiple < math.inf:
            raise ConfigError(
                f"credit multiple {self.multiple} is not above 1",
                hint="at 1 the position would be closed for what it was opened for",
            )

    def fires(
        self,
        position: Position,
        spot: float,  # noqa: ARG002
        state: HoldingState = UNTOLD,  # noqa: ARG002
    ) -> bool:
        """Whether the cost to close has reached the multiple."""
        return position.entry_value < 0.0 and position.mark <= self.multiple * position.entry_value


@dataclass(frozen=True, slots=True)
class ProfitTarget:
    """Profit target: a fraction of the premium paid (debit) or of the credit received (credit)."""

    of_debit: float = 0.50
    of_credit: float = 0.50
    name: str = "profit_target"

    def fires(
        self,
        position: Position,
        spot: float,  # noqa: ARG002
        state: HoldingState = UNTOLD,  # noqa: ARG002
    ) -> bool:
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

    def fires(
        self,
        position: Position,
        spot: float,
        state: HoldingState = UNTOLD,  # noqa: ARG002
    ) -> bool:
        """Whether the underlying left the band."""
        return not self.down < spot / position.spot_entry - 1.0 < self.up


@dataclass(frozen=True, slots=True)
class TrailingStop:
    """Give back at most ``trail`` of the premium, once the profit was ``arm`` of it."""

    arm: float = 0.10
    trail: float = 0.05
    name: str = "trailing_stop"

    def __post_init__(self) -> None:
        if not (self.arm > 0.0 and self.trail > 0.0):
            raise ConfigError(
                f"trailing stop armed at {self.arm} by {self.trail}", hint="both are above 0"
            )

    def fires(
        self,
        position: Position,
        spot: float,  # noqa: ARG002
        state: HoldingState = UNTOLD,
    ) -> bool:
        """Whether it is armed and the profit has fallen by the trail."""
        peak = _told(self, "peak_of_premium", state.peak_of_premium)
        return peak >= self.arm and position.pnl_of_premium <= peak - self.trail


@dataclass(frozen=True, slots=True)
class MaxHold:
    """Longest holding time in sessions, counted in closes; the exit fills at the next fill time."""

    sessions: int = 5
    name: str = "max_hold"

    def fires(
        self,
        position: Position,
        spot: float,  # noqa: ARG002
        state: HoldingState = UNTOLD,  # noqa: ARG002
    ) -> bool:
        """Whether the position was held through that many closes."""
        return position.closes_held >= self.sessions


@dataclass(frozen=True, slots=True)
class TimeStop:
    """Longest holding time in minutes of trading."""

    minutes: float = 45.0
    name: str = "time_stop"

    def fires(
        self,
        position: Position,  # noqa: ARG002
        spot: float,  # noqa: ARG002
        state: HoldingState = UNTOLD,
    ) -> bool:
        """Whether the position was held that long."""
        return _told(self, "minutes_held", state.minutes_held) >= self.minutes


@dataclass(frozen=True, slots=True)
class NearExpiry:
    """Close ahead of expiry: so many minutes of trading, or so many closes, before it.

    Either may be left out. ``sessions = 0`` closes in the expiry session, 1 from the close before.
    """

    minutes: float | None = 30.0
    sessions: int | None = None
    name: str = "near_expiry"

    def __post_init__(self) -> None:
        if self.minutes is None and self.sessions is None:
            raise ConfigError("near expiry of no minutes and no sessions never fires")

    def fires(
        self,
        position: Position,  # noqa: ARG002
        spot: float,  # noqa: ARG002
        state: HoldingState = UNTOLD,
    ) -> bool:
        """Whether expiry is that near."""
        if self.minutes is not None:
            left = _told(self, "minutes_to_expiry", state.minutes_to_expiry)
            if left <= self.minutes:
                return True
        if self.sessions is None:
            return False
        closes = _told(self, "sessions_to_expiry", state.sessions_to_expiry)
        return closes <= self.sessions


@dataclass(frozen=True, slots=True)
class ModelExit:
    """Close on a model's word: its exit probability is above ``threshold``.

    The rules above it come first, so that a model can end a position early and never keep one. Where
    the model says nothing (NaN), nothing happens: it is the one rule that may be without an input.
    """

    threshold: float = 0.55
    name: str = "model_exit"

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ConfigError(f"exit probability {self.threshold} does not lie in 0..1")

    def fires(
        self,
        position: Position,  # noqa: ARG002
        spot: float,  # noqa: ARG002
        state: HoldingState = UNTOLD,
    ) -> bool:
        """Whether the model wants out."""
        return state.exit_probability > self.threshold


@dataclass(frozen=True, slots=True)
class ExitRules:
    """The ordered chain, and the holding time by which observation 14 is scaled."""

    chain: tuple[ExitRule, ...] = (StopLoss(), ProfitTarget(), MaxHold())
    max_hold: int = 5

    def __post_init__(self) -> None:
        if self.max_hold < 1:
            raise ConfigError(f"max_hold {self.max_hold} is not a number of sessions")

    def first(self, position: Position, spot: float, state: HoldingState = UNTOLD) -> str | None:
        """Name of the first rule that fires, or None.

        Raises
        ------
        ConfigError
            If a rule needs what ``state`` does not say.
        """
        for rule in self.chain:
            if rule.fires(position, spot, state):
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

#: Chains of the projects that this one grew out of (inventory C-07), each with where its numbers are.
CHAINS: dict[str, ExitRules] = {
    # README of the rltrade project: STOP_LOSS 30 %, TAKE_PROFIT 50 %, MAX_HOLDING 5 days.
    "rltrade": DEFAULT_RULES,
    # Spymaster's notes name no exits; its backtest runner closes at -50 % and +100 % of the premium.
    # Its options expire the same day, and it trades nothing in the last 30 minutes.
    "spymaster": ExitRules(
        (StopLoss(0.50, 0.50), ProfitTarget(1.00, 1.00), NearExpiry(minutes=30.0))
    ),
    # config.json in the README of the gaussian system: stop_loss_pct 8, take_profit_pct 15,
    # max_hold_minutes 45; with it a trail of 4 % from +8 %, and out 30 minutes before expiry.
    "gaussian": ExitRules(
        (
            StopLoss(0.08, 0.08),
            ProfitTarget(0.15, 0.15),
            TrailingStop(0.08, 0.04),
            TimeStop(45.0),
            NearExpiry(minutes=30.0),
            ModelExit(0.55),
        )
    ),
    # The same system's defaults in code: -15 %, +40 %, 240 minutes, a trail of 5 % from +10 %; its
    # exit model acts above a probability of 0.55.
    "gaussian_defaults": ExitRules(
        (
            StopLoss(0.15, 0.15),
            ProfitTarget(0.40, 0.40),
            TrailingStop(0.10, 0.05),
            TimeStop(240.0),
            NearExpiry(minutes=30.0),
            ModelExit(0.55),
        )
    ),
    # The short-premium plan (SPY0DTEEnvironment): held to the close unless it costs a multiple of the
    # credit. This is its middle one; see :data:`CREDIT_MULTIPLES`.
    "short_premium": ExitRules((CreditStop(4.0),)),
}

#: Stop of the short-premium plan by how risky the market is. Its code had 3, 4 and 5 the other way
#: round, so that the stop was widest where a move was likeliest (D-19); here more risk is never a
#: wider stop.
CREDIT_MULTIPLES: Final[dict[str, float]] = {"LOW": 5.0, "MEDIUM": 4.0, "HIGH": 3.0}


def exit_preset(name: str) -> ExitRules:
    """Look a chain up.

    Raises
    ------
    ConfigError
        If there is none of that name; the message lists them.
    """
    if name not in CHAINS:
        raise ConfigError(f"no exit chain {name!r}", hint=f"choose of: {', '.join(CHAINS)}")
    return CHAINS[name]


def short_premium_rules(risk: str) -> ExitRules:
    """The short-premium chain for a market whose risk is ``"LOW"``, ``"MEDIUM"`` or ``"HIGH"``.

    Raises
    ------
    ConfigError
        If there is no such level.
    """
    if risk not in CREDIT_MULTIPLES:
        raise ConfigError(
            f"no risk level {risk!r}", hint=f"choose of: {', '.join(CREDIT_MULTIPLES)}"
        )
    return ExitRules((CreditStop(CREDIT_MULTIPLES[risk]),))
