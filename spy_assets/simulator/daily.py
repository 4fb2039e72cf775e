"""The daily clock over the accounting kernel: decide at a close, fill at the next open (or close).

One step is one session. With the decision made at the close of D:

1. at the open of D+1 (``fill = "next_open"``) orders fill: exits, oldest first, then the entry of D;
2. at the close of D+1 expiring positions are settled at intrinsic value, orders fill if
   ``fill = "next_close"``, what is open is marked, and the exit rules are asked. A rule that
   fires sends an exit, which fills at the next fill time; it cannot be taken back by HOLD;
3. in the night before an ex-date a sold call whose time value is below the dividend is assigned. The
   short shares are covered at the next fill time and owe the dividend, and the other legs are traded
   back with them (``assignment``). Where the dividend is not known the rule is not applied, and a
   sold call in the money makes the event ``dividend_unknown``.

Several positions may be open (``DailyConfig.max_positions``): CLOSE closes all of them, and the
observation has their P&L over what they risk together, with the oldest one's type and holding time.

An expiry whose session is not on the path (a missing print) is settled with the last close before
it. What cannot be priced does not trade: an entry is dropped, an exit waits, a mark is carried and
counted; each is named in the step's events.

The reward is the change of the marked account value over the initial capital, once, in components
that sum to it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import date
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.observation import portfolio_dimensions
from spy_assets.options.structures import Leg
from spy_assets.simulator.actions import TYPE_CODES
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import PRESETS, CostModel
from spy_assets.simulator.exits import (
    DEFAULT_RULES,
    CreditStop,
    ExitRules,
    HoldingState,
    MaxHold,
    ModelExit,
    ProfitTarget,
    SpotMove,
    StopLoss,
    TrailingStop,
)
from spy_assets.simulator.kernel import (
    Account,
    Assignment,
    LedgerEntry,
    OrderRejected,
    Position,
    Trade,
    close_assigned,
    close_position,
    early_assignment,
    mark,
    open_structure,
    settle_expiry,
)
from spy_assets.simulator.market_path import MARKET_DIMS, MarketPath
from spy_assets.simulator.records import account_from_state, account_state
from spy_assets.simulator.rewards import RewardComponents, components_of

#: Rules that are asked without minutes and sessions to go.
_TIMELESS: Final = (
    StopLoss, CreditStop, ProfitTarget, SpotMove, TrailingStop, MaxHold, ModelExit,
)  # fmt: skip
#: Length of the observation: ten market and five portfolio dimensions.
N_OBSERVATION = len(MARKET_DIMS) + 5


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
    """One account that trades along a market path.

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
        self.actions = self.config.actions
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
        self.pending_entry: PendingEntry | None = None
        self.pending_exits: dict[int, str] = {}
        self.assigned: dict[int, Assignment] = {}
        self.peaks: dict[int, float] = {}
        self.invalid_actions = 0
        self._scale = self.config.reward_scale / capital
        self._at_open = self.config.fill == "next_open"
        self._tells_time = not all(isinstance(rule, _TIMELESS) for rule in rules.chain)

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
    def positions(self) -> tuple[Position, ...]:
        """Open positions, oldest first."""
        return tuple(self.account.positions.values())

    @property
    def position(self) -> Position | None:
        """The oldest open position."""
        return next(iter(self.account.positions.values()), None)

    @property
    def pending_exit(self) -> str | None:
        """Why the oldest open position is being closed, if it is."""
        position = self.position
        return None if position is None else self.pending_exits.get(position.trade_id)

    @property
    def value(self) -> float:
        """Cash plus marks, dollars."""
        return self.account.value

    @property
    def observation_valid(self) -> bool:
        """Whether all market dimensions of this session are there."""
        return self.book.valid[self.index]

    def portfolio(self) -> dict[str, float]:
        """Give observations 10 to 14 by name, as the observation contract defines them.

        Of several positions P&L and capital at risk are summed; type and holding time are the
        oldest one's.
        """
        oldest = self.position
        if oldest is None:
            return portfolio_dimensions(value=self.value, initial_capital=self.account.initial)
        return portfolio_dimensions(
            value=self.value,
            initial_capital=self.account.initial,
            structure=oldest.structure,
            pnl=sum(position.pnl for position in self.positions),
            capital_at_risk=sum(position.capital_at_risk for position in self.positions),
            sessions_held=oldest.closes_held,
            max_holding=self.rules.max_hold,
            type_code=TYPE_CODES[oldest.structure],
        )

    def observe(self) -> npt.NDArray[np.float32]:
        """Give the 15 observations at this close; what is missing is NaN, never a default."""
        seen = np.empty(N_OBSERVATION, dtype=np.float32)
        seen[: len(MARKET_DIMS)] = self.book.observation[self.index]
        seen[len(MARKET_DIMS) :] = tuple(self.portfolio().values())
        return seen

    def mask(self) -> npt.NDArray[np.bool_]:
        """Say which actions are allowed.

        HOLD always is; CLOSE with a position; an opening while there is room for a position, if the
        free cash pays for it, the observation is complete and the legs can be priced.
        """
        allowed = np.zeros(len(self.actions), dtype=np.bool_)
        allowed[self.actions.hold] = True
        allowed[self.actions.close] = bool(self.account.positions)
        if self._can_enter and self.pending_entry is None:
            np.less_equal(
                self.book.requirement[self.index],
                self.account.available,
                out=allowed[: self.actions.hold],
            )
        return allowed

    def allows(self, action: int) -> bool:
        """Whether one action is allowed, as :meth:`mask` says."""
        if action == self.actions.hold:
            return True
        if action == self.actions.close:
            return bool(self.account.positions)
        if not 0 <= action < self.actions.hold or not self._can_enter:
            return False
        return bool(self.book.requirement[self.index, action] <= self.account.available)

    @property
    def _can_enter(self) -> bool:
        room = len(self.account.positions) < self.config.max_positions
        return room and self.book.valid[self.index]

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
        entries = self.account.ledger[booked:]
        components = components_of(entries, trades, self._scale, penalty)
        return StepResult(sum(components), components, self.done, trades, tuple(events))

    def decide(self, action: int, events: list[str] | None = None) -> float:
        """Queue the orders of this close without walking on; gives the penalty in reward units.

        An action outside the mask is treated as HOLD.
        """
        action = int(action)
        if not 0 <= action < len(self.actions):
            raise ConfigError(
                f"action {action} does not exist", hint=f"0 to {len(self.actions) - 1}"
            )
        if not self.allows(action):
            self.invalid_actions += 1
            if events is not None:
                events.append("invalid_action")
            return -self.config.invalid_action_penalty
        if action == self.actions.close:
            for trade_id in self.account.positions:
                self.pending_exits.setdefault(trade_id, "action_close")
        elif action != self.actions.hold:
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
        for position in self.positions:
            position.closes_held += 1
        if not self._at_open:
            self._fill(False, events)
        for position in self.positions:
            self._mark(position, events)
        if self.index == self.last and self.close_at_end:
            self._close_out()
        for position in self.positions:
            self._assign(position, events)

    def _settle_missed(self) -> None:
        """Settle what expired in a session that is not on the path, at the last close before."""
        for position in self.positions:
            if position.expiry < self.session:
                self._settle(position, self.index - 1, "expiry_missing_print")

    def _settle_due(self) -> None:
        for position in self.positions:
            if position.expiry == self.session:
                position.closes_held += 1
                self._settle(position, self.index, "expiry")

    def _settle(self, position: Position, index: int, reason: str) -> None:
        moment, assignment = self.book.moment(index, False), self.assigned.get(position.trade_id)
        self._forget(settle_expiry(self.account, position, moment, reason, assignment))

    def _forget(self, trade: Trade) -> None:
        """Drop what is known of the closed trade's position."""
        for known in (self.pending_exits, self.assigned, self.peaks):
            known.pop(trade.trade_id, None)

    def _fill(self, at_open: bool, events: list[str]) -> None:
        for position in self.positions:
            if position.trade_id in self.pending_exits:
                self._fill_exit(position, at_open, events)
        if self.pending_entry is not None:
            self._fill_entry(self.pending_entry, at_open, events)
            self.pending_entry = None

    def _fill_exit(self, position: Position, at_open: bool, events: list[str]) -> None:
        reason = self.pending_exits[position.trade_id]
        if not self._close(position, at_open, reason):
            events.append("exit_waits_for_quote")

    def _close(self, position: Position, at_open: bool, reason: str) -> bool:
        """Trade a position back; False if it cannot be priced."""
        quotes = self.book.quotes(position.legs, self.index, at_open)
        if quotes is None:
            return False
        moment, assignment = self.book.moment(self.index, at_open), self._assignment_of(position)
        if assignment is None:
            trade = close_position(
                self.account, position, quotes, costs=self.costs, moment=moment, reason=reason
            )
        else:
            trade = close_assigned(
                self.account, position, assignment, quotes,
                costs=self.costs, moment=moment, reason=reason,
            )  # fmt: skip
        self._forget(trade)
        return True

    def _assignment_of(self, position: Position) -> Assignment | None:
        return self.assigned.get(position.trade_id)

    def _fill_entry(self, order: PendingEntry, at_open: bool, events: list[str]) -> None:
        legs = self.book.legs(order.decision_index, order.action)
        quotes = self.book.quotes(legs, self.index, at_open)
        moment = self.book.moment(self.index, at_open)
        expiry = self.book.expiry(order.decision_index, order.action)
        # Only a gap in the path brings the fill so late that nothing is left to trade.
        expired = expiry < moment.session or (expiry == moment.session and not at_open)
        if quotes is None or expired:
            events.append("entry_not_priceable")
            return
        try:
            open_structure(
                self.account,
                self.actions.openings[order.action].structure,
                legs,
                quotes,
                quantity=order.quantity,
                costs=self.costs,
                moment=moment,
                decision_session=self.path.sessions[order.decision_index],
                allow_naked=self.config.allow_naked,
                short_puts=self.config.short_puts,
            )
        except OrderRejected:
            # The price moved between decision and fill; the account is untouched.
            events.append("entry_rejected_funds")

    def _mark(self, position: Position, events: list[str]) -> None:
        mids = self.book.mids(position.legs, self.index, False)
        spot, trade_id = self.book.spot(self.index, False), position.trade_id
        if mids is None:
            position.stale_marks += 1
            events.append("mark_carried")
        else:
            assignment = self._assignment_of(position)
            if assignment is not None:
                mids[assignment.leg] = assignment.worth(spot)
            mark(self.account, position, mids, self.session)
        peak = self.peaks.get(trade_id, -math.inf)
        self.peaks[trade_id] = max(peak, position.pnl_of_premium)
        if trade_id not in self.pending_exits and position.closes_held > 0:
            reason = self.rules.first(position, spot, self._holding(position))
            if reason is not None:
                self.pending_exits[trade_id] = reason

    def _holding(self, position: Position) -> HoldingState:
        """What the daily clock can tell exit rules; minutes are looked up only if a rule needs them."""
        peak = self.peaks[position.trade_id]
        if not self._tells_time:
            return HoldingState(peak_of_premium=peak)
        time, today = self.book.trading_time, self.session
        return HoldingState(
            peak_of_premium=peak,
            minutes_held=time.minutes(position.entry_session, today, from_open=self._at_open),
            minutes_to_expiry=time.minutes(today, position.expiry),
            sessions_to_expiry=time.sessions(today, position.expiry),
        )

    def _assign(self, position: Position, events: list[str]) -> None:
        """Apply the dividend rule in the night before an ex-date."""
        legs, tomorrow = position.legs, self.index + 1
        if tomorrow >= len(self.path) or position.trade_id in self.assigned:
            return
        if position.expiry < self.path.sessions[tomorrow]:
            return  # The path misses its expiry, which may be before the ex-date.
        dividend, spot = self.book.dividend[tomorrow], self.book.spot(self.index, False)
        if dividend == 0.0 or not _in_the_money(legs, spot):
            return
        mids = self.book.mids(legs, self.index, False)
        if mids is None or math.isnan(dividend):
            events.append("assignment_unpriced" if mids is None else "dividend_unknown")
            return
        assignment = early_assignment(legs, mids, spot, dividend)
        if assignment is not None:
            self.assigned[position.trade_id] = assignment
            self.pending_exits[position.trade_id] = "assignment"
            events.append("assigned")

    def _close_out(self) -> None:
        """Close at the last close; what cannot be priced there is worth its intrinsic value."""
        self.pending_entry = None
        for position in self.positions:
            if not self._close(position, False, "end_of_path"):
                self._settle(position, self.index, "end_of_path_unpriced")

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
            simulator.step(decisions.get(simulator.session, simulator.actions.hold))
        simulator.decide(decisions.get(simulator.session, simulator.actions.hold))
        return simulator

    def state(self) -> dict[str, Any]:
        """Everything needed to go on later, as JSON types; the path is not in it."""
        return {
            "version": 2,
            "session": self.session.isoformat(),
            "start": self.path.sessions[self.start].isoformat(),
            "last": self.path.sessions[self.last].isoformat(),
            "pending_entry": list(self.pending_entry) if self.pending_entry else None,
            "pending_exits": _by_text(self.pending_exits),
            "assigned": {str(key): astuple(one) for key, one in self.assigned.items()},
            "peaks": _by_text(self.peaks),
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
        if state.get("version") not in (1, 2):
            raise DataError(f"simulator state of version {state.get('version')!r}, expected 2")
        self.index = self.path.index_of(date.fromisoformat(state["session"]))
        self.start = self.path.index_of(date.fromisoformat(state["start"]))
        self.last = self.path.index_of(date.fromisoformat(state["last"]))
        pending = state["pending_entry"]
        self.pending_entry = PendingEntry(*pending) if pending else None
        self.invalid_actions = state["invalid_actions"]
        self.account = account_from_state(state["account"])
        self._scale = self.config.reward_scale / self.account.initial
        if state["version"] == 1:
            # There was one position at most, no assignment, and no rule that looked at the peak.
            reason = state["pending_exit"]
            self.pending_exits = (
                {} if reason is None else dict.fromkeys(self.account.positions, reason)
            )
            self.assigned, self.peaks = {}, {}
            return
        self.pending_exits = {int(key): reason for key, reason in state["pending_exits"].items()}
        self.assigned = {int(key): Assignment(*one) for key, one in state["assigned"].items()}
        self.peaks = {int(key): peak for key, peak in state["peaks"].items()}


def _by_text(known: Mapping[int, Any]) -> dict[str, Any]:
    """With the text keys that JSON has."""
    return {str(key): value for key, value in known.items()}


def _in_the_money(legs: Sequence[Leg], spot: float) -> bool:
    """Whether a sold call is."""
    return any(
        leg.quantity < 0 and leg.contract.right == "C" and leg.contract.strike < spot
        for leg in legs
    )
