"""The lake's files and their SHA-256, kept in the catalogue's database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spy_assets.clock import utc_now
from spy_assets.errors import WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse.connection import Catalogue

_CREATE = """
    CREATE TABLE IF NOT EXISTS spy_file_checksums (
        path TEXT PRIMARY KEY,
        sha256 TEXT NOT NULL,
        bytes BIGINT NOT NULL,
        recorded_at TEXT NOT NULL
    )
"""
_FILES = """
    SELECT s.schema_name, t.table_name, s.path, s.path_is_relative, t.path, t.path_is_relative,
        f.path, f.path_is_relative, f.begin_snapshot
    FROM (
        SELECT table_id, path, path_is_relative, begin_snapshot FROM ducklake_data_file
        UNION ALL
        SELECT table_id, path, path_is_relative, begin_snapshot FROM ducklake_delete_file
    ) AS f
    JOIN (SELECT DISTINCT table_id, schema_id, table_name, path, path_is_relative
          FROM ducklake_table) AS t ON t.table_id = f.table_id
    JOIN ducklake_schema AS s ON s.schema_id = t.schema_id
    WHERE f.begin_snapshot >= ?
"""


@dataclass(frozen=True)
class LakeFile:
    """A data or delete file: table, path relative to the lake folder, first snapshot."""

    table: str
    path: str
    begin_snapshot: int


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def lake_root(settings: Settings) -> Path:
    """The lake's local folder.

    Raises
    ------
    WarehouseError
        If the lake is in an object store, which keeps checksums of its own.
    """
    if "://" in settings.lake_dir:
        raise WarehouseError(
            f"{settings.lake_dir} is not a local folder",
            hint="an object store checks, copies and versions its objects itself",
        )
    return Path(settings.lake_dir)


def list_files(catalogue: Catalogue, settings: Settings, since_snapshot: int = 0) -> list[LakeFile]:
    """All data and delete files that any kept snapshot refers to, begun at a snapshot or later."""
    files = {}
    for row in catalogue.query(_FILES, [since_snapshot]):
        schema, table, *paths, begun = row
        path = _joined(settings.lake_dir, list(zip(paths[::2], paths[1::2], strict=True)))
        files[path] = LakeFile(f"{schema}.{table}", path, begun)
    return [files[path] for path in sorted(files)]


def _joined(lake_dir: str, parts: Iterable[tuple[str, object]]) -> str:
    """Path relative to the lake folder; of a file elsewhere its own address."""
    path = ""
    for part, relative in parts:
        path = path + part if relative else part
    return path.removeprefix(lake_dir.rstrip("/") + "/")


def ensure_table(catalogue: Catalogue) -> None:
    """Create the table of checksums if it is missing."""
    catalogue.change((_CREATE, ()))


def recorded(catalogue: Catalogue, paths: Sequence[str] | None = None) -> dict[str, str]:
    """Path to recorded SHA-256, of all files or of those given."""
    sql = "SELECT path, sha256 FROM spy_file_checksums"
    if paths is None:
        return dict(catalogue.query(sql))
    marks = ", ".join("?" * len(paths)) or "NULL"
    return dict(catalogue.query(f"{sql} WHERE path IN ({marks})", paths))


def record(catalogue: Catalogue, settings: Settings, files: Iterable[LakeFile]) -> int:
    """Hash files and record them; returns their number."""
    root = lake_root(settings)
    now = utc_now().isoformat()
    rows = [
        (file.path, sha256_of(root / file.path), (root / file.path).stat().st_size, now)
        for file in files
        if (root / file.path).exists()  # else verify says that it is missing
    ]
    if rows:
        forget(catalogue, [row[0] for row in rows])
        marks = ", ".join(["(?, ?, ?, ?)"] * len(rows))
        values = [value for row in rows for value in row]
        catalogue.change(
            (f"INSERT INTO spy_file_checksums VALUES {marks}{catalogue.if_absent}", values)
        )
    return len(rows)


def forget(catalogue: Catalogue, paths: Sequence[str]) -> None:
    """Forget the checksums of files."""
    if paths:
        marks = ", ".join("?" * len(paths))
        catalogue.change((f"DELETE FROM spy_file_checksums WHERE path IN ({marks})", paths))


def record_missing(catalogue: Catalogue, settings: Settings) -> int:
    """Record every file without a checksum, forget those that are gone; returns the number new."""
    ensure_table(catalogue)
    known, files = recorded(catalogue), list_files(catalogue, settings)
    present = {file.path for file in files}
    forget(catalogue, [path for path in known if path not in present])
    root = lake_root(settings)
    new = [file for file in files if file.path not in known and (root / file.path).exists()]
    return record(catalogue, settings, new)
