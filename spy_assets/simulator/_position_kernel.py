"""The compiled inner loop of the position table: Black-Scholes-Merton prices of many legs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spy_assets.options._bsm_kernel import element
from spy_assets.options.compiled import fused_kernel

FloatArray = npt.NDArray[np.float64]


@fused_kernel
def leg_prices(
    market: FloatArray,
    strike: FloatArray,
    sigma: FloatArray,
    sign: FloatArray,
    dividend_yield: float,
    out: FloatArray,
) -> None:
    """Fill ``out[leg, i]`` with prices in dollars per share.

    ``market`` (3, n) is spot, years and rate; ``strike`` and ``sigma`` are (legs, n); ``sign`` is +1
    for a call and -1 for a put.
    """
    for leg in range(strike.shape[0]):
        for i in range(strike.shape[1]):
            out[leg, i] = element(
                market[0, i],
                strike[leg, i],
                market[1, i],
                market[2, i],
                dividend_yield,
                sigma[leg, i],
                sign[leg],
            )[0]
