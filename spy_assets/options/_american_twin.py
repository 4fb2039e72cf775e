r"""The American put in plain NumPy: what the kernels compute, as the papers write it.

Strike and life are 1, as in ``_american_kernel``; the boundary ``B(tau)`` is kept as ``ln(B/X)`` at
the grid's nodes. Nothing here is fast; the tests hold the kernels to it.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from spy_assets.options._american_grid import FloatArray, Grid


def density(x: FloatArray) -> FloatArray:
    """Of the standard normal."""
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi))


def d_plus(log_ratio: FloatArray, root: FloatArray, v: float, drift: float) -> FloatArray:
    """``(ln(S/B) + drift s) / (v sqrt(s)) + v sqrt(s) / 2`` with ``root`` the square root of s."""
    return np.asarray((log_ratio + drift * root**2) / (v * root) + 0.5 * v * root)


def step_of_boundary(
    b: FloatArray, v: float, r: float, q: float, grid: Grid, *, densities: bool
) -> FloatArray:
    """One fixed-point step ``B <- e^(-(r-q) tau) N / D``: FP-A with ``densities``, else FP-B."""
    n, limit = grid.xi.size, min(0.0, math.log(r / q)) if q > 0.0 else 0.0
    tau = grid.xi**2
    # Quadrature points in rows, nodes in columns.
    s_root = grid.root[:-n].reshape(-1, n)
    rest = grid.rest[:-n].reshape(-1, n)
    weight = grid.weight_cdf[:-n].reshape(-1, n) / (math.sqrt(2.0 * math.pi) * grid.xi)
    log_there = -np.sqrt(np.maximum(grid.basis.T @ b**2, 0.0)).reshape(-1, n)
    plus = d_plus(b - log_there, s_root, v, r - q)
    plus_end = d_plus(b + limit, grid.xi, v, r - q)
    minus, minus_end = plus - v * s_root, plus_end - v * grid.xi
    stay, held = np.exp(r * rest), np.exp(q * rest)
    lower = ndtr(plus_end) + q * (weight * held * ndtr(plus)).sum(axis=0)
    if densities:
        upper = density(minus_end) / (v * grid.xi)
        upper = upper + r * (weight * stay * density(minus) / (v * s_root)).sum(axis=0)
        lower = lower + density(plus_end) / (v * grid.xi)
        lower = lower + q * (weight * held * density(plus) / (v * s_root)).sum(axis=0)
    else:
        upper = ndtr(minus_end) + r * (weight * stay * ndtr(minus)).sum(axis=0)
    return np.asarray(np.minimum(np.log(upper / lower) - (r - q) * tau - limit, 0.0))


def premium(x: float, b: FloatArray, v: float, r: float, q: float, grid: Grid) -> float:
    """Kim's integral of the early-exercise premium at ``x = ln(S)``."""
    limit = min(0.0, math.log(r / q)) if q > 0.0 else 0.0
    root = grid.price_root
    log_there = -np.sqrt(np.maximum(grid.price_basis.T @ b**2, 0.0))
    plus = d_plus(x - limit - log_there, root, v, r - q)
    flow = r * np.exp(-r * root**2) * ndtr(v * root - plus)
    flow -= q * np.exp(x - q * root**2) * ndtr(-plus)
    return float((grid.price_weight * flow).sum())


def put(
    spot: float,
    strike: float,
    years: float,
    rate: float,
    dividend_yield: float,
    volatility: float,
    grid: Grid,
    iterations: int = 40,
) -> float:
    """Price of a put with ``rate > 0`` from a flat first boundary, by so many iterations."""
    x, v = math.log(spot / strike), volatility * math.sqrt(years)
    r, q = rate * years, dividend_yield * years
    b = -v * grid.xi
    for k in range(iterations):
        # FP-B first: it converges from anywhere.
        densities = k >= iterations // 2 and abs(r - q) <= 0.5 * v
        b = step_of_boundary(b, v, r, q, grid, densities=densities)
    if x <= b[0] + (min(0.0, math.log(r / q)) if q > 0.0 else 0.0):
        return strike - spot
    plus = float(d_plus(np.array(x), np.array(1.0), v, r - q))
    european = math.exp(-r) * ndtr(v - plus) - math.exp(x - q) * ndtr(-plus)
    return strike * float(european + premium(x, b, v, r, q, grid))
