"""What one training has to say, as plain values that survive as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any

from spy_assets.models.policy.weights import FileIdentity
from spy_assets.simulator.mandate import DAILY_MANDATE, Mandate


@dataclass(frozen=True)
class SeedRun:
    """One seed of a training.

    Attributes
    ----------
    seed
        The seed.
    policy_hash
        Hash of its policy.
    metrics
        Final figures, such as the net P&L on the inner validation tail.
    curve
        One row per rollout; ``timesteps`` is the step, a value that is not known is absent.
    """

    seed: int
    policy_hash: str
    metrics: Mapping[str, float]
    curve: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class TrainingRecord:
    """A finished training: the chosen policy, where it comes from, and all its seeds.

    Attributes
    ----------
    profile, model, partition
        The registered model is ``<profile>.<model>``; a partition is one training window.
    policy_hash, seed
        The chosen policy.
    weights
        Bytes of its weights file.
    contract, contract_sha256, observation
        Name, hash and ordered dimensions of the observation contract.
    train_start, train_end
        First and last session that any part of the training saw, seed selection included.
    dataset_digest, dataset_rows
        SHA-256 and length of the training data.
    lake_snapshot
        Snapshot of the lake that was read.
    timesteps
        Environment steps of the chosen seed.
    dagster_run_id
        The run that trained, empty outside Dagster.
    mandate
        What the account may trade that it was trained for.
    hyperparameters, metrics
        Of the training as a whole.
    seeds
        One entry per seed.
    """

    profile: str
    model: str
    partition: str
    policy_hash: str
    seed: int
    weights: bytes
    contract: str
    contract_sha256: str
    observation: tuple[str, ...]
    train_start: date
    train_end: date
    dataset_digest: str
    dataset_rows: int
    lake_snapshot: int
    timesteps: int
    dagster_run_id: str = ""
    mandate: Mandate = DAILY_MANDATE
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    seeds: Sequence[SeedRun] = ()

    @property
    def registered_name(self) -> str:
        """Name of the registered model."""
        return f"{self.profile}.{self.model}"

    @property
    def record_id(self) -> str:
        """Identity of the training: the same window, policy and mandate are the same record."""
        parts = [self.profile, self.model, self.partition, self.policy_hash]
        key = "|".join(parts if self.mandate == DAILY_MANDATE else [*parts, str(self.mandate)])
        return hashlib.sha256(key.encode()).hexdigest()[:20]

    @property
    def identity(self) -> FileIdentity:
        """Size and SHA-256 of the weights file."""
        return FileIdentity.of(self.weights)

    def version_tags(self) -> dict[str, str]:
        """Tags of the registered version; all values are text."""
        return {
            "record_id": self.record_id,
            "partition": self.partition,
            "policy_hash": self.policy_hash,
            "file_sha256": self.identity.sha256,
            "file_bytes": str(self.identity.size_bytes),
            "contract": self.contract,
            "contract_sha256": self.contract_sha256,
            "train_start": self.train_start.isoformat(),
            "train_end": self.train_end.isoformat(),
            "dataset_digest": self.dataset_digest,
            "lake_snapshot": str(self.lake_snapshot),
            "timesteps": str(self.timesteps),
            "seed": str(self.seed),
            "dagster_run_id": self.dagster_run_id,
            **{name: str(value) for name, value in self.mandate.record().items()},
        }

    def to_json(self) -> str:
        """Everything but the weights, which are named by size and SHA-256."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {
            "weights": {"sha256": self.identity.sha256, "size_bytes": self.identity.size_bytes},
            "train_start": self.train_start.isoformat(),
            "train_end": self.train_end.isoformat(),
            "mandate": self.mandate.record(),
            "seeds": [
                {
                    "seed": run.seed,
                    "policy_hash": run.policy_hash,
                    "metrics": dict(run.metrics),
                    "curve": [dict(row) for row in run.curve],
                }
                for run in self.seeds
            ],
        }
        return json.dumps(values, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str, weights: bytes) -> TrainingRecord:
        """Read a record back.

        Raises
        ------
        ModelFileMismatch
            ``weights`` are not the ones that the record was written with.
        """
        values = json.loads(text)
        FileIdentity(**values["weights"]).check(weights, f"weights of {values['partition']}")
        values |= {
            "weights": weights,
            "observation": tuple(values["observation"]),
            "train_start": date.fromisoformat(values["train_start"]),
            "train_end": date.fromisoformat(values["train_end"]),
            "mandate": Mandate.recorded(values.get("mandate") or {}),
            "seeds": tuple(SeedRun(**run) for run in values["seeds"]),
        }
        return cls(**values)
