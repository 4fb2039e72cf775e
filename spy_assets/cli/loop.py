"""Commands that run assets: ``run``, ``signal``, ``track``, ``train``, ``retrain``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spy_assets.cli.terminal import AsJson, Terminal, begin, error_payload, show_error
from spy_assets.errors import LockTimeout, SourceError, SpyError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spy_assets.plan import RunSummary

SIGNAL_INTERVAL_S = 300.0
TRACK_INTERVAL_MIN = 60.0


def run(
    ctx: typer.Context,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove the data first; a halt (KILL) stays.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Materialize what is missing or stale, and print the latest signal.

    Run again it changes nothing: same signal id, no new row. While a live source is out the signal is
    HOLD, and the exit code 3.
    """
    terminal = begin(ctx, as_json=as_json)
    with terminal.guarded_stdout():
        from spy_assets import plan

        summary = plan.run(terminal.settings, terminal.out, fresh=fresh)
    if failure := _tell(terminal, summary):
        raise typer.Exit(failure.exit_code)


def signal(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Make one signal and stop.")] = False,
    interval: Annotated[
        float | None,
        typer.Option(min=1.0, help="Seconds between signals; 300 without --once."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the data up to date and issue the signal of the last decided session.

    Without --once it goes on every --interval seconds. A source that ends in the past has nothing
    new to come, so there it stops after one signal and says so. While a live source is out the signal
    is HOLD; with --once the exit code is 3 then.
    """
    if once and interval is not None:
        raise typer.BadParameter("--once and --interval exclude each other")
    terminal = begin(ctx, as_json=as_json)

    def turn() -> SpyError | None:
        with terminal.guarded_stdout():
            from spy_assets import plan

            summary = plan.signal_once(terminal.settings, terminal.out)
        return _tell(terminal, summary)

    _repeat(terminal, turn, None if once else interval or SIGNAL_INTERVAL_S)


def track(
    ctx: typer.Context,
    hours: Annotated[
        float, typer.Option(min=0.0, help="How far back signals are looked at, hours.")
    ] = 24.0,
    continuous: Annotated[bool, typer.Option("--continuous", help="Go on until stopped.")] = False,
    interval: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes between rounds of --continuous; 60.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Settle the outcomes of recent signals from the prices that came since.

    With a historical source the hours count back from its last session, not from now.
    """
    if interval is not None and not continuous:
        raise typer.BadParameter("--interval needs --continuous")
    terminal = begin(ctx, as_json=as_json)

    def turn() -> None:
        with terminal.guarded_stdout():
            from spy_assets import plan

            result = plan.track(terminal.settings, terminal.out, hours)
        terminal.emit(result, lambda: _facts(f"outcomes of the last {hours:g} hours", result))

    _repeat(terminal, turn, 60.0 * (interval or TRACK_INTERVAL_MIN) if continuous else None)


def train(
    ctx: typer.Context,
    timesteps: Annotated[
        int | None, typer.Option(min=1, help="Environment steps per seed; the preset's by default.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=50, help="Number of seeds; the preset's by default.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="sample, quick, full, seed or fast; SPY_TRAIN__PRESET by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the daily policy, evaluate it out of sample and put it to the promotion gate."""
    if preset is not None:
        from spy_assets.settings import load_settings

        load_settings(train={"preset": preset})  # a wrong name is told before anything runs
    terminal = begin(ctx, as_json=as_json)
    with terminal.guarded_stdout():
        from spy_assets import plan

        result = plan.train(
            terminal.settings, terminal.out, timesteps=timesteps, seeds=seeds, preset=preset
        )
    terminal.emit(result, lambda: _facts("training", result))


def retrain(
    ctx: typer.Context,
    timesteps: Annotated[
        int | None, typer.Option(min=1, help="Environment steps; the preset's by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a challenger as the weekly schedule does: no session is held out for signals.

    The validation window of the promotion gate ends with the last session; training ends before it and
    the purge, 69 sessions earlier by default.
    """
    terminal = begin(ctx, as_json=as_json)
    with terminal.guarded_stdout():
        from spy_assets import plan

        result = plan.retrain(terminal.settings, terminal.out, timesteps=timesteps)
    terminal.emit(result, lambda: _facts("retraining", result))


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (run, signal, track, train, retrain):
        app.command()(command)


def _repeat(terminal: Terminal, turn: Callable[[], SpyError | None], every_s: float | None) -> None:
    """Do ``turn`` once, or every ``every_s`` seconds until interrupted.

    A vendor that is away and a lock that is held pass by themselves: they are told and the loop
    goes on. Everything else ends it. ``turn`` gives the error that it has told already, if any.
    """
    pause = threading.Event()
    while True:
        started = time.monotonic()
        told = None
        try:
            told = turn()
        except SpyError as error:
            if every_s is None or not isinstance(error.origin, SourceError | LockTimeout):
                raise
            show_error(error, as_json=terminal.as_json)
        if every_s is None:
            if told is not None:
                raise typer.Exit(told.exit_code)
            return
        if terminal.settings.historical:
            source = terminal.settings.source
            terminal.err.print(f"source {source!r} ends in the past: nothing new to wait for")
            return
        pause.wait(max(0.0, every_s - (time.monotonic() - started)))


def _tell(terminal: Terminal, summary: RunSummary) -> SpyError | None:
    """Give the summary, then what kept the source from being asked; in JSON that is one document."""
    terminal.emit(_summary_json(summary), lambda: _summary_text(summary))
    if summary.failure is not None and not terminal.as_json:
        show_error(summary.failure, as_json=False)
    return summary.failure


def _summary_json(summary: RunSummary) -> Any:
    import json

    body = json.loads(summary.to_json())
    return body if summary.failure is None else body | error_payload(summary.failure)


def _summary_text(summary: RunSummary) -> RenderableType:
    from rich.text import Text

    text = Text.from_ansi(summary.rendered)
    text.append(
        f"\n{summary.materialized} materialized, {summary.skipped} up to date, "
        f"{summary.seconds:.1f} s",
        style="dim",
    )
    if summary.report_path:
        text.append(f"\nreport {summary.report_path}", style="dim")
    return text


def _facts(title: str, facts: Mapping[str, Any]) -> RenderableType:
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _cell(value))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_cell(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(_cell(item) for item in value)
    return "" if value is None else str(value)
