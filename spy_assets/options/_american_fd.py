r"""Compiled finite differences for American options that jump: cash dividends, or two boundaries.

The value obeys :math:`V_t + \frac12 \sigma^2 S^2 V_{SS} + (r - q) S V_S - r V \le 0`,
:math:`V \ge` intrinsic, one of them an equality; across an ex-date :math:`V(t^-, S) = V(t^+, S - D)`,
or intrinsic if that is more (the "spot model": lognormal between ex-dates, the spot falls by D).

- space: second order on a grid of spots that is dense at the strike, :math:`S = K + c \sinh \xi`
  (Tavella and Randall 2000), the strike on a node, :math:`V_{SS} = 0` at its ends;
- time: TR-BDF2 (Bank et al. 1985; both stages share one matrix), whose steps grow with the distance
  from expiry and from each ex-date, as the boundary moves like a square root there;
- the inequality: policy iteration (Forsyth and Vetzal 2002), exact for any shape of the exercise
  region.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spy_assets.options.compiled import kernel

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_GAMMA = 2.0 - math.sqrt(2.0)
_STAGE = 0.5 * _GAMMA
#: The two weights of the second stage.
_MIDDLE = 1.0 / (_GAMMA * (2.0 - _GAMMA))
_BEFORE = (1.0 - _GAMMA) ** 2 / (_GAMMA * (2.0 - _GAMMA))
#: Standard deviations of the log spot that the grid reaches beyond spot and strike.
_REACH = 4.5
_MOST_POLICIES = 50
#: A step between ex-dates takes at least this many time steps.
_LEAST_STEPS = 12


@kernel
def spot_grid(
    spot: float, strike: float, deviation: float, drift: float, cash: float, cells: int
) -> FloatArray:
    """About ``cells`` + 1 ascending spots, the strike one of them."""
    reach = math.exp(min(_REACH * deviation + 0.5 * deviation * deviation + abs(drift), 12.0))
    low = max(min(spot - cash, strike) / reach - cash, 0.0)
    high = max(spot, strike) * reach + cash
    dense = strike * min(max(deviation, 1e-4), 0.5)
    first, last = math.asinh((low - strike) / dense), math.asinh((high - strike) / dense)
    width = (last - first) / cells
    below = math.floor(-first / width)
    size = below + math.ceil(last / width) + 1
    grid = np.empty(size)
    for i in range(size):
        grid[i] = strike + dense * math.sinh((i - below) * width)
    grid[below] = strike
    return grid


@kernel
def operator(
    grid: FloatArray, rate: float, dividend_yield: float, sigma: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows (below, at, above) of the generator, central differences."""
    n = grid.size
    below, at, above = np.zeros(n), np.zeros(n), np.zeros(n)
    for i in range(n):
        drift = (rate - dividend_yield) * grid[i]
        at[i] = -rate
        if 0 < i < n - 1:
            left, right = grid[i] - grid[i - 1], grid[i + 1] - grid[i]
            spread = sigma * sigma * grid[i] * grid[i]
            below[i] = (spread - drift * right) / (left * (left + right))
            above[i] = (spread + drift * left) / (right * (left + right))
            at[i] -= below[i] + above[i]
        elif i == 0:
            above[i] = drift / (grid[1] - grid[0])
            at[i] -= above[i]
        else:
            below[i] = -drift / (grid[i] - grid[i - 1])
            at[i] -= below[i]
    return below, at, above


@kernel
def solve_with_exercise(
    step: float,
    below: FloatArray,
    at: FloatArray,
    above: FloatArray,
    target: FloatArray,
    payoff: FloatArray,
    exercised: BoolArray,
    value: FloatArray,
    factor: FloatArray,
) -> None:
    """``(1 - step L) value = target`` where held, ``value = payoff`` where exercised.

    ``exercised`` is the first guess of the region on entry and the region on return.
    """
    n = value.size
    for _ in range(_MOST_POLICIES):
        previous, carried = 0.0, 0.0
        for i in range(n):
            if exercised[i]:
                previous, carried = 0.0, payoff[i]
            else:
                pivot = 1.0 / (1.0 - step * at[i] + step * below[i] * previous)
                carried = (target[i] + step * below[i] * carried) * pivot
                previous = -step * above[i] * pivot
            factor[i], value[i] = previous, carried
        for i in range(n - 2, -1, -1):
            value[i] -= factor[i] * value[i + 1]
        changed = False
        for i in range(n):
            if exercised[i]:
                flow = at[i] * value[i]
                flow += below[i] * value[i - 1] if i > 0 else 0.0
                flow += above[i] * value[i + 1] if i < n - 1 else 0.0
                keep = value[i] - step * flow >= target[i] - 1e-14 * payoff[i]
            else:
                keep = value[i] < payoff[i]
            changed = changed or keep != exercised[i]
            exercised[i] = keep
        if not changed:
            return


