"""``spy sql``: one query, a script on stdin, or an interactive prompt."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spy_assets.cli.tables import fitting, json_rows, rich_table
from spy_assets.cli.terminal import AsJson, Terminal, begin, show_error
from spy_assets.errors import SpyError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spy_assets.warehouse import QueryResult

PROMPT, MORE = "spy> ", "...> "
LEAVE = frozenset({".quit", ".exit", "quit", "exit", "\\q"})
HISTORY_LENGTH = 2_000
KEYWORDS = ("SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "USING", "QUALIFY")
HELP = """\
SELECT ... ;       run a query; it may go over several lines and ends with a semicolon
.tables            list the tables, and the views, which are marked
.schema TABLE      list a table's columns and what they mean
.help              this text
.quit              leave, as Ctrl-D does; Ctrl-C drops what was typed
"""


@dataclass(frozen=True)
class QueryOptions:
    """Limits and format of one `spy sql`."""

    limit: int
    timeout_s: float
    as_csv: bool


def sql(  # Typer reads the options off the signature
    ctx: typer.Context,
    query: Annotated[
        str | None, typer.Argument(help="One SELECT; without it a prompt opens, or stdin is read.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most rows to show; SPY_SQL_ROW_LIMIT by default.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.01, help="Most seconds to run; SPY_SQL_TIMEOUT_S by default."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print rows as CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Query the lake: read-only, in a sandbox, never in the pipeline's way."""
    terminal = begin(ctx, as_json=as_json)
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json exclude each other")
    options = QueryOptions(
        limit=limit or terminal.settings.sql_row_limit,
        timeout_s=timeout or terminal.settings.sql_timeout_s,
        as_csv=as_csv,
    )
    if query is not None:
        answer(terminal, query, options)
    elif sys.stdin.isatty():
        Prompt(terminal, options).loop()
    else:
        for statement in statements(sys.stdin):
            answer(terminal, statement, options)


def statements(lines: Iterator[str] | Any) -> Iterator[str]:
    """Cut a stream of lines into statements that end with a semicolon, or with the stream.

    A semicolon in quotes or in a comment ends nothing.
    """
    buffer = ""
    for line in lines:
        buffer += line
        while (cut := end_of_statement(buffer)) is not None:
            if buffer[:cut].strip():
                yield buffer[:cut].strip()
            buffer = buffer[cut + 1 :]
    if buffer.strip():
        yield buffer.strip()


def end_of_statement(text: str) -> int | None:
    """Position of the first semicolon outside quotes and comments, or None."""
    at, length = 0, len(text)
    while at < length:
        rest = text[at:]
        if rest[0] == ";":
            return at
        closer = _closer(rest)
        if closer is None:
            at += 1
            continue
        end = text.find(closer, at + len(closer if closer in {"'", '"'} else "--"))
        if end < 0:
            return None
        at = end + len(closer)
    return None


def _closer(rest: str) -> str | None:
    """What ends the quote or comment that begins here, or None if none begins."""
    if rest[0] in {"'", '"'}:
        return rest[0]
    if rest.startswith("--"):
        return "\n"
    return "*/" if rest.startswith("/*") else None


def answer(terminal: Terminal, query: str, options: QueryOptions) -> None:
    """Run a query and show its rows."""
    from spy_assets.warehouse import run_query

    result = run_query(terminal.settings, query, limit=options.limit, timeout_s=options.timeout_s)
    if options.as_csv:
        sys.stdout.write(result.frame.write_csv())
        _note_truncation(terminal, result, options)
    elif terminal.as_json:
        frame = result.frame
        rows = json_rows(frame.columns, frame.iter_rows())
        terminal.emit({"columns": frame.columns, "rows": rows, "truncated": result.truncated})
    else:
        terminal.out.print(_rows(result, options, terminal.out.width))


def _rows(result: QueryResult, options: QueryOptions, width: int) -> RenderableType:
    frame = result.frame
    more = f", more were cut by --limit {options.limit}" if result.truncated else ""
    count = f"{frame.height:,} row{'s' if frame.height != 1 else ''}{more}"
    return fitting(
        frame.columns, frame.iter_rows(), width, caption=f"{count}, {result.elapsed_s:.2f} s"
    )


