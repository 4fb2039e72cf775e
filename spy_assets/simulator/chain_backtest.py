"""Backtests over real option chains: fills at quotes, in one compiled pass through the table.

>>> table = ChainTable.from_frame(chains, closes=closes)                            # doctest: +SKIP
>>> condor = ChainStrategy("iron_condor", legs_by_delta("iron_condor", 0.16))       # doctest: +SKIP
>>> backtest_chain(table, condor).trades                                            # doctest: +SKIP

Whatever the table does not have is never made up: a position whose leg is not quoted keeps its mark,
and that is counted; an exit waits until every leg can be traded; an entry that is not possible is
counted with the reason. A structure is not opened if its expiry lies within the table and the
underlying's close of that day is not known, as it could not be settled.

The results are of quotes alone. They are shown for the sessions of the table only, and never pooled with
fills at model prices: every trade says `quote_kind` = ``"chain"``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from spy_assets.errors import ConfigError
from spy_assets.market.schemas import TIMESTAMP
from spy_assets.sessions import session_open
from spy_assets.simulator import _chain_kernel as compiled
from spy_assets.simulator._chain_kernel import (
    COUNTED,
    ENTRY_CODES,
    MONEY,
    MOST_LEGS,
    OPEN,
    Books,
    Plan,
)
from spy_assets.simulator.chain_strategy import ChainStrategy, EntryRule
from spy_assets.simulator.chain_table import ChainTable
from spy_assets.simulator.exits import (
    CreditStop,
    ExitRule,
    MaxHold,
    ModelExit,
    NearExpiry,
    ProfitTarget,
    SpotMove,
    StopLoss,
    TimeStop,
    TrailingStop,
)
from spy_assets.simulator.kernel import InvariantBroken

BoolArray = npt.NDArray[np.bool_]

_HOW: Final = {
    "delta": compiled.BY_DELTA,
    "middle": compiled.FROM_MIDDLE,
    "leg": compiled.FROM_LEG,
}
#: Names of the exits that are no rules of the chain.
_REASONS: Final = {
    int(compiled.EXPIRY): "expiry",
    int(compiled.EARLY_ASSIGNMENT): "assignment",
    int(compiled.END_OF_DATA): "end_of_data",
}
#: What is told of a trade, open or closed, in order.
TRADES_SCHEMA: Final[dict[str, pl.DataType]] = {
    "trade_id": pl.Int64(),
    "structure": pl.String(),
    "quantity": pl.Int64(),
    "root": pl.String(),
    "expiry": pl.Date(),
    "legs": pl.List(pl.String()),
    "leg_quantities": pl.List(pl.Int64()),
    "decision_session": pl.Date(),
    "entry_session": pl.Date(),
    "entry_time": TIMESTAMP,
    "exit_session": pl.Date(),
    "exit_time": TIMESTAMP,
    "exit_reason": pl.String(),
    "entry_prices": pl.List(pl.Float64()),
    "entry_mids": pl.List(pl.Float64()),
    "exit_prices": pl.List(pl.Float64()),
    "exit_mids": pl.List(pl.Float64()),
    "entry_value": pl.Float64(),
    "exit_value": pl.Float64(),
    "gross": pl.Float64(),
    "spread": pl.Float64(),
    "slippage": pl.Float64(),
    "commission": pl.Float64(),
    "costs": pl.Float64(),
    "half_spread": pl.Float64(),
    "mark": pl.Float64(),
    "pnl": pl.Float64(),
    "capital_at_risk": pl.Float64(),
    "pnl_pct": pl.Float64(),
    "holding_sessions": pl.Int64(),
    "spot_entry": pl.Float64(),
    "spot_exit": pl.Float64(),
    "stale_marks": pl.Int64(),
    "exit_waits": pl.Int64(),
    "assignments_unquoted": pl.Int64(),
    "alpha": pl.Float64(),
    "quote_kind": pl.String(),
}


def due_entries(table: ChainTable, rule: EntryRule) -> BoolArray:
    """At which snapshots an entry is looked for, ``[snapshots]``."""
    due = np.zeros(len(table.sessions), np.bool_)
    days = sorted(set(table.sessions))
    chosen = set(days[:: rule.every])
    if rule.after_open is None:
        due[:] = [
            bool(last) and day in chosen
            for last, day in zip(table.chain.last, table.sessions, strict=True)
        ]
        return due
    taken: set[date] = set()
    for at, day in enumerate(table.sessions):
        late = table.moment(at) >= session_open(day) + rule.after_open
        if late and day in chosen and day not in taken:
            taken.add(day)
            due[at] = True
    return due


def _rule_numbers(rule: ExitRule) -> tuple[int, float, float]:  # noqa: PLR0911 - a table of cases
    """A rule's kind and its two limits."""
    match rule:
        case StopLoss():
            return compiled.STOP_LOSS, rule.of_debit, rule.of_credit
        case CreditStop():
            return compiled.CREDIT_STOP, rule.multiple, math.nan
        case ProfitTarget():
            return compiled.PROFIT_TARGET, rule.of_debit, rule.of_credit
        case TrailingStop():
            return compiled.TRAILING_STOP, rule.arm, rule.trail
        case SpotMove():
            return compiled.SPOT_MOVE, rule.down, rule.up
        case MaxHold():
            return compiled.MAX_HOLD, float(rule.sessions), math.nan
        case TimeStop():
            return compiled.TIME_STOP, rule.minutes, math.nan
        case NearExpiry():
            # A comparison with NaN is false: the part that is left out never fires.
            minutes = math.nan if rule.minutes is None else rule.minutes
            return compiled.NEAR_EXPIRY, minutes, _number(rule.sessions)
        case ModelExit():
            return compiled.MODEL_EXIT, math.nan, math.nan
    raise ConfigError(
        f"the exit rule {rule.name!r} is not compiled for chains",
        hint="use the rules of simulator/exits.py",
    )


