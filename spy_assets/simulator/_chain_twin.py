"""The readable twin of the compiled chain backtest: the same walk, over the accounting kernel.

Slow and plain: quotes of a snapshot are a dictionary, money moves through
:class:`~spy_assets.simulator.kernel.Account`, and the exit rules are the objects themselves. The
compiled pass must equal it to 1e-9 of a dollar.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date
from typing import NamedTuple

from spy_assets.options.structures import Leg, payoff_at_expiry
from spy_assets.sessions import session_close, sessions_apart, trading_minutes_between
from spy_assets.simulator.chain_backtest import due_entries
from spy_assets.simulator.chain_strategy import ChainStrategy, LegRule
from spy_assets.simulator.chain_table import ChainTable
from spy_assets.simulator.exits import HoldingState
from spy_assets.simulator.kernel import (
    Account,
    Assignment,
    Moment,
    OrderRejected,
    Position,
    Quote,
    Trade,
    check_invariant,
    close_assigned,
    close_position,
    early_assignment,
    mark,
    open_structure,
    settle_expiry,
)


class RowQuote(NamedTuple):
    """What a row of the table says."""

    strike: float
    bid: float
    ask: float
    delta: float

    @property
    def is_quoted(self) -> bool:
        """Whether bid and ask are there and not crossed."""
        return 0.0 <= self.bid <= self.ask and 0.0 < self.ask < math.inf

    def is_tradable(self, buy: bool, at_zero: bool = False) -> bool:
        """Whether a leg can be bought, or sold, here."""
        return self.is_quoted and (buy or at_zero or self.bid > 0.0)

    def quote(self) -> Quote:
        """As the accounting kernel takes it."""
        return Quote((self.bid + self.ask) / 2.0, self.bid, self.ask, "chain")


class Order(NamedTuple):
    """An entry that waits for the next snapshot."""

    snapshot: int
    term: int
    strikes: tuple[float, ...]


@dataclass
class Held:
    """An open position and what the clock knows of it."""

    position: Position
    term: int
    snapshot: int
    due: str | None = None
    peak: float = -math.inf


Quotes = dict[tuple[int, bool], dict[float, RowQuote]]


@dataclass
class TwinWalk:
    """One walk through a table; :meth:`run` gives itself."""

    table: ChainTable
    strategy: ChainStrategy
    account: Account = field(init=False)
    held: list[Held] = field(default_factory=list)
    order: Order | None = None
    outcomes: dict[int, str] = field(default_factory=dict)
    equity: list[tuple[float, float]] = field(default_factory=list)
    waits: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.account = Account(self.strategy.capital)
        self.buys = [leg.side > 0 for leg in self.strategy.definition.templates]
        self.puts = [leg.right == "P" for leg in self.strategy.definition.templates]

    def run(self) -> TwinWalk:
        """Walk through all snapshots, checking the books at each."""
        due = due_entries(self.table, self.strategy.entry)
        final = len(self.table.sessions) - 1
        following = self.strategy.fill == "next"
        for s in range(final + 1):
            quotes = self.quotes(s)
            self.settle_until(int(self.table.chain.time[s]))
            if following:
                self.fill_exits(s, quotes)
            if self.order is not None:
                self.outcomes[self.order.snapshot] = self.fill_order(self.order, s, quotes)
                self.order = None
            self.mark(s, quotes)
            if self.table.chain.dividend[s] > 0.0 and self.table.chain.last[s]:
                self.assign(s, quotes)
            self.ask_rules(s)
            if not following:
                self.fill_exits(s, quotes)
            if due[s]:
                self.outcomes[s] = self.enter(s, quotes, final=s == final)
            if s == final:
                self.end(s, quotes)
            check_invariant(self.account)
            self.equity.append((self.account.cash, self.account.marks))
        return self

    # ---------------------------------------------------------------- quotes

    def quotes(self, s: int) -> Quotes:
        """A snapshot's quotes by term and right, then by strike in ascending order."""
        c = self.table.chain
        found: Quotes = {}
        for k in range(c.first_segment[s], c.first_segment[s + 1]):
            term, put = divmod(int(c.segment_series[k]), 2)
            cut = slice(c.segment_row[k], c.segment_row[k + 1])
            rows = zip(*(a[cut].tolist() for a in (c.strike, c.bid, c.ask, c.delta)), strict=True)
            found[term, bool(put)] = {row[0]: RowQuote(*row) for row in rows}
        return found

    def quotes_of(self, held: Held, quotes: Quotes) -> list[RowQuote] | None:
        """The quotes of a position's legs; None if one of them has none."""
        found = [
            quotes.get((held.term, leg.contract.right == "P"), {}).get(leg.contract.strike)
            for leg in held.position.legs
        ]
        known = [one for one in found if one is not None and one.is_quoted]
        return known if len(known) == len(found) else None

    def moment(self, s: int) -> Moment:
        """A snapshot as the accounting kernel wants it."""
        return Moment(self.table.sessions[s], self.table.moment(s), float(self.table.chain.spot[s]))

    def closes(self, s: int) -> int:
        """Closing bells up to a snapshot."""
        return int(self.table.chain.closes[s])

    # ---------------------------------------------------------------- ends

    def settle_until(self, moment: int) -> None:
        """Settle what has expired, where the underlying's close is known."""
        c = self.table.chain
        for held in list(self.held):
            spot = float(c.settlement[held.term])
            if c.settles[held.term] <= moment and math.isfinite(spot):
                held.position.closes_held = self.table.closes_at(held.term) - self.closes(
                    held.snapshot
                )
                at = Moment(self.table.last_day(held.term), self.table.settles_at(held.term), spot)
                settle_expiry(self.account, held.position, at)
                self.held.remove(held)

    def close(
        self,
        held: Held,
        s: int,
        quotes: Quotes,
        reason: str,
        assignment: Assignment | None = None,
    ) -> bool:
        """Trade a position back, but for an assigned leg; False if a leg cannot be traded."""
        given_up = self.strategy.sell_at_zero_bid or assignment is not None
        traded: list[Quote] = []
        for at, leg in enumerate(held.position.legs):
            row = quotes.get((held.term, self.puts[at]), {}).get(leg.contract.strike)
            if row is None or not row.is_tradable(leg.quantity < 0, given_up):
                return False
            traded.append(row.quote())
        held.position.closes_held = self.closes(s) - self.closes(held.snapshot)
        account, position, moment = self.account, held.position, self.moment(s)
        costs = self.strategy.costs
        if assignment is None:
            close_position(account, position, traded, costs=costs, moment=moment, reason=reason)
        else:
            close_assigned(account, position, assignment, traded, costs=costs, moment=moment)
        self.held.remove(held)
        return True

    def fill_exits(self, s: int, quotes: Quotes) -> None:
        """Close what waits; what cannot be traded waits on."""
        for held in list(self.held):
            if held.due is not None and not self.close(held, s, quotes, held.due):
                self.waits[held.position.trade_id] += 1

    def assign(self, s: int, quotes: Quotes) -> None:
        """Exercise short calls whose time value is less than the dividend of the next session."""
        c = self.table.chain
        for held in list(self.held):
            legs = held.position.legs
            rows = [
                quotes.get((held.term, put), {}).get(leg.contract.strike)
                for leg, put in zip(legs, self.puts, strict=True)
            ]
            mids = [
                row.quote().mid if row is not None and row.is_quoted else math.nan for row in rows
            ]
            if self.table.last_day(held.term) <= self.table.sessions[s]:
                continue
            found = early_assignment(legs, mids, float(c.spot[s]), float(c.dividend[s]))
            if found is not None:
                # Covered at once, while the dividend is still in the spot: none is owed.
                self.close(held, s, quotes, "assignment", replace(found, dividend=0.0))

    def end(self, s: int, quotes: Quotes) -> None:
        """Close what is left, but for what is settled later on the last day."""
        c, last = self.table.chain, self.table.sessions[s]
        for held in list(self.held) if self.strategy.close_at_end else ():
            settled = self.table.last_day(held.term) == last
            if not (settled and math.isfinite(c.settlement[held.term])):
                self.close(held, s, quotes, "end_of_data")
        end_of_day = (int(c.day[s]) + 1) * 86_400_000_000
        self.settle_until(end_of_day)

    # ---------------------------------------------------------------- marks and rules

    def mark(self, s: int, quotes: Quotes) -> None:
        """Mark at mid; a position with a leg that is not quoted keeps its mark."""
        for held in self.held:
            rows = self.quotes_of(held, quotes)
            if rows is None:
                held.position.stale_marks += 1
            else:
                mids = [row.quote().mid for row in rows]
                mark(self.account, held.position, mids, self.table.sessions[s])

    def ask_rules(self, s: int) -> None:
        """Ask the chain of rules."""
        for held in self.held:
            if held.due is not None or held.snapshot >= s:
                continue
            held.position.closes_held = self.closes(s) - self.closes(held.snapshot)
            held.peak = max(held.peak, held.position.pnl_of_premium)
            spot = float(self.table.chain.spot[s])
            held.due = self.strategy.rules.first(held.position, spot, self.state(held, s))

    def state(self, held: Held, s: int) -> HoldingState:
        """What the clock knows of a position at a snapshot."""
        now, last_day = self.table.moment(s), self.table.last_day(held.term)
        return HoldingState(
            peak_of_premium=held.peak,
            minutes_held=trading_minutes_between(self.table.moment(held.snapshot), now),
            minutes_to_expiry=trading_minutes_between(now, session_close(last_day)),
            sessions_to_expiry=sessions_apart(self.table.sessions[s], last_day),
        )

    # ---------------------------------------------------------------- entries

    def enter(self, s: int, quotes: Quotes, *, final: bool) -> str:
        """Decide on an entry; what became of it."""
        order = self.decide(s, quotes)
        if isinstance(order, str):
            return order
        if final:
            return "end_of_table"
        if self.strategy.fill == "next":
            self.order = order
            return "ordered"
        return self.open(order, s, quotes)

    def decide(self, s: int, quotes: Quotes) -> Order | str:
        """The entry that the rules ask for, or why there is none."""
        entry, c = self.strategy.entry, self.table.chain
        if len(self.held) >= entry.most_open:
            return "position_limit"
        if not c.spot[s] > 0.0:
            return "no_spot"
        term = self.choose_term(s, quotes)
        if term is None:
            return "no_expiry"
        same = sum(one.term == term for one in self.held)
        if entry.most_per_expiry is not None and same >= entry.most_per_expiry:
            return "expiry_limit"
        if self.table.last_day(term) <= self.table.sessions[-1] and math.isnan(c.settlement[term]):
            return "no_settlement"
        strikes = self.choose_strikes(s, term, quotes)
        return strikes if isinstance(strikes, str) else Order(s, term, strikes)

    def choose_term(self, s: int, quotes: Quotes) -> int | None:
        """The term nearest to the days wanted, the later of two."""
        rule, c = self.strategy.expiry, self.table.chain
        today: date = self.table.sessions[s]
        found = []
        for term in sorted({term for term, _ in quotes}):
            days = (self.table.last_day(term) - today).days
            alive = c.settles[term] > c.time[s] and (rule.opening or not c.opening[term])
            if rule.low <= days <= rule.high and alive:
                found.append((abs(days - rule.target), -days, term))
        return min(found)[2] if found else None

    def choose_strikes(self, s: int, term: int, quotes: Quotes) -> tuple[float, ...] | str:
        """Each leg's strike, or why there are none."""
        templates = self.strategy.definition.templates
        chosen: dict[int, float] = {}
        for at in self.strategy.leg_order():
            strike = self.choose_strike(s, term, at, chosen, quotes)
            if strike is None:
                return "no_quote"
            chosen[at] = strike
        for i, one in enumerate(templates):
            for j, other in enumerate(templates):
                if (one.offset < other.offset) != (chosen[i] < chosen[j]):
                    return "legs_coincide"
        return tuple(chosen[at] for at in range(len(templates)))

    def choose_strike(
        self, s: int, term: int, at: int, chosen: dict[int, float], quotes: Quotes
    ) -> float | None:
        """The strike of one leg, None if none is near enough."""
        rule = self.strategy.legs[at]
        listed = quotes.get((term, self.puts[at]), {}).values()
        rows = [row for row in listed if row.is_tradable(self.buys[at])]
        if rule.how == "delta":
            misses = [(abs(abs(row.delta) - rule.value), -row.strike) for row in rows]
            limit = self.strategy.delta_miss
        else:
            target = self.target(s, term, rule, chosen, quotes)
            misses = [(abs(row.strike - target), -row.strike) for row in rows]
            same = rule.how == "leg" and rule.value == 0.0 and rule.share == 0.0
            limit = 0.0 if same else self.strategy.strike_miss
        near = [one for one in misses if one[0] <= limit]
        return -min(near)[1] if near else None

    def target(
        self, s: int, term: int, rule: LegRule, chosen: dict[int, float], quotes: Quotes
    ) -> float:
        """The strike that a rule asks for."""
        spot = float(self.table.chain.spot[s])
        if rule.how == "leg":
            start = chosen[rule.other]
        else:
            listed = quotes.get((term, False)) or quotes[term, True]
            start = min(listed, key=lambda strike: (abs(strike - spot), -strike))
        return start + (rule.value + rule.share * spot)

    def fill_order(self, order: Order, s: int, quotes: Quotes) -> str:
        """Fill the entry of the snapshot before."""
        c = self.table.chain
        if self.closes(s) - self.closes(order.snapshot) > 1:
            return "no_next_session"
        if c.settles[order.term] <= c.time[s]:
            return "expired_before_fill"
        if not c.spot[s] > 0.0:
            return "no_spot"
        return self.open(order, s, quotes)

    def open(self, order: Order, s: int, quotes: Quotes) -> str:
        """Open a structure at the snapshot's quotes."""
        traded = []
        for strike, put, buy in zip(order.strikes, self.puts, self.buys, strict=True):
            row = quotes.get((order.term, put), {}).get(strike)
            if row is None or not row.is_tradable(buy):
                return "not_quoted_at_fill"
            traded.append(row.quote())
        templates = self.strategy.definition.templates
        legs = tuple(
            Leg(self.table.contract(order.term, put, strike), one.side * one.ratio)
            for one, put, strike in zip(templates, self.puts, order.strikes, strict=True)
        )
        try:
            position = open_structure(
                self.account,
                self.strategy.structure,
                legs,
                traded,
                quantity=self.strategy.units,
                costs=self.strategy.costs,
                moment=self.moment(s),
                decision_session=self.table.sessions[order.snapshot],
                allow_naked=self.strategy.allow_naked,
            )
        except OrderRejected:
            unbounded = payoff_at_expiry(legs, 1e9) < -1e9
            return "unbounded" if unbounded and not self.strategy.allow_naked else "funds"
        self.held.append(Held(position, order.term, s))
        return "entered"

    @property
    def trades(self) -> list[Trade]:
        """Closed trades in the order of their entries."""
        return sorted(self.account.trades, key=lambda trade: trade.trade_id)
