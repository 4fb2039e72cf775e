r"""The VIX formula of the Cboe: on quotes, on a surface's strikes, and in the limit of all strikes.

A strip of out-of-the-money options weighted with :math:`1/K^2` is worth the variance that is expected
to be realised (Cboe, "Volatility Index Methodology: Cboe Volatility Index", eq. 1):

.. math::

    \sigma^2 = \frac{2}{T} \sum_i \frac{\Delta K_i}{K_i^2} e^{RT} Q(K_i)
               - \frac{1}{T} \left(\frac{F}{K_0} - 1\right)^2

With all strikes from 0 to infinity this is :math:`-2 E[\ln(S_T/F)]/T`, the log contract of Neuberger
(1994). Two ways to it are here, and the tests hold them equal: :func:`log_contract` integrates option
prices; :func:`log_contract_of_smile` integrates the smile itself (Fukasawa 2012, "The normalizing
transformation of the implied volatility smile", theorem 4.6), which is faster:

.. math::

    -2 E\left[\ln \frac{S_T}{F}\right] = \int w(k) \, n(d_2(k)) \, (-d_2'(k)) \, dk

Units: ``years`` ACT/365, variances as decimals (per year unless they are called total), index values
in points as published.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, ndtr

from spy_assets.errors import DataError
from spy_assets.options.ssvi import Smile, Surface, total_variance

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_INV_SQRT_2PI: Final = 1.0 / math.sqrt(2.0 * math.pi)
#: Nodes of the integral over all strikes; twice as many change no result by 1e-12 (tested).
_NODES: Final = 240
#: Half the square of a d2 beyond which the normal density no longer shows in float64.
_REACH: Final = 45.0
#: Log-moneyness beyond which nothing is integrated, for wings near the steepest that may be.
_FARTHEST: Final = 2000.0
_VIX_DAYS: Final = 30.0
_YEAR_DAYS: Final = 365.0
_EMPTY_BIDS: Final = 2


class Strip(NamedTuple):
    """What the official formula made of one expiry.

    Attributes
    ----------
    variance
        Per year.
    forward, k0
        The forward from put-call parity and the first strike at or below it.
    used
        Which strikes of the list had a part in it.
    """

    variance: float
    forward: float
    k0: float
    used: BoolArray


def strip_variance(
    strikes: npt.ArrayLike,
    call_bid: npt.ArrayLike,
    call_ask: npt.ArrayLike,
    put_bid: npt.ArrayLike,
    put_ask: npt.ArrayLike,
    years: float,
    rate: float,
) -> Strip:
    """Official variance of one expiry from quotes.

    The forward is that of the strike where call and put are nearest to each other; a strike without a
    bid is left out, and behind two of them in a row, going away from the money, nothing is looked at.

    Parameters
    ----------
    strikes
        Rising, in dollars; both rights are quoted at each.
    call_bid, call_ask, put_bid, put_ask
        Dollars, one per strike; 0 (or NaN) is no bid.
    years, rate
        To expiry; continuous, per year.

    Raises
    ------
    DataError
        If the strikes do not rise, or no strike on a side of the money has a bid.
    """
    k = np.asarray(strikes, dtype=np.float64)
    cb, ca, pb, pa = (
        np.asarray(x, dtype=np.float64) for x in (call_bid, call_ask, put_bid, put_ask)
    )
    if k.ndim != 1 or k.size < 3 or not np.all(np.diff(k) > 0.0) or not years > 0.0:
        raise DataError(
            f"no variance from {k.size} strikes at {years!r} years",
            hint="give at least three rising strikes and a positive time",
        )
    calls, puts = 0.5 * (cb + ca), 0.5 * (pb + pa)
    quoted = (cb > 0.0) & (pb > 0.0)
    if not np.any(quoted):
        raise DataError(
            f"no strike of {k.size} has a bid on both sides", hint="there is no forward without"
        )
    nearest = int(np.argmin(np.where(quoted, np.abs(calls - puts), np.inf)))
    forward = float(k[nearest] + math.exp(rate * years) * (calls[nearest] - puts[nearest]))
    centre = max(int(np.searchsorted(k, forward, side="right")) - 1, 0)
    used = _selected(cb, pb, centre)
    if not (np.any(used[:centre]) and np.any(used[centre + 1 :])):
        raise DataError(
            f"no bids on one side of {k[centre]!r} dollars", hint="the strip needs puts and calls"
        )
    quotes = np.where(np.arange(k.size) < centre, puts, calls)
    quotes[centre] = 0.5 * (calls[centre] + puts[centre])
    total = _sum_strip(k[used], quotes[used] * math.exp(rate * years), forward, float(k[centre]))
    return Strip(total / years, forward, float(k[centre]), used)


def _selected(call_bid: FloatArray, put_bid: FloatArray, centre: int) -> BoolArray:
    """Strikes with a bid, up to the first two in a row without, on both sides of the centre."""
    used = np.zeros(call_bid.size, dtype=np.bool_)
    used[centre] = True
    used[centre + 1 :] = _until_empty(call_bid[centre + 1 :])
    used[:centre] = _until_empty(put_bid[:centre][::-1])[::-1]
    return used


def _until_empty(bids: FloatArray) -> BoolArray:
    empty = ~(bids > 0.0)
    pairs = empty[1:] & empty[:-1]
    end = int(np.argmax(pairs)) if np.any(pairs) else bids.size
    return np.asarray(~empty & (np.arange(bids.size) < end), dtype=np.bool_)


def _sum_strip(strikes: FloatArray, forward_quotes: FloatArray, forward: float, k0: float) -> float:
    """Total variance of a strip; ``forward_quotes`` are the prices at expiry's value of money."""
    return float(
        2.0 * np.sum(strike_widths(strikes) / strikes**2 * forward_quotes)
        - (forward / k0 - 1.0) ** 2
    )


