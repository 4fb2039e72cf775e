"""The compiled intraday clock: many accounts, several positions each, one bar at a time.

The readable twin is :mod:`spy_assets.simulator.intraday`; every rule is described there. What is done
differently here is only how marks are had: when a position is opened, and at each session's first bar,
its value at every later bar of the session is computed in one loop that the compiler turns into vector
instructions, and a bar then looks it up.

Everything is float64. Slots of positions are reused; one that closed in this bar is not reused in it, so
that its result can be read.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options.compiled import inlined_kernel, kernel
from spy_assets.simulator._intraday_prices_kernel import (
    Market,
    add_leg_values,
    option_mid,
    option_quote,
    phase_factor,
)
from spy_assets.simulator.intraday_path import PathArrays

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SHARES = 100.0
MAX_LEGS = 4
#: Exit codes: 0 is open, positive the rule's place in its chain, the others here.
SETTLED, MISSED, ACTION, CLOSED_OUT, ASSIGNED = -1, -2, -3, -4, -5
#: What became of an entry.
(
    FILLED,
    EXPIRED,
    GAP,
    NO_ROOM,
    UNPRICED,
    NO_BID,
    NO_FUNDS,
) = range(7)
#: Kinds of exit rules, in the first column of a rule table; 0 ends a chain.
STOP, CREDIT_STOP, SPOT_MOVE, TARGET, TRAILING, MAX_HOLD, TIME, NEAR_EXPIRY, MODEL = range(1, 10)
#: Columns of a closed position's result.
(
    REASON,
    ENTRY_BAR,
    EXIT_BAR,
    ENTRY_VALUE,
    EXIT_VALUE,
    COSTS,
    PNL,
    UNITS,
    ORDER,
) = range(9)
N_RESULT = 9


class Accounts(NamedTuple):
    """State of A accounts with P slots of positions, up to four legs and B bars a session.

    ``value`` is what one unit of the position in a slot is worth at mid at each bar of the session, per
    share; ``assigned`` is the leg that was exercised early, or -1, and ``dividend`` what it owes;
    ``result`` is the last closed position of a slot, its reason 0 where none closed in this bar.
    """

    cash: FloatArray
    carry: FloatArray
    is_open: npt.NDArray[np.bool_]
    n_legs: IntArray
    strike: FloatArray
    sign: FloatArray
    quantity: FloatArray
    units: FloatArray
    expiry: IntArray
    margin: FloatArray
    entry_value: FloatArray
    cash_flow: FloatArray
    costs: FloatArray
    mark: FloatArray
    peak: FloatArray
    entry_clock: FloatArray
    entry_bar: IntArray
    spot_entry: FloatArray
    closes_held: FloatArray
    pending: IntArray
    rule_set: IntArray
    probability: FloatArray
    assigned: IntArray
    dividend: FloatArray
    order: IntArray
    value: FloatArray
    result: FloatArray


class Orders(NamedTuple):
    """Entries, one a row: legs (strike, +1 call or -1 put, signed quantity), units, expiry and rules."""

    decided: IntArray
    n_legs: IntArray
    strike: FloatArray
    sign: FloatArray
    quantity: FloatArray
    units: FloatArray
    expiry: IntArray
    rule_set: IntArray


@kernel
def _session_marks(path: PathArrays, m: Market, s: Accounts, a: int, p: int, bar: int) -> None:
    """Marks of a position from this bar to the session's last: each is read when its bar is walked."""
    session = path.session_of[bar]
    first, stop = path.first_bar[session], path.first_bar[session + 1]
    out = s.value[a, p, bar - first : stop - first]
    for i in range(stop - bar):
        out[i] = 0.0
    expires = path.close_years[s.expiry[a, p]]
    for k in range(s.n_legs[a, p]):
        add_leg_values(
            path.close[bar:stop],
            path.end_years[bar:stop],
            expires,
            s.strike[a, p, k],
            path.rate[session],
            path.volatility[session],
            s.sign[a, p, k],
            s.quantity[a, p, k],
            m,
            out,
        )


# ---------------------------------------------------------------- accounting


