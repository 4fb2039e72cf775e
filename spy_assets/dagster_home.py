"""The data root of a profile as Dagster sees it: its instance, ``dagster.yaml``, and its removal.

One instance per profile, in SQLite under the profile's data root, so that `spy run`, the webserver
and the daemon see the same runs. An existing ``dagster.yaml`` is never touched: edit it to move to
Postgres.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from spy_assets.errors import ConfigError
from spy_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

#: ``pools.default_limit`` 1: an asset that names a pool runs alone in it, because writers of the
#: lake take turns anyway and training already uses every core.
DAGSTER_YAML = """\
# Written once by `spy`; yours to edit, it is never overwritten.
# Server set-up: replace `storage` by `postgres:` with `scheme: postgresql+psycopg2`.
storage:
  sqlite:
    base_dir: {base_dir}

local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config:
    base_dir: {base_dir}

telemetry:
  enabled: false
nux:
  enabled: false

run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  cancel_timeout_seconds: 60
  free_slots_after_run_end_seconds: 60

concurrency:
  pools:
    granularity: op
    default_limit: 1
  runs:
    max_concurrent_runs: 2

code_servers:
  local_startup_timeout: 180

freshness:
  enabled: true

retention:
  schedule:
    purge_after_days: 90
  sensor:
    purge_after_days: {{skipped: 7, failure: 30, success: 90}}
"""


def prepare_dagster_home(settings: Settings) -> Path:
    """Create DAGSTER_HOME of the profile with its ``dagster.yaml`` if it is missing.

    Returns the folder. The file appears whole or not at all, so two processes may race.

    Raises
    ------
    ConfigError
        If the folder cannot be written.
    """
    home = settings.dagster_home
    target = home / "dagster.yaml"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            draft = home / f".dagster.yaml.{os.getpid()}"
            draft.write_text(DAGSTER_YAML.format(base_dir=_quoted(home)))
            draft.replace(target)
    except OSError as error:
        raise ConfigError(
            f"DAGSTER_HOME {str(home)!r} cannot be written: {error.strerror}",
            hint="give SPY_HOME a folder that you may write",
        ) from error
    return home


def instance(settings: Settings) -> DagsterInstance:
    """The Dagster instance of the profile, prepared first if need be.

    Also sets DAGSTER_HOME for this process, because steps in child processes and ``dagster``'s own
    commands look there.
    """
    from dagster import DagsterInstance

    home = str(prepare_dagster_home(settings))
    os.environ["DAGSTER_HOME"] = home
    return DagsterInstance.from_config(home)


def remove_profile(settings: Settings, *, wait_s: float = 1.0) -> bool:
    """Remove the profile's data root: lake, Dagster's runs, caches; returns whether it was there.

    MLflow's runs are shared by all profiles and stay, as does what lies outside SPY_HOME.

    Raises
    ------
    LockTimeout
        If a writer is at work and does not end within ``wait_s`` seconds; nothing is removed.
    """
    from spy_assets.warehouse.lock import WriteLock
    from spy_assets.warehouse.locking import lock_path

    if not settings.root.is_dir():
        return False
    with WriteLock(lock_path(settings), wait_s):
        shutil.rmtree(settings.root)
    return True


def _quoted(path: Path) -> str:
    """A path as a YAML single-quoted scalar."""
    return "'" + str(path).replace("'", "''") + "'"
