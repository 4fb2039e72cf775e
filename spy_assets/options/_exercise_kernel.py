r"""Compiled tables of the early-exercise premium; :mod:`spy_assets.options.exercise` explains them.

With :math:`x = \ln(F/K)`, time to expiry :math:`\tau` and ``u`` the value in strikes, undiscounted,
:math:`u = e^{x/2} v` turns the pricing equation into
:math:`v_\tau = \sigma^2 (v_{xx} / 2 - v / 8)`, which is the same for :math:`-x`: with :math:`y = x` for
a put and :math:`-x` for a call, exercise at :math:`\tau` pays
:math:`v = g (a e^{-y/2} - c e^{y/2})`, ``g`` what the discount takes off, and is due at low ``y``. That
is all that calls, puts, rates and dividends are here.

TR-BDF2 (Bank et al. 1985) in time, second order in space; the inequality by the substitution of Brennan
and Schwartz (1977), which is exact where one side is exercised.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options.compiled import fused_kernel, inlined_kernel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Columns of what is solved together; the third is held to expiry.
PUT, CALL, _HELD = 0, 1, 2

_GAMMA = 2.0 - math.sqrt(2.0)
_STAGE = 0.5 * _GAMMA
_MIDDLE = 1.0 / (_GAMMA * (2.0 - _GAMMA))
_BEFORE = (1.0 - _GAMMA) ** 2 / (_GAMMA * (2.0 - _GAMMA))


class Levels(NamedTuple):
    """Moments of the terms, those of a term together.

    The moment before an ex-date and the one after it have the same ``tau``.
    """

    first: IntArray
    """(terms + 1,) where each begins."""
    tau: FloatArray
    """Years to expiry, ascending from 0."""
    received: FloatArray
    """(2, moments) ``g a`` of puts and of calls: what exercise receives, per ``e^(-y/2)``."""
    given: FloatArray
    """(2, moments) ``g c``: what it gives up, per ``e^(y/2)``."""


class Tables(NamedTuple):
    """Premiums at the nodes of y, one row for each volatility node of each term."""

    first: IntArray
    """(terms + 1,) which rows are a term's."""
    sigma: FloatArray
    """Ascending within a term, evenly in the logarithm."""
    width: FloatArray
    """Distance of the nodes of y; 0 is the middle node."""
    premium: FloatArray
    """(2, rows, nodes) of puts and of calls: in strikes, undiscounted."""


@inlined_kernel
def pay(y: FloatArray, received: FloatArray, given: FloatArray, k: int, out: FloatArray) -> None:
    """What exercise at moment ``k`` pays at the nodes, ``y`` holding ``e^(-y/2)``."""
    for i in range(y.size):
        out[i, PUT] = received[PUT, k] * y[i] - given[PUT, k] / y[i]
        out[i, CALL] = received[CALL, k] * y[i] - given[CALL, k] / y[i]


@inlined_kernel
def move_floor(
    y: FloatArray,
    received: FloatArray,
    given: FloatArray,
    k: int,
    halfway: FloatArray,
    floor: FloatArray,
) -> None:
    """``floor`` from moment ``k - 1`` to ``k``, and what it is at the end of the first stage between."""
    for i in range(y.size):
        for j in range(2):
            halfway[i, j] = (1.0 - _GAMMA) * floor[i, j]
    pay(y, received, given, k, floor)
    for i in range(y.size):
        for j in range(2):
            halfway[i, j] += _GAMMA * floor[i, j]


@inlined_kernel
def substitute(
    off: float, floor: FloatArray, pivot: FloatArray, target: FloatArray, out: FloatArray
) -> None:
    """Solve a stage from the exercised end, each node at least ``floor``; ``target`` is used up.

    The ends of ``out`` are given. Three solutions side by side keep the processor busy.
    """
    n = out.shape[0]
    for j in range(3):
        target[n - 2, j] += off * out[n - 1, j]
    for i in range(n - 3, 0, -1):
        factor = off * pivot[i + 1]
        for j in range(3):
            target[i, j] += factor * target[i + 1, j]
    for i in range(1, n - 1):
        for j in range(3):
            out[i, j] = max((target[i, j] + off * out[i - 1, j]) * pivot[i], floor[i, j])


