"""The compiled intraday clock as Python sees it: tables in, trades and equity out.

:func:`backtest` runs a list of entries through one account; :func:`timed_entries` makes the list of a
rule that opens the same kind of position at the same minute of each session. Both give what
:class:`~spy_assets.simulator.intraday.IntradaySimulator` gives for the same orders, to 1e-9 dollars.

The compiled code is loaded when something is first run, not when this module is imported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError
from spy_assets.options.contracts import Right
from spy_assets.options.spread_model import LAST_MINUTES, OPEN_MINUTES, PENNIES
from spy_assets.simulator.costs import CostModel
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
from spy_assets.simulator.intraday import NO_RULES, Order
from spy_assets.simulator.intraday_book import (
    BID_ASK_COSTS,
    FARTHEST_STRIKE,
    IntradayConfig,
    expiry_for,
)
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.simulator.kernel import NAKED_FLOOR, NAKED_RATE

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.simulator._intraday_kernel import Accounts, Orders
    from spy_assets.simulator._intraday_prices_kernel import Market

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: What became of an entry, by the kernel's code.
OUTCOMES: Final = (
    "filled", "entry_expired", "entry_gap", "entry_rejected_positions", "entry_not_priceable",
    "entry_no_bid", "entry_rejected_funds",
)  # fmt: skip
#: The kernel does not reach an entry whose bar lies behind the last one.
NOT_REACHED: Final = -1
_REASONS: Final = {
    -1: "expiry", -2: "expiry_missing_print", -3: "action_close", -4: "close_out",
    -5: "assignment",
}  # fmt: skip


def market_of(config: IntradayConfig, costs: CostModel) -> Market:
    """The kernel's constants of a configuration and a cost model."""
    from spy_assets.simulator._intraday_prices_kernel import Market

    surface, spreads = config.surface, config.spreads
    return Market(
        dividend_yield=config.dividend_yield,
        level=surface.level,
        slope=surface.slope,
        curvature=surface.curvature,
        reach=surface.reach,
        min_years=surface.min_years,
        scale=spreads.scale,
        value_power=spreads.value_power,
        vega_power=spreads.vega_power,
        vega_offset=spreads.vega_offset,
        growth=spreads.growth,
        itm_scale=spreads.itm_scale,
        itm_power=spreads.itm_power,
        cap=spreads.cap,
        cap_per_year=spreads.cap_per_year,
        open_factor=spreads.hours[0],
        regular_factor=spreads.hours[1],
        last_factor=spreads.hours[2],
        open_minutes=OPEN_MINUTES,
        last_minutes=LAST_MINUTES,
        tick=PENNIES.below,
        strike_step=config.strike_step,
        commission=costs.commission,
        slippage=costs.slippage_fraction,
        sell_fee_rate=costs.sell_fee_rate,
        alpha=costs.alpha,
        naked_rate=NAKED_RATE,
        naked_floor=NAKED_FLOOR,
        max_positions=float(config.max_positions),
        trade_out=float(config.close_out == "trade"),
    )


def _row(rule: ExitRule) -> tuple[float, float, float]:  # noqa: PLR0911
    """One rule as the kernel reads it: kind and two numbers."""
    from spy_assets.simulator import _intraday_kernel as kinds

    match rule:
        case StopLoss():
            return kinds.STOP, rule.of_debit, rule.of_credit
        case CreditStop():
            return kinds.CREDIT_STOP, rule.multiple, 0.0
        case SpotMove():
            return kinds.SPOT_MOVE, rule.down, rule.up
        case ProfitTarget():
            return kinds.TARGET, rule.of_debit, rule.of_credit
        case TrailingStop():
            return kinds.TRAILING, rule.arm, rule.trail
        case MaxHold():
            return kinds.MAX_HOLD, float(rule.sessions), 0.0
        case TimeStop():
            return kinds.TIME, rule.minutes, 0.0
        case NearExpiry():
            minutes = -1.0 if rule.minutes is None else rule.minutes
            return kinds.NEAR_EXPIRY, minutes, -1.0 if rule.sessions is None else rule.sessions
        case ModelExit():
            return kinds.MODEL, rule.threshold, 0.0
    raise ConfigError(
        f"the compiled clock does not know the exit rule {rule!r}",
        hint="run it through IntradaySimulator, or teach the kernel",
    )


