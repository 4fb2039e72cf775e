"""What trading costs: commissions, slippage and the bid-ask spread, as one model with presets.

A fill starts from a quote. Where a bid and an ask exist they are used; on a model surface the
spread model puts them half a spread around the mid. Buys pay the ask, sells receive the bid, each
worsened by slippage, and no price is below zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError


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
    """

    name: str
    commission: float
    slippage_fraction: float
    half_spread: float
    sell_fee_rate: float = 0.0

    def __post_init__(self) -> None:
        for field in ("commission", "slippage_fraction", "half_spread", "sell_fee_rate"):
            value = getattr(self, field)
            if not 0.0 <= value < float("inf"):
                raise ConfigError(f"cost {field} {value!r} is negative or not finite")

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
            quoted = mid + self.half_spread if ask is None else ask
            return PricedFill(quoted + slip, quoted - mid, slip)
        quoted = max(0.0, mid - self.half_spread) if bid is None else bid
        price = max(0.0, quoted - slip)
        return PricedFill(price, mid - quoted, quoted - price)

    def fill_prices(self, mids: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
        """Prices that :meth:`fill` gives for many mids without quotes; NaN where there is no mid."""
        slip = self.slippage_fraction * mids
        if side > 0:
            return np.asarray(mids + self.half_spread + slip)
        return np.maximum(0.0, np.maximum(0.0, mids - self.half_spread) - slip)

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
