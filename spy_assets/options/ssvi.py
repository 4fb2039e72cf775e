r"""Volatility surfaces without static arbitrage: SSVI and its extension by expiry.

In log-moneyness against the forward, :math:`k = \ln(K/F_T)`, a smile of total implied variance
:math:`w = \sigma^2 T` has three parameters (Gatheral and Jacquier 2014, "Arbitrage-free SVI
volatility surfaces", eq. 4.1):

.. math::

    w(k) = \frac{\theta}{2} \left( 1 + \rho \varphi k
           + \sqrt{(\varphi k + \rho)^2 + 1 - \rho^2} \right), \qquad \psi = \theta \varphi

:math:`\theta` is the total variance at the money, :math:`\rho` leans the smile, :math:`\psi` bends
it. :class:`SsviSurface` makes :math:`\varphi` a function of :math:`\theta` with one
:math:`\rho`; :class:`EssviSurface` has its own :math:`(\theta, \rho, \psi)` at each expiry (Hendriks
and Martini 2019, "The extended SSVI volatility surface").

No arbitrage, in the coordinates that make it simple
----------------------------------------------------
With the wings' slopes :math:`a_\pm = \psi (1 \pm \rho)`, a sequence of smiles has neither butterflies
nor calendars to give away if

* :math:`a_+` and :math:`a_-` do not fall with expiry (Hendriks and Martini 2019, prop. 3.1),
* :math:`\varphi` does not rise with expiry (same place; then :math:`\theta = \psi/\varphi` does not
  fall either),
* :math:`\max(a_+, a_-) < 4` and :math:`\varphi \max(a_+, a_-) \le 4` (Gatheral and Jacquier 2014,
  theorem 4.2: :math:`\theta\varphi(1+|\rho|) < 4` and :math:`\theta\varphi^2(1+|\rho|) \le 4`).

So the set is: two rising sequences, one falling one, and a cap on each. :func:`project` maps any
parameters onto it. Between two such smiles all of :math:`\theta, a_+, a_-` are interpolated linearly
in time. That stays inside: the slopes rise, :math:`\varphi = \psi/\theta` is monotone as a quotient of
linear functions, and :math:`\psi a_\pm - 4\theta` is convex along the way, because :math:`\psi` and
:math:`a_\pm` rise together, so that it is nowhere above the larger of its ends, which are not positive
(the interpolation of Corbetta, Cohort, Laachir and Martini 2019).

The conditions are sufficient. What traders would check is checked as well, on what comes out:
:func:`durrleman` on the smile, and :mod:`spy_assets.options.surface_checks` on prices.

Units: ``years`` ACT/365, volatilities as decimals. Everything broadcasts and gives float64.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError

FloatArray = npt.NDArray[np.float64]

#: |rho| beyond this makes one wing flat to the last bit; the derivatives then lose their meaning.
MAX_RHO = 0.999
#: Slope of a wing, strictly below the 4 of Gatheral and Jacquier's first condition.
MAX_WING = 4.0 * (1.0 - 1e-9)
#: phi times the slope of a wing: their second condition, a rounding error inside.
MAX_CURVATURE = 4.0 * (1.0 - 1e-12)


class Smile(NamedTuple):
    """Parameters of smiles, one per expiry asked for, of one shape."""

    theta: FloatArray
    rho: FloatArray
    psi: FloatArray


class Layer(NamedTuple):
    """A part of a surface's prices: its weight, and the smiles at the times asked for."""

    share: float
    smile: Smile


class Surface(Protocol):
    """What the checks, the replication and the pictures ask of a surface.

    Its price is the weighted sum of its layers' prices; the weights add to 1 and do not depend on time.
    """

    def layers(self, years: npt.ArrayLike) -> tuple[Layer, ...]:
        """Weights and smiles at these times."""
        ...

    def total_variance(self, k: npt.ArrayLike, years: npt.ArrayLike) -> FloatArray:
        """Total implied variance at log-moneyness ``k = ln(K/F)``; arguments broadcast."""
        ...

    def iv(self, k: npt.ArrayLike, years: npt.ArrayLike) -> FloatArray:
        """Implied volatility as a decimal at log-moneyness ``k``; arguments broadcast."""
        ...


