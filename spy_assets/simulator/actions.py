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
