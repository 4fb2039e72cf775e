"""Columns of tables for people: how a value reads, and which columns stay where there is less room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Column:
    """A column: its heading, how a value reads, and who leaves first (the highest) for want of room.

    One with ``leaves`` 0 never leaves.
    """

    name: str
    heading: str
    show: Callable[[Any], str] = str
    side: Literal["left", "right"] = "left"
    leaves: int = 0


def dollars(value: float) -> str:
    """Show two decimals, thousands apart."""
    return f"{value:,.2f}"


def fitting_columns(
    columns: Sequence[Column], room: int, taken: Callable[[Sequence[Column]], int]
) -> tuple[Column, ...]:
    """Those that stay, in order, so that what they have ``taken`` together is within ``room``."""
    shown = list(columns)
    while taken(shown) > room:
        last = max(shown, key=lambda column: column.leaves)
        if last.leaves == 0:
            break
        shown.remove(last)
    return tuple(shown)