@inlined_kernel
def step_back(
    dw: float,
    width: float,
    value: FloatArray,
    halfway: FloatArray,
    floor: FloatArray,
    middle: FloatArray,
    pivot: FloatArray,
    target: FloatArray,
) -> None:
    """``value`` one step of variance ``dw`` earlier, nowhere below ``floor``; its ends are kept.

    ``halfway`` is the floor of the first of its two stages.
    """
    n = value.shape[0]
    half = _STAGE * dw
    off = 0.5 * half / (width * width)
    at = 1.0 + 2.0 * off + 0.125 * half
    pivot[n - 2] = 1.0 / at
    for i in range(n - 3, 0, -1):
        pivot[i] = 1.0 / (at - off * off * pivot[i + 1])
    keep = 2.0 - at
    for i in range(1, n - 1):
        for j in range(3):
            target[i, j] = keep * value[i, j] + off * (value[i - 1, j] + value[i + 1, j])
    for j in range(3):
        middle[0, j], middle[n - 1, j] = value[0, j], value[n - 1, j]
    substitute(off, halfway, pivot, target, middle)
    for i in range(1, n - 1):
        for j in range(3):
            target[i, j] = _MIDDLE * middle[i, j] - _BEFORE * value[i, j]
    substitute(off, floor, pivot, target, value)


