r"""Compiled core of :mod:`spy_assets.options.american`: one American put in its own units.

Everything here is a put with strike 1 and life 1: ``x`` is :math:`\ln(S/K)`, ``v`` is
:math:`\sigma\sqrt{T}`, ``r`` and ``q`` are rate and yield times :math:`T`. A call is the put with
spot and strike, rate and yield exchanged (McDonald and Schroder 1998). Boundaries are given as
:math:`b = \ln(B/X) \le 0`, with :math:`X = \min(1, r/q)` their limit at expiry.

The premium of early exercise (Kim 1990) is

.. math:: \int_0^1 r e^{-rs} N(-d_-(s, S/B(1-s))) - q S e^{-qs} N(-d_+(s, S/B(1-s))) ds

and the boundary solves "FP-A" of Andersen, Lake and Offengenden (2016), eq. 44-46 ("High-performance
American option pricing", J. Computational Finance 20): at each node :math:`B = e^{-(r-q)\tau} N / D`,
with

.. math::

    N = \frac{\phi(d_-(\tau, B))}{v\sqrt\tau} + r \int e^{ru} \frac{\phi(d_-(s, B/B(u)))}{v\sqrt s}
    du, \quad
    D = \frac{\phi(d_+(\tau, B))}{v\sqrt\tau} + N(d_+(\tau, B)) + q \int e^{qu} \left(
        N(d_+(s, B/B(u))) + \frac{\phi(d_+(s, B/B(u)))}{v\sqrt s} \right) du, \quad s = \tau - u.

The loops are short and over flat arrays on purpose: each becomes vector instructions.
FP-A diverges where the drift outweighs the volatility; there FP-B (the same without densities) is
iterated.

``_american_twin`` says the same in NumPy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options._american_grid import Grid
from spy_assets.options._elementary_kernel import exponential, mills_ratio
from spy_assets.options.compiled import fused_kernel, inlined_kernel

FloatArray = npt.NDArray[np.float64]
_INV_ROOT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
#: Least rate times life that the boundary equation is given; at 0 its coefficients are 0/0.
_LEAST_RATE = 1e-13
#: ``|r - q| / v`` above which FP-B takes the place of FP-A, which diverges from about 0.9 on (measured).
_MOST_DRIFT = 0.5
#: -ln(B/X) / (v sqrt(tau)) at expiry where the yield is above the rate (Evans, Kuske, Keller 2002).
_STEEP = 0.6388


class Work(NamedTuple):
    """Scratch arrays, one set per thread."""

    boundary: FloatArray
    distance: FloatArray
    here: FloatArray
    plus: FloatArray
    density: FloatArray
    cdf: FloatArray
    grown: FloatArray


@inlined_kernel
def tail_ratio(a: float) -> float:
    """``N(-a) / exp(-a^2 / 2)`` for ``a >= 0``."""
    return mills_ratio(a) * _INV_ROOT_2PI


@inlined_kernel
def normal_cdf(x: float) -> float:
    """``N(x)``, with full relative accuracy in the lower tail."""
    below = exponential(-0.5 * x * x) * tail_ratio(abs(x))
    return below if x < 0.0 else 1.0 - below


@fused_kernel
def make_work(grid: Grid) -> Work:
    """Scratch for contracts on ``grid``."""
    size = max(grid.root.size, grid.price_root.size)
    return Work(
        np.empty(grid.xi.size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
    )


@fused_kernel
def european(x: float, v: float, r: float, q: float) -> float:
    """Black-Scholes-Merton price of the put."""
    d = (x + r - q) / v + 0.5 * v
    return math.exp(-r) * normal_cdf(v - d) - math.exp(x - q) * normal_cdf(-d)


@fused_kernel
def log_limit(r: float, q: float) -> float:
    """``ln X``: where the boundary ends at expiry."""
    return math.log(r / q) if q > r else 0.0


@fused_kernel
def log_perpetual(v: float, r: float, q: float) -> float:
    """``ln B`` of the put without expiry: no boundary lies lower."""
    carry = 2.0 * (r - q) / (v * v) - 1.0
    root = math.sqrt(carry * carry + 8.0 * r / (v * v))
    # The negative root of the characteristic equation, without cancellation.
    power = -0.5 * (carry + root) if carry > 0.0 else -4.0 * r / (v * v) / (root - carry)
    return math.log(power / (power - 1.0))


@fused_kernel
def guess_boundary(v: float, r: float, q: float, xi: FloatArray, b: FloatArray) -> None:
    """A first boundary, within 0.35 standard deviations (mostly 0.1) of the true one.

    Near expiry the asymptotes of Evans, Kuske and Keller (2002, eq. 3-5), far from it the perpetual
    boundary; the four constants (0.6, 2.5 and the two powers) were fitted to 6,000 solved boundaries
    with rates and yields of 0 to 12 %, volatilities of 5 to 150 % and lives of half an hour to 3 years.
    """
    limit = log_limit(r, q)
    farthest = limit - log_perpetual(v, r, q)
    apart = 8.0 * math.pi * ((r - q) / v) ** 2
    level = 2.5 * 16.0 * math.pi * r * r
    for i in range(xi.size):
        tau = xi[i] * xi[i]
        deviation = v * xi[i]
        away = math.sqrt(0.6 + math.log(1.0 + 1.0 / (apart * tau + level * tau * tau))) * deviation
        if q > r:
            beyond = max(away + limit, 0.0)
            away = math.sqrt((_STEEP * deviation) ** 2 + beyond * beyond)
        ratio = (away / farthest) ** 2
        b[i] = -away / math.sqrt(math.sqrt(1.0 + ratio * ratio))


@fused_kernel
def improve_by_qd_plus(v: float, r: float, q: float, xi: FloatArray, b: FloatArray) -> None:
    """One Newton step at every node on Li's (2010) equation QD+ for the boundary.

    Andersen, Lake and Offengenden's eq. 29-35, multiplied out so that nothing is divided by
    ``1 - B - p(B)``.
    """
    limit = log_limit(r, q)
    lowest = log_perpetual(v, r, q) - limit
    per_variance = 2.0 / (v * v)
    carry = (r - q) * per_variance - 1.0
    for i in range(xi.size):
        tau = xi[i] * xi[i]
        deviation = v * xi[i]
        inverse = 1.0 / deviation
        discount, yielded = exponential(-r * tau), exponential(-q * tau)
        owed = r * tau
        gone = 1.0 - discount if owed > 1e-4 else owed * (1.0 - 0.5 * owed * (1.0 - owed / 3.0))
        m = per_variance * r / gone
        square = carry * carry + 4.0 * m
        root = math.sqrt(square)
        slope = -0.5 * (carry + root) + discount * m / root * (1.0 - m / square)
        pull = -per_variance / root
        strike_distance = b[i] + limit
        spot = exponential(strike_distance)
        plus = (strike_distance + (r - q) * tau) * inverse + 0.5 * deviation
        minus = plus - deviation
        bell = exponential(-0.5 * plus * plus)
        density = bell * _INV_ROOT_2PI
        tail = bell * tail_ratio(abs(plus))
        below_plus = 1.0 - tail if plus < 0.0 else tail
        tail = exponential(-0.5 * minus * minus) * tail_ratio(abs(minus))
        below_minus = 1.0 - tail if minus < 0.0 else tail
        held = spot * yielded * below_plus
        paid = discount * below_minus
        decay = r * paid - q * held - 0.5 * v * v * inverse * spot * yielded * density
        keep = 1.0 - yielded * below_plus
        value = keep * spot + slope * (1.0 - spot - paid + held) + pull * decay
        bend = density * ((q - r - 0.5 * v * v) * inverse + 0.5 * plus / tau) - q * below_plus
        change = keep * (1.0 - slope) + yielded * (density * inverse + pull * bend)
        b[i] = max(min(b[i] - value / (change * spot), 0.0), lowest)


@fused_kernel
def distances(b: FloatArray, basis: FloatArray, distance: FloatArray) -> None:
    """``-ln(B/X)`` at all points of a quadrature, from the boundary at the nodes."""
    size = basis.shape[1]
    for m in range(size):
        distance[m] = 0.0
    for j in range(b.size):
        row = basis[j]
        h = b[j] * b[j]
        for m in range(size):
            distance[m] += row[m] * h
    for m in range(size):
        distance[m] = math.sqrt(max(distance[m], 0.0))


@inlined_kernel
def standardise(v: float, r: float, q: float, grid: Grid, work: Work) -> None:
    """``d_+(s, B/B(u))`` at all quadrature points into ``work.plus``; the last n are ``d_+(tau, B)``."""
    b, n = work.boundary, work.boundary.size
    inner, size = grid.basis.shape[1], grid.root.size
    limit = log_limit(r, q)
    plus, here, distance = work.plus, work.here, work.distance
    root, inverse_root = grid.root, grid.inverse_root
    distances(b, grid.basis, distance)
    for k in range(inner, size):
        distance[k] = limit
    for k in range(0, size, n):
        for i in range(n):
            here[k + i] = b[i]
    per_v, drift = 1.0 / v, (r - q) / v + 0.5 * v
    for m in range(size):
        plus[m] = (distance[m] + here[m]) * inverse_root[m] * per_v + drift * root[m]


@fused_kernel
def iterate_boundary(v: float, r: float, q: float, grid: Grid, work: Work) -> None:
    """One step of the fixed-point iteration FP-A at all nodes; ``work.grown`` holds ``e^(q rest)``."""
    standardise(v, r, q, grid, work)
    size, root, rest = grid.root.size, grid.root, grid.rest
    plus, density, cdf, here, grown = work.plus, work.density, work.cdf, work.here, work.grown
    for m in range(size):
        bell = exponential(q * rest[m] - 0.5 * plus[m] * plus[m])
        tail = bell * tail_ratio(abs(plus[m]))
        cdf[m] = tail if plus[m] < 0.0 else grown[m] - tail
        density[m] = bell
    for m in range(size):
        minus = plus[m] - v * root[m]
        here[m] = exponential(r * rest[m] - 0.5 * minus * minus)
    weigh(v, r, q, grid, work)


@fused_kernel
def weigh(v: float, r: float, q: float, grid: Grid, work: Work) -> None:
    """Sum up the integrands that :func:`iterate_boundary` left in ``work``, and set the boundary."""
    b, n = work.boundary, work.boundary.size
    inner = grid.basis.shape[1]
    limit = log_limit(r, q)
    upper, lower = work.plus, work.distance
    here, density, cdf = work.here, work.density, work.cdf
    weight, weight_cdf = grid.weight, grid.weight_cdf
    for m in range(inner):
        here[m] *= weight[m]
    for m in range(inner):
        density[m] = weight[m] * density[m] + v * weight_cdf[m] * cdf[m]
    for i in range(n):
        upper[i] = 0.0
        lower[i] = 0.0
    for k in range(0, inner, n):
        for i in range(n):
            upper[i] += here[k + i]
        for i in range(n):
            lower[i] += density[k + i]
    for i in range(n):
        m = inner + i
        numerator = r * upper[i] + here[m]
        denominator = q * lower[i] + density[m] + v * weight_cdf[m] * cdf[m]
        moved = math.log(numerator / denominator) - (r - q) * grid.xi[i] * grid.xi[i] - limit
        b[i] = min(moved, 0.0)


@fused_kernel
def iterate_boundary_by_cdf(v: float, r: float, q: float, grid: Grid, work: Work) -> None:
    """One step of FP-B (eq. 40-42 there) at all nodes: as FP-A with the densities left out.

    Slower to converge where FP-A converges, but it still does where the drift outweighs the volatility.
    """
    standardise(v, r, q, grid, work)
    b, n = work.boundary, work.boundary.size
    inner, size = grid.basis.shape[1], grid.root.size
    limit, root, rest = log_limit(r, q), grid.root, grid.rest
    plus, minus, grown = work.plus, work.density, work.grown
    for m in range(size):
        d = plus[m] - v * root[m]
        still = exponential(r * rest[m])
        tail = still * exponential(-0.5 * d * d) * tail_ratio(abs(d))
        minus[m] = tail if d < 0.0 else still - tail
    for m in range(size):
        d = plus[m]
        tail = grown[m] * exponential(-0.5 * d * d) * tail_ratio(abs(d))
        plus[m] = tail if d < 0.0 else grown[m] - tail
    for i in range(n):
        upper, lower = 0.0, 0.0
        for k in range(i, inner, n):
            upper += grid.weight_cdf[k] * minus[k]
            lower += grid.weight_cdf[k] * plus[k]
        scale = 1.0 / grid.weight_cdf[inner + i]
        numerator = minus[inner + i] + r * scale * upper
        denominator = plus[inner + i] + q * scale * lower
        moved = math.log(numerator / denominator) - (r - q) * grid.xi[i] * grid.xi[i] - limit
        b[i] = min(moved, 0.0)


@fused_kernel
def solve_boundary(v: float, r: float, q: float, grid: Grid, work: Work) -> None:
    """The boundary at the grid's nodes, into ``work.boundary``."""
    guess_boundary(v, r, q, grid.xi, work.boundary)
    for _ in range(grid.steps):
        improve_by_qd_plus(v, r, q, grid.xi, work.boundary)
    rest, grown = grid.rest, work.grown
    for m in range(rest.size):
        grown[m] = exponential(q * rest[m])
    if abs(r - q) > _MOST_DRIFT * v:
        for _ in range(2 * grid.iterations):
            iterate_boundary_by_cdf(v, r, q, grid, work)
    else:
        for _ in range(grid.iterations):
            iterate_boundary(v, r, q, grid, work)


