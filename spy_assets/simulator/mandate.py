"""What an account may trade: which openings, and how many positions at once.

A policy is trained for one mandate. Its numbers mean the openings of that map, and what it learnt about
adding a position, or closing all of them, holds for that many. So the mandate is recorded with a
version, and an account of another one does not ask it. What has no record is of :data:`DAILY_MANDATE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from spy_assets.simulator.actions import DAILY_7, ActionMap


@dataclass(frozen=True, slots=True)
class Mandate:
    """An action map, by name and hash, and the number of positions at once.

    >>> str(DAILY_MANDATE)
    'daily_7/1'
    """

    actions: str
    actions_sha256: str
    max_positions: int

    @classmethod
    def of(cls, actions: ActionMap, max_positions: int) -> Mandate:
        """The mandate of a map."""
        return cls(actions.name, actions.sha256, max_positions)

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> Mandate:
        """Read :meth:`record`, of texts too; :data:`DAILY_MANDATE` where nothing is recorded."""
        if values.get("actions") is None:
            return DAILY_MANDATE
        return cls(values["actions"], values["actions_sha256"], int(values["max_positions"]))

    def record(self) -> dict[str, Any]:
        """The values to store with a version."""
        return asdict(self)

    def beside(self, other: Mandate) -> str:
        """The mandate as text, with digits of its map's hash where ``other`` has a namesake of the map.

        >>> DAILY_MANDATE.beside(Mandate("daily_7", "0" * 64, 1)).startswith("daily_7/1 (map ")
        True
        >>> DAILY_MANDATE.beside(Mandate("daily_7", DAILY_7.sha256, 3))
        'daily_7/1'
        """
        namesake = self.actions == other.actions and self.actions_sha256 != other.actions_sha256
        return f"{self} (map {self.actions_sha256[:12]})" if namesake else str(self)

    def __str__(self) -> str:
        return f"{self.actions}/{self.max_positions}"


#: What the daily policy was always trained for: its seven actions, one position.
DAILY_MANDATE: Final = Mandate.of(DAILY_7, 1)