@fused_kernel
def fill_table(
    sigma: float,
    width: float,
    tau: FloatArray,
    received: FloatArray,
    given: FloatArray,
    premium: FloatArray,
) -> None:
    """The premium of a term's last moment at the nodes of y, of puts and calls.

    Held to expiry both are worth the same in ``v`` and ``y``; that value, on the same grid, is what the
    premium is counted from, so that the grid's errors cancel.
    """
    n = premium.shape[1]
    floor, halfway = np.full((n, 3), -np.inf), np.full((n, 3), -np.inf)
    value, middle, target = np.empty((n, 3)), np.empty((n, 3)), np.empty((n, 3))
    y, pivot = np.empty(n), np.empty(n)
    for i in range(n):
        y[i] = math.exp(-0.5 * (i - n // 2) * width)
    pay(y, received, given, 0, floor)
    for i in range(n):
        for j in range(3):
            value[i, j] = max(floor[i, min(j, CALL)], 0.0)
    for k in range(1, tau.size):
        move_floor(y, received, given, k, halfway, floor)
        dw = sigma * sigma * (tau[k] - tau[k - 1])
        for i in range(1 if dw > 0.0 else n):
            for j in range(2):
                value[i, j] = max(value[i, j], floor[i, j])
        if dw > 0.0:
            step_back(dw, width, value, halfway, floor, middle, pivot, target)
    for i in range(n):
        # u = e^(x/2) v, and x is y of a put, -y of a call.
        premium[PUT, i] = (value[i, PUT] - value[i, _HELD]) / y[i]
        premium[CALL, i] = (value[i, CALL] - value[i, _HELD]) * y[i]


@fused_kernel
def fill_all(levels: Levels, tables: Tables) -> None:
    """Fill ``tables.premium``."""
    for b in range(levels.first.size - 1):
        start, end = levels.first[b], levels.first[b + 1]
        for t in range(tables.first[b], tables.first[b + 1]):
            fill_table(
                tables.sigma[t],
                tables.width[t],
                levels.tau[start:end],
                levels.received[:, start:end],
                levels.given[:, start:end],
                tables.premium[:, t, :],
            )


@fused_kernel
def certain(
    y: float, is_call: bool, received: FloatArray, given: FloatArray
) -> tuple[float, float, float]:
    """Premium and its two slopes in y where exercise is certain: it happens when it pays best."""
    receives, gives = (math.exp(-y), 1.0) if is_call else (1.0, math.exp(y))
    best, first, second = 0.0, 0.0, 0.0
    for k in range(1, received.size):
        more = (received[k] - received[0]) * receives
        less = (given[k] - given[0]) * gives
        if more - less > best:
            best = more - less
            first, second = (-more, more) if is_call else (-less, -less)
    return best, first, second


@fused_kernel
def cubic(p: FloatArray, s: float) -> tuple[float, float, float]:
    """Value and slopes at ``s`` of the cubic through the four nodes around it, 1 apart."""
    i = min(max(int(s) - 1, 0), p.size - 4)
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    t = s - i
    ab, bc, cd = b - a, c - b, d - c
    second, third = 0.5 * (bc - ab), (cd - 2.0 * bc + ab) / 6.0
    value = a + t * (ab + (t - 1.0) * (second + (t - 2.0) * third))
    slope = ab + second * (2.0 * t - 1.0) + third * (3.0 * t * t - 6.0 * t + 2.0)
    return value, slope, 2.0 * second + third * (6.0 * t - 6.0)


@fused_kernel
def read_all(
    term: IntArray,
    y: FloatArray,
    sigma: FloatArray,
    is_call: npt.NDArray[np.bool_],
    levels: Levels,
    tables: Tables,
    out: FloatArray,
) -> None:
    """Premium, its two slopes in y and that in sigma into the rows of ``out`` (4, contracts).

    Cubic in the standard deviations from the money, where the boundary hardly moves with sigma, and
    in sigma's logarithm.
    """
    middle = tables.premium.shape[2] // 2
    weight, bend = np.empty(4), np.empty(4)
    for c in range(term.size):
        b, right = term[c], int(is_call[c])
        first, last = tables.first[b], tables.first[b + 1]
        ratio = math.log(tables.sigma[first + 1] / tables.sigma[first])
        s = math.log(max(sigma[c], 1e-12) / tables.sigma[first]) / ratio
        s = min(max(s, 0.0), last - first - 1.0)
        base = min(max(int(s) - 1, 0), last - first - 4)
        width = tables.width[first] / tables.sigma[first] * sigma[c]
        z = y[c] / width + middle
        out[:, c] = 0.0
        if z < 1.0:
            start, end = levels.first[b], levels.first[b + 1]
            received, given = levels.received[right, start:end], levels.given[right, start:end]
            out[0, c], out[1, c], out[2, c] = certain(y[c], is_call[c], received, given)
        elif z <= 2.0 * middle - 1.0:
            lagrange(s - base, weight, bend)
            for j in range(4):
                value, slope, curve = cubic(tables.premium[right, first + base + j], z)
                out[0, c] += weight[j] * value
                out[1, c] += weight[j] * slope / width
                out[2, c] += weight[j] * curve / (width * width)
                out[3, c] += bend[j] * value / (ratio * sigma[c])
            # The nodes are read at as many standard deviations from the money, not at the same y.
            out[3, c] -= out[1, c] * y[c] / sigma[c]


@fused_kernel
def lagrange(s: float, weight: FloatArray, bend: FloatArray) -> None:
    """Weights of four nodes at 0, 1, 2, 3 for the value and the slope at ``s``."""
    a, b, c, d = s, s - 1.0, s - 2.0, s - 3.0
    weight[0], bend[0] = -b * c * d / 6.0, -(c * d + b * d + b * c) / 6.0
    weight[1], bend[1] = a * c * d / 2.0, (c * d + a * d + a * c) / 2.0
    weight[2], bend[2] = -a * b * d / 2.0, -(b * d + a * d + a * b) / 2.0
    weight[3], bend[3] = a * b * c / 6.0, (b * c + a * c + a * b) / 6.0
