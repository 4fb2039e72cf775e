"""The registry of option structures: fixed ids, legs, and payoffs computed from the legs.

The ids are part of stored signals and of every policy's action map; they never change. Maximum
profit, maximum loss and breakevens come from the legs and the prices paid for them, evaluated at
the kinks of the piecewise-linear payoff at expiry. None of them is a constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from spy_assets.errors import ConfigError, DataError
from spy_assets.options.contracts import (
    MULTIPLIER,
    STRIKE_STEP,
    OptionContract,
    Right,
    nearest_strike,
)

#: Dollars between the strikes of a vertical, and from the money to a condor's short strikes.
DEFAULT_WIDTH = 5.0

Direction = Literal["none", "bullish", "bearish", "neutral", "long_volatility"]


@dataclass(frozen=True, slots=True)
class LegTemplate:
    """One leg before strikes are known: ``side`` +1 bought, -1 sold; ``offset`` in widths."""

    right: Right
    side: int
    offset: float
    ratio: int = 1


@dataclass(frozen=True, slots=True)
class Structure:
    """A named combination of legs.

    Attributes
    ----------
    id
        Stored number; never reused.
    name
        Stored name.
    title
        As people read it.
    direction
        The market view that it expresses.
    templates
        Its legs; empty for ``hold`` and ``close``, which open nothing.
    naked
        Whether a short leg is uncovered, so that the loss has no bound (or only the strike).
    """

    id: int
    name: str
    title: str
    direction: Direction
    templates: tuple[LegTemplate, ...]
    naked: bool = False


@dataclass(frozen=True, slots=True)
class Leg:
    """One contract of a structure: ``quantity`` signed, per one unit of the structure.

    ``symbol`` is the contract's OCC symbol.
    """

    contract: OptionContract
    quantity: int
    symbol: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Written once: every ledger entry of the leg carries it.
        object.__setattr__(self, "symbol", self.contract.occ)

    @property
    def side(self) -> int:
        """+1 bought, -1 sold."""
        return 1 if self.quantity > 0 else -1

    @property
    def ratio(self) -> int:
        """Contracts per unit of the structure."""
        return abs(self.quantity)


@dataclass(frozen=True, slots=True)
class RiskProfile:
    """What one unit can make or lose if held to expiry, dollars; infinity where unbounded.

    ``max_loss`` is positive. ``breakevens`` are underlying prices in ascending order.
    """

    max_profit: float
    max_loss: float
    breakevens: tuple[float, ...]


def _leg(right: Right, side: int, offset: float, ratio: int = 1) -> LegTemplate:
    return LegTemplate(right, side, offset, ratio)


_ALL = (
    Structure(0, "hold", "Hold", "none", ()),
    Structure(1, "close", "Close", "none", ()),
    Structure(2, "long_call", "Long call", "bullish", (_leg("C", 1, 0),)),
    Structure(3, "long_put", "Long put", "bearish", (_leg("P", 1, 0),)),
    Structure(4, "short_call", "Short call", "bearish", (_leg("C", -1, 0),), naked=True),
    Structure(5, "short_put", "Short put", "bullish", (_leg("P", -1, 0),), naked=True),
    Structure(
        6, "bull_call_debit", "Bull call spread", "bullish", (_leg("C", 1, 0), _leg("C", -1, 1))
    ),
    Structure(
        7, "bear_put_debit", "Bear put spread", "bearish", (_leg("P", 1, 0), _leg("P", -1, -1))
    ),
    Structure(
        8, "bull_put_credit", "Bull put spread", "bullish", (_leg("P", -1, 0), _leg("P", 1, -1))
    ),
    Structure(
        9, "bear_call_credit", "Bear call spread", "bearish", (_leg("C", -1, 0), _leg("C", 1, 1))
    ),
    Structure(
        10,
        "iron_condor",
        "Iron condor",
        "neutral",
        (_leg("P", 1, -2), _leg("P", -1, -1), _leg("C", -1, 1), _leg("C", 1, 2)),
    ),
    Structure(
        11, "long_straddle", "Long straddle", "long_volatility", (_leg("C", 1, 0), _leg("P", 1, 0))
    ),
    Structure(
        12, "long_strangle", "Long strangle", "long_volatility", (_leg("P", 1, -1), _leg("C", 1, 1))
    ),
    Structure(
        13,
        "butterfly",
        "Call butterfly",
        "neutral",
        (_leg("C", 1, -1), _leg("C", -1, 0, 2), _leg("C", 1, 1)),
    ),
)

#: Every structure by name, in the order of the ids.
STRUCTURES: dict[str, Structure] = {structure.name: structure for structure in _ALL}


def structure_named(name: str) -> Structure:
    """Look a structure up.

    Raises
    ------
    ConfigError
        If there is none of that name; the message lists them.
    """
    try:
        return STRUCTURES[name]
    except KeyError:
        known = ", ".join(STRUCTURES)
        raise ConfigError(f"no structure is called {name!r}", hint=f"choose of: {known}") from None


def legs_for(
    structure: Structure | str,
    spot: float,
    expiry: date,
    *,
    root: str = "SPY",
    width: float = DEFAULT_WIDTH,
    step: float = STRIKE_STEP,
) -> tuple[Leg, ...]:
    """Give the legs of one unit, strikes on the grid around ``spot``; empty for hold and close.

    The middle strike is the grid strike nearest to ``spot``; the others lie whole ``width`` dollars
    from it (a vertical 5 wide; a condor with short strikes 5 from the middle and wings 5 further).

    Raises
    ------
    DataError
        If a strike would not be positive.

    >>> [leg.contract.display for leg in legs_for("bear_put_debit", 688.2, date(2026, 1, 13))]
    ['SPY 260113 P 688', 'SPY 260113 P 683']
    """
    chosen = structure_named(structure) if isinstance(structure, str) else structure
    middle = nearest_strike(spot, step)
    return tuple(
        Leg(
            OptionContract(root, expiry, template.right, middle + template.offset * width),
            template.side * template.ratio,
        )
        for template in chosen.templates
    )


def display_symbol(structure: Structure | str, legs: Sequence[Leg]) -> str:
    """Write the legs in one line: ``SPY 260113 P 688/683``, ``SPY 260113 IC 678/683/693/698``.

    Long leg first for verticals; condor strikes ascend; mixed rights show each right once.
    """
    if not legs:
        return ""
    name = structure if isinstance(structure, str) else structure.name
    first = legs[0].contract
    rights = {leg.contract.right for leg in legs}
    strikes = "/".join(f"{leg.contract.strike:g}" for leg in legs)
    tag = "IC" if name == "iron_condor" else "+".join(sorted(rights))
    return f"{first.root} {first.expiry:%y%m%d} {tag} {strikes}"


def payoff_at_expiry(legs: Sequence[Leg], spot: float) -> float:
    """Dollars that one unit pays at expiry with the underlying at ``spot``, before what it cost."""
    total = 0.0
    for leg in legs:
        sign = 1.0 if leg.contract.right == "C" else -1.0
        total += leg.quantity * max(0.0, sign * (spot - leg.contract.strike))
    return total * MULTIPLIER


def _end_slope(legs: Sequence[Leg]) -> int:
    """Contracts of calls left open above the last strike: the slope of the payoff there."""
    return sum(leg.quantity for leg in legs if leg.contract.right == "C")


def risk_profile(
    legs: Sequence[Leg], prices: Sequence[float], *, costs: float = 0.0
) -> RiskProfile:
    """Maximum profit, maximum loss and breakevens of one unit held to expiry.

    Parameters
    ----------
    legs
        The structure's legs, all of one expiry.
    prices
        Dollars per share at which each leg was, or would be, filled.
    costs
        Commissions and fees of one unit in dollars, not in the prices.

    Raises
    ------
    DataError
        If prices and legs differ in number, or the legs expire on different days.
    """
    if len(prices) != len(legs):
        raise DataError(f"{len(legs)} legs but {len(prices)} prices")
    if len({leg.contract.expiry for leg in legs}) > 1:
        raise DataError(
            "a payoff at expiry needs legs of one expiry", hint="price calendars instead"
        )
    paid = MULTIPLIER * math.fsum(
        leg.quantity * price for leg, price in zip(legs, prices, strict=True)
    )
    kinks = [0.0, *sorted({leg.contract.strike for leg in legs})]
    values = [payoff_at_expiry(legs, kink) - paid - costs for kink in kinks]
    slope = _end_slope(legs) * MULTIPLIER
    return RiskProfile(
        max_profit=math.inf if slope > 0 else max(values),
        max_loss=math.inf if slope < 0 else max(0.0, -min(values)),
        breakevens=_zeros(kinks, values, float(slope)),
    )


def _zeros(kinks: Sequence[float], values: Sequence[float], end_slope: float) -> tuple[float, ...]:
    """Where the piecewise-linear function through the kinks, then straight on, crosses zero."""
    zeros = {kink for kink, value in zip(kinks, values, strict=True) if value == 0.0}
    for (k0, v0), (k1, v1) in zip(
        zip(kinks, values, strict=True), zip(kinks[1:], values[1:], strict=True), strict=False
    ):
        if v0 * v1 < 0.0:
            zeros.add(k0 - v0 * (k1 - k0) / (v1 - v0))
    if values[-1] * end_slope < 0.0:
        zeros.add(kinks[-1] - values[-1] / end_slope)
    return tuple(sorted(zeros))


def worst_payoff(legs: Sequence[Leg]) -> float:
    """Give the lowest payoff of a unit at expiry, dollars, at most 0; -inf if unbounded."""
    if not legs:
        return 0.0
    return -risk_profile(legs, [0.0] * len(legs)).max_loss