@kernel
def _pay(s: Accounts, a: int, p: int, amount: float) -> None:
    """Move cash with what rounding left out (Kahan 1965), as the accounting kernel does."""
    due = amount - s.carry[a]
    cash = s.cash[a] + due
    s.carry[a] = (cash - s.cash[a]) - due
    s.cash[a] = cash
    s.cash_flow[a, p] += amount


@kernel
def _finish(s: Accounts, a: int, p: int, bar: int, reason: int, exit_value: float) -> None:
    s.mark[a, p] = 0.0
    s.margin[a, p] = 0.0
    s.is_open[a, p] = False
    s.pending[a, p] = 0
    s.result[a, p, REASON] = reason
    s.result[a, p, ENTRY_BAR] = s.entry_bar[a, p]
    s.result[a, p, EXIT_BAR] = bar
    s.result[a, p, ENTRY_VALUE] = s.entry_value[a, p]
    s.result[a, p, EXIT_VALUE] = exit_value
    s.result[a, p, COSTS] = s.costs[a, p]
    s.result[a, p, PNL] = s.cash_flow[a, p]
    s.result[a, p, UNITS] = s.units[a, p]
    s.result[a, p, ORDER] = s.order[a, p]


@kernel
def _settle(path: PathArrays, s: Accounts, a: int, p: int, bar: int, reason: int) -> None:
    spot, payoff = path.close[bar], 0.0
    for k in range(s.n_legs[a, p]):
        worth = max(0.0, s.sign[a, p, k] * (spot - s.strike[a, p, k]))
        if k == s.assigned[a, p]:
            worth = spot + s.dividend[a, p] - s.strike[a, p, k]
        payoff += s.quantity[a, p, k] * worth
    payoff *= SHARES * s.units[a, p]
    _pay(s, a, p, payoff)
    _finish(s, a, p, bar, reason, payoff)


@kernel
def _leg_fill(
    mid: float, bid: float, ask: float, contracts: float, m: Market
) -> tuple[float, float, float]:
    """Value, fees and all costs in dollars of trading signed ``contracts`` at a quote."""
    slip, size = m.slippage * mid, abs(contracts)
    fees = m.commission * size
    if contracts > 0.0:
        price = mid + m.alpha * (ask - mid) + slip
        lost = price - mid
    else:
        price = max(0.0, mid + m.alpha * (bid - mid) - slip)
        lost = mid - price
        fees += m.sell_fee_rate * price * size * SHARES
    return contracts * price * SHARES, fees, fees + lost * size * SHARES


@kernel
def _exit(path: PathArrays, m: Market, s: Accounts, a: int, p: int, bar: int) -> None:
    """Trade the position's legs back at the bar's open."""
    session = path.session_of[bar]
    factor = phase_factor(path.start_minute[bar], path.minutes[session], m)
    years = max(0.0, path.close_years[s.expiry[a, p]] - path.start_years[bar])
    value, fees = 0.0, 0.0
    for k in range(s.n_legs[a, p]):
        if k == s.assigned[a, p]:
            # Shares are covered at their price; no option is traded.
            worth = path.open[bar] + s.dividend[a, p] - s.strike[a, p, k]
            value -= s.quantity[a, p, k] * s.units[a, p] * worth * SHARES
            continue
        mid, bid, ask = option_quote(
            path.open[bar],
            s.strike[a, p, k],
            years,
            path.rate[session],
            path.volatility[session],
            s.sign[a, p, k],
            factor,
            m,
        )
        paid, fee, cost = _leg_fill(mid, bid, ask, -s.quantity[a, p, k] * s.units[a, p], m)
        value += paid
        fees += fee
        s.costs[a, p] += cost
    _pay(s, a, p, -value - fees)
    _finish(s, a, p, bar, s.pending[a, p], -value)