def strike_widths(strikes: FloatArray) -> FloatArray:
    """Half the distance between both neighbours, the distance to the only one at the ends."""
    steps = np.diff(strikes)
    return np.asarray(
        np.concatenate([steps[:1], 0.5 * (steps[1:] + steps[:-1]), steps[-1:]]), dtype=np.float64
    )


def interpolated_index(
    near_variance: float,
    near_minutes: float,
    next_variance: float,
    next_minutes: float,
    *,
    days: float = _VIX_DAYS,
) -> float:
    """Index in points from the variances of the two expiries around ``days`` (methodology, eq. 2).

    Total variance is linear between them, in minutes to expiry.

    >>> round(interpolated_index(0.01846292, 35924.0, 0.01882101, 46394.0), 2)  # Cboe's example
    13.69
    """
    minutes, year = days * 1440.0, _YEAR_DAYS * 1440.0
    share = (next_minutes - minutes) / (next_minutes - near_minutes)
    near, far = near_variance * near_minutes / year, next_variance * next_minutes / year
    total = near * share + far * (1.0 - share)
    if not total > 0.0:
        raise DataError(
            f"no index from a total variance of {total!r}",
            hint="the expiries should lie on both sides of the index's days",
        )
    return 100.0 * math.sqrt(total * year / minutes)


def otm_price(k: npt.ArrayLike, total: npt.ArrayLike) -> FloatArray:
    """Undiscounted price, per unit of the forward, of the out-of-the-money option at ``k``.

    A put for ``k = ln(K/F) < 0``, otherwise a call. The put's price at k is e^k times the call's at
    -k, so that one formula serves both.
    """
    x = np.asarray(k, dtype=np.float64)
    call = _away_call(np.abs(x), np.asarray(total, dtype=np.float64))
    return np.asarray(call * np.exp(np.minimum(x, 0.0)), dtype=np.float64)


def _away_call(away: FloatArray, total: FloatArray) -> FloatArray:
    """Return the price of a call ``away`` >= 0 above the forward, per unit of it."""
    s = np.sqrt(total)
    # The logarithm of the second term, because e^k alone overflows far away.
    strike = np.exp(away + log_ndtr(-away / s - 0.5 * s))
    return np.asarray(np.maximum(ndtr(-away / s + 0.5 * s) - strike, 0.0), dtype=np.float64)


def _top(smile: Smile) -> FloatArray:
    """How far out, in arcsinh(k / sqrt(theta)), the density still shows."""
    scale = np.sqrt(smile.theta)
    steepness = 0.5 * smile.psi * (1.0 + np.abs(smile.rho))
    decay = 1.0 / np.sqrt(steepness) - 0.5 * np.sqrt(steepness)
    wing = 2.0 * _REACH / np.maximum(decay, 1e-3) ** 2
    return np.asarray(np.arcsinh(np.minimum(wing + 10.0 * scale, _FARTHEST) / scale), np.float64)


