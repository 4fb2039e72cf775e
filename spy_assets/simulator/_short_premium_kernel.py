"""The compiled short-premium plan: many accounts, one bar a step, episodes that begin anew.

The readable twin is :class:`~spy_assets.simulator.short_premium.ShortPremiumSimulator`; the rules are
described there. Bars in which an account neither trades nor can be settled, which are most, are walked
without the general clock.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options.compiled import inlined_kernel, kernel
from spy_assets.simulator._intraday_kernel import (
    ACTION,
    ENTRY_VALUE,
    FILLED,
    PNL,
    REASON,
    SHARES,
    UNITS,
    Accounts,
    Orders,
    available,
    begin_bar,
    end_bar,
    enter,
    mark_and_ask,
    naked_margin,
)
from spy_assets.simulator._intraday_prices_kernel import Market, option_mid, strike_for_delta
from spy_assets.simulator.intraday_path import PathArrays

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

HOLDS, SELLS_PUT, SELLS_CALL, CLOSES = range(4)
N_SEEN = 8


class Plan(NamedTuple):
    """Constants of the plan; arrays are by action or by risk level."""

    kind: IntArray
    delta: FloatArray
    contracts: FloatArray
    multiples: FloatArray
    waits: FloatArray
    width: float
    naked: float
    first_minutes: float
    last_minutes: float
    kelly_share: float
    kelly_trades: float
    warm_up: float
    calm_vix: float
    wild_vix: float
    wild_move: float
    year_sessions: float
    medium_from: float
    high_from: float
    farthest: float
    capital: float
    reward_scale: float
    penalty: float
    pnl_bound: float


class Desks(NamedTuple):
    """What the rules remember of A accounts, and what a step gives back.

    ``bar`` and ``last`` are the current bar and the episode's last; ``following`` the session with which
    the next episode begins, of ``length`` sessions. ``sold`` is by side: put, call.
    """

    bar: IntArray
    last: IntArray
    following: IntArray
    length: IntArray
    sold: BoolArray
    blocked_until: FloatArray
    trades: FloatArray
    wins: FloatArray
    gained: FloatArray
    lost: FloatArray
    worth: FloatArray
    invalid: IntArray
    reward: FloatArray
    change: FloatArray
    done: BoolArray
    seen: npt.NDArray[np.float32]
    terminal: npt.NDArray[np.float32]
    mask: BoolArray


@inlined_kernel
def _score(vix: float, spot: float, opened: float, q: Plan) -> float:
    level = (vix - q.calm_vix) / (q.wild_vix - q.calm_vix)
    day = q.wild_move * vix / math.sqrt(q.year_sessions)
    return min(max(level, abs(math.log(spot / opened)) / day, 0.0), 1.0)


@inlined_kernel
def _level(score: float, q: Plan) -> int:
    return int(score >= q.medium_from) + int(score >= q.high_from)


@kernel
def _mean_loss(d: Desks, a: int, multiple: float) -> float:
    losses = d.trades[a] - d.wins[a]
    return float(d.lost[a] / losses) if d.lost[a] > 0.0 else multiple - 1.0


@kernel
def _kelly(d: Desks, a: int, multiple: float) -> float:
    if d.wins[a] == 0.0:
        return 0.0
    p = d.wins[a] / d.trades[a]
    odds = (d.gained[a] / d.wins[a]) / _mean_loss(d, a, multiple)
    return float(min(max(p - (1.0 - p) / odds, 0.0), 1.0))


@kernel
def _kelly_contracts(d: Desks, q: Plan, a: int, level: int, value: float, credit: float) -> float:
    cap = q.contracts[level]
    if credit <= 0.0:
        return 0.0
    if d.trades[a] < q.kelly_trades:
        return float(min(cap, q.warm_up))
    multiple = q.multiples[level]
    loss = _mean_loss(d, a, multiple) * credit * SHARES
    return float(min(cap, math.floor(q.kelly_share * _kelly(d, a, multiple) * value / loss)))


@kernel
def _size(
    path: PathArrays, m: Market, s: Accounts, d: Desks, q: Plan, o: Orders, a: int, level: int
) -> float:
    """Units of the order in row ``a`` by table, Kelly and free cash."""
    bar, session = d.bar[a], path.session_of[d.bar[a]]
    years = max(0.0, path.close_years[o.expiry[a]] - path.end_years[bar])
    credit, need = 0.0, m.commission * o.n_legs[a]
    for k in range(o.n_legs[a]):
        mid = option_mid(
            path.close[bar],
            o.strike[a, k],
            years,
            path.rate[session],
            path.volatility[session],
            o.sign[a, k],
            m,
        )
        credit -= o.quantity[a, k] * mid
        if q.naked > 0.0:
            need += naked_margin(o, a, k, mid, path.close[bar], m)
    if q.naked == 0.0:
        need += q.width * SHARES
    wanted = _kelly_contracts(d, q, a, level, d.worth[a], credit)
    return float(min(wanted, math.floor(available(s, a) / need)))


@kernel
def _make_order(
    path: PathArrays,
    m: Market,
    s: Accounts,
    d: Desks,
    q: Plan,
    o: Orders,
    a: int,
    action: int,
) -> bool:
    """Write the sale that the account decides on into row ``a``; whether there is one to send."""
    bar, session = d.bar[a], path.session_of[d.bar[a]]
    sign = -1.0 if q.kind[action] == SELLS_PUT else 1.0
    expiry = path.ordinal[session]
    vix, spot = path.volatility[session], path.close[bar]
    years = max(0.0, path.close_years[expiry] - path.end_years[bar])
    strike = strike_for_delta(
        spot, years, path.rate[session], vix, sign, q.delta[action], q.farthest, m
    )
    if math.isnan(strike):
        return False
    level = _level(_score(vix, spot, path.open[path.first_bar[session]], q), q)
    o.decided[a] = bar
    o.expiry[a] = expiry
    o.rule_set[a] = level
    o.n_legs[a] = 1 if q.naked > 0.0 else 2
    o.strike[a, 0] = strike
    o.strike[a, 1] = strike + sign * q.width
    for k in range(2):
        o.sign[a, k] = sign
        o.quantity[a, k] = 2.0 * k - 1.0
    o.units[a] = _size(path, m, s, d, q, o, a, level)
    return bool(o.units[a] >= 1.0)


@kernel
def _trading_bar(
    path: PathArrays,
    rules: FloatArray,
    m: Market,
    s: Accounts,
    d: Desks,
    q: Plan,
    o: Orders,
    a: int,
    side: int,
) -> None:
    """Walk one bar with everything that can happen in it; ``side`` is 0, 1 or -1 for no entry."""
    bar = d.bar[a] + 1
    new_session = path.session_of[bar] != path.session_of[bar - 1]
    if new_session:
        d.sold[a, 0] = d.sold[a, 1] = False
        d.blocked_until[a] = -math.inf
    begin_bar(path, m, s, a, bar)
    if side >= 0 and enter(path, m, s, a, o, a, bar) == FILLED and not new_session:
        d.sold[a, side] = True
    end_bar(path, rules, m, s, a, bar)
    for p in range(s.is_open.shape[1]):
        reason = s.result[a, p, REASON]
        if reason == 0.0:
            continue
        credit = max(abs(s.result[a, p, ENTRY_VALUE]), s.result[a, p, UNITS])
        ratio = s.result[a, p, PNL] / credit
        d.trades[a] += 1.0
        if ratio > 0.0:
            d.wins[a] += 1.0
            d.gained[a] += ratio
        else:
            d.lost[a] -= ratio
        if reason > 0.0:
            session = path.session_of[bar]
            first = path.open[path.first_bar[session]]
            score = _score(path.volatility[session], path.close[bar], first, q)
            d.blocked_until[a] = path.end_clock[bar] + q.waits[_level(score, q)]


@kernel
def begin_episode(path: PathArrays, s: Accounts, d: Desks, q: Plan, a: int) -> None:
    """Put an account at the first bar of the session ``d.following`` with nothing but its capital."""
    session = d.following[a]
    d.bar[a] = path.first_bar[session]
    d.last[a] = path.first_bar[session + d.length[a]] - 1
    d.sold[a, 0] = d.sold[a, 1] = False
    d.blocked_until[a] = -math.inf
    d.trades[a] = d.wins[a] = d.gained[a] = d.lost[a] = 0.0
    d.worth[a] = q.capital
    s.cash[a] = q.capital
    s.carry[a] = 0.0
    for p in range(s.is_open.shape[1]):
        s.is_open[a, p] = False
        s.pending[a, p] = 0
        s.margin[a, p] = 0.0
        s.mark[a, p] = 0.0
        s.result[a, p, REASON] = 0.0


@kernel
def look(
    path: PathArrays, m: Market, s: Accounts, d: Desks, q: Plan, begin: int, stop: int
) -> None:
    """Write observations and masks of the accounts from ``begin`` to ``stop`` - 1."""
    is_open, mark, cash_flow, units, clock = s.is_open, s.mark, s.cash_flow, s.units, s.entry_clock
    margin, cash, bars, seen, masks, sold = s.margin, s.cash, d.bar, d.seen, d.mask, d.sold
    close, opens, session_of, first_bar = path.close, path.open, path.session_of, path.first_bar
    end_minute, end_clock, minutes = path.end_minute, path.end_clock, path.minutes
    volatility, kinds, last, blocked_until = path.volatility, q.kind, d.last, d.blocked_until
    trades, multiples = d.trades, q.multiples
    for a in range(begin, stop):
        bar, session = bars[a], session_of[bars[a]]
        pnl, size, oldest, held = 0.0, 0.0, 0.0, 0.0
        for p in range(is_open.shape[1]):
            if is_open[a, p]:
                pnl += cash_flow[a, p] + mark[a, p]
                size += units[a, p]
                held += margin[a, p]
                oldest = max(oldest, end_clock[bar] - clock[a, p])
        per = pnl / (SHARES * size) if size > 0.0 else 0.0
        score = _score(volatility[session], close[bar], opens[first_bar[session]], q)
        since, left = end_minute[bar], minutes[session] - end_minute[bar]
        seen[a, 0] = since / 390.0
        seen[a, 1] = close[bar] / 500.0
        seen[a, 2] = volatility[session] * m.level
        seen[a, 3] = score
        seen[a, 4] = left / 390.0
        seen[a, 5] = size > 0.0
        seen[a, 6] = min(max(per, -q.pnl_bound), q.pnl_bound)
        seen[a, 7] = oldest / 390.0
        least = SHARES * (m.naked_floor * close[bar] if q.naked > 0.0 else q.width)
        sells = bar < last[a] and bar + 1 < first_bar[session + 1] and cash[a] - held >= least
        sells &= since >= q.first_minutes and left >= q.last_minutes
        sells &= end_clock[bar] >= blocked_until[a]
        if sells and trades[a] >= q.kelly_trades:
            sells = _kelly(d, a, multiples[_level(score, q)]) > 0.0
        for k in range(kinds.shape[0]):
            kind = kinds[k]
            if kind in (HOLDS, CLOSES):
                masks[a, k] = kind == HOLDS or size > 0.0
            else:
                masks[a, k] = sells and not sold[a, kind - SELLS_PUT]


# The next functions take arrays and not tuples, for the reason given at `mark_and_ask`.


@inlined_kernel
def _waits(is_open: BoolArray, pending: IntArray, a: int, closes: bool) -> bool:
    """Whether an exit is to be filled; ``closes`` sends one for everything that is open."""
    found = False
    for p in range(is_open.shape[1]):
        if is_open[a, p]:
            if closes and pending[a, p] == 0:
                pending[a, p] = ACTION
            found |= pending[a, p] != 0
    return found


@inlined_kernel
def _worth(is_open: BoolArray, mark: FloatArray, cash: FloatArray, a: int) -> float:
    total = 0.0
    for p in range(is_open.shape[1]):
        if is_open[a, p]:
            total += mark[a, p]
    return float(cash[a] + total)


@kernel
def _begin_ended(path: PathArrays, m: Market, s: Accounts, d: Desks, q: Plan) -> None:
    """Keep the last observations of episodes that ended, and begin the next ones."""
    done = d.done
    for a in range(done.shape[0]):
        if done[a]:
            for k in range(N_SEEN):
                d.terminal[a, k] = d.seen[a, k]
            begin_episode(path, s, d, q, a)
            look(path, m, s, d, q, a, a + 1)


@kernel
def step_accounts(
    path: PathArrays,
    rules: FloatArray,
    m: Market,
    s: Accounts,
    d: Desks,
    q: Plan,
    o: Orders,
    actions: IntArray,
) -> None:
    """One bar for every account; those whose episode ends begin the next one.

    Their last observation is kept in ``terminal``.
    """
    is_open, pending, value, mark, peak = s.is_open, s.pending, s.value, s.mark, s.peak
    cash_flow, entry_value, units, spot_entry = s.cash_flow, s.entry_value, s.units, s.spot_entry
    closes_held, entry_clock, probability = s.closes_held, s.entry_clock, s.probability
    rule_set, expiry, cash, bars = s.rule_set, s.expiry, s.cash, d.bar
    close, end_clock, close_clock = path.close, path.end_clock, path.close_clock
    session_of, first_bar, ordinal = path.session_of, path.first_bar, path.ordinal
    masks, kinds, reward, change, done = d.mask, q.kind, d.reward, d.change, d.done
    worth, last, invalid = d.worth, d.last, d.invalid
    for a in range(bars.shape[0]):
        is_valid = masks[a, actions[a]]
        invalid[a] += not is_valid
        kind, side = (kinds[actions[a]] if is_valid else HOLDS), -1
        sells = kind in (SELLS_PUT, SELLS_CALL)
        if sells and _make_order(path, m, s, d, q, o, a, actions[a]):
            side = kind - SELLS_PUT
        waits = _waits(is_open, pending, a, kind == CLOSES)
        session, bar = session_of[bars[a]], bars[a] + 1
        # The last two bars of a session close out and settle.
        if side >= 0 or waits or bar + 2 >= first_bar[session + 1]:
            _trading_bar(path, rules, m, s, d, q, o, a, side)
        else:
            for p in range(is_open.shape[1]):
                if is_open[a, p]:
                    pending[a, p] = mark_and_ask(
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
                        first_bar[session],
                        ordinal[session],
                    )
        bars[a] = bar
        now = _worth(is_open, mark, cash, a)
        change[a] = now - worth[a]
        reward[a] = change[a] * q.reward_scale / q.capital - (0.0 if is_valid else q.penalty)
        worth[a] = now
        done[a] = bar >= last[a]
    look(path, m, s, d, q, 0, bars.shape[0])
    _begin_ended(path, m, s, d, q)
