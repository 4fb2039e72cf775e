"""A whole profile made once by the main job, and copies of it that a test may spoil.

Three years of the sample, a policy of one rollout, twenty signals: small, but every asset, check and
table is there. The gate's interval is so wide that the first model is always seated.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dagster import AssetCheckKey, AssetKey, DagsterInstance
from filelock import FileLock
from rich.console import Console

from spy_assets import plan
from spy_assets.dagster_home import instance as open_instance
from spy_assets.definitions import build
from spy_assets.defs.resources import SpyResource
from spy_assets.sessions import previous_session
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import Warehouse

YEARS = ["2016", "2017", "2018"]
LAST = date(2018, 12, 31)
SIGNALS = 20
#: The first session that the world signalled on, and the one before.
FIRST = previous_session(LAST, SIGNALS - 1)
BEFORE = previous_session(FIRST)
SMALL: dict[str, Any] = {
    "start_year": 2016,
    "signal_sessions": SIGNALS,
    "train": {"timesteps": 2048, "seeds": 1},
    "promotion": {"confidence": 0.9999},
}
#: SMALL as a child process gets it.
SMALL_ENVIRONMENT = {
    "SPY_START_YEAR": "2016",
    "SPY_SIGNAL_SESSIONS": str(SIGNALS),
    "SPY_TRAIN__SEEDS": "1",
    "SPY_PROMOTION__CONFIDENCE": "0.9999",
}
SPY = str(Path(sys.executable).parent / "spy")


@dataclass(frozen=True)
class World:
    """A profile after two runs of the main job, and what each run left behind."""

    settings: Settings
    first: plan.RunSummary
    second: plan.RunSummary
    rows_after_first: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def copy(self, home: Path, **changes: Any) -> Settings:
        """The same profile under another home, for a test to change."""
        for part in (".spy", "mlruns"):
            shutil.copytree(self.settings.home / part, home / part)
        settings = load_settings(**(SMALL | {"home": home} | changes))
        old, new = str(self.settings.home), str(settings.home)
        yaml = settings.dagster_home / "dagster.yaml"
        yaml.write_text(yaml.read_text().replace(old, new))
        _move_artifacts(settings.mlruns_dir / "mlflow.db", old, new)
        return settings


def _move_artifacts(database: Path, old: str, new: str) -> None:
    columns = {
        "experiments": ["artifact_location"],
        "runs": ["artifact_uri"],
        "model_versions": ["source", "storage_location"],
    }
    with sqlite3.connect(database) as connection:
        for table, names in columns.items():
            for name in names:
                connection.execute(f"UPDATE {table} SET {name} = replace({name}, ?, ?)", (old, new))
    connection.close()


def the_world(factory: pytest.TempPathFactory) -> World:
    """This process's own copy of the profile, which the first process that asks for it makes."""
    own = factory.getbasetemp()
    return _own_world(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own, own / "world")


@cache
def _own_world(common: Path, home: Path) -> World:
    made = common / "made_world"
    with FileLock(f"{made}.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", str(made / "no.env"))
        patch.setenv("DAGSTER_HOME", str(made))
        kept = made / "world.pickle"
        if not kept.exists():
            made.mkdir(exist_ok=True)
            kept.write_bytes(pickle.dumps(_make_world(made)))
        world: World = pickle.loads(kept.read_bytes())
        return replace(world, settings=world.copy(home))


def _make_world(home: Path) -> World:
    """Run the main job twice."""
    settings = load_settings(home=home, **SMALL)
    first = plan.run(settings, quiet())
    after_first = row_counts(settings)
    second = plan.run(settings, quiet())
    return World(settings, first, second, after_first, row_counts(settings))


def quiet() -> Console:
    """A console that nobody reads."""
    return Console(quiet=True)


def row_counts(settings: Settings) -> dict[str, int]:
    """Stored rows of each table, all versions."""
    with Warehouse.open(settings, read_only=True) as lake:
        return {table: lake.row_count(table) for table in lake.tables()}


def read(settings: Settings, table: str, **how: Any) -> pl.DataFrame:
    """Last versions of a table."""
    with Warehouse.open(settings, read_only=True) as lake:
        return lake.read(table, **how)


@contextmanager
def runner(settings: Settings, now: datetime | None = None) -> Iterator[plan.Runner]:
    """The main job's runner on a profile, at a fixed time if one is given."""
    with pytest.MonkeyPatch.context() as patch, open_instance(settings) as instance:
        patch.setenv("DAGSTER_HOME", str(settings.dagster_home))
        made = plan.Runner(settings, quiet(), instance)
        if now is not None:
            made.spy = SpyResource(overrides=made.spy.overrides, now=now.isoformat())
            made.defs = build(made.spy)
        yield made


def make(settings: Settings, job: str, wanted: Sequence[str] | None, **how: Any) -> plan.Step:
    """Materialize partitions of a job again, whether or not they are there."""
    now = how.pop("now", None)
    with runner(settings, now) as made:
        return made.stage(job, job, wanted, **({"force": True} | how))


def signals(settings: Settings, *days: date, **how: Any) -> list[dict[str, Any]]:
    """Decide for sessions and return their stored signals, oldest first."""
    make(settings, "daily_signal_job", [str(day) for day in days], **how)
    rows = read(settings, "ledger.signals", where="session >= ?", params=(min(days),))
    return [row for row in rows.sort("session").iter_rows(named=True) if row["session"] in days]


def latest_check(instance: DagsterInstance, asset: str, name: str) -> tuple[str, Any]:
    """Status and metadata of the latest run of a check."""
    key = AssetCheckKey(AssetKey(asset.split("/")), name)
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    evaluation = found.event.dagster_event.asset_check_evaluation_data
    return found.status.value, {name: one.value for name, one in evaluation.metadata.items()}


def write(settings: Settings, table: str, rows: list[dict[str, Any]], at: datetime | None = None):
    """Plant rows in the lake as its own writer would."""
    from spy_assets.defs.registering import frame
    from spy_assets.warehouse.tables import TABLES

    moment = at or datetime.now(tz=UTC)
    with Warehouse.open(settings) as lake:
        return lake.write(TABLES[table], frame(TABLES[table], rows), ingested_at=moment)