def _note_truncation(terminal: Terminal, result: QueryResult, options: QueryOptions) -> None:
    if result.truncated:
        terminal.err.print(
            f"only the first {options.limit} rows; --limit gives more", style="yellow"
        )


class Prompt:
    """The interactive prompt: history, completion of table names, dot commands."""

    def __init__(self, terminal: Terminal, options: QueryOptions) -> None:
        self.terminal = terminal
        self.options = options
        self.history: Path = terminal.settings.root / "sql_history"

    def loop(self) -> None:
        """Read and answer until the end of input. A failed query is told and the prompt stays."""
        tables, views = self._relations()
        settings = self.terminal.settings
        self.terminal.out.print(
            f"profile [bold]{settings.profile_name}[/bold], {len(tables)} tables and "
            f"{len(views)} views, read-only; end a query with [bold];[/bold] — .help for more"
        )
        with _line_editing(self.history, [*tables, *views]):
            buffer = ""
            while True:
                try:
                    line = input(MORE if buffer else PROMPT)
                    if not buffer and line.strip().lower() in LEAVE:
                        return
                    buffer = self._take(buffer, line)
                except EOFError:
                    self.terminal.out.print()
                    return
                except KeyboardInterrupt:
                    self.terminal.out.print()
                    buffer = ""

    def _take(self, buffer: str, line: str) -> str:
        """Use up a line; gives back the unfinished statement."""
        if not buffer and line.strip().startswith("."):
            self._attempt(lambda: self._command(line.split()))
            return ""
        buffer += line + "\n"
        while (cut := end_of_statement(buffer)) is not None:
            statement, buffer = buffer[:cut].strip(), buffer[cut + 1 :]
            if statement:
                self._attempt(partial(answer, self.terminal, statement, self.options))
        return buffer if buffer.strip() else ""

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except SpyError as error:
            show_error(error, as_json=self.terminal.as_json)

    def _command(self, words: list[str]) -> None:
        if words[0] == ".tables":
            self._list()
        elif words[0] == ".schema" and len(words) == 2:
            self._schema(words[1])
        else:
            self.terminal.out.print(HELP, markup=False, highlight=False)

    def _relations(self) -> tuple[list[str], list[str]]:
        """Names of the tables, and of the views."""
        from spy_assets.warehouse import Warehouse

        with Warehouse.open(self.terminal.settings, read_only=True) as warehouse:
            return warehouse.tables(), warehouse.views()

    def _list(self) -> None:
        tables, views = self._relations()
        marks = dict.fromkeys(tables, "") | dict.fromkeys(views, "  (view)")
        lines = [name + mark for name, mark in sorted(marks.items())]
        self.terminal.out.print("\n".join(lines), highlight=False, markup=False)

    def _schema(self, table: str) -> None:
        from spy_assets.warehouse import TABLES, run_query

        name = ".".join(f'"{part}"' for part in table.replace('"', "").split("."))
        frame = run_query(self.terminal.settings, f"SELECT * FROM {name} LIMIT 0").frame
        spec = TABLES.get(table)
        kinds = dict(zip(frame.columns, map(str, frame.dtypes), strict=True))
        kinds |= spec.all_columns if spec else {}
        meanings = spec.column_docs if spec else {}
        rows = [(column, kinds[column], meanings.get(column, "")) for column in frame.columns]
        self.terminal.out.print(rich_table(("column", "type", "meaning"), rows, title=table))


@contextlib.contextmanager
def _line_editing(history: Path, words: list[str]) -> Iterator[None]:
    """Editing, completion and a history that outlives the session, where Python has readline."""
    try:
        import readline
    except ImportError:  # some macOS and static builds of Python come without it
        yield
        return
    choices = sorted([*words, *KEYWORDS])

    def complete(text: str, state: int) -> str | None:
        matches = [word for word in choices if word.lower().startswith(text.lower())]
        return matches[state] if state < len(matches) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n(),;=<>")
    readline.parse_and_bind("tab: complete")
    readline.clear_history()
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    try:
        yield
    finally:
        readline.set_history_length(HISTORY_LENGTH)
        with contextlib.suppress(OSError):
            readline.write_history_file(history)


def register(app: typer.Typer) -> None:
    """Add ``sql``."""
    app.command()(sql)
