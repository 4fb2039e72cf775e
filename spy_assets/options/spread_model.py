r"""A model of the distance between bid and ask, for prices that no market quoted.

Quotes made with it are a model's and are labelled so (``quote_kind = "surface"``). In dollars,

.. math::

    s = tick + m \, A \, V^a \, (\nu + \nu_0)^b \, e^{c T}
        + \frac{e\,C}{e + C}, \qquad e = m_I \, B \, i^d, \qquad C = C_0 + C_1 \min(T, 1)

rounded to whole ticks and at least one, with V the time value, :math:`\nu` the vega for one volatility
point, T the years to expiry and i the intrinsic value in per cent of the spot (0 out of the money). Both
quotes of an option out of the money are made by whoever trades its volatility; in the money he must also
trade the stock, and some way in nobody does: there the spread runs into the widths C that exchanges
allow their market makers.

Where the constants come from
-----------------------------
Fitted by robust least squares of logarithms (soft L1 at 0.3) to all SPY quotes with a bid, out to two
years, of four snapshots of Yahoo within trading hours (2026-02-11 to 13: 26,154 quotes) and seven
chains of the Cboe from after the close (2026-07-22 to 31, without the 23rd, which repeats the day
before: 83,804 quotes), both samples with the same weight. The hours' factors m within the session
are mean ratios to the day's median of four contracts' minute quotes on 2023-08-03 (LEAN's sample
data). ``benchmarks/spread_model.py`` fits them anew from those files (each comes out again within 6 %,
m_I within 11 %) and shows the errors by days and by depth in the money. R squared of the logarithm, and
quantiles of model over real spread:

============================== ==== ==== ==== ==== ==== =====
quotes                         R2   5 %  25 % 50 % 75 % 95 %
============================== ==== ==== ==== ==== ==== =====
out of the money, in hours     0.78 0.60 0.83 1.00 1.00 2.00
out of the money, after hours  0.80 0.50 0.75 1.00 1.20 2.00
in the money, in hours         0.69 0.28 0.68 0.95 1.58 3.84
in the money, after hours      0.70 0.62 0.89 0.99 1.14 2.60
============================== ==== ==== ==== ==== ==== =====

Out of the money 79 % of the model's spreads in hours lie within a tick of the real one, and 68 % after
them. A same-day expiry needs no constant of its own: a given price has less vega there, and the median
spread is one tick, real (163 quotes of the last day) and in the model. What it does not know: events,
single quotes' noise, and other symbols (dollars are those of a SPY near 700 with penny ticks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
Phase = Literal["open", "regular", "last", "closed"]

#: Minutes after the open, and before the close, in which quotes are wider.
OPEN_MINUTES: Final = 30.0
LAST_MINUTES: Final = 15.0


@dataclass(frozen=True, slots=True)
class TickRule:
    """Smallest price steps in dollars: below ``switch`` dollars of premium, and from there on."""

    below: float
    above: float
    switch: float = 3.0

    def of(self, price: npt.ArrayLike) -> FloatArray:
        """Step at each price."""
        p = np.asarray(price, dtype=np.float64)
        return np.where(p < self.switch, self.below, self.above)


#: SPY, QQQ and IWM: pennies at all prices (Cboe rule 5.4, Penny Interval Program).
PENNIES: Final = TickRule(0.01, 0.01)
#: Other classes of the Penny Interval Program, and those outside it.
PENNY_CLASS: Final = TickRule(0.01, 0.05)
NICKEL_CLASS: Final = TickRule(0.05, 0.10)


@dataclass(frozen=True, slots=True)
class SpreadModel:
    """Constants of the formula; see the module for their names there and their source.

    ``scale`` A, ``value_power`` a, ``vega_power`` b, ``vega_offset`` nu_0, ``growth`` c per year,
    ``itm_scale`` B, ``itm_power`` d, ``cap`` C_0 and ``cap_per_year`` C_1 in dollars. ``hours`` are the
    factors m by phase of the session; ``closed_itm`` is m_I after the close, when it parts from m.
    """

    scale: float = 0.01116
    value_power: float = 0.3728
    vega_power: float = 0.4022
    vega_offset: float = 0.005
    growth: float = 0.4270
    itm_scale: float = 0.0702
    itm_power: float = 1.5737
    cap: float = 3.417
    cap_per_year: float = 1.240
    hours: tuple[float, float, float, float] = (1.5, 1.0, 1.35, 1.70)
    closed_itm: float = 15.03

    def spread(
        self,
        time_value: npt.ArrayLike,
        vega: npt.ArrayLike,
        years: npt.ArrayLike,
        *,
        intrinsic: npt.ArrayLike = 0.0,
        spot: npt.ArrayLike = 1.0,
        phase: Phase = "regular",
        ticks: TickRule = PENNIES,
    ) -> FloatArray:
        """Return ask minus bid in dollars per share, whole ticks; arguments broadcast.

        Parameters
        ----------
        time_value
            Price less intrinsic value: the price of the option of the other right at this strike.
        vega
            Dollars for one volatility point (0.01).
        years
            To expiry.
        intrinsic, spot
            Dollars; without the first the option is taken to be out of the money.
        phase
            Part of the session; see :func:`phase_of`.
        ticks
            The class's price steps.

        Raises
        ------
        DataError
            If a value is negative or not finite.
        ConfigError
            If there is no such phase.
        """
        value, nu, t, inner, s = (
            np.asarray(x, dtype=np.float64) for x in (time_value, vega, years, intrinsic, spot)
        )
        for name, given in (
            ("time value", value), ("vega", nu), ("years", t), ("intrinsic", inner), ("spot", s),
        ):  # fmt: skip
            _require(name, given)
        factor, inner_factor = self._factors(phase)
        tick = ticks.of(value + inner)
        wide = self.scale * factor * np.exp(self.growth * t)
        outer = wide * value**self.value_power * (nu + self.vega_offset) ** self.vega_power
        cap = self.cap + self.cap_per_year * np.minimum(t, 1.0)
        extra = inner_factor * self.itm_scale * (100.0 * inner / s) ** self.itm_power
        raw = tick + outer + cap * extra / (cap + extra)
        return np.asarray(np.maximum(np.rint(raw / tick), 1.0) * tick, dtype=np.float64)

    def _factors(self, phase: Phase) -> tuple[float, float]:
        phases = ("open", "regular", "last", "closed")
        if phase not in phases:
            raise ConfigError(
                f"no phase of the session is called {phase!r}", hint=f"one of: {', '.join(phases)}"
            )
        factor = self.hours[phases.index(phase)]
        return factor, self.closed_itm if phase == "closed" else factor


SPY_SPREADS: Final = SpreadModel()


class ModelQuote(NamedTuple):
    """Bid and ask in dollars per share, on the tick; a bid of 0 is no bid."""

    bid: FloatArray
    ask: FloatArray


def model_quote(
    price: npt.ArrayLike, spread: npt.ArrayLike, ticks: TickRule = PENNIES
) -> ModelQuote:
    """Lay a spread around a model's price: bid not above it, ask not below, both whole ticks.

    The quote is as wide as ``spread`` asks for (one tick more where the price lies too far off the
    grid); next to zero, where there is no room below, the bid is 0.
    """
    p, s = np.asarray(price, dtype=np.float64), np.asarray(spread, dtype=np.float64)
    _require("price", p)
    _require("spread", s)
    tick = ticks.of(p)
    # A price on the grid but for rounding stays where it is.
    bid = np.floor(np.maximum(p - 0.5 * s, 0.0) / tick + 1e-9) * tick
    reach = bid + np.maximum(np.rint(s / tick), 1.0) * tick
    ask = np.maximum(reach, np.ceil(p / tick - 1e-9) * tick)
    return ModelQuote(np.asarray(bid, np.float64), np.asarray(ask, np.float64))


def phase_of(minutes_after_open: float, session_minutes: float = 390.0) -> Phase:
    """Name the part of the session; 390 minutes are a whole one, 210 a half day.

    Before the open and from the close on it is ``"closed"``.
    """
    if not 0.0 <= minutes_after_open < session_minutes:
        return "closed"
    if minutes_after_open < OPEN_MINUTES:
        return "open"
    return "last" if minutes_after_open >= session_minutes - LAST_MINUTES else "regular"


def _require(name: str, values: FloatArray) -> None:
    bad = ~(np.isfinite(values) & (values >= 0.0))
    if np.any(bad):
        raise DataError(
            f"{name} {float(values[bad].flat[0])!r} has no spread",
            hint=f"{name} must be finite and not negative; a missing price stays missing",
        )
