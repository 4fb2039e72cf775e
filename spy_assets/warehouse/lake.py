"""``Warehouse``: the one way in which the rest of the system reads and writes the lake."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import polars as pl

from spy_assets.clock import utc_now
from spy_assets.errors import NaiveTimestamp, SchemaVersionError, WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse import copies, files, reads, writes
from spy_assets.warehouse.checksums import record_checksums, record_while_locked
from spy_assets.warehouse.connection import (
    MEND_DISK,
    Catalogue,
    attach,
    attached_catalogue,
    connect,
    is_initialised,
    is_postgres,
    qualified,
    unattached,
)
from spy_assets.warehouse.locking import write_lock
from spy_assets.warehouse.migrations import check_stamp, migrate, read_stamp
from spy_assets.warehouse.tables import TableSpec
from spy_assets.warehouse.writes import WriteResult


class Warehouse:
    """An open lake. Use :meth:`open`; a context manager; safe to share between threads.

    Reads never wait. Each write is one transaction under the profile's write lock, and is either
    wholly there or not at all, whatever happens to the process.
    """

    def __init__(
        self, settings: Settings, connection: duckdb.DuckDBPyConnection, *, read_only: bool
    ) -> None:
        self.settings = settings
        self.read_only = read_only
        self._connection = connection
        self._catalogue: Catalogue | None = (
            None if read_only else attached_catalogue(settings, connection)
        )
        self._ensured: set[TableSpec | str] = set()
        self._guard = threading.Lock()

    @classmethod
    def open(cls, settings: Settings, *, read_only: bool = False) -> Self:
        """Open the profile's lake; if it is missing and may be written, make and stamp it.

        Raises
        ------
        WarehouseError
            If it is missing and ``read_only``.
        ProfileMismatch
            If it was made with another source.
        SchemaVersionError
            If its schema is newer than this program, or older and ``read_only``.
        CatalogueCorrupt
            If the catalogue is damaged.
        """
        connection = unattached(settings)
        try:
            if not is_initialised(settings, connection):
                if read_only:
                    raise WarehouseError(
                        f"there is no warehouse at {settings.root}", hint="make one with `make run`"
                    )
                _create(settings)
            attach(connection, settings, read_only=read_only)
            _bring_up_to_date(connection, settings, read_only=read_only)
            return cls(settings, connection, read_only=read_only)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close all connections; the object cannot be used afterwards."""
        if self._catalogue is not None:
            self._catalogue.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ensure(self, spec: TableSpec) -> None:
        """Create the table if it is missing, and the columns that it lacks."""
        if self._has(spec):
            return
        with self._transaction(spec.name) as cursor:
            writes.create_table(cursor, spec)

    def write(self, spec: TableSpec, frame: pl.DataFrame, *, ingested_at: datetime) -> WriteResult:
        """Append the new versions in ``frame`` in one transaction.

        Per key: absent, it is inserted as given; stored with an equal payload, nothing happens;
        else a new version is appended with ``available_at = max(given, ingested_at)``.

        Parameters
        ----------
        frame
            The table's columns, ``available_at`` and ``source``.
        ingested_at
            Moment of this write, timezone-aware.

        Raises
        ------
        DataError
            If the frame does not fit; nothing is written. See :func:`writes.prepare`.
        LockTimeout
            If another writer held the lock for too long.
        """
        return self.write_many([(spec, frame)], ingested_at=ingested_at)[0]

    def write_many(
        self, batches: Sequence[tuple[TableSpec, pl.DataFrame]], *, ingested_at: datetime
    ) -> list[WriteResult]:
        """Write several tables in one transaction: all of it or nothing. See :meth:`write`."""
        if ingested_at.tzinfo is None:
            raise NaiveTimestamp(f"ingested_at={ingested_at!r} has no time zone")
        prepared = [(spec, writes.prepare(spec, frame)) for spec, frame in batches]
        counts = []
        with self._transaction(*(spec.name for spec, _ in prepared)) as cursor:
            for spec, rows in prepared:
                if not self._has(spec):
                    writes.create_table(cursor, spec)
                empty = rows.is_empty()
                counts.append(
                    (0, 0, 0) if empty else writes.append(cursor, spec, rows, ingested_at)
                )
        snapshot = self.snapshot_id()
        return [
            WriteResult(spec.name, *count, snapshot_id=snapshot)
            for (spec, _), count in zip(prepared, counts, strict=True)
        ]

    def read(
        self,
        table: str,
        *,
        as_of: datetime | None = None,
        snapshot: int | None = None,
        where: str | None = None,
        params: Sequence[Any] = (),
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """The last version of each key, in key order.

        Parameters
        ----------
        table
            ``schema.table`` or a view.
        as_of
            Only versions with ``available_at <= as_of``; None for all.
        snapshot
            Read the lake as it was at this snapshot id; None for the present.
        where, params
            SQL condition on the chosen versions, with ``?`` for parameters.
        columns
            Columns to return; None for all.

        Raises
        ------
        SnapshotExpired
            If the snapshot is no longer kept.
        WarehouseError
            If there is no such table.
        """
        if as_of is not None:
            reads.check_moment(as_of, table)
        cursor = self._cursor()
        stored = self._columns(cursor, table, snapshot)
        versioned = as_of is not None and "available_at" in stored
        sql = reads.latest_sql(
            table,
            stored,
            view=writes.is_view(cursor, table),
            known_by=versioned,
            snapshot=snapshot,
            where=where,
            columns=columns,
        )
        return reads.fetch(cursor, sql, [as_of, *params] if versioned else params)

    def history(self, table: str) -> pl.DataFrame:
        """All versions of all keys, in order of key and version."""
        cursor = self._cursor()
        stored = self._columns(cursor, table, None)
        keys = ", ".join(f'"{name}"' for name in reads.key_of(table, stored))
        order = f"{keys}, available_at, ingested_at, rowid"
        return reads.fetch(cursor, f"SELECT * FROM {qualified(table)} ORDER BY {order}", [])

    def snapshot_id(self) -> int:
        """Id of the lake's present snapshot."""
        with _explained("the lake's snapshot cannot be read"):
            return self._present()

    def execute(self, sql: str, params: Sequence[Any] = ()) -> pl.DataFrame:
        """Run trusted SQL of this program; unqualified ``schema.table`` names mean the lake's."""
        cursor = self._cursor()
        cursor.execute("USE lake")
        return reads.fetch(cursor, sql, params)

    def tables(self) -> list[str]:
        """Names of all tables, sorted."""
        found = self._cursor().execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables()"
            " WHERE database_name = 'lake' ORDER BY 1"
        )
        return [row[0] for row in found.fetchall()]

    def views(self) -> list[str]:
        """Names of all views, sorted."""
        found = self._cursor().execute(
            "SELECT schema_name || '.' || view_name FROM duckdb_views()"
            " WHERE database_name = 'lake' ORDER BY 1"
        )
        return [row[0] for row in found.fetchall()]

    def row_count(self, table: str) -> int:
        """Number of stored rows, all versions."""
        sql = f"SELECT count(*) AS n FROM {qualified(table)}"
        return int(reads.fetch(self._cursor(), sql, [])["n"][0])

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        return self._connection.cursor()  # one per use: DuckDB cursors are not for two threads

    def _present(self) -> int:
        row = self._cursor().execute("SELECT id FROM lake.current_snapshot()").fetchone()
        assert row is not None
        return int(row[0])

    def _columns(
        self, cursor: duckdb.DuckDBPyConnection, table: str, snapshot: int | None
    ) -> list[str]:
        if snapshot is None:
            stored = writes.stored_columns(cursor, table)
        else:
            sql = f"SELECT * FROM {qualified(table)} AT (VERSION => {int(snapshot)}) LIMIT 0"
            stored = reads.fetch(cursor, sql, []).columns
        if not stored:
            raise WarehouseError(
                f"there is no table {table!r}", hint=f"the tables are {', '.join(self.tables())}"
            )
        return stored

    def _has(self, spec: TableSpec) -> bool:
        """Whether the table is there with all columns; remembered, as columns are never dropped."""
        mark = f"{spec.name}:{','.join(spec.columns)}"
        if mark not in self._ensured:
            with _explained(f"{spec.name} cannot be looked up"):
                stored = writes.stored_columns(self._cursor(), spec.name)
            if set(spec.all_columns) <= set(stored):
                self._ensured.add(mark)
        return mark in self._ensured

    @contextlib.contextmanager
    def _transaction(self, *tables: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A transaction under the write lock; its new files are checksummed after the commit."""
        if self._catalogue is None:
            raise WarehouseError(
                f"{', '.join(tables)} cannot be written: the warehouse was opened read-only"
            )
        names = ", ".join(tables)
        with write_lock(self.settings, tables), self._guard:
            with _explained(f"writing {names} failed and was undone"):
                before, started = self._present(), time.time()
                cursor = self._cursor()
                cursor.execute("BEGIN")
                try:
                    yield cursor
                    cursor.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(
                        duckdb.Error
                    ):  # a failed commit is rolled back already
                        cursor.execute("ROLLBACK")
                    with contextlib.suppress(duckdb.Error, OSError):  # maintenance does it later
                        self._sweep(tables, started)
                    raise
            with _explained(f"{names}: stored, but its checksums were not"):
                self._note_commit(self._catalogue, before)

    def _sweep(self, tables: Sequence[str], started: float) -> None:
        """Remove the files that an undone write may have left, as they would fill a full disk.

        Only with the SQLite catalogue: there the lock makes us the only writer.
        """
        if self._catalogue is None or is_postgres(self.settings):
            return
        if "://" in self.settings.lake_dir:
            return
        known = {file.path for file in files.list_files(self._catalogue, self.settings)}
        root = Path(self.settings.lake_dir)
        for table in tables:
            for path in (root / table.replace(".", "/")).glob("ducklake-*"):
                orphan = str(path.relative_to(root)) not in known
                if orphan and path.stat().st_mtime >= started - 1:
                    path.unlink()

    def _note_commit(self, catalogue: Catalogue, before: int) -> None:
        """Checksum the new files and note the commit outside the catalogue.

        If an earlier writer could not, or was killed before it did, all that is left is done now.
        """
        if "://" in self.settings.lake_dir:
            return
        if self._present() == before:
            if not copies.is_copied(self.settings, catalogue):
                record_while_locked(self.settings)
            return
        new = files.list_files(catalogue, self.settings, before + 1)
        files.record(catalogue, self.settings, new)
        copies.note_commit(self.settings, catalogue, before, new)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Failures of DuckDB and of the disk, as a WarehouseError that says what came of the write."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise WarehouseError(f"{what}: {error}", hint=MEND_DISK) from error


def _create(settings: Settings) -> None:
    """Make an empty lake; under the lock, as two processes may start at once."""
    with write_lock(settings, ("meta.profile",)):
        if is_initialised(settings):
            return
        settings.root.mkdir(parents=True, exist_ok=True)
        if "://" not in settings.lake_dir:
            Path(settings.lake_dir).mkdir(parents=True, exist_ok=True)
        connect(settings, read_only=False).close()


def _bring_up_to_date(
    connection: duckdb.DuckDBPyConnection, settings: Settings, *, read_only: bool
) -> None:
    cursor = connection.cursor()
    stamp = read_stamp(cursor)
    missing = None if stamp is None else check_stamp(stamp, settings.source)
    if missing == []:
        return
    if read_only:
        raise SchemaVersionError(
            f"the warehouse at {settings.root} lacks migrations of this program",
            hint="open it once for writing, e.g. by `make run`",
        )
    with write_lock(settings, ("meta.profile",)):
        migrate(cursor, settings.source, utc_now())
        record_checksums(settings)