@kernel
def _covered_margin(o: Orders, row: int) -> float:
    """Give the worst payoff at expiry of one unit, dollars, positive; NaN if a short is uncovered."""
    calls, puts = 0.0, 0.0
    for k in range(o.n_legs[row]):
        if o.sign[row, k] > 0.0:
            calls += o.quantity[row, k]
        else:
            puts += o.quantity[row, k]
    if calls < 0.0 or puts < 0.0:
        return math.nan
    worst = 0.0
    for j in range(-1, o.n_legs[row]):
        kink, payoff = (0.0 if j < 0 else o.strike[row, j]), 0.0
        for k in range(o.n_legs[row]):
            payoff += o.quantity[row, k] * max(0.0, o.sign[row, k] * (kink - o.strike[row, k]))
        worst = min(worst, payoff)
    return -worst * SHARES


@kernel
def has_uncovered(o: Orders) -> bool:
    """Whether any of the entries sells more calls, or more puts, than it buys."""
    found = False
    for row in range(o.decided.shape[0]):
        found |= math.isnan(_covered_margin(o, row))
    return found


@kernel
def naked_margin(o: Orders, row: int, k: int, mid: float, spot: float, m: Market) -> float:
    """Reg-T margin of one short leg, dollars a unit; 0 for a long one."""
    if o.quantity[row, k] >= 0.0:
        return 0.0
    strike = o.strike[row, k]
    away = max(0.0, o.sign[row, k] * (strike - spot))
    floor = m.naked_floor * (spot if o.sign[row, k] > 0.0 else strike)
    rate = max(m.naked_rate * spot - away, floor)
    return float(-o.quantity[row, k] * SHARES * (mid + rate))


@kernel
def _free_slot(s: Accounts, a: int, m: Market) -> int:
    found, count = -1, 0
    for p in range(s.is_open.shape[1]):
        if s.is_open[a, p]:
            count += 1
        elif found < 0 and s.result[a, p, REASON] == 0.0:
            found = p
    return found if count < m.max_positions else -1


@kernel
def available(s: Accounts, a: int) -> float:
    """Cash that no margin holds, dollars."""
    held = 0.0
    for p in range(s.is_open.shape[1]):
        if s.is_open[a, p]:
            held += s.margin[a, p]
    return float(s.cash[a] - held)


@kernel
def account_value(s: Accounts, a: int) -> float:
    """Cash plus marks, dollars."""
    total = 0.0
    for p in range(s.is_open.shape[1]):
        if s.is_open[a, p]:
            total += s.mark[a, p]
    return float(s.cash[a] + total)


@kernel
def _obstacle(path: PathArrays, o: Orders, row: int, bar: int, is_full: bool) -> int:
    """What keeps an entry from being filled at this bar, apart from its price; 0 if nothing does."""
    session = path.session_of[bar]
    if o.expiry[row] < path.ordinal[session]:
        return EXPIRED
    if path.session_of[o.decided[row]] == session and path.missing_before[bar] > 0:
        return GAP
    if is_full:
        return NO_ROOM
    return UNPRICED if math.isnan(path.volatility[session] + path.rate[session]) else FILLED


@kernel
def enter(path: PathArrays, m: Market, s: Accounts, a: int, o: Orders, row: int, bar: int) -> int:
    """Fill an entry at the bar's open; gives what became of it."""
    session, p = path.session_of[bar], _free_slot(s, a, m)
    obstacle = _obstacle(path, o, row, bar, p < 0)
    if obstacle != FILLED:
        return obstacle
    factor = phase_factor(path.start_minute[bar], path.minutes[session], m)
    years = max(0.0, path.close_years[o.expiry[row]] - path.start_years[bar])
    value, fees, costs, mark, naked = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(o.n_legs[row]):
        mid, bid, ask = option_quote(
            path.open[bar],
            o.strike[row, k],
            years,
            path.rate[session],
            path.volatility[session],
            o.sign[row, k],
            factor,
            m,
        )
        if o.quantity[row, k] < 0.0 and bid == 0.0:
            return NO_BID
        paid, fee, cost = _leg_fill(mid, bid, ask, o.quantity[row, k] * o.units[row], m)
        value, fees, costs = value + paid, fees + fee, costs + cost
        mark += o.quantity[row, k] * mid
        naked += naked_margin(o, row, k, mid, path.open[bar], m)
    margin = _covered_margin(o, row)
    margin = o.units[row] * (naked if math.isnan(margin) else margin)
    if value + fees + margin > available(s, a):
        return NO_FUNDS
    _fill_slot(path, s, a, p, o, row, bar)
    s.margin[a, p] = margin
    s.entry_value[a, p] = value
    s.costs[a, p] = costs
    s.mark[a, p] = mark * o.units[row] * SHARES
    _pay(s, a, p, -value - fees)
    _session_marks(path, m, s, a, p, bar)
    return FILLED


