"""Ad-hoc SQL for people: reads the lake, and can do nothing else. See ``hardened`` for the walls.

Each query has a process of its own, because DuckDB's memory limit and interrupt do not reach into
a single function call: ``SELECT generate_series(1, 2000000000)`` takes 16 GB whatever they say.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import polars as pl

from spy_assets import errors
from spy_assets.errors import QueryTimeout, SpyError, WarehouseError
from spy_assets.settings import SECRETS, Settings

_START_S = 20.0  # a cold start on a busy machine; the query's own time is counted by the worker


@dataclass(frozen=True)
class QueryResult:
    """Rows of a query.

    Attributes
    ----------
    frame
        At most ``limit`` rows.
    truncated
        Whether there were more.
    elapsed_s
        Time taken in seconds, the worker's start included.
    """

    frame: pl.DataFrame
    truncated: bool
    elapsed_s: float


def run_query(
    settings: Settings, sql: str, *, limit: int | None = None, timeout_s: float | None = None
) -> QueryResult:
    """Run one SELECT in a process of its own; never waits for writers, never makes them wait.

    Unqualified names mean the lake: ``SELECT * FROM market.daily_bars AT (VERSION => 7)``.

    Parameters
    ----------
    limit
        Most rows to return; ``settings.sql_row_limit`` by default.
    timeout_s
        Longest run in seconds; ``settings.sql_timeout_s`` by default.

    Raises
    ------
    UnsafeQuery
        If it is not exactly one SELECT over the lake.
    QueryTimeout
        If it ran longer than ``timeout_s``.
    SnapshotExpired
        If it names a snapshot that is no longer kept.
    WarehouseError
        If the SQL is wrong, or takes too much memory.
    """
    limit = settings.sql_row_limit if limit is None else limit
    timeout_s = settings.sql_timeout_s if timeout_s is None else timeout_s
    request = {
        "settings": settings.model_dump(mode="json", exclude=SECRETS)
        | {"catalogue": settings.catalogue_dsn},  # by the pipe, which nobody else can read
        "sql": sql,
        "limit": limit,
        "timeout_s": timeout_s,
    }
    started = time.monotonic()
    answer, frame = _ask_worker(request, timeout_s)
    elapsed = time.monotonic() - started
    return QueryResult(frame, truncated=bool(answer["truncated"]), elapsed_s=elapsed)


def _ask_worker(request: dict[str, Any], timeout_s: float) -> tuple[dict[str, Any], pl.DataFrame]:
    command = [sys.executable, "-m", "spy_assets.warehouse.query_worker"]
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, our own module
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=timeout_s + _START_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _too_long(timeout_s) from error
    header, _, body = done.stdout.partition(b"\n")
    if done.returncode != 0 or not header:
        raise WarehouseError(
            f"the query's process ended with code {done.returncode}: too much memory or time",
            hint="ask for less at once: fewer columns, sessions or symbols",
        )
    answer = json.loads(header)
    if "error" in answer:
        raise _rebuilt(answer)
    return answer, pl.read_ipc_stream(body)


def _rebuilt(answer: dict[str, Any]) -> SpyError:
    """The worker's error, as it was raised there."""
    kind = getattr(errors, answer["error"])
    error: SpyError = kind(answer["message"], hint=answer["hint"])
    return error


def _too_long(timeout_s: float) -> QueryTimeout:
    return QueryTimeout(
        f"the query ran longer than {timeout_s:g} s and its process was stopped",
        hint="narrow it by session or symbol; SPY_SQL_TIMEOUT_S sets the limit",
    )
