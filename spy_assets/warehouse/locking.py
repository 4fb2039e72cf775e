"""Which lock guards a write: a file for the SQLite catalogue, advisory locks for Postgres.

DuckLake on Postgres needs no lock for its commits. But "is this key stored already?" and the insert
that follows must not be interleaved with another writer of the same table, or both would insert. So
there each table has an advisory lock of its own; writers of different tables run side by side.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from spy_assets.errors import LockTimeout
from spy_assets.settings import Settings
from spy_assets.warehouse.connection import display_uri, is_postgres, postgres_connection
from spy_assets.warehouse.lock import WriteLock

logger = logging.getLogger(__name__)


def lock_path(settings: Settings) -> Path:
    """The profile's lock file."""
    return settings.root / "write.lock"


@contextlib.contextmanager
def write_lock(settings: Settings, tables: Sequence[str]) -> Iterator[None]:
    """Hold what a writer of ``tables`` must hold.

    Raises
    ------
    LockTimeout
        After ``settings.lock_timeout_s``, naming the holder.
    """
    if not is_postgres(settings):
        with WriteLock(lock_path(settings), settings.lock_timeout_s):
            yield
        return
    with _advisory_locks(settings, tables):
        yield


@contextlib.contextmanager
def _advisory_locks(settings: Settings, tables: Sequence[str]) -> Iterator[None]:
    """Session-level advisory locks, in order of their keys so that no two writers deadlock."""
    import psycopg2

    connection = postgres_connection(settings)
    connection.autocommit = True
    started = time.monotonic()
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {int(settings.lock_timeout_s * 1000)}")
            try:
                for key in sorted({advisory_key(settings, table) for table in tables}):
                    cursor.execute("SELECT pg_advisory_lock(%s)", (key,))
            except psycopg2.errors.LockNotAvailable as error:
                raise LockTimeout(
                    f"waited {settings.lock_timeout_s:g} s to write {', '.join(tables)}"
                    f" in {display_uri(settings)}",
                    hint="pg_locks (locktype advisory) shows the process that holds it",
                ) from error
        waited = time.monotonic() - started
        if waited > 1.0:
            logger.warning("waited %.1f s to write %s", waited, ", ".join(tables))
        yield
    finally:
        connection.close()  # ends the session and with it the locks, also when we are killed


def advisory_key(settings: Settings, table: str) -> int:
    """A signed 64-bit number for the profile's table."""
    digest = hashlib.sha256(f"{settings.profile_name}/{table}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
