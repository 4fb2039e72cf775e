"""Exit rules applied to whole position tables: at which age the chain closes each position first.

What a rule looks at (P&L in the premium, the underlying, closes held) is the same for every account that
holds the position, and for every number of units. So the chain is asked once for the table, and an
account only compares an age. The rules are those of :mod:`spy_assets.simulator.exits`, and the tests
hold both equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError
from spy_assets.simulator.exits import (
    ExitRule,
    ExitRules,
    MaxHold,
    ProfitTarget,
    SpotMove,
    StopLoss,
)
from spy_assets.simulator.position_table import MARK, PositionTable

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]

#: Age of a rule that never fires.
NEVER: Final = np.iinfo(np.int16).max


class ExitSchedule(NamedTuple):
    """First age at which the chain fires, ``[n, k]`` (``NEVER``), and which rule of it does."""

    age: IntArray
    rule: IntArray
    names: tuple[str, ...]


class _Held(NamedTuple):
    """All positions at one close: P&L over the premium, whether it was a debit, the rest by session."""

    pnl_of_premium: FloatArray
    is_debit: BoolArray
    spot_move: FloatArray
    closes_held: int


def _stop_loss(rule: StopLoss, held: _Held) -> BoolArray:
    limit = np.where(held.is_debit, rule.of_debit, rule.of_credit)
    return held.pnl_of_premium <= -limit


def _profit_target(rule: ProfitTarget, held: _Held) -> BoolArray:
    target = np.where(held.is_debit, rule.of_debit, rule.of_credit)
    return held.pnl_of_premium >= target


def _spot_move(rule: SpotMove, held: _Held) -> BoolArray:
    inside = (rule.down < held.spot_move) & (held.spot_move < rule.up)
    return np.broadcast_to(~inside[:, None], held.is_debit.shape)


def _max_hold(rule: MaxHold, held: _Held) -> BoolArray:
    return np.full(held.is_debit.shape, held.closes_held >= rule.sessions)


_COMPILED: Final[dict[type, Callable[[Any, _Held], BoolArray]]] = {
    StopLoss: _stop_loss,
    ProfitTarget: _profit_target,
    SpotMove: _spot_move,
    MaxHold: _max_hold,
}


def require_compiled(rules: ExitRules) -> None:
    """Check that every rule of a chain can be applied to a table.

    Raises
    ------
    ConfigError
        If one cannot; the message names it.
    """
    for rule in rules.chain:
        if type(rule) not in _COMPILED:
            known = ", ".join(sorted(kind.__name__ for kind in _COMPILED))
            raise ConfigError(
                f"exit rule {rule.name!r} ({type(rule).__name__}) is not compiled",
                hint=f"the batched engine has {known}; DailySimulator takes any rule",
            )


def exit_schedule(table: PositionTable, rules: ExitRules, close: FloatArray) -> ExitSchedule:
    """Ask the chain at every age of every position; ``close`` are the path's closes in dollars.

    As at the daily clock, no rule is asked at the close of the entry's own fill, nor from the
    settlement on.

    Raises
    ------
    ConfigError
        If a rule is not compiled.
    """
    require_compiled(rules)
    first = np.full(table.cost.shape, NEVER, dtype=np.int16)
    which = np.zeros(table.cost.shape, dtype=np.int16)
    basis = np.maximum(np.abs(table.entry_value), 1.0)
    for age in range(1 if table.at_open else 2, table.ages + 1):
        held = _held(table, basis, close, age)
        open_still = (first == NEVER) & (age < table.settle_age)
        for number, rule in enumerate(rules.chain):
            fired = open_still & _fired(rule, held)
            first[fired], which[fired] = age, number
            open_still &= ~fired
    return ExitSchedule(first, which, tuple(rule.name for rule in rules.chain))


def _fired(rule: ExitRule, held: _Held) -> BoolArray:
    return _COMPILED[type(rule)](rule, held)


def _held(table: PositionTable, basis: FloatArray, close: FloatArray, age: int) -> _Held:
    n = len(close)
    spot = np.full(n, np.nan)
    spot[: n - age] = close[age:]
    return _Held(
        pnl_of_premium=(table.values[:, :, age - 1, MARK] - table.cost) / basis,
        is_debit=table.entry_value > 0.0,
        spot_move=spot / table.spot_entry - 1.0,
        closes_held=age if table.at_open else age - 1,
    )
