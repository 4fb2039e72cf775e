"""A walk-forward as MLflow runs: one a configuration, nested in it one a fold, and in that one a seed.

The runs of configurations are the trials: each is one look at the out-of-sample result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from spy_assets.registry.publish import (
    PARENT_TAG,
    RECORD_TAG,
    dataset_of,
    metrics_of,
    params_of,
    publish_seed,
)
from spy_assets.registry.records import SeedRun

WALK_KIND: Final = "walk_forward"
FOLD_KIND: Final = "walk_forward_fold"
SEED_KIND: Final = "walk_forward_seed"
#: Clock of runs that name none.
DAILY_CLOCK: Final = "daily"
#: Runs that are asked for at once.
_PAGE: Final = 1_000


@dataclass(frozen=True)
class FoldRecord:
    """What one fold of a walk-forward has to say.

    Attributes
    ----------
    profile, symbol, preset
        Whose walk-forward it is.
    window
        First session of the test, ISO date.
    configuration
        Hash of ``parameters``.
    parameters
        Windows, hyper-parameters and account; the same for all folds.
    fold
        Dates of training and test, purge and embargo.
    metrics
        Out-of-sample figures of the chosen seed.
    chosen_seed
        The seed that the training window chose.
    seeds
        Every seed: out-of-sample figures and learning curve.
    dataset_digest, dataset_rows
        SHA-256 and length of the training data.
    lake_snapshot
        Snapshot of the lake that was read.
    dagster_run_id
        The run that trained.
    clock
        ``daily``, or ``intraday``: the results of one are no trials of the other.
    """

    profile: str
    symbol: str
    preset: str
    window: str
    configuration: str
    parameters: Mapping[str, Any]
    fold: Mapping[str, Any]
    metrics: Mapping[str, float]
    chosen_seed: int
    dataset_digest: str
    dataset_rows: int
    lake_snapshot: int
    seeds: Sequence[SeedRun] = field(default_factory=tuple)
    dagster_run_id: str = ""
    clock: str = DAILY_CLOCK

    @property
    def walk_id(self) -> str:
        """Identity of the configuration's run."""
        return self._identity("")

    @property
    def record_id(self) -> str:
        """Identity of the fold's run: made again, it takes the place of the earlier one."""
        return self._identity(self.window)

    def _identity(self, window: str) -> str:
        key = "|".join((self.profile, self.symbol, self.preset, self.configuration, window))
        return hashlib.sha256(key.encode()).hexdigest()[:20]

    def tags(self) -> dict[str, str]:
        """Tags of the configuration's run."""
        return {
            "symbol": self.symbol,
            "preset": self.preset,
            "configuration": self.configuration,
            "clock": self.clock,
        }


def publish_fold(client: Any, experiment_id: str, record: FoldRecord) -> str:
    """Log the fold with its seeds under its configuration's run; give the fold's run id.

    A run of the same fold and configuration is replaced.
    """
    parent = _walk_run(client, experiment_id, record)
    for earlier in _found(client, experiment_id, record.record_id):
        for nested in client.search_runs([experiment_id], f"tags.`{PARENT_TAG}` = '{earlier}'"):
            client.delete_run(nested.info.run_id)
        client.delete_run(earlier)
    run_id = _create(
        client,
        experiment_id,
        f"fold {record.window}",
        record.tags()
        | {
            "kind": FOLD_KIND,
            RECORD_TAG: record.record_id,
            PARENT_TAG: parent,
            "window": record.window,
            "dataset_digest": record.dataset_digest,
            "lake_snapshot": str(record.lake_snapshot),
            "dagster_run_id": record.dagster_run_id,
        },
    )
    params = params_of(dict(record.fold) | {"chosen_seed": record.chosen_seed})
    client.log_batch(run_id, params=params, metrics=metrics_of(record.metrics))
    data = dataset_of(
        f"{record.profile}.{record.window}",
        digest=record.dataset_digest,
        rows=record.dataset_rows,
        snapshot=record.lake_snapshot,
    )
    client.log_inputs(run_id, datasets=[data])
    for seed in record.seeds:
        publish_seed(client, experiment_id, run_id, seed, record.tags() | {"kind": SEED_KIND})
    client.set_terminated(run_id)
    return run_id


def configurations(
    client: Any, experiment_id: str, symbol: str, clock: str = DAILY_CLOCK
) -> set[str]:
    """The configurations of a symbol and clock whose folds were looked at: the trials."""
    found: set[str] = set()
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            f"tags.kind = '{WALK_KIND}' AND tags.symbol = '{symbol}'",
            max_results=_PAGE,
            page_token=token,
        )
        found |= {
            run.data.tags["configuration"]
            for run in page
            if run.data.tags.get("clock", DAILY_CLOCK) == clock
        }
        token = page.token
        if not token:
            return found


def _walk_run(client: Any, experiment_id: str, record: FoldRecord) -> str:
    """The configuration's run, made by its first fold."""
    for run_id in _found(client, experiment_id, record.walk_id):
        return run_id
    run_id = _create(
        client,
        experiment_id,
        f"walk-forward {record.preset} {record.configuration}",
        record.tags() | {"kind": WALK_KIND, RECORD_TAG: record.walk_id},
    )
    client.log_batch(run_id, params=params_of(record.parameters))
    client.set_terminated(run_id)
    return run_id


def _found(client: Any, experiment_id: str, record_id: str) -> Iterator[str]:
    for run in client.search_runs([experiment_id], f"tags.{RECORD_TAG} = '{record_id}'"):
        yield str(run.info.run_id)


def _create(client: Any, experiment_id: str, name: str, tags: Mapping[str, str]) -> str:
    return str(client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id)
