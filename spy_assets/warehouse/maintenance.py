"""Keeping the lake small and fast without losing a version or a snapshot that is still named."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import duckdb

from spy_assets.settings import Settings
from spy_assets.warehouse.checksums import verify
from spy_assets.warehouse.connection import attached_catalogue, connect, quoted
from spy_assets.warehouse.copies import take_copy
from spy_assets.warehouse.files import record_missing
from spy_assets.warehouse.locking import write_lock
from spy_assets.warehouse.reads import check_moment

DEFAULT_RETENTION = timedelta(days=7)


@dataclass(frozen=True)
class MaintenanceReport:
    """What maintenance did.

    Attributes
    ----------
    files_before, files_after
        Data files of all tables at the present snapshot.
    expired
        Snapshots that can no longer be read.
    removed
        Files deleted from disk: merged ones and those that aborted writes had left.
    """

    files_before: int
    files_after: int
    expired: int
    removed: int


def maintain(
    settings: Settings,
    *,
    keep: Collection[int],
    now: datetime,
    retention: timedelta = DEFAULT_RETENTION,
) -> MaintenanceReport:
    """Merge small files, expire old snapshots, delete what nothing refers to; under the lock.

    Row versions are never touched: this forgets states of the lake, not states of knowledge.

    Every file is compared with its checksum first: a merged file gets a checksum of its own, so that
    damage in what is merged would never be found again. A file without a checksum, left by a writer
    that was killed after its commit, is none the worse for it.

    Parameters
    ----------
    keep
        Snapshot ids that a model or a signal names; they stay readable whatever their age.
    now
        Present moment, timezone-aware.
    retention
        Younger snapshots stay, and files younger than this are not deleted, so that no running
        reader loses a file.

    Raises
    ------
    ChecksumMismatch
        If a file or the catalogue is damaged; nothing is changed.
    """
    check_moment(now, "maintain")
    before = quoted((now - retention).isoformat())
    with write_lock(settings, ("meta.maintenance",)):
        if "://" not in settings.lake_dir:
            replace(verify(settings), unrecorded=()).raise_if_damaged()
        connection = connect(settings, read_only=False)
        try:
            files_before = _count_files(connection)
            connection.execute("CALL ducklake_merge_adjacent_files('lake')")
            expired = _expire(connection, set(keep), now - retention)
            removed = 0
            for clean in ("ducklake_cleanup_old_files", "ducklake_delete_orphaned_files"):
                call = f"CALL {clean}('lake', older_than => {before}::TIMESTAMPTZ)"
                removed += len(connection.execute(call).fetchall())
            with attached_catalogue(settings, connection) as catalogue:
                if "://" not in settings.lake_dir:
                    record_missing(catalogue, settings)
                take_copy(settings, catalogue)
            return MaintenanceReport(files_before, _count_files(connection), expired, removed)
        finally:
            connection.close()


def _count_files(connection: duckdb.DuckDBPyConnection) -> int:
    row = connection.execute("SELECT sum(file_count) FROM ducklake_table_info('lake')").fetchone()
    return int(row[0] or 0) if row else 0


def _expire(connection: duckdb.DuckDBPyConnection, keep: set[int], before: datetime) -> int:
    rows = connection.execute(
        "SELECT snapshot_id FROM ducklake_snapshots('lake') WHERE snapshot_time < ?", [before]
    ).fetchall()
    current = connection.execute("SELECT id FROM lake.current_snapshot()").fetchone()
    kept = keep | {int(current[0])} if current else keep
    versions = sorted(int(row[0]) for row in rows if int(row[0]) not in kept)
    if versions:
        listed = ", ".join(str(version) for version in versions)
        connection.execute(f"CALL ducklake_expire_snapshots('lake', versions => [{listed}])")
    return len(versions)
