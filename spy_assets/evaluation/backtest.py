"""Run a policy over a market path in the one simulator and keep what it did.

The clock is the simulator's: decide after the close of session D, fill at the open of D+1, mark at
closes. So the equity curve has one point per session, the capital first, and results of several
strategies over one path can be paired session by session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, NonFiniteOutput
from spy_assets.evaluation.statistics import (
    DailyStatistics,
    Floats,
    TradeStatistics,
    daily_statistics,
    trade_statistics,
)
from spy_assets.models.policy.asking import (
    UNKNOWN,
    DecisionContext,
    Informed,
    Probabilities,
    ask,
)
from spy_assets.simulator.actions import DAILY_7, ActionMap
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import PRESETS, CostModel
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules
from spy_assets.simulator.kernel import Trade
from spy_assets.simulator.market_path import MarketPath

if TYPE_CHECKING:
    from spy_assets.models.policy.train import Trading

Observation = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
#: Gives the action; it sees nothing but the observation and the mask, unless it is :class:`InContext`.
Act = Callable[[Observation, Mask], int]
#: Says whether the account may make this entry now; the last argument is its equity so far, in
#: dollars, the capital first. The risk layer is one.
EntryFilter = Callable[[DailySimulator, int, Sequence[float]], bool]

#: Ledger kinds that are costs.
COST_KINDS = frozenset({"commission", "spread", "slippage"})


@dataclass(frozen=True)
class Venue:
    """Where strategies run against each other: one path, one window, one set of assumptions.

    Attributes
    ----------
    path
        The market.
    start, stop
        First decision's session and the one after the last session, as positions on the path.
    costs, rules, capital, config
        As for :class:`~spy_assets.simulator.daily.DailySimulator`.
    """

    path: MarketPath
    start: int = 0
    stop: int | None = None
    costs: CostModel = PRESETS["rltrade"]
    rules: ExitRules = DEFAULT_RULES
    capital: float = 10_000.0
    config: DailyConfig | None = None

    @classmethod
    def of(cls, path: MarketPath, start: int, stop: int | None, trading: Trading) -> Venue:
        """Where an account that trades like a training's runs."""
        return cls(
            path,
            start,
            stop,
            trading.costs,
            trading.rules,
            trading.capital,
            trading.simulation,
        )

    @cached_property
    def book(self) -> PathBook:
        """What the runs share; pricing it once makes the tenth run as cheap as the walk itself."""
        return PathBook(self.path, self.costs, self.config)

    @cached_property
    def contexts(self) -> tuple[DecisionContext, ...]:
        """What is known at each session's close beside its observation; of the whole path."""
        from spy_assets.models.routing import path_contexts

        return path_contexts(self.path)

    @property
    def actions(self) -> ActionMap:
        """What the numbers of decisions mean here."""
        return self.book.actions

    @property
    def end(self) -> int:
        """Position after the last session."""
        return len(self.path) if self.stop is None else self.stop

    @property
    def sessions(self) -> tuple[date, ...]:
        """Sessions at whose close equity is measured: all but the first decision's."""
        return self.path.sessions[self.start + 1 : self.end]

    def simulator(self) -> DailySimulator:
        """Make a fresh account at the start of the window."""
        return DailySimulator(
            self.path,
            rules=self.rules,
            capital=self.capital,
            start=self.start,
            stop=self.end,
            book=self.book,
        )


@dataclass(frozen=True)
class Decision:
    """What was decided after the close of ``session``.

    ``allowed`` are the actions that the mask allowed, ``requested`` what the strategy wanted; the
    two actions differ where the entry filter said no.
    """

    session: date
    action: int
    requested: int
    allowed: tuple[int, ...]


@dataclass(frozen=True)
class InContext:
    """An :data:`Act` that is told what else is known at each close.

    ``act_in`` is given the context; called without one, as any other act is, it knows nothing of it.
    """

    act_in: Callable[[Observation, Mask, DecisionContext], int]

    def __call__(self, observation: Observation, mask: Mask) -> int:
        """Act where the context is not known."""
        return self.act_in(observation, mask, UNKNOWN)


class Walked:
    """What the equity and the closed trades of a walk say, in whatever record they are kept.

    ``equity`` are dollars, the capital and then the value at each close; ``trades`` have a ``pnl``.
    """

    equity: Floats
    trades: tuple[Any, ...]

    @cached_property
    def daily(self) -> DailyStatistics:
        """Statistics of daily equity."""
        return daily_statistics(self.equity)

    @cached_property
    def trade_statistics(self) -> TradeStatistics:
        """Statistics of closed trades."""
        return trade_statistics(np.array([trade.pnl for trade in self.trades], dtype=np.float64))

    @property
    def daily_pnl(self) -> Floats:
        """Change of equity in dollars, one number per session."""
        return np.diff(self.equity)

    @property
    def returns(self) -> Floats:
        """Daily returns as decimals, one number per session."""
        return np.asarray(np.diff(self.equity) / np.maximum(self.equity[:-1], 1e-9))


@dataclass(frozen=True, eq=False)
class BacktestResult(Walked):
    """One strategy over one path. Dollars throughout.

    ``equity`` has one point more than ``sessions``: the capital first, then the value at each
    close. ``costs`` are commissions, spreads and slippage, of what is still open too.
    A result of several ``runs`` has their mean equity and costs, and all their trades. ``actions`` is
    what the numbers of the decisions mean.
    """

    name: str
    sessions: tuple[date, ...]
    equity: Floats
    trades: tuple[Trade, ...]
    decisions: tuple[Decision, ...]
    costs: float
    runs: int = 1
    actions: ActionMap = DAILY_7

    @property
    def trade_count(self) -> int:
        """Closed trades of one run."""
        return round(len(self.trades) / self.runs)


