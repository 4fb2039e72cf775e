"""The daily clock over the accounting kernel: decide at a close, fill at the next open (or close).

One step is one session. With the decision made at the close of D:

1. at the open of D+1 (``fill = "next_open"``) orders fill: the exit or the entry decided at D;
2. at the close of D+1 an expiring position is settled at intrinsic value, orders fill if
   ``fill = "next_close"``, the open position is marked, and the exit rules are asked. A rule that
   fires sends an exit, which fills at the next fill time; it cannot be taken back by HOLD.

An expiry whose session is not on the path (a missing print) is settled with the last close before
it. What cannot be priced does not trade: an entry is dropped, an exit waits, a mark is carried and
counted; each is named in the step's events.

The reward is the change of the marked account value over the initial capital, once, in components
that sum to it exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.observation import portfolio_dimensions
from spy_assets.simulator.actions import CLOSE, DAILY_ACTIONS, ENTRIES, HOLD, N_ACTIONS
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import PRESETS, CostModel
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules
from spy_assets.simulator.kernel import (
    Account,
    LedgerEntry,
    OrderRejected,
    Position,
    Trade,
    close_position,
    mark,
    open_structure,
    settle_expiry,
)
from spy_assets.simulator.market_path import MARKET_DIMS, MarketPath
from spy_assets.simulator.records import account_from_state, account_state

#: Length of the observation: ten market and five portfolio dimensions.
N_OBSERVATION = len(MARKET_DIMS) + 5


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


class StepResult(NamedTuple):
    """What one session brought."""

    reward: float
    components: RewardComponents
    done: bool
    trades: tuple[Trade, ...]
    events: tuple[str, ...]


class PendingEntry(NamedTuple):
    """An entry decided at a close and not filled yet."""

    action: int
    decision_index: int
    quantity: int


class DailySimulator:
    """One account that trades one position at a time along a market path.

    Parameters
    ----------
    path
        The market.
    costs, rules, capital
        Cost model, exit chain, initial cash in dollars.
    config
        Everything else (:class:`~spy_assets.simulator.book.DailyConfig`).
    start, stop
        First session and the one after the last, as positions on the path.
    close_at_end
        Close what is open at the last close (``end_of_path``). A live replay leaves it open.
    book
        A prepared :class:`~spy_assets.simulator.book.PathBook` to share; ``path``, ``costs`` and
        ``config`` are then taken from it.

    Raises
    ------
    DataError
        If the range of sessions is empty.
    """

    def __init__(
        self,
        path: MarketPath,
        costs: CostModel = PRESETS["rltrade"],
        rules: ExitRules = DEFAULT_RULES,
        capital: float = 10_000.0,
        *,
        config: DailyConfig | None = None,
        start: int = 0,
        stop: int | None = None,
        close_at_end: bool = True,
        book: PathBook | None = None,
    ) -> None:
        self.book = book or PathBook(path, costs, config)
        self.path = self.book.path
        self.costs = self.book.costs
        self.config = self.book.config
        self.rules = rules
        self.close_at_end = close_at_end
        self.start = start
        self.last = (len(self.path) if stop is None else stop) - 1
        if not 0 <= start <= self.last < len(self.path):
            raise DataError(
                f"sessions {start} to {self.last} of a path with {len(self.path)}",
                hint="start is not after stop, and both lie on the path",
            )
        self.account = Account(capital)
        self.index = start
        self.position: Position | None = None
        self.pending_entry: PendingEntry | None = None
        self.pending_exit: str | None = None
        self.invalid_actions = 0
        self._scale = self.config.reward_scale / capital
        self._at_open = self.config.fill == "next_open"

    # ---------------------------------------------------------------- what can be seen

    @property
    def session(self) -> date:
        """Session at whose close the next decision is made."""
        return self.path.sessions[self.index]

    @property
    def done(self) -> bool:
        """Whether the last session is reached."""
        return self.index >= self.last

    @property
    def trades(self) -> list[Trade]:
        """Closed trades, in order."""
        return self.account.trades

    @property
    def ledger(self) -> list[LedgerEntry]:
        """Every movement so far."""
        return self.account.ledger

    @property
    def value(self) -> float:
        """Cash plus marks, dollars."""
        position = self.position
        return self.account.cash + (position.mark if position is not None else 0.0)

    @property
    def observation_valid(self) -> bool:
        """Whether all market dimensions of this session are there."""
        return self.book.valid[self.index]

    def portfolio(self) -> dict[str, float]:
        """Give observations 10 to 14 by name, as the observation contract defines them."""
        position = self.position
        if position is None:
            return portfolio_dimensions(value=self.value, initial_capital=self.account.initial)
        return portfolio_dimensions(
            value=self.value,
            initial_capital=self.account.initial,
            structure=position.structure,
            pnl=position.pnl,
            capital_at_risk=position.capital_at_risk,
            sessions_held=position.closes_held,
            max_holding=self.rules.max_hold,
        )

    def observe(self) -> npt.NDArray[np.float32]:
        """Give the 15 observations at this close; what is missing is NaN, never a default."""
        seen = np.empty(N_OBSERVATION, dtype=np.float32)
        seen[: len(MARKET_DIMS)] = self.book.observation[self.index]
        seen[len(MARKET_DIMS) :] = tuple(self.portfolio().values())
        return seen

    def mask(self) -> npt.NDArray[np.bool_]:
        """Say which of the seven actions are allowed.

        HOLD always is; CLOSE with a position; without one, every entry that the free cash pays for
        if the observation is complete and the legs can be priced.
        """
        allowed = np.zeros(N_ACTIONS, dtype=np.bool_)
        allowed[HOLD] = True
        if self.position is not None:
            allowed[CLOSE] = True
        elif self.book.valid[self.index] and self.pending_entry is None:
            np.less_equal(
                self.book.requirement[self.index], self.account.cash, out=allowed[: len(ENTRIES)]
            )
        return allowed

    def allows(self, action: int) -> bool:
        """Whether one action is allowed, as :meth:`mask` says."""
        if action == HOLD:
            return True
        if self.position is not None:
            return action == CLOSE
        if action not in ENTRIES or not self.book.valid[self.index]:
            return False
        return bool(self.book.requirement[self.index, action] <= self.account.cash)

    # ---------------------------------------------------------------- what can be done

    def step(self, action: int) -> StepResult:
        """Decide at this close and walk to the next.

        Raises
        ------
        ConfigError
            If the action does not exist.
        DataError
            If the last session is already reached.
        """
        if self.index >= self.last:
            raise DataError(f"{self.session} is the last session", hint="make a new simulator")
        events: list[str] = []
        booked, closed = len(self.account.ledger), len(self.account.trades)
        penalty = self.decide(action, events)
        self._advance(events)
        trades = tuple(self.account.trades[closed:])
        components = self._components(booked, trades, penalty)
        return StepResult(sum(components), components, self.done, trades, tuple(events))

    def decide(self, action: int, events: list[str] | None = None) -> float:
        """Queue the orders of this close without walking on; gives the penalty in reward units.

        An action outside the mask is treated as HOLD.
        """
        action = int(action)
        if action not in DAILY_ACTIONS:
            raise ConfigError(f"action {action} does not exist", hint=f"0 to {N_ACTIONS - 1}")
        if not self.allows(action):
            self.invalid_actions += 1
            if events is not None:
                events.append("invalid_action")
            return -self.config.invalid_action_penalty
        if action == CLOSE:
            self.pending_exit = self.pending_exit or "action_close"
        elif action != HOLD:
            self.pending_entry = PendingEntry(action, self.index, self._units(action))
        return 0.0

    def _units(self, action: int) -> int:
        return self.config.sizing(
            value=self.value,
            available=self.account.available,
            max_loss=float(self.book.requirement[self.index, action]),
        )

    def _advance(self, events: list[str]) -> None:
        self.index += 1
        self._settle_missed()
        if self._at_open:
            self._fill(True, events)
        self._settle_due()
        if self.position is not None:
            self.position.closes_held += 1
        if not self._at_open:
            self._fill(False, events)
        self._mark(events)
        if self.index == self.last and self.close_at_end:
            self._close_out()

    def _settle_missed(self) -> None:
        """Settle what expired in a session that is not on the path, at the last close before."""
        position = self.position
        if position is not None and position.expiry < self.session:
            moment = self.book.moment(self.index - 1, False)
            self._forget(settle_expiry(self.account, position, moment, "expiry_missing_print"))

    def _settle_due(self) -> None:
        position = self.position
        if position is not None and position.expiry == self.session:
            position.closes_held += 1
            self._forget(settle_expiry(self.account, position, self.book.moment(self.index, False)))

    def _forget(self, trade: Trade) -> None:  # noqa: ARG002
        """Drop the closed trade's position, and with it any exit that waited for it."""
        self.position = None
        self.pending_exit = None

    def _fill(self, at_open: bool, events: list[str]) -> None:
        if self.pending_exit is not None and self.position is not None:
            self._fill_exit(at_open, events)
        elif self.pending_entry is not None:
            self._fill_entry(self.pending_entry, at_open, events)
            self.pending_entry = None

    def _fill_exit(self, at_open: bool, events: list[str]) -> None:
        assert self.position is not None
        assert self.pending_exit is not None
        quotes = self.book.quotes(self.position.legs, self.index, at_open)
        if quotes is None:
            events.append("exit_waits_for_quote")
            return
        self._forget(
            close_position(
                self.account,
                self.position,
                quotes,
                costs=self.costs,
                moment=self.book.moment(self.index, at_open),
                reason=self.pending_exit,
            )
        )

    def _fill_entry(self, order: PendingEntry, at_open: bool, events: list[str]) -> None:
        structure = DAILY_ACTIONS[order.action].structure
        legs = self.book.legs(order.decision_index, structure)
        quotes = self.book.quotes(legs, self.index, at_open)
        moment = self.book.moment(self.index, at_open)
        expiry = self.book.expiries[order.decision_index]
        # Only a gap in the path brings the fill so late that nothing is left to trade.
        expired = expiry < moment.session or (expiry == moment.session and not at_open)
        if quotes is None or expired:
            events.append("entry_not_priceable")
            return
        try:
            self.position = open_structure(
                self.account,
                structure,
                legs,
                quotes,
                quantity=order.quantity,
                costs=self.costs,
                moment=moment,
                decision_session=self.path.sessions[order.decision_index],
            )
        except OrderRejected:
            # The price moved between decision and fill; the account is untouched.
            events.append("entry_rejected_funds")

    def _mark(self, events: list[str]) -> None:
        position = self.position
        if position is None:
            return
        mids = self.book.mids(position.legs, self.index, False)
        if mids is None:
            position.stale_marks += 1
            events.append("mark_carried")
        else:
            mark(self.account, position, mids, self.session)
        if self.pending_exit is None and position.closes_held > 0:
            self.pending_exit = self.rules.first(position, self.book.spot(self.index, False))

    def _close_out(self) -> None:
        """Close at the last close; what cannot be priced there is worth its intrinsic value."""
        self.pending_entry = None
        if self.position is None:
            return
        moment = self.book.moment(self.index, False)
        quotes = self.book.quotes(self.position.legs, self.index, False)
        if quotes is None:
            trade = settle_expiry(self.account, self.position, moment, "end_of_path_unpriced")
        else:
            trade = close_position(
                self.account,
                self.position,
                quotes,
                costs=self.costs,
                moment=moment,
                reason="end_of_path",
            )
        self._forget(trade)

    def _components(
        self, booked: int, trades: tuple[Trade, ...], penalty: float
    ) -> RewardComponents:
        gross = commissions = slippage = spread = 0.0
        ledger = self.account.ledger
        for at in range(booked, len(ledger)):
            entry = ledger[at]
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
        scale = self._scale
        return RewardComponents(
            realized * scale,
            (gross - realized) * scale,
            commissions * scale,
            slippage * scale,
            spread * scale,
            penalty,
        )

    # ---------------------------------------------------------------- replay and checkpoints

    @classmethod
    def replay(
        cls,
        path: MarketPath,
        decisions: Mapping[date, int],
        costs: CostModel = PRESETS["rltrade"],
        rules: ExitRules = DEFAULT_RULES,
        capital: float = 10_000.0,
        *,
        config: DailyConfig | None = None,
        book: PathBook | None = None,
    ) -> DailySimulator:
        """Rebuild the account from recorded decisions, up to the last session of the path.

        Sessions without a decision are HOLD; so is a decision that the mask does not allow. What is
        open stays open, and a decision of the last session is queued, not filled. The same
        decisions on a longer path give the same trades, followed by more.

        Raises
        ------
        DataError
            If a decision's session is not on the path.
        """
        for day in decisions:
            path.index_of(day)
        simulator = cls(path, costs, rules, capital, config=config, close_at_end=False, book=book)
        while not simulator.done:
            simulator.step(decisions.get(simulator.session, HOLD))
        simulator.decide(decisions.get(simulator.session, HOLD))
        return simulator

    def state(self) -> dict[str, Any]:
        """Everything needed to go on later, as JSON types; the path is not in it."""
        return {
            "version": 1,
            "session": self.session.isoformat(),
            "start": self.path.sessions[self.start].isoformat(),
            "last": self.path.sessions[self.last].isoformat(),
            "pending_entry": list(self.pending_entry) if self.pending_entry else None,
            "pending_exit": self.pending_exit,
            "invalid_actions": self.invalid_actions,
            "account": account_state(self.account),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`, on the same path.

        Raises
        ------
        DataError
            If the state is of another version or its sessions are not on the path.
        """
        if state.get("version") != 1:
            raise DataError(f"simulator state of version {state.get('version')!r}, expected 1")
        self.index = self.path.index_of(date.fromisoformat(state["session"]))
        self.start = self.path.index_of(date.fromisoformat(state["start"]))
        self.last = self.path.index_of(date.fromisoformat(state["last"]))
        pending = state["pending_entry"]
        self.pending_entry = PendingEntry(*pending) if pending else None
        self.pending_exit = state["pending_exit"]
        self.invalid_actions = state["invalid_actions"]
        self.account = account_from_state(state["account"])
        self.position = next(iter(self.account.positions.values()), None)
        self._scale = self.config.reward_scale / self.account.initial
