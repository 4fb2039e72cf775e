r"""Where the American pricer looks at the exercise boundary: nodes, weights and interpolation matrices.

Time is measured in units of the option's own life, so that one grid serves every contract. The
boundary is kept at ``nodes`` times :math:`\tau_i = \xi_i^2`, :math:`\xi_i = (1 + \cos(i \pi / n)) / 2`
(Chebyshev's extrema in the square root of time); at :math:`\tau = 0` it is known. Between them
:math:`H = \ln^2(B / X)` is the polynomial through the nodes, as Andersen, Lake and Offengenden (2016)
advise. An integral over :math:`s \in [0, \tau_i]` is taken with Gauss-Legendre points in
:math:`\sqrt{s}`: then the points are fixed fractions of life, and interpolation there is a product with
a matrix that is made once.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_ROOT_2PI = math.sqrt(2.0 * math.pi)
BOUNDARY_POWER, PRICE_POWER = 1, 2


class Grid(NamedTuple):
    """Constants of one choice of ``nodes`` (n), ``points`` (l) and ``price_points`` (p).

    The boundary equation's arrays are flat: entry ``k * n + i`` is quadrature point k of node i; the
    last n entries stand for the terms outside of the integrals.
    """

    xi: FloatArray
    """(n,) square roots of the nodes' times, 1 first."""
    root: FloatArray
    """(l n + n,) square root of the time s since the boundary is looked at."""
    inverse_root: FloatArray
    rest: FloatArray
    """(l n + n,) ``tau_i - s``, 0 for the last n."""
    basis: FloatArray
    """(n, l n) H at the quadrature points per H at each node."""
    weight: FloatArray
    """(l n + n,) weights of the densities."""
    weight_cdf: FloatArray
    """(l n + n,) weights of the distribution functions."""
    price_root: FloatArray
    """(p,) as ``root``, for the integral of the premium over the whole life."""
    price_inverse: FloatArray
    price_basis: FloatArray
    """(n, p)"""
    price_weight: FloatArray
    steps: int
    """Newton steps on Li's equation (QD+) before the iteration."""
    iterations: int
    """Fixed-point iterations."""
    negligible: float
    """A premium that is provably below this times the strike is taken as 0."""


def interpolation(at: FloatArray, nodes: int) -> FloatArray:
    """(len(at), nodes) values of Lagrange's polynomials of all but the last extremum, -1.

    There H is 0. Barycentric formula, Berrut and Trefethen (2004), eq. 4.2 and 5.4.
    """
    extrema = np.cos(np.pi * np.arange(nodes + 1) / nodes)
    sign = np.where(np.arange(nodes + 1) % 2 == 0, 1.0, -1.0)
    sign[[0, -1]] /= 2.0
    away = at[:, None] - extrema[None, :]
    hit: npt.NDArray[np.bool_] = np.less(np.abs(away), 1e-15)
    share = sign / np.where(hit, 1.0, away)
    matrix = np.where(
        np.any(hit, axis=1, keepdims=True),
        hit.astype(np.float64),
        share / share.sum(axis=1, keepdims=True),
    )
    return np.ascontiguousarray(matrix[:, :nodes])


def points_in_root_time(points: int, power: int) -> tuple[FloatArray, FloatArray]:
    r"""Points and weights on [0, 1] for an integral over :math:`\sqrt{s}`, :math:`s \in [0, 1]`.

    Gauss-Legendre in :math:`\theta`, :math:`\sqrt{s} = \sin(\pi/2\,\theta^{power})`. Then
    :math:`\sqrt{1-s}` is smooth too, in which the boundary is: without that the error falls only with a
    power of ``points``. A ``power`` of 2 gathers points at 0, where the integrand of an option near its
    boundary is a step.
    """
    x, w = np.polynomial.legendre.leggauss(points)
    y = (1.0 + x) / 2.0
    angle = 0.5 * math.pi * y**power
    stretch = 0.5 * math.pi * power * y ** (power - 1)
    return np.sin(angle), 0.5 * w * np.cos(angle) * stretch


@functools.cache
def make_grid(
    nodes: int, points: int, price_points: int, steps: int, iterations: int, negligible: float
) -> Grid:
    """The grid of a preset; made once per process."""
    xi = (1.0 + np.cos(np.pi * np.arange(nodes) / nodes)) / 2.0
    point, step = (x[:, None] for x in points_in_root_time(points, BOUNDARY_POWER))
    root = np.vstack([point * xi, xi])
    then = np.sqrt(1.0 - point**2) * xi
    one = np.ones((1, nodes))
    weight = np.vstack([2.0 * step * xi**2, one])
    weight_cdf = _ROOT_2PI * np.vstack([2.0 * step * point * xi**3, one * xi])
    price_root, price_weight = points_in_root_time(price_points, PRICE_POWER)
    price_then = np.sqrt(1.0 - price_root**2)
    return Grid(
        xi=xi,
        root=root.ravel(),
        inverse_root=1.0 / root.ravel(),
        rest=np.vstack([xi**2 - root[:-1] ** 2, 0.0 * one]).ravel(),
        basis=np.ascontiguousarray(interpolation(2.0 * then.ravel() - 1.0, nodes).T),
        weight=weight.ravel(),
        weight_cdf=weight_cdf.ravel(),
        price_root=price_root,
        price_inverse=1.0 / price_root,
        price_basis=np.ascontiguousarray(interpolation(2.0 * price_then - 1.0, nodes).T),
        price_weight=2.0 * price_weight * price_root,
        steps=steps,
        iterations=iterations,
        negligible=negligible,
    )
