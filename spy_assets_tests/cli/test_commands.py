"""The commands that run assets, each as a real process on one small profile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from spy_assets.sessions import previous_session
from spy_assets.settings import Settings
from spy_assets.warehouse.lock import WriteLock
from spy_assets_tests.graph.conftest import world
from spy_assets_tests.graph.worlds import LAST, SMALL_ENVIRONMENT, World, read

__all__ = ["world"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def profile(world: World, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return world.copy(tmp_path_factory.mktemp("commands"))


def spy(home: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPY_")}
    own |= SMALL_ENVIRONMENT | {
        "SPY_TRAIN__TIMESTEPS": "2048",
        "SPY_ENV_FILE": str(home / "no.env"),
    }
    return subprocess.run(
        [sys.executable, "-m", "spy_assets.cli", *words],
        env=own | {"SPY_HOME": str(home)} | settings,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = done.stdout.splitlines()
    body: dict[str, Any] = json.loads(line)
    return body


def test_signal_once_gives_the_recorded_signal(profile: Settings, world: World) -> None:
    body = answer(spy(profile.home, "signal", "--once", "--json"))
    assert body["signal"] == world.second.signal
    assert (body["materialized"], body["skipped"] > 0) == (0, True)
    assert [step["name"] for step in body["steps"]] == [
        "market data and features", "minute bars", "signal",
    ]  # fmt: skip
    assert {"rendered", "report_path", "seconds"} <= set(body)


def test_signal_of_an_earlier_session(profile: Settings) -> None:
    day = date(2018, 12, 24)
    body = answer(spy(profile.home, "signal", "--json", SPY_AS_OF=str(day)))
    assert body["signal"]["session"] == str(day)


@pytest.mark.parametrize("day", ["2018-12-25", "2035-01-03"])
def test_no_signal_of_a_day_without_one(profile: Settings, day: str) -> None:
    done = spy(profile.home, "signal", "--once", SPY_AS_OF=day)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"SPY_AS_OF={day}" in done.stderr


def test_track_settles_and_counts(profile: Settings) -> None:
    body = answer(spy(profile.home, "track", "--hours", "200", "--json"))
    since = date.fromisoformat(body["since"])
    ended = read(profile, "ledger.outcomes", where="exit_session >= ?", params=(since,))
    assert (body["through"], body["settled"]) == (str(LAST), ended.height)
    assert body["net_pnl"] == pytest.approx(ended["pnl"].sum())
    assert body["profitable"] == ended["was_profitable"].sum()
    assert body["sessions"] == 5


@pytest.mark.parametrize(
    ("words", "held_out"),
    [(("train", "--seeds", "1"), 60), (("retrain", "--timesteps", "2048"), 0)],
)
def test_training_is_judged(profile: Settings, words: tuple[str, ...], held_out: int) -> None:
    body = answer(spy(profile.home, *words, "--json"))
    window = previous_session(LAST, held_out) if held_out else LAST
    assert body["window"] == str(window)
    # The gate's 63 sessions end with the window, and 6 are purged before them.
    assert body["train_end"] == str(previous_session(window, 63 + 6))
    assert body["basis"] in {"gate", "bootstrap", "refused"}
    assert (body["accepted"], bool(body["reason"])) == (body["basis"] != "refused", True)
    assert body["version"] in set(read(profile, "models.training_runs")["version"])


def test_a_lock_that_is_held_is_code_4(profile: Settings) -> None:
    with WriteLock(profile.root / "write.lock"):
        done = spy(profile.home, "track", "--json", SPY_LOCK_TIMEOUT_S="0.2")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["exit_code"], error["type"]) == (4, 4, "LockTimeout")
    assert f"held by process {os.getpid()}" in error["message"]
    assert "SPY_LOCK_TIMEOUT_S" in error["mend"]
