"""The intraday clock over the accounting kernel: decide at a bar's end, fill at the next bar's open.

One step is one bar. With the decision made at the end of bar i, bar i + 1 brings, in this order:

1. at its open: exits, then entries, in the order in which they were sent;
2. at its end, if it is the session's last: settlement of what expires today, at intrinsic value with
   the session's last price (SPY's options settle on the close, PM). An option of the same day therefore
   never sees the night. Settlement needs no quote, so that a missing last print cannot leave a
   position without an end (D-22); it is then named ``expiry_missing_print``;
3. at its end: every open position is marked at mid, and its exit rules are asked. A rule that fires
   sends an exit, which nothing can take back.

In the night before an ex-date a sold call whose time value is below the dividend is assigned: the
position is closed at the next open, the call as the shares that were delivered short and the dividend
that they owe.

With ``close_out = "trade"`` what expires today is bought or sold back at the open of the session's last
bar instead, and settled only if that fails.

An entry is not filled over a gap in the session, after its expiry, or where a short leg has no bid; an
exit waits for the next bar there is. Everything that did not happen is named in the step's events. The
session filter is asked about entries only.

Prices are those of the volatility surface, quoted with the spread model's width for the time of day, and
labelled ``surface`` wherever they are stored. This module is the readable version;
:mod:`spy_assets.simulator.intraday_batch` is compiled, and tests hold the two equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from spy_assets.errors import ConfigError, DataError
from spy_assets.options.structures import Leg
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.exits import ExitRules, HoldingState
from spy_assets.simulator.intraday_book import (
    BID_ASK_COSTS,
    IntradayBook,
    IntradayConfig,
)
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.simulator.kernel import (
    Account,
    Assignment,
    Moment,
    OrderRejected,
    Position,
    Quote,
    Trade,
    close_assigned,
    close_position,
    early_assignment,
    is_uncovered,
    margin_required,
    mark,
    open_structure,
    settle_expiry,
)

#: A chain that never fires.
NO_RULES: Final = ExitRules(())


class Order(NamedTuple):
    """An entry: ``units`` of a structure; ``rules`` None means the simulator's own exit chain."""

    structure: str
    legs: tuple[Leg, ...]
    units: int = 1
    rules: ExitRules | None = None


@dataclass(slots=True)
class _Holding:
    """What the clock keeps for an open position."""

    rules: ExitRules
    entry_clock: float
    peak: float = -math.inf
    pending: str | None = None
    exit_probability: float = math.nan
    assignment: Assignment | None = None


class BarResult(NamedTuple):
    """What one bar brought: the change of value in dollars, closed trades, and what did not happen."""

    change: float
    trades: tuple[Trade, ...]
    events: tuple[str, ...]


