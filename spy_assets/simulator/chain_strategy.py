"""What is traded on option chains: which contracts, when, how filled, and when it ends.

A structure's legs find their contracts by one rule each: by delta, by the distance from the strike at
the money, or by the distance from another leg. :func:`legs_by_width` places them as
:func:`~spy_assets.options.structures.legs_for` does, :func:`legs_by_moneyness` does so in fractions of
the spot, :func:`legs_by_delta` puts a structure's inner legs at a delta and its wings beyond them. Only
contracts at which the leg can be traded are taken: with a quote on both sides, and with a bid above zero
for a leg that is sold. Of two that are equally near it is the higher strike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from spy_assets.errors import ConfigError
from spy_assets.options.structures import DEFAULT_WIDTH, Structure, structure_named
from spy_assets.simulator.costs import PRESETS, CostModel
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules

How = Literal["delta", "middle", "leg"]
ChainFill = Literal["next", "same"]


@dataclass(frozen=True, slots=True)
class LegRule:
    """How one leg finds its strike.

    Attributes
    ----------
    how
        ``"delta"``: the absolute delta nearest to ``value``. ``"middle"``: ``value`` dollars, and
        ``share`` of the spot, above the listed strike nearest to the spot. ``"leg"``: the same
        above the strike of the leg ``other``; with a distance of 0 exactly its strike.
    """

    how: How
    value: float = 0.0
    share: float = 0.0
    other: int = -1


def legs_by_width(structure: Structure | str, width: float = DEFAULT_WIDTH) -> tuple[LegRule, ...]:
    """Legs whole widths (dollars) from the strike at the money, as the registry has them.

    >>> [rule.value for rule in legs_by_width("iron_condor", 5.0)]
    [-10.0, -5.0, 5.0, 10.0]
    """
    chosen = _opening(structure)
    _require_positive("width", width)
    return tuple(LegRule("middle", value=leg.offset * width) for leg in chosen.templates)


def legs_by_moneyness(structure: Structure | str, share: float) -> tuple[LegRule, ...]:
    """As :func:`legs_by_width`, the width as a fraction of the spot."""
    chosen = _opening(structure)
    _require_positive("share of the spot", share)
    return tuple(LegRule("middle", share=leg.offset * share) for leg in chosen.templates)


def legs_by_delta(
    structure: Structure | str,
    delta: float,
    *,
    width: float = DEFAULT_WIDTH,
    wing_delta: float | None = None,
) -> tuple[LegRule, ...]:
    """The inner leg of each right at an absolute delta, the others beyond it.

    Inner is the leg nearest to the money: the short strikes of a condor or a credit spread, the
    long one of a debit spread, the middle of a butterfly. The others are whole widths from the inner
    leg of their right, or at ``wing_delta``. Legs of one strike (a straddle's) follow the first.

    Raises
    ------
    ConfigError
        If the structure opens nothing, a delta is not between 0 and 1, or the width is not positive.

    >>> [(rule.how, rule.value) for rule in legs_by_delta("iron_condor", 0.16, width=5.0)]
    [('leg', -5.0), ('delta', 0.16), ('delta', 0.16), ('leg', 5.0)]
    """
    chosen = _opening(structure)
    _require_positive("width", width)
    for value in (delta, 0.5 if wing_delta is None else wing_delta):
        if not 0.0 < value < 1.0:
            raise ConfigError(f"delta {value!r} is not between 0 and 1")
    rules: list[LegRule] = []
    anchors: dict[str, int] = {}
    places = {leg.offset: at for at, leg in reversed(list(enumerate(chosen.templates)))}
    for at, leg in sorted(enumerate(chosen.templates), key=lambda pair: abs(pair[1].offset)):
        anchors.setdefault(leg.right, at)
    for at, leg in enumerate(chosen.templates):
        anchor = anchors[leg.right]
        if at != anchor and wing_delta is not None:
            rules.append(LegRule("delta", wing_delta))
        elif at != anchor:
            away = leg.offset - chosen.templates[anchor].offset
            rules.append(LegRule("leg", away * width, other=anchor))
        elif places[leg.offset] != at:
            rules.append(LegRule("leg", other=places[leg.offset]))
        else:
            rules.append(LegRule("delta", delta))
    return tuple(rules)


def _opening(structure: Structure | str) -> Structure:
    chosen = structure_named(structure) if isinstance(structure, str) else structure
    if not chosen.templates:
        raise ConfigError(f"{chosen.name} opens nothing", hint="choose a structure with legs")
    return chosen


def _require_positive(name: str, value: float) -> None:
    if not 0.0 < value < float("inf"):
        raise ConfigError(f"{name} {value!r} is not a positive number")


@dataclass(frozen=True, slots=True)
class ExpiryRule:
    """Which expiry is traded: of those ``low`` to ``high`` calendar days away the nearest to ``target``.

    Of two the later one. Series that settle on opening prices are left out unless ``opening`` is set.
    """

    low: int = 1
    high: int = 7
    target: int = 7
    opening: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise ConfigError(
                f"days to expiry from {self.low} to {self.high} are no range from 0 on"
            )


#: The buckets of days to expiry, each with the days that are looked for in it.
DTE_BUCKETS: Final[dict[str, ExpiryRule]] = {
    "0": ExpiryRule(0, 0, 0),
    "1-7": ExpiryRule(1, 7, 7),
    "7-45": ExpiryRule(7, 45, 30),
}


@dataclass(frozen=True, slots=True)
class EntryRule:
    """When an entry is looked for, and how many positions there may be.

    Attributes
    ----------
    every
        Sessions of the table from one entry to the next that is looked for; 1 is each session.
    after_open
        At the first snapshot so long after the open; None is the session's last snapshot.
    most_open
        Positions at a time; 1 enters only when flat.
    most_per_expiry
        Positions of one expiry at a time; None is without such a limit.
    """

    every: int = 1
    after_open: timedelta | None = None
    most_open: int = 1
    most_per_expiry: int | None = None

    def __post_init__(self) -> None:
        for name in ("every", "most_open", "most_per_expiry"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} {value} is not a number from 1 on")


@dataclass(frozen=True, slots=True)
class ChainStrategy:
    """One structure traded by rules.

    Attributes
    ----------
    structure
        Name in the registry of structures.
    legs
        A rule for each of its legs, in the registry's order.
    expiry, entry, rules
        Which expiry, when, and the exit chain (of the rules in :mod:`spy_assets.simulator.exits`).
    fill
        ``"next"``: orders fill at the snapshot after the one they were decided on, as elsewhere in
        the simulator. ``"same"``: at the quotes that they were decided on, as most backtests of
        daily chains assume.
    costs
        Commissions, fees and slippage, and by its ``alpha`` how much of the half-spread a fill loses
        against mid: 0 fills at mid, 1 at bid and ask. The half-spread is the quote's own.
    units
        Units of each entry.
    strike_miss, delta_miss
        How far a contract may be from what its rule asks for, dollars and delta.
    sell_at_zero_bid
        Give a long leg up for nothing where there is no bid, instead of waiting for one.
    allow_naked
        Whether structures without a bound on their loss are opened, at Reg-T margin.
    capital
        Dollars to begin with.
    close_at_end
        Close what is open at the table's last snapshot (``end_of_data``).
    """

    structure: str
    legs: tuple[LegRule, ...]
    expiry: ExpiryRule = ExpiryRule()
    entry: EntryRule = EntryRule()
    rules: ExitRules = DEFAULT_RULES
    fill: ChainFill = "next"
    costs: CostModel = field(default=PRESETS["tradier"])
    units: int = 1
    strike_miss: float = 2.5
    delta_miss: float = 0.05
    sell_at_zero_bid: bool = False
    allow_naked: bool = False
    capital: float = 100_000.0
    close_at_end: bool = True

    def __post_init__(self) -> None:
        templates = _opening(self.structure).templates
        if len(self.legs) != len(templates):
            raise ConfigError(
                f"{self.structure} has {len(templates)} legs, {len(self.legs)} rules are given",
                hint="make them with legs_by_width, legs_by_moneyness or legs_by_delta",
            )
        if self.fill not in ("next", "same"):
            raise ConfigError(f"fill {self.fill!r}", hint="use 'next' or 'same'")
        if self.units < 1:
            raise ConfigError(f"{self.units} units are nothing to open")
        for name in ("capital", "strike_miss", "delta_miss"):
            _require_positive(name, getattr(self, name))
        self.leg_order()

    @property
    def definition(self) -> Structure:
        """The structure as the registry has it."""
        return structure_named(self.structure)

    def leg_order(self) -> tuple[int, ...]:
        """The legs in an order in which each comes after the one that it is measured from.

        Raises
        ------
        ConfigError
            If a rule is measured from a leg that is not there, or legs are measured in a circle.
        """
        done: list[int] = []
        waiting = list(range(len(self.legs)))
        while waiting:
            ready = [at for at in waiting if self._is_ready(self.legs[at], done)]
            if not ready:
                raise ConfigError(
                    f"the legs {waiting} of {self.structure} are measured from legs that cannot be "
                    "chosen before them"
                )
            done += ready
            waiting = [at for at in waiting if at not in ready]
        return tuple(done)

    @staticmethod
    def _is_ready(rule: LegRule, done: list[int]) -> bool:
        return rule.how != "leg" or rule.other in done
