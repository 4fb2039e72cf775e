r"""Compiled Black-Scholes-Merton prices and Greeks, accurate in the tails.

Everything is computed for the out-of-the-money option of the pair and turned into the other by parity,
so that no small price is the difference of two large ones. With :math:`x = \ln(F/K)`,
:math:`s = \sigma\sqrt T`, :math:`h = -|x|/s`, :math:`t = s/2` and the Mills ratio
:math:`Y(z) = N(z)/\varphi(z)`,

.. math::

    w = \sqrt{S e^{-qT} \, K e^{-rT}} \; \frac{e^{-(h^2+t^2)/2}}{\sqrt{2\pi}}
      = S e^{-qT} \varphi(d_1) = K e^{-rT} \varphi(d_2), \qquad
    V_{otm} = w \left( Y(h+t) - Y(h-t) \right)

and every Greek is made of w, the two Mills ratios and elementary arithmetic. For small t
the difference is summed as the odd part of Taylor's series of Y around h, whose terms follow from
:math:`Y' = 1 + hY` and :math:`Y^{(n+1)} = h Y^{(n)} + n Y^{(n-1)}`.

The formulas of the Greeks are those of Haug 2007, "The Complete Guide to Option Pricing Formulas",
chapter 2; the readable twin is :mod:`spy_assets.options.black_scholes`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spy_assets.options._elementary_kernel import (
    exponential,
    exponential_minus_one,
    log_ratio,
    mills_ratio,
)
from spy_assets.options.compiled import fused_kernel, inlined_kernel

FloatArray = npt.NDArray[np.float64]

_INV_SQRT_2PI = 0.3989422804014327
_SQRT_HALF_PI = 1.2533141373155003
#: Below this standard deviation of the log price nothing is uncertain any more.
_CERTAIN = 1e-100
#: Farther out than this the density is 0 many times over; keeps the products with it finite.
_FARTHEST = -1e5
#: Up to this half deviation, and for |x| < 1, the Taylor series is used: there the difference of the
#: Mills ratios loses digits; farther out its terms would.
SMALL_DEVIATION = 0.7
#: Keep quotients by a volatility or a time finite where their factor is 0.
_TINY_SIGMA, _TINY_YEARS = 1e-150, 1e-200


@inlined_kernel
def half_gap(h: float, t: float, y: float) -> float:
    """Half of Y(h + t) - Y(h - t) for small t, given y = Y(h): the odd part of Taylor's series.

    Its terms fall as t^2k / (2k+1)!!; the first one left out is below 1e-17 of the sum at t = 0.7.
    """
    n1 = 1.0 + h * y
    n2 = h * n1 + y
    n3 = h * n2 + 2.0 * n1
    n4 = h * n3 + 3.0 * n2
    n5 = h * n4 + 4.0 * n3
    n6 = h * n5 + 5.0 * n4
    n7 = h * n6 + 6.0 * n5
    n8 = h * n7 + 7.0 * n6
    n9 = h * n8 + 8.0 * n7
    n10 = h * n9 + 9.0 * n8
    n11 = h * n10 + 10.0 * n9
    n12 = h * n11 + 11.0 * n10
    n13 = h * n12 + 12.0 * n11
    n14 = h * n13 + 13.0 * n12
    n15 = h * n14 + 14.0 * n13
    n16 = h * n15 + 15.0 * n14
    n17 = h * n16 + 16.0 * n15
    n18 = h * n17 + 17.0 * n16
    n19 = h * n18 + 18.0 * n17
    n20 = h * n19 + 19.0 * n18
    n21 = h * n20 + 20.0 * n19
    n22 = h * n21 + 21.0 * n20
    n23 = h * n22 + 22.0 * n21
    n24 = h * n23 + 23.0 * n22
    n25 = h * n24 + 24.0 * n23
    u = t * t
    v = u * u
    even = n21 * 1.9572941063391263e-20 + v * (n25 * 6.446950284384474e-26)
    even = n13 * 1.6059043836821613e-10 + v * (n17 * 2.8114572543455206e-15 + v * even)
    even = n5 * 0.008333333333333333 + v * (n9 * 2.7557319223985893e-06 + v * even)
    odd = n19 * 8.22063524662433e-18 + v * (n23 * 3.868170170630684e-23)
    odd = n11 * 2.505210838544172e-08 + v * (n15 * 7.647163731819816e-13 + v * odd)
    odd = n3 * 0.16666666666666666 + v * (n7 * 0.0001984126984126984 + v * odd)
    return t * (n1 + u * (odd + u * even))


@inlined_kernel
def element(
    spot: float,
    strike: float,
    years: float,
    rate: float,
    dividend_yield: float,
    sigma: float,
    sign: float,
) -> tuple[float, float, float, float, float, float, float, float, float]:
    """Price, delta, gamma, vega, theta, rho, vanna, volga, charm of one option; NaN if it is none.

    One long function without branches, so that the loop around it is compiled to vector instructions.
    """
    valid = (spot > 0.0) & (strike > 0.0) & (years >= 0.0) & (sigma >= 0.0) & (abs(sign) == 1.0)
    valid &= (spot < math.inf) & (strike < math.inf) & (years < math.inf) & (sigma < math.inf)
    valid &= (abs(rate) < math.inf) & (abs(dividend_yield) < math.inf)
    poison = 0.0 if valid else math.nan
    root = math.sqrt(years)
    deviation = sigma * root
    live = deviation > _CERTAIN
    s = max(deviation, _CERTAIN)
    x = log_ratio(spot, strike) + (rate - dividend_yield) * years
    h = max(-abs(x) / s, _FARTHEST)
    t = 0.5 * deviation
    upper, lower = h + t, h - t
    carry = 0.5 * (rate + dividend_yield) * years
    w = (_INV_SQRT_2PI * math.sqrt(spot) * math.sqrt(strike)) * exponential(
        -0.5 * (h * h + t * t) - carry
    )
    lost_spot = exponential_minus_one(-dividend_yield * years)
    lost_strike = exponential_minus_one(-rate * years)
    spot_pv, strike_pv = spot + spot * lost_spot, strike + strike * lost_strike
    parity = (spot - strike) + (spot * lost_spot - strike * lost_strike)

    # The out-of-the-money option receives one leg and pays the other.
    call_is_out = x <= 0.0
    near = w * mills_ratio(abs(upper))
    received_pv = spot_pv if call_is_out else strike_pv
    received = near if upper <= 0.0 else received_pv - near
    paid = w * mills_ratio(-lower)
    # A step has its middle exactly at the forward.
    is_middle = (deviation <= _CERTAIN) & (x == 0.0)
    received = 0.5 * received_pv if is_middle else received
    paid = 0.5 * (strike_pv if call_is_out else spot_pv) if is_middle else paid
    small = 2.0 * w * half_gap(h, min(t, SMALL_DEVIATION), mills_ratio(-h))
    is_small = (t if h * t > -0.5 else 1.0) < SMALL_DEVIATION
    out = small if is_small else received - paid
    out = max(out, 0.0) if live else 0.0

    is_out = (1.0 if call_is_out else -1.0) * sign > 0.0
    spot_leg = received if call_is_out else paid
    strike_leg = paid if call_is_out else received
    spot_leg = spot_leg if is_out else spot_pv - spot_leg
    strike_leg = strike_leg if is_out else strike_pv - strike_leg
    price = out if is_out else out + abs(parity)

    density = w if live else 0.0
    d1 = upper if call_is_out else -lower
    d2 = lower if call_is_out else -upper
    safe_sigma, safe_years = max(sigma, _TINY_SIGMA), max(years, _TINY_YEARS)
    vega = density * root
    slope = density / spot
    holding = dividend_yield * spot_leg
    decay = density * sigma / (2.0 * max(root, _CERTAIN))
    theta = sign * (holding - rate * strike_leg) - decay
    drift = (rate - dividend_yield) / s - d2 / (2.0 * safe_years)
    charm = sign * holding / spot - slope * drift
    expired = years <= 0.0
    return (
        price + poison,
        sign * spot_leg / spot + poison,
        slope / (spot * s) + poison,
        vega + poison,
        (0.0 if expired else theta) + poison,
        sign * strike_leg * years + poison,
        -slope * d2 / safe_sigma + poison,
        vega * d1 * d2 / safe_sigma + poison,
        (0.0 if expired else charm) + poison,
    )


@fused_kernel
def all_greeks_loop(market: FloatArray, out: tuple[FloatArray, ...]) -> None:
    """Fill the nine arrays of ``out`` with the results of :func:`element` of ``market`` (7, n)."""
    price, delta, gamma, vega, theta, rho, vanna, volga, charm = out
    for i in range(market.shape[1]):
        (
            price[i],
            delta[i],
            gamma[i],
            vega[i],
            theta[i],
            rho[i],
            vanna[i],
            volga[i],
            charm[i],
        ) = element(
            market[0, i],
            market[1, i],
            market[2, i],
            market[3, i],
            market[4, i],
            market[5, i],
            market[6, i],
        )
