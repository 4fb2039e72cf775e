"""Compiled loops over contracts: which case each is, its price and its Greeks.

The mathematics of the regular case is in ``_american_kernel``; here are calls and puts, dollars and
years, the cases without a boundary, and bumps.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spy_assets.options._american_grid import Grid
from spy_assets.options._american_kernel import (
    _INV_ROOT_2PI,
    _LEAST_RATE,
    Work,
    european,
    log_limit,
    log_perpetual,
    make_work,
    normal_cdf,
    premium,
    premium_bound,
    solve_boundary,
)
from spy_assets.options.compiled import fused_kernel

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: How a contract is priced.
CERTAIN, EUROPEAN, REGULAR, EXERCISE, TWO_BOUNDARIES = 0, 1, 2, 3, 4
#: Below this ``sigma sqrt(T)`` (a day at 0.00002 % of volatility) the future counts as known.
_CERTAIN = 1e-8
#: The larger of rate and yield, over ``v``, above which the price is at least checked against the one
#: without volatility.
_STIFF = 1.0


@fused_kernel
def case_of(x: float, v: float, r: float, q: float, negligible: float) -> int:
    """Which case a put of strike 1 and life 1 is, before its boundary is known."""
    if v < _CERTAIN:
        return CERTAIN
    if r < 0.0:
        return TWO_BOUNDARIES if q < r else EUROPEAN
    if r == 0.0 and q >= 0.0:
        return EUROPEAN
    if x <= log_perpetual(v, max(r, _LEAST_RATE), q):
        return EXERCISE
    return EUROPEAN if premium_bound(x, v, r, q) < negligible else REGULAR


@fused_kernel
def best_payment(spot: float, r: float, q: float) -> tuple[float, float]:
    """The most that exercise on a known path pays, discounted, and when; it may be negative.

    ``e^(-r t) - S e^(-q t)`` over ``0 <= t <= 1``: its extremes are at both ends and where
    ``r e^(-r t) = q S e^(-q t)``.
    """
    now, late = 1.0 - spot, math.exp(-r) - spot * math.exp(-q)
    best, when = (now, 0.0) if now >= late else (late, 1.0)
    if r != q and r * q > 0.0:
        between = math.log(r / (q * spot)) / (r - q)
        if 0.0 < between < 1.0:
            value = math.exp(-r * between) - spot * math.exp(-q * between)
            best, when = (value, between) if value > best else (best, when)
    return best, when


@fused_kernel
def certain_price(x: float, r: float, q: float) -> float:
    """Price without volatility: exercise at the best time of a known path, or never."""
    return max(0.0, best_payment(math.exp(x), r, q)[0])


@fused_kernel
def value_of(case: int, x: float, v: float, r: float, q: float, grid: Grid, work: Work) -> float:
    """Price of the put in that case; the boundary stays in ``work`` if there is one."""
    if case == CERTAIN:
        return certain_price(x, r, q)
    if case == EXERCISE:
        return 1.0 - math.exp(x)
    value = european(x, v, r, q)
    if case == REGULAR:
        r = max(r, _LEAST_RATE)
        solve_boundary(v, r, q, grid, work)
        if x <= work.boundary[0] + log_limit(r, q):
            return 1.0 - math.exp(x)
        value += max(premium(x, v, r, q, grid, work), 0.0)
        # Where the quadrature is too coarse for next to no volatility, waiting for sure is worth more.
        if max(r, abs(q)) > _STIFF * v:
            value = max(value, certain_price(x, r, q))
    return max(value, 1.0 - math.exp(x), 0.0)


@fused_kernel
def price_all(
    spot: FloatArray,
    strike: FloatArray,
    years: FloatArray,
    rate: FloatArray,
    dividend_yield: FloatArray,
    volatility: FloatArray,
    is_call: BoolArray,
    grid: Grid,
    price: FloatArray,
) -> None:
    """Prices into ``price``; NaN where two boundaries are needed."""
    work = make_work(grid)
    for c in range(spot.size):
        s, k, t = spot[c], strike[c], years[c]
        r, q = rate[c] * t, dividend_yield[c] * t
        if is_call[c]:
            s, k, r, q = k, s, q, r
        x, v = math.log(s / k), volatility[c] * math.sqrt(t)
        case = case_of(x, v, r, q, grid.negligible)
        if case == TWO_BOUNDARIES:
            price[c] = math.nan
        else:
            price[c] = max(k * value_of(case, x, v, r, q, grid, work), k - s)


@fused_kernel
def slopes(
    case: int, x: float, v: float, r: float, q: float, grid: Grid, work: Work
) -> tuple[float, float]:
    """Delta and ``S gamma`` of the put of strike 1, with the boundary in ``work``.

    The integrand's derivatives; the boundary does not depend on the spot.
    """
    plus = (x + r - q) / v + 0.5 * v
    carry = math.exp(-q)
    delta = -carry * normal_cdf(-plus)
    gamma = carry * _INV_ROOT_2PI * math.exp(-0.5 * plus * plus) / v
    if case != REGULAR:
        return delta, gamma
    spot, above = math.exp(x), x - log_limit(r, q)
    for m in range(grid.price_root.size):
        root, distance = grid.price_root[m], 0.0
        for j in range(grid.xi.size):
            distance += grid.price_basis[j, m] * work.boundary[j] * work.boundary[j]
        deviation = v * root
        plus = (math.sqrt(max(distance, 0.0)) + above) / deviation
        plus += ((r - q) / v + 0.5 * v) * root
        carry = grid.price_weight[m] * math.exp(-q * root * root)
        bell = carry * _INV_ROOT_2PI * math.exp(-0.5 * plus * plus) / deviation
        # e^(-r s) phi(d_-) = B^-1 S e^(-q s) phi(d_+), with B^-1 the strike over the boundary's spot.
        minus = plus - deviation
        paid = grid.price_weight[m] * math.exp(-r * root * root - 0.5 * minus * minus)
        paid *= r * _INV_ROOT_2PI / (deviation * spot)
        delta += q * (bell - carry * normal_cdf(-plus)) - paid
        gamma += paid * (minus / deviation + 1.0) + q * bell * (1.0 - plus / deviation)
    return delta, gamma


@fused_kernel
def greeks_all(
    spot: FloatArray,
    strike: FloatArray,
    years: FloatArray,
    rate: FloatArray,
    dividend_yield: FloatArray,
    volatility: FloatArray,
    is_call: BoolArray,
    grid: Grid,
    out: FloatArray,
) -> None:
    """Price, delta, gamma, vega, theta and rho into the rows of ``out`` (6, contracts).

    Vega and rho are central differences of the same price; the case is decided once for all.
    """
    work = make_work(grid)
    for c in range(spot.size):
        s, k, t, sigma = spot[c], strike[c], years[c], volatility[c]
        r, q = rate[c], dividend_yield[c]
        call = is_call[c]
        if call:
            s, k, r, q = k, s, q, r
        x, root = math.log(s / k), math.sqrt(t)
        v = sigma * root
        case = case_of(x, v, r * t, q * t, grid.negligible)
        if case == TWO_BOUNDARIES:
            out[:, c] = math.nan
            continue
        value = value_of(case, x, v, r * t, q * t, grid, work)
        out[0, c] = max(k * value, k - s)
        intrinsic = 1.0 - math.exp(x)
        if case == CERTAIN or value <= intrinsic:
            _certain_greeks(x, r * t, q * t, t, k, call, value <= intrinsic, out[:, c])
            continue
        floor = _LEAST_RATE if case == REGULAR else -math.inf
        delta, gamma = slopes(case, x, v, max(r * t, floor), q * t, grid, work)
        gamma /= s
        theta = k * (r * value) - (r - q) * s * delta - 0.5 * sigma * sigma * s * s * gamma
        step = 1e-3 * sigma
        up = value_of(case, x, (sigma + step) * root, r * t, q * t, grid, work)
        down = value_of(case, x, (sigma - step) * root, r * t, q * t, grid, work)
        vega = k * (up - down) / (2.0 * step)
        step = 1e-4
        if call:
            up = value_of(case, x, v, r * t, (q + step) * t, grid, work)
            down = value_of(case, x, v, r * t, (q - step) * t, grid, work)
            # The put's spot is the call's strike, and the price is of degree 1 in both.
            delta, gamma = (k * value - s * delta) / k, gamma * (s / k) ** 2
        else:
            if case == REGULAR:
                step = min(step, 0.5 * r) if r > 0.0 else 1e-9
            up = value_of(case, x, v, (r + step) * t, q * t, grid, work)
            down = value_of(case, x, v, (r - step) * t, q * t, grid, work)
        rho = k * (up - down) / (2.0 * step)
        out[1, c], out[2, c], out[3, c], out[4, c], out[5, c] = delta, gamma, vega, theta, rho


@fused_kernel
def _certain_greeks(
    x: float,
    r: float,
    q: float,
    t: float,
    k: float,
    call: bool,
    exercised: bool,
    out: FloatArray,
) -> None:
    """Greeks of a put (or its mirror image, a call) whose payment and time of payment are known.

    Exercised now: delta is the step and the rest is 0. Without volatility: those of the discounted
    payment at the best time; 0 if it is never worth anything. Exactly at the money delta is half a
    step.
    """
    out[1:] = 0.0
    spot = math.exp(x)
    if exercised and spot < 1.0:
        out[1] = 1.0 if call else -1.0
        return
    if t == 0.0:
        out[1] = (0.5 if call else -0.5) if spot == 1.0 else 0.0
        return
    best, when = best_payment(spot, r, q)
    if best < 0.0:
        return
    half = 0.5 if best == 0.0 else 1.0
    held, paid = half * spot * math.exp(-q * when), half * math.exp(-r * when)
    out[1] = paid if call else -held / spot
    if call:
        out[5] = k * held * when * t
    else:
        out[5] = -k * paid * when * t
    if when == 1.0:
        out[4] = k * (r * paid - q * held) / t


@fused_kernel
def boundary_all(
    years: FloatArray,
    rate: FloatArray,
    dividend_yield: FloatArray,
    volatility: FloatArray,
    is_call: BoolArray,
    grid: Grid,
    out: FloatArray,
) -> None:
    """``ln(B/K)`` of the put of each contract (of a call, its mirror image) with all its life to go.

    Minus infinity where it is never exercised early, NaN where two boundaries exist.
    """
    work = make_work(grid)
    for c in range(years.size):
        r, q = rate[c] * years[c], dividend_yield[c] * years[c]
        # The rates themselves decide, not their products with a life that may be 0.
        toward, away = rate[c], dividend_yield[c]
        if is_call[c]:
            r, q, toward, away = q, r, away, toward
        v = volatility[c] * math.sqrt(years[c])
        if toward < 0.0 or (toward == 0.0 and away >= 0.0):
            out[c] = math.nan if away < toward else -math.inf
        elif v < _CERTAIN:
            out[c] = math.log(toward / away) if 0.0 < toward < away else 0.0
        else:
            r = max(r, _LEAST_RATE)
            solve_boundary(v, r, q, grid, work)
            out[c] = work.boundary[0] + log_limit(r, q)
