"""``spy resume``: end a drawdown halt."""

from __future__ import annotations

import getpass
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from spy_assets.cli.terminal import AsJson, begin
from spy_assets.errors import ConfigError, SpyError

if TYPE_CHECKING:
    from spy_assets.settings import Settings


def resume(
    ctx: typer.Context,
    reason: Annotated[
        str, typer.Option(help="Why entries may be made again; kept with the date and your name.")
    ],
    as_json: AsJson = False,
) -> None:
    """Let entries be made again after a drawdown halt, from the next session to be decided on.

    Shows the halt, then adds a dated line to the profile's file RESUME. Sessions that are decided stay
    as they are. Without a halt, nothing is written and the exit code is 1.
    """
    from spy_assets.defs.resources import SpyResource
    from spy_assets.defs.settling import drawdown_halt
    from spy_assets.warehouse import Warehouse

    terminal = begin(ctx, as_json=as_json)
    settings, words = terminal.settings, " ".join(reason.split())
    if not words:
        raise typer.BadParameter("--reason is empty")
    last = SpyResource().last_session()
    with Warehouse.open(settings, read_only=True) as lake:
        halt = drawdown_halt(lake, settings, last)
    if not halt.holds:
        raise _no_halt(settings, halt.told)
    if not as_json:
        terminal.out.print(f"{halt.session}: {halt.told}")
    line = f"{_still_to_come(settings, halt.from_session)} {getpass.getuser()}: {words}"
    _append(settings, line)
    terminal.emit(
        {"halt": halt.told, "session": halt.session, "resumed": line, "file": settings.resume_file},
        lambda: f"{line}\nwritten to {settings.resume_file}{_latched(settings)}",
    )


def _still_to_come(settings: Settings, day: date) -> date:
    """The session to resume at; a source that has ended may have none left."""
    if settings.last_day is not None and day > settings.last_day:
        raise ConfigError(
            f"source {settings.source!r} ends on {settings.last_day}, and all of it is decided",
            hint="write the session to resume at into the file RESUME by hand (docs/operations.md)",
        )
    return day


def _no_halt(settings: Settings, told: str) -> SpyError:
    if settings.kill_file.exists():
        return SpyError(
            f"no drawdown halt: {told}; but the file {settings.kill_file} halts",
            hint="remove that file to go on",
        )
    return SpyError(f"no drawdown halt: {told}", hint="nothing is to be done")


def _latched(settings: Settings) -> str:
    return f"; the file {settings.kill_file} still halts" if settings.kill_file.exists() else ""


def _append(settings: Settings, line: str) -> None:
    """Add a line to the file, which may end without a line break."""
    file = settings.resume_file
    before = file.read_text() if file.exists() else ""
    joint = "" if not before or before.endswith("\n") else "\n"
    with file.open("a") as target:
        target.write(f"{joint}{line}\n")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(resume)