@kernel
def _fill_slot(
    path: PathArrays, s: Accounts, a: int, p: int, o: Orders, row: int, bar: int
) -> None:
    s.is_open[a, p] = True
    s.n_legs[a, p] = o.n_legs[row]
    for k in range(o.n_legs[row]):
        s.strike[a, p, k] = o.strike[row, k]
        s.sign[a, p, k] = o.sign[row, k]
        s.quantity[a, p, k] = o.quantity[row, k]
    s.units[a, p] = o.units[row]
    s.expiry[a, p] = o.expiry[row]
    s.rule_set[a, p] = o.rule_set[row]
    s.order[a, p] = row
    s.cash_flow[a, p] = 0.0
    s.peak[a, p] = -math.inf
    s.entry_clock[a, p] = path.start_clock[bar]
    s.entry_bar[a, p] = bar
    s.spot_entry[a, p] = path.open[bar]
    s.closes_held[a, p] = 0.0
    s.pending[a, p] = 0
    s.probability[a, p] = math.nan
    s.assigned[a, p] = -1


# ---------------------------------------------------------------- exit rules
# Indices instead of rows: a view of an array costs more than the rule that reads it.


@inlined_kernel
def _value_rule_fires(
    kind: float,
    x: float,
    y: float,
    ratio: float,
    cost: float,
    move: float,
    peak: float,
    debit: bool,
) -> bool:
    """Rules of value and price; ``cost`` is what closing costs in credits, -inf for a debit."""
    if kind == STOP:
        return ratio <= -(x if debit else y)
    if kind == CREDIT_STOP:
        return cost >= x
    if kind == SPOT_MOVE:
        return not x < move < y
    if kind == TARGET:
        return ratio >= (x if debit else y)
    return peak >= x and ratio <= peak - y


@inlined_kernel
def _time_rule_fires(
    kind: float,
    x: float,
    y: float,
    closes: float,
    held: float,
    left: float,
    sessions: float,
    chance: float,
) -> bool:
    if kind == MAX_HOLD:
        return closes >= x
    if kind == TIME:
        return held >= x
    if kind == NEAR_EXPIRY:
        return left <= x or sessions <= y
    return chance > x


@inlined_kernel
def mark_and_ask(
    value: FloatArray,
    mark: FloatArray,
    peak: FloatArray,
    cash_flow: FloatArray,
    entry_value: FloatArray,
    units: FloatArray,
    spot_entry: FloatArray,
    closes_held: FloatArray,
    entry_clock: FloatArray,
    probability: FloatArray,
    rule_set: IntArray,
    expiry: IntArray,
    rules: FloatArray,
    close: FloatArray,
    end_clock: FloatArray,
    close_clock: FloatArray,
    a: int,
    p: int,
    bar: int,
    first: int,
    ordinal: int,
) -> int:
    """Mark a position at a bar's end; gives the place (from 1) of the first rule that fires, or 0.

    It takes arrays and not the tuples that hold them: taking an array out of a tuple counts a reference,
    which costs more than the arithmetic does.
    """
    worth = value[a, p, bar - first]
    if not math.isnan(worth):
        mark[a, p] = worth * units[a, p] * SHARES
    entry, now_worth = entry_value[a, p], mark[a, p]
    ratio = (cash_flow[a, p] + now_worth) / max(abs(entry), units[a, p])
    best = max(peak[a, p], ratio)
    peak[a, p] = best
    chain, debit = rule_set[a, p], entry > 0.0
    cost = now_worth / entry if entry < 0.0 else -math.inf
    for r in range(rules.shape[1]):
        kind, x, y = rules[chain, r, 0], rules[chain, r, 1], rules[chain, r, 2]
        if kind == 0.0:
            break
        if kind <= TRAILING:
            move = close[bar] / spot_entry[a, p] - 1.0
            fires = _value_rule_fires(kind, x, y, ratio, cost, move, best, debit)
        else:
            expires, now = expiry[a, p], end_clock[bar]
            fires = _time_rule_fires(
                kind,
                x,
                y,
                closes_held[a, p],
                now - entry_clock[a, p],
                close_clock[expires] - now,
                float(expires - ordinal),
                probability[a, p],
            )
        if fires:
            return r + 1
    return 0