@fused_kernel
def premium(x: float, v: float, r: float, q: float, grid: Grid, work: Work) -> float:
    """Kim's integral with the boundary in ``work``."""
    size, root, inverse_root = grid.price_root.size, grid.price_root, grid.price_inverse
    plus, minus, distance = work.plus, work.here, work.distance
    distances(work.boundary, grid.price_basis, distance)
    above = x - log_limit(r, q)
    per_v, drift = 1.0 / v, (r - q) / v + 0.5 * v
    for m in range(size):
        plus[m] = (distance[m] + above) * inverse_root[m] * per_v + drift * root[m]
    for m in range(size):
        d = plus[m] - v * root[m]
        grown = exponential(-r * root[m] * root[m])
        tail = grown * exponential(-0.5 * d * d) * tail_ratio(abs(d))
        minus[m] = grown - tail if d < 0.0 else tail
    for m in range(size):
        d = plus[m]
        grown = exponential(-q * root[m] * root[m])
        tail = grown * exponential(-0.5 * d * d) * tail_ratio(abs(d))
        plus[m] = grown - tail if d < 0.0 else tail
    paid, held = 0.0, 0.0
    for m in range(size):
        paid += grid.price_weight[m] * minus[m]
        held += grid.price_weight[m] * plus[m]
    return r * paid - q * math.exp(x) * held


@fused_kernel
def premium_bound(x: float, v: float, r: float, q: float) -> float:
    """An upper bound of the premium of an out-of-the-money put.

    The boundary is nowhere above X, the yield only makes the premium smaller, and the chance to be
    below X at time s is greatest where ``d_-(s)`` is least.
    """
    above = (x - log_limit(r, q)) / v
    drift = (r - q) / v - 0.5 * v
    if above <= 0.0 or q < 0.0:
        return 1.0
    least = 2.0 * math.sqrt(above * drift) if drift > above else above + drift
    return (1.0 - math.exp(-r)) * normal_cdf(-least)