def _number(value: int | None) -> float:
    return math.nan if value is None else float(value)


def compile_plan(strategy: ChainStrategy) -> Plan:
    """The strategy as numbers.

    Raises
    ------
    ConfigError
        If an exit rule is not one of those that are compiled.
    """
    templates, legs = strategy.definition.templates, strategy.legs
    kinds, limits, others = zip(*map(_rule_numbers, strategy.rules.chain), strict=True)
    most = strategy.entry.most_per_expiry
    return Plan(
        put=np.array([leg.right == "P" for leg in templates], dtype=np.bool_),
        quantity=np.array([leg.side * leg.ratio for leg in templates], dtype=np.int64),
        rank=np.array([round(1000 * leg.offset) for leg in templates], dtype=np.int64),
        how=np.array([_HOW[rule.how] for rule in legs], dtype=np.int64),
        value=np.array([rule.value for rule in legs], dtype=np.float64),
        share=np.array([rule.share for rule in legs], dtype=np.float64),
        other=np.array([rule.other for rule in legs], dtype=np.int64),
        order=np.array(strategy.leg_order(), dtype=np.int64),
        strike_miss=float(strategy.strike_miss),
        delta_miss=float(strategy.delta_miss),
        dte_low=strategy.expiry.low,
        dte_high=strategy.expiry.high,
        dte=strategy.expiry.target,
        opening=strategy.expiry.opening,
        most_open=strategy.entry.most_open,
        most_per_expiry=strategy.entry.most_open if most is None else most,
        units=strategy.units,
        naked=strategy.allow_naked,
        alpha=float(strategy.costs.alpha),
        commission=float(strategy.costs.commission),
        slippage=float(strategy.costs.slippage_fraction),
        sell_fee=float(strategy.costs.sell_fee_rate),
        fill_next=strategy.fill == "next",
        sell_at_zero=strategy.sell_at_zero_bid,
        close_at_end=strategy.close_at_end,
        rule=np.array(kinds, dtype=np.int64),
        limit=np.array(limits, dtype=np.float64),
        other_limit=np.array(others, dtype=np.float64),
    )


