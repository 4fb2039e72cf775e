"""The main job when its process is killed, told to end, run twice at once, or its vendor is away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import psutil
import pytest

from spy_assets.dagster_home import instance as open_instance
from spy_assets.definitions import defs
from spy_assets.defs import sensors
from spy_assets.plan import RunFailed
from spy_assets.sessions import previous_session, sessions_between
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import Warehouse
from spy_assets_tests.graph.test_live_source import chart
from spy_assets_tests.graph.worlds import (
    LAST,
    SMALL_ENVIRONMENT,
    World,
    latest_check,
    make,
    read,
    row_counts,
    runner,
)
from spy_assets_tests.market.sources.test_files import daily, minutes
from spy_assets_tests.market.sources.test_files import write as write_file
from spy_assets_tests.scripted_server import Asked, Reply, ScriptedServer
from spy_assets_tests.test_alerts import Webhook

pytestmark = pytest.mark.slow
PATIENCE_S = 200.0
FAILED = dg.DagsterRunStatus.FAILURE
YEAR = {"SPY_START_YEAR": "2018"}
SESSIONS_OF_2018 = 251


def spy(home: Path, *words: str, **settings: str) -> subprocess.Popen[str]:
    """A real `spy` in a process group of its own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPY_")}
    own |= {"SPY_HOME": str(home), "SPY_ENV_FILE": str(home / "no.env"), **settings}
    return subprocess.Popen(
        [sys.executable, "-m", "spy_assets.cli", *words, "--json"],
        env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


#: Of a training that is interrupted: some seconds, with a checkpoint every half.
TIMESTEPS = 2_097_152


def wait_for(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """Wait until something happened while the process is alive."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


@dataclass
class Ended:
    """How a process ended."""

    code: int
    seconds: float
    words: str
    orphans: list[int] = field(default_factory=list)


def terminated(process: subprocess.Popen[str]) -> Ended:
    """Told to end, with what it left running."""
    children = psutil.Process(process.pid).children(recursive=True)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    seconds = time.monotonic() - begun
    alive = [one.pid for one in psutil.wait_procs(children, timeout=3)[1]]
    return Ended(process.returncode, seconds, out + err, alive)


def killed(process: subprocess.Popen[str]) -> None:
    """Killed with all that it started, as by a power cut."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


def completed(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out[-2000:] + err[-3000:]
    answer: dict[str, Any] = json.loads(out)
    return answer


# -- training ---------------------------------------------------------------------------------


@dataclass
class Interrupted:
    """A training that was told to end, then killed, then left alone."""

    settings: Settings
    window: str
    told: Ended
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def interrupted(world: World, tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    settings = world.copy(tmp_path_factory.mktemp("interrupted"))
    window = str(previous_session(LAST, 61))
    knobs = SMALL_ENVIRONMENT | {"SPY_TRAIN__TIMESTEPS": str(TIMESTEPS)}
    knobs |= {"SPY_TRAIN__HOLDOUT_SESSIONS": "61"}
    folder = settings.root / "checkpoints" / "ppo_daily" / window

    def written() -> float:
        return max((one.stat().st_mtime for one in folder.glob("*.checkpoint")), default=0.0)

    process = spy(settings.home, "run", **knobs)
    wait_for(process, lambda: written() > 0)
    told = terminated(process)
    kept = written()
    process = spy(settings.home, "run", **knobs)
    wait_for(process, lambda: written() > kept)
    killed(process)
    summary = completed(spy(settings.home, "run", **knobs))
    return Interrupted(settings, window, told, summary)


@pytest.mark.fault(53)
def test_sigterm_in_training_stops_within_ten_seconds(interrupted: Interrupted) -> None:
    assert interrupted.told.seconds < 10.0
    assert interrupted.told.code not in (0, -signal.SIGTERM)
    assert "continues from its checkpoint" in interrupted.told.words
    assert interrupted.told.orphans == []


@pytest.mark.fault(45)
@pytest.mark.fault(53)
def test_the_next_runs_go_on_from_the_checkpoint(interrupted: Interrupted) -> None:
    with open_instance(interrupted.settings) as instance:
        trainings = instance.get_runs(filters=dg.RunsFilter(job_name="train_daily"))[:3]
        steps = [continued_at(instance, run) for run in reversed(trainings)]
    assert 0 == steps[0] < steps[1] < steps[2] < TIMESTEPS
    statuses = [run.status for run in reversed(trainings)]
    assert statuses == [FAILED, FAILED, dg.DagsterRunStatus.SUCCESS]  # the killed one was closed


def continued_at(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    """Steps that a training found done; 0 for one that began."""
    words = " ".join(entry.user_message or "" for entry in instance.all_logs(run.run_id))
    found = re.search(r"continued at ([\d,]+)", words)
    return int(found[1].replace(",", "")) if found else 0


@pytest.mark.fault(45)
def test_one_model_comes_of_it_and_all_signals_stay(interrupted: Interrupted, world: World) -> None:
    runs = read(interrupted.settings, "models.training_runs").sort("version")
    assert runs["version"].to_list() == ["1", "2"]
    assert runs["timesteps"][1] == TIMESTEPS
    ids = read(interrupted.settings, "ledger.signals")["signal_id"]
    assert set(ids) >= set(read(world.settings, "ledger.signals")["signal_id"])
    assert interrupted.summary["signal"]["session"] == str(LAST)


# -- features ---------------------------------------------------------------------------------


FEATURES = ("features.indicators", "features.daily_15", "features.regime")


@dataclass
class Rebuilt:
    """A history told to end, then killed within dbt, then made by one; another made by two at once."""

    settings: Settings
    told: Ended
    rows_after_kill: dict[str, int]
    summaries: list[dict[str, Any]]
    raced: Settings


def in_dbt(process: subprocess.Popen[str]) -> bool:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return any("build" in child.cmdline() for child in children)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Rebuilt:
    settings = load_settings(home=tmp_path_factory.mktemp("rebuilt"))
    process = spy(settings.home, "signal", "--once", **YEAR)
    wait_for(process, lambda: in_dbt(process))
    told = terminated(process)
    process = spy(settings.home, "signal", "--once", **YEAR)
    wait_for(process, lambda: in_dbt(process))
    time.sleep(2.0)  # dbt is at its models by then
    killed(process)
    rows = row_counts(settings)
    completed(spy(settings.home, "signal", "--once", **YEAR))
    raced = load_settings(home=tmp_path_factory.mktemp("raced"))
    both = [spy(raced.home, "signal", "--once", **YEAR) for _ in range(2)]
    return Rebuilt(settings, told, rows, [completed(one) for one in both], raced)


@pytest.mark.fault(53)
def test_sigterm_in_dbt_stops_within_ten_seconds_and_leaves_no_child(rebuilt: Rebuilt) -> None:
    assert rebuilt.told.seconds < 10.0
    assert rebuilt.told.code != 0
    assert rebuilt.told.orphans == []


@pytest.mark.fault(43)
@pytest.mark.fault(44)
def test_kill_9_leaves_no_partial_partition(rebuilt: Rebuilt) -> None:
    yearly = [name for name in rebuilt.rows_after_kill if name.startswith(("market.", "features."))]
    counts = {name: rebuilt.rows_after_kill[name] for name in yearly if "coverage" not in name}
    assert set(counts.values()) <= {0, SESSIONS_OF_2018}, counts
    assert counts["market.daily_bars"] == SESSIONS_OF_2018


@pytest.mark.fault(46)
@pytest.mark.fault(47)
def test_two_backfills_of_one_partition_leave_one_set_of_rows(
    rebuilt: Rebuilt, world: World
) -> None:
    counts = row_counts(rebuilt.raced)
    for name in ("market.daily_bars", *FEATURES):
        assert counts[name] == SESSIONS_OF_2018, name
    assert counts["ledger.signals"] == 1
    assert payload(rebuilt.raced, "market.daily_bars") == payload(
        world.settings, "market.daily_bars"
    )
    for name in FEATURES:
        assert payload(rebuilt.raced, name) == payload(rebuilt.settings, name), name


def payload(settings: Settings, table: str) -> bytes:
    """The bytes of the year's rows, whoever wrote them."""
    rows = read(settings, table, where="year(session) = 2018")
    return rows.drop("ingested_at").sort("session").write_csv().encode()


@pytest.mark.fault(46)
def test_both_end_with_the_same_signal(rebuilt: Rebuilt) -> None:
    one, other = (summary["signal"] for summary in rebuilt.summaries)
    assert one["signal_id"] == other["signal_id"]
    assert one["reasons"] == ["no_model_yet"]


# -- the calendar -----------------------------------------------------------------------------


@pytest.mark.fault(5)
def test_an_unscheduled_closure_is_no_session_and_no_alarm(tmp_path: Path) -> None:
    table = tmp_path / "closures.csv"
    table.write_text("date,close\n2018-12-27,\n")
    answer = completed(spy(tmp_path, "signal", "--once", **YEAR, SPY_CALENDAR_OVERRIDES=str(table)))
    assert answer["signal"]["session"] == str(LAST)
    settings = load_settings(home=tmp_path)
    with open_instance(settings) as instance:
        made = instance.get_materialized_partitions(dg.AssetKey(["market", "minute_bars"]))
        keys = sorted(defs.resolve_asset_graph().asset_check_keys)
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert made == {"2018-12-21", "2018-12-24", "2018-12-26", "2018-12-28", "2018-12-31"}
    alarms = {key.to_user_string() for key, one in found.items() if one.status.value == "FAILED"}
    assert alarms == {"signals/daily_signal:decided"}  # there is no model yet
    days = read(settings, "features.daily_15")["session"]
    assert len(days) == SESSIONS_OF_2018 - 1
    assert date(2018, 12, 27) not in days


# -- the source -------------------------------------------------------------------------------


@pytest.fixture
def fresh_client() -> Iterator[None]:
    """yfinance keeps one client per process; forget what it remembers of other servers."""
    from yfinance.cache import _TzCacheManager
    from yfinance.data import YfData

    YfData.cache_get.cache_clear()
    _TzCacheManager._tz_cache = None
    yield
    YfData.cache_get.cache_clear()
    _TzCacheManager._tz_cache = None


@pytest.fixture
def vendor() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


def yahoo_of_2018(_asked: Asked) -> Reply:
    body = chart("SPY", sessions_between(date(2018, 1, 1), LAST))
    return Reply(json.dumps(body), headers={"Content-Type": "application/json"})


def tell(settings: Settings, sensor: Any, kind: dg.DagsterEventType) -> None:
    """Let a sensor hear of the profile's last run, as the daemon does."""
    with runner(settings) as made:
        run = made.instance.get_runs(limit=1)[0]
        (entry,) = [e for e in made.instance.all_logs(run.run_id) if e.dagster_event_type == kind]
        with dg.build_run_status_sensor_context(
            sensor_name=sensor.name, dagster_instance=made.instance, dagster_run=run,
            dagster_event=entry.dagster_event, resources={"spy": made.spy},
        ) as context:  # fmt: skip
            failed = kind == dg.DagsterEventType.RUN_FAILURE
            sensor(context.for_run_failure() if failed else context)


@pytest.mark.fault(39)
def test_an_outage_is_one_alert_and_the_next_run_recovers(
    vendor: ScriptedServer,
    webhook: Webhook,
    fresh_client: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPY_ALERT_WEBHOOK", webhook.url)
    http = {"yahoo_url": vendor.url, "max_attempts": 2, "backoff_s": 0.0}
    settings = load_settings(home=tmp_path, source="yfinance", symbols=("SPY",), http=http)
    bars = {"keys": [["market", "daily_bars"]]}
    vendor.on("/", Reply(status=503))
    for _ in range(2):
        with pytest.raises(RunFailed, match=r"daily_bars failed: .*"):
            make(settings, "refresh_history", ["2018"], **bars)
        tell(settings, sensors.run_failed, dg.DagsterEventType.RUN_FAILURE)
    assert [one["title"] for one in webhook.received] == ["refresh_history failed"]
    with Warehouse.open(settings, read_only=True) as lake:
        assert "market.daily_bars" not in lake.tables() or not lake.row_count("market.daily_bars")

    vendor.rule("/", yahoo_of_2018)
    make(settings, "refresh_history", ["2018"], **bars)
    tell(settings, sensors.run_recovered, dg.DagsterEventType.RUN_SUCCESS)
    assert read(settings, "market.daily_bars").height == SESSIONS_OF_2018
    assert len(webhook.received) == 1


@pytest.mark.fault(13)
def test_missing_minutes_are_counted_and_warned_of(tmp_path: Path) -> None:
    day, files = date(2018, 2, 1), tmp_path / "files"
    write_file(files, "bars/daily/SPY.parquet", daily([day], [10.0]))
    hole = pl.concat([minutes(day, range(100)), minutes(day, range(160, 390))])
    write_file(files, "bars/1min/SPY/a.parquet", hole)
    settings = load_settings(home=tmp_path, source="files", files_dir=files)
    make(settings, "refresh_minutes", [str(day)])
    (row,) = read(settings, "market.coverage").iter_rows(named=True)
    assert (row["due"], row["present"], row["gaps"]) == (390, 330, 1)
    assert read(settings, "market.minute_bars").height == 330  # nothing is filled in
    with runner(settings) as made:
        assert latest_check(made.instance, "market/minute_bars", "coverage")[0] == "FAILED"
