"""Implied volatility of European options: Black-Scholes-Merton prices turned around, to the last bit.

:func:`implied_volatility` follows Jäckel 2015, "Let's Be Rational" (the method and its sources are
explained in :mod:`spy_assets.options._iv_kernel`). It never raises for a value: a quote without a
volatility has NaN and an :class:`IvStatus` that says why, and nothing is ever put in its place.

A price is known to its last bit at best, and deep in the money that bit may be worth more than the
whole volatility. ``attainable`` is what one unit in the last place of the price (or of the volatility
itself, if that is more) is worth in volatility; no method can promise less. It is the error of the
number, not of the market: a quote in cents is :func:`volatility_of_tick` uncertain.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options.black_scholes import (
    FloatArray,
    Number,
    RightLike,
    all_greeks,
    in_chunks,
    lenient_sign_of,
)

StatusArray = npt.NDArray[np.int8]


class IvStatus(IntEnum):
    """Why a quote has no implied volatility; the first reason that holds is given, INVALID first."""

    #: It has one.
    OK = 0
    #: The price is negative, or less than the discounted intrinsic value of the forward.
    BELOW_INTRINSIC = 1
    #: The price is not below the discounted spot (call) or strike (put).
    ABOVE_MAX = 2
    #: Nobody bids: the bid was given and is 0, negative or missing.
    ZERO_BID = 3
    #: No time is left.
    EXPIRED = 4
    #: The float64 price carries no positive time value, or its last bit is worth the whole volatility.
    UNINFORMATIVE = 5
    #: An argument is NaN or infinite, spot or strike is not positive, or the right is neither C nor P.
    INVALID = 6


class ImpliedVol(NamedTuple):
    """Volatilities with their status and attainable error, each of the arguments' broadcast shape.

    ``iv`` and ``attainable`` are NaN where ``status`` is not ``IvStatus.OK``.
    """

    iv: FloatArray
    status: StatusArray
    attainable: FloatArray


def implied_volatility(
    price: Number,
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    right: RightLike,
    *,
    bid: Number | None = None,
) -> ImpliedVol:
    """The volatility at which the Black-Scholes-Merton price is ``price``.

    Prices in dollars per share, ``years`` ACT/365, ``rate`` and ``dividend_yield`` continuous per year;
    the volatility per square-root year as a decimal. All arguments broadcast. With ``bid``, quotes
    that nobody bids for have the status ``ZERO_BID``.

    >>> found = implied_volatility([10.4505835721856, 4.0], 100.0, 100.0, 1.0, 0.05, 0.0, "C")
    >>> found.iv.round(12).tolist(), [IvStatus(code).name for code in found.status]
    ([0.2, nan], ['OK', 'BELOW_INTRINSIC'])
    """
    # The kernel brings numba with it; what only reads this module's types does not wait for that.
    from spy_assets.options._iv_kernel import implied_volatility_loop

    shape, chunks = in_chunks(
        spot,
        strike,
        years,
        rate,
        dividend_yield,
        lenient_sign_of(right),
        price,
        1.0 if bid is None else bid,
    )
    size = math.prod(shape)
    iv, status, attainable = np.empty(size), np.empty(size, dtype=np.int8), np.empty(size)
    for start, market in chunks:
        part = slice(start, start + market.shape[1])
        implied_volatility_loop(market, iv[part], status[part], attainable[part])
    return ImpliedVol(iv.reshape(shape), status.reshape(shape), attainable.reshape(shape))


def volatility_of_tick(
    tick: Number,
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    sigma: Number,
) -> FloatArray:
    """What one ``tick`` of the price (in dollars) is worth in volatility: tick / vega, or infinity.

    >>> float(volatility_of_tick(0.01, 100.0, 100.0, 0.25, 0.04, 0.0, 0.2).round(6))
    0.000507
    """
    vega = all_greeks(spot, strike, years, rate, dividend_yield, sigma, "C").vega
    with np.errstate(divide="ignore"):
        return np.asarray(np.asarray(tick, dtype=np.float64) / vega, dtype=np.float64)
