r"""Selling options of the day: the short-premium plan (S1-01 to S1-26) over the intraday clock.

Every five minutes a policy may sell a put or a call that expires today, hold, or (five actions) close.
Options are sold at the bid and bought back at the ask for $0.65 a contract, from $125,000. What is
sold is a spread of :attr:`ShortPremiumPlan.width` dollars unless ``naked`` is set. Around the policy
stand rules that it cannot undo:

- one trade a side a session, at most 30 contracts a side, nothing in the first and last 30 minutes;
- the strike is the nearest one whose delta is neither above the action's nor above the limit;
- the stop is a multiple of the credit, tighter when the market is riskier (D-19);
- after a stop no entry for two, three or four hours, by the risk at the stop;
- the size is the least of the risk table's, Kelly's, and what free cash carries.

Risk (D-18: the plan called a function for it that nobody wrote) is a number in 0..1, the larger of two
signs, so that no calm sign hides an alarming one:

.. math::

    \max\left( \frac{VIX - 12}{30 - 12}, \;
    \frac{|\ln(S / S_{open})|}{2 \, VIX / \sqrt{252}} \right)

with VIX as it closed the day before. Below 1/3 (VIX 18) it is LOW, below 2/3 (VIX 24) MEDIUM, else HIGH:
the plan's own "high volatility" begins at 25.

Kelly (D-17: with a quarter of Kelly compared to thirds of it, most sizes could not be reached, and the
first twenty trades had twenty contracts blindly): the fraction of the account that may be lost is

.. math::  f = \frac14 \left( p - \frac{1 - p}{b} \right)

with p the share of winners and b their mean gain over the mean loss, both in credits (Kelly 1956); the
contracts are what loses that fraction at the mean loss. A record of fewer than 20 trades proves nothing:
until then it is the smallest size of the table. A losing record is worth no contract at all.

What the policy sees is :mod:`spy_assets.features.intraday_observation`. Prices are a model's and are
labelled so; the plan's own environment made quotes up from bars (D-21).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.intraday_observation import Seen, observation
from spy_assets.options.contracts import MULTIPLIER, OptionContract, Right
from spy_assets.options.structures import Leg
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.exits import CREDIT_MULTIPLES, CreditStop, ExitRules
from spy_assets.simulator.intraday import (
    BID_ASK_COSTS,
    IntradayBook,
    IntradayConfig,
    IntradaySimulator,
    Order,
    reg_t_margin,
)
from spy_assets.simulator.intraday_path import YEAR_SESSIONS, IntradayPath
from spy_assets.simulator.kernel import NAKED_FLOOR, Quote, Trade
from spy_assets.simulator.session_filter import FILTERS, SessionFilter

RiskLevel = Literal["LOW", "MEDIUM", "HIGH"]
RISK_LEVELS: Final[tuple[RiskLevel, ...]] = ("LOW", "MEDIUM", "HIGH")
#: The two signs of risk and where they end; see the module.
CALM_VIX, WILD_VIX = 0.12, 0.30
WILD_MOVE: Final = 2.0
#: Where MEDIUM and HIGH begin.
MEDIUM_FROM, HIGH_FROM = 1.0 / 3.0, 2.0 / 3.0


class ActionSpec(NamedTuple):
    """What an action does: ``right`` None opens nothing, ``delta`` is the largest that is sold."""

    name: str
    right: Right | None = None
    delta: float = math.nan
    closes: bool = False

    def structure(self, naked: bool) -> str:
        """Name of the structure that it opens, ``hold`` or ``close``."""
        if self.right is None:
            return "close" if self.closes else "hold"
        if naked:
            return "short_put" if self.right == "P" else "short_call"
        return "bull_put_credit" if self.right == "P" else "bear_call_credit"


#: Action number -> what it does, by the number of actions (inventory C-01). The delta of the three is
#: the plan's own limit of 0.20; the risk table may lower it.
ACTION_SETS: Final[dict[int, tuple[ActionSpec, ...]]] = {
    3: (
        ActionSpec("hold"),
        ActionSpec("sell_call", "C", 0.20),
        ActionSpec("sell_put", "P", 0.20),
    ),
    5: (
        ActionSpec("HOLD"),
        ActionSpec("SELL_PUT_15D", "P", 0.15),
        ActionSpec("SELL_PUT_10D", "P", 0.10),
        ActionSpec("SELL_CALL_15D", "C", 0.15),
        ActionSpec("CLOSE", closes=True),
    ),
}


@dataclass(frozen=True, slots=True)
class RiskTable:
    """Limits by risk level, LOW, MEDIUM, HIGH in this order: more risk is never a looser limit.

    Attributes
    ----------
    contracts
        Largest size of a trade.
    delta_limit
        Largest absolute delta that is sold.
    multiples
        Stops in credits.
    wait_minutes
        Minutes of trading without an entry after a stop.
    """

    contracts: tuple[int, int, int]
    delta_limit: float
    multiples: tuple[float, float, float] = (
        CREDIT_MULTIPLES["LOW"],
        CREDIT_MULTIPLES["MEDIUM"],
        CREDIT_MULTIPLES["HIGH"],
    )
    wait_minutes: tuple[float, float, float] = (120.0, 180.0, 240.0)

    def __post_init__(self) -> None:
        falling = self.contracts == tuple(sorted(self.contracts, reverse=True))
        tighter = self.multiples == tuple(sorted(self.multiples, reverse=True))
        longer = self.wait_minutes == tuple(sorted(self.wait_minutes))
        if not (falling and tighter and longer and self.contracts[2] >= 0):
            raise ConfigError(
                f"risk table {self.contracts}, {self.multiples}, {self.wait_minutes}",
                hint="with more risk sizes and stops may not grow, and waits not shrink",
            )
        if not 0.0 < self.delta_limit < 0.5:
            raise ConfigError(
                f"delta limit {self.delta_limit}", hint="out of the money it lies in 0..0.5"
            )


#: The plan's sizes and delta before its "quick fixes" (S1-16 to S1-19), and with them.
ORIGINAL_RISK: Final = RiskTable((30, 20, 10), 0.20)
REDUCED_RISK: Final = RiskTable((20, 15, 5), 0.15)


@dataclass(frozen=True, slots=True)
class ShortPremiumPlan:
    """Everything about the plan that can be set; none of it needs a new training (S1-21).

    Attributes
    ----------
    actions
        3 or 5: which set of :data:`ACTION_SETS`.
    naked
        Sell options alone instead of spreads; they need Reg-T margin.
    width
        Dollars between the strikes of a spread.
    risk
        Limits by risk level.
    filter
        When nothing is sold.
    max_contracts_a_side
        Contracts that may be sold of puts, or of calls, in a session.
    kelly_share, kelly_trades
        Share of Kelly's fraction, and trades before it is trusted.
    capital
        Dollars at the start.
    reward_scale
        Reward of a gain as large as ``capital``.
    invalid_action_penalty
        Reward taken for an action outside the mask, which is then HOLD.
    """

    actions: int = 5
    naked: bool = False
    width: float = 5.0
    risk: RiskTable = REDUCED_RISK
    filter: SessionFilter = FILTERS["short_premium"]
    max_contracts_a_side: int = 30
    kelly_share: float = 0.25
    kelly_trades: int = 20
    capital: float = 125_000.0
    reward_scale: float = 100.0
    invalid_action_penalty: float = 0.1

    def __post_init__(self) -> None:
        if self.actions not in ACTION_SETS:
            raise ConfigError(f"a set of {self.actions} actions", hint="there are sets of 3 and 5")
        if not (self.naked or self.width > 0.0):
            raise ConfigError(f"spread width {self.width}", hint="give dollars, or set naked")
        if not 0.0 < self.kelly_share <= 1.0:
            raise ConfigError(f"kelly_share {self.kelly_share} does not lie in 0..1")

    @property
    def specs(self) -> tuple[ActionSpec, ...]:
        """What each action does."""
        return ACTION_SETS[self.actions]

    @property
    def chains(self) -> tuple[ExitRules, ...]:
        """Exit chain of a position by the risk at its decision."""
        return tuple(ExitRules((CreditStop(multiple),)) for multiple in self.risk.multiples)

    def config(self, base: IntradayConfig | None = None) -> IntradayConfig:
        """The simulator's configuration: this plan's filter and positions, the market of ``base``."""
        base = base or IntradayConfig()
        return IntradayConfig(
            max_positions=2,
            close_out=base.close_out,
            filter=self.filter,
            allow_naked=self.naked,
            surface=base.surface,
            spreads=base.spreads,
            dividend_yield=base.dividend_yield,
            strike_step=base.strike_step,
        )


# ---------------------------------------------------------------- risk and size


def risk_score(volatility: float, spot: float, session_open: float) -> float:
    """Risk of the market in 0..1; ``volatility`` is VIX as a decimal, known before the open.

    >>> risk_score(0.18, 500.0, 500.0), risk_score(0.12, 500.0, 492.4) > 0.66
    (0.3333333333333333, True)
    """
    level = (volatility - CALM_VIX) / (WILD_VIX - CALM_VIX)
    day = WILD_MOVE * volatility / math.sqrt(YEAR_SESSIONS)
    return min(max(level, abs(math.log(spot / session_open)) / day, 0.0), 1.0)


def risk_level(score: float) -> RiskLevel:
    """Name the level of a score."""
    if score < MEDIUM_FROM:
        return "LOW"
    return "MEDIUM" if score < HIGH_FROM else "HIGH"


@dataclass(slots=True)
class TradeRecord:
    """How earlier trades ended, in credits received: what Kelly's size is computed from."""

    trades: int = 0
    wins: int = 0
    gained: float = 0.0
    lost: float = 0.0

    def add(self, pnl: float, credit: float) -> None:
        """Take in a trade: its P&L after costs and the credit that it began with, dollars."""
        self.trades += 1
        if pnl > 0.0:
            self.wins += 1
            self.gained += pnl / credit
        else:
            self.lost -= pnl / credit

    def mean_loss(self, stop_multiple: float) -> float:
        """Mean loss in credits; what the stop would lose while there was none."""
        losses = self.trades - self.wins
        return self.lost / losses if self.lost > 0.0 else stop_multiple - 1.0

    def kelly(self, stop_multiple: float) -> float:
        """Kelly's fraction of the account, 0..1; 0 for a record that does not win.

        >>> TradeRecord(trades=20, wins=15, gained=15.0, lost=10.0).kelly(3.0)
        0.25
        """
        if self.wins == 0:
            return 0.0
        p = self.wins / self.trades
        odds = (self.gained / self.wins) / self.mean_loss(stop_multiple)
        return min(max(p - (1.0 - p) / odds, 0.0), 1.0)


