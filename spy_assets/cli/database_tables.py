"""Signals and trades as tables for people: short cells, and fewer columns where there is less room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from spy_assets.cli.columns import Column, dollars, fitting_columns

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

_ABSENT: Final = "-"
_GAP: Final = 2
_BETWEEN: Final = _GAP + 1  # and the line that the box keeps free
#: A contract of many legs may be broken, down to this many characters; nothing else may.
_LEAST: Final = {"display_symbol": 16}


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _words(value: str) -> str:
    return value.replace("_", " ")


def _short(value: str) -> str:
    return value[:8]


SIGNALS: Final = (
    Column("session", "session"),
    Column("action_name", "action"),
    Column("confidence", "conf", _percent, "right", leaves=2),
    Column("display_symbol", "contract"),
    Column("entry", "entry", dollars, "right", leaves=1),
    Column("size", "size", str, "right", leaves=3),
    Column("risk_verdict", "risk"),
    Column("signal_id", "id", _short, leaves=4),
)
TRADES: Final = (
    Column("session", "signal"),
    Column("entry_session", "entry", leaves=3),
    Column("exit_session", "exit"),
    Column("exit_reason", "reason", _words, leaves=2),
    Column("pnl", "P&L", dollars, "right"),
    Column("pnl_pct", "of risk", _percent, "right", leaves=1),
    Column("rule_label", "rule", leaves=4),
    Column("signal_id", "id", _short, leaves=5),
)


def ledger_table(
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
        foldable = column.name in _LEAST
        table.add_column(
            Text(column.heading),
            justify=column.side,
            no_wrap=not foldable,
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
    return min(widest, _LEAST.get(column.name, widest))
