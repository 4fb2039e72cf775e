"""Rows 45, 52 and 53 of the fault table: trainings that are killed, starved, or told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spy_assets.errors import ModelError
from spy_assets.models.policy.isolation import WorkerFailed, run_isolated
from spy_assets.models.policy.train import train_policy
from spy_assets_tests.models.markets import random_market, tiny_config

ROLLOUTS = 8


def _start(folder: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "spy_assets_tests.models.training_process"]
    return subprocess.Popen(
        [*command, str(folder), str(out), str(ROLLOUTS)], stdout=subprocess.PIPE, text=True
    )


def _lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(count)]


@pytest.fixture(scope="module")
def uninterrupted() -> str:
    return train_policy(random_market(), tiny_config(timesteps=ROLLOUTS * 256), 42).policy_hash


@pytest.mark.slow
@pytest.mark.fault(45)
def test_kill_9_resumes_and_ends_with_the_same_weights(uninterrupted: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    process = _start(tmp_path / "checkpoints", out)
    _lines(process, 3)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert not out.exists()

    assert _start(tmp_path / "checkpoints", out).wait(timeout=120) == 0
    result = json.loads(out.read_text())
    assert result["resumed_at"] >= 3 * 256
    assert result["hash"] == uninterrupted


@pytest.mark.slow
@pytest.mark.fault(53)
def test_sigterm_stops_cleanly_and_keeps_the_work(uninterrupted: str, tmp_path: Path) -> None:
    process = _start(tmp_path / "checkpoints", tmp_path / "out.json")
    _lines(process, 2)
    begun = time.monotonic()
    process.terminate()
    words, _ = process.communicate(timeout=30)
    assert time.monotonic() - begun < 10.0
    assert process.returncode == 3
    assert "continues from its checkpoint" in words
    policy = train_policy(
        random_market(),
        tiny_config(timesteps=ROLLOUTS * 256),
        42,
        checkpoint_dir=tmp_path / "checkpoints",
    )
    assert policy.resumed_at >= 2 * 256
    assert policy.policy_hash == uninterrupted


def _train(n_steps: int) -> str:
    config = tiny_config(timesteps=n_steps * 4, n_steps=n_steps)
    return train_policy(random_market(), config, 42).policy_hash


@pytest.mark.slow
@pytest.mark.fault(52)
def test_a_training_out_of_memory_fails_alone() -> None:
    """One of two asks for a rollout buffer of 40 GB under a limit of 6 GB; the other ends."""
    limit = 6 * 2**30
    with ThreadPoolExecutor(2) as pool:
        greedy = pool.submit(run_isolated, _train, 160_000_000, memory_bytes=limit)
        modest = pool.submit(run_isolated, _train, 64, memory_bytes=limit)
        with pytest.raises(WorkerFailed, match=r"_train failed .* 6,442,450,944 bytes .*llocat"):
            greedy.result()
        assert modest.result() == _train(64)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.fault(52)
def test_a_worker_killed_by_the_kernel_is_reported() -> None:
    with pytest.raises(ModelError, match=r"exit code -9.*without a word"):
        run_isolated(_die)
