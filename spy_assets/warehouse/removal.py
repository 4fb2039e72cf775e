"""Removing a profile's catalogue together with the files that it points at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from spy_assets.errors import ConfigError, LockTimeout
from spy_assets.settings import Settings
from spy_assets.warehouse.connection import is_postgres, metadata_schema, postgres_connection
from spy_assets.warehouse.dbt_sql import FEATURE_TABLES
from spy_assets.warehouse.lock import WriteLock
from spy_assets.warehouse.locking import lock_path, write_lock
from spy_assets.warehouse.tables import TABLES


@contextlib.contextmanager
def removing_catalogue(settings: Settings, wait_s: float) -> Iterator[bool]:
    """Shut writers out while the caller removes the profile's files; yields whether a schema was there.

    Nothing but a folder directly below ``<home>/.spy`` is ever a profile's.

    An SQLite catalogue is one of those files. The schema of a Postgres catalogue is dropped before
    the block, so that whatever happens in it, no catalogue points at files that are gone.

    Raises
    ------
    ConfigError
        If the profile's name leads elsewhere; nothing is touched.
    LockTimeout
        If a writer does not end within ``wait_s`` seconds.
    WarehouseError
        If the server does not answer.
    """
    _require_a_profile(settings)
    if is_postgres(settings):
        hasty = settings.model_copy(update={"lock_timeout_s": wait_s})
        with write_lock(hasty, ("meta.profile", *TABLES, *FEATURE_TABLES)):
            yield _drop_schema(settings, wait_s)
    elif settings.root.is_dir():
        with WriteLock(lock_path(settings), wait_s):
            yield False
    else:
        yield False


def _require_a_profile(settings: Settings) -> None:
    folder = settings.home / ".spy"
    if settings.root.parent != folder or settings.root.name == "..":
        raise ConfigError(
            f"the profile {settings.profile_name!r} names {settings.root}, which is no folder directly "
            f"below {folder}; nothing was removed",
            hint="give SPY_PROFILE a plain name, such as `sample`",
        )


def _drop_schema(settings: Settings, wait_s: float) -> bool:
    """Drop the profile's metadata schema; whether it was there."""
    import psycopg2

    schema = metadata_schema(settings)
    with contextlib.closing(postgres_connection(settings)) as connection, connection:
        cursor = connection.cursor()
        cursor.execute(f"SET LOCAL lock_timeout = {int(wait_s * 1000)}")
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", (schema,))
        existed = bool(cursor.fetchone()[0])
        try:
            cursor.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        except psycopg2.errors.LockNotAvailable as error:
            raise LockTimeout(
                f"waited {wait_s:g} s to drop the catalogue's schema {schema}",
                hint="stop the processes of this profile; pg_stat_activity shows them",
            ) from error
    return existed
