"""A DuckDB connection that can only read the lake, and the check of the SQL that it is given.

Several walls, each enough for most attacks: the lake is attached read-only; DuckDB may touch no
file but the lake's data files, no network and none of its own settings; only one SELECT is taken,
and only if its parsed tree names tables of the lake and harmless functions; memory, threads, rows,
bytes and time are limited.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import duckdb

from spy_assets.errors import QueryTimeout, SnapshotExpired, UnsafeQuery, WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse.connection import attached_catalogue, connect, is_initialised, quoted
from spy_assets.warehouse.files import list_files

MEMORY_LIMIT = "512MB"
THREADS = 2
MAX_SQL_CHARACTERS = 100_000
MAX_RESULT_BYTES = 64 * 1024 * 1024

#: Table functions that neither reach outside nor show addresses and settings.
SAFE_FUNCTIONS = frozenset(
    {
        "range",
        "generate_series",
        "unnest",
        "snapshots",
        "ducklake_snapshots",
        "ducklake_table_changes",
        "ducklake_table_insertions",
        "ducklake_table_deletions",
        "table_changes",
        "table_insertions",
        "table_deletions",
        "duckdb_tables",
        "duckdb_columns",
        "duckdb_views",
        "duckdb_schemas",
        "duckdb_functions",
    }
)
#: Names without a schema that may be read besides the query's own CTEs.
_SAFE_RELATIONS = frozenset({"duckdb_tables", "duckdb_columns", "duckdb_views"})
#: Scalar functions that show settings or write logs, and those that make huge values in one call,
#: which neither the memory limit nor the interrupt can stop.
_FORBIDDEN_SCALARS = frozenset(
    {
        "current_setting",
        "getenv",
        "getvariable",
        "write_log",
        "repeat",
        "lpad",
        "rpad",
        "format",
        "printf",
        "list_resize",
        "array_resize",
        "bar",
    }
)


def open_hardened(settings: Settings) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the lake that can reach nothing else, with locked settings."""
    if not is_initialised(settings):
        raise WarehouseError(
            f"there is no warehouse at {settings.root}", hint="make one with `make run`"
        )
    connection = connect(settings, read_only=True)
    # One transaction, so that the files allowed below are those of the snapshot that is read.
    connection.execute("USE lake")
    connection.execute("BEGIN TRANSACTION READ ONLY")
    connection.execute("SELECT id FROM lake.current_snapshot()")
    with attached_catalogue(settings, connection) as catalogue:
        files = [file.path for file in list_files(catalogue, settings)]
    base = settings.lake_dir.rstrip("/")
    allowed = ", ".join(quoted(f if f.startswith("/") else f"{base}/{f}") for f in files)
    for statement in (
        f"SET GLOBAL allowed_paths = [{allowed}]",
        f"SET GLOBAL memory_limit = '{MEMORY_LIMIT}'",
        f"SET GLOBAL threads = {THREADS}",
        "SET GLOBAL temp_directory = ''",  # nothing spills, so no query fills the disk
        "SET GLOBAL allow_community_extensions = false",
        "SET GLOBAL enable_external_access = false",
        "SET GLOBAL lock_configuration = true",
    ):
        connection.execute(statement)
    return connection


