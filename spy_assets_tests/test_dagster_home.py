"""DAGSTER_HOME: written once, never overwritten, and accepted by Dagster."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, job
from dagster_shared.serdes import serialize_value
from rich.console import Console

from spy_assets.alerts import Alert, alerter
from spy_assets.dagster_home import (
    PROCESS_TAG,
    close_abandoned_runs,
    create_storage,
    instance,
    prepare_dagster_home,
    process_tags,
    remove_profile,
)
from spy_assets.errors import ConfigError
from spy_assets.plan import Runner
from spy_assets.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _dagster_home_is_put_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAGSTER_HOME", "/nowhere")


def test_yaml_is_written_once(settings: Settings):
    home = prepare_dagster_home(settings)
    assert sorted(path.name for path in home.iterdir()) == ["dagster.yaml"]
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    prepare_dagster_home(settings)
    assert "storage" not in (home / "dagster.yaml").read_text()


def test_dagster_accepts_it_and_keeps_all_in_the_profile(settings: Settings):
    with instance(settings) as dagster:
        assert not dagster.telemetry_enabled
        assert dagster.run_monitoring_enabled
        pools = dagster.get_concurrency_config().pool_config
        assert pools.default_pool_limit == 1
        assert dagster.get_runs_count() == 0
    assert os.environ["DAGSTER_HOME"] == str(settings.dagster_home)
    assert list(settings.dagster_home.rglob("*.db"))


def test_a_home_with_odd_characters(tmp_path: Path):
    settings = load_settings(home=tmp_path / "it's: a #home")
    with instance(settings) as dagster:
        assert dagster.root_directory == str(settings.dagster_home)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / ".spy").write_text("a file where a folder is due")
    with pytest.raises(ConfigError, match="DAGSTER_HOME"):
        prepare_dagster_home(load_settings(home=tmp_path))


def test_removing_a_profile_leaves_the_others_and_mlflow(tmp_path: Path):
    for name in ("sample", "paper"):
        prepare_dagster_home(load_settings(home=tmp_path, profile=name))
    (tmp_path / "mlruns").mkdir()
    assert remove_profile(load_settings(home=tmp_path)) is True
    assert remove_profile(load_settings(home=tmp_path)) is False
    assert {path.name for path in (tmp_path / ".spy").iterdir()} == {"paper"}
    assert (tmp_path / "mlruns").is_dir()


def test_a_halt_and_open_incidents_outlive_a_rebuild_but_no_reset(settings: Settings):
    prepare_dagster_home(settings)
    settings.kill_file.write_text("rates look wrong")
    sender = alerter(settings)
    sender.deliver(Alert("outage", "Outage", "no answer", datetime(2018, 1, 2, tzinfo=UTC)))
    assert remove_profile(settings) is True
    assert {path.name for path in settings.root.iterdir()} == {"KILL", "incidents"}
    assert len(sender.open_incidents()) == 1
    assert remove_profile(settings, keep_halt=False) is True
    assert not settings.root.exists()


PASSWORD = "hunter2-pw"


@pytest.mark.parametrize("name", ["SPY_CATALOGUE", "SPY_FRED_API_KEY"])
def test_no_secret_comes_into_dagster_s_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    value = f"postgresql://me:{PASSWORD}@127.0.0.1:1/db"
    monkeypatch.setenv(name, value)
    settings = load_settings(home=tmp_path)
    with instance(settings) as opened:
        runner = Runner(settings, Console(quiet=True), opened)
        run = opened.create_run_for_job(runner.defs.resolve_job_def("report"))
        assert run.job_snapshot_id is not None
        stored = opened.get_job_snapshot(run.job_snapshot_id)
    assert "overrides" in serialize_value(stored)  # where it would be; compressed on disk
    assert PASSWORD not in serialize_value(stored) + serialize_value(run)
    files = [path for path in settings.dagster_home.rglob("*") if path.is_file()]
    assert len(files) > 2
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]
    assert runner.spy.settings == settings  # a run reads it from the environment


HERE = process_tags()[PROCESS_TAG]
HOST, OWN_PID, BEGAN = HERE.split(":")
GONE = f"{HOST}:{OWN_PID}:{int(BEGAN) - 3600}"  # the id came again


@pytest.mark.parametrize(
    ("process", "closed"),
    [
        pytest.param(GONE, True, id="gone"),
        pytest.param(HERE, False, id="alive"),
        pytest.param(GONE.replace(HOST, "elsewhere"), False, id="of another host"),
        pytest.param("", False, id="of the daemon"),
    ],
)
@pytest.mark.fault(45)
def test_runs_of_a_killed_process_are_closed_and_give_back_their_pool(
    settings: Settings, process: str, closed: bool
):
    with instance(settings) as opened:
        run = _started(opened, {PROCESS_TAG: process} if process else {})
        storage = opened.event_log_storage
        storage.initialize_concurrency_limit_to_default("training")
        assert storage.claim_concurrency_slot("training", run.run_id, "step").is_claimed
        assert close_abandoned_runs(opened) == ([run.run_id] if closed else [])
        assert storage.get_concurrency_info("training").active_slot_count == int(not closed)
        stored = opened.get_run_by_id(run.run_id)
        assert stored is not None
        assert stored.is_finished == closed
        assert close_abandoned_runs(opened) == []


def _started(opened: DagsterInstance, tags: dict[str, str]) -> DagsterRun:
    @job(name="training")
    def empty() -> None: ...

    return opened.create_run_for_job(empty, tags=tags, status=DagsterRunStatus.STARTED)


def test_storage_is_there_before_anything_starts(settings: Settings) -> None:
    create_storage(settings)
    storage = settings.dagster_home
    for database in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        assert (storage / database).is_file(), sorted(storage.rglob("*.db"))
