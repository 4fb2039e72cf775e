"""The daily policy's seven actions and the structures that they open.

The map belongs to the policy: it is stored with a model's version, and the numbers never change.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


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
    """An action, the structure it opens, and its code in observation 12 (``position_type``)."""

    action: DailyAction
    structure: str
    position_type: float

    @property
    def is_entry(self) -> bool:
        """Whether the action opens a position."""
        return self.structure not in ("hold", "close")


#: Action number -> what it means. Position types are the ones of the observation's definition.
DAILY_ACTIONS: dict[int, ActionSpec] = {
    spec.action.value: spec
    for spec in (
        ActionSpec(DailyAction.BUY_CALL, "long_call", 0.2),
        ActionSpec(DailyAction.BUY_PUT, "long_put", 0.4),
        ActionSpec(DailyAction.BULL_SPREAD, "bull_call_debit", 0.5),
        ActionSpec(DailyAction.BEAR_SPREAD, "bear_put_debit", 0.6),
        ActionSpec(DailyAction.IRON_CONDOR, "iron_condor", 0.8),
        ActionSpec(DailyAction.HOLD, "hold", 0.0),
        ActionSpec(DailyAction.CLOSE, "close", 0.0),
    )
}

N_ACTIONS = len(DAILY_ACTIONS)
HOLD = DailyAction.HOLD.value
CLOSE = DailyAction.CLOSE.value
#: The actions that open something: the first ones, so that a mask slices them.
ENTRIES: tuple[int, ...] = tuple(n for n, spec in DAILY_ACTIONS.items() if spec.is_entry)
#: Structure name -> observation 12.
POSITION_TYPE: dict[str, float] = {s.structure: s.position_type for s in DAILY_ACTIONS.values()}
