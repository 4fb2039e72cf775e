"""From a training to a row, from a version to a verdict: glue between domain, registry and lake."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from spy_assets.defs import account
from spy_assets.errors import ModelFileMismatch
from spy_assets.sessions import decision_time
from spy_assets.warehouse.tables import TABLES, TableSpec

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.evaluation.backtest import BacktestResult
    from spy_assets.evaluation.gate import GateVerdict
    from spy_assets.models.policy.config import PPOConfig
    from spy_assets.models.policy.select import Selection
    from spy_assets.models.policy.windows import Windows
    from spy_assets.registry import Registry, TrainingRecord
    from spy_assets.settings import Settings
    from spy_assets.signals.champion import Champion
    from spy_assets.warehouse import Warehouse

MODEL = "ppo_daily"
#: What the mirror keeps of a registered version.
MIRRORED = {
    "model": "VARCHAR", "version": "VARCHAR", "created_at": "TIMESTAMPTZ", "mlflow_run_id": "VARCHAR",
    "model_path": "VARCHAR", "aliases": "VARCHAR", "is_active": "BOOLEAN", "partition": "VARCHAR",
    "train_start": "DATE", "train_end": "DATE", "policy_hash": "VARCHAR", "file_sha256": "VARCHAR",
    "file_bytes": "BIGINT", "contract": "VARCHAR", "dataset_digest": "VARCHAR",
    "lake_snapshot": "BIGINT", "timesteps": "BIGINT", "seed": "BIGINT", "dagster_run_id": "VARCHAR",
}  # fmt: skip
VERSIONS = TableSpec(
    name="models.model_versions",
    key=("model", "version"),
    columns=MIRRORED,
    description="The registry's versions, as the registry tells them.",
)


def frame(spec: TableSpec, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the table's types, so that a column of nulls keeps its own."""
    import polars as pl

    types: dict[str, Any] = {
        "VARCHAR": pl.String, "DOUBLE": pl.Float64, "BIGINT": pl.Int64, "INTEGER": pl.Int32,
        "BOOLEAN": pl.Boolean, "DATE": pl.Date, "TIMESTAMPTZ": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    schema = {name: types[kind] for name, kind in spec.all_columns.items() if name != "ingested_at"}
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def training_record(
    settings: Settings,
    partition: str,
    cut: Windows,
    selection: Selection,
    ppo: PPOConfig,
    lake_snapshot: int,
    run_id: str,
) -> TrainingRecord:
    """Everything that a training has to say to the registry."""
    from spy_assets.features.contracts import DAILY_15_PROXY_V1 as CONTRACT
    from spy_assets.models.policy.train import path_digest
    from spy_assets.models.policy.weights import encode_weights
    from spy_assets.registry import SeedRun, TrainingRecord

    chosen = selection.chosen
    policy = chosen.policy
    return TrainingRecord(
        profile=settings.profile_name,
        model=MODEL,
        partition=partition,
        policy_hash=policy.policy_hash,
        seed=policy.seed,
        weights=encode_weights(policy.state_dict, CONTRACT, activation=ppo.activation),
        contract=CONTRACT.name,
        contract_sha256=CONTRACT.sha256,
        observation=CONTRACT.names,
        train_start=cut.training.sessions[0],
        train_end=cut.train_end,
        dataset_digest=path_digest(cut.training),
        dataset_rows=len(cut.training),
        lake_snapshot=lake_snapshot,
        timesteps=policy.timesteps,
        dagster_run_id=run_id,
        hyperparameters=ppo.hyperparameters(),
        metrics=chosen.metrics,
        seeds=[
            SeedRun(one.policy.seed, one.policy.policy_hash, one.metrics, one.policy.curve)
            for one in selection.candidates
        ],
    )


def training_row(
    settings: Settings, record: TrainingRecord, version: str, run_id: str | None
) -> dict[str, Any]:
    """The row of ``models.training_runs``."""
    return {
        "model": record.model,
        "version": version,
        "train_start": record.train_start,
        "train_end": record.train_end,
        "purge_sessions": settings.train.purge_sessions,
        "contract": record.contract,
        "lake_snapshot": record.lake_snapshot,
        "dataset_digest": record.dataset_digest,
        "policy_hash": record.policy_hash,
        "file_sha256": record.identity.sha256,
        "file_bytes": record.identity.size_bytes,
        "seeds": json.dumps([run.seed for run in record.seeds]),
        "hyperparameters": json.dumps(dict(record.hyperparameters), sort_keys=True),
        "mlflow_run_id": run_id,
        "dagster_run_id": record.dagster_run_id,
        "timesteps": record.timesteps,
        "available_at": decision_time(date.fromisoformat(record.partition)),
        "source": settings.source,
    }


def version_of_partition(registry: Registry, partition: str) -> str:
    """The newest registered version of a training window.

    Raises
    ------
    ModelFileMismatch
        If none is registered.
    """
    found = registry.versions().filter(partition=partition)
    if found.is_empty():
        raise ModelFileMismatch(
            f"{registry.name} has no version trained for {partition}",
            hint=f"materialize models/{MODEL} for {partition}",
        )
    return str(found["version"][-1])


@dataclass(frozen=True)
class Judged:
    """A challenger's and its rivals' runs over one window, and the gate's verdict."""

    results: tuple[BacktestResult, ...]
    verdict: GateVerdict
    train_end: date
    source: str

    def rows(self, version: str, moment: datetime) -> list[dict[str, Any]]:
        """Rows of ``models.evaluations``."""
        from spy_assets.evaluation.gate import evaluation_rows

        own = {"model": MODEL, "version": version, "available_at": moment, "source": self.source}
        return [row | own for row in evaluation_rows(self.results)]

    def promotion_row(self, version: str, session: date, lake_snapshot: int) -> dict[str, Any]:
        """The row of ``models.promotions``; it counts from the session's decision time on."""
        verdict = self.verdict
        return {
            "model": MODEL,
            "alias": "champion",
            "effective_from": decision_time(session),
            "version": version,
            "accepted": verdict.accepted,
            "basis": verdict.basis,
            "reason": "; ".join(verdict.reasons),
            "train_end": self.train_end,
            "lake_snapshot": lake_snapshot,
            "metrics": json.dumps(verdict.metrics, sort_keys=True),
            "available_at": decision_time(session),
            "source": self.source,
        }


def judge(
    lake: Warehouse, registry: Registry, settings: Settings, session: date, version: str
) -> Judged:
    """Run a version, the champion of that time and all baselines over the validation window."""
    from spy_assets.evaluation.backtest import greedy, run_policy
    from spy_assets.evaluation.baselines import run_baselines
    from spy_assets.evaluation.gate import promotion_gate

    cut = account.windows(lake, settings, session)
    venue = account.venue(settings, cut)
    model = registry.fetch(version)
    challenger = run_policy(venue, greedy(registry.load(version).probabilities), name="policy")
    baselines = run_baselines(venue, challenger)
    incumbent = _champion_before(lake, session, settings.train.purge_sessions)
    vacant = incumbent is None or _may_be_unseated(incumbent, session, settings)
    champion = (
        None
        if vacant or incumbent is None
        else run_policy(
            venue, greedy(registry.load(incumbent.version).probabilities), name="champion"
        )
    )
    verdict = promotion_gate(
        challenger,
        champion,
        baselines,
        bootstrap=settings.promotion.bootstrap and vacant,
        min_trades=settings.promotion.min_trades,
        level=settings.promotion.confidence,
        trials=max(1, registry.versions().filter(train_end=model.train_end).height),
    )
    rivals = tuple(baselines.values()) + (() if champion is None else (champion,))
    return Judged((challenger, *rivals), verdict, model.train_end, settings.source)


def promotion_rows(lake: Warehouse) -> list[dict[str, Any]]:
    """All promotion decisions, the last version of each."""
    spec = TABLES["models.promotions"]
    lake.ensure(spec)
    return list(lake.read(spec.name).iter_rows(named=True))


def _may_be_unseated(champion: Champion, session: date, settings: Settings) -> bool:
    """Whether an unproven champion has grown too old to speak, so that its seat is free again."""
    from spy_assets.models.policy.staleness import stale_reason

    aged = stale_reason(champion.train_end, session, settings.train.max_age_sessions // 2)
    return not champion.is_proven and aged is not None


def _champion_before(lake: Warehouse, session: date, purge_sessions: int) -> Champion | None:
    """The champion that reigned before the session's own decision."""
    from spy_assets.signals.champion import champion_effective_at

    moment = decision_time(session)
    earlier = [row for row in promotion_rows(lake) if row["effective_from"] < moment]
    return champion_effective_at(earlier, moment, purge_sessions)


def latest_champion(lake: Warehouse) -> str | None:
    """The version that the champion alias shall mean: the latest accepted one."""
    accepted = [row for row in promotion_rows(lake) if row["accepted"]]
    if not accepted:
        return None
    return str(max(accepted, key=lambda row: row["effective_from"])["version"])


def mirrored(versions: pl.DataFrame, source: str) -> pl.DataFrame:
    """Rows of ``models.model_versions``; a version is known from its registration on."""
    import polars as pl

    return versions.with_columns(
        pl.col("aliases").list.join(","),
        pl.col("created_at").alias("available_at"),
        pl.lit(source).alias("source"),
    ).select(*MIRRORED, "available_at", "source")
