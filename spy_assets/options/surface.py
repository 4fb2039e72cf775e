r"""A volatility surface made of one number, the VIX.

VIX prices a 30-day strip of all strikes, so that the volatility at the money lies below it and the
skew around it. With standardised moneyness

.. math::

    x = \frac{\ln(K/S)}{VIX \sqrt{\max(T, T_{min})}}, \qquad
    z = x_{max} \tanh(x / x_{max}), \qquad
    \sigma(K, T) = VIX \, (a + b z + c z^2)

The shape is the same for every expiry (no term structure: one VIX says nothing about it).
``tanh`` flattens the far wings without a kink, so that no butterfly is given away where they begin.

Where the constants come from: one standard deviation below the money costs 0.15 + 0.08 = 0.23 of
VIX more than at the money, one above saves 0.07, as weekly SPY chains look when VIX is near its
median (a test holds the surface against real chains where there are any). The level is then not
free: it is the one with which the VIX formula of the Cboe, applied to the surface's own 30-day
options, gives back the VIX that went in (exact at 20 points, within 2.5 % from 10 to 80; tested).

Quotes from this surface are **not** market quotes and are labelled ``quote_kind = "surface"``
wherever they are stored. There is no default volatility: a missing VIX is an error here, and a
caller that may go without a price asks :func:`missing_reason` first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError

FloatArray = npt.NDArray[np.float64]
#: Who quoted: a surface, a surface with the width of a spread model, or a market.
QuoteKind = Literal["surface", "spread_model", "chain"]

#: VIX's record close is 82.69 (2020-03-16) and it has never been below 3 points: a "decimal" of 3
#: or more is index points passed by mistake.
MAX_VOLATILITY = 3.0


def missing_reason(vix: float | None) -> str | None:
    """Why nothing can be priced on this VIX (decimal), or None if it can."""
    if vix is None or math.isnan(vix):
        return "vix_missing"
    if not 0.0 < vix < MAX_VOLATILITY:
        return "vix_out_of_range"
    return None


@dataclass(frozen=True, slots=True)
class VixSurface:
    """Implied volatility from VIX by a fixed, smooth skew; see the module's formula.

    Attributes
    ----------
    level
        a: volatility at the money over VIX.
    slope
        b: change of that ratio per standard deviation of the strike; negative for equity indices
        (puts below the money cost more).
    curvature
        c: the smile.
    reach
        x_max: standard deviations beyond which the wings go flat.
    min_years
        T_min: at less time to expiry moneyness is still measured with this one, because a day's
        standard deviation does not shrink to nothing for the last hours' quotes.
    """

    level: float = 0.871
    slope: float = -0.15
    curvature: float = 0.08
    reach: float = 3.0
    min_years: float = 1.0 / 365.0

    quote_kind: ClassVar[QuoteKind] = "surface"

    def iv(
        self, spot: npt.ArrayLike, strike: npt.ArrayLike, years: npt.ArrayLike, vix: npt.ArrayLike
    ) -> FloatArray:
        """Implied volatility as a decimal; arguments broadcast.

        Parameters
        ----------
        spot, strike
            Dollars.
        years
            Years to expiry, ACT/365.
        vix
            VIX as a decimal: 18 points are 0.18.

        Raises
        ------
        DataError
            If a VIX is missing, not positive, or given in points.
        """
        s, k, t, v = (np.asarray(x, dtype=np.float64) for x in (spot, strike, years, vix))
        bad = ~((v > 0.0) & (v < MAX_VOLATILITY))
        if np.any(bad):
            raise DataError(
                f"no volatility surface from VIX {float(v[bad].flat[0])!r} (decimal)",
                hint="a missing VIX stays missing; index points are divided by 100 first",
            )
        x = np.log(k / s) / (v * np.sqrt(np.maximum(t, self.min_years)))
        z = self.reach * np.tanh(x / self.reach)
        return np.asarray(v * (self.level + z * (self.slope + self.curvature * z)), np.float64)

    def iv_scalar(self, spot: float, strike: float, years: float, vix: float) -> float:
        """:meth:`iv` for plain floats that the caller has checked."""
        x = math.log(strike / spot) / (vix * math.sqrt(max(years, self.min_years)))
        z = self.reach * math.tanh(x / self.reach)
        return vix * (self.level + z * (self.slope + self.curvature * z))
