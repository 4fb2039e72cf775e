"""Writing versions: what is new is inserted, what changed becomes a new version, the rest is left.

Each function here runs inside a transaction that ``Warehouse`` opened under the write lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb
import polars as pl

from spy_assets.errors import DataError, NaiveTimestamp
from spy_assets.warehouse.connection import identifier, qualified, quoted
from spy_assets.warehouse.tables import TableSpec

#: Order of a key's versions: what could be known last comes last.
NEWEST_FIRST = "available_at DESC, ingested_at DESC"
LATEST_FIRST = f"{NEWEST_FIRST}, rowid DESC"  # rowid grows with each insert: breaks ties


@dataclass(frozen=True)
class WriteResult:
    """What one write did.

    Attributes
    ----------
    table
        ``schema.table``.
    inserted, revised, unchanged
        Keys that were new, that got a new version, that were stored already.
    snapshot_id
        The lake's snapshot after the write; reading at it gives what was written.
    """

    table: str
    inserted: int
    revised: int
    unchanged: int
    snapshot_id: int

    @property
    def written(self) -> int:
        """Rows appended."""
        return self.inserted + self.revised


def prepare(spec: TableSpec, frame: pl.DataFrame) -> pl.DataFrame:
    """Check a frame against its table and bring it into key order, one row per key.

    Parameters
    ----------
    frame
        Key, payload, ``available_at`` and ``source``; ``ingested_at`` is ignored.

    Raises
    ------
    NaiveTimestamp
        If a timestamp column has no time zone.
    DataError
        If columns are missing or unknown, a key or ``available_at`` is null, a number is NaN or
        infinite, or one key comes with two different payloads.
    """
    wanted = [column for column in spec.all_columns if column != "ingested_at"]
    _check_columns(spec, frame, wanted)
    rows = frame.select(wanted)
    _check_zones(spec, rows)
    _check_nulls(spec, rows)
    _check_finite(spec, rows)
    rows = rows.unique(maintain_order=True).sort(spec.key, maintain_order=True)
    _check_keys(spec, rows)
    return rows


def _check_columns(spec: TableSpec, frame: pl.DataFrame, wanted: list[str]) -> None:
    missing = [column for column in wanted if column not in frame.columns]
    unknown = [column for column in frame.columns if column not in spec.all_columns]
    if missing or unknown:
        raise DataError(
            f"{spec.name}: columns missing {missing}, unknown {unknown}",
            hint="give the table's columns, available_at and source; missing values are null",
        )


def _check_zones(spec: TableSpec, rows: pl.DataFrame) -> None:
    for column, kind in rows.schema.items():
        stamped = spec.all_columns[column] == "TIMESTAMPTZ"
        if stamped and isinstance(kind, pl.Datetime) and kind.time_zone is None:
            raise NaiveTimestamp(
                f"{spec.name}.{column} is {kind}, without a time zone",
                hint="say which zone the source means: .dt.replace_time_zone(...)",
            )


def _check_nulls(spec: TableSpec, rows: pl.DataFrame) -> None:
    for column in (*spec.key, "available_at", "source"):
        if rows[column].null_count():
            row = rows.filter(pl.col(column).is_null()).row(0, named=True)
            raise DataError(
                f"{spec.name}: {column} is null in {_key_text(spec, row)}",
                hint="every row needs its key, available_at and source",
            )


def _check_finite(spec: TableSpec, rows: pl.DataFrame) -> None:
    floats = [column for column, kind in rows.schema.items() if kind.is_float()]
    if not floats:
        return
    bad = rows.select((~pl.col(floats).is_finite()).any())
    for column in floats:
        if bad[column][0]:
            row = rows.filter(~pl.col(column).is_finite()).row(0, named=True)
            raise DataError(
                f"{spec.name}: {column} is {row[column]} for {_key_text(spec, row)}",
                hint="store null where a number is unknown; quarantine the row where it is wrong",
            )


def _check_keys(spec: TableSpec, rows: pl.DataFrame) -> None:
    twice = rows.select(pl.struct(spec.key).is_duplicated().alias("twice"))["twice"]
    if twice.any():
        row = rows.filter(twice).row(0, named=True)
        raise DataError(
            f"{spec.name}: two different rows for {_key_text(spec, row)}",
            hint="clean the frame first: one of the two belongs into quarantine.rows",
        )


def _key_text(spec: TableSpec, row: dict[str, object]) -> str:
    return ", ".join(f"{column}={row[column]}" for column in spec.key)


def create_table(cursor: duckdb.DuckDBPyConnection, spec: TableSpec) -> None:
    """Create the table, or add the columns that it lacks; comments carry the documentation."""
    columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in spec.all_columns.items())
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {qualified(spec.schema)}")
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {qualified(spec.name)} ({columns})")
    stored = stored_columns(cursor, spec.name)
    for name, kind in spec.all_columns.items():
        if name not in stored:
            cursor.execute(
                f"ALTER TABLE {qualified(spec.name)} ADD COLUMN {identifier(name)} {kind}"
            )
    if spec.description:
        cursor.execute(f"COMMENT ON TABLE {qualified(spec.name)} IS {quoted(spec.description)}")
    for name, text in spec.column_docs.items():
        if name in spec.all_columns:
            column = f"{qualified(spec.name)}.{identifier(name)}"
            cursor.execute(f"COMMENT ON COLUMN {column} IS {quoted(text)}")


def stored_columns(cursor: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Column names of a table or view of the lake, in order; empty if there is none."""
    schema, _, name = table.partition(".")
    found = cursor.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = 'lake'"
        " AND schema_name = ? AND table_name = ? ORDER BY column_index",
        [schema, name],
    ).fetchall()
    return [row[0] for row in found]