def _wings(smile: Smile) -> tuple[FloatArray, FloatArray]:
    return smile.psi * (1.0 + smile.rho), smile.psi * (1.0 - smile.rho)


def total_variance(k: npt.ArrayLike, smile: Smile) -> FloatArray:
    """Total implied variance w(k); ``k`` broadcasts against the smile's parameters.

    >>> smile = Smile(np.array(0.04), np.array(-0.6), np.array(0.2))
    >>> float(total_variance(0.0, smile))
    0.04
    """
    u, root = _hyperbola(k, smile)
    return np.asarray(0.5 * smile.theta * (1.0 + smile.rho * u + root), dtype=np.float64)


def _hyperbola(k: npt.ArrayLike, smile: Smile) -> tuple[FloatArray, FloatArray]:
    """Return u = phi k and the root; hypot neither overflows nor cancels in the wings."""
    u = np.asarray(k, dtype=np.float64) * (smile.psi / smile.theta)
    return u, np.hypot(u + smile.rho, np.sqrt((1.0 - smile.rho) * (1.0 + smile.rho)))


def durrleman(k: npt.ArrayLike, smile: Smile) -> FloatArray:
    r"""Durrleman's g, whose sign is that of the risk-neutral density at k.

    .. math:: g = \left(1 - \frac{k w'}{2 w}\right)^2
              - \frac{w'^2}{4} \left(\frac{1}{w} + \frac14\right) + \frac{w''}{2}

    Gatheral and Jacquier 2014, eq. 2.1. A butterfly costs less than nothing where g < 0.
    """
    x = np.asarray(k, dtype=np.float64)
    u, root = _hyperbola(x, smile)
    w = 0.5 * smile.theta * (1.0 + smile.rho * u + root)
    slope = 0.5 * smile.psi * (smile.rho + (u + smile.rho) / root)
    bend = 0.5 * smile.psi**2 / smile.theta * (1.0 - smile.rho**2) / root**3
    return np.asarray(
        (1.0 - 0.5 * x * slope / w) ** 2 - 0.25 * slope**2 * (1.0 / w + 0.25) + 0.5 * bend,
        dtype=np.float64,
    )


def project(theta: npt.ArrayLike, rho: npt.ArrayLike, psi: npt.ArrayLike) -> Smile:
    """Map smiles, in order of expiry, onto the set without static arbitrage.

    Wings too steep for their theta are flattened; then theta and both wings are made to rise by
    running maxima, and theta is lifted where phi would still rise. What fulfils the conditions comes
    back as it was, to rounding.

    Raises
    ------
    DataError
        If a parameter is not finite, or theta or psi is not positive.
    """
    t, r, p = (np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (theta, rho, psi))
    bad = ~(np.isfinite(t) & np.isfinite(r) & np.isfinite(p) & (t > 0.0) & (p > 0.0))
    if np.any(bad):
        worst = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"no smile has theta={float(t[worst])!r}, rho={float(r[worst])!r}, "
            f"psi={float(p[worst])!r}",
            hint="theta and psi are positive, and all three finite",
        )
    r = np.clip(r, -MAX_RHO, MAX_RHO)
    t, steepest = np.maximum.accumulate(t), p * (1.0 + np.abs(r))
    p = p * np.minimum(1.0, np.minimum(MAX_WING / steepest, np.sqrt(4.0 * t / (p * steepest))))
    up, down = np.maximum.accumulate(p * (1.0 + r)), np.maximum.accumulate(p * (1.0 - r))
    return from_wings(up, down, 0.5 * (up + down) / t)


def from_wings(up: FloatArray, down: FloatArray, phi: FloatArray) -> Smile:
    """Smiles from raw wing slopes and phi (first axis: expiry), made arbitrage-free on the way."""
    up = np.minimum(np.maximum.accumulate(up), MAX_WING)
    down = np.minimum(np.maximum.accumulate(down), MAX_WING)
    phi = np.minimum(np.minimum.accumulate(phi), MAX_CURVATURE / np.maximum(up, down))
    psi = 0.5 * (up + down)
    return Smile(psi / phi, (up - down) / (up + down), psi)


