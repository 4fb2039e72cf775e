"""Ways back: from a damaged catalogue, and from a damaged data file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from spy_assets.clock import utc_now
from spy_assets.errors import CatalogueCorrupt, ChecksumMismatch, WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse.connection import (
    Catalogue,
    connect,
    extension_path,
    is_postgres,
    open_catalogue,
    quoted,
)
from spy_assets.warehouse.copies import JournalEntry, list_copies, read_journal, take_copy
from spy_assets.warehouse.files import (
    LakeFile,
    forget,
    lake_root,
    list_files,
    record_missing,
    recorded,
    sha256_of,
)
from spy_assets.warehouse.locking import write_lock
from spy_assets.warehouse.refetch import note_of, write_note

_BACKUP = "`spy restore DIR --force` brings back a backup of the whole profile"
_SHRINK = """
    UPDATE ducklake_table_stats
    SET record_count = record_count - ?, file_size_bytes = file_size_bytes - ? WHERE table_id = ?
"""


@dataclass(frozen=True)
class ForgottenFile:
    """A data file that was taken out of the lake.

    Attributes
    ----------
    table, rows
        Whose rows it held, and how many.
    kept_at
        Where the damaged file is now.
    ranges
        Column to (lowest, highest) value as text, from the catalogue: what to fetch again.
    """

    table: str
    rows: int
    kept_at: Path | None
    ranges: dict[str, tuple[str, str]]


def sound(path: Path) -> bool:
    """Whether an SQLite file passes its integrity check."""
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(f"LOAD {quoted(str(extension_path('sqlite_scanner')))}")
        connection.execute(f"ATTACH {quoted(str(path))} AS candidate (TYPE sqlite, READ_ONLY)")
        sql = "SELECT * FROM sqlite_query('candidate', 'PRAGMA integrity_check')"
        return [tuple(row) for row in connection.execute(sql).fetchall()] == [("ok",)]
    except duckdb.Error:
        return False
    finally:
        connection.close()


def restore_catalogue(settings: Settings) -> int:
    """Replace a damaged SQLite catalogue by its newest sound copy and replay the commits since.

    The damaged files are kept beside it. Returns the snapshot id reached. Close every ``Warehouse``
    of this profile first.

    Raises
    ------
    CatalogueCorrupt
        If no copy is sound.
    ChecksumMismatch
        If a file of a later commit is not the one that was written.
    """
    if is_postgres(settings):
        raise WarehouseError(
            "a Postgres catalogue is restored with Postgres' own tools", hint="pg_restore"
        )
    with write_lock(settings, ("meta.catalogue",)):
        copy = next((path for _, path in list_copies(settings) if sound(path)), None)
        if copy is None:
            raise CatalogueCorrupt(
                f"no sound copy of the catalogue below {settings.root}",
                hint=_BACKUP,
            )
        _set_aside(settings.catalogue_path)
        fresh = settings.catalogue_path.with_suffix(".restored")
        shutil.copyfile(copy, fresh)
        fresh.replace(settings.catalogue_path)
        _replay(settings, read_journal(copy))
        with open_catalogue(settings) as catalogue:
            record_missing(catalogue, settings)
            take_copy(settings, catalogue)
            return int(catalogue.query("SELECT max(snapshot_id) FROM ducklake_snapshot")[0][0])


def _set_aside(path: Path) -> None:
    stamp = utc_now().strftime("%Y%m%dT%H%M%S")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(path.with_name(f"{path.name}.damaged-{stamp}{suffix}"))


def _replay(settings: Settings, entries: list[JournalEntry]) -> None:
    """Add the files of each noted commit again, a transaction each, so that snapshot ids agree."""
    connection = connect(settings, read_only=False)
    try:
        for entry in entries:
            connection.execute("BEGIN")
            for table, path, sha256 in entry.files:
                full = lake_root(settings) / path
                if not full.exists() or sha256_of(full) != sha256:
                    raise ChecksumMismatch(
                        f"{full} of snapshot {entry.snapshot} is not the file that was written",
                        hint=_BACKUP,
                    )
                schema, _, name = table.partition(".")
                connection.execute(
                    f"CALL ducklake_add_data_files('lake', {quoted(name)}, {quoted(str(full))},"
                    f" schema => {quoted(schema)})"
                )
            connection.execute("COMMIT")
    finally:
        connection.close()


def forget_file(settings: Settings, path: str) -> ForgottenFile:
    """Take a damaged data file out of the lake, at all snapshots, so that it can be fetched again.

    Keys that it held are absent afterwards, so the next write inserts them as given, with their
    nominal ``available_at``: reads as of a moment are as before. A note below ``refetch/`` has the
    next ``spy run`` fetch or compute them. The file moves to ``damaged_files``. Where a backup
    holds the file with its recorded checksum, copying that back is better: use :func:`mend_file`.

    Parameters
    ----------
    path
        As in ``VerifyReport.corrupt`` or ``.missing``: relative to the lake folder.

    Raises
    ------
    WarehouseError
        If the lake has no such file.
    """
    with write_lock(settings, ("meta.files",)), open_catalogue(settings) as catalogue:
        file = _find(catalogue, settings, path)
        row = catalogue.query(
            "SELECT data_file_id, table_id, record_count, file_size_bytes"
            " FROM ducklake_data_file WHERE path = ? OR path = ?",
            [Path(path).name, path],
        )
        if not row:
            raise WarehouseError(f"{path} is no data file but a delete file", hint=_BACKUP)
        file_id, table_id, count, size = row[0]
        ranges = _ranges(catalogue, file_id, table_id)
        # Before the rows go: a crash in between costs a needless request, not the rows.
        write_note(settings, Path(path).stem, note_of(file.table, ranges))
        catalogue.change(
            ("DELETE FROM ducklake_file_column_stats WHERE data_file_id = ?", [file_id]),
            ("DELETE FROM ducklake_delete_file WHERE data_file_id = ?", [file_id]),
            ("DELETE FROM ducklake_data_file WHERE data_file_id = ?", [file_id]),
            (_SHRINK, [count, size, table_id]),
        )
        forget(catalogue, [path])
        kept = _keep_aside(settings, path)
        take_copy(settings, catalogue)
        return ForgottenFile(file.table, int(count), kept, ranges)


def _find(catalogue: Catalogue, settings: Settings, path: str) -> LakeFile:
    for file in list_files(catalogue, settings):
        if file.path == path:
            return file
    raise WarehouseError(
        f"the lake has no file {path!r}", hint="`spy verify` names the damaged files"
    )


def _ranges(catalogue: Catalogue, file_id: int, table_id: int) -> dict[str, tuple[str, str]]:
    rows = catalogue.query(
        "SELECT c.column_name, s.min_value, s.max_value FROM ducklake_file_column_stats AS s"
        " JOIN ducklake_column AS c ON c.column_id = s.column_id AND c.table_id = s.table_id"
        " WHERE s.data_file_id = ? AND s.table_id = ? AND s.min_value IS NOT NULL",
        [file_id, table_id],
    )
    return {name: (str(low), str(high)) for name, low, high in rows}


def _keep_aside(settings: Settings, path: str) -> Path | None:
    source = lake_root(settings) / path
    if not source.exists():
        return None
    target = settings.root / "damaged_files" / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    return target


def mend_file(settings: Settings, path: str, good: Path) -> None:
    """Put a good copy of a damaged data file in its place, e.g. out of a backup's lake folder.

    Raises
    ------
    ChecksumMismatch
        If ``good`` is not the file that was written.
    """
    with write_lock(settings, ("meta.files",)), open_catalogue(settings) as catalogue:
        expected = recorded(catalogue, [path]).get(path)
        actual = sha256_of(good)
        if actual != expected:
            raise ChecksumMismatch(
                f"{good} has SHA-256 {actual}, {path} was written with {expected}",
                hint="`spy repair --backup DIR` with another backup, or `spy repair --forget`",
            )
        target = lake_root(settings) / path
        partial = target.with_suffix(".partial")
        shutil.copyfile(good, partial)
        partial.replace(target)