class IntradaySimulator:
    """One account with up to ``config.max_positions`` positions along a path of bars.

    Parameters
    ----------
    path
        The market, or a book over it.
    costs, rules, capital
        Cost model, exit chain of orders that bring none, initial cash in dollars.
    config
        Everything else.
    start, stop
        First bar and the one after the last.

    Raises
    ------
    DataError
        If the range of bars is empty.
    """

    def __init__(
        self,
        path: IntradayPath | IntradayBook,
        costs: CostModel = BID_ASK_COSTS,
        rules: ExitRules = NO_RULES,
        capital: float = 125_000.0,
        *,
        config: IntradayConfig | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        self.book = path if isinstance(path, IntradayBook) else IntradayBook(path, config)
        self.path = self.book.path
        self.config = self.book.config
        self.costs = costs
        self.rules = rules
        self.last = (len(self.path) if stop is None else stop) - 1
        if not 0 <= start <= self.last < len(self.path):
            raise DataError(f"bars {start} to {self.last} of a path with {len(self.path)}")
        self.bar = start
        self.account = Account(capital)
        self.orders: list[tuple[Order, int]] = []
        self._holdings: dict[int, _Holding] = {}

    @property
    def done(self) -> bool:
        """Whether the last bar is reached."""
        return self.bar >= self.last

    @property
    def value(self) -> float:
        """Cash plus marks, dollars."""
        return self.account.value

    def blocks_entry(self, expiry: date | None = None) -> str | None:
        """Why the session filter lets nothing be opened at the end of this bar, or None."""
        arrays = self.path.arrays
        since, session = float(arrays.end_minute[self.bar]), self.path.session_of[self.bar]
        to_expiry = None
        if expiry is not None:
            to_expiry = float(
                arrays.close_clock[self.path.ordinal_of(expiry)] - arrays.end_clock[self.bar]
            )
        return self.config.filter.blocks(since, float(arrays.minutes[session]) - since, to_expiry)

    def enter(self, order: Order) -> str | None:
        """Send an entry, which fills at the next bar's open; gives the reason if it is blocked.

        Raises
        ------
        ConfigError
            If it sells uncovered options and the configuration does not allow that.
        """
        if is_uncovered(order.legs) and not self.config.allow_naked:
            raise ConfigError(
                f"{order.structure} sells options that nothing covers",
                hint="sell a spread, or set allow_naked",
            )
        reason = self.blocks_entry(min(leg.contract.expiry for leg in order.legs))
        if reason is None:
            self.orders.append((order, self.bar))
        return reason

    def close(self, trade_id: int, reason: str = "action_close") -> None:
        """Send an exit, which fills at the next bar's open; an exit already sent keeps its reason.

        Raises
        ------
        DataError
            If no such position is open.
        """
        if trade_id not in self._holdings:
            raise DataError(f"no open position has the trade id {trade_id}")
        holding = self._holdings[trade_id]
        holding.pending = holding.pending or reason

    def tell(self, trade_id: int, exit_probability: float) -> None:
        """Give the exit model's word on a position, for the rules asked at the next bar's end."""
        self._holdings[trade_id].exit_probability = exit_probability

    def entry_clock(self, trade_id: int) -> float:
        """When an open position was filled, on the path's clock of trading minutes."""
        return self._holdings[trade_id].entry_clock

    def step(self) -> BarResult:
        """Walk to the end of the next bar.

        Raises
        ------
        DataError
            If the last bar is already reached.
        """
        if self.done:
            raise DataError(
                f"bar {self.bar} is the last one", hint="make a new simulator to start again"
            )
        before, closed = self.value, len(self.account.trades)
        events: list[str] = []
        self.bar += 1
        self._settle_missed()
        self._fill_exits(events)
        self._fill_entries(events)
        if self.path.is_last(self.bar):
            self._end_session()
        self._mark(events)
        self._ask_rules()
        if self.path.is_last(self.bar):
            self._assign(events)
        trades = tuple(self.account.trades[closed:])
        return BarResult(self.value - before, trades, tuple(events))

    def close_out(self) -> tuple[Trade, ...]:
        """Close everything at the last mark's mid, without costs: the end of a run, not a trade plan."""
        closed = len(self.account.trades)
        free = CostModel("end_of_path", 0.0, 0.0, 0.0)
        for position in tuple(self.account.positions.values()):
            mids = self.book.mids(position.legs, self.bar, False)
            moment = self.book.moment(self.bar, False)
            if mids is None:
                settle_expiry(self.account, position, moment, "end_of_path_unpriced")
            else:
                quotes = [Quote(mid) for mid in mids]
                close_position(
                    self.account, position, quotes, costs=free, moment=moment, reason="end_of_path"
                )
            del self._holdings[position.trade_id]
        return tuple(self.account.trades[closed:])

    # ---------------------------------------------------------------- one bar

    def _settle(self, position: Position, bar: int, reason: str) -> None:
        holding, moment = self._holdings.pop(position.trade_id), self.book.moment(bar, False)
        settle_expiry(self.account, position, moment, reason, holding.assignment)

    def _settle_missed(self) -> None:
        """Settle what expired in a session that is not on the path, at the last price before."""
        session = self.path.session(self.bar)
        for position in tuple(self.account.positions.values()):
            if position.expiry < session:
                self._settle(position, self.bar - 1, "expiry_missing_print")

    def _fill_exits(self, events: list[str]) -> None:
        moment = self.book.moment(self.bar, True)
        for position in tuple(self.account.positions.values()):
            holding = self._holdings[position.trade_id]
            if holding.pending is None:
                continue
            quotes = self.book.quotes(position.legs, self.bar)
            if quotes is None:
                events.append("exit_waits_for_quote")
            else:
                self._exit(position, holding, quotes, moment)

    def _exit(
        self, position: Position, holding: _Holding, quotes: Sequence[Quote], moment: Moment
    ) -> None:
        assert holding.pending is not None
        del self._holdings[position.trade_id]
        if holding.assignment is None:
            close_position(
                self.account,
                position,
                quotes,
                costs=self.costs,
                moment=moment,
                reason=holding.pending,
            )
        else:
            close_assigned(
                self.account,
                position,
                holding.assignment,
                quotes,
                costs=self.costs,
                moment=moment,
            )

    def _fill_entries(self, events: list[str]) -> None:
        for order, decided in self.orders:
            reason = self._enter(order, decided)
            if reason is not None:
                events.append(reason)
        self.orders.clear()

    def _obstacle(self, order: Order, decided: int) -> str | None:
        """What keeps an entry from being filled at this bar, apart from its price."""
        path = self.path
        if min(leg.contract.expiry for leg in order.legs) < path.session(self.bar):
            return "entry_expired"
        same_session = path.session_of[decided] == path.session_of[self.bar]
        if same_session and path.missing_before[self.bar] > 0:
            return "entry_gap"
        if len(self.account.positions) >= self.config.max_positions:
            return "entry_rejected_positions"
        return None if self.book.is_priceable(self.bar) else "entry_not_priceable"

    def _enter(self, order: Order, decided: int) -> str | None:
        """Fill one entry; gives what kept it from being filled."""
        reason = self._obstacle(order, decided)
        quotes = None if reason else self.book.quotes(order.legs, self.bar)
        if quotes is None:
            return reason
        for leg, quote in zip(order.legs, quotes, strict=True):
            if leg.quantity < 0 and not quote.bid:
                return "entry_no_bid"
        try:
            position = self._open(order, quotes, self.path.session(decided))
        except OrderRejected:
            return "entry_rejected_funds"
        self._holdings[position.trade_id] = _Holding(
            self.rules if order.rules is None else order.rules,
            float(self.path.arrays.start_clock[self.bar]),
        )
        return None

    def _open(self, order: Order, quotes: Sequence[Quote], decided: date) -> Position:
        moment = self.book.moment(self.bar, True)
        margin = margin_required(
            order.legs, quotes, moment.spot, allow_naked=True, short_puts="reg_t"
        )
        return open_structure(
            self.account,
            order.structure,
            order.legs,
            quotes,
            quantity=order.units,
            costs=self.costs,
            moment=moment,
            decision_session=decided,
            unit_margin=margin,
        )

    def _end_session(self) -> None:
        session, at = self.path.session(self.bar), self.path.session_of[self.bar]
        printed = self.path.missing_after[at] == 0
        for position in tuple(self.account.positions.values()):
            position.closes_held += 1
            if position.expiry == session:
                self._settle(position, self.bar, "expiry" if printed else "expiry_missing_print")

    def _mark(self, events: list[str]) -> None:
        session = self.path.session(self.bar)
        for position in self.account.positions.values():
            mids = self.book.mids(position.legs, self.bar, False)
            if mids is None:
                position.stale_marks += 1
                events.append("mark_carried")
            else:
                mark(self.account, position, mids, session)

    def _ask_rules(self) -> None:
        for position in self.account.positions.values():
            holding = self._holdings[position.trade_id]
            holding.peak = max(holding.peak, position.pnl_of_premium)
            if holding.pending is None:
                spot = self.book.spot(self.bar, False)
                state = self._state(position, holding)
                holding.pending = holding.rules.first(position, spot, state)
            if holding.pending is None and self._is_closing_out(position):
                holding.pending = "close_out"

    def _state(self, position: Position, holding: _Holding) -> HoldingState:
        arrays, session = self.path.arrays, self.path.session_of[self.bar]
        expires, now = self.path.ordinal_of(position.expiry), float(arrays.end_clock[self.bar])
        return HoldingState(
            peak_of_premium=holding.peak,
            minutes_held=now - holding.entry_clock,
            minutes_to_expiry=float(arrays.close_clock[expires]) - now,
            sessions_to_expiry=float(expires - self.path.ordinal[session]),
            exit_probability=holding.exit_probability,
        )

    def _assign(self, events: list[str]) -> None:
        """Apply the dividend rule at a session's end, if the next session is an ex-date."""
        following = int(self.path.session_of[self.bar]) + 1
        if following >= len(self.path.sessions) or self.path.dividend[following] == 0.0:
            return
        dividend, spot = float(self.path.dividend[following]), self.book.spot(self.bar, False)
        for position in self.account.positions.values():
            if position.expiry < self.path.sessions[following] or not _is_exercisable(
                position.legs, spot
            ):
                continue
            holding = self._holdings[position.trade_id]
            mids = self.book.mids(position.legs, self.bar, False)
            if mids is None or math.isnan(dividend):
                events.append("assignment_unpriced" if mids is None else "dividend_unknown")
            elif holding.assignment is None:
                holding.assignment = early_assignment(position.legs, mids, spot, dividend)
                if holding.assignment is not None:
                    holding.pending = "assignment"
                    events.append("assigned")

    def _is_closing_out(self, position: Position) -> bool:
        """Whether the next bar is the last one in which this position can be traded."""
        if self.config.close_out != "trade" or position.expiry != self.path.session(self.bar):
            return False
        return not self.path.is_last(self.bar) and self.path.is_last(self.bar + 1)


def _is_exercisable(legs: Sequence[Leg], spot: float) -> bool:
    """Whether a call was sold whose holder gains something by exercising it."""
    return any(
        leg.quantity < 0 and leg.contract.right == "C" and spot > leg.contract.strike
        for leg in legs
    )
