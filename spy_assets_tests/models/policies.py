"""Small policies and records that several test files build on."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.weights import (
    FileIdentity,
    decode_weights,
    encode_weights,
    policy_hash,
)
from spy_assets.registry import SeedRun, TrainingRecord

CONTRACT = DAILY_15_PROXY_V1
ACTIONS = 7
ALL = np.ones(ACTIONS, dtype=bool)
MIDDLE = np.full(CONTRACT.size, 0.5, dtype=np.float32)


def random_tensors(
    seed: int = 0, width: int = CONTRACT.size, hidden: int = 64, actions: int = ACTIONS
) -> dict[str, Any]:
    """Tensors of a network with two hidden layers, named as Stable-Baselines3 names them."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {}
    for branch in ("policy", "value"):
        for number, inputs in ((0, width), (2, hidden)):
            name = f"mlp_extractor.{branch}_net.{number}"
            shapes |= {f"{name}.weight": (hidden, inputs), f"{name}.bias": (hidden,)}
    for name, outputs in (("action_net", actions), ("value_net", 1)):
        shapes |= {f"{name}.weight": (outputs, hidden), f"{name}.bias": (outputs,)}
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def random_net(seed: int = 0) -> PolicyNet:
    return PolicyNet.from_weights(decode_weights(encode_weights(random_tensors(seed), CONTRACT)))


def write_policy(path: Path, seed: int = 0) -> FileIdentity:
    data = encode_weights(random_tensors(seed), CONTRACT)
    path.write_bytes(data)
    return FileIdentity.of(data)


def seed_runs(*seeds: int) -> list[SeedRun]:
    """Seeds of a training with weights of their own."""
    return [
        SeedRun(
            k, policy_hash(random_tensors(k)), {}, [], encode_weights(random_tensors(k), CONTRACT)
        )
        for k in seeds
    ]


def training_record(partition: str = "2018-09-28", seed: int = 0, **changes: Any) -> TrainingRecord:
    tensors = random_tensors(seed)
    curve = [
        {"timesteps": 100.0 * k, "value_loss": 1.0 / k, "episode_reward": float(k)}
        for k in range(1, 6)
    ]
    values: dict[str, Any] = {
        "profile": "sample",
        "model": "ppo_daily",
        "partition": partition,
        "policy_hash": policy_hash(tensors),
        "seed": 42,
        "weights": encode_weights(tensors, CONTRACT),
        "contract": CONTRACT.name,
        "contract_sha256": CONTRACT.sha256,
        "observation": CONTRACT.names,
        "train_start": date(2014, 1, 2),
        "train_end": date(2018, 9, 28),
        "dataset_digest": "ab" * 32,
        "dataset_rows": 1_190,
        "lake_snapshot": 12,
        "timesteps": 500,
        "dagster_run_id": "run-1",
        "hyperparameters": {"n_steps": 1024, "seeds": [42, 84]},
        "metrics": {"validation_pnl": 1.5},
        "seeds": [SeedRun(k, f"hash{k}", {"validation_pnl": k / 42}, curve) for k in (42, 84)],
    }
    return TrainingRecord(**(values | changes))