def rule_table(chains: Sequence[ExitRules]) -> FloatArray:
    """Chains as the kernel reads them, ``[chains, rules + 1, 3]``; kind 0 ends a chain.

    Raises
    ------
    ConfigError
        If a rule is none that the kernel knows.
    """
    longest = max(len(chain.chain) for chain in chains)
    table = np.zeros((len(chains), longest + 1, 3))
    for row, chain in zip(table, chains, strict=True):
        for place, rule in enumerate(chain.chain):
            row[place] = _row(rule)
    return table


def new_accounts(count: int, slots: int, bars: int, capital: float) -> Accounts:
    """Accounts that hold nothing but ``capital`` dollars of cash."""
    from spy_assets.simulator._intraday_kernel import MAX_LEGS, N_RESULT, Accounts

    def floats(*shape: int) -> FloatArray:
        return np.zeros((count, *shape))

    def whole(*shape: int) -> IntArray:
        return np.zeros((count, *shape), dtype=np.int64)

    return Accounts(
        cash=np.full(count, capital),
        carry=floats(),
        is_open=np.zeros((count, slots), dtype=np.bool_),
        n_legs=whole(slots),
        strike=floats(slots, MAX_LEGS),
        sign=floats(slots, MAX_LEGS),
        quantity=floats(slots, MAX_LEGS),
        units=floats(slots),
        expiry=whole(slots),
        margin=floats(slots),
        entry_value=floats(slots),
        cash_flow=floats(slots),
        costs=floats(slots),
        mark=floats(slots),
        peak=floats(slots),
        entry_clock=floats(slots),
        entry_bar=whole(slots),
        spot_entry=floats(slots),
        closes_held=floats(slots),
        pending=whole(slots),
        rule_set=whole(slots),
        probability=np.full((count, slots), np.nan),
        assigned=whole(slots),
        dividend=floats(slots),
        order=whole(slots),
        value=floats(slots, bars),
        result=floats(slots, N_RESULT),
    )


def empty_orders(count: int) -> Orders:
    """A table for ``count`` entries, all of nothing."""
    from spy_assets.simulator._intraday_kernel import MAX_LEGS, Orders

    def whole() -> IntArray:
        return np.zeros(count, dtype=np.int64)

    return Orders(
        decided=whole(),
        n_legs=whole(),
        strike=np.zeros((count, MAX_LEGS)),
        sign=np.zeros((count, MAX_LEGS)),
        quantity=np.zeros((count, MAX_LEGS)),
        units=np.zeros(count),
        expiry=whole(),
        rule_set=whole(),
    )


def order_table(
    path: IntradayPath, orders: Sequence[tuple[int, Order]], chains: Sequence[ExitRules]
) -> Orders:
    """Entries, each with the bar at whose end it was decided, as the kernel reads them.

    An order's rules must be one of ``chains``; those of an order without are the first.

    Raises
    ------
    DataError
        If the orders are not in the order of their bars, or one has more than four legs.
    """
    table = empty_orders(len(orders))
    before = -1
    for row, (decided, order) in enumerate(orders):
        if decided < before:
            raise DataError(f"an order of bar {decided} follows one of bar {before}", hint="sort")
        if not 1 <= len(order.legs) <= table.strike.shape[1]:
            raise DataError(f"{order.structure} has {len(order.legs)} legs, 1 to 4 can be run")
        before = decided
        table.decided[row] = decided
        table.n_legs[row] = len(order.legs)
        table.units[row] = order.units
        table.expiry[row] = path.ordinal_of(min(leg.contract.expiry for leg in order.legs))
        table.rule_set[row] = 0 if order.rules is None else chains.index(order.rules)
        for place, leg in enumerate(order.legs):
            table.strike[row, place] = leg.contract.strike
            table.sign[row, place] = 1.0 if leg.contract.right == "C" else -1.0
            table.quantity[row, place] = leg.quantity
    return table


