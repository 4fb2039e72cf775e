"""Everything about a market path that does not depend on what an account does, computed once.

Expiries, times, strikes and the cash that each entry needs are the same for every episode over a
path. A :class:`PathBook` holds them, so that an episode starts in microseconds and a step prices no
more than the legs that are open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError
from spy_assets.options.black_scholes import greeks, price, price_scalar
from spy_assets.options.contracts import (
    STRIKE_STEP,
    YEAR_SECONDS,
    nearest_expiry,
    nearest_strike,
)
from spy_assets.options.spread_model import SpreadModel
from spy_assets.options.structures import DEFAULT_WIDTH, Leg, Structure, legs_for, structure_named
from spy_assets.options.surface import QuoteKind, VixSurface
from spy_assets.sessions import session_close, session_open
from spy_assets.simulator.actions import DAILY_7, ActionMap, DteBucket
from spy_assets.simulator.costs import PRESETS, CostModel
from spy_assets.simulator.kernel import Moment, Quote, ShortPuts
from spy_assets.simulator.mandate import Mandate
from spy_assets.simulator.market_path import MarketPath
from spy_assets.simulator.trading_time import TradingTime
from spy_assets.simulator.unit_legs import UnitLegs

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


class Priced(NamedTuple):
    """What options are priced by at one moment: spot in dollars, volatility and rate as decimals."""

    spot: float
    iv: float
    rate: float
    at_open: bool


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
    actions
        What the policy's numbers open.
    allow_naked
        Whether the map may have uncovered short options; they set Reg-T margin aside.
    max_positions
        How many may be open at once. CLOSE closes all of them.
    spreads
        A model of the spread that takes the place of the cost model's constant; None keeps the
        constant. Quotes made with it are labelled ``spread_model``.
    short_puts
        What an uncovered short put sets aside; see
        :func:`~spy_assets.simulator.kernel.margin_required`.
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
    actions: ActionMap = DAILY_7
    allow_naked: bool = False
    max_positions: int = 1
    spreads: SpreadModel | None = None
    short_puts: ShortPuts = "cash_secured"

    def __repr__(self) -> str:
        """All fields, as digests of accounts take them; what came later only where it is used."""
        later = {"short_puts": "cash_secured"}
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        told = [
            f"{name}={value!r}"
            for name, value in values.items()
            if name not in later or value != later[name]
        ]
        return f"DailyConfig({', '.join(told)})"

    def __post_init__(self) -> None:
        if self.fill not in ("next_open", "next_close"):
            raise ConfigError(f"fill {self.fill!r}", hint="use 'next_open' or 'next_close'")
        if not 0.0 < self.reward_scale < math.inf:
            raise ConfigError(f"reward_scale {self.reward_scale} is not a positive number")
        if self.invalid_action_penalty < 0.0:
            raise ConfigError(f"invalid_action_penalty {self.invalid_action_penalty} is negative")
        if self.short_puts not in ("cash_secured", "reg_t"):
            raise ConfigError(
                f"short_puts {self.short_puts!r}", hint="use 'cash_secured' or 'reg_t'"
            )
        if self.max_positions < 1:
            raise ConfigError(f"max_positions {self.max_positions} allows no position at all")
        if self.actions.naked and not self.allow_naked:
            raise ConfigError(
                f"action map {self.actions.name!r} has uncovered {', '.join(set(self.actions.naked))}",
                hint="set allow_naked, or take them out of the map",
            )

    @property
    def ahead(self) -> int:
        """Sessions between a decision and its nearest expiry, so that something is left to trade."""
        return 1 if self.fill == "next_open" else 2

    @property
    def mandate(self) -> Mandate:
        """What the account may trade, which is what a policy is trained for."""
        return Mandate.of(self.actions, self.max_positions)

    @property
    def quote_kind(self) -> QuoteKind:
        """How quotes are labelled that no market made."""
        return self.surface.quote_kind if self.spreads is None else "spread_model"

    def expiry(self, session: date, bucket: DteBucket | None) -> date:
        """Expiry that an opening decided in ``session`` trades."""
        if bucket is None:
            return nearest_expiry(session, self.dte, min_sessions=self.ahead)
        return bucket.expiry(session, self.ahead)

    def half_spread(
        self,
        mids: FloatArray,
        vega: FloatArray,
        years: FloatArray,
        intrinsic: FloatArray,
        spot: npt.ArrayLike,
        *,
        at_open: bool,
    ) -> FloatArray:
        """Half of the spread model's width, dollars per share; ``vega`` per 1.00 of volatility.

        An open is in the session's first phase and a close in its last.
        """
        assert self.spreads is not None
        return 0.5 * self.spreads.spread(
            np.maximum(0.0, mids - intrinsic),
            vega / 100.0,
            years,
            intrinsic=intrinsic,
            spot=spot,
            phase="open" if at_open else "last",
        )

    def half_spreads(
        self, legs: Sequence[Leg], mids: Sequence[float], years: Sequence[float], now: Priced
    ) -> list[float]:
        """Model spreads of legs at one moment, dollars per share from mid to quote."""
        strike = np.array([leg.contract.strike for leg in legs])
        sign = np.array([1.0 if leg.contract.right == "C" else -1.0 for leg in legs])
        left = np.maximum(0.0, np.array(years))
        sigma = self.surface.iv(now.spot, strike, left, now.iv)
        vega = greeks(now.spot, strike, left, now.rate, self.dividend_yield, sigma, sign).vega
        inner = np.maximum(0.0, sign * (now.spot - strike))
        half: list[float] = self.half_spread(
            np.array(mids), vega, left, inner, now.spot, at_open=now.at_open
        ).tolist()
        return half


class Columns(NamedTuple):
    """Openings of one expiry rule.

    ``numbers`` are their actions; ``expiries`` the expiry of an entry of each session, and
    ``expiry_seconds`` the time of its close, POSIX, ``[n]``.
    """

    numbers: tuple[int, ...]
    structures: tuple[Structure, ...]
    expiries: list[date]
    expiry_seconds: FloatArray


class PathBook:
    """Prices, times and entry requirements of one path under one configuration.

    Attributes
    ----------
    columns
        The openings of the action map, those of one expiry rule together.
    requirement
        Dollars of free cash that one unit of each opening needs, estimated at the close of the
        decision; also its maximum loss, if that has a bound. ``[n, openings]``, NaN where it cannot be
        priced.
    open_seconds, close_seconds
        Times of each session's open and close, POSIX seconds, ``[n]``.
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
        self.actions = self.config.actions
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
        self.close_seconds, self.open_seconds = (np.array(times) for times in self._seconds)
        self._expiry_seconds: dict[date, float] = {}
        self.columns = self._columns()
        self._expiries = {
            number: group.expiries for group in self.columns for number in group.numbers
        }
        self._legs: dict[tuple[int, int], tuple[Leg, ...]] = {}
        self.observation: npt.NDArray[np.float32] = path.observation.astype(np.float32)
        self.valid: list[bool] = path.valid.tolist()
        self.dividend: list[float] = path.dividend.tolist()
        self.requirement = self._requirements()

    def _columns(self) -> tuple[Columns, ...]:
        grouped: dict[DteBucket | None, list[int]] = {}
        for number, opening in enumerate(self.actions.openings):
            grouped.setdefault(opening.bucket, []).append(number)
        groups = []
        for bucket, numbers in grouped.items():
            expiries = [self.config.expiry(day, bucket) for day in self.path.sessions]
            names = (self.actions.openings[number].structure for number in numbers)
            groups.append(
                Columns(
                    numbers=tuple(numbers),
                    structures=tuple(structure_named(name) for name in names),
                    expiries=expiries,
                    expiry_seconds=np.array([self._expiry_at(day) for day in expiries]),
                )
            )
        return tuple(groups)

    @property
    def fill_label(self) -> str:
        """How fills are priced, in words, to be shown with every result."""
        half = f"{self.costs.half_spread:g} dollars"
        spread = half if self.config.spreads is None else "the spread model's half"
        return f"{self.costs.name}: surface mid +- {self.costs.alpha:g} x {spread}"

    @cached_property
    def trading_time(self) -> TradingTime:
        """Sessions and minutes from the path's first session to its last expiry."""
        last = max(max(group.expiries) for group in self.columns)
        return TradingTime(self.path.sessions[0], max(last, self.path.sessions[-1]))

    def expiry(self, index: int, action: int) -> date:
        """Expiry that an opening decided in session ``index`` trades."""
        return self._expiries[action][index]

    def spot(self, index: int, at_open: bool) -> float:
        """Underlying price in dollars."""
        return self._spot[at_open][index]

    def moment(self, index: int, at_open: bool) -> Moment:
        """Session, time and underlying price of an execution."""
        times = self.open_times if at_open else self.close_times
        return Moment(self.path.sessions[index], times[index], self._spot[at_open][index])

    def legs(self, index: int, action: int) -> tuple[Leg, ...]:
        """Legs of an opening decided at the close of session ``index``."""
        key = (index, action)
        if key not in self._legs:
            config = self.config
            self._legs[key] = legs_for(
                self.actions.openings[action].structure,
                self._spot[0][index],
                self.expiry(index, action),
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
        if mids is None:
            return None
        if self.config.spreads is None:
            return [Quote(mid) for mid in mids]
        half = self._half_spreads(legs, mids, index, at_open)
        kind = self.config.quote_kind
        return [
            Quote(mid, max(0.0, mid - wide), mid + wide, kind)
            for mid, wide in zip(mids, half, strict=True)
        ]

    def _half_spreads(
        self, legs: Sequence[Leg], mids: list[float], index: int, at_open: bool
    ) -> list[float]:
        """Model spreads of the legs, dollars per share from mid to quote."""
        now = self._seconds[at_open][index]
        years = [(self._expiry_at(leg.contract.expiry) - now) / YEAR_SECONDS for leg in legs]
        moment = Priced(
            self._spot[at_open][index], self._iv[at_open][index], self._rate[index], at_open
        )
        return self.config.half_spreads(legs, mids, years, moment)

    def _expiry_at(self, expiry: date) -> float:
        seconds = self._expiry_seconds.get(expiry)
        if seconds is None:
            seconds = self._expiry_seconds[expiry] = session_close(expiry).timestamp()
        return seconds

    def unit_legs(self, group: Columns) -> UnitLegs:
        """Legs of a group's openings decided at each close."""
        step = self.config.strike_step
        middle = np.array([nearest_strike(spot, step) for spot in self._spot[0]])
        return UnitLegs(group.structures, middle, self.config.width)

    def _requirements(self) -> FloatArray:
        requirement = np.empty((len(self.path), len(self.actions.openings)))
        for group in self.columns:
            requirement[:, group.numbers] = self._requirement(group).T
        return requirement

    def _requirement(self, group: Columns) -> FloatArray:
        """Outlay with costs, plus the margin of short legs, of one unit at each close, ``[k, n]``."""
        path, config = self.path, self.config
        legs = self.unit_legs(group)
        years = (group.expiry_seconds - self.close_seconds) / YEAR_SECONDS
        known = np.isfinite(path.iv_close) & np.isfinite(path.rate)
        s, t, v, r = (x[known] for x in (path.close, years, path.iv_close, path.rate))
        strike = np.maximum(legs.strike[:, known], config.strike_step)
        right = legs.sign[:, None]
        sigma = config.surface.iv(s, strike, t, v)
        mids = np.full(legs.strike.shape, np.nan)
        mids[:, known] = price(s, strike, t, r, config.dividend_yield, sigma, right)
        half = None
        if config.spreads is not None:
            vega = greeks(s, strike, t, r, config.dividend_yield, sigma, right).vega
            inner = np.maximum(0.0, right * (s - strike))
            half = np.full(mids.shape, np.nan)
            half[:, known] = config.half_spread(mids[:, known], vega, t, inner, s, at_open=False)
        entry = legs.filled(mids, self.costs, 1, half)
        needed = entry.value + entry.fees + legs.margin(mids, path.close, config.short_puts)
        return np.where(legs.tradable, needed, np.nan)
