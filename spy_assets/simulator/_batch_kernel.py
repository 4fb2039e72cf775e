"""The compiled step of many accounts: look-ups in a position table, and no pricing.

The order of things within a session is that of :mod:`spy_assets.simulator.daily`, which is the readable
twin of this module: settle what expired unseen, fill orders, settle what is due, mark, ask the exit
rules, close out at the end. An account is one record of ``ACCOUNT`` and ``max_positions`` records
of ``SLOT``, oldest position first.

Whatever may happen in a step is here; most steps are so plain that
:mod:`spy_assets.simulator._plain_step` takes them first.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from spy_assets.simulator._intrinsics import Array, Record, Records, inlined, kernel, prefetch

#: Reasons of an exit, as numbers; the rules of the chain follow from ``FIRST_RULE`` on.
NOT_CLOSING: Final = 0
ACTION_CLOSE: Final = 1
EXPIRY: Final = 2
EXPIRY_MISSING_PRINT: Final = 3
END_OF_PATH: Final = 4
END_OF_PATH_UNPRICED: Final = 5
ASSIGNMENT: Final = 6
FIRST_RULE: Final = 7

#: By how many accounts memory is asked for ahead of its use.
_AHEAD: Final = 12

#: One account. ``cash`` and ``value`` in dollars; ``returned`` is the reward of the episode so far,
#: ``realized`` the P&L of its closed trades; ``stream`` the state of its random numbers.
ACCOUNT: Final = np.dtype(
    [
        ("cash", "f8"), ("value", "f8"), ("margin", "f8"), ("returned", "f8"), ("realized", "f8"),
        ("stream", "u8"), ("index", "i4"), ("last", "i4"), ("positions", "i4"), ("trades", "i4"),
        ("invalid", "i4"), ("steps", "i4"),
    ]
)  # fmt: skip
#: One open position: what its units cost and can lose and the margin set aside, dollars; the session
#: of its decision and its column in the table; the reason for which it is being closed; and the ages of
#: its ``UNIT``, so that no step has to look them up.
SLOT: Final = np.dtype(
    [
        ("cost", "f8"), ("risk", "f8"), ("margin", "f8"), ("decision", "i4"), ("column", "i4"),
        ("quantity", "i4"), ("closing", "i4"), ("settle_age", "i2"), ("rule_age", "i2"),
        ("rule", "i2"), ("assign_age", "i2"),
    ]
)  # fmt: skip
#: One closed trade: P&L after all costs in dollars, sessions as positions on the path.
TRADE: Final = np.dtype(
    [
        ("pnl", "f8"), ("account", "i4"), ("decision", "i4"), ("column", "i4"), ("quantity", "i4"),
        ("exit_index", "i4"), ("closes_held", "i4"), ("reason", "i4"),
    ]
)  # fmt: skip
#: What holds for all accounts. ``scale`` is reward per dollar; ``fraction`` to ``without_loss`` are
#: the sizing (:class:`~spy_assets.simulator.book.UnitLimits`).
SETTINGS: Final = np.dtype(
    [
        ("capital", "f8"), ("scale", "f8"), ("penalty", "f8"), ("fraction", "f8"), ("least", "f8"),
        ("most", "f8"), ("without_loss", "f8"), ("max_hold", "f8"), ("at_open", "?"),
        ("close_at_end", "?"), ("hold_through", "?"),
    ]
)  # fmt: skip
#: One unit of a position, by session of its decision and column: what it costs and can lose, its margin
#: and its payoff at expiry in dollars; and when things happen to it: the age of its settlement, whether
#: that is after a missing print, the age at which an exit rule fires with the rule's reason, and the age
#: of its assignment. Beside each other in memory, since an entry needs most of them.
UNIT: Final = np.dtype(
    [
        ("cost", "f8"), ("risk", "f8"), ("margin", "f8"), ("payoff", "f8"), ("settle_age", "i2"),
        ("missed", "i2"), ("rule_age", "i2"), ("rule", "i2"), ("assign_age", "i2"),
    ],
    align=True,
)  # fmt: skip


@inlined
def next_random(state: np.uint64) -> tuple[np.uint64, np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014): the next state and a random number of 64 bits."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, z ^ (z >> np.uint64(31))


@kernel
def start_account(
    accounts: Records, slots: Records, settings: Records, i: int, start: int, last: int
) -> None:
    """Put account ``i`` at the beginning of an episode; its random numbers go on."""
    accounts[i].cash = settings[0].capital
    accounts[i].value = settings[0].capital
    accounts[i].margin = 0.0
    accounts[i].returned = 0.0
    accounts[i].realized = 0.0
    accounts[i].index = start
    accounts[i].last = last
    accounts[i].positions = 0
    accounts[i].trades = 0
    accounts[i].invalid = 0
    accounts[i].steps = 0
    for s in range(slots.shape[1]):
        slots[i, s].decision = -1


@kernel
def draw_episode(
    accounts: Records, slots: Records, settings: Records, i: int, episodes: Array, groups: Array
) -> None:
    """Start account ``i`` with a random episode of a random group.

    ``episodes`` are first and last sessions, ``[m, 2]``; group g is ``groups[g]`` to ``groups[g+1]``.
    """
    state, drawn = next_random(accounts[i].stream)
    accounts[i].stream = state
    # The upper bits choose the group, the lower ones the episode.
    g = np.int64((drawn >> np.uint64(40)) % np.uint64(groups.shape[0] - 1))
    size = np.uint64(groups[g + 1] - groups[g])
    e = groups[g] + np.int64((drawn & np.uint64(0xFFFFFFFFFF)) % size)
    start_account(accounts, slots, settings, i, episodes[e, 0], episodes[e, 1])


@inlined
def _cell(layout: Array, d: int, k: int, age: int) -> int:
    """Row of the table of values; ``layout`` has each column's first row and number of ages."""
    row: int = layout[k, 0] + d * layout[k, 1] + age - 1
    return row