class EntryRule(NamedTuple):
    """Open the same kind of position at the same minute of every session.

    Attributes
    ----------
    right, side
        ``"P"`` or ``"C"``; -1 sells, +1 buys.
    delta
        The strike is the nearest one out of the money whose absolute delta is not above this.
    minute
        Minutes after the open; the decision is made at the end of the first bar that ends then or later.
    width
        Dollars to the strike of the protecting long option; 0 leaves the option alone.
    dte
        Calendar days to expiry.
    units
        Contracts.
    """

    right: Right = "P"
    side: int = -1
    delta: float = 0.15
    minute: float = 30.0
    width: float = 0.0
    dte: int = 0
    units: int = 1


def timed_entries(path: IntradayPath, rule: EntryRule, config: IntradayConfig) -> Orders:
    """The entries of a rule, one a session at most; the session filter leaves out what it blocks.

    A session without volatility, without a strike for that delta, or without a bar after that minute
    has none.
    """
    from spy_assets.simulator._intraday_prices_kernel import strikes_for_delta

    arrays, market = path.arrays, market_of(config, BID_ASK_COSTS)
    sign = 1.0 if rule.right == "C" else -1.0
    bars = _decision_bars(path, rule, config)
    expiries = np.array(
        [path.ordinal_of(expiry_for(path.session(bar), rule.dte)) for bar in bars], dtype=np.int64
    )
    strikes = strikes_for_delta(
        arrays, market, np.array(bars, dtype=np.int64), expiries, sign, rule.delta, FARTHEST_STRIKE
    )
    known = np.flatnonzero(np.isfinite(strikes))
    table = empty_orders(len(known))
    table.decided[:] = np.array(bars, dtype=np.int64)[known]
    table.expiry[:] = expiries[known]
    table.n_legs[:] = 2 if rule.width > 0.0 else 1
    table.units[:] = rule.units
    table.sign[:] = sign
    table.strike[:, 0] = strikes[known]
    table.strike[:, 1] = strikes[known] + sign * rule.width
    table.quantity[:, 0] = rule.side
    table.quantity[:, 1] = -rule.side
    return table


def _decision_bars(path: IntradayPath, rule: EntryRule, config: IntradayConfig) -> list[int]:
    """Bars at whose end the rule decides."""
    arrays, found = path.arrays, []
    for session, length in enumerate(arrays.minutes):
        first, stop = arrays.first_bar[session], arrays.first_bar[session + 1]
        bar = first + int(np.searchsorted(arrays.end_minute[first:stop], rule.minute))
        if bar < stop and not math.isnan(arrays.volatility[session] + arrays.rate[session]):
            since = float(arrays.end_minute[bar])
            if config.filter.blocks(since, float(length) - since) is None:
                found.append(int(bar))
    return found