def _empty_books(trades: int, snapshots: int, strategy: ChainStrategy) -> Books:
    rows = (trades, MOST_LEGS)
    counted = np.zeros((trades, len(COUNTED)), np.int64)
    for column in (compiled.REASON, compiled.DUE_REASON, compiled.EXITED_AT):
        counted[:, column] = OPEN
    cash = np.zeros(2, np.float64)
    cash[compiled.CASH] = strategy.capital
    return Books(
        money=np.zeros((trades, len(MONEY)), np.float64),
        counted=counted,
        entry_row=np.full(rows, -1, np.int64),
        exit_row=np.full(rows, -1, np.int64),
        exit_mid=np.full(rows, math.nan),
        entry_price=np.full(rows, math.nan),
        exit_price=np.full(rows, math.nan),
        open=np.zeros(strategy.entry.most_open, np.int64),
        cash=cash,
        counts=np.zeros(2, np.int64),
        equity=np.zeros((snapshots, 4), np.float64),
        entries=np.zeros(snapshots, np.int64),
    )


def backtest_chain(table: ChainTable, strategy: ChainStrategy) -> ChainBacktest:
    """Trade a strategy over the table's snapshots.

    Raises
    ------
    ConfigError
        If legs are chosen by delta and the table has none, or an exit rule is not compiled.
    InvariantBroken
        If the books do not reconcile to 1e-6 of a dollar.
    """
    if table.delta_source is None and any(rule.how == "delta" for rule in strategy.legs):
        raise ConfigError(
            "the chain has no deltas, by which legs are to be chosen",
            hint="choose legs_by_width, or analyse the chain first",
        )
    due = due_entries(table, strategy.entry)
    books = _empty_books(int(due.sum()) + 1, len(table.sessions), strategy)
    compiled.run(table.chain, compile_plan(strategy), books, due)
    result = ChainBacktest(table, strategy, books)
    result.reconcile()
    return result


