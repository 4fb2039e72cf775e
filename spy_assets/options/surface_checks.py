r"""Static arbitrage in what a surface produces: the smile's density, and prices on a strike grid.

Prices are undiscounted and per unit of the forward, so that one tolerance serves all expiries: with
:math:`x = K/F` a call :math:`c(x, T)` must

* fall with the strike, by at most the strike's step (vertical spreads: :math:`-1 \le c_x \le 0`),
* be convex in it (butterflies),
* not fall with time at the same x (calendars),
* lie between its intrinsic value and 1.

Each is checked on the out-of-the-money option, put or call, because parity turns one into the other
exactly and a put far below the money keeps the digits that the call has lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from spy_assets.options.replication import otm_price
from spy_assets.options.ssvi import (
    FloatArray,
    Layer,
    Smile,
    Surface,
    durrleman,
    total_variance,
)

#: What rounding may make of a zero: prices are sums of numbers up to 1, of 2e-16 each.
PRICE_TOLERANCE: Final = 1e-14
#: Durrleman's g is 1 at the money without a smile; it is 0 only in the limit of the allowed smiles.
DENSITY_TOLERANCE: Final = 1e-10
#: Deviations from the money, both ways, of the default grid.
_DEVIATIONS: Final = 12.0
_POINTS: Final = 241
#: Log-moneyness beyond which no strike is tried: e^30 times the forward.
_FARTHEST: Final = 30.0


@dataclass(frozen=True, slots=True)
class ArbitrageReport:
    """How many points break which rule, and by how much the worst does.

    Attributes
    ----------
    checked
        Comparisons made.
    density, vertical, butterfly, calendar, bounds
        Violations beyond rounding; of the density those of each layer.
    worst
        Size of the worst one, in units of the forward (of g for the density); 0 without any.
    """

    checked: int
    density: int
    vertical: int
    butterfly: int
    calendar: int
    bounds: int
    worst: float

    @property
    def violations(self) -> int:
        """All of them together."""
        return self.density + self.vertical + self.butterfly + self.calendar + self.bounds


def check_surface(
    surface: Surface,
    years: npt.ArrayLike,
    k: npt.ArrayLike | None = None,
) -> ArbitrageReport:
    """Check a surface at these expiries.

    Parameters
    ----------
    surface
        Anything whose prices are those of smiles.
    years
        Expiries in rising order.
    k
        Log-moneyness of the strikes, rising, the same for every expiry. By default each expiry has its
        own, 12 standard deviations both ways, beside the common ones of all expiries for the
        calendars.
    """
    t = np.atleast_1d(np.asarray(years, dtype=np.float64))
    layers = [Layer(share, _column(smile)) for share, smile in surface.layers(t)]
    theta = np.asarray(sum(share * smile.theta for share, smile in layers), dtype=np.float64)
    own = _own_grid(theta) if k is None else np.broadcast_to(np.asarray(k), (t.size, np.size(k)))
    common = _common_grid(theta) if k is None else np.asarray(k, dtype=np.float64)
    density = np.concatenate([durrleman(own, smile) for _, smile in layers])
    finds = {
        "density": _below(density, DENSITY_TOLERANCE),
        **_strike_checks(own, _price(own, layers)),
        "calendar": _below(np.diff(_price(common, layers), axis=0), PRICE_TOLERANCE),
    }
    sizes = [find[0].size for find in finds.values()]
    worst = [float(np.max(find[0], initial=0.0)) for find in finds.values()]
    counts = {name: int(np.count_nonzero(find[0] > find[1])) for name, find in finds.items()}
    return ArbitrageReport(
        checked=sum(sizes), worst=max(worst) if sum(counts.values()) else 0.0, **counts
    )


def _column(smile: Smile) -> Smile:
    return Smile(smile.theta[:, None], smile.rho[:, None], smile.psi[:, None])


def _price(k: FloatArray, layers: Sequence[Layer]) -> FloatArray:
    """Undiscounted prices out of the money, per unit of the forward."""
    prices = [share * otm_price(k, total_variance(k, smile)) for share, smile in layers]
    return np.asarray(sum(prices), dtype=np.float64)


def _own_grid(theta: FloatArray) -> FloatArray:
    reach = np.minimum(_DEVIATIONS * np.sqrt(theta), _FARTHEST)
    return np.asarray(reach * np.linspace(-1.0, 1.0, _POINTS), dtype=np.float64)


def _common_grid(theta: FloatArray) -> FloatArray:
    """Strikes dense in the middle of the shortest expiry and as far out as the longest needs."""
    near = float(np.sqrt(theta.min()))
    far = min(_DEVIATIONS * float(np.sqrt(theta.max())), _FARTHEST)
    top = np.arcsinh(far / near)
    return np.asarray(near * np.sinh(np.linspace(-top, top, _POINTS)), dtype=np.float64)


def _below(values: FloatArray, tolerance: float) -> tuple[FloatArray, float]:
    """By how much values are negative, and how much of that is rounding."""
    return np.maximum(-values, 0.0), tolerance


def _strike_checks(k: FloatArray, price: FloatArray) -> dict[str, tuple[FloatArray, float]]:
    """Verticals, butterflies and bounds of each expiry, over its strikes.

    Puts below the money and calls above it; where three strikes reach across, the calls are used.
    """
    strike = np.exp(k)
    put = np.where(k < 0.0, price, price - 1.0 + strike)
    call = np.where(k < 0.0, price + 1.0 - strike, price)
    steps = np.diff(strike, axis=-1)
    below = k[..., 1:] <= 0.0
    # The put rises and the call falls: each is tested where it is the small one.
    rise = np.where(below, np.diff(put, axis=-1), -np.diff(call, axis=-1))
    over = np.where(below, steps - np.diff(put, axis=-1), steps + np.diff(call, axis=-1))
    bends = [np.diff(side, axis=-1) / steps for side in (put, call)]
    bend = np.where(k[..., 2:] <= 0.0, np.diff(bends[0], axis=-1), np.diff(bends[1], axis=-1))
    width = 0.5 * (steps[..., 1:] + steps[..., :-1])
    limit = np.minimum(strike, 1.0)
    return {
        "vertical": _below(np.concatenate([rise, over], axis=-1), PRICE_TOLERANCE),
        # The butterfly's price: the change of slope, times the distance of its strikes.
        "butterfly": _below(bend * width, PRICE_TOLERANCE),
        "bounds": _below(np.minimum(price, limit - price), PRICE_TOLERANCE),
    }