def is_view(cursor: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether the name is a view's; a view has no ``rowid`` and no versions of its own."""
    schema, _, name = table.partition(".")
    found = cursor.execute(
        "SELECT 1 FROM duckdb_views() WHERE database_name = 'lake'"
        " AND schema_name = ? AND view_name = ?",
        [schema, name],
    )
    return found.fetchone() is not None


def append(
    cursor: duckdb.DuckDBPyConnection, spec: TableSpec, rows: pl.DataFrame, ingested_at: datetime
) -> tuple[int, int, int]:
    """Append the new versions of prepared ``rows``; returns (inserted, revised, unchanged)."""
    delta = _delta(cursor, spec, rows, ingested_at)
    counts = dict(delta.group_by("outcome").len().iter_rows())
    fresh = delta.filter(pl.col("outcome") != "unchanged").drop("outcome").sort(spec.key)
    if fresh.height:
        if not spec.append_only:
            _drop_replaced(cursor, spec, delta.filter(pl.col("outcome") == "revised"))
        cursor.register("fresh_rows", fresh)
        names = ", ".join(identifier(name) for name in spec.all_columns)
        cursor.execute(
            f"INSERT INTO {qualified(spec.name)} ({names}) SELECT {names} FROM fresh_rows"
        )
        cursor.unregister("fresh_rows")
    return counts.get("inserted", 0), counts.get("revised", 0), counts.get("unchanged", 0)


def _delta(
    cursor: duckdb.DuckDBPyConnection, spec: TableSpec, rows: pl.DataFrame, ingested_at: datetime
) -> pl.DataFrame:
    """The rows as they would be stored, with ``outcome`` inserted, revised or unchanged."""
    keys = ", ".join(identifier(name) for name in spec.key)
    on = " AND ".join(f"i.{identifier(name)} = e.{identifier(name)}" for name in spec.key)
    changed = " OR ".join(
        f"i.{identifier(name)} IS DISTINCT FROM e.{identifier(name)}" for name in spec.payload
    )
    casts = ", ".join(
        f"CAST({identifier(name)} AS {kind}) AS {identifier(name)}"
        for name, kind in spec.all_columns.items()
        if name != "ingested_at"
    )
    bounds, params = _bounds(spec, rows)
    table = qualified(spec.name)
    existing = f"""
        SELECT * FROM {table} SEMI JOIN incoming USING ({keys}) WHERE {bounds}
        QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {LATEST_FIRST}) = 1
    """
    if not cursor.execute(f"SELECT 1 FROM {table} WHERE {bounds} LIMIT 1", params).fetchone():
        # A new day has no versions, and sorting them out would cost the most.
        existing, params = f"SELECT * FROM {table} LIMIT 0", {}
    sql = f"""
        WITH incoming AS (SELECT {casts} FROM incoming_rows), existing AS ({existing})
        SELECT i.* REPLACE (
                CASE WHEN e.ingested_at IS NULL THEN i.available_at
                     ELSE greatest(i.available_at, $ingested_at) END AS available_at),
            $ingested_at::TIMESTAMPTZ AS ingested_at,
            CASE WHEN e.ingested_at IS NULL THEN 'inserted'
                 WHEN {changed or "false"} THEN 'revised'
                 ELSE 'unchanged' END AS outcome
        FROM incoming AS i LEFT JOIN existing AS e ON {on}
    """
    cursor.register("incoming_rows", rows)
    delta = cursor.execute(sql, params | {"ingested_at": ingested_at}).pl()
    cursor.unregister("incoming_rows")
    return delta


def _bounds(spec: TableSpec, rows: pl.DataFrame) -> tuple[str, dict[str, object]]:
    """A range on the key's date or time columns, so that only files that may match are read."""
    clauses = ["true"]
    params: dict[str, object] = {}
    for name in spec.key:
        if spec.columns[name] in ("DATE", "TIMESTAMPTZ"):
            low, high = rows[name].min(), rows[name].max()
            clauses.append(f"{identifier(name)} BETWEEN ${name}_low AND ${name}_high")
            params |= {f"{name}_low": low, f"{name}_high": high}
    return " AND ".join(clauses), params


def _drop_replaced(
    cursor: duckdb.DuckDBPyConnection, spec: TableSpec, replaced: pl.DataFrame
) -> None:
    if replaced.is_empty():
        return
    table = qualified(spec.name)
    on = " AND ".join(f"t.{identifier(name)} = r.{identifier(name)}" for name in spec.key)
    cursor.register("replaced_rows", replaced.select(spec.key))
    cursor.execute(f"DELETE FROM {table} AS t USING replaced_rows AS r WHERE {on}")
    cursor.unregister("replaced_rows")
