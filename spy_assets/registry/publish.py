"""One training as MLflow runs: a parent, a nested run per seed, a model, its curve and its data."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spy_assets.models.composite import decode_policy, policy_of
from spy_assets.registry.records import SeedRun, TrainingRecord

MODEL_NAME = "policy"
WEIGHTS_FILE = "policy.npz"
RECORD_TAG = "record_id"
_SERVING = Path(__file__).with_name("serving.py")
PARENT_TAG = "mlflow.parentRunId"
SEED_KIND = "seed"
MOST_METRICS = 1_000  # MLflow's limit in one request
_PARAM_LENGTH = 6_000  # MLflow's limit of characters


def requirements() -> list[str]:
    """List what the served model needs, at today's versions; MLflow's own guess takes seconds."""
    return [f"{name}=={version(name)}" for name in ("spy-assets", "mlflow", "numpy", "pydantic")]


def publish_runs(client: Any, experiment_id: str, record: TrainingRecord) -> tuple[str, str, str]:
    """Log runs, curve, data set and model.

    Returns
    -------
    tuple
        Run id of the parent, id of the logged model, and its artifact location.
    """
    name = f"{record.model} {record.partition}"
    parent = client.create_run(
        experiment_id, run_name=name, tags=_run_tags(record) | {"kind": "training"}
    ).info.run_id
    client.log_batch(parent, params=_params(record), metrics=metrics_of(record.metrics))
    data = dataset_of(
        f"{record.profile}.{record.partition}",
        digest=record.dataset_digest,
        rows=record.dataset_rows,
        snapshot=record.lake_snapshot,
    )
    client.log_inputs(parent, datasets=[data])
    for seed_run in record.seeds:
        publish_seed(client, experiment_id, parent, seed_run, _seed_tags(record))
    client.log_figure(parent, _learning_curve(record), "learning_curve.png")
    model = _log_model(parent, record)
    client.set_terminated(parent)
    return parent, model.model_id, model.artifact_path


def _run_tags(record: TrainingRecord) -> dict[str, str]:
    keep = ("record_id", "partition", "policy_hash", "contract", "contract_sha256")
    more = ("lake_snapshot", "dagster_run_id", "dataset_digest")
    tags = record.version_tags()
    return {key: tags[key] for key in (*keep, *more)} | {"model": record.registered_name}


def _seed_tags(record: TrainingRecord) -> dict[str, str]:
    return _run_tags(record) | {"kind": SEED_KIND}


def seed_runs_of(client: Any, experiment_id: str, parent: str) -> list[Any]:
    """The runs of the seeds of a training, by its run id."""
    asked = f"tags.`{PARENT_TAG}` = '{parent}' AND tags.kind = '{SEED_KIND}'"
    return list(client.search_runs([experiment_id], asked))


def publish_missing_seeds(
    client: Any, experiment_id: str, parent: str, record: TrainingRecord
) -> None:
    """Log the seeds of a record that its registered training lacks.

    A seed that was logged without its weights, or by a process that died in between, is logged again in
    place of that run.
    """
    asked = {one.seed: one for one in record.seeds}
    whole = set()
    for run in seed_runs_of(client, experiment_id, parent):
        seed = int(run.data.params.get("seed", -1))
        if run.info.status != "FINISHED" or _lacks_weights(run, asked.get(seed)):
            client.delete_run(run.info.run_id)
        else:
            whole.add(seed)
    for seed in asked.keys() - whole:
        publish_seed(client, experiment_id, parent, asked[seed], _seed_tags(record))


def _lacks_weights(run: Any, again: SeedRun | None) -> bool:
    """Whether a logged seed has no weights where the same one, trained again, has."""
    return again is not None and again.weights is not None and "file_sha256" not in run.data.tags


def _params(record: TrainingRecord) -> list[Any]:
    return params_of(
        dict(record.hyperparameters)
        | {
            "chosen_seed": record.seed,
            "train_start": record.train_start,
            "train_end": record.train_end,
        }
    )


def params_of(values: Mapping[str, Any]) -> list[Any]:
    """MLflow's parameters, none longer than it takes."""
    from mlflow.entities import Param

    return [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in values.items()]


