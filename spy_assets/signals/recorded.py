"""Decisions that stand in the ledger, and what their numbers mean to an account that follows them.

A decision is followed as it was made. Where the settings have another mandate by now, the account still
knows the openings of the old one, and has room for as many positions as there could be then.

What was decided is its action's name. The number alone is of a map that the ledger names without its
hash: a structure that is added to the registry moves the numbers of the maps that are made of it. Only
:data:`~spy_assets.simulator.actions.DAILY_7` lists its own, so only its numbers are read without a name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spy_assets.errors import ConfigError
from spy_assets.signals.contract import Signal
from spy_assets.simulator.actions import ActionMap, action_map
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.mandate import DAILY_MANDATE


@dataclass(frozen=True)
class Recorded:
    """A decision that stands in the ledger, and the policy's own probability of it.

    ``mandate`` is that of the account that decided, as text: the map by which ``action_name`` is read,
    and how many positions there could be. None is the daily one.
    """

    session: date
    action: int
    size: int
    signal_id: str = ""
    probability: float | None = None
    mandate: str | None = None
    action_name: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Recorded:
        """Read the columns of ``ledger.signals``; ``mandate`` stands in its ``payload``."""
        given = json.loads(row.get("probabilities") or "{}")
        return cls(
            row["session"],
            int(row["action"]),
            int(row["size"] or 0),
            row["signal_id"],
            given.get(row.get("action_name")),
            row.get("mandate") or json.loads(row.get("payload") or "{}").get("mandate"),
            row.get("action_name"),
        )

    @classmethod
    def of(cls, signal: Signal) -> Recorded:
        """What the ledger keeps of a signal."""
        probability = signal.probabilities.get(signal.action_name)
        return cls(
            signal.session,
            signal.action,
            signal.size,
            signal.signal_id,
            probability,
            signal.mandate,
            signal.action_name,
        )


class Numbers:
    """The actions of an account that follows decisions of several mandates.

    Its own openings keep their numbers. Those that only the decisions' maps have come after them, and
    a policy of the account never sees them.

    Parameters
    ----------
    own
        The account's configuration by the settings.
    mandates
        Those of the decisions to follow.

    Raises
    ------
    ConfigError
        If this program has no map of that name.
    """

    def __init__(self, own: DailyConfig, mandates: Iterable[str | None]) -> None:
        parsed = [_parsed(text, own.actions) for text in dict.fromkeys(mandates)]
        self._own = own
        self._maps = dict(zip(dict.fromkeys(mandates), (one for one, _ in parsed), strict=True))
        known = {(one.structure, one.bucket): one for one in own.actions.openings}
        for actions, _ in parsed:
            for one in actions.openings:
                known.setdefault((one.structure, one.bucket), one)
        openings = tuple(known.values())
        self._at = {opening: number for number, opening in enumerate(known)}
        self.actions = own.actions
        if len(openings) > len(own.actions.openings):
            self.actions = ActionMap(f"{own.actions.name}_and_earlier", 1, openings)
        self.most = max([own.max_positions, *(count for _, count in parsed)])

    @property
    def config(self) -> DailyConfig:
        """The account's configuration, wide enough for every decision that it follows."""
        naked = self._own.allow_naked or bool(self.actions.naked)
        return replace(self._own, actions=self.actions, max_positions=self.most, allow_naked=naked)

    def number(self, decision: Recorded) -> int:
        """The account's number of a recorded action.

        Raises
        ------
        ConfigError
            If this program's map of that name has no such action, or the decision has only a number of
            a map whose numbers may be others by now.
        """
        actions = self._maps.get(decision.mandate)
        if actions is None:
            actions, _ = _parsed(decision.mandate, self._own.actions)
        name = _name(decision, actions)
        if name == "HOLD":
            return self.actions.hold
        if name == "CLOSE":
            return self.actions.close
        opening = {one.label: one for one in actions.openings}.get(name)
        if opening is None:
            raise ConfigError(
                f"the decision of {decision.session} is {name}, which action map {actions.name!r} "
                "does not have any more",
                hint=f"install the version that made it; the map has {', '.join(actions.names)}",
            )
        return self._at[opening.structure, opening.bucket]

    def own_mask(self, mask: NDArray[np.bool_], open_positions: int) -> NDArray[np.bool_]:
        """What a policy of the account's present mandate may do, of what the account could."""
        own = self._own.actions
        allowed = np.concatenate((mask[: own.hold], mask[-2:]))
        if open_positions >= self._own.max_positions:
            allowed[: own.hold] = False
        return allowed


def _name(decision: Recorded, actions: ActionMap) -> str:
    """What was decided; by its number only where the map is one whose numbers never change."""
    if decision.action_name:
        return decision.action_name
    if actions.sha256 != DAILY_MANDATE.actions_sha256:
        raise ConfigError(
            f"the decision of {decision.session} is number {decision.action} of {actions.name!r} and "
            "has no name, and that map's numbers may be others by now",
            hint="restore the action_name of its row in ledger.signals from a backup",
        )
    return actions.names[decision.action]


def _parsed(mandate: str | None, own: ActionMap) -> tuple[ActionMap, int]:
    """The map and the number of positions of a mandate's text."""
    name, _, count = (mandate or str(DAILY_MANDATE)).rpartition("/")
    return own if name == own.name else action_map(name), int(count)
