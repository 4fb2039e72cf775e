"""Compiled prices, quotes and strikes of the intraday clock: surface, Black-Scholes, spread model.

The readable twin is :class:`~spy_assets.simulator.intraday_book.IntradayBook`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options._bsm_kernel import element
from spy_assets.options._elementary_kernel import exponential, log_ratio
from spy_assets.options.compiled import inlined_kernel, kernel
from spy_assets.simulator.intraday_path import PathArrays

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Market(NamedTuple):
    """Constants of pricing and costs, by the names that they have in the readable modules."""

    dividend_yield: float
    level: float
    slope: float
    curvature: float
    reach: float
    min_years: float
    scale: float
    value_power: float
    vega_power: float
    vega_offset: float
    growth: float
    itm_scale: float
    itm_power: float
    cap: float
    cap_per_year: float
    open_factor: float
    regular_factor: float
    last_factor: float
    open_minutes: float
    last_minutes: float
    tick: float
    strike_step: float
    commission: float
    slippage: float
    sell_fee_rate: float
    alpha: float
    naked_rate: float
    naked_floor: float
    max_positions: float
    trade_out: float


@inlined_kernel
def surface_volatility(spot: float, strike: float, years: float, vix: float, m: Market) -> float:
    """:meth:`~spy_assets.options.surface.VixSurface.iv` of one option."""
    x = log_ratio(strike, spot) / (vix * math.sqrt(max(years, m.min_years)))
    faded = exponential(-2.0 * abs(x) / m.reach)
    flat = m.reach * (1.0 - faded) / (1.0 + faded)
    z = flat if x >= 0.0 else -flat
    return vix * (m.level + z * (m.slope + m.curvature * z))


@inlined_kernel
def option_mid(
    spot: float, strike: float, years: float, rate: float, vix: float, sign: float, m: Market
) -> float:
    """Price of one option on the surface, dollars per share."""
    sigma = surface_volatility(spot, strike, years, vix, m)
    return element(spot, strike, years, rate, m.dividend_yield, sigma, sign)[0]


@kernel
def option_quote(
    spot: float,
    strike: float,
    years: float,
    rate: float,
    vix: float,
    sign: float,
    factor: float,
    m: Market,
) -> tuple[float, float, float]:
    """Mid, bid and ask; the spread model's formula with the time of day's ``factor``."""
    sigma = surface_volatility(spot, strike, years, vix, m)
    mid, _, _, vega, _, _, _, _, _ = element(
        spot, strike, years, rate, m.dividend_yield, sigma, sign
    )
    inner = max(0.0, sign * (spot - strike))
    time_value = max(mid - inner, 0.0)
    wide = m.scale * factor * math.exp(m.growth * years)
    outer = wide * time_value**m.value_power * (vega / 100.0 + m.vega_offset) ** m.vega_power
    cap = m.cap + m.cap_per_year * min(years, 1.0)
    extra = factor * m.itm_scale * (100.0 * inner / spot) ** m.itm_power
    raw = m.tick + outer + cap * extra / (cap + extra)
    ticks = max(np.rint(raw / m.tick), 1.0)
    spread = ticks * m.tick
    bid = math.floor(max(mid - 0.5 * spread, 0.0) / m.tick + 1e-9) * m.tick
    reach = bid + max(np.rint(spread / m.tick), 1.0) * m.tick
    return mid, bid, max(reach, math.ceil(mid / m.tick - 1e-9) * m.tick)


@kernel
def option_delta(
    spot: float, strike: float, years: float, rate: float, vix: float, sign: float, m: Market
) -> float:
    """Delta of one option on the surface."""
    sigma = surface_volatility(spot, strike, years, vix, m)
    return element(spot, strike, years, rate, m.dividend_yield, sigma, sign)[1]


@kernel
def strike_for_delta(
    spot: float,
    years: float,
    rate: float,
    vix: float,
    sign: float,
    limit: float,
    farthest: float,
    m: Market,
) -> float:
    """Nearest strike out of the money whose delta is not above ``limit``; NaN if there is none."""
    step = m.strike_step
    strike = max(step, math.floor(spot / step + 0.5) * step)
    if sign * (spot - strike) > 0.0:
        strike += sign * step
    limit_away = spot * farthest * vix * math.sqrt(max(years, m.min_years))
    while abs(strike - spot) <= limit_away and strike > 0.0:
        if abs(option_delta(spot, strike, years, rate, vix, sign, m)) <= limit:
            return strike
        strike += sign * step
    return math.nan


@kernel
def strikes_for_delta(
    path: PathArrays,
    m: Market,
    bars: IntArray,
    expiries: IntArray,
    sign: float,
    limit: float,
    farthest: float,
) -> FloatArray:
    """:func:`strike_for_delta` at the end of each of the bars."""
    found = np.empty(bars.shape[0])
    for i in range(bars.shape[0]):
        bar, session = bars[i], path.session_of[bars[i]]
        found[i] = strike_for_delta(
            path.close[bar],
            max(0.0, path.close_years[expiries[i]] - path.end_years[bar]),
            path.rate[session],
            path.volatility[session],
            sign,
            limit,
            farthest,
            m,
        )
    return found


@kernel
def phase_factor(minute: float, minutes: float, m: Market) -> float:
    if minute < m.open_minutes:
        return m.open_factor
    return m.last_factor if minute >= minutes - m.last_minutes else m.regular_factor


@kernel
def add_leg_values(
    spot: FloatArray,
    now: FloatArray,
    expires: float,
    strike: float,
    rate: float,
    vix: float,
    sign: float,
    quantity: float,
    m: Market,
    out: FloatArray,
) -> None:
    """Add a leg's value at each of the bars to ``out``."""
    for i in range(spot.shape[0]):
        years = max(0.0, expires - now[i])
        out[i] += quantity * option_mid(spot[i], strike, years, rate, vix, sign, m)