# ---------------------------------------------------------------- one bar


@kernel
def begin_bar(path: PathArrays, m: Market, s: Accounts, a: int, bar: int) -> None:
    """Settle what a missing session left over and fill exits at the open."""
    session = path.session_of[bar]
    ordinal, first = path.ordinal[session], path.first_bar[session]
    priced = not math.isnan(path.volatility[session] + path.rate[session])
    for p in range(s.is_open.shape[1]):
        s.result[a, p, REASON] = 0.0
        if not s.is_open[a, p]:
            continue
        if s.expiry[a, p] < ordinal:
            _settle(path, s, a, p, bar - 1, MISSED)
        elif s.pending[a, p] != 0 and priced:
            _exit(path, m, s, a, p, bar)
        elif bar == first:
            _session_marks(path, m, s, a, p, bar)


@kernel
def _assign(path: PathArrays, m: Market, s: Accounts, a: int, p: int, bar: int) -> None:
    """Apply the dividend rule to a position that is held over the night."""
    session = path.session_of[bar]
    following = session + 1
    if following >= path.ordinal.shape[0] or s.assigned[a, p] >= 0:
        return
    dividend, spot = path.dividend[following], path.close[bar]
    # A dividend that is not known, NaN, is not above 0 either.
    if s.expiry[a, p] < path.ordinal[following] or not dividend > 0.0:
        return
    years = max(0.0, path.close_years[s.expiry[a, p]] - path.end_years[bar])
    for k in range(s.n_legs[a, p]):
        inner = spot - s.strike[a, p, k]
        if s.quantity[a, p, k] >= 0.0 or s.sign[a, p, k] < 0.0 or inner <= 0.0:
            continue
        mid = option_mid(
            spot, s.strike[a, p, k], years, path.rate[session], path.volatility[session], 1.0, m
        )
        if mid - inner < dividend:
            s.assigned[a, p] = k
            s.dividend[a, p] = dividend
            s.pending[a, p] = ASSIGNED
            break


@kernel
def end_bar(path: PathArrays, rules: FloatArray, m: Market, s: Accounts, a: int, bar: int) -> None:
    """Settle what expires with the session, mark the rest and ask its rules."""
    session = path.session_of[bar]
    ordinal, first, stop = (
        path.ordinal[session],
        path.first_bar[session],
        path.first_bar[session + 1],
    )
    is_last, closing = bar + 1 == stop, m.trade_out > 0.0 and bar + 2 == stop
    for p in range(s.is_open.shape[1]):
        if not s.is_open[a, p]:
            continue
        if is_last:
            s.closes_held[a, p] += 1.0
            if s.expiry[a, p] == ordinal:
                _settle(path, s, a, p, bar, SETTLED if path.missing_after[session] == 0 else MISSED)
                continue
        fired = mark_and_ask(
            s.value,
            s.mark,
            s.peak,
            s.cash_flow,
            s.entry_value,
            s.units,
            s.spot_entry,
            s.closes_held,
            s.entry_clock,
            s.probability,
            s.rule_set,
            s.expiry,
            rules,
            path.close,
            path.end_clock,
            path.close_clock,
            a,
            p,
            bar,
            first,
            ordinal,
        )
        if s.pending[a, p] == 0:
            if fired != 0:
                s.pending[a, p] = fired
            elif closing and s.expiry[a, p] == ordinal:
                s.pending[a, p] = CLOSED_OUT
        if is_last:
            _assign(path, m, s, a, p, bar)