def broken_conditions(smile: Smile, *, tolerance: float = 1e-9) -> list[str]:
    """Name the conditions that smiles in order of expiry break by more than a relative tolerance."""
    up, down = _wings(smile)
    phi, wing = smile.psi / smile.theta, np.maximum(up, down)
    over = 1.0 + tolerance
    found = {
        "butterfly: theta phi (1 + |rho|) >= 4": np.any(wing >= 4.0),
        "butterfly: theta phi^2 (1 + |rho|) > 4": np.any(phi * wing > 4.0 * over),
        "calendar: theta falls": np.any(np.diff(smile.theta) < -tolerance * smile.theta[1:]),
        "calendar: the upper wing falls": np.any(up[1:] * over < up[:-1]),
        "calendar: the lower wing falls": np.any(down[1:] * over < down[:-1]),
        "calendar: phi rises": np.any(phi[1:] > phi[:-1] * over),
    }
    return [name for name, broken in found.items() if broken]


def check_years(years: npt.ArrayLike) -> FloatArray:
    """Times as an array.

    Raises
    ------
    DataError
        If one is not positive and finite.
    """
    t = np.asarray(years, dtype=np.float64)
    bad = ~(np.isfinite(t) & (t > 0.0))
    if np.any(bad):
        raise DataError(
            f"no volatility at {float(t[bad].flat[0])!r} years to expiry",
            hint="years are positive; an option at expiry is worth its intrinsic value",
        )
    return t


@dataclass(frozen=True, slots=True)
class SsviShape:
    r"""One rho and the function phi(theta): the power law, damped at short expiries.

    .. math::

        \varphi(\theta) = \eta \, \theta^{-\gamma} (1 + \theta)^{\gamma - 1}
                          \left(\frac{\theta}{\theta + \theta_0}\right)^{p}

    Without damping (p = 0) this is the power law of Gatheral and Jacquier 2014, eq. 4.5. The damped
    factor says that the smile in standard deviations is flatter over days than over months, which a
    power of theta alone can say only by letting it steepen for ever.

    It is free of static arbitrage for **all** theta > 0 if

    * :math:`0 \le \gamma \le 1/2` and :math:`0 \le p \le \gamma`: then
      :math:`d\ln(\theta\varphi)/d\ln\theta = (1-\gamma)/(1+\theta) + p\,\theta_0/(\theta+\theta_0)`
      lies in (0, 1], below the bound :math:`(1+\sqrt{1-\rho^2})/\rho^2 > 1` (their theorem 4.1),
    * :math:`\eta (1+|\rho|) < 4` and :math:`\eta^2 c(\gamma) (1+|\rho|) \le 4` with
      :math:`c = (1-2\gamma)^{1-2\gamma} / (2-2\gamma)^{2-2\gamma}`, the largest value of
      :math:`\theta\varphi^2/\eta^2` (at :math:`\theta = 1-2\gamma`).

    Attributes
    ----------
    rho, eta, gamma
        As above.
    damping
        p.
    theta0
        Total variance at which the damping is half spent (in the power p); 0 turns it off.
    """

    rho: float
    eta: float
    gamma: float = 0.5
    damping: float = 0.0
    theta0: float = 0.0

    @classmethod
    def projected(
        cls,
        rho: float,
        eta: float,
        gamma: float = 0.5,
        damping: float = 0.0,
        theta0: float = 0.0,
    ) -> Self:
        """Make the nearest shape that fulfils the conditions, each parameter clipped in turn.

        Raises
        ------
        DataError
            If a parameter is not finite or eta is not positive.
        """
        given = (rho, eta, gamma, damping, theta0)
        if not all(map(math.isfinite, given)) or eta <= 0.0:
            raise DataError(
                f"no smile has rho={rho!r}, eta={eta!r}, gamma={gamma!r}, damping={damping!r}, "
                f"theta0={theta0!r}",
                hint="all are finite, and eta is positive",
            )
        rho = min(max(rho, -MAX_RHO), MAX_RHO)
        gamma = min(max(gamma, 0.0), 0.5)
        damping = min(max(damping, 0.0), gamma)
        return cls(rho, min(eta, max_eta(rho, gamma)), gamma, damping, max(theta0, 0.0))

    def broken_conditions(self) -> list[str]:
        """Name what keeps this shape from being free of arbitrage; empty if nothing does."""
        found = {
            "rho outside (-1, 1)": not abs(self.rho) < 1.0,
            "gamma outside [0, 1/2]": not 0.0 <= self.gamma <= 0.5,
            "damping outside [0, gamma]": not 0.0 <= self.damping <= self.gamma,
            "theta0 below 0": self.theta0 < 0.0,
            "eta outside (0, max_eta]": not 0.0 < self.eta <= max_eta(self.rho, self.gamma),
        }
        return [name for name, broken in found.items() if broken]

    def psi(self, theta: npt.ArrayLike) -> FloatArray:
        """Return theta phi(theta)."""
        t = np.asarray(theta, dtype=np.float64)
        power = self.eta * (t / (1.0 + t)) ** (1.0 - self.gamma)
        if self.damping == 0.0 or self.theta0 == 0.0:
            return np.asarray(power, dtype=np.float64)
        return np.asarray(power * (t / (t + self.theta0)) ** self.damping, dtype=np.float64)

    def smile(self, theta: npt.ArrayLike) -> Smile:
        """Return the smiles with these total variances at the money."""
        t = np.asarray(theta, dtype=np.float64)
        return Smile(t, np.full_like(t, self.rho), self.psi(t))


