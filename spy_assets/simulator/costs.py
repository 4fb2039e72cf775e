"""What trading costs: commissions, slippage and the bid-ask spread, as one model with presets.

A fill starts from a quote. Where a bid and an ask exist they are used; on a model surface the
spread model puts them half a spread around the mid. Buys pay the ask, sells receive the bid, each
worsened by slippage, and no price is below zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]


class PricedFill(NamedTuple):
    """The price of one share's worth of an option and what of it is cost, dollars per share."""

    price: float
    spread: float
    slippage: float


@dataclass(frozen=True, slots=True)
class CostModel:
    """Costs of a fill.

    Attributes
    ----------
    name
        Preset name, stored with every result.
    commission
        Dollars per contract and leg, each way, exchange and clearing fees included.
    slippage_fraction
        Further loss against the quote, as a fraction of the option's mid.
    half_spread
        Dollars per share from mid to ask, and from mid to bid, where no quote exists.
    sell_fee_rate
        Fee on the proceeds of a sale (Section 31), as a fraction.
    alpha
        Part of the half spread that a fill pays: the price is mid +- alpha x half spread. 1 crosses
        the whole spread, 0 fills at the mid.
    """

    name: str
    commission: float
    slippage_fraction: float
    half_spread: float
    sell_fee_rate: float = 0.0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        for field in ("commission", "slippage_fraction", "half_spread", "sell_fee_rate", "alpha"):
            value = getattr(self, field)
            if not 0.0 <= value < float("inf"):
                raise ConfigError(f"cost {field} {value!r} is negative or not finite")

    def at_alpha(self, alpha: float) -> CostModel:
        """These costs with another part of the half spread paid, which the name tells."""
        name = self.name.split(" at alpha ")[0]
        return replace(
            self, name=name if alpha == 1.0 else f"{name} at alpha {alpha:g}", alpha=alpha
        )

    def fill(
        self, mid: float, side: int, *, bid: float | None = None, ask: float | None = None
    ) -> PricedFill:
        """Price a buy (``side`` +1) or a sell (-1) from the mid, or from the quote if one is given.

        Raises
        ------
        DataError
            If the mid is not a finite price of at least 0.
        """
        if not 0.0 <= mid < float("inf"):
            raise DataError(
                f"mid {mid!r} is no price", hint="an option without a quote does not fill"
            )
        slip = self.slippage_fraction * mid
        if side > 0:
            quoted = self._met(mid, mid + self.half_spread if ask is None else ask)
            return PricedFill(quoted + slip, quoted - mid, slip)
        quoted = self._met(mid, max(0.0, mid - self.half_spread) if bid is None else bid)
        price = max(0.0, quoted - slip)
        return PricedFill(price, mid - quoted, quoted - price)

    def _met(self, mid: float, quoted: float) -> float:
        """Where between mid and quote the fill is."""
        return quoted if self.alpha == 1.0 else mid + self.alpha * (quoted - mid)

    def fill_prices(
        self, mids: FloatArray, side: int, half_spread: FloatArray | None = None
    ) -> FloatArray:
        """Prices that :meth:`fill` gives for many mids; NaN where there is no mid.

        ``half_spread`` takes the place of the model's own where quotes are of another width.
        """
        slip = self.slippage_fraction * mids
        half = self.half_spread if half_spread is None else half_spread
        quoted = mids + half if side > 0 else np.maximum(0.0, mids - half)
        if self.alpha != 1.0:
            quoted = mids + self.alpha * (quoted - mids)
        return np.asarray(quoted + slip if side > 0 else np.maximum(0.0, quoted - slip))

    def fees(self, contracts: int, side: int, price: float, multiplier: int) -> float:
        """Commission, and the fee on a sale's proceeds, of one leg in dollars."""
        commission = self.commission * contracts
        if side > 0 or self.sell_fee_rate == 0.0:
            return commission
        return commission + self.sell_fee_rate * price * contracts * multiplier


#: Cost presets (inventory C-05), each with where its numbers come from.
PRESETS: dict[str, CostModel] = {
    # README of the rltrade project, "Transaction Costs": COMMISSION $0.65 per contract per leg,
    # SLIPPAGE 2 % of premium, BID_ASK_SPREAD $0.05 per contract. Its code takes 0.05 x 100 x legs
    # on each entry and each exit: five cents a share from mid to quote, each way.
    "rltrade": CostModel("rltrade", 0.65, 0.02, 0.05),
    # Notes of the spymaster project: 10 bps slippage, $0.65 a contract, "bid-ask spreads" without a
    # number; one cent each way is half of the two cents at which weekly SPY options near the money
    # are usually quoted.
    "spymaster": CostModel("spymaster", 0.65, 0.0010, 0.01),
    # Tradier Pro: $0.35 a contract plus about $0.052 of exchange, clearing and regulatory fees; the
    # Section 31 fee is $27.80 a million of sale proceeds (SEC order effective 22 May 2024).
    "tradier": CostModel("tradier", 0.402, 0.0010, 0.01, sell_fee_rate=27.8e-6),
    # Alpaca: no commission on options through the API; about $0.05 a contract of regulatory and
    # clearing fees (ORF, OCC) are passed on, and the Section 31 fee.
    "alpaca": CostModel("alpaca", 0.05, 0.0010, 0.01, sell_fee_rate=27.8e-6),
    # For tests and upper bounds only: what the mid would have given.
    "free": CostModel("free", 0.0, 0.0, 0.0),
}


def cost_preset(name: str) -> CostModel:
    """Look a preset up.

    Raises
    ------
    ConfigError
        If there is none of that name; the message lists them.
    """
    if name not in PRESETS:
        raise ConfigError(f"no cost preset {name!r}", hint=f"choose of: {', '.join(PRESETS)}")
    return PRESETS[name]
