from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spy_assets.models.policy.checkpoint import CheckpointStore, clear_checkpoints
from spy_assets.models.policy.select import as_net
from spy_assets.models.policy.train import (
    Trading,
    TrainedPolicy,
    TrainingStopped,
    path_digest,
    train_policy,
    training_fingerprint,
)
from spy_assets.simulator.costs import PRESETS
from spy_assets_tests.models.markets import random_market, tiny_config


@pytest.fixture(scope="module")
def trained() -> TrainedPolicy:
    return train_policy(random_market(), tiny_config(), 42)


def test_learning_curve_has_one_row_per_rollout(trained: TrainedPolicy) -> None:
    assert [row["timesteps"] for row in trained.curve] == [256, 512, 768, 1024]
    assert all(np.isfinite(list(row.values())).all() for row in trained.curve)
    assert {"policy_loss", "value_loss", "entropy_loss", "step_reward"} <= set(trained.curve[0])
    assert trained.timesteps == 1_024


def test_episode_reward_is_the_sum_over_whole_episodes() -> None:
    """An episode as long as a rollout ends with it, and is counted when the next one starts."""
    curve = train_policy(random_market(), tiny_config(episode_length=64), 42).curve
    assert "episode_reward" not in curve[0]
    for before, row in pairwise(curve):
        assert row["episode_reward"] == pytest.approx(64 * before["step_reward"], rel=1e-5)


@pytest.mark.slow
def test_same_seed_gives_the_same_weights_in_two_processes(
    trained: TrainedPolicy, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "spy_assets_tests.models.training_process", "-"]
    outs = [tmp_path / "a.json", tmp_path / "b.json"]
    processes = [
        subprocess.Popen([*command, str(out), "4"], stdout=subprocess.DEVNULL) for out in outs
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    hashes = {json.loads(out.read_text())["hash"] for out in outs}
    assert hashes == {trained.policy_hash}


def test_seed_config_market_and_costs_change_the_policy(trained: TrainedPolicy) -> None:
    short = tiny_config(timesteps=256)
    hashes = {
        train_policy(random_market(), short, 42).policy_hash,
        train_policy(random_market(), short, 84).policy_hash,
        train_policy(random_market(), tiny_config(timesteps=256, ent_coef=0.0), 42).policy_hash,
        train_policy(random_market(seed=1), short, 42).policy_hash,
        train_policy(
            random_market(), short, 42, trading=Trading(costs=PRESETS["tradier"])
        ).policy_hash,
    }
    assert len(hashes) == 5


def test_progress_reports_fractions_up_to_one() -> None:
    seen: list[tuple[float, str]] = []
    config = tiny_config(timesteps=512)
    train_policy(random_market(), config, 42, progress=lambda *report: seen.append(report))
    assert [fraction for fraction, _ in seen] == [0.5, 1.0]
    assert "256 of 512 steps" in seen[0][1]


def _random_states() -> tuple[object, ...]:
    import torch

    numpy_state: tuple[Any, ...] = np.random.get_state()  # type: ignore[assignment]  # noqa: NPY002
    return random.getstate(), numpy_state[1].tolist(), torch.get_rng_state().tolist()


def test_global_random_numbers_are_left_alone() -> None:
    import torch

    before = _random_states()
    train_policy(random_market(), tiny_config(timesteps=256), 42)
    assert _random_states() == before
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("stop_at", [100, 300, 700])
def test_a_stopped_training_continues_to_the_same_weights(
    trained: TrainedPolicy, tmp_path: Path, stop_at: int
) -> None:
    calls = iter(range(10_000))
    with pytest.raises(TrainingStopped, match="continues from its checkpoint"):
        train_policy(
            random_market(),
            tiny_config(checkpoint_every=100),
            42,
            checkpoint_dir=tmp_path,
            stop=lambda: 4 * next(calls) >= stop_at,
        )
    again = train_policy(random_market(), tiny_config(), 42, checkpoint_dir=tmp_path)
    assert again.resumed_at == stop_at // 256 * 256
    assert again.policy_hash == trained.policy_hash
    assert again.curve == trained.curve


def test_a_finished_training_is_not_done_twice(trained: TrainedPolicy, tmp_path: Path) -> None:
    for resumed_at in (0, 1_024):
        policy = train_policy(random_market(), tiny_config(), 42, checkpoint_dir=tmp_path)
        assert (policy.resumed_at, policy.policy_hash) == (resumed_at, trained.policy_hash)


def test_an_exception_in_progress_keeps_the_checkpoint(tmp_path: Path) -> None:
    def fail(_fraction: float, _text: str) -> None:
        raise KeyboardInterrupt

    config = tiny_config(timesteps=512, checkpoint_every=10)
    with pytest.raises(KeyboardInterrupt):
        train_policy(random_market(), config, 42, checkpoint_dir=tmp_path, progress=fail)
    assert train_policy(random_market(), config, 42, checkpoint_dir=tmp_path).resumed_at == 256


def test_other_data_starts_anew(tmp_path: Path) -> None:
    config = tiny_config(timesteps=256)
    train_policy(random_market(), config, 42, checkpoint_dir=tmp_path)
    other = train_policy(random_market(seed=1), config, 42, checkpoint_dir=tmp_path)
    assert other.resumed_at == 0


@pytest.mark.parametrize("damage", [b"", b"SPYCKPT1", b"x" * 5_000])
def test_a_damaged_checkpoint_is_not_continued(tmp_path: Path, damage: bytes) -> None:
    store = CheckpointStore(tmp_path, "f" * 64)
    store.write({"rollouts": 1})
    assert store.read() == {"rollouts": 1}
    assert store.path is not None
    store.path.write_bytes(damage)
    assert store.read() is None


def test_clear_checkpoints(tmp_path: Path) -> None:
    CheckpointStore(tmp_path / "c", "f" * 64).write({"rollouts": 1})
    clear_checkpoints(tmp_path / "c")
    assert not (tmp_path / "c").exists()
    clear_checkpoints(tmp_path / "c")


def test_fingerprint_is_stable_and_sees_one_number() -> None:
    path, config = random_market(), tiny_config()
    first = training_fingerprint(path, config, 42, Trading())
    assert training_fingerprint(random_market(), config, 42, Trading()) == first
    assert path_digest(path.window(0, 119)) != path_digest(path)


@pytest.mark.parametrize("name", ["open", "rate", "iv_close", "observation", "factor", "dividend"])
def test_the_digest_sees_every_array(name: str) -> None:
    path = random_market()
    changed = np.array(getattr(path, name))
    changed[3] = 7.0
    assert path_digest(replace(path, **{name: changed})) != path_digest(path)


def test_trained_policy_equals_the_library_on_its_own_states(trained: TrainedPolicy) -> None:
    """The exported network gives what Stable-Baselines3 gives with the same weights."""
    import torch
    from gymnasium import spaces
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

    policy = MaskableActorCriticPolicy(
        spaces.Box(0, 1, (15,)), spaces.Discrete(7), lambda _: 3e-4, net_arch=[64, 64]
    )
    policy.load_state_dict({k: torch.from_numpy(v) for k, v in trained.state_dict.items()})
    observations = np.random.default_rng(0).random((50, 15), dtype=np.float32)
    mask = np.array([True, True, False, True, False, True, False])
    with torch.no_grad():
        theirs = policy.get_distribution(
            torch.from_numpy(observations), np.tile(mask, (50, 1))
        ).distribution.probs
    ours = as_net(trained).probabilities(observations, np.tile(mask, (50, 1)))
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)
