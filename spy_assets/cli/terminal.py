"""What every command shares: settings, two consoles, JSON mode, and how an error ends it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from spy_assets.errors import SpyError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from spy_assets.settings import Settings

INTERRUPTED = 130

#: The option that every command has.
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")
]


@dataclass
class Terminal:
    """Where a command reads its settings from and writes its answer to."""

    as_json: bool = False
    overrides: dict[str, str] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        """The settings of the environment and ``.env``."""
        from spy_assets import clock
        from spy_assets.settings import load_settings, require_past

        settings = load_settings()
        require_past(settings, clock.utc_now())
        return settings

    @cached_property
    def out(self) -> Console:
        """The console of the answer; in JSON mode prose goes to stderr instead."""
        from rich.console import Console

        return Console(stderr=self.as_json, soft_wrap=False)

    @cached_property
    def err(self) -> Console:
        """The console of errors and notes."""
        from rich.console import Console

        return Console(stderr=True)

    def emit(self, payload: Any, render: Callable[[], RenderableType] | None = None) -> None:
        """Give the answer: ``payload`` as JSON, or what ``render`` makes for a person."""
        if self.as_json:
            print(dumps(payload), flush=True)
        elif render is not None:
            from rich.text import Text

            rendered = render()
            # Text is laid out where it is made; broken once more, paths and columns come apart.
            self.out.print(rendered, soft_wrap=isinstance(rendered, str | Text))

    @contextlib.contextmanager
    def guarded_stdout(self) -> Iterator[None]:
        """In JSON mode, whatever libraries print goes to stderr."""
        if not self.as_json:
            yield
            return
        with contextlib.redirect_stdout(sys.stderr):
            yield


def begin(ctx: typer.Context, *, as_json: bool = False) -> Terminal:
    """The terminal of the running command."""
    terminal: Terminal = ctx.find_root().obj
    terminal.as_json = terminal.as_json or as_json
    return terminal


def dumps(payload: Any) -> str:
    """Compact JSON; dates and times as ISO 8601, paths as text, NaN and infinity as null."""
    import json

    return json.dumps(_plain(payload), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    import math
    from datetime import date

    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


@contextlib.contextmanager
def environment(values: Mapping[str, str | Path]) -> Iterator[None]:
    """Set environment variables for the length of a command.

    The global options go through the environment and not through arguments, so that the Dagster
    definitions and child processes see them too.
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def error_payload(error: SpyError) -> dict[str, Any]:
    """The error as JSON commands print it."""
    return {
        "error": {
            "type": type(error.origin).__name__,
            "message": error.message,
            "mend": error.hint,
            "exit_code": error.exit_code,
        }
    }


def show_error(error: SpyError, *, as_json: bool, stdout: TextIO | None = None) -> None:
    """A red panel "what / mend" on stderr, or the JSON document on stdout."""
    if as_json:
        print(dumps(error_payload(error)), file=stdout or sys.stdout, flush=True)
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("what", _text(error.message))
    if error.hint:
        grid.add_row("mend", _text(error.hint))
    title = f"[red]{type(error.origin).__name__}[/red]"
    Console(stderr=True).print(
        Panel(grid, title=title, title_align="left", border_style="red", expand=False)
    )


def _text(words: str) -> RenderableType:
    from rich.text import Text

    return Text(words, overflow="fold")