@kernel
def walk_quietly(
    path: PathArrays, rules: FloatArray, s: Accounts, a: int, bar: int, until: int
) -> int:
    """Walk on from the end of ``bar`` through bars in which nothing but marks happens.

    Neither an exit waits nor does the session end before ``until``; gives the last bar walked, which is
    ``until`` or the one at whose end an exit was sent.
    """
    session = path.session_of[bar]
    ordinal, first = path.ordinal[session], path.first_bar[session]
    is_open, pending, value, mark, peak = s.is_open, s.pending, s.value, s.mark, s.peak
    cash_flow, entry_value, units, spot_entry = s.cash_flow, s.entry_value, s.units, s.spot_entry
    closes_held, entry_clock, probability = s.closes_held, s.entry_clock, s.probability
    rule_set, expiry = s.rule_set, s.expiry
    close, end_clock, close_clock = path.close, path.end_clock, path.close_clock
    slots = is_open.shape[1]
    while bar < until:
        bar += 1
        fired_any = False
        for p in range(slots):
            if not is_open[a, p]:
                continue
            fired = mark_and_ask(
                value,
                mark,
                peak,
                cash_flow,
                entry_value,
                units,
                spot_entry,
                closes_held,
                entry_clock,
                probability,
                rule_set,
                expiry,
                rules,
                close,
                end_clock,
                close_clock,
                a,
                p,
                bar,
                first,
                ordinal,
            )
            if fired != 0:
                pending[a, p] = fired
                fired_any = True
        if fired_any:
            break
    return bar


@kernel
def _count_open(s: Accounts, a: int) -> tuple[int, int]:
    """Positions that are open, and those of them that wait for an exit."""
    count, waiting = 0, 0
    for p in range(s.is_open.shape[1]):
        if s.is_open[a, p]:
            count += 1
            waiting += s.pending[a, p] != 0
    return count, waiting


@kernel
def _keep_results(s: Accounts, result: FloatArray) -> None:
    for p in range(s.is_open.shape[1]):
        if s.result[0, p, REASON] != 0.0:
            row = int(s.result[0, p, ORDER])
            for k in range(N_RESULT):
                result[row, k] = s.result[0, p, k]


@kernel
def run_orders(
    path: PathArrays,
    rules: FloatArray,
    m: Market,
    s: Accounts,
    o: Orders,
    start: int,
    last: int,
    outcome: IntArray,
    result: FloatArray,
    equity: FloatArray,
) -> None:
    """Walk account 0 from bar ``start`` to ``last`` with entries in order of their decision.

    ``outcome`` says what became of each entry, ``result`` has its closed position (reason 0 if it is
    open at the end), ``equity`` the account's value at each session's last bar walked. Bars on which
    nothing is open and nothing is entered are passed over.
    """
    bar, row, n_orders, count, waiting = start, 0, o.decided.shape[0], 0, 0
    session_of, first_bar, decided = path.session_of, path.first_bar, o.decided
    while row < n_orders and decided[row] < start:
        row += 1
    while bar < last:
        session = session_of[bar]
        due = last if row >= n_orders else min(last, decided[row] + 1)
        if count > 0 and waiting == 0:
            # The last two bars of a session settle and close out, a due bar enters.
            until = min(due - 1, first_bar[session + 1] - 3)
            if until > bar:
                bar = walk_quietly(path, rules, s, 0, bar, until)
        following = bar + 1 if count > 0 else max(bar + 1, due)
        for passed in range(session, session_of[following]):
            equity[passed] = account_value(s, 0)
        bar = following
        begin_bar(path, m, s, 0, bar)
        while row < n_orders and decided[row] + 1 == bar:
            outcome[row] = enter(path, m, s, 0, o, row, bar)
            row += 1
        end_bar(path, rules, m, s, 0, bar)
        _keep_results(s, result)
        count, waiting = _count_open(s, 0)
    equity[session_of[last]] = account_value(s, 0)
