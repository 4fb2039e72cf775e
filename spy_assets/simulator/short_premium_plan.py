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
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from spy_assets.errors import ConfigError
from spy_assets.options.contracts import MULTIPLIER, Right
from spy_assets.simulator.exits import CREDIT_MULTIPLES, CreditStop, ExitRules
from spy_assets.simulator.intraday_book import IntradayConfig
from spy_assets.simulator.intraday_path import YEAR_SESSIONS
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
        return replace(
            base or IntradayConfig(), max_positions=2, filter=self.filter, allow_naked=self.naked
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
        """Take in a trade: its P&L after costs and the credit that it began with, dollars.

        As for the exit rules, a credit is at least a dollar a contract: a spread may be filled for none.
        """
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