def kelly_contracts(
    plan: ShortPremiumPlan, record: TradeRecord, level: RiskLevel, value: float, credit: float
) -> int:
    """Contracts by the record, 0 up to the risk table's size.

    Parameters
    ----------
    value
        The account's, dollars.
    credit
        Received for one unit, dollars per share.
    """
    at = RISK_LEVELS.index(level)
    cap = min(plan.risk.contracts[at], plan.max_contracts_a_side)
    if credit <= 0.0:
        return 0
    if record.trades < plan.kelly_trades:
        return min(cap, plan.risk.contracts[-1])
    multiple = plan.risk.multiples[at]
    loss = record.mean_loss(multiple) * credit * MULTIPLIER
    wanted = plan.kelly_share * record.kelly(multiple) * value / loss
    return min(cap, int(wanted))


# ---------------------------------------------------------------- the account


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
        The market, or a book over it with the plan's configuration.
    plan
        What may be done.
    costs
        Cost model.
    first, sessions
        First session of the run by its place on the path, and how many there are; None is the rest.
    market
        Surface, spreads and strikes; without it the defaults.
    record
        How earlier trades ended.

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
        self.record = record or TradeRecord()
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
            self.record.add(trade.pnl, -trade.entry_value)
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
            need += reg_t_margin(legs, [Quote(mid) for mid in mids], spot)
        else:
            need += self.plan.width * MULTIPLIER
        return min(wanted, int(self.simulator.account.available // need))


def tradable(path: IntradayPath) -> npt.NDArray[np.bool_]:
    """Which sessions an episode can have: volatility and rate known, at least two bars, ``[S]``."""
    known = ~np.isnan(path.volatility + path.rate)
    return np.asarray(known & (np.diff(path.first_bar) >= 2))
