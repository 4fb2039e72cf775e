"""One account that follows the short-premium plan, bar by bar: the readable twin of the compiled one.

The plan and its rules are described in :mod:`spy_assets.simulator.short_premium_plan`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.intraday_observation import Seen, observation
from spy_assets.options.contracts import MULTIPLIER, OptionContract, Right
from spy_assets.options.structures import Leg
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.intraday import IntradaySimulator, Order
from spy_assets.simulator.intraday_book import (
    BID_ASK_COSTS,
    IntradayBook,
    IntradayConfig,
)
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.simulator.kernel import NAKED_FLOOR, Quote, Trade, margin_required
from spy_assets.simulator.short_premium_plan import (
    RISK_LEVELS,
    ActionSpec,
    ShortPremiumPlan,
    TradeRecord,
    kelly_contracts,
    risk_level,
    risk_score,
)


class ShortPremiumStep(NamedTuple):
    """What one bar brought; ``change`` is of the account's value, dollars."""

    reward: float
    change: float
    done: bool
    trades: tuple[Trade, ...]
    events: tuple[str, ...]


@dataclass(slots=True)
class _Session:
    """What the rules remember within a session: sides that were sold, and until when to wait."""

    sold: set[Right] = field(default_factory=set)
    blocked_until: float = -math.inf


