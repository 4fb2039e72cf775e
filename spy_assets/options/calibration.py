r"""A day's volatility surface from the volatility indices that were published for it.

VIX is required; the other indices pin the term structure where they are given. The surface is
:class:`~spy_assets.options.ssvi.SsviSurface`, free of static arbitrage whatever the values, and its own
replication of each index (:mod:`spy_assets.options.replication`) equals the published one: to 1e-6
points, or it is reported as not met, with the reason. The only reason that there can be is that the
index implies less total variance than a shorter one, which no surface without calendar arbitrage
can do; VIX then stands, and among the others the one nearer to it in the list :data:`INDEX_DAYS`.

What the indices do not say is the smile. Its constants (:data:`EQUITY_SMILE`) were fitted to real SPY
chains, the way that :class:`SmileConstants` tells.

Missing data stays missing: without VIX there is no surface (:func:`missing_reason`), and nothing
stands in for an index that is not given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from spy_assets.errors import DataError
from spy_assets.options.replication import log_contract, log_contract_of_smile, strip_of_smile
from spy_assets.options.ssvi import (
    FloatArray,
    Smile,
    SsviShape,
    SsviSurface,
    ThetaTerm,
)

#: Calendar days that each index looks ahead (Cboe's methodologies), in the order in which they are
#: believed when two of them contradict each other.
INDEX_DAYS: Final[Mapping[str, float]] = {
    "VIX": 30.0,
    "VIX9D": 9.0,
    "VIX3M": 93.0,
    "VIX6M": 184.0,
    "VIX1D": 1.0,
}
#: Published index values lie between 3 and 300 points: VIX has closed between 9.14 and 82.69 since
#: 1990, VIX9D above 106. A VIX of 0.18 is a decimal passed by mistake.
MIN_POINTS, MAX_POINTS = 3.0, 300.0
#: A replication this near to the published index (points) meets it.
POINTS_TOLERANCE: Final = 1e-6

_YEAR_DAYS: Final = 365.0
_ITERATIONS: Final = 12
_SOLVED: Final = 1e-14


@dataclass(frozen=True, slots=True)
class SmileConstants:
    r"""The smile that goes with a level of VIX: SSVI's shape with the damping measured in time.

    Flat term structure or not, theta divided by VIX squared is about the time to expiry, so that the
    shape's theta0 is VIX squared times a time.

    Attributes
    ----------
    rho, eta, gamma, damping
        See :class:`~spy_assets.options.ssvi.SsviShape`.
    damping_days
        Days at which the damping is half spent.
    """

    rho: float
    eta: float
    gamma: float
    damping: float
    damping_days: float

    def shape(self, vix: float) -> SsviShape:
        """Return the shape on a day with this VIX (points)."""
        theta0 = (vix / 100.0) ** 2 * self.damping_days / _YEAR_DAYS
        return SsviShape.projected(self.rho, self.eta, self.gamma, self.damping, theta0)


#: Fitted by :func:`spy_assets.options.chain_calibration.fit_smile_constants` to seven SPY chains of the
#: Cboe after the close (2026-07-22 to 31 without the 23rd, which repeats the day before; bids from
#: $0.05, 1 to 740 days, 37,516 quotes), VIX from the chains themselves (14.9 to 19.5). Gamma and the
#: damping lie at the ends of what is free of arbitrage. Root mean square error in volatility points
#: within three standard deviations below and two above the money, with each expiry's own theta: 1.5
#: to 2 days, 1.0 to 4, 0.7 to 8, 0.5 to 15, then 0.3 to 0.4.
EQUITY_SMILE: Final = SmileConstants(
    rho=-0.6360, eta=1.1281, gamma=0.5, damping=0.5, damping_days=7.940
)


@dataclass(frozen=True, slots=True)
class StrikeList:
    """Strikes of which an index is to be replicated, instead of all there could be.

    The official sum (Cboe's methodology, eq. 1) over these strikes, all of them quoted at the surface's
    prices.
    """

    strikes: tuple[float, ...]
    forward: float

    def total_variance(self, smile: Smile) -> FloatArray:
        """Total variance that the strip of each smile is worth."""
        return strip_of_smile(smile, np.array(self.strikes), self.forward)


@dataclass(frozen=True, slots=True)
class IndexPin:
    """One index and what the surface says about it, in points.

    ``reason`` is None if it is met within :data:`POINTS_TOLERANCE`.
    """

    name: str
    days: float
    published: float
    replicated: float
    reason: str | None

    @property
    def error(self) -> float:
        """Replicated minus published."""
        return self.replicated - self.published


@dataclass(frozen=True, slots=True)
class IndexFit:
    """A surface and how it meets the indices that it was made of."""

    surface: SsviSurface
    pins: tuple[IndexPin, ...]

    @property
    def unmet(self) -> tuple[IndexPin, ...]:
        """Indices that no surface without arbitrage can give back beside the others."""
        return tuple(pin for pin in self.pins if pin.reason is not None)


def missing_reason(vix: float | None) -> str | None:
    """Why there is no surface on this VIX (points), or None if there is one."""
    if vix is None or math.isnan(vix):
        return "vix_missing"
    if not MIN_POINTS <= vix <= MAX_POINTS:
        return "vix_out_of_range"
    return None


def calibrate_to_indices(
    points: Mapping[str, float | None],
    *,
    smile: SmileConstants = EQUITY_SMILE,
    strikes: StrikeList | None = None,
) -> IndexFit:
    """Make the surface of a day.

    Behind the last pin the forward variance stays what it was between the last two, which has
    foretold VIX3M from VIX9D and VIX better (root mean square 2.15 points, 2011-2024) than VIX itself
    did (2.54). With VIX alone the volatility at the money is the same for all expiries.

    Parameters
    ----------
    points
        Published values by the names of :data:`INDEX_DAYS`, in points; None or NaN is missing, which
        is allowed for all but ``VIX``.
    smile
        Constants of the smile.
    strikes
        Replicate on these strikes with the official sum instead of on all strikes.

    Raises
    ------
    DataError
        If VIX is missing, an index is out of range (a decimal?) or its name is not known.
    """
    given = _given(points)
    shape = smile.shape(given["VIX"])
    chosen, refused = _consistent(given)
    replicate = log_contract_of_smile if strikes is None else strikes.total_variance
    years = np.array([INDEX_DAYS[name] for name in chosen]) / _YEAR_DAYS
    wanted = np.array([_total(name, given[name]) for name in chosen])
    theta = _solve_theta(wanted, shape, replicate)
    tail = np.diff(np.append(0.0, theta))[-1] / np.diff(np.append(0.0, years))[-1]
    term = ThetaTerm(tuple(years.tolist()), tuple(theta.tolist()), float(tail))
    surface = SsviSurface(shape, term)
    own = log_contract if strikes is None else strikes.total_variance
    pins = tuple(_pin(name, given[name], surface, own, refused.get(name)) for name in given)
    return IndexFit(surface, pins)


def _given(points: Mapping[str, float | None]) -> dict[str, float]:
    """Published values that are there, VIX first."""
    unknown = sorted(set(points) - set(INDEX_DAYS))
    if unknown:
        raise DataError(
            f"no volatility index is called {unknown[0]!r}", hint=f"known: {', '.join(INDEX_DAYS)}"
        )
    found: dict[str, float] = {}
    for name in INDEX_DAYS:
        value = points.get(name)
        reason = missing_reason(value)
        if reason == "vix_out_of_range" or (reason is not None and name == "VIX"):
            raise DataError(
                f"no volatility surface from {name} {value!r} (points)",
                hint="a missing VIX stays missing, and indices are given in points, not decimals",
            )
        if value is not None and reason is None:
            found[name] = float(value)
    return found


def _total(name: str, points: float) -> float:
    return (points / 100.0) ** 2 * INDEX_DAYS[name] / _YEAR_DAYS


def _consistent(given: Mapping[str, float]) -> tuple[list[str], dict[str, str]]:
    """Names whose total variance rises with time, in order of time; and why the others do not fit."""
    chosen: list[str] = []
    refused: dict[str, str] = {}
    for name in given:
        for other in chosen:
            later, sooner = (name, other) if INDEX_DAYS[name] > INDEX_DAYS[other] else (other, name)
            if not _total(later, given[later]) > _total(sooner, given[sooner]):
                refused[name] = (
                    f"{later} {given[later]:g} implies no more variance in all than {sooner} "
                    f"{given[sooner]:g}: calendar arbitrage"
                )
        if name not in refused:
            chosen.append(name)
    return sorted(chosen, key=INDEX_DAYS.__getitem__), refused


def _solve_theta(
    wanted: FloatArray, shape: SsviShape, replicate: Callable[[Smile], FloatArray]
) -> FloatArray:
    """Total variances at the money whose smiles replicate ``wanted``.

    The replicated variance grows with theta, because smiles of larger theta are worth more at every
    strike. In logarithms the two are nearly proportional, so that the secant method needs a handful
    of steps.
    """
    aim = np.log(wanted)

    def miss(x: FloatArray) -> FloatArray:
        return np.asarray(np.log(replicate(shape.smile(np.exp(x)))) - aim, dtype=np.float64)

    x0, x1 = aim - 0.3, aim - 0.4
    f0, f1 = miss(x0), miss(x1)
    best, least = x1, np.abs(f1)
    for _ in range(_ITERATIONS):
        moving = (np.abs(f1) > _SOLVED) & (f1 != f0)
        if not np.any(moving):
            break
        slope = np.where(moving, (f1 - f0) / np.where(moving, x1 - x0, 1.0), 1.0)
        x2 = np.where(moving, x1 - np.clip(f1 / slope, -1.0, 1.0), x1)
        x0, f0, x1, f1 = x1, f1, x2, miss(x2)
        better = np.abs(f1) < least
        best, least = np.where(better, x1, best), np.where(better, np.abs(f1), least)
    return np.asarray(np.exp(best), dtype=np.float64)


def _pin(
    name: str,
    published: float,
    surface: SsviSurface,
    replicate: Callable[[Smile], FloatArray],
    refused: str | None,
) -> IndexPin:
    days = INDEX_DAYS[name]
    years = days / _YEAR_DAYS
    replicated = 100.0 * math.sqrt(float(replicate(surface.smile(years))) / years)
    reason = refused
    if reason is None and not abs(replicated - published) <= POINTS_TOLERANCE:
        reason = f"replicated only to {replicated - published:.3g} points"
    return IndexPin(name, days, published, replicated, reason)