def max_eta(rho: float, gamma: float) -> float:
    """Largest eta without a butterfly at any theta; see :class:`SsviShape`."""
    lean = 1.0 + abs(rho)
    rest = 1.0 - 2.0 * gamma
    bend = (rest**rest if rest > 0.0 else 1.0) / (2.0 - 2.0 * gamma) ** (2.0 - 2.0 * gamma)
    return min(MAX_WING / lean, math.sqrt(MAX_CURVATURE / (bend * lean)))


def heston_like_psi(theta: npt.ArrayLike, decay: float) -> FloatArray:
    r"""Psi of the Heston-like phi of Gatheral and Jacquier 2014, eq. 4.4, for comparison.

    .. math:: \psi = \frac{1}{\lambda} \left(1 - \frac{1 - e^{-\lambda\theta}}{\lambda\theta}\right)

    Free of butterflies for :math:`\lambda \ge (1 + |\rho|)/4`. At short expiries it goes to zero as
    theta itself, so that the smile of a week is flat: no fit for an equity index.
    """
    x = decay * np.asarray(theta, dtype=np.float64)
    return np.asarray((1.0 + np.expm1(-x) / x) / decay, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class ThetaTerm:
    """Total variance at the money over time: through the pins, linear between (flat forward variance).

    Before the first pin it is proportional to time. Behind the last one it grows at ``tail`` per year
    (a variance).

    Attributes
    ----------
    years, theta
        The pins, both rising (theta may stand still).
    tail
        Variance per year behind the last pin; not negative.
    """

    years: tuple[float, ...]
    theta: tuple[float, ...]
    tail: float

    def __post_init__(self) -> None:
        t, v = np.array(self.years), np.array(self.theta)
        grows = t.size == v.size > 0 and t[0] > 0.0 and bool(np.all(np.diff(t) > 0.0))
        if not (grows and v[0] > 0.0 and np.all(np.diff(v) >= 0.0) and self.tail >= 0.0):
            raise DataError(
                f"no term structure through theta={self.theta!r} at years={self.years!r}, "
                f"tail={self.tail!r}",
                hint="years rise, theta is positive and does not fall, the tail is not negative",
            )

    def at(self, years: npt.ArrayLike) -> FloatArray:
        """Return theta at these times.

        Raises
        ------
        DataError
            If a time is not positive.
        """
        t = check_years(years)
        inside = np.interp(t, (0.0, *self.years), (0.0, *self.theta))
        return np.asarray(inside + self.tail * np.maximum(t - self.years[-1], 0.0), np.float64)


class _Volatility(ABC):
    """Volatility of a surface that knows its smiles."""

    __slots__ = ()

    @abstractmethod
    def smile(self, years: npt.ArrayLike) -> Smile:
        """Return the parameters at these times."""

    def layers(self, years: npt.ArrayLike) -> tuple[Layer, ...]:
        """One layer: the surface's own smiles."""
        return (Layer(1.0, self.smile(years)),)

    def total_variance(self, k: npt.ArrayLike, years: npt.ArrayLike) -> FloatArray:
        """Total implied variance at log-moneyness ``k = ln(K/F)``; arguments broadcast."""
        return total_variance(k, self.smile(years))

    def iv(self, k: npt.ArrayLike, years: npt.ArrayLike) -> FloatArray:
        """Implied volatility (decimal) at log-moneyness ``k = ln(K/F)``; arguments broadcast.

        Raises
        ------
        DataError
            If a time is not positive and finite.
        """
        t = check_years(years)
        return np.asarray(np.sqrt(total_variance(k, self.smile(t)) / t), dtype=np.float64)

    def durrleman(self, k: npt.ArrayLike, years: npt.ArrayLike) -> FloatArray:
        """Durrleman's g at log-moneyness ``k``; see :func:`durrleman`."""
        return durrleman(k, self.smile(years))


@dataclass(frozen=True, slots=True)
class SsviSurface(_Volatility):
    """SSVI: one shape over a term structure. Quotes from it are a model's, and labelled so."""

    shape: SsviShape
    term: ThetaTerm

    quote_kind: ClassVar[Literal["surface"]] = "surface"

    def smile(self, years: npt.ArrayLike) -> Smile:
        """Return the parameters at these times."""
        return self.shape.smile(self.term.at(years))


@dataclass(frozen=True, slots=True)
class EssviSurface(_Volatility):
    """Smiles at given expiries, the rest interpolated without arbitrage; see the module.

    Before the first expiry the smile in standard deviations stays what it is there (theta
    proportional to time, the wings to its square root). Behind the last one theta grows at ``tail``
    per year and the wings with the root of theta, up to their cap.

    Attributes
    ----------
    years
        Expiries, rising.
    theta, rho, psi
        Parameters at each.
    tail
        Variance per year behind the last expiry; not negative.
    """

    years: tuple[float, ...]
    theta: tuple[float, ...]
    rho: tuple[float, ...]
    psi: tuple[float, ...]
    tail: float

    quote_kind: ClassVar[Literal["surface"]] = "surface"

    @classmethod
    def projected(
        cls,
        years: npt.ArrayLike,
        theta: npt.ArrayLike,
        rho: npt.ArrayLike,
        psi: npt.ArrayLike,
        tail: float | None = None,
    ) -> Self:
        """Make the surface through smiles that :func:`project` has made free of arbitrage.

        Parameters
        ----------
        years, theta, rho, psi
            One value per expiry, in order.
        tail
            As the attribute; None keeps the forward variance between the last two expiries.
        """
        t = np.atleast_1d(check_years(years))
        smile = project(theta, rho, psi)
        if t.size != smile.theta.size or np.any(np.diff(t) <= 0.0):
            raise DataError(
                f"{smile.theta.size} smiles for expiries {t.tolist()!r}",
                hint="give one smile per expiry, in rising order",
            )
        last = np.diff(np.append(0.0, smile.theta))[-1] / np.diff(np.append(0.0, t))[-1]
        return cls(
            tuple(t.tolist()),
            tuple(smile.theta.tolist()),
            tuple(smile.rho.tolist()),
            tuple(smile.psi.tolist()),
            float(last) if tail is None else tail,
        )

    def smile(self, years: npt.ArrayLike) -> Smile:
        """Return the parameters at these times."""
        t = check_years(years)
        nodes = np.array(self.years)
        own = Smile(np.array(self.theta), np.array(self.rho), np.array(self.psi))
        theta = np.interp(t, np.append(0.0, nodes), np.append(0.0, own.theta))
        theta = theta + self.tail * np.maximum(t - nodes[-1], 0.0)
        early, late = t < nodes[0], np.maximum(theta / own.theta[-1], 1.0)
        growth = np.where(early, np.sqrt(t / nodes[0]), np.where(t > nodes[-1], np.sqrt(late), 1.0))
        up, down = (np.interp(t, nodes, wing) * growth for wing in _wings(own))
        up, down = np.minimum(up, MAX_WING), np.minimum(down, MAX_WING)
        return Smile(theta, (up - down) / (up + down), 0.5 * (up + down))