def check(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The one statement in ``sql``, without its semicolon, if it only reads the lake.

    Raises
    ------
    UnsafeQuery
        Naming what is not allowed.
    WarehouseError
        If it does not parse.
    """
    if len(sql) > MAX_SQL_CHARACTERS:
        raise UnsafeQuery(f"{len(sql)} characters of SQL; at most {MAX_SQL_CHARACTERS} are taken")
    statements = _statements(connection, sql)
    if _is_open_pivot(statements):
        raise UnsafeQuery(
            "refused: a PIVOT that takes its columns from the data, which DuckDB runs as several "
            "statements",
            hint="name the columns: PIVOT market.daily_bars ON symbol IN ('SPY', 'QQQ') USING "
            "avg(close) GROUP BY session",
        )
    if len(statements) != 1:
        raise _unsafe(f"{len(statements)} statements")
    statement = statements[0]
    if statement.type != duckdb.StatementType.SELECT:
        raise _unsafe(f"a statement of type {statement.type.name}")
    _check_tree(connection, statement.query)
    return statement.query


def _statements(connection: duckdb.DuckDBPyConnection, sql: str) -> list[duckdb.Statement]:
    try:
        return connection.extract_statements(sql)
    except duckdb.ParserException as error:
        raise WarehouseError(f"SQL error: {error}") from error
    except duckdb.Error as error:  # a PRAGMA is run by the parser's own preparation
        raise _unsafe(str(error)) from error


def _is_open_pivot(statements: list[duckdb.Statement]) -> bool:
    """Whether DuckDB made these of one PIVOT; they have no text that could be checked."""
    kinds = [statement.type for statement in statements]
    made = {duckdb.StatementType.CREATE}  # an enum per column list
    textless = not any(statement.query for statement in statements)
    return textless and set(kinds[:-1]) == made and kinds[-1] == duckdb.StatementType.SELECT


def _check_tree(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    row = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree = json.loads(row[0]) if row else {"error": True, "error_message": "no tree"}
    if tree.get("error"):
        raise _unsafe(str(tree.get("error_message")))
    nodes = list(_nodes(tree))
    schemas = {
        name.lower()
        for (name,) in connection.execute(
            "SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'lake'"
        ).fetchall()
    } | {"information_schema"}
    ctes = {name.lower() for node in nodes for name in _cte_names(node)}
    for node in nodes:
        _check_node(node, schemas, ctes)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON tree, without recursion, as a query may be nested deeply."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _cte_names(node: dict[str, Any]) -> list[str]:
    found = node.get("cte_map")
    entries = found.get("map", []) if isinstance(found, dict) else []
    names = [str(entry["key"]) for entry in entries]
    return [*names, str(node["cte_name"])] if node.get("cte_name") else names


def _check_node(node: dict[str, Any], schemas: set[str], ctes: set[str]) -> None:
    kind = node.get("type")
    if kind == "BASE_TABLE":
        _check_table(node, schemas, ctes)
    elif kind == "TABLE_FUNCTION":
        name = str(node["function"]["function_name"]).lower()
        if name not in SAFE_FUNCTIONS:
            raise _unsafe(f"the table function {name}()")
    elif "function_name" in node:
        name = str(node["function_name"]).lower()
        if name in _FORBIDDEN_SCALARS:
            raise _unsafe(f"the function {name}()")


def _check_table(node: dict[str, Any], schemas: set[str], ctes: set[str]) -> None:
    catalog, schema, table = (
        str(node.get(part) or "").lower() for part in ("catalog_name", "schema_name", "table_name")
    )
    name = ".".join(part for part in (catalog, schema, table) if part)
    if catalog not in ("", "lake"):
        raise _unsafe(f"the relation {name}")
    if schema:
        allowed = schema in schemas or (not catalog and schema == "lake")
    else:
        allowed = table in ctes or table in _SAFE_RELATIONS
    if not allowed:
        raise _unsafe(f"the relation {name}")


def _unsafe(what: str) -> UnsafeQuery:
    return UnsafeQuery(
        f"refused: {what}",
        hint="write one SELECT over the lake's tables, each with its schema (market.daily_bars)",
    )


def run(
    connection: duckdb.DuckDBPyConnection, sql: str, limit: int, timeout_s: float
) -> tuple[Any, bool]:
    """An Arrow table of at most ``limit`` rows, and whether there were more; read as a stream."""
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        connection.interrupt()

    timer = threading.Timer(timeout_s, stop)
    timer.daemon = True
    timer.start()
    try:
        reader = connection.execute(sql).to_arrow_reader(max(1, min(limit + 1, 10_000)))
        return _take(reader, limit)
    except (duckdb.Error, OSError) as error:
        raise _explained(error, expired.is_set(), timeout_s) from error
    finally:
        timer.cancel()


def _take(reader: Any, limit: int) -> tuple[Any, bool]:
    import pyarrow

    batches, rows, size = [], 0, 0
    for batch in reader:
        batches.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows > limit or size > MAX_RESULT_BYTES:
            break
    table = pyarrow.Table.from_batches(batches, schema=reader.schema)
    return table.slice(0, limit), rows > limit or size > MAX_RESULT_BYTES


def _explained(error: Exception, expired: bool, timeout_s: float) -> WarehouseError:
    if expired:
        return QueryTimeout(
            f"the query ran longer than {timeout_s:g} s and was stopped",
            hint="narrow it by session or symbol; SPY_SQL_TIMEOUT_S sets the limit",
        )
    if "No snapshot found at" in str(error):
        return SnapshotExpired(str(error), hint="`SELECT * FROM snapshots()` lists those kept")
    if isinstance(error, duckdb.PermissionException):
        return _unsafe(str(error))
    return WarehouseError(f"SQL error: {error}")
