"""What one training has to say, as plain values that survive as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any, Final

from spy_assets.models.policy.weights import FileIdentity
from spy_assets.simulator.mandate import DAILY_MANDATE, Mandate

#: Hyper-parameters of a training that was tuned, tags of its version too: by which search, and how many
#: configurations that had tried. A version of several policies may have several of each, in one order.
SEARCH: Final = ("search", "search_trials")
_AND: Final = "; "


def search_values(searches: Mapping[str, int]) -> dict[str, str]:
    """Give the values of :data:`SEARCH` for searches by name and trials; none for none.

    >>> search_values({"a2c 2018-09-28": 50, "dqn 2018-09-28": 20})
    {'search': 'a2c 2018-09-28; dqn 2018-09-28', 'search_trials': '50; 20'}
    """
    names = sorted(searches)
    texts = (_AND.join(names), _AND.join(str(searches[name]) for name in names))
    return dict(zip(SEARCH, texts, strict=True)) if names else {}


def searches_of(*values: Mapping[str, Any]) -> dict[str, int]:
    """Read what :func:`search_values` gave: searches by name, each with the most trials said of it.

    >>> searches_of({"search": "ppo a; ppo b", "search_trials": "50; 7"}, {"search": None})
    {'ppo a': 50, 'ppo b': 7}
    """
    found: dict[str, int] = {}
    for one in values:
        names, trials = (str(one.get(name) or "").split(_AND) for name in SEARCH)
        for name, tried in zip(names, trials, strict=True) if names != [""] else ():
            found[name] = max(found.get(name, 0), int(tried))
    return found


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
    weights
        Bytes of its weights file, where it shall be run again; None where nobody will.
    """

    seed: int
    policy_hash: str
    metrics: Mapping[str, float]
    curve: Sequence[Mapping[str, float]]
    weights: bytes | None = None

    @property
    def identity(self) -> FileIdentity | None:
        """Size and SHA-256 of the weights file, if there is one."""
        return None if self.weights is None else FileIdentity.of(self.weights)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the weights, which are named by size and SHA-256."""
        return {
            "seed": self.seed,
            "policy_hash": self.policy_hash,
            "metrics": dict(self.metrics),
            "curve": [dict(row) for row in self.curve],
            "weights": None if self.identity is None else asdict(self.identity),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], weights: Mapping[int, bytes]) -> SeedRun:
        """Read a seed back; records of before the weights of seeds were kept name none.

        Raises
        ------
        ModelFileMismatch
            ``weights`` lack its file, or have another.
        """
        named, data = values.get("weights"), None
        if named is not None:
            data = weights.get(values["seed"], b"")
            FileIdentity(**named).check(data, f"weights of seed {values['seed']}")
        return cls(**(dict(values) | {"weights": data}))


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
        } | {
            name: str(self.hyperparameters[name]) for name in SEARCH if name in self.hyperparameters
        }

    def to_json(self) -> str:
        """Everything but the weights, which are named by size and SHA-256."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {
            "weights": asdict(self.identity),
            "train_start": self.train_start.isoformat(),
            "train_end": self.train_end.isoformat(),
            "mandate": self.mandate.record(),
            "seeds": [run.to_dict() for run in self.seeds],
        }
        return json.dumps(values, sort_keys=True, indent=1)

    @classmethod
    def from_json(
        cls, text: str, weights: bytes, seed_weights: Mapping[int, bytes] | None = None
    ) -> TrainingRecord:
        """Read a record back; ``seed_weights`` is seed to file.

        Raises
        ------
        ModelFileMismatch
            ``weights`` or those of a seed are not the ones that the record was written with.
        """
        values = json.loads(text)
        FileIdentity(**values["weights"]).check(weights, f"weights of {values['partition']}")
        values |= {
            "weights": weights,
            "observation": tuple(values["observation"]),
            "train_start": date.fromisoformat(values["train_start"]),
            "train_end": date.fromisoformat(values["train_end"]),
            "mandate": Mandate.recorded(values.get("mandate") or {}),
            "seeds": tuple(SeedRun.from_dict(run, seed_weights or {}) for run in values["seeds"]),
        }
        return cls(**values)
