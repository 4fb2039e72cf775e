"""The application: global options, and the one place that turns errors into exit codes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from spy_assets.cli import (
    backfills,
    database,
    doctor,
    halts,
    loop,
    maintenance,
    options,
    preferences,
    query,
    repair,
    up,
)
from spy_assets.cli.terminal import (
    INTERRUPTED,
    AsJson,
    Terminal,
    begin,
    dumps,
    environment,
    show_error,
)
from spy_assets.errors import SpyError

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 settings or usage, 3 data or source, 4 warehouse, 5 model, "
    "130 interrupted."
)


class SpyGroup(TyperGroup):
    """Commands whose ``SpyError`` becomes a message and an exit code; other errors keep theirs.

    An unexpected exception is a bug and leaves with its traceback.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note whether JSON was asked for, so that wrong usage is told as JSON, too."""
        words = args[: args.index("--")] if "--" in args else args
        ctx.obj = Terminal(as_json="--json" in words)
        try:
            rest: list[str] = super().parse_args(ctx, args)
        except typer.TyperException as error:
            _usage(error, ctx.obj)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see the class."""
        try:
            return super().invoke(ctx)
        except SpyError as error:
            show_error(error, as_json=ctx.obj.as_json)
            raise typer.Exit(error.exit_code) from error
        except typer.TyperException as error:
            _usage(error, ctx.obj)
        except KeyboardInterrupt as error:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from error


def _usage(error: typer.TyperException, terminal: Terminal) -> NoReturn:
    """Typer prints wrong usage for people; JSON readers get a document."""
    if not terminal.as_json:
        raise error
    body = {"type": "UsageError", "message": error.format_message(), "mend": "see --help"}
    print(dumps({"error": {**body, "exit_code": error.exit_code}}), flush=True)
    raise typer.Exit(error.exit_code) from error


app = typer.Typer(
    cls=SpyGroup,
    help="SPY options research and live signals: run the graph, read the lake, keep it well.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _global_options(
    ctx: typer.Context,
    profile: Annotated[
        str | None, typer.Option(help="Name of the data root; overrides SPY_PROFILE.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="sample, files or yfinance; overrides SPY_SOURCE."),
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Folder of .spy/ and mlruns/; overrides SPY_HOME.")
    ] = None,
) -> None:
    given = {
        "SPY_PROFILE": profile,
        "SPY_SOURCE": source,
        "SPY_HOME": home.expanduser().resolve() if home else None,
    }
    values = {name: value for name, value in given.items() if value is not None}
    ctx.with_resource(environment(values))


@app.command()
def version(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print the versions of `spy` and of what it stands on."""
    from importlib.metadata import version as installed
    from platform import python_version

    names = (
        "spy-assets",
        "dagster",
        "duckdb",
        "dbt-core",
        "dbt-duckdb",
        "mlflow",
        "polars",
        "torch",
    )
    versions = {"python": python_version(), **{name: installed(name) for name in names}}
    begin(ctx, as_json=as_json).emit(
        versions, lambda: "\n".join(f"{name:<12} {number}" for name, number in versions.items())
    )


loop.register(app)
backfills.register(app)
database.register(app)
query.register(app)
options.register(app)
preferences.register(app)
halts.register(app)
maintenance.register(app)
repair.register(app)
doctor.register(app)
up.register(app)


def main() -> None:
    """Entry point of ``spy``: SIGTERM stops a command as Ctrl-C does."""
    listen()
    app()


def listen() -> None:
    """Take SIGTERM as Ctrl-C, and hand SIGINT on to what is started from here.

    A script that starts ``spy`` in the background, as nohup and cron wrappers do, makes it ignore
    SIGINT. What ignores it lets its children ignore it too, and it is by SIGINT that dbt is stopped: a
    dbt that cannot be told would outlive its run.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