@kernel
def march(
    years: float,
    steps: int,
    below: FloatArray,
    at: FloatArray,
    above: FloatArray,
    payoff: FloatArray,
    exercised: BoolArray,
    value: FloatArray,
) -> None:
    """``value`` moved back by ``years`` without a dividend, in steps that grow linearly."""
    n = value.size
    target, middle, factor = np.empty(n), np.empty(n), np.empty(n)
    done = 0.0
    for j in range(1, steps + 1):
        reached = years * (j / steps) ** 2
        dt, done = reached - done, reached
        half = _STAGE * dt
        for i in range(n):
            flow = at[i] * value[i]
            flow += below[i] * value[i - 1] if i > 0 else 0.0
            flow += above[i] * value[i + 1] if i < n - 1 else 0.0
            target[i] = value[i] + half * flow
        solve_with_exercise(half, below, at, above, target, payoff, exercised, middle, factor)
        for i in range(n):
            target[i] = _MIDDLE * middle[i] - _BEFORE * value[i]
        solve_with_exercise(half, below, at, above, target, payoff, exercised, value, factor)


@kernel
def around(grid: FloatArray, spot: float) -> int:
    """Index of the first of the four nodes that interpolate at ``spot``."""
    low, high = 0, grid.size - 1
    while high - low > 1:
        between = (low + high) // 2
        if grid[between] <= spot:
            low = between
        else:
            high = between
    return min(max(low - 1, 0), grid.size - 4)


@kernel
def interpolate(grid: FloatArray, value: FloatArray, spot: float) -> tuple[float, float, float]:
    """Value, first and second derivative at ``spot`` of the cubic through four nodes."""
    k = around(grid, spot)
    a, b, c, d = grid[k], grid[k + 1], grid[k + 2], grid[k + 3]
    ab, bc, cd = (
        (value[k + 1] - value[k]) / (b - a),
        (value[k + 2] - value[k + 1]) / (c - b),
        (value[k + 3] - value[k + 2]) / (d - c),
    )
    abc, bcd = (bc - ab) / (c - a), (cd - bc) / (d - b)
    third = (bcd - abc) / (d - a)
    p, q, r = spot - a, spot - b, spot - c
    return (
        value[k] + p * (ab + q * (abc + r * third)),
        ab + abc * (p + q) + third * (p * q + p * r + q * r),
        2.0 * abc + 2.0 * third * (p + q + r),
    )


@kernel
def pay_dividend(
    grid: FloatArray, payoff: FloatArray, cash: float, value: FloatArray, exercised: BoolArray
) -> FloatArray:
    """The value just before the spot falls by ``cash`` (but not below 0), or that of exercise."""
    before = np.empty(grid.size)
    for i in range(grid.size):
        after = max(grid[i] - cash, 0.0)
        if after <= grid[0]:
            # Linear below the grid: there the option is as good as exercised, or worthless.
            slope = (value[1] - value[0]) / (grid[1] - grid[0])
            held = max(value[0] + slope * (after - grid[0]), 0.0)
        else:
            held, _, _ = interpolate(grid, value, after)
        exercised[i] = payoff[i] > held
        before[i] = max(held, payoff[i])
    return before


