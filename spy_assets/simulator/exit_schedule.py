"""Exit rules applied to whole position tables: at which age the chain closes each position first.

What a rule looks at (P&L in the premium and its peak, the underlying, time) is the same for every
account that holds the position, and for every number of units. So the chain is asked once for the table,
and an account only compares an age. The rules are those of :mod:`spy_assets.simulator.exits`, and the
tests hold both equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError
from spy_assets.simulator.book import PathBook
from spy_assets.simulator.exits import (
    CreditStop,
    ExitRule,
    ExitRules,
    MaxHold,
    ModelExit,
    NearExpiry,
    ProfitTarget,
    SpotMove,
    StopLoss,
    TimeStop,
    TrailingStop,
)
from spy_assets.simulator.position_table import MARK, NEVER, PositionTable

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]


class ExitSchedule(NamedTuple):
    """First age at which the chain fires, ``[n, k]`` (``NEVER``), and which rule of it does."""

    age: IntArray
    rule: IntArray
    names: tuple[str, ...]


class _Held(NamedTuple):
    """All positions at one close, ``[n, k]``; what does not depend on the opening ``[n, 1]``.

    As :class:`~spy_assets.simulator.kernel.Position` and
    :class:`~spy_assets.simulator.exits.HoldingState` name them, one unit each.
    """

    pnl_of_premium: FloatArray
    peak_of_premium: FloatArray
    mark: FloatArray
    entry_value: FloatArray
    spot_move: FloatArray
    closes_held: int
    minutes_held: FloatArray
    minutes_to_expiry: FloatArray
    sessions_to_expiry: FloatArray


def _by_side(held: _Held, of_debit: float, of_credit: float) -> FloatArray:
    return np.where(held.entry_value > 0.0, of_debit, of_credit)


def _stop_loss(rule: StopLoss, held: _Held) -> BoolArray:
    return held.pnl_of_premium <= -_by_side(held, rule.of_debit, rule.of_credit)


def _credit_stop(rule: CreditStop, held: _Held) -> BoolArray:
    return (held.entry_value < 0.0) & (held.mark <= rule.multiple * held.entry_value)


def _profit_target(rule: ProfitTarget, held: _Held) -> BoolArray:
    return held.pnl_of_premium >= _by_side(held, rule.of_debit, rule.of_credit)


def _spot_move(rule: SpotMove, held: _Held) -> BoolArray:
    return ~((rule.down < held.spot_move) & (held.spot_move < rule.up))


def _trailing_stop(rule: TrailingStop, held: _Held) -> BoolArray:
    armed = held.peak_of_premium >= rule.arm
    return armed & (held.pnl_of_premium <= held.peak_of_premium - rule.trail)


def _max_hold(rule: MaxHold, held: _Held) -> BoolArray:
    return np.asarray(held.closes_held >= rule.sessions)


def _time_stop(rule: TimeStop, held: _Held) -> BoolArray:
    return held.minutes_held >= rule.minutes


def _near_expiry(rule: NearExpiry, held: _Held) -> BoolArray:
    by_minutes = held.minutes_to_expiry <= (-np.inf if rule.minutes is None else rule.minutes)
    by_closes = held.sessions_to_expiry <= (-np.inf if rule.sessions is None else rule.sessions)
    return np.asarray(by_minutes | by_closes)


def _model_exit(rule: ModelExit, held: _Held) -> BoolArray:  # noqa: ARG001
    # The daily clock has no exit model to tell.
    return np.zeros(1, dtype=np.bool_)


_COMPILED: Final[dict[type, Callable[[Any, _Held], BoolArray]]] = {
    StopLoss: _stop_loss,
    CreditStop: _credit_stop,
    ProfitTarget: _profit_target,
    SpotMove: _spot_move,
    TrailingStop: _trailing_stop,
    MaxHold: _max_hold,
    TimeStop: _time_stop,
    NearExpiry: _near_expiry,
    ModelExit: _model_exit,
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


def exit_schedule(table: PositionTable, rules: ExitRules, book: PathBook) -> ExitSchedule:
    """Ask the chain at every age of every position of a book's table.

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
    walk = _Closes(table, rules, book)
    for age in range(1, walk.ages + 1):
        held = walk.at(age)
        if held.closes_held == 0:
            continue
        open_still = (first == NEVER) & (age < table.settle_age)
        for number, rule in enumerate(rules.chain):
            fired = open_still & _fired(rule, held)
            first[fired], which[fired] = age, number
            open_still &= ~fired
    return ExitSchedule(first, which, tuple(rule.name for rule in rules.chain))


def _fired(rule: ExitRule, held: _Held) -> BoolArray:
    return _COMPILED[type(rule)](rule, held)


class _Closes:
    """The positions of a table, close by close from age 1 on."""

    def __init__(self, table: PositionTable, rules: ExitRules, book: PathBook) -> None:
        self.table, self.book, self.n = table, book, len(book.path)
        self.ages = max(values.shape[1] for values in table.values)
        self.basis = np.maximum(np.abs(table.entry_value), 1.0)
        self.peak = np.full(table.cost.shape, -np.inf)
        self.tells_time = any(isinstance(rule, TimeStop | NearExpiry) for rule in rules.chain)
        if self.tells_time:
            self._clock()

    def _clock(self) -> None:
        """Minutes and sessions up to the close of each session, and of each entry's expiry."""
        time, sessions = self.book.trading_time, self.book.path.sessions
        first = sessions[0]
        self.minutes = np.array([time.minutes(first, day) for day in sessions])
        self.number = np.array([float(time.sessions(first, day)) for day in sessions])
        opened = np.array([time.minutes(day, day, from_open=True) for day in sessions])
        self.filled = _later(self.minutes - (opened if self.table.at_open else 0.0), 1)
        self.expiry_minutes = np.empty(self.table.cost.shape)
        self.expiry_number = np.empty(self.table.cost.shape)
        for group in self.book.columns:
            minutes = [time.minutes(first, day) for day in group.expiries]
            number = [time.sessions(first, day) for day in group.expiries]
            self.expiry_minutes[:, group.numbers] = np.array(minutes)[:, None]
            self.expiry_number[:, group.numbers] = np.array(number, dtype=float)[:, None]

    def at(self, age: int) -> _Held:
        """Everything at one age; ages come in order, because of the peak."""
        table = self.table
        mark = np.full(table.cost.shape, np.nan)
        for column, values in enumerate(table.values):
            if age <= values.shape[1]:
                mark[:, column] = values[:, age - 1, MARK]
        pnl = (mark - table.cost) / self.basis
        self.peak = np.fmax(self.peak, pnl)
        move = _later(self.book.path.close, age) / table.spot_entry - 1.0
        untold = np.full((self.n, 1), np.nan)
        held = to_expiry = closes = untold
        if self.tells_time:
            now = _later(self.minutes, age)[:, None]
            held, to_expiry = now - self.filled[:, None], self.expiry_minutes - now
            closes = self.expiry_number - _later(self.number, age)[:, None]
        return _Held(
            pnl_of_premium=pnl,
            peak_of_premium=self.peak,
            mark=mark,
            entry_value=table.entry_value,
            spot_move=move[:, None],
            closes_held=age if table.at_open else age - 1,
            minutes_held=held,
            minutes_to_expiry=to_expiry,
            sessions_to_expiry=closes,
        )


def _later(values: FloatArray, age: int) -> FloatArray:
    """Values of the session ``age`` ahead, NaN beyond the end."""
    later = np.full(len(values), np.nan)
    later[: max(0, len(values) - age)] = values[age:]
    return later
