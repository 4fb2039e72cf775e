"""Copies of the SQLite catalogue and a journal of the commits since, so that no commit is lost if
the catalogue is damaged.

    catalogue_copies/catalogue-<snapshot>.sqlite    a whole copy
    catalogue_copies/catalogue-<snapshot>.journal   one line of JSON per commit after it

A commit that only appended rows is one line: its new files with their checksums. Anything else (a
new table, a dbt run, maintenance) and every 50th commit takes a new copy. Copies are made by
another process: Python's SQLite must not touch a file that DuckDB's SQLite has open in this one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spy_assets.errors import WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse.connection import MEND_DISK, Catalogue, is_postgres, open_catalogue
from spy_assets.warehouse.files import LakeFile, record_missing, recorded

KEEP_COPIES = 3
COPY_EVERY = 50

_BACKUP = """
import sqlite3, sys
source = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=30)
target = sqlite3.connect(sys.argv[2])
source.backup(target)
target.execute("PRAGMA journal_mode = DELETE")
target.close()
"""


@dataclass(frozen=True)
class JournalEntry:
    """One commit: its snapshot, and table, path and SHA-256 of each new data file."""

    snapshot: int
    files: tuple[tuple[str, str, str], ...]


def copies_dir(settings: Settings) -> Path:
    """Folder of the copies."""
    return settings.root / "catalogue_copies"


def list_copies(settings: Settings) -> list[tuple[int, Path]]:
    """Snapshot and path of each copy, newest first."""
    found = copies_dir(settings).glob("catalogue-*.sqlite")
    return sorted(((int(path.stem.split("-")[1]), path) for path in found), reverse=True)


def backup_sqlite(source: Path, target: Path) -> None:
    """A consistent copy of an SQLite file that others may be using.

    Raises
    ------
    WarehouseError
        If SQLite cannot read the source or write the target.
    """
    command = [sys.executable, "-I", "-S", "-c", _BACKUP, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        target.unlink(missing_ok=True)
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise WarehouseError(f"cannot copy {source} to {target}: {reason}", hint=MEND_DISK)


def take_copy(settings: Settings, catalogue: Catalogue) -> Path | None:
    """Copy the catalogue and begin a new journal; under the write lock. None for Postgres."""
    if is_postgres(settings):
        return None
    snapshot = catalogue.query("SELECT max(snapshot_id) FROM ducklake_snapshot")[0][0]
    folder = copies_dir(settings)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"catalogue-{snapshot}.sqlite"
    partial = target.with_suffix(".partial")
    backup_sqlite(settings.catalogue_path, partial)
    target.with_suffix(".journal").unlink(missing_ok=True)
    partial.replace(target)
    for _, old in list_copies(settings)[KEEP_COPIES:]:
        old.with_suffix(".journal").unlink(missing_ok=True)
        old.unlink()
    return target


def is_copied(settings: Settings, catalogue: Catalogue) -> bool:
    """Whether the newest copy and its journal reach the present snapshot; always for Postgres."""
    if is_postgres(settings):
        return True
    copies = list_copies(settings)
    if not copies:
        return False
    entries = read_journal(copies[0][1])
    reached = entries[-1].snapshot if entries else copies[0][0]
    return bool(reached == catalogue.query("SELECT max(snapshot_id) FROM ducklake_snapshot")[0][0])


def note_commit(
    settings: Settings, catalogue: Catalogue, before: int, files: list[LakeFile]
) -> None:
    """Note the commit that followed snapshot ``before``: by a journal line, else by a new copy."""
    if is_postgres(settings):
        return
    rows = catalogue.query(
        "SELECT snapshot_id, changes_made FROM ducklake_snapshot_changes WHERE snapshot_id > ?",
        [before],
    )
    copies = list_copies(settings)
    last = None
    entries: list[JournalEntry] = []
    if copies:
        entries = read_journal(copies[0][1])
        last = entries[-1].snapshot if entries else copies[0][0]
    appended = len(rows) == 1 and _only_appends(str(rows[0][1]))
    if last != before:  # commits that were not noted have files without a checksum, too
        record_missing(catalogue, settings)
    if last != before or not appended or len(entries) >= COPY_EVERY:
        take_copy(settings, catalogue)
        return
    sums = recorded(catalogue, [file.path for file in files])
    told: dict[str, Any] = {
        "snapshot": rows[0][0],
        "files": [(file.table, file.path, sums[file.path]) for file in files],
    }
    with copies[0][1].with_suffix(".journal").open("a") as journal:
        journal.write(json.dumps(told) + "\n")


def _only_appends(changes: str) -> bool:
    return all(part.startswith("inserted_into_table") for part in changes.split(","))


def read_journal(copy: Path) -> list[JournalEntry]:
    """The commits noted after a copy, in order; a line cut off by a crash ends the list."""
    path = copy.with_suffix(".journal")
    entries: list[JournalEntry] = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            told = json.loads(line)
        except json.JSONDecodeError:
            break
        files = tuple((table, file, sha) for table, file, sha in told["files"])
        entries.append(JournalEntry(told["snapshot"], files))
    return entries


def copy_now(settings: Settings) -> Path | None:
    """Copy the catalogue; to be called under the write lock, without an open ``Warehouse``."""
    with open_catalogue(settings) as catalogue:
        return take_copy(settings, catalogue)
