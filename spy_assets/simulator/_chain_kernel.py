"""Compiled: structures over a chain table in one pass through its snapshots.

The accounting is that of :mod:`spy_assets.simulator.kernel`, written out for numbers; the readable twin
that it must equal is :mod:`spy_assets.simulator._chain_twin`. What happens at a snapshot, in order:

1. what has expired by then is settled at intrinsic value;
2. exits that wait are filled, if every leg has a quote that it can be traded at; then the entry that
   was decided one snapshot before;
3. open positions are marked at mid, or keep their mark if a leg has no quote;
4. short calls are assigned at the last snapshot before an ex-date, if the dividend exceeds what is left
   of their time value: shares are delivered at the strike and covered at that snapshot's spot, which
   still has the dividend in it, and the other legs are traded back;
5. the exit rules are asked of every position that was opened before;
6. an entry is decided.

With ``fill_next`` off, orders of steps 5 and 6 fill at once, at the quotes they were decided on.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options.compiled import kernel
from spy_assets.options.contracts import MULTIPLIER
from spy_assets.simulator.kernel import NAKED_FLOOR, NAKED_RATE

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MOST_LEGS = 4
DAY_US = 86_400_000_000

#: How a leg finds its strike: by absolute delta, from the strike at the money, from another leg's.
BY_DELTA, FROM_MIDDLE, FROM_LEG = 0, 1, 2
#: Kinds of exit rules (:mod:`spy_assets.simulator.exits`).
(
    STOP_LOSS, CREDIT_STOP, PROFIT_TARGET, TRAILING_STOP, SPOT_MOVE, MAX_HOLD, TIME_STOP, NEAR_EXPIRY,
    MODEL_EXIT,
) = range(9)  # fmt: skip

#: What became of an entry; 0 where none was looked for.
ENTRY_CODES = (
    "not_due", "entered", "position_limit", "expiry_limit", "no_spot", "no_expiry", "no_settlement",
    "no_quote", "legs_coincide", "unbounded", "funds", "no_next_session", "not_quoted_at_fill",
    "expired_before_fill", "end_of_table", "ordered",
)  # fmt: skip
(
    NOT_DUE, ENTERED, POSITION_LIMIT, EXPIRY_LIMIT, NO_SPOT, NO_EXPIRY, NO_SETTLEMENT, NO_QUOTE,
    LEGS_COINCIDE, UNBOUNDED, FUNDS, NO_NEXT_SESSION, NOT_QUOTED_AT_FILL, EXPIRED_BEFORE_FILL,
    END_OF_TABLE, ORDERED,
) = range(len(ENTRY_CODES))  # fmt: skip

#: Exit reasons beside the rules of the chain, whose reasons are their places in it.
OPEN = -1
#: As numbers of a type: numba compiles a kernel anew for each plain constant that it is called with.
EXPIRY, EARLY_ASSIGNMENT, END_OF_DATA = np.int64(100), np.int64(101), np.int64(102)

#: Columns of a trade's dollars; the peak is of the P&L over the premium, as exit rules measure it.
MONEY = (
    "entry_value", "exit_value", "gross", "half_spread", "spread", "slippage", "commission", "pnl",
    "mark", "margin", "capital_at_risk", "peak",
)  # fmt: skip
(
    ENTRY_VALUE, EXIT_VALUE, GROSS, HALF_SPREAD, SPREAD, SLIPPAGE, COMMISSION, PNL, MARK, MARGIN, RISK,
    PEAK,
) = range(len(MONEY))  # fmt: skip
#: Columns of a trade's whole numbers; snapshots are -1 where there was none.
COUNTED = (
    "decided", "entered", "exited", "term", "reason", "due_reason", "stale", "waits", "unassigned",
)  # fmt: skip
DECIDED, ENTERED_AT, EXITED_AT, TERM, REASON, DUE_REASON, STALE, WAITS, UNASSIGNED = range(9)
#: Columns of the account's numbers, and of its counts.
CASH, CASH_CARRY = 0, 1
TRADES, OPEN_NOW = 0, 1


class Chain(NamedTuple):
    """A chain table as arrays; :class:`~spy_assets.simulator.chain_table.ChainTable` explains it.

    Per snapshot: ``time`` (UTC microseconds), ``day`` (days since 1970), ``session`` (sessions are
    counted), ``closes`` (closing bells up to then), ``minutes`` (of trading up to then), ``last``
    (whether it is its session's last), ``spot``, ``dividend`` (dollars that go ex at the next
    session's open). Per segment and row as in
    :class:`~spy_assets.simulator._chain_order_kernel.Order`; series 2 t are the calls of term t,
    2 t + 1 its puts. Per term: ``expiry`` (its last session, days since 1970), ``end_session``,
    ``end_minutes`` (that session's number, and trading up to its close), ``opening`` (settled at the
    open), ``settles`` (UTC microseconds) and ``settlement`` (the underlying then, NaN if unknown).
    """

    time: IntArray
    day: IntArray
    session: IntArray
    closes: IntArray
    minutes: FloatArray
    last: BoolArray
    spot: FloatArray
    dividend: FloatArray
    first_segment: IntArray
    segment_series: IntArray
    segment_row: IntArray
    strike: FloatArray
    bid: FloatArray
    ask: FloatArray
    delta: FloatArray
    expiry: IntArray
    end_session: IntArray
    end_minutes: FloatArray
    opening: BoolArray
    settles: IntArray
    settlement: FloatArray


class Plan(NamedTuple):
    """What is traded and how; :class:`~spy_assets.simulator.chain_backtest.ChainStrategy` explains it.

    ``order`` are the legs in the order in which they are chosen, ``rank`` is low for a low strike and
    equal for legs of one strike. ``value`` is a delta, or dollars from the other strike, to which
    ``share`` of the spot is added.
    """

    put: BoolArray
    quantity: IntArray
    rank: IntArray
    how: IntArray
    value: FloatArray
    share: FloatArray
    other: IntArray
    order: IntArray
    strike_miss: float
    delta_miss: float
    dte_low: int
    dte_high: int
    dte: int
    opening: bool
    most_open: int
    most_per_expiry: int
    units: int
    naked: bool
    alpha: float
    commission: float
    slippage: float
    sell_fee: float
    fill_next: bool
    sell_at_zero: bool
    close_at_end: bool
    rule: IntArray
    limit: FloatArray
    other_limit: FloatArray


class Books(NamedTuple):
    """What a pass leaves behind; one row a trade, and one a snapshot."""

    money: FloatArray
    """(trades, MONEY)"""
    counted: IntArray
    """(trades, COUNTED)"""
    entry_row: IntArray
    """(trades, 4) row of each leg's quote; -1 where there is none."""
    exit_row: IntArray
    exit_mid: FloatArray
    """(trades, 4) mid, or what an assigned leg was worth; NaN where nothing was traded."""
    entry_price: FloatArray
    exit_price: FloatArray
    open: IntArray
    """(most open,) which trades are open, oldest first."""
    cash: FloatArray
    counts: IntArray
    equity: FloatArray
    """(snapshots, 4) cash, marks, open positions, and those whose mark was carried."""
    entries: IntArray
    """(snapshots,) what became of the entry that was due there: a number of ENTRY_CODES."""


@kernel
def find_segment(c: Chain, s: int, series: int) -> int:
    """The segment of a series in a snapshot, or -1."""
    low, high = c.first_segment[s], c.first_segment[s + 1]
    while low < high:
        middle = (low + high) // 2
        if c.segment_series[middle] < series:
            low = middle + 1
        else:
            high = middle
    if low < c.first_segment[s + 1] and c.segment_series[low] == series:
        return int(low)
    return -1


@kernel
def find_row(c: Chain, s: int, series: int, strike: float) -> int:
    """The row of a contract in a snapshot, or -1."""
    segment = find_segment(c, s, series)
    if segment < 0:
        return -1
    low, end = c.segment_row[segment], c.segment_row[segment + 1]
    high = end
    while low < high:
        middle = (low + high) // 2
        if c.strike[middle] < strike:
            low = middle + 1
        else:
            high = middle
    return int(low) if low < end and c.strike[low] == strike else -1


@kernel
def is_market(bid: float, ask: float) -> bool:
    """Whether there are a bid and an offer that are not crossed; comparisons with NaN are false."""
    return bool(0.0 <= bid <= ask and 0.0 < ask < math.inf)


@kernel
def is_quoted(c: Chain, row: int) -> bool:
    """Whether a row is there and its quote is a market."""
    return row >= 0 and is_market(c.bid[row], c.ask[row])


@kernel
def is_tradable(c: Chain, row: int, buy: bool) -> bool:
    """Whether a leg can be bought, or sold, at a row's quote: without a bid nobody buys it."""
    return is_quoted(c, row) and (buy or c.bid[row] > 0.0)


@kernel
def nearest_row(
    values: FloatArray, bid: FloatArray, ask: FloatArray, target: float, buy: bool
) -> int:
    """The tradable place whose value without its sign is nearest; the last of two; -1 for none.

    Of a segment's own arrays: to hand the whole chain to every row's test would cost more than the test.
    """
    best, miss = -1, math.inf
    for i in range(values.size):
        away = abs(abs(values[i]) - target)
        if away <= miss and is_market(bid[i], ask[i]) and (buy or bid[i] > 0.0):
            best, miss = i, away
    return best


@kernel
def choose_term(c: Chain, p: Plan, s: int) -> int:
    """The term nearest to the days wanted, the later of two, the first root of one day; or -1."""
    best, miss = -1, 0
    for k in range(c.first_segment[s], c.first_segment[s + 1]):
        term = c.segment_series[k] // 2
        days = c.expiry[term] - c.day[s]
        away = abs(days - p.dte)
        allowed = p.dte_low <= days <= p.dte_high and c.settles[term] > c.time[s]
        nearer = best < 0 or away < miss or (away == miss and c.expiry[term] > c.expiry[best])
        if allowed and nearer and (p.opening or not c.opening[term]):
            best, miss = term, away
    return int(best)


@kernel
def middle_strike(c: Chain, s: int, term: int) -> float:
    """The listed strike of the term that is nearest to the spot, half-way up."""
    segment = find_segment(c, s, 2 * term)
    if segment < 0:
        segment = find_segment(c, s, 2 * term + 1)
    best = c.segment_row[segment]
    for row in range(c.segment_row[segment], c.segment_row[segment + 1]):
        if abs(c.strike[row] - c.spot[s]) <= abs(c.strike[best] - c.spot[s]):
            best = row
    return float(c.strike[best])


@kernel
def choose_leg(c: Chain, p: Plan, s: int, term: int, leg: int, rows: IntArray) -> int:
    """The row of one leg's contract, -1 if none is near enough to what the plan asks for."""
    segment = find_segment(c, s, 2 * term + int(p.put[leg]))
    if segment < 0:
        return -1
    buy = p.quantity[leg] > 0
    first, end = c.segment_row[segment], c.segment_row[segment + 1]
    by_delta = p.how[leg] == BY_DELTA
    target, miss = p.value[leg], p.delta_miss
    if not by_delta:
        away = p.value[leg] + p.share[leg] * c.spot[s]
        from_leg = p.how[leg] == FROM_LEG
        start = c.strike[rows[p.other[leg]]] if from_leg else middle_strike(c, s, term)
        target = start + away
        miss = 0.0 if from_leg and away == 0.0 else p.strike_miss
    values = c.delta[first:end] if by_delta else c.strike[first:end]
    place = nearest_row(values, c.bid[first:end], c.ask[first:end], target, buy)
    if place < 0 or abs(abs(values[place]) - target) > miss:
        return -1
    return int(first + place)


@kernel
def choose_legs(c: Chain, p: Plan, s: int, term: int, rows: IntArray) -> int:
    """Fill in the row of each leg; gives 0, or a code of what is wrong."""
    for leg in p.order:
        rows[leg] = choose_leg(c, p, s, term, leg, rows)
        if rows[leg] < 0:
            return NO_QUOTE
    for i in range(p.order.size):
        for j in range(i):
            apart = np.sign(c.strike[rows[i]] - c.strike[rows[j]])
            if apart != np.sign(p.rank[i] - p.rank[j]):
                return LEGS_COINCIDE
    return 0


@kernel
def add_cash(b: Books, trade: int, amount: float) -> None:
    """Enter a movement of cash, in a compensated sum as the account's."""
    due = amount - b.cash[CASH_CARRY]
    cash = b.cash[CASH] + due
    b.cash[CASH_CARRY] = (cash - b.cash[CASH]) - due
    b.cash[CASH] = cash
    b.money[trade, PNL] += amount


@kernel
def price_leg(p: Plan, quantity: int, mid: float, side: float) -> tuple[float, float, float]:
    """Price, spread and slippage a share of a fill between mid and its side of the quote.

    As :meth:`~spy_assets.simulator.costs.CostModel.fill`.
    """
    slip = p.slippage * mid
    quoted = side if p.alpha == 1.0 else mid + p.alpha * (side - mid)
    if quantity > 0:
        return quoted + slip, quoted - mid, slip
    price = max(0.0, quoted - slip)
    return price, mid - quoted, quoted - price


@kernel
def fees_of(p: Plan, quantity: int, price: float) -> float:
    """Commission, and the fee on a sale's proceeds, dollars."""
    fees = p.commission * abs(quantity)
    if quantity < 0 and p.sell_fee > 0.0:
        fees += p.sell_fee * price * abs(quantity) * MULTIPLIER
    return float(fees)


@kernel
def trade_leg(b: Books, p: Plan, trade: int, quantity: int, mid: float, side: float) -> float:
    """Buy or sell contracts of one leg and book the fill; gives its price."""
    shares = abs(quantity) * MULTIPLIER
    price, spread, slip = price_leg(p, quantity, mid, side)
    fees = fees_of(p, quantity, price)
    add_cash(b, trade, -quantity * mid * MULTIPLIER)
    b.money[trade, GROSS] += -quantity * mid * MULTIPLIER
    add_cash(b, trade, -spread * shares)
    add_cash(b, trade, -slip * shares)
    add_cash(b, trade, -fees)
    b.money[trade, HALF_SPREAD] += abs(side - mid) * shares
    b.money[trade, SPREAD] += spread * shares
    b.money[trade, SLIPPAGE] += slip * shares
    b.money[trade, COMMISSION] += fees
    return float(price)


@kernel
def mid_of(c: Chain, row: int) -> float:
    """The middle of a row's quote."""
    return float((c.bid[row] + c.ask[row]) / 2.0)


@kernel
def side_of(c: Chain, row: int, quantity: int) -> float:
    """The side of a row's quote that is traded at: the ask for a buy, the bid for a sale."""
    return float(c.ask[row] if quantity > 0 else c.bid[row])


@kernel
def payoff(c: Chain, p: Plan, rows: IntArray, spot: float) -> float:
    """Dollars that one unit pays at expiry."""
    total = 0.0
    for leg in range(p.order.size):
        sign = -1.0 if p.put[leg] else 1.0
        total += p.quantity[leg] * max(0.0, sign * (spot - c.strike[rows[leg]]))
    return total * MULTIPLIER


@kernel
def worst_payoff(c: Chain, p: Plan, rows: IntArray) -> float:
    """The lowest payoff of a unit at its kinks; minus infinity if calls are short above the last."""
    calls = 0
    worst = payoff(c, p, rows, 0.0)
    for leg in range(p.order.size):
        calls += 0 if p.put[leg] else p.quantity[leg]
        worst = min(worst, payoff(c, p, rows, c.strike[rows[leg]]))
    return -math.inf if calls < 0 else worst


@kernel
def naked_margin(c: Chain, p: Plan, rows: IntArray, spot: float) -> float:
    """Reg-T of a unit's short legs, as :func:`~spy_assets.simulator.kernel.uncovered_margin`."""
    margin = 0.0
    for leg in range(p.order.size):
        if p.quantity[leg] < 0:
            sign = -1.0 if p.put[leg] else 1.0
            away = max(0.0, sign * (c.strike[rows[leg]] - spot))
            floor = NAKED_FLOOR * (c.strike[rows[leg]] if p.put[leg] else spot)
            rate = max(NAKED_RATE * spot - away, floor)
            margin += -p.quantity[leg] * MULTIPLIER * (mid_of(c, rows[leg]) + rate)
    return margin


@kernel
def available(b: Books) -> float:
    """Cash that is not set aside as margin."""
    margin = 0.0
    for k in range(b.counts[OPEN_NOW]):
        margin += b.money[b.open[k], MARGIN]
    return float(b.cash[CASH] - margin)


@kernel
def open_trade(c: Chain, p: Plan, b: Books, s: int, decided: int, term: int, rows: IntArray) -> int:
    """Open one trade at a snapshot's quotes; gives a code, ENTERED if it was opened."""
    worst = worst_payoff(c, p, rows)
    bounded = math.isfinite(worst)
    if not (bounded or p.naked):
        return UNBOUNDED
    margin = p.units * (max(0.0, -worst) if bounded else naked_margin(c, p, rows, c.spot[s]))
    trade = b.counts[TRADES]
    paid = fees = worth = 0.0
    for leg in range(p.order.size):
        quantity, mid = p.quantity[leg] * p.units, mid_of(c, rows[leg])
        price, _, _ = price_leg(p, quantity, mid, side_of(c, rows[leg], quantity))
        paid += quantity * price * MULTIPLIER
        fees += fees_of(p, quantity, price)
        worth += p.quantity[leg] * mid
    if paid + fees + margin > available(b):
        return FUNDS
    for leg in range(p.order.size):
        quantity, mid = p.quantity[leg] * p.units, mid_of(c, rows[leg])
        side = side_of(c, rows[leg], quantity)
        b.entry_price[trade, leg] = trade_leg(b, p, trade, quantity, mid, side)
        b.entry_row[trade, leg] = rows[leg]
    loss = max(0.0, paid / p.units + fees / p.units - worst) * p.units if bounded else margin
    b.money[trade, ENTRY_VALUE], b.money[trade, MARGIN] = paid, margin
    b.money[trade, RISK] = max(loss, float(p.units))
    b.money[trade, MARK] = worth * p.units * MULTIPLIER
    b.money[trade, PEAK] = -math.inf
    b.counted[trade, DECIDED], b.counted[trade, ENTERED_AT] = decided, s
    b.counted[trade, TERM] = term
    b.open[b.counts[OPEN_NOW]] = trade
    b.counts[OPEN_NOW] += 1
    b.counts[TRADES] += 1
    return ENTERED


@kernel
def forget(b: Books, place: int, s: int, reason: int) -> None:
    """Take a closed trade off the list of open ones."""
    trade = b.open[place]
    b.counted[trade, EXITED_AT], b.counted[trade, REASON] = s, reason
    b.money[trade, MARK], b.money[trade, MARGIN] = 0.0, 0.0
    for k in range(place, b.counts[OPEN_NOW] - 1):
        b.open[k] = b.open[k + 1]
    b.counts[OPEN_NOW] -= 1


@kernel
def deliver(b: Books, trade: int, value: float) -> None:
    """Book what an exercise brings: no spread, no slippage, no commission."""
    add_cash(b, trade, value)
    b.money[trade, GROSS] += value


@kernel
def settle(c: Chain, p: Plan, b: Books, place: int, s: int) -> None:
    """Settle one trade at intrinsic value; no spread, no commission."""
    trade = b.open[place]
    spot = c.settlement[b.counted[trade, TERM]]
    value = payoff(c, p, b.entry_row[trade], spot) * p.units
    deliver(b, trade, value)
    b.money[trade, EXIT_VALUE] = value
    forget(b, place, s, int(EXPIRY))


@kernel
def settle_due(c: Chain, p: Plan, b: Books, s: int, until: int) -> None:
    """Settle what has expired by a moment; what has no price to settle at stays open."""
    for place in range(b.counts[OPEN_NOW] - 1, -1, -1):  # a closed one leaves the list
        term = b.counted[b.open[place], TERM]
        if c.settles[term] <= until and math.isfinite(c.settlement[term]):
            settle(c, p, b, place, s)


@kernel
def leg_rows(c: Chain, p: Plan, b: Books, trade: int, s: int, rows: IntArray) -> bool:
    """Find an open trade's legs in a snapshot; whether all of them are quoted."""
    quoted = True
    for leg in range(p.order.size):
        series = 2 * b.counted[trade, TERM] + int(p.put[leg])
        rows[leg] = find_row(c, s, series, c.strike[b.entry_row[trade, leg]])
        quoted &= is_quoted(c, rows[leg])
    return quoted


@kernel
def can_close(c: Chain, p: Plan, rows: IntArray, assigned: IntArray) -> bool:
    """Whether every leg that is not assigned can be traded back; a leg without a bid is given up."""
    any_bid = p.sell_at_zero or assigned.any()
    for leg in range(p.order.size):
        any_side = any_bid and is_quoted(c, rows[leg])
        if not (assigned[leg] or any_side or is_tradable(c, rows[leg], p.quantity[leg] < 0)):
            return False
    return True


@kernel
def close_trade(
    c: Chain, p: Plan, b: Books, place: int, s: int, reason: int, assigned: IntArray
) -> bool:
    """Trade every leg back at its quote, assigned ones at intrinsic; False if one cannot be."""
    trade = b.open[place]
    rows = np.empty(MOST_LEGS, np.int64)
    leg_rows(c, p, b, trade, s, rows)
    if not can_close(c, p, rows, assigned):
        return False
    value = 0.0
    for leg in range(p.order.size):
        quantity = -p.quantity[leg] * p.units
        if assigned[leg]:
            price = c.spot[s] - c.strike[b.entry_row[trade, leg]]
            b.exit_mid[trade, leg] = price
            deliver(b, trade, -quantity * price * MULTIPLIER)
        else:
            b.exit_row[trade, leg], b.exit_mid[trade, leg] = rows[leg], mid_of(c, rows[leg])
            side = side_of(c, rows[leg], quantity)
            price = trade_leg(b, p, trade, quantity, mid_of(c, rows[leg]), side)
        b.exit_price[trade, leg] = price
        value -= quantity * price * MULTIPLIER
    b.money[trade, EXIT_VALUE] = value
    forget(b, place, s, reason)
    return True


@kernel
def fill_exits(c: Chain, p: Plan, b: Books, s: int, nobody: IntArray) -> None:
    """Close what waits to be closed; what cannot be traded now waits on, and is counted."""
    for place in range(b.counts[OPEN_NOW] - 1, -1, -1):
        trade = b.open[place]
        reason = b.counted[trade, DUE_REASON]
        if reason != OPEN and not close_trade(c, p, b, place, s, reason, nobody):
            b.counted[trade, WAITS] += 1


@kernel
def mark_open(c: Chain, p: Plan, b: Books, s: int) -> int:
    """Mark every open trade at mid; gives how many kept their mark because a leg has no quote."""
    rows = np.empty(MOST_LEGS, np.int64)
    carried = 0
    for k in range(b.counts[OPEN_NOW]):
        trade = b.open[k]
        if not leg_rows(c, p, b, trade, s, rows):
            b.counted[trade, STALE] += 1
            carried += 1
            continue
        total = 0.0
        for leg in range(p.order.size):
            total += p.quantity[leg] * mid_of(c, rows[leg])
        b.money[trade, MARK] += total * p.units * MULTIPLIER - b.money[trade, MARK]
    return carried


@kernel
def assign(c: Chain, p: Plan, b: Books, s: int) -> None:
    """Close trades whose short calls are exercised for the dividend of the next session."""
    rows, assigned = np.empty(MOST_LEGS, np.int64), np.zeros(MOST_LEGS, np.int64)
    for place in range(b.counts[OPEN_NOW] - 1, -1, -1):
        trade = b.open[place]
        leg_rows(c, p, b, trade, s, rows)
        assigned[:] = 0
        for leg in range(p.order.size):
            inside = c.spot[s] - c.strike[b.entry_row[trade, leg]]
            short = p.quantity[leg] < 0 and not p.put[leg] and inside > 0.0
            alive = c.expiry[b.counted[trade, TERM]] > c.day[s]
            if short and alive and is_quoted(c, rows[leg]):
                assigned[leg] = mid_of(c, rows[leg]) - inside < c.dividend[s]
        if assigned.any() and not close_trade(c, p, b, place, s, int(EARLY_ASSIGNMENT), assigned):
            b.counted[trade, UNASSIGNED] += 1


class Holding(NamedTuple):
    """What an exit rule may ask of an open trade; P&L over the premium."""

    debit: bool
    gained: float
    peak: float
    cost: float
    moved: float
    closes: int
    minutes: float
    minutes_left: float
    sessions_left: int


@kernel
def value_fires(kind: int, limit: float, other: float, x: Holding) -> bool:
    """Whether a rule about the position's value fires."""
    if kind == STOP_LOSS:
        return x.gained <= -(limit if x.debit else other)
    if kind == CREDIT_STOP:
        return not x.debit and x.cost >= limit
    if kind == PROFIT_TARGET:
        return x.gained >= (limit if x.debit else other)
    return kind == TRAILING_STOP and x.peak >= limit and x.gained <= x.peak - other


@kernel
def clock_fires(kind: int, limit: float, other: float, x: Holding) -> bool:
    """Whether a rule about the underlying or about time fires."""
    if kind == SPOT_MOVE:
        return not limit < x.moved < other
    if kind == MAX_HOLD:
        return x.closes >= limit
    if kind == TIME_STOP:
        return x.minutes >= limit
    return kind == NEAR_EXPIRY and (x.minutes_left <= limit or x.sessions_left <= other)


@kernel
def look_at(c: Chain, p: Plan, b: Books, trade: int, s: int) -> Holding:
    """What the rules may ask of a trade at a snapshot; its highest P&L is kept."""
    entry, term = b.counted[trade, ENTERED_AT], b.counted[trade, TERM]
    paid, mark = b.money[trade, ENTRY_VALUE], b.money[trade, MARK]
    gained = (b.money[trade, PNL] + mark) / max(abs(paid), float(p.units))
    peak = max(gained, b.money[trade, PEAK])
    b.money[trade, PEAK] = peak
    return Holding(
        paid > 0.0,
        gained,
        peak,
        mark / paid if paid < 0.0 else 0.0,
        c.spot[s] / c.spot[entry] - 1.0,
        c.closes[s] - c.closes[entry],
        c.minutes[s] - c.minutes[entry],
        c.end_minutes[term] - c.minutes[s],
        c.end_session[term] - c.session[s],
    )


@kernel
def ask_rules(c: Chain, p: Plan, b: Books, s: int) -> None:
    """Ask the rules of every trade that was opened before and does not wait for its exit yet."""
    for k in range(b.counts[OPEN_NOW]):
        trade = b.open[k]
        if b.counted[trade, DUE_REASON] != OPEN or b.counted[trade, ENTERED_AT] == s:
            continue
        holding = look_at(c, p, b, trade, s)
        for n in range(p.rule.size):
            kind, limit, other = p.rule[n], p.limit[n], p.other_limit[n]
            if value_fires(kind, limit, other, holding) or clock_fires(kind, limit, other, holding):
                b.counted[trade, DUE_REASON] = n
                break


@kernel
def lacks_settlement(c: Chain, term: int) -> bool:
    """Whether a term ends within the table without a price to settle it at."""
    return bool(c.expiry[term] <= c.day[-1] and not math.isfinite(c.settlement[term]))


@kernel
def decide(c: Chain, p: Plan, b: Books, s: int, rows: IntArray) -> tuple[int, int]:
    """Look for an entry at a snapshot; gives its code, 0 if there is one, and its term."""
    if b.counts[OPEN_NOW] >= p.most_open:
        return POSITION_LIMIT, -1
    if not c.spot[s] > 0.0:
        return NO_SPOT, -1
    term = choose_term(c, p, s)
    if term < 0:
        return NO_EXPIRY, -1
    same = 0
    for k in range(b.counts[OPEN_NOW]):
        same += b.counted[b.open[k], TERM] == term
    if same >= p.most_per_expiry:
        return EXPIRY_LIMIT, -1
    if lacks_settlement(c, term):
        return NO_SETTLEMENT, -1
    return choose_legs(c, p, s, term, rows), term


@kernel
def fill_entry(c: Chain, p: Plan, b: Books, s: int, order: IntArray, rows: IntArray) -> int:
    """Fill the entry that was decided one snapshot before; gives a code."""
    decided, term = order[0], order[1]
    if c.closes[s] - c.closes[decided] > 1:
        return NO_NEXT_SESSION
    if c.settles[term] <= c.time[s]:
        return EXPIRED_BEFORE_FILL
    if not c.spot[s] > 0.0:
        return NO_SPOT
    now = np.empty(MOST_LEGS, np.int64)
    for leg in range(p.order.size):
        now[leg] = find_row(c, s, 2 * term + int(p.put[leg]), c.strike[rows[leg]])
        if not is_tradable(c, now[leg], p.quantity[leg] > 0):
            return NOT_QUOTED_AT_FILL
    return open_trade(c, p, b, s, decided, term, now)


@kernel
def close_out(c: Chain, p: Plan, b: Books, s: int, nobody: IntArray) -> None:
    """Close at the last snapshot what is not settled later on its day."""
    for place in range(b.counts[OPEN_NOW] - 1, -1, -1):
        trade = b.open[place]
        term = b.counted[trade, TERM]
        ends = c.expiry[term] == c.day[s] and math.isfinite(c.settlement[term])
        if not ends and not close_trade(c, p, b, place, s, int(END_OF_DATA), nobody):
            b.counted[trade, WAITS] += 1


@kernel
def enter(
    c: Chain, p: Plan, b: Books, s: int, final: bool, order: IntArray, rows: IntArray
) -> None:
    """Decide on an entry, and fill it at once if that is the plan."""
    code, term = decide(c, p, b, s, rows)
    if code == 0 and final:
        code = END_OF_TABLE
    elif code == 0 and p.fill_next:
        order[0], order[1], code = s, term, ORDERED
    elif code == 0:
        code = open_trade(c, p, b, s, s, term, rows)
    b.entries[s] = code


@kernel
def end(c: Chain, p: Plan, b: Books, s: int, nobody: IntArray) -> None:
    """What happens at and after the last snapshot."""
    if p.close_at_end:
        close_out(c, p, b, s, nobody)
    settle_due(c, p, b, s, (c.day[s] + 1) * DAY_US)


@kernel
def total_marks(b: Books) -> float:
    """Value of the open trades at their marks."""
    marks = 0.0
    for k in range(b.counts[OPEN_NOW]):
        marks += b.money[b.open[k], MARK]
    return marks


@kernel
def run(c: Chain, p: Plan, b: Books, due: BoolArray) -> None:
    """Walk through all snapshots; ``due`` says where an entry is looked for."""
    nobody = np.zeros(MOST_LEGS, np.int64)
    rows, order = np.empty(MOST_LEGS, np.int64), np.full(2, -1, np.int64)
    final = c.time.size - 1
    for s in range(c.time.size):
        settle_due(c, p, b, s, c.time[s])
        if p.fill_next:
            fill_exits(c, p, b, s, nobody)
        if order[0] >= 0:
            b.entries[order[0]] = fill_entry(c, p, b, s, order, rows)
            order[0] = -1
        carried = mark_open(c, p, b, s)
        if c.dividend[s] > 0.0 and c.last[s]:
            assign(c, p, b, s)
        ask_rules(c, p, b, s)
        if not p.fill_next:
            fill_exits(c, p, b, s, nobody)
        if due[s]:
            enter(c, p, b, s, s == final, order, rows)
        if s == final:
            end(c, p, b, s, nobody)
        b.equity[s, 0], b.equity[s, 1] = b.cash[CASH], total_marks(b)
        b.equity[s, 2], b.equity[s, 3] = b.counts[OPEN_NOW], carried
