"""Everything about a market path that does not depend on what an account does, computed once.

Expiries, times, strikes and the cash that each entry needs are the same for every episode over a
path. A :class:`PathBook` holds them, so that an episode starts in microseconds and a step prices no
more than the legs that are open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError
from spy_assets.options.black_scholes import price, price_scalar
from spy_assets.options.contracts import (
    MULTIPLIER,
    STRIKE_STEP,
    YEAR_SECONDS,
    nearest_expiry,
    nearest_strike,
)
from spy_assets.options.structures import (
    DEFAULT_WIDTH,
    Leg,
    Structure,
    legs_for,
    structure_named,
    worst_payoff,
)
from spy_assets.options.surface import VixSurface
from spy_assets.sessions import session_close, session_open
from spy_assets.simulator.actions import DAILY_ACTIONS, ENTRIES
from spy_assets.simulator.costs import PRESETS, CostModel
from spy_assets.simulator.kernel import Moment, Quote
from spy_assets.simulator.market_path import MarketPath

FillTime = Literal["next_open", "next_close"]
FloatArray = npt.NDArray[np.float64]


class UnitLimits(NamedTuple):
    """A sizing rule as numbers, for the batched engine.

    Units are the least of ``fraction`` of the account value over the loss of one unit, free cash over
    that loss, and ``most``; but at least ``least``, and ``without_loss`` where a unit cannot lose.
    """

    fraction: float
    least: float
    most: float
    without_loss: float


class Sizing(Protocol):
    """How many units an entry buys."""

    def __call__(self, *, value: float, available: float, max_loss: float) -> int:
        """Units, from account value, free cash and the loss of one unit, all in dollars."""
        ...


@dataclass(frozen=True, slots=True)
class FixedUnits:
    """Always the same number of units."""

    units: int = 1

    def __call__(self, *, value: float, available: float, max_loss: float) -> int:  # noqa: ARG002
        """Give the number."""
        return self.units

    def unit_limits(self) -> UnitLimits:
        """Write the rule as numbers."""
        return UnitLimits(0.0, self.units, self.units, self.units)


@dataclass(frozen=True, slots=True)
class RiskFraction:
    """Risk at most a fraction of the account on one trade, at least one unit (inventory S0-46)."""

    fraction: float = 0.02

    def __call__(self, *, value: float, available: float, max_loss: float) -> int:
        """Units whose maximum loss is the fraction of the account value, limited by free cash."""
        if max_loss <= 0.0:
            return 1
        affordable = int(available // max_loss)
        return max(1, min(int(value * self.fraction // max_loss), affordable))

    def unit_limits(self) -> UnitLimits:
        """Write the rule as numbers."""
        return UnitLimits(self.fraction, 1.0, float(np.iinfo(np.int32).max), 1.0)


@dataclass(frozen=True, slots=True)
class DailyConfig:
    """What the daily simulation assumes, apart from the market, the costs and the exit rules.

    Attributes
    ----------
    fill
        When an order of session D is filled: at the open or at the close of the next session.
    dte
        Days to expiry asked for, calendar days.
    width
        Strike distance of verticals and condors, dollars.
    root
        Option root of the underlying.
    surface
        The volatility surface that prices legs.
    dividend_yield
        Continuous, per year.
    sizing
        Units per entry.
    reward_scale
        Reward of a gain as large as the initial capital; 100 makes rewards percent of it.
    invalid_action_penalty
        Reward taken for an action outside the mask, which is then treated as HOLD. Policies that
        use the mask never pay it.
    """

    fill: FillTime = "next_open"
    dte: int = 7
    width: float = DEFAULT_WIDTH
    strike_step: float = STRIKE_STEP
    root: str = "SPY"
    surface: VixSurface = field(default_factory=VixSurface)
    dividend_yield: float = 0.0
    sizing: Sizing = field(default_factory=FixedUnits)
    reward_scale: float = 100.0
    invalid_action_penalty: float = 0.1

    def __post_init__(self) -> None:
        if self.fill not in ("next_open", "next_close"):
            raise ConfigError(f"fill {self.fill!r}", hint="use 'next_open' or 'next_close'")
        if not 0.0 < self.reward_scale < math.inf:
            raise ConfigError(f"reward_scale {self.reward_scale} is not a positive number")
        if self.invalid_action_penalty < 0.0:
            raise ConfigError(f"invalid_action_penalty {self.invalid_action_penalty} is negative")


class PathBook:
    """Prices, times and entry requirements of one path under one configuration.

    Attributes
    ----------
    expiries
        Expiry that an entry decided in each session would trade.
    requirement
        Dollars of free cash that one unit of each entry action needs, estimated at the close of the
        decision; also its maximum loss. ``[n, len(ENTRIES)]``, NaN where it cannot be priced.
    open_seconds, close_seconds, expiry_seconds
        Times of each session's open and close, and of the expiry of its entries: POSIX seconds, ``[n]``.
    """

    def __init__(
        self,
        path: MarketPath,
        costs: CostModel = PRESETS["rltrade"],
        config: DailyConfig | None = None,
    ) -> None:
        self.path = path
        self.costs = costs
        self.config = config or DailyConfig()
        ahead = 1 if self.config.fill == "next_open" else 2
        self.expiries: list[date] = [
            nearest_expiry(day, self.config.dte, min_sessions=ahead) for day in path.sessions
        ]
        self.open_times: list[datetime] = [session_open(day) for day in path.sessions]
        self.close_times: list[datetime] = [session_close(day) for day in path.sessions]
        # Plain floats: indexing NumPy arrays one element at a time costs ten times as much.
        self._seconds = (
            [at.timestamp() for at in self.close_times],
            [at.timestamp() for at in self.open_times],
        )
        self._spot: tuple[list[float], list[float]] = (path.close.tolist(), path.open.tolist())
        self._iv: tuple[list[float], list[float]] = (path.iv_close.tolist(), path.iv_open.tolist())
        self._rate: list[float] = path.rate.tolist()
        self._expiry_seconds = {day: session_close(day).timestamp() for day in set(self.expiries)}
        self.close_seconds, self.open_seconds = (np.array(times) for times in self._seconds)
        self.expiry_seconds = np.array([self._expiry_seconds[day] for day in self.expiries])
        self._legs: dict[tuple[int, str], tuple[Leg, ...]] = {}
        self.observation: npt.NDArray[np.float32] = path.observation.astype(np.float32)
        self.valid: list[bool] = path.valid.tolist()
        self.requirement = self._requirements()

    def spot(self, index: int, at_open: bool) -> float:
        """Underlying price in dollars."""
        return self._spot[at_open][index]

    def moment(self, index: int, at_open: bool) -> Moment:
        """Session, time and underlying price of an execution."""
        times = self.open_times if at_open else self.close_times
        return Moment(self.path.sessions[index], times[index], self._spot[at_open][index])

    def legs(self, index: int, structure: str) -> tuple[Leg, ...]:
        """Legs of a structure decided at the close of session ``index``."""
        key = (index, structure)
        if key not in self._legs:
            config = self.config
            self._legs[key] = legs_for(
                structure,
                self._spot[0][index],
                self.expiries[index],
                root=config.root,
                width=config.width,
                step=config.strike_step,
            )
        return self._legs[key]

    def mids(self, legs: Sequence[Leg], index: int, at_open: bool) -> list[float] | None:
        """Mid of each leg, dollars per share; None where volatility or rate is missing."""
        iv, rate = self._iv[at_open][index], self._rate[index]
        if math.isnan(iv) or math.isnan(rate):
            return None
        spot, now = self._spot[at_open][index], self._seconds[at_open][index]
        surface, carry = self.config.surface, self.config.dividend_yield
        mids = []
        for leg in legs:
            contract = leg.contract
            years = max(0.0, (self._expiry_at(contract.expiry) - now) / YEAR_SECONDS)
            sigma = surface.iv_scalar(spot, contract.strike, years, iv)
            call = contract.right == "C"
            mids.append(price_scalar(spot, contract.strike, years, rate, carry, sigma, call))
        return mids

    def quotes(self, legs: Sequence[Leg], index: int, at_open: bool) -> list[Quote] | None:
        """Surface quotes of the legs, or None where they cannot be priced."""
        mids = self.mids(legs, index, at_open)
        return None if mids is None else [Quote(mid) for mid in mids]

    def _expiry_at(self, expiry: date) -> float:
        seconds = self._expiry_seconds.get(expiry)
        if seconds is None:
            seconds = self._expiry_seconds[expiry] = session_close(expiry).timestamp()
        return seconds

    def _requirements(self) -> FloatArray:
        close = self.path.close
        step = self.config.strike_step
        middle = np.array([nearest_strike(spot, step) for spot in self._spot[0]])
        years = (self.expiry_seconds - self.close_seconds) / YEAR_SECONDS
        columns = [
            self._requirement(
                structure_named(DAILY_ACTIONS[action].structure), close, middle, years
            )
            for action in ENTRIES
        ]
        return np.column_stack(columns)

    def _requirement(
        self, structure: Structure, close: FloatArray, middle: FloatArray, years: FloatArray
    ) -> FloatArray:
        """Outlay with costs, plus the margin of short legs, of one unit at each close."""
        config, costs = self.config, self.costs
        lowest = min(template.offset for template in structure.templates) * config.width
        known = (
            np.isfinite(self.path.iv_close) & np.isfinite(self.path.rate) & (middle + lowest > 0)
        )
        outlay = np.zeros(len(close))
        s, t, v, r = (x[known] for x in (close, years, self.path.iv_close, self.path.rate))
        total = np.zeros(s.shape)
        for template in structure.templates:
            strike = middle[known] + template.offset * config.width
            sigma = config.surface.iv(s, strike, t, v)
            mid = price(s, strike, t, r, config.dividend_yield, sigma, template.right)
            worse = costs.half_spread + costs.slippage_fraction * mid
            shares = template.ratio * MULTIPLIER
            if template.side > 0:
                total += shares * (mid + worse)
            else:
                total -= shares * np.maximum(0.0, mid - worse) * (1.0 - costs.sell_fee_rate)
            total += costs.commission * template.ratio
        sample = legs_for(structure, 100.0 * config.width, self.expiries[0], width=config.width)
        outlay[known] = total - worst_payoff(sample)
        outlay[~known] = np.nan
        return outlay
