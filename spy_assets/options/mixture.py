r"""A surface of two layers: prices that are a weighted sum of the prices of two eSSVI surfaces.

.. math:: C(K, T) = (1 - \lambda) \, C_{calm}(K, T) + \lambda \, C_{crash}(K, T)

with one weight :math:`\lambda` for all expiries: with that chance the market is another one, whose
volatility is higher and whose put wing is steeper (Brigo and Mercurio 2002, "Lognormal-mixture dynamics
and calibration to market volatility smiles", mix lognormals the same way). Near the money the calm layer
makes the price; some deviations below, where its puts are worth nothing any more, the other does. So the
put wing is no longer tied to the curvature at the money, as that of one hyperbola is.

**No arbitrage comes with the layers.** Both have the same forward. A sum, with weights that are not
negative, of prices that fall with the strike, are convex in it and rise with time at constant K/F does
the same; so it is enough that each layer fulfils the conditions of :mod:`spy_assets.options.ssvi`,
which eSSVI does by construction, between expiries as well.

The volatility is that of the price: it is found by turning the price around, out of the money.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError
from spy_assets.options.implied_vol import implied_volatility
from spy_assets.options.replication import otm_price
from spy_assets.options.ssvi import EssviSurface, FloatArray, Layer, check_years, total_variance


def mixed_deviation(k: npt.ArrayLike, layers: Sequence[tuple[float, FloatArray]]) -> FloatArray:
    """Deviation of the log price (volatility times root of time) of a weighted sum of prices.

    Parameters
    ----------
    k
        Log-moneyness ``ln(K/F)``.
    layers
        Weight and deviation of each layer.

    So far out that a price is no number any more it is the largest of the layers', to which it tends.
    """
    x = np.asarray(k, dtype=np.float64)
    price = sum(share * otm_price(x, deviation**2) for share, deviation in layers)
    right = np.where(x < 0.0, -1.0, 1.0)
    found = implied_volatility(price, 1.0, np.exp(x), 1.0, 0.0, 0.0, right).iv
    largest = np.maximum.reduce(np.broadcast_arrays(*(deviation for _, deviation in layers)))
    return np.where(np.isfinite(found), found, largest)


@dataclass(frozen=True, slots=True)
class MixtureSurface:
    """Two layers; see the module.

    Attributes
    ----------
    calm, crash
        The layers.
    share
        Weight of ``crash``, between 0 and 1.
    """

    calm: EssviSurface
    crash: EssviSurface
    share: float

    quote_kind: ClassVar[Literal["surface"]] = "surface"

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise DataError(
                f"no mixture with a share of {self.share!r}", hint="give one between 0 and 1"
            )

    def layers(self, years: npt.ArrayLike) -> tuple[Layer, ...]:
        """Weights and smiles at these times."""
        return (
            Layer(1.0 - self.share, self.calm.smile(years)),
            Layer(self.share, self.crash.smile(years)),
        )

    def total_variance(self, k: npt.ArrayLike, years: npt.ArrayLike) -> FloatArray:
        """Total implied variance at log-moneyness ``k = ln(K/F)``; arguments broadcast."""
        x, t = np.broadcast_arrays(np.asarray(k, dtype=np.float64), check_years(years))
        deviations = [(share, np.sqrt(total_variance(x, smile))) for share, smile in self.layers(t)]
        return mixed_deviation(x, deviations) ** 2

    def iv(self, k: npt.ArrayLike, years: npt.ArrayLike) -> FloatArray:
        """Implied volatility (decimal) at log-moneyness ``k = ln(K/F)``; arguments broadcast.

        Raises
        ------
        DataError
            If a time is not positive and finite.
        """
        return np.asarray(np.sqrt(self.total_variance(k, years) / check_years(years)), np.float64)
