"""Ticks on the days that go wrong elsewhere, on a live source and on one that has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from spy_assets.defs import schedules
from spy_assets.defs.resources import SpyResource

Ticks = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> Ticks:
    """All ticks of a code location that was loaded for a live source."""
    home = tmp_path_factory.mktemp("live")
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPY_")}
    own |= {"SPY_SOURCE": "yfinance", "SPY_HOME": str(home), "SPY_ENV_FILE": str(home / "no.env")}
    own |= {"SPY_CHAINS__SOURCE": "cboe", "SPY_CHAINS__SYMBOLS": "SPY,QQQ"}
    done = subprocess.run(
        [sys.executable, "-m", "spy_assets_tests.graph.live_ticks"],
        env=own, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("TICKS ")]
    found: Ticks = json.loads(line.removeprefix("TICKS "))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tick", "year", "session"),
    [
        pytest.param("2026-11-25T22:05+00:00", "2026", "2026-11-25", id="a normal day"),
        pytest.param("2026-11-27T22:05+00:00", "2026", "2026-11-27", id="a half day"),
        pytest.param("2026-12-31T22:05+00:00", "2026", "2026-12-31", id="New Year's Eve"),
    ],
)
def test_refresh_asks_for_the_year_of_the_session(
    ticks: Ticks, tick: str, year: str, session: str
) -> None:
    found = ticks[f"daily_refresh {tick}"]
    assert found["partitions"] == [year]
    assert found["run_keys"] == [f"history-{session}"]
    assert found["sessions"] == [session]


@pytest.mark.slow
def test_the_new_year_asks_for_the_old_years_last_rows_as_well(ticks: Ticks) -> None:
    found = ticks["daily_refresh 2027-01-04T22:05+00:00"]
    assert found["partitions"] == ["2026", "2027"]
    assert found["sessions"] == [None, "2027-01-04"]  # one signal follows, not two


@pytest.mark.slow
@pytest.mark.fault(1)
@pytest.mark.parametrize("schedule", ["daily_refresh", "daily_outcomes"])
@pytest.mark.parametrize(
    "day",
    [
        pytest.param("2026-11-26", id="Thanksgiving"),
        pytest.param("2026-11-28", id="Saturday"),
        pytest.param("2026-07-03", id="Independence Day observed"),
    ],
)
def test_closed_days_are_skipped_and_named(ticks: Ticks, schedule: str, day: str) -> None:
    (tick,) = [name for name in ticks if name.startswith(f"{schedule} {day}")]
    assert ticks[tick]["partitions"] == []
    assert day in ticks[tick]["skipped"]
    assert "not a session" in ticks[tick]["skipped"]


@pytest.mark.slow
def test_minutes_are_kept_before_the_vendor_forgets_them(ticks: Ticks) -> None:
    assert ticks["daily_minutes 2026-11-27T22:15+00:00"]["partitions"] == ["2026-11-27"]
    assert "not a session" in ticks["daily_minutes 2026-11-28T22:15+00:00"]["skipped"]


@pytest.mark.slow
def test_chains_are_kept_before_the_next_open(ticks: Ticks) -> None:
    found = ticks["daily_chain 2026-11-27T22:01+00:00"]
    assert (found["partitions"], found["run_keys"]) == (
        ["2026-11-27|SPY", "2026-11-27|QQQ"],
        ["chain-SPY-2026-11-27", "chain-QQQ-2026-11-27"],
    )
    assert "not a session" in ticks["daily_chain 2026-11-28T22:01+00:00"]["skipped"]


def test_chains_are_not_asked_for_without_a_source_of_them(tmp_path: Path) -> None:
    spy = SpyResource(overrides={"home": str(tmp_path), "source": "yfinance"})
    moment = datetime.fromisoformat("2026-11-25T22:01+00:00")
    with dg.build_schedule_context(
        scheduled_execution_time=moment, resources={"spy": spy}
    ) as context:
        answer = schedules.daily_chain(context)
    assert isinstance(answer, dg.SkipReason)
    assert "SPY_CHAINS__SOURCE" in str(answer.skip_message)


@pytest.mark.slow
@pytest.mark.parametrize("day", ["2026-11-25", "2026-11-27"])
def test_outcomes_ask_for_the_session(ticks: Ticks, day: str) -> None:
    found = ticks[f"daily_outcomes {day}T22:45+00:00"]
    assert (found["partitions"], found["run_keys"]) == ([day], [f"outcomes-{day}"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sunday", "session"),
    [
        pytest.param("2026-11-29T18:00-05:00", "2026-11-27", id="after the half day"),
        pytest.param("2026-07-05T18:00-04:00", "2026-07-02", id="after a long weekend"),
    ],
)
def test_retraining_ends_with_the_last_session(ticks: Ticks, sunday: str, session: str) -> None:
    assert ticks[f"weekly_retrain {sunday}"]["partitions"] == [session]


@pytest.mark.slow
def test_maintenance_runs_on_saturdays(ticks: Ticks) -> None:
    found = ticks["weekly_maintenance 2026-11-28T06:00+00:00"]
    assert found["run_keys"] == ["maintenance-2026-11-28"]


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.daily_refresh,
        schedules.daily_chain,
        schedules.daily_outcomes,
        schedules.weekly_retrain,
    ],
)
def test_a_source_that_has_ended_is_skipped_and_told_why(
    schedule: dg.ScheduleDefinition, tmp_path: Path
) -> None:
    spy = SpyResource(overrides={"home": str(tmp_path)})
    moment = datetime.fromisoformat("2026-11-25T22:05+00:00")
    with dg.build_schedule_context(
        scheduled_execution_time=moment, resources={"spy": spy}
    ) as context:
        answer = schedule(context)
    assert isinstance(answer, dg.SkipReason)
    assert "'sample' is history" in str(answer.skip_message)
    assert "SPY_SOURCE" in str(answer.skip_message)


def test_all_schedules_start_running() -> None:
    statuses = {one.default_status for one in schedules.SCHEDULES}
    assert statuses == {dg.DefaultScheduleStatus.RUNNING}
