"""Columns of tables for people: how a value reads, and which columns stay where there is less room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

_ABSENT: Final = "-"
_GAP: Final = 2
_BETWEEN: Final = _GAP + 1  # and the line that the box keeps free


@dataclass(frozen=True)
class Column:
    """A column: its heading, how a value reads, and who leaves first (the highest) for want of room.

    One with ``leaves`` 0 never leaves. With ``least`` a value may be broken, down to so many characters.
    """

    name: str
    heading: str
    show: Callable[[Any], str] = str
    side: Literal["left", "right"] = "left"
    leaves: int = 0
    least: int | None = None


def dollars(value: float) -> str:
    """Show two decimals, thousands apart."""
    return f"{value:,.2f}"


def percent(value: float) -> str:
    """Show one decimal."""
    return f"{value:.1%}"


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


def fitted_table(
    frame: pl.DataFrame, columns: Sequence[Column], width: int, *, title: str
) -> RenderableType:
    """The rows of ``frame``; columns that do not fit into ``width`` characters are named below."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    cells = {
        column.name: [_cell(column, value) for value in frame[column.name]] for column in columns
    }
    shown = _fitting(columns, cells, width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP, 0, 0), pad_edge=False, show_edge=False)
    for column in shown:
        table.add_column(
            Text(column.heading),
            justify=column.side,
            no_wrap=column.least is None,
            overflow="fold",
            min_width=_least(column, cells[column.name]),
        )
    for row in zip(*(cells[column.name] for column in shown), strict=True):
        table.add_row(*(Text(value, style="dim" if value == _ABSENT else "") for value in row))
    left = ", ".join(column.heading for column in columns if column not in shown)
    note = (
        [Text(f"without {left}: a wider terminal or --json has all", style="dim")] if left else []
    )
    return Group(Text(title, style="bold"), table, *note, Text())


def _cell(column: Column, value: Any) -> str:
    return _ABSENT if value is None or value == "" else column.show(value)


def _fitting(
    columns: Sequence[Column], cells: dict[str, list[str]], width: int
) -> tuple[Column, ...]:
    """Those that fit beside each other, in order."""

    def taken(some: Sequence[Column]) -> int:
        return sum(_least(column, cells[column.name]) + _BETWEEN for column in some)

    return fitting_columns(columns, width + _BETWEEN, taken)


def _least(column: Column, cells: Sequence[str]) -> int:
    """Characters that a column takes at least."""
    widest = max(map(len, (column.heading, *cells)))
    return widest if column.least is None else min(widest, column.least)