@inlined
def units_of(account: Record, settings: Record, loss: float) -> int:
    """Units of an entry, as the sizing says."""
    if not loss > 0.0:
        return int(settings.without_loss)
    if settings.least == settings.most:
        return int(settings.least)
    available = max(0.0, account.cash - account.margin)
    budget = account.value * settings.fraction
    units = min(budget // loss, available // loss, settings.most)
    return int(max(settings.least, units))


@inlined
def log_trade(
    slot: Record, i: int, pnl: float, index: int, reason: int, held: int, log: Records, logged: int
) -> int:
    """Write a closed trade into the log, and give the number of trades in it."""
    log[logged].pnl = pnl
    log[logged].account = i
    log[logged].decision = slot.decision
    log[logged].column = slot.column
    log[logged].quantity = slot.quantity
    # A missed expiry is settled at the last close before it.
    unseen = 1 if reason == EXPIRY_MISSING_PRINT else 0
    log[logged].exit_index = index - unseen
    log[logged].closes_held = held
    log[logged].reason = reason
    return logged + 1


@inlined
def _close(
    accounts: Records, slots: Records, i: int, s: int, proceeds: float, reason: int, held: int,
    log: Records, logged: int,
) -> int:  # fmt: skip
    """Book what a position brings back, drop it, and give the number of trades in the log."""
    cash = slots[i, s].quantity * proceeds
    pnl = cash - slots[i, s].cost
    accounts[i].cash += cash
    accounts[i].margin -= slots[i, s].margin
    accounts[i].realized += pnl
    accounts[i].trades += 1
    if log.shape[0] > 0:
        logged = log_trade(slots[i, s], i, pnl, accounts[i].index, reason, held, log, logged)
    left = accounts[i].positions - 1
    accounts[i].positions = left
    for later in range(s, left):
        slots[i, later] = slots[i, later + 1]
    slots[i, left].decision = -1
    if left == 0:
        accounts[i].margin = 0.0
    return logged


@inlined
def fill_slot(slot: Record, unit: Record, decision: int, column: int, units: int) -> None:
    """Keep what a new position is, apart from its cost and margin."""
    slot.risk = units * unit.risk
    slot.decision = decision
    slot.column = column
    slot.quantity = units
    slot.closing = NOT_CLOSING
    slot.settle_age = unit.settle_age
    slot.rule_age = unit.rule_age
    slot.rule = unit.rule
    slot.assign_age = unit.assign_age


@inlined
def ask_rules(slot: Record, age: int) -> None:
    """Order what an exit rule or an assignment closes at this age."""
    if slot.closing == NOT_CLOSING and age == slot.rule_age:
        slot.closing = slot.rule
    if age == slot.assign_age:
        slot.closing = ASSIGNMENT


@inlined
def _open(
    accounts: Records,
    slots: Records,
    i: int,
    decision: int,
    column: int,
    units: int,
    table: Records,
) -> None:
    """Fill an entry, unless it cannot be priced or the cash does not suffice."""
    cost = units * table[decision, column].cost
    margin = units * table[decision, column].margin
    # A NaN fails the comparison too.
    if units < 1 or not cost + margin <= accounts[i].cash - accounts[i].margin:
        return
    s = accounts[i].positions
    slots[i, s].cost = cost
    slots[i, s].margin = margin
    fill_slot(slots[i, s], table[decision, column], decision, column, units)
    accounts[i].cash -= cost
    accounts[i].margin += margin
    accounts[i].positions = s + 1


@inlined
def _settle(
    accounts: Records, slots: Records, i: int, table: Records, late: bool,
    offset: int, log: Records, logged: int,
) -> int:  # fmt: skip
    """Settle the positions whose expiry is this session, or was before it (``late``)."""
    s = 0
    while s < accounts[i].positions:
        d, k = slots[i, s].decision, slots[i, s].column
        age = accounts[i].index - d
        if age == slots[i, s].settle_age and (table[d, k].missed != 0) == late:
            reason = EXPIRY_MISSING_PRINT if late else EXPIRY
            held = age - offset - (1 if late else 0)
            logged = _close(accounts, slots, i, s, table[d, k].payoff, reason, held, log, logged)
        else:
            s += 1
    return logged


@inlined
def _fill_exits(
    accounts: Records, slots: Records, i: int, values: Array, layout: Array, log: Records,
    logged: int,
) -> int:  # fmt: skip
    """Close, oldest first, what is being closed and can be priced."""
    s = 0
    while s < accounts[i].positions:
        closing, d, k = slots[i, s].closing, slots[i, s].decision, slots[i, s].column
        age = accounts[i].index - d
        proceeds = values[_cell(layout, d, k, age), 1] if closing != NOT_CLOSING else np.nan
        if not np.isnan(proceeds):
            logged = _close(accounts, slots, i, s, proceeds, closing, age - 1, log, logged)
        else:
            s += 1
    return logged


@inlined
def _close_out(
    accounts: Records, slots: Records, i: int, values: Array, layout: Array, offset: int,
    log: Records, logged: int,
) -> int:  # fmt: skip
    """Close everything at the last close."""
    while accounts[i].positions > 0:
        d, k = slots[i, 0].decision, slots[i, 0].column
        age = accounts[i].index - d
        reason = END_OF_PATH_UNPRICED if values[_cell(layout, d, k, age), 3] != 0.0 else END_OF_PATH
        proceeds = values[_cell(layout, d, k, age), 2]
        logged = _close(accounts, slots, i, 0, proceeds, reason, age - offset, log, logged)
    return logged


@inlined
def _advance(
    accounts: Records, slots: Records, settings: Records, i: int, values: Array, layout: Array,
    table: Records, column: int, units: int, log: Records, logged: int,
) -> int:  # fmt: skip
    """Walk one session on; ``column`` is the entry ordered at the close before, or -1."""
    accounts[i].index += 1
    at_open = settings[0].at_open
    offset = 0 if at_open else 1
    logged = _settle(accounts, slots, i, table, True, offset, log, logged)
    if not at_open:
        logged = _settle(accounts, slots, i, table, False, offset, log, logged)
    logged = _fill_exits(accounts, slots, i, values, layout, log, logged)
    if column >= 0:
        _open(accounts, slots, i, accounts[i].index - 1, column, units, table)
    if at_open:
        logged = _settle(accounts, slots, i, table, False, offset, log, logged)
    if accounts[i].index == accounts[i].last and settings[0].close_at_end:
        logged = _close_out(accounts, slots, i, values, layout, offset, log, logged)
    marks = 0.0
    for s in range(accounts[i].positions):
        d, k = slots[i, s].decision, slots[i, s].column
        age = accounts[i].index - d
        marks += slots[i, s].quantity * values[_cell(layout, d, k, age), 0]
        ask_rules(slots[i, s], age)
    accounts[i].value = accounts[i].cash + marks
    return logged


@inlined
def unit_range(x: float) -> float:
    """Clip to 0 to 1."""
    return min(max(x, 0.0), 1.0)


@inlined
def _portfolio(
    accounts: Records, slots: Records, settings: Records, i: int, codes: Array, observations: Array,
    dims: int,
) -> None:  # fmt: skip
    """Write the five portfolio dimensions of the observation contract behind the market's."""
    value = accounts[i].value
    observations[i, dims] = unit_range(value / (2.0 * settings[0].capital))
    if accounts[i].positions == 0:
        observations[i, dims + 1] = 0.0
        observations[i, dims + 2] = 0.0
        observations[i, dims + 3] = 0.5
        observations[i, dims + 4] = 0.0
        return
    pnl = value - accounts[i].cash
    risk = 0.0
    for s in range(accounts[i].positions):
        pnl -= slots[i, s].cost
        risk += slots[i, s].risk
    held = accounts[i].index - slots[i, 0].decision - (0 if settings[0].at_open else 1)
    observations[i, dims + 1] = 1.0
    observations[i, dims + 2] = codes[slots[i, 0].column]
    observations[i, dims + 3] = unit_range(pnl / risk + 0.5)
    observations[i, dims + 4] = unit_range(held / settings[0].max_hold)


@inlined
def _observe(
    accounts: Records, slots: Records, settings: Records, i: int, market: Array, valid: Array,
    requirement: Array, codes: Array, observations: Array, masks: Array,
) -> None:  # fmt: skip
    """Write an account's observation and the actions that it may take."""
    t, dims, columns = accounts[i].index, market.shape[1], requirement.shape[1]
    # Held through, only a last session is incomplete: it keeps the market seen before it.
    if valid[t] or not settings[0].hold_through:
        for j in range(dims):
            observations[i, j] = market[t, j]
    _portfolio(accounts, slots, settings, i, codes, observations, dims)
    can_enter = valid[t] and accounts[i].positions < slots.shape[1]
    free = accounts[i].cash - accounts[i].margin
    for k in range(columns):
        masks[i, k] = can_enter and requirement[t, k] <= free
    masks[i, columns] = True
    masks[i, columns + 1] = accounts[i].positions > 0


@kernel
def observe_accounts(
    accounts: Records, slots: Records, settings: Records, market: Array, valid: Array,
    requirement: Array, codes: Array, observations: Array, masks: Array,
) -> None:  # fmt: skip
    """Write the observations and masks of all accounts."""
    for i in range(accounts.shape[0]):
        _observe(
            accounts, slots, settings, i, market, valid, requirement, codes, observations, masks
        )


@inlined
def _decide(
    accounts: Records, slots: Records, settings: Records, i: int, requirement: Array, masks: Array,
    action: int,
) -> tuple[int, int, float]:  # fmt: skip
    """Queue the orders of an action: entry column (or -1), units, and the penalty if it is invalid."""
    columns = requirement.shape[1]
    if not masks[i, action]:
        accounts[i].invalid += 1
        return -1, 0, settings[0].penalty
    if action < columns:
        units = units_of(accounts[i], settings[0], requirement[accounts[i].index, action])
        return action, units, 0.0
    if action == columns + 1:
        for s in range(accounts[i].positions):
            if slots[i, s].closing == NOT_CLOSING:
                slots[i, s].closing = ACTION_CLOSE
    return -1, 0, 0.0


@inlined
def _look_ahead(
    action: int, t: int, values: Array, layout: Array, table: Records, market: Array, requirement: Array,
) -> None:  # fmt: skip
    """Ask for what an entry at session ``t`` will look up, while another account is being walked."""
    columns = requirement.shape[1]
    k = min(action, columns - 1)
    position = t * columns + k
    prefetch(table, position)
    prefetch(values, _cell(layout, t, k, 1) * values.shape[1])
    prefetch(market, (t + 1) * market.shape[1])
    prefetch(requirement, (t + 1) * columns)


@kernel
def step_listed(
    actions: Array, accounts: Records, slots: Records, settings: Records, values: Array,
    layout: Array, table: Records, market: Array, valid: Array,
    requirement: Array, codes: Array, episodes: Array, groups: Array, observations: Array,
    masks: Array, rewards: Array, dones: Array, terminal: Array, finished: Array, log: Records,
    logged: int, listed: Array,
) -> int:  # fmt: skip
    """One decision of the listed accounts, and the way to their next; gives the trades in the log.

    Masks must be those of the decisions' closes, and every action must exist.
    """
    n = listed.shape[0]
    for j in range(n):
        i, ahead = int(listed[j]), int(listed[min(j + _AHEAD, n - 1)])
        _look_ahead(
            actions[ahead], accounts[ahead].index, values, layout, table, market, requirement
        )
        if accounts[i].index >= accounts[i].last:
            rewards[i] = 0.0
            dones[i] = True
            continue
        before = accounts[i].value
        column, units, penalty = _decide(
            accounts, slots, settings, i, requirement, masks, actions[i]
        )
        done = False
        asked = False
        while not (done or asked):
            logged = _advance(
                accounts, slots, settings, i, values, layout, table, column, units,
                log, logged,
            )  # fmt: skip
            column = -1
            done = accounts[i].index >= accounts[i].last
            asked = not settings[0].hold_through or valid[accounts[i].index]
        reward = (accounts[i].value - before) * settings[0].scale - penalty
        accounts[i].returned += reward
        accounts[i].steps += 1
        rewards[i] = reward
        dones[i] = done
        _observe(
            accounts, slots, settings, i, market, valid, requirement, codes, observations, masks
        )
        if done and episodes.shape[0] > 0:
            for dim in range(observations.shape[1]):
                terminal[i, dim] = observations[i, dim]
            finished[i, 0] = accounts[i].returned
            finished[i, 1] = accounts[i].steps
            draw_episode(accounts, slots, settings, i, episodes, groups)
            _observe(
                accounts, slots, settings, i, market, valid, requirement, codes, observations, masks
            )
    return logged
