"""The step of many accounts, plain ones first.

With one position at most, nearly all steps are of four kinds: an account without a position holds or
enters, one with a position holds or closes it. Each kind is a loop of its own here, so that the
processor meets no branch that it cannot foresee, and each number is read once. What a step can be is
kept from the step before (``ready``), so that one byte and the action say the kind. Whatever else may
happen (an expiry, an order that waits for a price, the last session, one without an observation, an
invalid action) is left to :func:`~spy_assets.simulator._batch_kernel.step_listed`: the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import numpy as np

from spy_assets.simulator._batch_kernel import (
    ACTION_CLOSE,
    NOT_CLOSING,
    ask_rules,
    fill_slot,
    log_trade,
    step_listed,
    unit_range,
    units_of,
)
from spy_assets.simulator._intrinsics import (
    Array,
    Record,
    Records,
    inlined,
    kernel,
    prefetch,
    store_word,
)

#: Rows of the lists of accounts: those left to ``step_listed``, then the four kinds.
LEFT: Final = 0
FLAT: Final = 1
ENTERING: Final = 2
HOLDING: Final = 3
CLOSING: Final = 4
KINDS: Final = 5
#: What an account's next step can be: LEFT whatever the action, FLAT without a position, OPEN with one,
#: and one more than that where it is being closed.
OPEN: Final = 2
#: The kind of a step by what it can be, three numbers each: of an entry, of HOLD, of CLOSE.
_KIND_OF: Final = np.array(
    [
        *(LEFT, LEFT, LEFT),
        *(ENTERING, FLAT, LEFT),
        *(LEFT, HOLDING, CLOSING),
        *(LEFT, CLOSING, CLOSING),
    ],
    dtype=np.uint8,
)
#: Behind a session's observation: most that an entry may require, dollars, and whether it is complete.
REQUIRED, COMPLETE = -2, -1
SESSION_EXTRAS: Final = 2
#: Dimensions of an observation that come from the account.
PORTFOLIO_DIMS: Final = 5
#: Four actions' masks as one word: which of the last four are allowed without and with a position.
_ALL: Final = 0x01010101
_ALL_BUT_CLOSE: Final = 0x00010101
_HOLD_AND_CLOSE: Final = 0x01010000
#: By how many accounts memory is asked for ahead of its use.
_AHEAD: Final = 8

#: An index that is not negative: numba need not ask whether it counts from the end.
at = cast("Callable[[int], int]", np.uintp)
#: A number to reckon with, of an index or a field of 32 bits.
whole = cast("Callable[[int], int]", np.int64)


@inlined
def _impossible(actions: Array, n_actions: int) -> int:
    """Position of the first action that does not exist, or -1."""
    for i in range(actions.shape[0]):
        if not 0 <= actions[i] < n_actions:
            return i
    return -1


@inlined
def _leave(lists: Array, counts: Array, i: int) -> None:
    lists[LEFT, at(counts[LEFT])] = i
    counts[LEFT] += 1


@inlined
def _list_kinds(actions: Array, ready: Array, columns: int, lists: Array, counts: Array) -> bool:
    """List the accounts by kind; whether an action does not exist.

    No branch depends on an account: half of such branches would be foreseen wrongly.
    """
    counts[:] = 0
    impossible = False
    for i in range(actions.shape[0]):
        action = whole(actions[i])
        number = 3 * whole(ready[i]) + whole(action >= columns) + whole(action > columns)
        kind = _KIND_OF[at(number)]
        place = counts[at(kind)]
        lists[at(kind), at(place)] = i
        counts[at(kind)] = place + 1
        impossible |= (action < 0) | (action > columns + 1)
    return impossible


@inlined
def _tell_flat(account: Record, i: int, t: int, ready: Array) -> None:
    """Keep that an account without a position is at session ``t``; at its last one nothing is plain."""
    ready[at(i)] = np.uint8(t + 1 < account.last)


@inlined
def _tell_held(
    account: Record, slot: Record, i: int, t: int, row: int, ready: Array, rows: Array
) -> None:
    """Keep that an account with a position is at session ``t``, and ``row`` of its value there."""
    plain = whole(t + 1 < account.last) * whole(t + 1 - slot.decision < slot.settle_age)
    ready[at(i)] = np.uint8(plain * (OPEN + whole(slot.closing != NOT_CLOSING)))
    rows[at(i)] = row + 1


@inlined
def _tell(account: Record, slot: Record, i: int, layout: Array, ready: Array, rows: Array) -> None:
    """Keep what the next step of an account can be, and which value it looks up then."""
    t, d = whole(account.index), whole(slot.decision)
    if account.positions == 0:
        _tell_flat(account, i, t, ready)
        return
    k = at(slot.column)
    row = layout[k, 0] + d * layout[k, 1] + t - d - 1
    _tell_held(account, slot, i, t, row, ready, rows)


@kernel
def tell_all(accounts: Records, slots: Records, layout: Array, ready: Array, rows: Array) -> None:
    """Find what the next step of each account can be, after it was put somewhere."""
    for i in range(accounts.shape[0]):
        _tell(accounts[i], slots[i, 0], i, layout, ready, rows)


@inlined
def _ask_ahead(
    kind: int, j: int, accounts: Records, sessions: Array, lists: Array, counts: Array
) -> int:
    """Ask for the session that an account further down the list walks to; gives the account."""
    ahead = at(lists[at(kind), min(j + _AHEAD, counts[kind] - 1)])
    prefetch(sessions, (accounts[ahead].index + 1) * sessions.shape[1])
    return ahead


@inlined
def _look(sessions: Array, t: int, observations: Array, i: int, dims: int) -> None:
    """Copy the market of a session four numbers at a time; what is beyond it is written after it."""
    for c in range(0, dims, 4):
        j, k, m, n = at(c), at(c + 1), at(c + 2), at(c + 3)
        one, two = sessions[at(t), j], sessions[at(t), k]
        three, four = sessions[at(t), m], sessions[at(t), n]
        observations[at(i), j], observations[at(i), k] = one, two
        observations[at(i), m], observations[at(i), n] = three, four


@inlined
def _allow(masks: Array, i: int, entries: bool, close: bool, last_four: int) -> None:
    """Write a mask of which all entries are allowed or none; of up to eight actions as two words."""
    n_actions = masks.shape[1]
    if 4 <= n_actions <= 8:
        store_word(masks, i * n_actions, _ALL if entries else 0)
        store_word(masks, (i + 1) * n_actions - 4, last_four)
        return
    masks[i, : n_actions - 2] = entries
    masks[i, n_actions - 2] = True
    masks[i, n_actions - 1] = close


@inlined
def _show_flat(
    value: float, free: float, settings: Record, i: int, t: int, sessions: Array,
    requirement: Array, observations: Array, masks: Array,
) -> None:  # fmt: skip
    """Observation and mask of an account without a position, at a session that is complete."""
    dims, columns = observations.shape[1] - PORTFOLIO_DIMS, requirement.shape[1]
    _look(sessions, t, observations, i, dims)
    observations[at(i), at(dims)] = unit_range(value / (2.0 * settings.capital))
    observations[at(i), at(dims + 1)] = 0.0
    observations[at(i), at(dims + 2)] = 0.0
    observations[at(i), at(dims + 3)] = 0.5
    observations[at(i), at(dims + 4)] = 0.0
    _allow(masks, i, True, False, _ALL_BUT_CLOSE)
    if not sessions[at(t), at(sessions.shape[1] + REQUIRED)] <= free:
        for k in range(columns):
            masks[at(i), at(k)] = requirement[at(t), at(k)] <= free


@inlined
def _show_held(
    value: float, cash: float, slot: Record, settings: Record, i: int, t: int, sessions: Array,
    codes: Array, observations: Array, masks: Array,
) -> None:  # fmt: skip
    """Observation and mask of an account with its one position, at a session that is complete."""
    dims = observations.shape[1] - PORTFOLIO_DIMS
    # Read before the observation is written, which numba cannot know to be somewhere else.
    pnl, risk, column = value - cash - slot.cost, slot.risk, slot.column
    held = t - slot.decision - (0 if settings.at_open else 1)
    _look(sessions, t, observations, i, dims)
    observations[at(i), at(dims)] = unit_range(value / (2.0 * settings.capital))
    observations[at(i), at(dims + 1)] = 1.0
    observations[at(i), at(dims + 2)] = codes[at(column)]
    observations[at(i), at(dims + 3)] = unit_range(pnl / risk + 0.5)
    observations[at(i), at(dims + 4)] = unit_range(held / settings.max_hold)
    _allow(masks, i, False, True, _HOLD_AND_CLOSE)


@inlined
def _walk_on(
    account: Record, settings: Record, i: int, t: int, value: float, rewards: Array, dones: Array
) -> None:
    """Be at session ``t`` with ``value``."""
    reward = (value - account.value) * settings.scale
    account.value = value
    account.index = t
    account.returned += reward
    account.steps += 1
    rewards[at(i)] = reward
    dones[at(i)] = False


@inlined
def _enter(
    account: Record, slot: Record, settings: Records, unit: Record, loss: float, column: int
) -> bool:
    """Fill an entry; whether it was so plain: not settled at once, and paid for."""
    units = units_of(account, settings, loss)
    cost, margin = units * unit.cost, units * unit.margin
    # A NaN fails the comparison too.
    if unit.settle_age <= 1 or units < 1 or not cost + margin <= account.cash - account.margin:
        return False
    slot.cost = cost
    slot.margin = margin
    fill_slot(slot, unit, account.index, column, units)
    ask_rules(slot, 1)
    account.cash -= cost
    account.margin += margin
    account.positions = 1
    return True


@inlined
def _close(
    account: Record, slot: Record, i: int, t: int, proceeds: float, log: Records, logged: int
) -> int:
    """Book what the one position brings back; gives the trades in the log."""
    brought = slot.quantity * proceeds
    pnl = brought - slot.cost
    if log.shape[0] > 0:
        reason = slot.closing if slot.closing != NOT_CLOSING else ACTION_CLOSE
        logged = log_trade(slot, i, pnl, t, reason, t - slot.decision - 1, log, logged)
    account.cash += brought
    account.margin = 0.0
    account.realized += pnl
    account.trades += 1
    account.positions = 0
    slot.decision = -1
    return logged


@inlined
def _step_flat(
    accounts: Records, settings: Records, sessions: Array, requirement: Array, observations: Array,
    masks: Array, rewards: Array, dones: Array, ready: Array, lists: Array, counts: Array,
) -> None:  # fmt: skip
    """Accounts without a position that stay so."""
    complete = at(sessions.shape[1] + COMPLETE)
    for j in range(counts[FLAT]):
        i = whole(lists[FLAT, j])
        _ask_ahead(FLAT, j, accounts, sessions, lists, counts)
        account = accounts[at(i)]
        t = account.index + 1
        if sessions[at(t), complete] == 0.0:
            _leave(lists, counts, i)
            continue
        value, free = account.value, account.cash - account.margin
        _walk_on(account, settings[0], i, t, value, rewards, dones)
        _tell_flat(account, i, t, ready)
        _show_flat(
            value, free, settings[0], i, t, sessions, requirement, observations, masks
        )  # fmt: skip


@inlined
def _step_entering(
    actions: Array, accounts: Records, slots: Records, settings: Records, values: Array,
    layout: Array, table: Records, sessions: Array, requirement: Array, codes: Array,
    observations: Array, masks: Array, rewards: Array, dones: Array, ready: Array, rows: Array,
    lists: Array, counts: Array,
) -> None:  # fmt: skip
    """Accounts that open their position."""
    complete, n, columns = at(sessions.shape[1] + COMPLETE), counts[ENTERING], requirement.shape[1]
    for j in range(n):
        i, ahead = (
            whole(lists[ENTERING, j]),
            _ask_ahead(ENTERING, j, accounts, sessions, lists, counts),
        )
        next_, entry = accounts[ahead].index, at(actions[ahead])
        prefetch(table, next_ * columns + actions[ahead])
        prefetch(values, (layout[entry, 0] + next_ * layout[entry, 1]) * values.shape[1])
        account, slot, k = accounts[at(i)], slots[at(i), 0], actions[at(i)]
        d, t = account.index, account.index + 1
        row = layout[at(k), 0] + d * layout[at(k), 1]
        if (
            sessions[at(t), complete] == 0.0
            or not masks[at(i), at(k)]
            or not _enter(
                account, slot, settings[0], table[at(d), at(k)], requirement[at(d), at(k)], k
            )
        ):
            _leave(lists, counts, i)
            continue
        cash = account.cash
        value = cash + slot.quantity * values[at(row), 0]
        _walk_on(account, settings[0], i, t, value, rewards, dones)
        _tell_held(account, slot, i, t, row, ready, rows)
        _show_held(
            value, cash, slot, settings[0], i, t, sessions, codes, observations, masks
        )  # fmt: skip


@inlined
def _step_holding(
    accounts: Records, slots: Records, settings: Records, values: Array,
    sessions: Array, codes: Array, observations: Array, masks: Array, rewards: Array,
    dones: Array, ready: Array, rows: Array, lists: Array, counts: Array,
) -> None:  # fmt: skip
    """Accounts that keep their position."""
    complete = at(sessions.shape[1] + COMPLETE)
    for j in range(counts[HOLDING]):
        i = whole(lists[HOLDING, j])
        ahead = _ask_ahead(HOLDING, j, accounts, sessions, lists, counts)
        prefetch(values, rows[ahead] * values.shape[1])
        account, slot = accounts[at(i)], slots[at(i), 0]
        t = account.index + 1
        if sessions[at(t), complete] == 0.0:
            _leave(lists, counts, i)
            continue
        cash = account.cash
        row = rows[at(i)]
        value = cash + slot.quantity * values[at(row), 0]
        ask_rules(slot, t - slot.decision)
        _walk_on(account, settings[0], i, t, value, rewards, dones)
        _tell_held(account, slot, i, t, row, ready, rows)
        _show_held(
            value, cash, slot, settings[0], i, t, sessions, codes, observations, masks
        )  # fmt: skip


@inlined
def _step_closing(
    accounts: Records, slots: Records, settings: Records, values: Array,
    sessions: Array, requirement: Array, observations: Array, masks: Array, rewards: Array,
    dones: Array, ready: Array, rows: Array, lists: Array, counts: Array, log: Records, logged: int,
) -> int:  # fmt: skip
    """Accounts whose position an action, a rule or an assignment closes; gives the trades in the log."""
    complete = at(sessions.shape[1] + COMPLETE)
    for j in range(counts[CLOSING]):
        i = whole(lists[CLOSING, j])
        ahead = _ask_ahead(CLOSING, j, accounts, sessions, lists, counts)
        prefetch(values, rows[ahead] * values.shape[1])
        account, slot = accounts[at(i)], slots[at(i), 0]
        t = account.index + 1
        proceeds = values[at(rows[at(i)]), 1]
        if sessions[at(t), complete] == 0.0 or np.isnan(proceeds):
            _leave(lists, counts, i)
            continue
        logged = _close(account, slot, i, t, proceeds, log, logged)
        cash = account.cash
        _walk_on(account, settings[0], i, t, cash, rewards, dones)
        _tell_flat(account, i, t, ready)
        _show_flat(
            cash, cash, settings[0], i, t, sessions, requirement, observations, masks
        )  # fmt: skip
    return logged


@inlined
def _leave_all(n: int, lists: Array, counts: Array) -> None:
    counts[:] = 0
    counts[LEFT] = n
    for i in range(n):
        lists[LEFT, i] = i


@kernel
def step_accounts(
    actions: Array, log: Records, logged: int, accounts: Records, slots: Records,
    settings: Records, values: Array, layout: Array, table: Records, sessions: Array,
    market: Array, valid: Array, requirement: Array, codes: Array, episodes: Array, groups: Array,
    observations: Array, masks: Array, rewards: Array, dones: Array, terminal: Array,
    finished: Array, ready: Array, rows: Array, lists: Array, counts: Array,
) -> int:  # fmt: skip
    """One decision of every account, and the way to its next one.

    Masks must be those of the decisions' closes. ``sessions`` are rows of the market's observation
    with ``SESSION_EXTRAS``; ``ready`` and ``rows`` are those of :func:`tell_all` and kept up to date;
    ``lists`` and ``counts`` are room for one row a kind. Gives the number of trades in the log, or a
    negative number -1 - i if the action of account i does not exist; nothing has moved then.
    """
    columns = requirement.shape[1]
    if slots.shape[1] > 1:
        impossible = _impossible(actions, columns + 2)
        if impossible >= 0:
            return -1 - impossible
        _leave_all(actions.shape[0], lists, counts)
    elif _list_kinds(actions, ready, columns, lists, counts):
        return -1 - _impossible(actions, columns + 2)
    _step_flat(
        accounts, settings, sessions, requirement, observations, masks, rewards, dones, ready,
        lists, counts,
    )  # fmt: skip
    _step_entering(
        actions, accounts, slots, settings, values, layout, table, sessions, requirement, codes,
        observations, masks, rewards, dones, ready, rows, lists, counts,
    )  # fmt: skip
    _step_holding(
        accounts, slots, settings, values, sessions, codes, observations, masks, rewards,
        dones, ready, rows, lists, counts,
    )  # fmt: skip
    logged = _step_closing(
        accounts, slots, settings, values, sessions, requirement, observations, masks,
        rewards, dones, ready, rows, lists, counts, log, logged,
    )  # fmt: skip
    logged = step_listed(
        actions, accounts, slots, settings, values, layout, table, market, valid, requirement,
        codes, episodes, groups, observations, masks, rewards, dones, terminal, finished, log,
        logged, lists[LEFT, : counts[LEFT]],
    )  # fmt: skip
    for j in range(counts[LEFT]):
        i = whole(lists[LEFT, j])
        _tell(accounts[at(i)], slots[at(i), 0], i, layout, ready, rows)
    return logged
