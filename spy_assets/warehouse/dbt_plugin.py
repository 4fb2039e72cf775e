"""The dbt-duckdb plugin: dbt is a writer like any other.

Named in ``dbt_features/profiles.yml``, so that it works for Dagster and by hand alike. When dbt
opens its database the plugin loads the extensions out of the wheels and takes the warehouse's write
lock, which it keeps until the end of the invocation: dbt's transactions are one per model, and a
writer between two of them would make marts of different snapshots. Before it lets go, it records the
checksums of the files that dbt wrote, also after a failure, as some models may have been built.

Its configuration are the settings that name the profile (home, profile, catalogue, lock time-out).
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError
from duckdb import DuckDBPyConnection

from spy_assets.errors import SpyError, WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse.checksums import record_while_locked
from spy_assets.warehouse.connection import (
    extension_path,
    is_postgres,
    quoted,
    required_extensions,
)
from spy_assets.warehouse.locking import write_lock

logger = logging.getLogger(__name__)

#: Tables that dbt writes; with Postgres each has an advisory lock of its own.
DBT_TABLES = ("features.market_daily", "features.daily_15", "features.regime")


def settings_from(config: dict[str, Any]) -> Settings:
    """Read the settings that name the lake and its lock from the profile's text values."""
    overrides: dict[str, Any] = {
        "home": Path(str(config["home"])).resolve(),
        "profile": str(config["profile"]),
        "catalogue": config.get("catalogue") or None,
        "lake_url": config.get("lake_url") or None,
        "lock_timeout_s": float(config.get("lock_timeout_s") or 600.0),
    }
    return Settings(_env_file=None, **overrides)


class Plugin(BasePlugin):
    """Extensions, the write lock and checksums for one dbt invocation."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Read the configuration; nothing is opened or locked yet (``dbt parse`` needs neither)."""
        self._settings = settings_from(plugin_config)
        self._locked = contextlib.ExitStack()
        # dbt drops its environment, and the plugin with it, at the end of an invocation.
        weakref.finalize(self, self._locked.close)

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:  # noqa: ARG002
        """Refuse to make a new lake by the way: the warehouse stamps its own."""
        path = self._settings.catalogue_path
        if not is_postgres(self._settings) and not path.is_file():
            raise _as_dbt_error(
                WarehouseError(
                    f"there is no warehouse at {self._settings.root}", hint="run `make run` first"
                )
            )

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Load the extensions by path, then wait for the lock, before dbt attaches the lake.

        Raises
        ------
        DbtRuntimeError
            If the lock is not free in time; the message names the holder.
        """
        try:
            for name in required_extensions(self._settings):
                conn.execute(f"LOAD {quoted(str(extension_path(name)))}")
            self._locked.enter_context(write_lock(self._settings, DBT_TABLES))
            self._locked.callback(record_while_locked, self._settings)  # runs before the release
        except SpyError as error:
            raise _as_dbt_error(error) from error


def _as_dbt_error(error: SpyError) -> DbtRuntimeError:
    """Wrap it in dbt's own error, which dbt shows as one line instead of a stack trace."""
    return DbtRuntimeError(f"{type(error).__name__}: {error}")