def _columns(smile: Smile) -> Smile:
    theta, rho, psi = np.broadcast_arrays(*smile)
    return Smile(theta[..., None], rho[..., None], psi[..., None])


def log_contract(smile: Smile, *, nodes: int = _NODES) -> FloatArray:
    """Total variance (per expiry, not per year) of all strikes, from the smile's option prices.

    Gauss-Legendre on each side of the money, because the strip has a kink there.
    """
    columns, scale, top = _columns(smile), np.sqrt(smile.theta)[..., None], _top(smile)[..., None]
    points, weights = _gauss(nodes // 2)
    total = np.zeros(np.shape(smile.theta), dtype=np.float64)
    for side in (-1.0, 1.0):
        u = 0.5 * top * (points + 1.0)
        k = side * scale * np.sinh(u)
        # e^-k times the out-of-the-money price, which below the money is that of the call at -k.
        quotes = _away_call(np.abs(k), total_variance(k, columns)) * np.exp(-np.maximum(k, 0.0))
        total = total + np.sum(top * weights * scale * np.cosh(u) * quotes, axis=-1)
    return np.asarray(total, dtype=np.float64)


@lru_cache(maxsize=8)
def _gauss(count: int) -> tuple[FloatArray, FloatArray]:
    points, weights = np.polynomial.legendre.leggauss(count)
    return np.asarray(points, np.float64), np.asarray(weights, np.float64)


def log_contract_of_smile(smile: Smile, *, nodes: int = _NODES) -> FloatArray:
    """Same as :func:`log_contract`, by Fukasawa's integral over the smile.

    The trapezium rule, which converges exponentially where a smooth integrand fades out at both ends.
    """
    scale, top = np.sqrt(smile.theta)[..., None], _top(smile)[..., None]
    theta, rho, psi = _columns(smile)
    grid = np.linspace(-1.0, 1.0, nodes)
    k = scale * np.sinh(top * grid)
    weights = scale * np.cosh(top * grid) * top * (grid[1] - grid[0])
    u = k * (psi / theta)
    root = np.hypot(u + rho, np.sqrt((1.0 - rho) * (1.0 + rho)))
    w = 0.5 * theta * (1.0 + rho * u + root)
    slope = 0.5 * psi * (rho + (u + rho) / root)
    s = np.sqrt(w)
    d2 = k / s + 0.5 * s
    rise = (1.0 - 0.5 * k * slope / w + 0.25 * slope) / s
    density = _INV_SQRT_2PI * np.exp(-0.5 * d2 * d2)
    return np.asarray(np.sum(weights * w * density * rise, axis=-1), dtype=np.float64)


def strip_of_smile(smile: Smile, strikes: FloatArray, forward: float) -> FloatArray:
    """Total variance by the official sum over a strike list, on the smile's own prices.

    No strike is cut off: the list says what is quoted. A strike list that ends too early gives less
    than :func:`log_contract`, a coarse one more.
    """
    k = np.log(strikes / forward)
    centre = max(int(np.searchsorted(strikes, forward, side="right")) - 1, 0)
    quotes = otm_price(k, total_variance(k, _columns(smile))) * forward
    # At K0 the average of put and call; one is in the money by F - K0.
    quotes[..., centre] += 0.5 * abs(forward - strikes[centre])
    weights = 2.0 * strike_widths(strikes) / strikes**2
    return np.asarray(quotes @ weights - (forward / strikes[centre] - 1.0) ** 2, dtype=np.float64)


def surface_index(surface: Surface, days: npt.ArrayLike = _VIX_DAYS) -> FloatArray:
    """Return the surface's own VIX, in points: all strikes, at exactly this many days."""
    years = np.asarray(days, dtype=np.float64) / _YEAR_DAYS
    total = sum(share * log_contract(smile) for share, smile in surface.layers(years))
    return np.asarray(100.0 * np.sqrt(total / years), np.float64)


def variance_swap(surface: Surface, years: npt.ArrayLike) -> FloatArray:
    """Total variance of all strikes at these times, as :func:`log_contract_of_smile`.

    The log contract is a sum of option prices, so that of a surface is the sum of its layers'.
    """
    return np.asarray(
        sum(share * log_contract_of_smile(smile) for share, smile in surface.layers(years)),
        dtype=np.float64,
    )