class ShortPremiumSimulator:
    """One account that follows the plan along a path; the readable twin of the compiled one.

    Parameters
    ----------
    path
        The market.
    plan
        What may be done.
    costs
        Cost model.
    first, sessions
        First session of the run by its place on the path, and how many there are; None is the rest.
    market
        Surface, spreads and strikes; without it the defaults.
    record
        How earlier trades ended; what happens here is added to a copy.

    Raises
    ------
    DataError
        If a session of the range has no volatility or rate: nothing could be seen there.
    """

    def __init__(
        self,
        path: IntradayPath,
        plan: ShortPremiumPlan | None = None,
        costs: CostModel = BID_ASK_COSTS,
        *,
        first: int = 0,
        sessions: int | None = None,
        market: IntradayConfig | None = None,
        record: TradeRecord | None = None,
    ) -> None:
        self.plan = plan or ShortPremiumPlan()
        self.path = path
        stop = len(path.sessions) if sessions is None else first + sessions
        if not 0 <= first < stop <= len(path.sessions):
            raise DataError(f"sessions {first} to {stop} of a path with {len(path.sessions)}")
        unknown = np.flatnonzero(~tradable(path)[first:stop])
        if unknown.size:
            raise DataError(
                f"nothing can be seen on {path.sessions[first + int(unknown[0])]}",
                hint="its volatility or rate is missing, or it has one bar; leave it out",
            )
        self.simulator = IntradaySimulator(
            IntradayBook(path, self.plan.config(market)),
            costs,
            capital=self.plan.capital,
            start=int(path.first_bar[first]),
            stop=int(path.first_bar[stop]),
        )
        self.record = replace(record or TradeRecord())
        self.invalid_actions = 0
        self._session = _Session()

    @property
    def bar(self) -> int:
        """The bar at whose end the next decision is made."""
        return self.simulator.bar

    @property
    def value(self) -> float:
        """Cash plus marks, dollars."""
        return self.simulator.value

    @property
    def done(self) -> bool:
        """Whether the last bar is reached."""
        return self.simulator.done

    @property
    def risk(self) -> float:
        """Risk score at the end of this bar."""
        path, session = self.path, int(self.path.session_of[self.bar])
        return risk_score(
            float(path.volatility[session]),
            float(path.close[self.bar]),
            float(path.open[path.first_bar[session]]),
        )

    def seen(self) -> Seen:
        """What there is to be seen at the end of this bar."""
        arrays, bar = self.path.arrays, self.bar
        session = int(self.path.session_of[bar])
        spot, since = float(self.path.close[bar]), float(arrays.end_minute[bar])
        vix = float(self.path.volatility[session])
        config = self.simulator.config
        years = self.simulator.book.years(bar, False, self.path.sessions[session])
        positions = list(self.simulator.account.positions.values())
        held = [
            float(arrays.end_clock[bar]) - self.simulator.entry_clock(position.trade_id)
            for position in positions
        ]
        return Seen(
            minutes_since_open=since,
            spot=spot,
            atm_iv=config.surface.iv_scalar(spot, spot, years, vix),
            has_position=bool(positions),
            pnl=sum(position.pnl for position in positions),
            contracts=sum(position.quantity for position in positions),
            minutes_in_position=max(held, default=0.0),
            risk_score=self.risk,
            minutes_to_close=float(arrays.minutes[session]) - since,
        )

    def observe(self) -> npt.NDArray[np.float32]:
        """The eight observations at the end of this bar."""
        return observation(self.seen())

    def mask(self) -> npt.NDArray[np.bool_]:
        """Which actions are allowed: HOLD always, CLOSE with a position, a sale by all the rules."""
        can_sell = self._can_sell()
        return np.array([self._allows(spec, can_sell) for spec in self.plan.specs], dtype=np.bool_)

    def _allows(self, spec: ActionSpec, can_sell: bool) -> bool:
        if spec.right is not None:
            return can_sell and spec.right not in self._session.sold
        return not spec.closes or bool(self.simulator.account.positions)

    def _can_sell(self) -> bool:
        """Whether anything may be sold now, on either side."""
        simulator, bar = self.simulator, self.bar
        if simulator.done or self.path.is_last(bar) or simulator.blocks_entry() is not None:
            return False
        if float(self.path.arrays.end_clock[bar]) < self._session.blocked_until:
            return False
        least = MULTIPLIER * (
            NAKED_FLOOR * float(self.path.close[bar]) if self.plan.naked else self.plan.width
        )
        proven = self.record.trades >= self.plan.kelly_trades
        multiple = self.plan.risk.multiples[RISK_LEVELS.index(risk_level(self.risk))]
        return simulator.account.available >= least and not (
            proven and self.record.kelly(multiple) <= 0.0
        )

    def step(self, action: int) -> ShortPremiumStep:
        """Decide at the end of this bar and walk to the end of the next.

        Raises
        ------
        ConfigError
            If the action does not exist.
        """
        if not 0 <= action < self.plan.actions:
            raise ConfigError(
                f"action {action} does not exist", hint=f"0 to {self.plan.actions - 1}"
            )
        spec, events, penalty = self.plan.specs[action], [], 0.0
        if not self.mask()[action]:
            self.invalid_actions += 1
            events.append("invalid_action")
            penalty = self.plan.invalid_action_penalty
        elif spec.closes:
            for trade_id in self.simulator.account.positions:
                self.simulator.close(trade_id)
        elif spec.right is not None:
            events += self._sell(spec, spec.right)
        result = self._walk(spec.right)
        reward = result.change * self.plan.reward_scale / self.plan.capital - penalty
        return ShortPremiumStep(
            reward, result.change, self.done, result.trades, (*events, *result.events)
        )

    def _walk(self, right: Right | None) -> ShortPremiumStep:
        """One bar of the simulator, and what the rules remember of it."""
        simulator = self.simulator
        ordered, entered = bool(simulator.orders), simulator.account.next_trade_id
        session = self.path.session_of[self.bar]
        result = simulator.step()
        if self.path.session_of[self.bar] != session:
            self._session = _Session()
        elif ordered and right is not None and simulator.account.next_trade_id > entered:
            self._session.sold.add(right)
        for trade in result.trades:
            self.record.add(trade.pnl, max(abs(trade.entry_value), float(trade.quantity)))
            if trade.exit_reason == "stop_loss":
                wait = self.plan.risk.wait_minutes[RISK_LEVELS.index(risk_level(self.risk))]
                now = float(self.path.arrays.end_clock[self.bar])
                self._session.blocked_until = now + wait
        return ShortPremiumStep(0.0, result.change, self.done, result.trades, result.events)

    def _sell(self, spec: ActionSpec, right: Right) -> list[str]:
        """Send the order of a sale; gives the event if there is none to send."""
        book, bar = self.simulator.book, self.bar
        limit = min(spec.delta, self.plan.risk.delta_limit)
        expiry = self.path.session(bar)
        strike = book.strike_for_delta(bar, right, limit, expiry)
        if strike is None:
            return ["entry_no_strike"]
        legs = self._legs(right, strike, expiry)
        units = self.size(legs)
        if units < 1:
            return ["entry_size_zero"]
        rules = self.plan.chains[RISK_LEVELS.index(risk_level(self.risk))]
        self.simulator.enter(Order(spec.structure(self.plan.naked), legs, units, rules))
        return []

    def _legs(self, right: Right, strike: float, expiry: date) -> tuple[Leg, ...]:
        short = Leg(OptionContract(self.path.symbol, expiry, right, strike), -1)
        if self.plan.naked:
            return (short,)
        away = self.plan.width if right == "C" else -self.plan.width
        return short, Leg(OptionContract(self.path.symbol, expiry, right, strike + away), 1)

    def size(self, legs: Sequence[Leg]) -> int:
        """Units to sell of these legs at the end of this bar, by table, Kelly and free cash."""
        mids = self.simulator.book.mids(legs, self.bar, False)
        if mids is None:
            return 0
        credit = -sum(leg.quantity * mid for leg, mid in zip(legs, mids, strict=True))
        wanted = kelly_contracts(self.plan, self.record, risk_level(self.risk), self.value, credit)
        need = self.simulator.costs.commission * len(legs)
        if self.plan.naked:
            spot = float(self.path.close[self.bar])
            need += margin_required(
                legs, [Quote(mid) for mid in mids], spot, allow_naked=True, short_puts="reg_t"
            )
        else:
            need += self.plan.width * MULTIPLIER
        return min(wanted, int(self.simulator.account.available // need))


def tradable(path: IntradayPath) -> npt.NDArray[np.bool_]:
    """Which sessions an episode can have: volatility and rate known, at least two bars, ``[S]``."""
    known = ~np.isnan(path.volatility + path.rate)
    return np.asarray(known & (np.diff(path.first_bar) >= 2))
