"""The compiled inner loop of the position table: Black-Scholes-Merton prices and vegas of legs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spy_assets.options._bsm_kernel import element
from spy_assets.options.compiled import fused_kernel

FloatArray = npt.NDArray[np.float64]


@fused_kernel
def leg_values(
    market: FloatArray,
    strike: FloatArray,
    sigma: FloatArray,
    sign: FloatArray,
    dividend_yield: float,
    price: FloatArray,
    vega: FloatArray,
) -> None:
    """Fill ``price`` in dollars per share and ``vega`` per 1.00 of volatility, (legs, n).

    ``market`` (3, n) is spot, years and rate; ``strike`` and ``sigma`` are (legs, n); ``sign`` is +1
    for a call and -1 for a put.
    """
    for leg in range(strike.shape[0]):
        for i in range(strike.shape[1]):
            value = element(
                market[0, i],
                strike[leg, i],
                market[1, i],
                market[2, i],
                dividend_yield,
                sigma[leg, i],
                sign[leg],
            )
            price[leg, i] = value[0]
            vega[leg, i] = value[3]