@dataclass(frozen=True, slots=True)
class IntradayBacktest:
    """What a run gave; arrays over the entries ``[k]`` or the path's sessions ``[S]``.

    ``outcome`` indexes :data:`OUTCOMES` (:data:`NOT_REACHED` behind the last bar). ``result`` has the
    columns of the kernel, reason 0 for what is not closed. ``equity`` is the account's value in dollars
    at each session's last bar.
    """

    path: IntradayPath
    chains: tuple[ExitRules, ...]
    orders: Orders
    outcome: IntArray
    result: FloatArray
    equity: FloatArray
    capital: float
    cash: float
    marks: float

    @property
    def pnl(self) -> FloatArray:
        """P&L after costs of each closed trade, dollars, in order of entry."""
        from spy_assets.simulator._intraday_kernel import PNL, REASON

        return np.asarray(self.result[self.result[:, REASON] != 0.0, PNL])

    def reason(self, row: int) -> str | None:
        """Why the position of an entry was closed; None if it was not."""
        code = int(self.result[row, 0])
        if code <= 0:
            return _REASONS.get(code)
        return self.chains[int(self.orders.rule_set[row])].chain[code - 1].name

    def trades(self) -> pl.DataFrame:
        """Closed trades as a frame; ``quote_kind`` says that no market quoted their prices."""
        import polars as pl

        from spy_assets.simulator import _intraday_kernel as compiled

        closed = np.flatnonzero(self.result[:, compiled.REASON] != 0.0)
        rows = self.result[closed]
        entry, exit_ = (
            rows[:, column].astype(np.int64) for column in (compiled.ENTRY_BAR, compiled.EXIT_BAR)
        )
        reasons = [self.reason(int(row)) for row in closed]
        settled = np.array([reason in ("expiry", "expiry_missing_print") for reason in reasons])
        exit_second = np.where(settled, self.path.end[exit_], self.path.start[exit_])
        return pl.DataFrame(
            {
                "entry_time": self.path.start[entry],
                "exit_time": exit_second,
                "strike": self.orders.strike[closed, 0],
                "units": rows[:, compiled.UNITS],
                "entry_value": rows[:, compiled.ENTRY_VALUE],
                "exit_value": rows[:, compiled.EXIT_VALUE],
                "costs": rows[:, compiled.COSTS],
                "pnl": rows[:, compiled.PNL],
                "reason": reasons,
                "quote_kind": ["surface"] * len(closed),
            }
        ).with_columns(
            pl.from_epoch(name, time_unit="s").dt.replace_time_zone("UTC")
            for name in ("entry_time", "exit_time")
        )


def backtest(
    path: IntradayPath,
    orders: Orders | Sequence[tuple[int, Order]],
    *,
    chains: Sequence[ExitRules] = (NO_RULES,),
    costs: CostModel = BID_ASK_COSTS,
    config: IntradayConfig | None = None,
    capital: float = 125_000.0,
    start: int = 0,
    stop: int | None = None,
) -> IntradayBacktest:
    """Run entries through one account, compiled.

    The session filter is the business of whoever makes the entries, as in
    :meth:`~spy_assets.simulator.intraday.IntradaySimulator.enter`.

    Parameters
    ----------
    orders
        A table, or pairs of the bar at whose end an order was decided and the order.
    chains
        Exit chains that orders refer to; the first is that of orders without one.
    start, stop
        First bar and the one after the last.

    Raises
    ------
    DataError
        If the range of bars is empty.
    ConfigError
        If an uncovered short is entered and ``config.allow_naked`` is not set.
    """
    from spy_assets.simulator import _intraday_kernel as compiled

    config = config or IntradayConfig()
    table = orders if isinstance(orders, compiled.Orders) else order_table(path, orders, chains)
    last = (len(path) if stop is None else stop) - 1
    if not 0 <= start <= last < len(path):
        raise DataError(f"bars {start} to {last} of a path with {len(path)}")
    if not config.allow_naked and compiled.has_uncovered(table):
        raise ConfigError(
            "an entry sells options that nothing covers",
            hint="sell a spread (width above 0), or set allow_naked",
        )
    longest = int(np.diff(path.first_bar).max())
    accounts = new_accounts(1, 2 * config.max_positions, longest, capital)
    count = len(table.decided)
    outcome = np.full(count, NOT_REACHED, dtype=np.int64)
    result, equity = np.zeros((count, compiled.N_RESULT)), np.full(len(path.sessions), np.nan)
    compiled.run_orders(
        path.arrays,
        rule_table(chains),
        market_of(config, costs),
        accounts,
        table,
        start,
        last,
        outcome,
        result,
        equity,
    )
    marks = float(accounts.mark[accounts.is_open].sum())
    return IntradayBacktest(
        path=path,
        chains=tuple(chains),
        orders=table,
        outcome=outcome,
        result=result,
        equity=equity,
        capital=capital,
        cash=float(accounts.cash[0]),
        marks=marks,
    )
