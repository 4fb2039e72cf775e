"""How frames look on a terminal and as JSON rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_NUMBERS = (int, float)
_LONGEST_CELL = 32


def rich_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
    caption: str | None = None,
) -> RenderableType:
    """A table with numbers to the right and nulls dimmed, between its title and its caption."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    body = [list(row) for row in rows]
    table = Table(box=box.SIMPLE_HEAD)
    for index, name in enumerate(columns):
        side: Literal["left", "right"] = "right" if _numeric(body, index) else "left"
        table.add_column(Text(name), justify=side, overflow="fold")
    for row in body:
        table.add_row(*(cell(value) for value in row))
    around = [Text(title, style="bold")] if title else []
    return Group(*around, table, *([Text(caption, style="dim")] if caption else []))


def fitting(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], width: int, *, caption: str
) -> RenderableType:
    """A table if it fits into ``width`` characters, else one block of lines per row."""
    body = [list(row) for row in rows]
    needed = sum(
        3 + min(_LONGEST_CELL, max([len(name), *(len(cell(row[index]).plain) for row in body)]))
        for index, name in enumerate(columns)
    )
    if not body or needed <= width:
        return rich_table(columns, body, caption=caption)
    return _blocks(columns, body, caption)


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for number, row in enumerate(rows, 1):
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in zip(columns, row, strict=True):
            grid.add_row(Text(name), cell(value))
        parts += [Text(f"── row {number} ──", style="dim"), grid]
    return Group(*parts, Text(caption, style="dim"))


def _numeric(rows: Sequence[Sequence[Any]], index: int) -> bool:
    seen = [row[index] for row in rows if row[index] is not None]
    return bool(seen) and all(isinstance(v, _NUMBERS) and not isinstance(v, bool) for v in seen)


def cell(value: Any) -> Text:
    """One value as rich text: no markup is read in it."""
    from rich.text import Text

    if value is None:
        return Text("null", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(_decimal(value))
    if isinstance(value, datetime):
        return Text(value.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z"))
    return Text(str(value))


def _decimal(value: float) -> str:
    """Up to six significant decimals, thousands kept whole."""
    return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.6g}"


def json_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[Mapping[str, Any]]:
    """Rows as objects."""
    return [dict(zip(columns, row, strict=True)) for row in rows]