def metrics_of(values: Mapping[str, float], step: int = 0, at_ms: int | None = None) -> list[Any]:
    """MLflow's metrics, all of one step and moment."""
    from mlflow.entities import Metric

    now = at_ms if at_ms is not None else int(time.time() * 1_000)
    return [Metric(key, float(value), now, step) for key, value in values.items()]


def dataset_of(name: str, *, digest: str, rows: int, snapshot: int) -> Any:
    """The data that a training saw, as an input of its run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = Dataset(
        name=name,
        digest=digest[:36],  # MLflow's column holds 36 characters
        source_type="ducklake",
        source=f'{{"lake_snapshot": {snapshot}}}',
        profile=f'{{"rows": {rows}, "sha256": "{digest}"}}',
    )
    return DatasetInput(data, [InputTag("mlflow.data.context", "training")])


def _curve_metrics(run: SeedRun) -> Iterator[Any]:
    now = int(time.time() * 1_000)
    for row in run.curve:
        values = {key: value for key, value in row.items() if key != "timesteps"}
        yield from metrics_of(values, int(row["timesteps"]), now)


def publish_seed(
    client: Any, experiment_id: str, parent: str, run: SeedRun, tags: Mapping[str, str]
) -> None:
    """Log one seed with its curve, and its weights if it has them, nested in its training's run."""
    own = {**tags, PARENT_TAG: parent, "policy_hash": run.policy_hash}
    if run.identity is not None:
        own |= {"file_sha256": run.identity.sha256, "file_bytes": str(run.identity.size_bytes)}
    run_id = client.create_run(experiment_id, run_name=f"seed {run.seed}", tags=own).info.run_id
    client.log_batch(run_id, params=params_of({"seed": run.seed}), metrics=metrics_of(run.metrics))
    points = list(_curve_metrics(run))
    for start in range(0, len(points), MOST_METRICS):
        client.log_batch(run_id, metrics=points[start : start + MOST_METRICS])
    if run.weights is not None:
        _log_weights(client, run_id, run.weights)
    client.set_terminated(run_id)


def _log_weights(client: Any, run_id: str, weights: bytes) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / WEIGHTS_FILE
        file.write_bytes(weights)
        client.log_artifact(run_id, str(file))


def _learning_curve(record: TrainingRecord) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for run in record.seeds:
        for axes, key in ((left, "episode_reward"), (right, "value_loss")):
            points = [(row["timesteps"], row[key]) for row in run.curve if key in row]
            axes.plot(*zip(*points, strict=True) if points else ((), ()), label=f"seed {run.seed}")
    left.set(title="Reward per episode", xlabel="environment steps")
    right.set(title="Value loss", xlabel="environment steps")
    if record.seeds:
        left.legend()
    figure.suptitle(f"{record.registered_name}, training up to {record.train_end}")
    return figure


def _signature(record: TrainingRecord) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    width = len(record.observation)
    actions = policy_of(decode_policy(record.weights, record.partition)).actions
    inputs: list[Any] = [
        TensorSpec(np.dtype(np.float32), (-1, width), "observation"),
        TensorSpec(np.dtype(bool), (-1, actions), "mask"),
    ]
    outputs: list[Any] = [TensorSpec(np.dtype(np.float64), (-1, actions))]
    return ModelSignature(Schema(inputs), Schema(outputs))


def _log_model(run_id: str, record: TrainingRecord) -> Any:
    import mlflow

    with TemporaryDirectory() as folder, warnings.catch_warnings(), mlflow.start_run(run_id=run_id):
        warnings.simplefilter(
            "ignore", UserWarning
        )  # asks for an input example; a signature is given
        weights = Path(folder) / WEIGHTS_FILE
        weights.write_bytes(record.weights)
        identity = record.identity
        return mlflow.pyfunc.log_model(
            name=MODEL_NAME,
            python_model=str(_SERVING),
            artifacts={"weights": str(weights)},
            model_config={
                "file_sha256": identity.sha256,
                "file_bytes": identity.size_bytes,
                "contract": record.contract,
            },
            signature=_signature(record),
            pip_requirements=requirements(),
            metadata={"observation": list(record.observation)},
        )
