"""The process of one ad-hoc query: a request in JSON on stdin, the answer on stdout.

The answer is a line of JSON (``truncated``, or ``error``, ``message`` and ``hint``), then an Arrow
stream. The operating system limits the memory, processor time and file sizes of this process.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

from spy_assets.errors import SpyError, WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse import hardened

MAX_MEMORY_BYTES = 3 * 1024**3  # address space: DuckDB's 512 MB, libraries, and thread stacks
_MAX_FILE_BYTES = 16 * 1024**2  # SQLite's shared-memory file beside the catalogue; nothing else


def main() -> None:
    """Answer the one request on stdin."""
    request = json.load(sys.stdin)
    _limit_process(float(request["timeout_s"]))
    try:
        header, table = _answer(request)
    except SpyError as error:
        header, table = _told(error), None
    except MemoryError:
        header, table = _told(WarehouseError("the query takes more memory than it may")), None
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
    if table is not None:
        _write_stream(table)


def _limit_process(timeout_s: float) -> None:
    seconds = int(timeout_s * hardened.THREADS) + 30
    for what, limit in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (limit if hard < 0 else min(limit, hard), hard))


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    settings = Settings.model_validate(request["settings"])
    connection = hardened.open_hardened(settings)
    try:
        sql = hardened.check(connection, request["sql"])
        table, truncated = hardened.run(
            connection, sql, int(request["limit"]), float(request["timeout_s"])
        )
    finally:
        connection.close()
    return {"truncated": truncated}, table


def _told(error: SpyError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def _write_stream(table: Any) -> None:
    import pyarrow

    with pyarrow.ipc.new_stream(sys.stdout.buffer, table.schema) as stream:
        stream.write_table(table)


if __name__ == "__main__":
    main()
