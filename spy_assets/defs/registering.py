"""From a training to a registered version and its row: glue between registry and lake."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from spy_assets.defs import account
from spy_assets.errors import DataError, ModelFileMismatch
from spy_assets.sessions import decision_time
from spy_assets.warehouse.tables import TABLES, TableSpec

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.defs.learning import Tuned
    from spy_assets.defs.resources import SpyResource
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.models.policy.select import Selection
    from spy_assets.models.policy.train import TrainedPolicy
    from spy_assets.models.policy.windows import Windows
    from spy_assets.registry import LoggedTraining, Registry, TrainingRecord
    from spy_assets.settings import Settings
    from spy_assets.simulator.mandate import Mandate
    from spy_assets.warehouse import Warehouse, WriteResult

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
    ppo: AgentConfig,
    lake_snapshot: int,
    run_id: str,
    model: str = MODEL,
    found: Tuned | None = None,
) -> TrainingRecord:
    """Everything that a training has to say to the registry; ``found`` is by what it was tuned."""
    from spy_assets.models.policy.train import path_digest
    from spy_assets.models.policy.weights import encode_weights
    from spy_assets.registry import SeedRun, TrainingRecord

    chosen = selection.chosen
    policy, contract = chosen.policy, cut.path.contract
    mandate = account.mandate(settings)

    def weights(one: TrainedPolicy) -> bytes:
        return encode_weights(one.state_dict, contract, activation=ppo.activation, mandate=mandate)

    return TrainingRecord(
        profile=settings.profile_name,
        model=model,
        partition=partition,
        policy_hash=policy.policy_hash,
        seed=policy.seed,
        weights=weights(policy),
        contract=contract.name,
        contract_sha256=contract.sha256,
        observation=contract.names,
        train_start=cut.training.sessions[0],
        train_end=cut.train_end,
        dataset_digest=path_digest(cut.training),
        dataset_rows=len(cut.training),
        lake_snapshot=lake_snapshot,
        timesteps=policy.timesteps,
        dagster_run_id=run_id,
        mandate=mandate,
        hyperparameters=ppo.hyperparameters() | (found.origin if found else {}),
        metrics=chosen.metrics,
        seeds=[
            SeedRun(
                one.policy.seed,
                one.policy.policy_hash,
                one.metrics,
                one.policy.curve,
                weights(one.policy),
            )
            for one in selection.candidates
        ],
    )


def register(
    lake: Warehouse, spy: SpyResource, record: TrainingRecord
) -> tuple[LoggedTraining, WriteResult | None]:
    """Register a policy as challenger of its model, and record its run; spooled if MLflow is away."""
    registry = spy.registry(record.model)
    logged = registry.log_training(record)
    if logged.version is None:
        return logged, None
    registry.set_alias("challenger", logged.version)
    spec = TABLES["models.training_runs"]
    row = training_row(spy.settings, record, logged.version, logged.run_id)
    return logged, lake.write(spec, frame(spec, [row]), ingested_at=spy.utc_now())


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
        "hyperparameters": json.dumps(
            {"symbol": settings.symbol, **record.hyperparameters}, sort_keys=True
        ),
        "mlflow_run_id": run_id,
        "dagster_run_id": record.dagster_run_id,
        "timesteps": record.timesteps,
        "available_at": decision_time(date.fromisoformat(record.partition)),
        "source": settings.source,
    }


def register_spooled(
    lake: Warehouse, registry: Registry, settings: Settings, now: datetime
) -> dict[str, list[str]]:
    """Register the trainings that were kept on disk, with their rows; gives model to versions.

    Those of all models, because some, such as a policy of one regime, are opened by nobody after their
    training. The last one of each becomes its challenger, as it would have when it was trained; not one
    of another mandate than the settings', whose window may have been trained for theirs since.

    Raises
    ------
    RegistryUnavailable
        MLflow still does not answer.
    """
    registered = {}
    for model in registry.waiting():
        own = registry.of_model(model)
        versions, fitting = _flush(lake, own, settings, now)
        if fitting:
            own.set_alias("challenger", fitting[-1])
        if versions:  # else another process was faster
            registered[model] = versions
    return registered


def _flush(
    lake: Warehouse, registry: Registry, settings: Settings, now: datetime
) -> tuple[list[str], list[str]]:
    """Register what waits of one model; gives its versions, and those of the settings' mandate."""
    spec, mandate = TABLES["models.training_runs"], account.mandate(settings)
    fitting: list[str] = []

    def record_row(record: TrainingRecord, logged: LoggedTraining) -> None:
        row = training_row(settings, record, str(logged.version), logged.run_id)
        lake.write(spec, frame(spec, [row]), ingested_at=now)
        if record.mandate == mandate:
            fitting.append(str(logged.version))

    return [str(logged.version) for logged in registry.flush_spool(record_row)], fitting


def version_of_partition(
    registry: Registry, partition: str, wanted: str = "", mandate: Mandate | None = None
) -> str:
    """The version that the last training of a window gave: the challenger, if it is of that window.

    It need not be the newest: a training that ends in a policy that is registered already gives that
    version again. If the challenger is of another window by now, it is the newest of this one. A
    window may have several, such as the members' vote beside the trained policy: ``wanted`` names one.
    With a ``mandate`` those of another are not looked at.

    Raises
    ------
    ModelFileMismatch
        If none is registered, or not the wanted one.
    DataError
        If all of the window, or the wanted one, are of another mandate.
    """
    import polars as pl

    found = registry.versions().filter(partition=partition)
    if found.is_empty():
        raise ModelFileMismatch(
            f"{registry.name} has no version trained for {partition}",
            hint=f"materialize models/{MODEL} for {partition}",
        )
    if wanted:
        if wanted not in set(found["version"]):
            raise ModelFileMismatch(
                f"{registry.name} has no version {wanted!r} of {partition}",
                hint=f"it has {', '.join(found['version'])}",
            )
        found = found.filter(version=wanted)
    if mandate is not None:
        found = _of_mandate(found, mandate, partition)
    challenger = found.filter(pl.col("aliases").list.contains("challenger"))
    return str((found if challenger.is_empty() else challenger)["version"][-1])


def _of_mandate(versions: pl.DataFrame, mandate: Mandate, partition: str) -> pl.DataFrame:
    """The versions of a window that were trained for a mandate, of which there must be one."""
    import polars as pl

    trained = mandates_of(versions)
    own = versions.filter(
        pl.col("version").is_in([k for k, one in trained.items() if one == mandate])
    )
    if own.is_empty():
        others = ", ".join(f"version {k} for {one.beside(mandate)}" for k, one in trained.items())
        raise DataError(
            f"no version of {partition} was trained for {mandate}, which the settings have: {others}",
            hint=f"materialize models/{MODEL} for {partition} again, or set the mandate back",
        )
    return own


def mandates_of(versions: pl.DataFrame) -> dict[str, Mandate]:
    """What each registered version was trained for."""
    from spy_assets.simulator.mandate import Mandate

    return {row["version"]: Mandate.recorded(row) for row in versions.iter_rows(named=True)}


def mirrored(versions: pl.DataFrame, source: str) -> pl.DataFrame:
    """Rows of ``models.model_versions``; a version is known from its registration on."""
    import polars as pl

    return versions.with_columns(
        pl.col("aliases").list.join(","),
        pl.col("created_at").alias("available_at"),
        pl.lit(source).alias("source"),
    ).select(*MIRRORED, "available_at", "source")
