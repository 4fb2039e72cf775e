"""From what a policy learnt to its registered version: glue between domain, registry and lake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spy_assets.defs import registering
from spy_assets.errors import ModelFileMismatch
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from spy_assets.evaluation.backtest import BacktestResult, Venue
    from spy_assets.evaluation.statistics import Interval
    from spy_assets.models.outcomes.finetune import FinetunedPolicy
    from spy_assets.models.outcomes.records import Outcomes
    from spy_assets.models.policy.asking import Probabilities
    from spy_assets.models.policy.inference import PolicyNet
    from spy_assets.registry import Registry, TrainingRecord
    from spy_assets.settings import Settings
    from spy_assets.simulator.mandate import Mandate
    from spy_assets.warehouse import Warehouse

#: In a version's hyper-parameters: the version that it was fine-tuned from.
FINETUNED_FROM = "finetuned_from"
#: In a composite's hyper-parameters: by which rule several policies became this version.
COMPOSITE = "composite"


@dataclass(frozen=True)
class BasePolicy:
    """A registered policy that is to be fine-tuned: its network, and its row of the training runs."""

    version: str
    net: PolicyNet
    seed: int
    row: Mapping[str, Any]


def base_policy(
    lake: Warehouse, registry: Registry, partition: str, mandate: Mandate
) -> BasePolicy:
    """The last policy that was trained for a window and a mandate: not fine-tuned, nor of several.

    Raises
    ------
    ModelFileMismatch
        There is none.
    """
    found = trained_versions(lake, registry, partition, mandate)
    if not found:
        raise ModelFileMismatch(
            f"{registry.name} has no trained version of {partition} for {mandate}",
            hint=f"materialize models/{registry.model} for {partition}",
        )
    version = max(found, key=int)
    seeds = dict(registry.versions().select("version", "seed").iter_rows())
    return BasePolicy(version, _network(registry, version), seeds[version], found[version])


def trained_versions(
    lake: Warehouse, registry: Registry, partition: str, mandate: Mandate
) -> dict[str, Mapping[str, Any]]:
    """Versions of a window and a mandate that a training made, each with its row of the runs."""
    versions = registry.versions().filter(partition=partition)
    known = {one for one, own in registering.mandates_of(versions).items() if own == mandate}
    lake.ensure(TABLES["models.training_runs"])
    rows = lake.read("models.training_runs", where="model = ?", params=(registry.model,))
    return {
        row["version"]: row
        for row in rows.iter_rows(named=True)
        if row["version"] in known
        and not {FINETUNED_FROM, COMPOSITE} & set(json.loads(row["hyperparameters"]))
    }


def _network(registry: Registry, version: str) -> PolicyNet:
    """A version that is one network.

    Raises
    ------
    ModelFileMismatch
        It is made of several.
    """
    from spy_assets.models.policy.inference import PolicyNet

    loaded = registry.load(version)
    if not isinstance(loaded, PolicyNet):
        raise ModelFileMismatch(
            f"{registry.name} version {version} is recorded as one policy and is made of several",
            hint="restore mlruns from a backup, or train that window again",
        )
    return loaded


def tuned_record(
    settings: Settings,
    partition: str,
    base: BasePolicy,
    tuned: FinetunedPolicy,
    lesson: Mapping[str, Any],
    *,
    digest: str,
    snapshot: int,
    run_id: str,
) -> TrainingRecord:
    """What a fine-tuning has to say to the registry.

    ``lesson`` is how it was tuned and by what; ``digest`` the SHA-256 of what it learnt from.
    """
    from spy_assets.features.contracts import get_contract
    from spy_assets.models.policy.weights import encode_weights
    from spy_assets.registry import SeedRun, TrainingRecord

    weights, row = base.net.weights, base.row
    contract = get_contract(weights.contract)
    metrics = {"finetune_kl": tuned.kl, "finetune_outcomes": float(tuned.outcomes)}
    own = {name: value for name, value in _base_parameters(row).items() if name != "symbol"}
    return TrainingRecord(
        profile=settings.profile_name,
        model=row["model"],
        partition=partition,
        policy_hash=tuned.policy_hash,
        seed=base.seed,
        weights=encode_weights(
            tuned.state_dict,
            contract,
            activation=weights.activation,
            mandate=weights.mandate,
        ),
        contract=contract.name,
        contract_sha256=contract.sha256,
        observation=contract.names,
        train_start=row["train_start"],
        train_end=row["train_end"],
        dataset_digest=hashlib.sha256(f"{row['dataset_digest']}|{digest}".encode()).hexdigest(),
        dataset_rows=tuned.outcomes,
        lake_snapshot=snapshot,
        timesteps=row["timesteps"],
        dagster_run_id=run_id,
        mandate=weights.mandate,
        hyperparameters=own | {FINETUNED_FROM: base.version} | dict(lesson),
        metrics=metrics,
        seeds=[SeedRun(base.seed, tuned.policy_hash, metrics, tuned.curve)],
    )


def _base_parameters(row: Mapping[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = json.loads(row["hyperparameters"])
    return parameters


def outcomes_digest(outcomes: Outcomes) -> str:
    """SHA-256 over what was learnt from: ids, observations, actions and gains."""
    import numpy as np

    digest = hashlib.sha256(",".join(outcomes.ids).encode())
    for values in (outcomes.observation, outcomes.gain, outcomes.action.astype(np.float64)):
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Compared:
    """A tuned policy beside the one that it came from, on sessions that neither learnt from."""

    before: BacktestResult
    after: BacktestResult
    lead: Interval

    @property
    def words(self) -> str:
        """The comparison in one sentence."""
        told = "better" if self.lead.above_zero else "not better"
        lead = (
            f"{self.lead.estimate:+.2f} $ a session ({self.lead.low:+.2f} to {self.lead.high:+.2f})"
        )
        return f"{told} than the version that it came from: {lead}"


def compare(venue: Venue, before: Probabilities, after: Probabilities) -> Compared:
    """Run both over the validation window; the gate judges the tuned one again, with its rivals."""
    from spy_assets.evaluation.backtest import greedy, run_policy
    from spy_assets.evaluation.statistics import bootstrap_difference

    first = run_policy(venue, greedy(before), name="before")
    second = run_policy(venue, greedy(after), name="after")
    return Compared(first, second, bootstrap_difference(second.daily_pnl, first.daily_pnl, seed=0))