@kernel
def price_on_grid(
    grid: FloatArray,
    spot: float,
    strike: float,
    years: float,
    rate: float,
    dividend_yield: float,
    sigma: float,
    is_call: bool,
    ex_years: FloatArray,
    cash: FloatArray,
    steps: int,
) -> tuple[float, float, float]:
    """Price, delta and gamma; ``ex_years`` ascending in (0, years], a dividend at 0 is paid already."""
    sign = 1.0 if is_call else -1.0
    payoff = np.maximum(sign * (grid - strike), 0.0)
    value, exercised = payoff.copy(), payoff > 0.0
    below, at, above = operator(grid, rate, dividend_yield, sigma)
    late = years
    for j in range(ex_years.size, -1, -1):
        early = ex_years[j - 1] if j > 0 else 0.0
        if late > early:
            wanted = math.ceil(steps * math.sqrt((late - early) / years))
            march(
                late - early,
                max(wanted, _LEAST_STEPS),
                below,
                at,
                above,
                payoff,
                exercised,
                value,
            )
        if j > 0:
            value = pay_dividend(grid, payoff, cash[j - 1], value, exercised)
            late = early
    price, delta, gamma = interpolate(grid, value, spot)
    intrinsic = sign * (spot - strike)
    if price <= intrinsic:
        return intrinsic, sign, 0.0
    return max(price, 0.0), delta, gamma


@kernel
def extrapolated(
    deviation: float,
    drift: float,
    spot: float,
    strike: float,
    years: float,
    rate: float,
    dividend_yield: float,
    sigma: float,
    is_call: bool,
    ex_years: FloatArray,
    cash: FloatArray,
    cells: int,
) -> tuple[float, float, float]:
    """Price, delta and gamma from ``cells`` and half as many, extrapolated (errors of second order
    cancel).

    ``deviation`` and ``drift`` of the log spot are what the grid is made for: bumped prices keep it,
    so that their differences are not those of grids.
    """
    fine = spot_grid(spot, strike, deviation, drift, cash.sum(), cells)
    coarse = spot_grid(spot, strike, deviation, drift, cash.sum(), cells // 2)
    steps = cells // 2
    market = (spot, strike, years, rate, dividend_yield, sigma, is_call, ex_years, cash)
    price, delta, gamma = price_on_grid(fine, *market, steps)
    price_2, delta_2, gamma_2 = price_on_grid(coarse, *market, steps // 2)
    sign = 1.0 if is_call else -1.0
    intrinsic = sign * (spot - strike)
    if price <= intrinsic:
        return intrinsic, sign, 0.0
    return (
        max(price + (price - price_2) / 3.0, intrinsic, 0.0),
        delta + (delta - delta_2) / 3.0,
        gamma + (gamma - gamma_2) / 3.0,
    )


@kernel
def dividends_all(
    spot: FloatArray,
    strike: FloatArray,
    years: FloatArray,
    rate: FloatArray,
    dividend_yield: FloatArray,
    volatility: FloatArray,
    is_call: BoolArray,
    ex_years: FloatArray,
    cash: FloatArray,
    cells: int,
    greeks: bool,
    out: FloatArray,
) -> None:
    """Price, delta, gamma, vega, theta and rho into the rows of ``out`` (only prices without
    ``greeks``).

    Every contract sees the dividends that go ex in its life; years and volatility are positive.
    """
    for c in range(spot.size):
        s, k, t, r, q = spot[c], strike[c], years[c], rate[c], dividend_yield[c]
        sigma, call = volatility[c], is_call[c]
        first = np.searchsorted(ex_years, 0.0, side="right")
        last = np.searchsorted(ex_years, t, side="right")
        ex, paid = ex_years[first:last], cash[first:last]
        wide, drift = sigma * math.sqrt(t), (r - q) * t
        price, delta, gamma = extrapolated(wide, drift, s, k, t, r, q, sigma, call, ex, paid, cells)
        out[0, c] = price
        if not greeks:
            continue
        out[1, c], out[2, c] = delta, gamma
        out[3:, c] = 0.0
        if price <= (s - k if call else k - s):
            continue
        step = 0.01 * sigma
        up = extrapolated(wide, drift, s, k, t, r, q, sigma + step, call, ex, paid, cells)[0]
        down = extrapolated(wide, drift, s, k, t, r, q, sigma - step, call, ex, paid, cells)[0]
        out[3, c] = (up - down) / (2.0 * step)
        out[4, c] = r * price - (r - q) * s * delta - 0.5 * sigma * sigma * s * s * gamma
        step = 3e-4
        up = extrapolated(wide, drift, s, k, t, r + step, q, sigma, call, ex, paid, cells)[0]
        down = extrapolated(wide, drift, s, k, t, r - step, q, sigma, call, ex, paid, cells)[0]
        out[5, c] = (up - down) / (2.0 * step)
