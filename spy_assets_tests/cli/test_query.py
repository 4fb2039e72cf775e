"""`spy sql`: one query, a script, and the prompt on a real terminal."""

from __future__ import annotations

import csv
import io
import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.cli.query import end_of_statement, statements
from spy_assets.cli.tables import cell, fitting
from spy_assets.settings import Settings

COUNT = "SELECT count(*) AS n FROM market.daily_bars"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("select 1;", 8),
        ("select 1", None),
        ("select ';';", 10),
        ('select ";" ;', 11),
        ("select 1 -- ;\n;", 14),
        ("select 1 -- ;", None),
        ("/* ; */ select 1;", 16),
        ("/* ; ", None),
        ("select 'it''s;';", 15),
        ("select 1 - 2;", 12),
        ("select 4/2;", 10),
        ("", None),
    ],
)
def test_end_of_statement(text: str, at: int | None):
    assert end_of_statement(text) == at


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(alphabet="ab ;'\"\n", max_size=12), max_size=6))
def test_quoted_statements_are_cut_exactly_where_they_end(texts: list[str]):
    quoted = ["select '" + text.replace("'", "''") + "'" for text in texts]
    lines = io.StringIO(" ;\n".join(quoted))
    assert list(statements(lines)) == [text.strip() for text in quoted]


def test_json_has_columns_rows_and_whether_cut(spy, lake: Settings):
    ran = spy("--home", lake.home, "sql", "--json", "--limit", 2, "FROM market.daily_bars")
    assert ran.json["truncated"] is True
    assert len(ran.json["rows"]) == 2
    assert ran.json["columns"][:2] == ["symbol", "session"]


def test_csv_can_be_read_back(spy, lake: Settings):
    ran = spy("--home", lake.home, "sql", "--csv", f"{COUNT};")
    assert list(csv.DictReader(io.StringIO(ran.stdout))) == [{"n": "6"}]


def test_csv_says_on_stderr_that_rows_were_cut(spy, lake: Settings):
    ran = spy("--home", lake.home, "sql", "--csv", "--limit", 1, "FROM market.daily_bars")
    assert ran.stdout.count("\n") == 2
    assert "only the first 1 rows" in ran.stderr


def test_csv_and_json_exclude_each_other(spy, lake: Settings):
    assert spy("--home", lake.home, "sql", "--csv", "--json", "select 1").code == 2


def test_a_script_on_stdin_runs_each_statement(spy, lake: Settings):
    ran = spy("--home", lake.home, "sql", "--csv", stdin=f"{COUNT};\nSELECT ';' AS s;\n")
    assert ran.stdout == "n\n6\ns\n;\n"


@pytest.mark.fault(62)
@pytest.mark.parametrize("query", ["COPY (SELECT 1) TO 'x'", "ATTACH 'x'", "SELECT 1; SELECT 2"])
def test_what_is_not_one_select_is_refused(spy, lake: Settings, query: str):
    ran = spy("--home", lake.home, "sql", "--json", query)
    assert ran.code == 4
    assert ran.json["error"]["type"] == "UnsafeQuery"


def test_a_pivot_over_named_values_is_answered(spy, lake: Settings):
    pivot = "PIVOT market.daily_bars ON symbol IN ('SPY') USING count(*) AS n GROUP BY session"
    ran = spy("--home", lake.home, "sql", "--json", pivot)
    assert ran.json["columns"] == ["session", "SPY_n"]
    assert sum(row["SPY_n"] for row in ran.json["rows"]) == 6


def test_a_pivot_over_the_data_says_what_to_write_instead(spy, lake: Settings):
    ran = spy(
        "--home", lake.home, "sql", "--json", "PIVOT market.daily_bars ON symbol USING max(close)"
    )
    assert ran.json["error"]["type"] == "UnsafeQuery"
    mend = ran.json["error"]["mend"].partition(": ")[2]
    assert spy("--home", lake.home, "sql", "--json", mend).code == 0


@pytest.mark.fault(62)
def test_an_endless_query_is_stopped(spy, lake: Settings):
    endless = "SELECT count(*) FROM range(1000000) a, range(1000000) b"
    ran = spy("--home", lake.home, "sql", "--timeout", 0.5, "--json", endless)
    assert ran.json["error"]["type"] == "QueryTimeout"


def test_a_wide_result_is_shown_row_by_row():
    from rich.console import Console

    console = Console(width=40, file=io.StringIO())
    columns = [f"column_{i}" for i in range(12)]
    console.print(fitting(columns, [list(range(12))], 40, caption="1 row"))
    shown = console.file.getvalue()
    assert "── row 1 ──" in shown
    assert "column_11" in shown


def test_cells_show_null_and_leave_markup_alone():
    assert cell(None).plain == "null"
    assert cell("[red]x").plain == "[red]x"
    assert cell(12345.678).plain == "12,345.68"


class Terminal:
    """`spy sql` on a pseudo-terminal."""

    def __init__(self, home: Path) -> None:
        self.unread = ""
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "dumb", "COLUMNS": "120"}
            command = [sys.executable, "-m", "spy_assets.cli", "--home", str(home), "sql"]
            os.execv(sys.executable, command)

    def until(self, words: str, timeout_s: float = 30.0) -> str:
        """What was shown up to ``words``; the rest is kept for the next call."""
        deadline = time.monotonic() + timeout_s
        while words not in self.unread and time.monotonic() < deadline:
            if select.select([self.handle], [], [], 0.1)[0]:
                try:
                    self.unread += os.read(self.handle, 65536).decode(errors="replace")
                except OSError:  # Linux's way to say that the other end has closed
                    break
        assert words in self.unread
        seen, _, self.unread = self.unread.partition(words)
        return seen

    def type(self, text: str) -> None:
        os.write(self.handle, text.encode())

    def code(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.slow
def test_prompt_takes_many_lines_survives_errors_and_keeps_history(own_lake: Settings):
    terminal = Terminal(own_lake.home)
    terminal.until("spy> ")
    terminal.type("SELECT count(*) AS bars\n")
    terminal.until("...> ")
    terminal.type("FROM market.daily_bars;\n")
    assert "6" in terminal.until("1 row")
    terminal.type("SELECT oops;\n")
    terminal.until("WarehouseError")
    terminal.type(".tables\n")
    assert "market.daily_bars\r\n" in terminal.until("signals.latest  (view)")
    terminal.until("spy> ")
    terminal.type(".schema ledger.fills\n")
    terminal.until("quote_kind")
    terminal.until("spy> ")
    terminal.type("half a que")
    terminal.until("half a que")
    time.sleep(0.3)  # readline looks at signals only while it waits for a key
    terminal.type("\x03")
    terminal.until("spy> ")
    terminal.type("\x04")
    assert terminal.code() == 0
    assert "FROM market.daily_bars;" in (own_lake.root / "sql_history").read_text()
