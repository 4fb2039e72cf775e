"""The data root of a profile as Dagster sees it: its instance, ``dagster.yaml``, and its removal.

One instance per profile, in SQLite under the profile's data root, so that `spy run`, the webserver
and the daemon see the same runs. An existing ``dagster.yaml`` is never touched: edit it to move to
Postgres.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from spy_assets.errors import ConfigError
from spy_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

#: Tag of a run that executes in a process of ours: which one.
PROCESS_TAG = "spy/process"
#: Start times of one process differ by the steps of the system clock; another one began long after.
_SAME_START_S = 60.0
#: Longest wait for another process that creates the databases; it takes some seconds.
_OPENING_TIMEOUT_S = 120

#: Folder of the open incidents in the data root (``spy_assets.alerts``).
INCIDENTS = "incidents"
LOCK_FILES = frozenset({"write.lock", "write.lock.holder"})

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
    commands look there. Opening creates the databases that are missing, so one process at a time opens:
    of two that start at once on a new profile the second would die of tables that are half there.
    """
    from dagster import DagsterInstance
    from filelock import FileLock

    home = prepare_dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(home)
    with FileLock(home / ".opening.lock", timeout=_OPENING_TIMEOUT_S):
        return DagsterInstance.from_config(str(home))


def create_storage(settings: Settings) -> None:
    """Create Dagster's databases if they are missing, before Dagster's own commands race for it."""
    with instance(settings):
        pass


def process_tags() -> dict[str, str]:
    """Tags that say which process executes a run: host, id, and when it began, as ids come again."""
    import psutil

    began = int(psutil.Process().create_time())
    return {PROCESS_TAG: f"{socket.gethostname()}:{os.getpid()}:{began}"}


def close_abandoned_runs(instance: DagsterInstance) -> list[str]:
    """Fail the runs whose process was killed, and free their pools; returns the runs' ids.

    Without this a run that was killed with ``kill -9`` holds its pool's slot for ever, and every later
    run waits for it. Runs of other hosts, and those that the daemon launched, are left alone.
    """
    from dagster import DagsterRunStatus, RunsFilter

    filters = RunsFilter(statuses=[DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
    closed = []
    for run in instance.get_runs(filters=filters):
        if _is_dead(run.tags.get(PROCESS_TAG, "")):
            instance.report_run_failed(run, "its process ended without a word")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            closed.append(run.run_id)
    return closed


def _is_dead(process: str) -> bool:
    """Whether a value of the tag names a process of this host that is gone."""
    import psutil

    parts = process.rsplit(":", 2)
    if len(parts) != 3 or parts[0] != socket.gethostname():
        return False
    try:
        began = psutil.Process(int(parts[1])).create_time()
    except psutil.NoSuchProcess:
        return True
    return abs(began - int(parts[2])) > _SAME_START_S


def remove_profile(settings: Settings, *, keep_halt: bool = True, wait_s: float = 1.0) -> bool:
    """Remove the profile's data: lake, catalogue, Dagster's runs, caches; whether any was there.

    The catalogue goes with the files that it points at, a Postgres one too. MLflow's runs are shared
    by all profiles and stay, as do objects in an object store.

    Parameters
    ----------
    keep_halt
        Keep the files KILL and RESUME and the open incidents: data that is built anew ends no
        halt, renews none that a person ended, and what
        was told once is not told again.
    wait_s
        Longest wait for a writer to end, seconds.

    Raises
    ------
    LockTimeout
        If a writer is at work and does not end in time; nothing is removed.
    WarehouseError
        If the catalogue's Postgres does not answer; nothing is removed.
    """
    from spy_assets.warehouse.removal import removing_catalogue

    kept = {settings.kill_file.name, settings.resume_file.name, INCIDENTS} if keep_halt else set()
    with removing_catalogue(settings, wait_s) as existed:
        doomed = _doomed(settings.root, kept)
        for path in doomed:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    if settings.root.is_dir() and not any(settings.root.iterdir()):
        settings.root.rmdir()
    return existed or any(path.name not in LOCK_FILES for path in doomed)


def _doomed(root: Path, kept: Collection[str]) -> list[Path]:
    """What is to go, Dagster's memory of what was made first: cut short, the rest is made again."""
    found = root.iterdir() if root.is_dir() else ()
    paths = [path for path in found if path.name not in kept]
    return sorted(paths, key=lambda path: (path.name != "dagster", path.name))


def _quoted(path: Path) -> str:
    """A path as a YAML single-quoted scalar."""
    return "'" + str(path).replace("'", "''") + "'"