@dataclass(frozen=True, eq=False)
class ChainBacktest:
    """What a backtest over real quotes gave.

    Attributes
    ----------
    table, strategy
        What was traded, and how.
    books
        The arrays of the pass.
    """

    table: ChainTable
    strategy: ChainStrategy
    books: Books

    @property
    def quote_kind(self) -> str:
        """All fills are at real quotes."""
        return "chain"

    @cached_property
    def all_trades(self) -> pl.DataFrame:
        """Closed and open trades in the order of their entries, :data:`TRADES_SCHEMA`."""
        count = int(self.books.counts[compiled.TRADES])
        rows = [self._record(trade) for trade in range(count)]
        return pl.DataFrame(rows, schema=pl.Schema(TRADES_SCHEMA), orient="row")

    @property
    def trades(self) -> pl.DataFrame:
        """The closed trades. Dollars are for all units, `pnl` is after every cost."""
        return self.all_trades.filter(pl.col("exit_reason").is_not_null())

    @property
    def open_positions(self) -> pl.DataFrame:
        """What is open at the end, at its last mark: `mark` and `pnl`, without the costs of closing."""
        return self.all_trades.filter(pl.col("exit_reason").is_null())

    @cached_property
    def equity(self) -> pl.DataFrame:
        """`session`, `value`, `cash`, `marks`, `open_positions` and `carried_marks` at its end."""
        last, numbers = np.flatnonzero(self.table.chain.last), self.books.equity
        cash, marks, held, carried = (numbers[last, column] for column in range(4))
        return pl.DataFrame(
            {
                "session": [self.table.sessions[at] for at in last],
                "value": cash + marks,
                "cash": cash,
                "marks": marks,
                "open_positions": held.astype(np.int64),
                "carried_marks": carried.astype(np.int64),
            }
        )

    @cached_property
    def entries(self) -> pl.DataFrame:
        """`session`, `time` and `outcome` of every entry that was looked for."""
        asked = np.flatnonzero(self.books.entries)
        return pl.DataFrame(
            {
                "session": [self.table.sessions[at] for at in asked],
                "time": [self.table.moment(int(at)) for at in asked],
                "outcome": [ENTRY_CODES[code] for code in self.books.entries[asked]],
            },
            schema={"session": pl.Date, "time": TIMESTAMP, "outcome": pl.String},
        )

    @property
    def coverage(self) -> pl.DataFrame:
        """How many entries were made, and how many were not for which reason: `outcome`, `entries`."""
        counted = self.entries.group_by("outcome").agg(pl.len().cast(pl.Int64).alias("entries"))
        return counted.sort("entries", "outcome", descending=[True, False])

    @property
    def pnl(self) -> float:
        """Dollars made by the closed trades, after every cost."""
        return float(self.trades["pnl"].sum())

    def reconcile(self, tolerance: float = 1e-6) -> None:
        """Cash, marks, trades and costs must add up.

        Raises
        ------
        InvariantBroken
            If two of the sums differ by more than ``tolerance`` dollars; the message has all of them.
        """
        money = self.books.money[: self.books.counts[compiled.TRADES]]
        pnl, mark = money[:, compiled.PNL], money[:, compiled.MARK]
        costs = money[:, [compiled.SPREAD, compiled.SLIPPAGE, compiled.COMMISSION]]
        marks = math.fsum(mark)
        sums = {
            "cash and marks": self.books.cash[compiled.CASH] - self.strategy.capital + marks,
            "trades": math.fsum(pnl) + marks,
            "gross less costs": math.fsum(money[:, compiled.GROSS]) - math.fsum(costs.flat) + marks,
        }
        if max(sums.values()) - min(sums.values()) > tolerance:
            raise InvariantBroken(f"the chain account does not reconcile: {sums}")

    # ---------------------------------------------------------------- trades as rows

    def _record(self, trade: int) -> dict[str, Any]:
        counted = dict(zip(COUNTED, self.books.counted[trade].tolist(), strict=True))
        money = dict(zip(MONEY, self.books.money[trade].tolist(), strict=True))
        costs = money["spread"] + money["slippage"] + money["commission"]
        marked = money["pnl"] + money["mark"]
        return {
            "trade_id": trade + 1,
            "structure": self.strategy.structure,
            "quantity": self.strategy.units,
            "alpha": self.strategy.costs.alpha,
            "quote_kind": self.quote_kind,
            **self._legs(trade, counted["term"]),
            **self._times(counted),
            **{name: money[name] for name in TRADES_SCHEMA if name in money},
            "costs": costs,
            "pnl": marked,
            "pnl_pct": marked / money["capital_at_risk"],
            "stale_marks": counted["stale"],
            "exit_waits": counted["waits"],
            "assignments_unquoted": counted["unassigned"],
        }

    def _legs(self, trade: int, term: int) -> dict[str, Any]:
        templates, chain, books = self.strategy.definition.templates, self.table.chain, self.books
        legs = range(len(templates))
        rows = books.entry_row[trade, : len(templates)]
        key = self.table.terms[term]
        return {
            "root": key.root,
            "expiry": key.expiry,
            "legs": [
                self.table.contract(term, leg.right == "P", float(chain.strike[row])).occ
                for leg, row in zip(templates, rows, strict=True)
            ],
            "leg_quantities": [leg.side * leg.ratio for leg in templates],
            "entry_prices": [float(books.entry_price[trade, leg]) for leg in legs],
            "entry_mids": [float((chain.bid[row] + chain.ask[row]) / 2.0) for row in rows],
            "exit_prices": [_known(books.exit_price[trade, leg]) for leg in legs],
            "exit_mids": [_known(books.exit_mid[trade, leg]) for leg in legs],
        }

    def _times(self, counted: dict[str, int]) -> dict[str, Any]:
        table, chain = self.table, self.table.chain
        entered, exited, reason = counted["entered"], counted["exited"], counted["reason"]
        told: dict[str, Any] = {
            "decision_session": table.sessions[counted["decided"]],
            "entry_session": table.sessions[entered],
            "entry_time": table.moment(entered),
            "spot_entry": float(chain.spot[entered]),
            "exit_reason": self._reason(reason),
        }
        if reason == OPEN:
            return told | {"holding_sessions": int(chain.closes[-1] - chain.closes[entered])}
        if reason == compiled.EXPIRY:
            term = counted["term"]
            day, at, closes = table.last_day(term), table.settles_at(term), table.closes_at(term)
            spot = float(chain.settlement[term])
        else:
            day, at, closes = (
                table.sessions[exited],
                table.moment(exited),
                int(chain.closes[exited]),
            )
            spot = float(chain.spot[exited])
        return told | {
            "exit_session": day,
            "exit_time": at,
            "spot_exit": spot,
            "holding_sessions": closes - int(chain.closes[entered]),
        }

    def _reason(self, reason: int) -> str | None:
        if reason == OPEN:
            return None
        return _REASONS.get(reason) or self.strategy.rules.chain[reason].name


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
