"""Reading: the last version of each key that was known at a moment, at a snapshot of the lake."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb
import polars as pl

from spy_assets.errors import NaiveTimestamp, SnapshotExpired, WarehouseError
from spy_assets.warehouse.connection import MEND_DISK, identifier, qualified
from spy_assets.warehouse.tables import DERIVED_KEYS, TABLES
from spy_assets.warehouse.views import VIEWS
from spy_assets.warehouse.writes import LATEST_FIRST, NEWEST_FIRST

_SIGNS_OF_A_FULL_DISK = ("disk I/O error", "disk is full", "No space left")


def key_of(table: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The key of a table: declared, or ``symbol`` and ``session`` as far as the table has them.

    Raises
    ------
    WarehouseError
        If neither is there.
    """
    if table in TABLES:
        return TABLES[table].key
    guess = tuple(name for name in ("symbol", "session") if name in columns)
    key = DERIVED_KEYS.get(table, guess)
    if not key:
        raise WarehouseError(
            f"{table} has no known key among its columns {list(columns)}",
            hint="declare it in warehouse/tables.py (TABLES or DERIVED_KEYS)",
        )
    return key


def latest_sql(
    table: str,
    stored: Sequence[str],
    *,
    view: bool,
    known_by: bool,
    snapshot: int | None,
    where: str | None,
    columns: Sequence[str] | None,
) -> str:
    """The SELECT behind ``Warehouse.read``; its first parameter is the moment if ``known_by``.

    A relation without ``available_at`` has no versions and is read as it is, as are our views,
    which show last versions by themselves.
    """
    version = f" AT (VERSION => {int(snapshot)})" if snapshot is not None else ""
    chosen = ", ".join(identifier(name) for name in columns) if columns else "*"
    relation = f"{qualified(table)}{version}"
    outer = f" WHERE {where}" if where else ""
    if "available_at" not in stored or table in VIEWS:
        return f"SELECT {chosen} FROM {relation}{outer}"
    key = key_of(table, stored)
    keys = ", ".join(identifier(name) for name in key)
    known = " WHERE available_at <= ?" if known_by else ""
    names = ", ".join(identifier(name) for name in stored)
    order = NEWEST_FIRST if view else LATEST_FIRST
    return f"""
        SELECT {chosen} FROM (
            SELECT {names} FROM {relation}{known}
            QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1
        ){outer} ORDER BY {keys}
    """


def check_moment(as_of: datetime, table: str) -> None:
    """Refuse a moment without a time zone, and any moment for a view of last versions."""
    if table in VIEWS:
        raise WarehouseError(
            f"{table} is a view of last versions and has no as_of", hint="read the ledger.* tables"
        )
    if as_of.tzinfo is None:
        raise NaiveTimestamp(f"as_of={as_of!r} has no time zone", hint="pass a UTC datetime")


def fetch(cursor: duckdb.DuckDBPyConnection, sql: str, params: Sequence[Any]) -> pl.DataFrame:
    """Run a SELECT and return its rows.

    Raises
    ------
    SnapshotExpired
        If the SQL names a version that is no longer kept.
    WarehouseError
        If DuckDB refuses the statement.
    """
    try:
        return cursor.execute(sql, list(params)).pl()
    except duckdb.Error as error:
        if "No snapshot found at" in str(error):
            raise SnapshotExpired(
                f"{error}", hint="maintenance keeps only snapshots that a model or signal names"
            ) from error
        full = any(sign in str(error) for sign in _SIGNS_OF_A_FULL_DISK)
        raise WarehouseError(
            f"{type(error).__name__}: {error}\nin: {sql.strip()}", hint=MEND_DISK if full else None
        ) from error
