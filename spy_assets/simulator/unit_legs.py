"""One unit of several structures at every session, as arrays: the vectorised twin of the kernel's fills.

Structures share legs (the call at the middle strike is in five of them), so legs are priced once and
combined. Arrays are ``[legs, n]`` for amounts per share of a leg, and ``[k, n]`` in dollars for
one unit of a structure; n are the sessions of the decision, which fix the strikes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options.contracts import MULTIPLIER
from spy_assets.options.structures import LegTemplate, Structure
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.kernel import NAKED_FLOOR, NAKED_RATE, ShortPuts

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class UnitCash(NamedTuple):
    """A fill of one unit, dollars: ``value`` paid at the prices, ``fees`` beside it, ``[k, n]``."""

    value: FloatArray
    fees: FloatArray


class UnitLegs:
    """The distinct legs of some structures around the middle strike of each session.

    Parameters
    ----------
    structures
        What the rows k are.
    middle
        Middle strike of each session, dollars, ``[n]``.
    width
        Dollars between strikes.

    Attributes
    ----------
    strike
        ``[legs, n]``.
    sign
        +1 for a call and -1 for a put, ``[legs]``.
    tradable
        Whether all strikes of a session are above zero for each structure, ``[k, n]``.
    """

    def __init__(self, structures: Sequence[Structure], middle: FloatArray, width: float) -> None:
        numbers: dict[tuple[str, float], int] = {}

        def number(leg: LegTemplate) -> int:
            return numbers.setdefault((leg.right, leg.offset), len(numbers))

        self.structures = tuple(
            tuple((number(leg), leg.side * leg.ratio) for leg in structure.templates)
            for structure in structures
        )
        offsets = np.array([offset for _, offset in numbers])
        self.strike: FloatArray = middle + offsets[:, None] * width
        self.sign: FloatArray = np.array([1.0 if right == "C" else -1.0 for right, _ in numbers])
        self.tradable: BoolArray = np.stack(
            [(self.strike[[leg for leg, _ in one]] > 0.0).all(axis=0) for one in self.structures]
        )

    def combined(self, amounts: FloatArray, short_calls: FloatArray | None = None) -> FloatArray:
        """Dollars of one unit from dollars per share; ``short_calls`` replaces those of sold calls."""
        rows = []
        for structure in self.structures:
            total = np.zeros(amounts.shape[1])
            for leg, quantity in structure:
                total += quantity * self._of(leg, quantity, amounts, short_calls)
            rows.append(total * MULTIPLIER)
        return np.stack(rows)

    def _of(
        self, leg: int, quantity: int, amounts: FloatArray, short_calls: FloatArray | None
    ) -> FloatArray:
        if short_calls is None or quantity > 0 or self.sign[leg] < 0.0:
            return np.asarray(amounts[leg])
        return np.asarray(short_calls[leg])

    def filled(
        self,
        mids: FloatArray,
        costs: CostModel,
        direction: int,
        half_spread: FloatArray | None = None,
        shares: FloatArray | None = None,
    ) -> UnitCash:
        """Trade one unit of every structure, ``direction`` +1 opens and -1 closes.

        ``half_spread`` (dollars per share) takes the place of the cost model's. ``shares``, where not
        NaN, is what a sold call that was assigned is worth per share: it is not traded but delivered,
        without costs.
        """
        prices = {side: costs.fill_prices(mids, side, half_spread) for side in (1, -1)}
        shape = (len(self.structures), mids.shape[1])
        value, fees = np.zeros(shape), np.zeros(shape)
        for row, structure in enumerate(self.structures):
            for leg, quantity in structure:
                traded = quantity * direction
                price = prices[1 if traded > 0 else -1][leg]
                fee = np.full(mids.shape[1], costs.commission * abs(traded))
                if traded < 0:
                    fee += costs.sell_fee_rate * price * abs(traded) * MULTIPLIER
                if shares is not None and quantity < 0 and self.sign[leg] > 0.0:
                    delivered = ~np.isnan(shares[leg])
                    price = np.where(delivered, shares[leg], price)
                    fee[delivered] = 0.0
                value[row] += traded * price * MULTIPLIER
                fees[row] += fee
        return UnitCash(value, fees)

    def intrinsic(self, spot: FloatArray) -> FloatArray:
        """Value per share at expiry, ``[legs, n]``."""
        return np.maximum(0.0, self.sign[:, None] * (spot - self.strike))

    def worst_payoff(self) -> FloatArray:
        """Lowest payoff at expiry, dollars; minus infinity where it has no bound."""
        kinks = (np.zeros(self.strike.shape[1]), *self.strike)
        worst = np.minimum.reduce([self.combined(self.intrinsic(kink)) for kink in kinks])
        slope = np.array(
            [sum(q for leg, q in one if self.sign[leg] > 0.0) for one in self.structures]
        )
        return np.where(slope[:, None] < 0, -np.inf, worst)

    def margin(
        self, mids: FloatArray, spot: FloatArray, short_puts: ShortPuts = "cash_secured"
    ) -> FloatArray:
        """Dollars set aside, as :func:`~spy_assets.simulator.kernel.margin_required` has it."""
        worst = np.minimum(self.worst_payoff(), 0.0)
        by_margin = np.isinf(worst)
        if short_puts == "reg_t":
            by_margin |= np.array([[self._is_uncovered(one)] for one in self.structures])
        away = np.maximum(0.0, self.sign[:, None] * (self.strike - spot))
        floor = NAKED_FLOOR * np.where(self.sign[:, None] > 0.0, spot, self.strike)
        rate = np.maximum(NAKED_RATE * spot - away, floor)
        naked = np.stack(
            [
                sum((-q * (mids[leg] + rate[leg]) for leg, q in one if q < 0), np.zeros(len(spot)))
                for one in self.structures
            ]
        )
        return np.where(by_margin, naked * MULTIPLIER, -worst)

    def _is_uncovered(self, structure: Sequence[tuple[int, int]]) -> bool:
        """Whether more calls, or more puts, are sold than bought."""
        return any(
            sum(quantity for leg, quantity in structure if self.sign[leg] == right) < 0
            for right in (1.0, -1.0)
        )
