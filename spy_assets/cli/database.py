"""``spy db``: make the warehouse, and look at the ledger."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spy_assets.cli.columns import Column, fitted_table
from spy_assets.cli.database_tables import SIGNALS, TRADES
from spy_assets.cli.tables import json_rows, rich_table
from spy_assets.cli.terminal import AsJson, Terminal, begin

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

    from spy_assets.signals.contract import Signal
    from spy_assets.signals.statistics import SignalStatistics
    from spy_assets.warehouse import Warehouse

Limit = Annotated[int, typer.Option("--limit", min=1, help="How many of the last rows.")]

_SIGNAL_COLUMNS = (
    "session", "symbol", "action_name", "confidence", "display_symbol", "entry", "size",
    "risk_verdict", "model_version", "signal_id",
)  # fmt: skip
_TRADE_COLUMNS = (
    "session", "symbol", "entry_session", "exit_session", "exit_reason", "pnl", "pnl_pct", "costs",
    "was_profitable", "rule_label", "signal_id",
)  # fmt: skip

app = typer.Typer(help="Make the warehouse, and look at signals and trades.", no_args_is_help=True)


@app.command()
def init(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Make the warehouse with all tables; what is there stays as it is."""
    from spy_assets.warehouse import TABLES, Warehouse

    terminal = begin(ctx, as_json=as_json)
    settings = terminal.settings
    with Warehouse.open(settings) as warehouse:
        for spec in TABLES.values():
            warehouse.ensure(spec)
        names = warehouse.tables()
        counts = {name: warehouse.row_count(name) for name in names}
    answer = {
        "profile": settings.profile_name,
        "source": settings.source,
        "root": str(settings.root),
        "tables": counts,
    }
    terminal.emit(
        answer,
        lambda: rich_table(
            ("table", "rows"),
            counts.items(),
            title=f"profile {settings.profile_name} (source {settings.source}) at {settings.root}",
        ),
    )


@app.command()
def view(ctx: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show the last signals and the last settled trades."""
    terminal = begin(ctx, as_json=as_json)
    signals = _last(terminal, "ledger.signals", _SIGNAL_COLUMNS, limit)
    trades = _last(terminal, "ledger.outcomes", _TRADE_COLUMNS, limit)
    if terminal.as_json:
        terminal.emit({"signals": _objects(signals), "trades": _objects(trades)})
        return
    terminal.out.print(_table(terminal, signals, SIGNALS, "signals"))
    terminal.out.print(_table(terminal, trades, TRADES, "trades"))


@app.command("signals")
def signals_(ctx: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show the last signals."""
    terminal = begin(ctx, as_json=as_json)
    frame = _last(terminal, "ledger.signals", _SIGNAL_COLUMNS, limit)
    terminal.emit(_objects(frame), lambda: _table(terminal, frame, SIGNALS, "signals"))


@app.command()
def trades(ctx: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show the last settled trades."""
    terminal = begin(ctx, as_json=as_json)
    frame = _last(terminal, "ledger.outcomes", _TRADE_COLUMNS, limit)
    terminal.emit(_objects(frame), lambda: _table(terminal, frame, TRADES, "trades"))


@app.command()
def stats(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Count signals, trades and P&L of the last 30 days and of all time.

    With a historical source the 30 days end with its last signal.
    """
    from spy_assets.signals.rendering import render_statistics

    terminal = begin(ctx, as_json=as_json)
    windows = _statistics(terminal)
    if terminal.as_json:
        terminal.emit([dataclasses.asdict(window) for window in windows])
        return
    for window in windows:
        terminal.out.print(render_statistics(window), highlight=False, markup=False)


def _statistics(terminal: Terminal) -> tuple[SignalStatistics, ...]:
    from spy_assets import clock
    from spy_assets.signals.contract import Signal
    from spy_assets.signals.statistics import recent_and_all

    with _open(terminal) as warehouse:
        issued = [Signal.from_row(row) for row in warehouse.read("ledger.signals").to_dicts()]
        outcomes = warehouse.read("ledger.outcomes").to_dicts()
        executed = set(warehouse.read("ledger.fills")["signal_id"].to_list())
    live = not terminal.settings.historical or not issued
    as_of = clock.utc_now() if live else _last_moment(issued)
    return recent_and_all(issued, outcomes, as_of=as_of, executed_ids=executed)


def _last_moment(issued: list[Signal]) -> Any:
    return max(signal.as_of for signal in issued)


def _open(terminal: Terminal) -> Warehouse:
    from spy_assets.warehouse import Warehouse

    return Warehouse.open(terminal.settings, read_only=True)


def _last(terminal: Terminal, table: str, columns: tuple[str, ...], limit: int) -> pl.DataFrame:
    with _open(terminal) as warehouse:
        frame = warehouse.read(table, columns=columns)
    return frame.sort("session", "symbol", "signal_id").tail(limit)


def _objects(frame: pl.DataFrame) -> list[Any]:
    return list(json_rows(frame.columns, frame.iter_rows()))


def _table(
    terminal: Terminal, frame: pl.DataFrame, columns: Sequence[Column], title: str
) -> RenderableType:
    if frame.is_empty():
        return f"{title}: none yet; `spy run` makes some"
    return fitted_table(frame, columns, terminal.out.width, title=title)


def register(root: typer.Typer) -> None:
    """Add ``db`` and its commands."""
    root.add_typer(app, name="db")
