"""``spy doctor``: is this machine and this profile fit to run, and if not, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from spy_assets.cli.terminal import AsJson, begin

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spy_assets.cli.checks import Check

_MARKS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]", "skip": "[dim]-[/]"}


def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check versions, settings, calendar, disk, clock, locks, warehouse, dbt, Dagster and ports.

    Each failing line names its fix. Exit code 1 if any fails; warnings do not count.
    """
    from spy_assets.cli.checks import all_checks

    terminal = begin(ctx, as_json=as_json)
    checks = list(all_checks(terminal.settings))
    failed = sum(check.status == "fail" for check in checks)
    answer = {"ok": failed == 0, "failed": failed, "checks": [asdict(check) for check in checks]}
    terminal.emit(answer, lambda: _report(checks))
    if failed:
        raise typer.Exit(1)


def _report(checks: Sequence[Check]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        detail = Text(check.detail)
        if check.fix:
            detail.append(f"\nmend: {check.fix}", style="yellow")
        table.add_row(_MARKS[check.status], check.name, detail)
    return table


def register(app: typer.Typer) -> None:
    """Add ``doctor``."""
    app.command()(doctor)
