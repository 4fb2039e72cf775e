"""What a policy's numbers mean: maps of actions to structures and days to expiry.

The map belongs to the policy: its name, version and hash are stored with a model, and the numbers of a
version never change. Openings come first, numbered from 0, so that a mask slices them; then HOLD, then
CLOSE. :data:`DAILY_7` is the daily policy's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date
from enum import IntEnum
from functools import cached_property
from typing import Final

from spy_assets.errors import ConfigError
from spy_assets.features.observation import POSITION_TYPE_CODES
from spy_assets.options.contracts import nearest_expiry
from spy_assets.options.structures import STRUCTURES, structure_named
from spy_assets.sessions import next_session


class DailyAction(IntEnum):
    """What the daily policy may do after a close."""

    BUY_CALL = 0
    BUY_PUT = 1
    BULL_SPREAD = 2
    BEAR_SPREAD = 3
    IRON_CONDOR = 4
    HOLD = 5
    CLOSE = 6


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """An action and the structure that it opens."""

    action: DailyAction
    structure: str

    @property
    def is_entry(self) -> bool:
        """Whether the action opens a position."""
        return self.structure not in ("hold", "close")


#: Action number -> what it means.
DAILY_ACTIONS: dict[int, ActionSpec] = {
    spec.action.value: spec
    for spec in (
        ActionSpec(DailyAction.BUY_CALL, "long_call"),
        ActionSpec(DailyAction.BUY_PUT, "long_put"),
        ActionSpec(DailyAction.BULL_SPREAD, "bull_call_debit"),
        ActionSpec(DailyAction.BEAR_SPREAD, "bear_put_debit"),
        ActionSpec(DailyAction.IRON_CONDOR, "iron_condor"),
        ActionSpec(DailyAction.HOLD, "hold"),
        ActionSpec(DailyAction.CLOSE, "close"),
    )
}

N_ACTIONS = len(DAILY_ACTIONS)
HOLD = DailyAction.HOLD.value
CLOSE = DailyAction.CLOSE.value
#: The actions that open something: the first ones, so that a mask slices them.
ENTRIES: tuple[int, ...] = tuple(n for n, spec in DAILY_ACTIONS.items() if spec.is_entry)

#: Code of each structure in the observation ``position_type``; the daily contract's are its own.
TYPE_CODES: Final[dict[str, float]] = {
    **POSITION_TYPE_CODES,
    "short_call": 0.1,
    "short_put": 0.3,
    "bull_put_credit": 0.55,
    "bear_call_credit": 0.65,
    "long_straddle": 0.7,
    "long_strangle": 0.75,
    "butterfly": 0.9,
}


@dataclass(frozen=True, slots=True)
class DteBucket:
    """A range of calendar days to expiry at the decision, and the days aimed at.

    ``target`` 0 is the session after the first in which the order could be filled at an open: the
    order of a close is filled in the next session, which is then the expiry's own. That assumes an
    expiry on every session, which SPY has had since November 2022. Any other target takes the weekly
    expiry nearest to it.
    """

    name: str
    target: int

    def expiry(self, session: date, ahead: int) -> date:
        """Expiry of a decision, at least ``ahead`` sessions after it."""
        if self.target == 0:
            return next_session(session, ahead)
        return nearest_expiry(session, self.target, min_sessions=ahead)


#: Inventory C-03. The nearest weekly expiry to four days is one to seven days away, or eight where the
#: nearer one would leave nothing to trade.
SAME_DAY: Final = DteBucket("0", 0)
DAYS_1_TO_7: Final = DteBucket("1-7", 4)
DAYS_7_TO_45: Final = DteBucket("7-45", 30)
DTE_BUCKETS: Final = (SAME_DAY, DAYS_1_TO_7, DAYS_7_TO_45)


@dataclass(frozen=True, slots=True)
class Opening:
    """A structure to open, its days to expiry (None: the configuration's) and the action's name."""

    structure: str
    bucket: DteBucket | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """Name of the action."""
        days = "" if self.bucket is None else f"_{self.bucket.name}"
        return self.name or f"{self.structure}{days}".upper()


@dataclass(frozen=True)
class ActionMap:
    """Numbered openings, HOLD and CLOSE.

    Raises
    ------
    ConfigError
        If there is no opening, one opens nothing, or two are the same.
    """

    name: str
    version: int
    openings: tuple[Opening, ...]

    def __post_init__(self) -> None:
        empty = [
            one.structure for one in self.openings if not structure_named(one.structure).templates
        ]
        if empty or not self.openings:
            raise ConfigError(
                f"action map {self.name!r} opens {empty or 'nothing'}",
                hint="HOLD and CLOSE are added to every map; list structures that have legs",
            )
        if len({one.label for one in self.openings}) < len(self.openings):
            raise ConfigError(f"action map {self.name!r} has an opening twice")

    def __len__(self) -> int:
        return len(self.openings) + 2

    @property
    def hold(self) -> int:
        """Number of HOLD."""
        return len(self.openings)

    @property
    def close(self) -> int:
        """Number of CLOSE."""
        return len(self.openings) + 1

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each number."""
        return (*(one.label for one in self.openings), "HOLD", "CLOSE")

    def structure(self, number: int) -> str:
        """Name of the structure that a number opens; ``hold`` and ``close`` of the last two."""
        if number < self.hold:
            return self.openings[number].structure
        return "hold" if number == self.hold else "close"

    @property
    def naked(self) -> tuple[str, ...]:
        """Structures with an uncovered short leg."""
        return tuple(one.structure for one in self.openings if structure_named(one.structure).naked)

    @property
    def codes(self) -> tuple[float, ...]:
        """Code of each opening in the observation ``position_type``."""
        return tuple(TYPE_CODES[one.structure] for one in self.openings)

    @cached_property
    def sha256(self) -> str:
        """Identity of everything that a stored number means."""
        content = {**asdict(self), "codes": self.codes, "names": self.names}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


_OPENING = tuple(name for name, structure in STRUCTURES.items() if structure.templates)

#: The daily policy's map: the numbers of :class:`DailyAction`.
DAILY_7: Final = ActionMap(
    "daily_7",
    1,
    tuple(
        Opening(spec.structure, None, spec.action.name)
        for spec in DAILY_ACTIONS.values()
        if spec.is_entry
    ),
)
#: Every structure of the registry, by its id.
ALL_STRUCTURES: Final = ActionMap("all_structures", 1, tuple(Opening(name) for name in _OPENING))
#: Every structure in every bucket of days to expiry.
ALL_STRUCTURES_BY_DTE: Final = ActionMap(
    "all_structures_by_dte",
    1,
    tuple(Opening(name, bucket) for bucket in DTE_BUCKETS for name in _OPENING),
)
_DEFINED_RISK = tuple(name for name in _OPENING if not STRUCTURES[name].naked)
#: Every structure whose loss is bounded by its own legs.
DEFINED_RISK: Final = ActionMap("defined_risk", 1, tuple(Opening(name) for name in _DEFINED_RISK))
#: These in every bucket of days to expiry.
DEFINED_RISK_BY_DTE: Final = ActionMap(
    "defined_risk_by_dte",
    1,
    tuple(Opening(name, bucket) for bucket in DTE_BUCKETS for name in _DEFINED_RISK),
)
#: Maps by name.
ACTION_MAPS: Final[dict[str, ActionMap]] = {
    one.name: one
    for one in (
        DAILY_7,
        DEFINED_RISK,
        DEFINED_RISK_BY_DTE,
        ALL_STRUCTURES,
        ALL_STRUCTURES_BY_DTE,
    )
}


def action_map(name: str) -> ActionMap:
    """Look a map up.

    Raises
    ------
    ConfigError
        If there is none of that name; the message lists them.
    """
    if name not in ACTION_MAPS:
        raise ConfigError(f"no action map {name!r}", hint=f"choose of: {', '.join(ACTION_MAPS)}")
    return ACTION_MAPS[name]
