r"""What one unit of every position is worth at every age, computed once for a market path.

A position of the daily clock is decided at the close of a session *d* and filled in the next one, so
that its strikes, its expiry and every price that it will ever meet depend on *d* and on the opening
alone, not on the account that holds it. Fills are priced leg by leg and every amount is proportional
to the number of units: premium, spread, slippage, commission, the fee on a sale's proceeds, margin and
payoff. So one unit's amounts, times the units, are exactly what
:class:`~spy_assets.simulator.daily.DailySimulator` books, and a step of an account becomes a look-up.

*Age* counts sessions of the path since the decision: a position decided at *d* fills at age 1, and at
age *a* the session is *d + a*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError
from spy_assets.options.contracts import YEAR_SECONDS
from spy_assets.simulator.book import Columns, PathBook
from spy_assets.simulator.unit_legs import UnitLegs

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int16]
BoolArray = npt.NDArray[np.bool_]

#: Positions along the last axis of :attr:`PositionTable.values`.
MARK, EXIT, CLOSEOUT, UNPRICED = 0, 1, 2, 3
#: An age that never comes.
NEVER: Final = np.iinfo(np.int16).max


@dataclass(frozen=True, eq=False)
class PositionTable:
    """Dollars per unit by decision session (n), opening (k) and age (a).

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
        For each opening ``[n, ages, 4]``, age 1 first. MARK: value at mid at the close, the last one
        that there was where the close has no price. EXIT: cash that closing brings at the fill time,
        after costs; NaN where it waits. CLOSEOUT: the same at the close, or intrinsic value where
        UNPRICED is 1.
    payoff
        What expiry brings, ``[n, k]``, NaN where the path ends before.
    settle_age
        Age at which it is settled, ``[n, k]``; beyond the path's end where that comes first.
    missed
        Whether the session of the expiry is not on the path, so that it is settled at the last close
        before, as soon as the path goes on.
    assign_age
        Age at whose close a sold call is assigned by the dividend rule, ``[n, k]``, or ``NEVER``. From
        then on the values are those with the short shares in its place.
    spot_entry
        Underlying price at the fill of an entry, ``[n]``.
    at_open
        Whether orders fill at the open of the next session rather than at its close.
    """

    cost: FloatArray
    entry_value: FloatArray
    margin: FloatArray
    risk: FloatArray
    values: tuple[FloatArray, ...]
    payoff: FloatArray
    settle_age: IntArray
    missed: BoolArray
    assign_age: IntArray
    spot_entry: FloatArray
    at_open: bool

    @classmethod
    def of(cls, book: PathBook) -> PositionTable:
        """Price every opening of a book at every age.

        Raises
        ------
        ConfigError
            If a structure has several sold calls, so that the dividend rule could meet two of them.
        """
        walks = [(group.numbers, _Walk(book, group).walked()) for group in book.columns]
        order = np.argsort([number for numbers, _ in walks for number in numbers])

        def columns(name: str) -> npt.NDArray[np.generic]:
            rows = np.concatenate([getattr(walked, name) for _, walked in walks])
            return np.ascontiguousarray(rows[order].T)

        values = [block for _, walked in walks for block in walked.values]
        arrays = {name: columns(name) for name in _Walked._fields if name != "values"}
        at_open = book.config.fill == "next_open"
        return cls(
            values=tuple(values[number] for number in order),
            spot_entry=_ahead(book.path.open if at_open else book.path.close, 1),
            at_open=at_open,
            **arrays,  # type: ignore[arg-type]
        )


class _Walked(NamedTuple):
    """The fields of a :class:`PositionTable` for one group of openings, ``[k, n]``."""

    cost: FloatArray
    entry_value: FloatArray
    margin: FloatArray
    risk: FloatArray
    values: list[FloatArray]
    payoff: FloatArray
    settle_age: IntArray
    missed: BoolArray
    assign_age: IntArray


class _Quotes(NamedTuple):
    """Mids and half spreads at one age, ``[legs, n]``; spot and whether there is a price, ``[n]``."""

    mids: FloatArray
    half: FloatArray | None
    spot: FloatArray
    priced: BoolArray


class _Walk:
    """All positions of one expiry rule, walked through their ages together."""

    def __init__(self, book: PathBook, group: Columns) -> None:
        self.book, self.group = book, group
        self.legs: UnitLegs = book.unit_legs(group)
        self.at_open = book.config.fill == "next_open"
        n = self.n = len(book.path)
        days = np.array([day.toordinal() for day in book.path.sessions])
        expiry = np.array([day.toordinal() for day in group.expiries])
        settle = np.searchsorted(days, expiry)
        self.settle_age = settle - np.arange(n)
        self.missed = (settle < n) & (days[np.minimum(settle, n - 1)] != expiry)
        self.ages = max(1, int(np.minimum(self.settle_age, n - 1 - np.arange(n)).max()))
        #: Dividend less strike of the sold calls that were assigned, NaN for all others.
        self.delivered = np.full(self.legs.strike.shape, np.nan)
        self.sold_call = self._sold_calls()

    def _sold_calls(self) -> list[int]:
        """The leg of each structure that can be assigned, or -1."""
        found = []
        for structure, legs in zip(self.group.structures, self.legs.structures, strict=True):
            calls = [leg for leg, quantity in legs if quantity < 0 and self.legs.sign[leg] > 0.0]
            if len(calls) > 1:
                raise ConfigError(
                    f"{structure.name!r} has {len(calls)} sold calls; one is compiled"
                )
            found.append(calls[0] if calls else -1)
        return found

    def walked(self) -> _Walked:
        """Walk from the fill to the oldest age."""
        count = len(self.group.structures)
        values = np.full((count, self.n, self.ages, 4), np.nan)
        bought = self._quotes(1, self.at_open)
        entry = self.legs.filled(bought.mids, self.book.costs, 1, bought.half)
        cost = np.where(self._can_fill(), entry.value + entry.fees, np.nan)
        margin = self.legs.margin(bought.mids, bought.spot, self.book.config.short_puts)
        mark = self.legs.combined(bought.mids)
        payoff = np.full((count, self.n), np.nan)
        assign_age = np.full((count, self.n), NEVER, dtype=np.int16)
        for age in range(1, self.ages + 1):
            closing = self._quotes(age, False)
            filling = closing if not self.at_open else self._quotes(age, True)
            self._settle(payoff, age)
            now = self._at_mid(closing)
            mark = np.where(np.isnan(now), mark, now)
            values[:, :, age - 1, MARK] = mark
            values[:, :, age - 1, EXIT] = self._proceeds(filling)
            values[:, :, age - 1, CLOSEOUT] = self._close_out(closing)
            values[:, :, age - 1, UNPRICED] = ~closing.priced
            self._assign(closing, age, assign_age)
        return _Walked(
            cost=cost,
            entry_value=np.where(np.isnan(cost), np.nan, entry.value),
            margin=margin,
            risk=self._risk(cost, margin),
            values=list(values),
            payoff=payoff,
            settle_age=np.tile(self.settle_age.astype(np.int16), (count, 1)),
            missed=np.tile(self.missed, (count, 1)),
            assign_age=assign_age,
        )

    def _quotes(self, age: int, at_open: bool) -> _Quotes:
        """Price every leg at one age; NaN where there is no price."""
        from spy_assets.simulator._position_kernel import leg_values

        book, path, config = self.book, self.book.path, self.book.config
        spot = _ahead(path.open if at_open else path.close, age)
        iv = _ahead(path.iv_open if at_open else path.iv_close, age)
        rate = _ahead(path.rate, age)
        now = _ahead(book.open_seconds if at_open else book.close_seconds, age)
        years = np.maximum(0.0, (self.group.expiry_seconds - now) / YEAR_SECONDS)
        known = np.isfinite(spot) & np.isfinite(iv) & np.isfinite(rate) & (age <= self.settle_age)
        market = np.stack((spot[known], years[known], rate[known]))
        # A structure with a strike that does not exist is taken out as a whole.
        strike = np.maximum(self.legs.strike[:, known], config.strike_step)
        sigma = config.surface.iv(market[0], strike, market[1], iv[known])
        price, vega = np.empty_like(strike), np.empty_like(strike)
        leg_values(market, strike, sigma, self.legs.sign, config.dividend_yield, price, vega)
        mids = np.full(self.legs.strike.shape, np.nan)
        mids[:, known] = price
        half = None
        if config.spreads is not None:
            inner = np.maximum(0.0, self.legs.sign[:, None] * (market[0] - strike))
            half = np.full(mids.shape, np.nan)
            half[:, known] = book.config.half_spread(
                price, vega, market[1], inner, market[0], at_open=at_open
            )
        return _Quotes(mids, half, spot, known)

    def _can_fill(self) -> BoolArray:
        """Whether something is left to trade at age 1; only a gap in the path leaves nothing."""
        last_chance = (self.settle_age == 1) & ~self.missed & self.at_open
        return np.asarray(self.legs.tradable & ((self.settle_age > 1) | last_chance))

    def _risk(self, cost: FloatArray, margin: FloatArray) -> FloatArray:
        """Largest loss at expiry, or the margin where it has no bound; at least a dollar."""
        loss = np.maximum(cost - self.legs.worst_payoff(), 0.0)
        return np.maximum(np.where(np.isinf(loss), margin, loss), 1.0)

    def _at_mid(self, quotes: _Quotes) -> FloatArray:
        worth = self.legs.combined(quotes.mids, self._or_shares(quotes.mids, quotes.spot))
        return np.where(quotes.priced, worth, np.nan)

    def _or_shares(self, amounts: FloatArray, spot: FloatArray) -> FloatArray:
        """Amounts per share, and where a sold call was assigned what its shares are worth."""
        shares = spot + self.delivered
        return np.where(np.isnan(shares), amounts, shares)

    def _proceeds(self, quotes: _Quotes) -> FloatArray:
        closing = self.legs.filled(
            quotes.mids, self.book.costs, -1, quotes.half, quotes.spot + self.delivered
        )
        return np.where(quotes.priced, -(closing.value + closing.fees), np.nan)

    def _close_out(self, quotes: _Quotes) -> FloatArray:
        return np.where(quotes.priced, self._proceeds(quotes), self._payoff_at(quotes.spot))

    def _settle(self, payoff: FloatArray, age: int) -> None:
        """Enter what the positions get that are settled at this age."""
        close = self.book.path.close
        due = (self.settle_age == age) & ~self.missed
        payoff[:, due] = self._payoff_at(_ahead(close, age))[:, due]
        late = (self.settle_age == age) & self.missed
        payoff[:, late] = self._payoff_at(_ahead(close, age - 1))[:, late]

    def _payoff_at(self, spot: FloatArray) -> FloatArray:
        inner = self.legs.intrinsic(spot)
        return self.legs.combined(inner, self._or_shares(inner, spot))

    def _assign(self, closing: _Quotes, age: int, assign_age: IntArray) -> None:
        """Apply the dividend rule in the night after this age, as ``kernel.early_assignment`` has it."""
        dividend = _ahead(self.book.path.dividend, age + 1)
        inner = closing.spot - self.legs.strike
        pays = (inner > 0.0) & (closing.mids - inner < dividend) & (dividend != 0.0)
        # An expiry that the path misses may lie before the ex-date.
        pays &= np.isnan(self.delivered) & (age < self.settle_age - self.missed)
        self.delivered = np.where(pays, dividend - self.legs.strike, self.delivered)
        for row, leg in enumerate(self.sold_call):
            if leg >= 0:
                assign_age[row, pays[leg]] = age


def _ahead(values: FloatArray, age: int) -> FloatArray:
    """Values of the session ``age`` ahead, NaN beyond the end."""
    ahead = np.full(len(values), np.nan)
    ahead[: max(0, len(values) - age)] = values[age:]
    return ahead
