r"""What one unit of every position is worth at every age, computed once for a market path.

A position of the daily clock is decided at the close of a session *d* and filled in the next one, so
that its strikes, its expiry and every price that it will ever meet depend on *d* and on the structure
alone, not on the account that holds it. Fills are priced leg by leg and every amount is proportional
to the number of units: premium, spread, slippage, commission, the fee on a sale's proceeds, margin and
payoff. So one unit's amounts, times the units, are exactly what
:class:`~spy_assets.simulator.daily.DailySimulator` books, and a step of an account becomes a look-up.

*Age* counts sessions of the path since the decision: a position decided at *d* fills at age 1, and at
age *a* the session is *d + a*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options.contracts import MULTIPLIER, YEAR_SECONDS, nearest_strike
from spy_assets.options.structures import LegTemplate, Structure, structure_named
from spy_assets.simulator.actions import DAILY_ACTIONS, ENTRIES
from spy_assets.simulator.book import PathBook
from spy_assets.simulator.costs import CostModel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]

#: Positions along the last axis of :attr:`PositionTable.values`.
MARK, EXIT, CLOSEOUT, UNPRICED = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class PositionTable:
    """Dollars per unit by decision session (n), entry column (k) and age (a).

    Attributes
    ----------
    cost
        Cash that an entry takes with all its costs, ``[n, k]``; negative is a credit. NaN where the
        entry cannot be filled: no price at the fill time, no strike, or already expired.
    entry_value
        The same without commission and fees.
    margin
        Cash set aside.
    risk
        What a unit can lose: :attr:`~spy_assets.simulator.kernel.Position.capital_at_risk`.
    values
        ``[n, k, ages, 4]``, age 1 first. MARK: value at mid at the close, the last one that there was
        where the close has no price. EXIT: cash that closing brings at the fill time, after costs; NaN
        where it waits. CLOSEOUT: the same at the close, or intrinsic value where UNPRICED is 1.
    payoff
        What expiry brings, ``[n, k]``, NaN where the path ends before.
    settle_age
        Age at which it is settled, ``[n, k]``; beyond the path's end where that comes first.
    missed
        Whether the session of the expiry is not on the path, so that it is settled at the last close
        before, as soon as the path goes on.
    spot_entry
        Underlying price at the fill of an entry, ``[n]``.
    at_open
        Whether orders fill at the open of the next session rather than at its close.
    """

    cost: FloatArray
    entry_value: FloatArray
    margin: FloatArray
    risk: FloatArray
    values: FloatArray
    payoff: FloatArray
    settle_age: IntArray
    missed: BoolArray
    spot_entry: FloatArray
    at_open: bool

    @property
    def ages(self) -> int:
        """Oldest age in the table."""
        return int(self.values.shape[2])

    @classmethod
    def of(cls, book: PathBook) -> PositionTable:
        """Price every entry column of a book at every age."""
        structures = [structure_named(DAILY_ACTIONS[action].structure) for action in ENTRIES]
        walk = _Walk(book, structures)
        return walk.table()


class _Legs(NamedTuple):
    """The distinct legs of some structures, and each structure as (leg, signed quantity)."""

    templates: tuple[tuple[str, float], ...]
    structures: tuple[tuple[tuple[int, int], ...], ...]


def _distinct_legs(structures: Sequence[Structure]) -> _Legs:
    templates: dict[tuple[str, float], int] = {}

    def number(template: LegTemplate) -> int:
        return templates.setdefault((template.right, template.offset), len(templates))

    combined = tuple(
        tuple((number(leg), leg.side * leg.ratio) for leg in structure.templates)
        for structure in structures
    )
    return _Legs(tuple(templates), combined)


class _Cash(NamedTuple):
    """A fill of one unit, dollars: ``value`` paid at the prices, ``fees`` beside it, ``[k, n]``."""

    value: FloatArray
    fees: FloatArray


class _Walk:
    """All positions of one expiry rule, walked through their ages together; arrays are ``[k, n]``."""

    def __init__(self, book: PathBook, structures: Sequence[Structure]) -> None:
        self.book = book
        self.legs = _distinct_legs(structures)
        path, config = book.path, book.config
        self.n, self.columns = len(path), len(structures)
        self.at_open = config.fill == "next_open"
        middle = np.array([nearest_strike(spot, config.strike_step) for spot in path.close])
        offsets = np.array([offset for _, offset in self.legs.templates])
        self.strike = middle + offsets[:, None] * config.width
        self.sign = np.array([1.0 if right == "C" else -1.0 for right, _ in self.legs.templates])
        days = np.array([day.toordinal() for day in path.sessions])
        expiry = np.array([day.toordinal() for day in book.expiries])
        settle = np.searchsorted(days, expiry)
        self.settle_age = settle - np.arange(self.n)
        self.missed = (settle < self.n) & (days[np.minimum(settle, self.n - 1)] != expiry)
        ages = np.minimum(self.settle_age, self.n - 1 - np.arange(self.n))
        self.ages = max(1, int(ages.max()))

    def table(self) -> PositionTable:
        """Walk from the fill to the oldest age."""
        values = np.full((self.n, self.columns, self.ages, 4), np.nan)
        bought = self.mids(1, self.at_open)
        bought[:, ~self._can_fill()] = np.nan
        entry = _fill_units(bought, self.legs, self.book.costs, 1)
        mark = _at_mid(bought, self.legs)
        payoff = np.full((self.columns, self.n), np.nan)
        for age in range(1, self.ages + 1):
            closing = self.mids(age, False)
            filling = closing if not self.at_open else self.mids(age, True)
            now = _at_mid(closing, self.legs)
            mark = np.where(np.isnan(now), mark, now)
            values[:, :, age - 1, MARK] = mark.T
            values[:, :, age - 1, EXIT] = self._proceeds(filling).T
            values[:, :, age - 1, CLOSEOUT] = self._close_out(closing, age).T
            values[:, :, age - 1, UNPRICED] = np.isnan(now).T
            self._settle(payoff, age)
        worst = self._worst_payoff()
        cost = entry.value + entry.fees
        return PositionTable(
            cost=np.ascontiguousarray(cost.T),
            entry_value=np.ascontiguousarray(entry.value.T),
            margin=np.ascontiguousarray(-np.minimum(worst, 0.0).T),
            risk=np.ascontiguousarray(np.maximum(cost - worst, 1.0).T),
            values=values,
            payoff=np.ascontiguousarray(payoff.T),
            settle_age=np.tile(self.settle_age.astype(np.int16)[:, None], self.columns),
            missed=np.tile(self.missed[:, None], self.columns),
            spot_entry=self._ahead(
                self.book.path.open if self.at_open else self.book.path.close, 1
            ),
            at_open=self.at_open,
        )

    def mids(self, age: int, at_open: bool) -> FloatArray:
        """Mid of every leg at one age, dollars per share, ``[legs, n]``; NaN where there is none."""
        from spy_assets.simulator._position_kernel import leg_prices

        book, path, config = self.book, self.book.path, self.book.config
        spot = self._ahead(path.open if at_open else path.close, age)
        iv = self._ahead(path.iv_open if at_open else path.iv_close, age)
        rate = self._ahead(path.rate, age)
        now = self._ahead(book.open_seconds if at_open else book.close_seconds, age)
        years = np.maximum(0.0, (book.expiry_seconds - now) / YEAR_SECONDS)
        known = np.isfinite(spot) & np.isfinite(iv) & np.isfinite(rate)
        known &= (age <= self.settle_age) & (self.strike > 0.0).all(axis=0)
        market = np.stack((spot[known], years[known], rate[known]))
        strike = np.ascontiguousarray(self.strike[:, known])
        sigma = config.surface.iv(market[0], strike, market[1], iv[known])
        priced = np.empty_like(strike)
        leg_prices(market, strike, sigma, self.sign, config.dividend_yield, priced)
        mids = np.full((len(self.sign), self.n), np.nan)
        mids[:, known] = priced
        return mids

    def _ahead(self, values: FloatArray, age: int) -> FloatArray:
        """Values of the session ``age`` ahead, NaN beyond the end."""
        ahead = np.full(self.n, np.nan)
        ahead[: self.n - age] = values[age:]
        return ahead

    def _can_fill(self) -> BoolArray:
        """Whether something is left to trade at age 1; only a gap in the path leaves nothing."""
        last_chance = (self.settle_age == 1) & ~self.missed & self.at_open
        return np.asarray((self.settle_age > 1) | last_chance)

    def _proceeds(self, mids: FloatArray) -> FloatArray:
        closing = _fill_units(mids, self.legs, self.book.costs, -1)
        return -(closing.value + closing.fees)

    def _close_out(self, mids: FloatArray, age: int) -> FloatArray:
        proceeds = self._proceeds(mids)
        intrinsic = self._payoff_at(self._ahead(self.book.path.close, age))
        return np.where(np.isnan(proceeds), intrinsic, proceeds)

    def _settle(self, payoff: FloatArray, age: int) -> None:
        """Enter what the positions get that are settled at this age."""
        close = self.book.path.close
        due = (self.settle_age == age) & ~self.missed
        payoff[:, due] = self._payoff_at(self._ahead(close, age))[:, due]
        late = (self.settle_age == age) & self.missed
        payoff[:, late] = self._payoff_at(self._ahead(close, age - 1))[:, late]

    def _payoff_at(self, spot: FloatArray) -> FloatArray:
        """Dollars that one unit of each structure pays at expiry, ``[k, n]``."""
        inner = np.maximum(0.0, self.sign[:, None] * (spot - self.strike))
        return _combined(inner, self.legs)

    def _worst_payoff(self) -> FloatArray:
        """Lowest payoff at expiry over the kinks, ``[k, n]``: what no settlement goes below."""
        kinks = (np.zeros(self.n), *self.strike)
        return np.asarray(np.minimum.reduce([self._payoff_at(kink) for kink in kinks]))


def _combined(amounts: FloatArray, legs: _Legs) -> FloatArray:
    """Sum per-share amounts of the legs into dollars of one unit of each structure."""
    rows = []
    for structure in legs.structures:
        total = np.zeros(amounts.shape[1])
        for leg, quantity in structure:
            total += quantity * amounts[leg]
        rows.append(total * MULTIPLIER)
    return np.stack(rows)


def _at_mid(mids: FloatArray, legs: _Legs) -> FloatArray:
    return _combined(mids, legs)


def _fill_units(mids: FloatArray, legs: _Legs, costs: CostModel, direction: int) -> _Cash:
    """Trade one unit of every structure, ``direction`` +1 opens and -1 closes."""
    prices = {side: costs.fill_prices(mids, side) for side in (1, -1)}
    shape = (len(legs.structures), mids.shape[1])
    value, fees = np.zeros(shape), np.zeros(shape)
    for row, structure in enumerate(legs.structures):
        for leg, quantity in structure:
            traded = quantity * direction
            side = 1 if traded > 0 else -1
            price = prices[side][leg]
            value[row] += traded * price * MULTIPLIER
            fees[row] += costs.commission * abs(traded)
            if side < 0:
                fees[row] += costs.sell_fee_rate * price * abs(traded) * MULTIPLIER
    return _Cash(value, fees)