def run_policy(
    venue: Venue, act: Act, *, name: str = "policy", entry_filter: EntryFilter | None = None
) -> BacktestResult:
    """Walk a strategy over the venue's window.

    Parameters
    ----------
    venue
        Market, window and assumptions.
    act
        Asked at every close whose observation is complete; elsewhere the strategy holds. One that is
        :class:`InContext` is told the context of the close too, which looks at nothing later.
    name
        Name of the result.
    entry_filter
        Asked before each entry; an entry that it refuses becomes HOLD. Exits are never filtered.

    Raises
    ------
    ConfigError
        If the window has no session to walk to.
    """
    if len(venue.sessions) < 1:
        raise ConfigError(
            f"window {venue.start} to {venue.end} has no session after the first decision",
            hint="give a window of at least two sessions",
        )
    simulator = venue.simulator()
    equity, decisions = [simulator.value], []
    while not simulator.done:
        decision = _decide(simulator, _told(act, venue, simulator.index), entry_filter, equity)
        decisions.append(decision)
        simulator.step(decision.action)
        equity.append(simulator.value)
    costs = -sum(entry.amount for entry in simulator.ledger if entry.kind in COST_KINDS)
    return BacktestResult(
        name=name,
        sessions=venue.sessions,
        equity=np.array(equity, dtype=np.float64),
        trades=tuple(simulator.trades),
        decisions=tuple(decisions),
        costs=costs,
        actions=venue.actions,
    )


def entry_rate(result: BacktestResult) -> float:
    """Share of decisions in which an entry was possible that opened something, 0 to 1."""
    entries = range(result.actions.hold)
    return _rate(result, lambda decision: min(decision.allowed) < result.actions.hold, entries)


def close_rate(result: BacktestResult) -> float:
    """Share of decisions with an open position that closed it, 0 to 1."""
    close = result.actions.close
    return _rate(result, lambda decision: close in decision.allowed, (close,))


def _rate(
    result: BacktestResult, possible: Callable[[Decision], bool], actions: Sequence[int]
) -> float:
    chances = [decision for decision in result.decisions if possible(decision)]
    taken = sum(decision.action in actions for decision in chances)
    return taken / len(chances) if chances else 0.0


def _told(act: Act, venue: Venue, index: int) -> Act:
    """The act as it is at one close."""
    if not isinstance(act, InContext):
        return act
    context = venue.contexts[index]
    return lambda observation, mask: act.act_in(observation, mask, context)


def _decide(
    simulator: DailySimulator,
    act: Act,
    entry_filter: EntryFilter | None,
    equity: Sequence[float],
) -> Decision:
    mask, hold = simulator.mask(), simulator.actions.hold
    requested = act(simulator.observe(), mask) if simulator.observation_valid else hold
    action = requested
    if requested < hold and entry_filter is not None:
        action = requested if entry_filter(simulator, requested, equity) else hold
    allowed = tuple(int(number) for number in np.flatnonzero(mask))
    return Decision(simulator.session, action, requested, allowed)


def greedy(probabilities: Probabilities, *, min_confidence: float = 0.0) -> Act:
    """Turn probabilities into decisions by :func:`choose_action`.

    An entry that the policy gives less than ``min_confidence`` becomes HOLD: the one risk rule that an
    :data:`EntryFilter` cannot check, because it does not see probabilities. A policy that looks at the
    context is told it.
    """

    def act_in(observation: Observation, mask: Mask, context: DecisionContext) -> int:
        values = ask(probabilities, observation, mask, context).probabilities
        action = choose_action(values, mask)
        hold = hold_of(mask)
        return hold if action < hold and float(values[action]) < min_confidence else action

    if isinstance(probabilities, Informed):
        return InContext(act_in)
    return lambda observation, mask: act_in(observation, mask, UNKNOWN)


def hold_of(mask: Mask) -> int:
    """Number of HOLD under any action map: the last but one, before CLOSE."""
    return len(mask) - 2


def choose_action(probabilities: npt.ArrayLike, mask: npt.ArrayLike) -> int:
    """Take the most probable allowed action; among equals the one with the lowest number.

    Backtest and live signals both choose by this rule: the same state gives the same action.

    Raises
    ------
    NonFiniteOutput
        If a probability is NaN, infinite or negative, if they do not sum to one, or if an action
        that the mask forbids has any.
    ConfigError
        If the mask allows nothing or has another length.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    allowed = np.asarray(mask, dtype=np.bool_)
    if values.shape != allowed.shape or not allowed.any():
        raise ConfigError(
            f"{values.shape} probabilities, mask {allowed.astype(int).tolist()}",
            hint="give one probability and one mask entry per action, at least one allowed",
        )
    with np.errstate(invalid="ignore"):
        sound = np.isfinite(values).all() and (values >= 0).all() and abs(values.sum() - 1) <= 1e-4
    if not sound or (values[~allowed] > 0).any():
        raise NonFiniteOutput(
            f"the policy gave {values.tolist()} under mask {allowed.astype(int).tolist()}",
            hint="hold; check the model's weights and its observation",
        )
    return int(np.argmax(np.where(allowed, values, -1.0)))
