"""MLflow as the registry of trained policies.

Runs live in ``mlruns/mlflow.db`` and artifacts under ``mlruns/artifacts``, unless the registry is
given the address of a server; the folder may be moved. One experiment per profile; the registered
model is ``<profile>.ppo_daily``.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spy_assets.errors import ModelFileMismatch, RegistryUnavailable
from spy_assets.features.contracts import get_contract
from spy_assets.models.composite import LoadedPolicy, load_policy
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.weights import FileIdentity, atomic_file
from spy_assets.registry.folds import FoldRecord, configurations, publish_fold
from spy_assets.registry.moving import follow_folder
from spy_assets.registry.publish import (
    RECORD_TAG,
    WEIGHTS_FILE,
    publish_missing_seeds,
    publish_runs,
    seed_runs_of,
)
from spy_assets.registry.records import SEARCH, TrainingRecord, search_values, searches_of
from spy_assets.registry.spool import Spool
from spy_assets.settings import Settings

if TYPE_CHECKING:
    import polars as pl

DAILY_MODEL = "ppo_daily"

#: No telemetry, no pickles, and a server that is down is noticed in seconds instead of minutes.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
#: These are the answers of a server that is there; everything else means that it is not.
_REFUSALS = {
    "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST",
    "PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "NOT_FOUND", "INVALID_STATE",
    "ENDPOINT_NOT_FOUND",
}  # fmt: skip
_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
_VERSION_TAGS = (
    "partition", "train_start", "train_end", "policy_hash", "file_sha256", "file_bytes", "contract",
    "contract_sha256", "dataset_digest", "lake_snapshot", "timesteps", "seed", "dagster_run_id",
    "actions", "actions_sha256", "max_positions", *SEARCH,
)  # fmt: skip
_DATES = frozenset({"train_start", "train_end"})
_NUMBERS = frozenset({"file_bytes", "lake_snapshot", "timesteps", "seed", "max_positions"})


@dataclass(frozen=True)
class LoggedTraining:
    """Where a training went: a registered ``version``, or ``spooled`` with the ``reason``."""

    record_id: str
    version: str | None
    run_id: str | None
    spooled: Path | None = None
    reason: str | None = None


#: Told of a training that has become a version.
Registered = Callable[[TrainingRecord, LoggedTraining], None]


@dataclass(frozen=True)
class FetchedModel:
    """Weights of a registered version on this machine, checked against the registry."""

    version: str
    path: Path
    identity: FileIdentity
    contract: str
    train_end: date
    policy_hash: str


def _mlflow() -> Any:
    """Import MLflow with a safe environment; the user's own settings win, but never pickles."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


class Registry:
    """The registered versions of one model.

    Parameters
    ----------
    settings
        Give the profile and the folders.
    model
        Short name; the registered one is ``<profile>.<model>``.
    tracking_uri
        Address of an MLflow server; by default the database in ``mlruns``. ``MLFLOW_TRACKING_URI``
        is not read: MLflow itself sets it, so that a second registry would see the first one's.
    """

    def __init__(
        self, settings: Settings, *, model: str = DAILY_MODEL, tracking_uri: str | None = None
    ) -> None:
        self._settings = settings
        self.profile = settings.profile_name
        self.model = model
        self.name = f"{self.profile}.{model}"
        self.folder = settings.mlruns_dir
        self.downloads = settings.root / "models"
        self.spool = Spool(settings.root / "spool")
        self.tracking_uri = tracking_uri or f"sqlite:///{self.folder / 'mlflow.db'}"

    def of_model(self, model: str) -> Registry:
        """The registry of another model of the same profile, at the same address."""
        return Registry(self._settings, model=model, tracking_uri=self.tracking_uri)

    # -- writing ------------------------------------------------------------------------------

    def log_training(self, record: TrainingRecord) -> LoggedTraining:
        """Register a training, or keep it on disk if MLflow does not answer.

        The same window and policy give the same version, however often they are logged. Seeds that the
        version lacks, or has without their weights, are added to it, and so are searches.
        """
        folder = self.spool.put(record)
        try:
            logged = self._publish(record)
        except RegistryUnavailable as error:
            return LoggedTraining(record.record_id, None, None, folder, error.message)
        self.spool.remove(folder)
        return logged

    def waiting(self) -> list[str]:
        """Models of this profile with trainings that are still on disk, in the order of the oldest.

        Raises
        ------
        ModelFileMismatch
            The weights of one were altered since.
        """
        kept = [self.spool.read(path) for path in self.spool.pending()]
        return list(dict.fromkeys(one.model for one in kept if one.profile == self.profile))

    def flush_spool(self, registered: Registered | None = None) -> list[LoggedTraining]:
        """Register everything of this model that was kept on disk, oldest first.

        ``registered`` is called for each before it is forgotten here: if the process dies in between,
        the next flush finds it again.

        Raises
        ------
        RegistryUnavailable
            MLflow still does not answer; what is not registered stays on disk.
        """
        done = []
        for path in self.spool.pending():
            record = self.spool.read(path)
            if record.registered_name != self.name:
                continue
            done.append(self._publish(record))
            if registered is not None:
                registered(record, done[-1])
            self.spool.remove(path)
        return done

    def log_fold(self, record: FoldRecord) -> str:
        """Log one fold of a walk-forward, in place of an earlier run of it; gives its run id.

        Raises
        ------
        RegistryUnavailable
            MLflow does not answer.
        """
        with self._session() as client:
            return publish_fold(client, self._experiment(client), record)

    def set_alias(self, alias: str, version: str) -> None:
        """Point ``champion`` or ``challenger`` at a version.

        Raises
        ------
        RegistryUnavailable
            MLflow does not answer.
        """
        with self._session() as client:
            client.set_registered_model_alias(self.name, alias, version)

    def drop_alias(self, alias: str) -> None:
        """Take an alias from the version that has it; it may be absent.

        Raises
        ------
        RegistryUnavailable
            MLflow does not answer.
        """
        with self._session() as client:
            client.delete_registered_model_alias(self.name, alias)

    # -- reading ------------------------------------------------------------------------------

    def alias(self, alias: str) -> str | None:
        """Version behind an alias; None if there is none."""
        with self._session() as client:
            for model in client.search_registered_models(f"name = '{self.name}'"):
                found = model.aliases.get(alias)
                return str(found) if found is not None else None
        return None

    def versions(self) -> pl.DataFrame:
        """All registered versions, oldest first: the rows of the view ``model_versions``."""
        import polars as pl

        with self._session() as client:
            found = sorted(self._all_versions(client), key=lambda item: int(item.version))
            aliases = {item.name: item.aliases for item in client.search_registered_models()}
        held = aliases.get(self.name, {})
        return pl.DataFrame([self._row(item, held) for item in found], schema=_version_schema())

    def walk_forward_trials(self, symbol: str, clock: str = "daily") -> set[str]:
        """The configurations of which a fold of the symbol and clock was logged.

        Raises
        ------
        RegistryUnavailable
            MLflow does not answer.
        """
        with self._session() as client:
            return configurations(client, self._experiment(client), symbol, clock)

    def fetch(self, version: str) -> FetchedModel:
        """Get a version's weights file.

        Raises
        ------
        ModelFileMismatch
            The version is unknown, its file is gone, or it is not the registered one.
        RegistryUnavailable
            MLflow does not answer.
        """
        with self._session() as client:
            found = self._known(client, version)
            tags, path = found.tags, self._download(found)
        identity = FileIdentity(tags["file_sha256"], int(tags["file_bytes"]))
        identity.check(path.read_bytes(), str(path))
        return FetchedModel(
            version=version,
            path=path,
            identity=identity,
            contract=tags["contract"],
            train_end=date.fromisoformat(tags["train_end"]),
            policy_hash=tags["policy_hash"],
        )

    def load(self, version: str) -> LoadedPolicy:
        """Fetch a version and build its network, or its several, under the contract it was trained on.

        Raises
        ------
        ModelFileMismatch, ContractMismatch, RegistryUnavailable
            See :meth:`fetch` and :func:`~spy_assets.models.composite.load_policy`.
        """
        found = self.fetch(version)
        return load_policy(found.path, found.identity, get_contract(found.contract))

    def load_seeds(self, version: str) -> dict[int, PolicyNet]:
        """Fetch the networks of all seeds that a version was chosen from, the chosen one included.

        Empty if their weights were not kept, as those of versions from before they were.

        Raises
        ------
        ModelFileMismatch, ContractMismatch, RegistryUnavailable
            See :meth:`load`; of a seed whose weights were kept the file is gone or another.
        """
        with self._session() as client:
            item = self._known(client, version)
            runs = seed_runs_of(client, self._experiment(client), item.run_id)
            if not all("file_sha256" in run.data.tags for run in runs):
                return {}
            found = {
                int(run.data.params["seed"]): (
                    self._fetched(
                        f"{run.info.artifact_uri}/{WEIGHTS_FILE}",
                        f"{version}/{run.info.run_id}",
                        f"a seed of {self.name} version {version}",
                    ),
                    FileIdentity(run.data.tags["file_sha256"], int(run.data.tags["file_bytes"])),
                )
                for run in runs
            }
        contract = get_contract(item.tags["contract"])
        return {
            seed: PolicyNet.load(path, identity, contract)
            for seed, (path, identity) in sorted(found.items())
        }

    def load_recorded(self, version: str, identity: FileIdentity, contract: str) -> LoadedPolicy:
        """Build the policy of a version whose file is known, from the copy kept beside the lake.

        MLflow is asked only if the copy is not there or is not the recorded file, so that it may be
        down while signals are made, and its import (over a second) is spared.

        Raises
        ------
        ModelFileMismatch, ContractMismatch, RegistryUnavailable
            See :meth:`load`; also if the registry's file is another than the recorded one.
        """
        path = self._kept(identity)
        if not (path.is_file() and FileIdentity.of(path.read_bytes()) == identity):
            data = self.fetch(version).path.read_bytes()
            identity.check(data, f"the weights of {self.name} version {version}")
            self._keep(identity, data)
        return load_policy(path, identity, get_contract(contract))

    def _kept(self, identity: FileIdentity) -> Path:
        return self.downloads / f"{identity.sha256}.npz"

    def _keep(self, identity: FileIdentity, data: bytes) -> None:
        with atomic_file(self._kept(identity)) as file:
            file.write(data)

    # -- MLflow -------------------------------------------------------------------------------

    @property
    def _is_local(self) -> bool:
        return self.tracking_uri.startswith("sqlite:")

    @cached_property
    def _client(self) -> Any:
        mlflow = _mlflow()
        if self._is_local:
            self.folder.mkdir(parents=True, exist_ok=True)
            follow_folder(self.folder)
        return mlflow.MlflowClient(self.tracking_uri, self.tracking_uri)

    def _lock(self) -> AbstractContextManager[Any]:
        """One process at a time on the local database: its migration and SQLite need it."""
        if not self._is_local:
            return nullcontext()
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".registry.lock", timeout=120)

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """Lend the client: MLflow's globals set to this registry, its failures translated."""
        mlflow = _mlflow()
        import requests
        import sqlalchemy

        try:
            with self._lock():
                mlflow.set_tracking_uri(self.tracking_uri)
                mlflow.set_registry_uri(self.tracking_uri)
                yield self._client
        except mlflow.exceptions.MlflowException as error:
            if error.error_code in _REFUSALS:
                raise
            raise self._unavailable(error) from error
        except (
            requests.RequestException,
            sqlalchemy.exc.SQLAlchemyError,
            sqlite3.Error,
            OSError,
        ) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        return RegistryUnavailable(
            f"MLflow at {self.tracking_uri} does not answer: {error}",
            hint="start it; finished trainings are kept on disk and registered by the next run",
        )

    def _publish(self, record: TrainingRecord) -> LoggedTraining:
        with self._session() as client:
            version = self._registered(client, record)
            if version is None:
                version = self._register(client, record)
            else:
                self._complete(client, version, record)
        self._keep(record.identity, record.weights)
        return LoggedTraining(record.record_id, str(version.version), str(version.run_id))

    def _all_versions(self, client: Any) -> list[Any]:
        return list(client.search_model_versions(f"name = '{self.name}'"))

    def _known(self, client: Any, version: str) -> Any:
        known = {str(item.version): item for item in self._all_versions(client)}
        if version not in known:
            raise ModelFileMismatch(
                f"{self.name} has no version {version!r}; it has {sorted(known, key=int)}",
                hint="Registry.versions() lists them with their training windows",
            )
        return known[version]

    def _registered(self, client: Any, record: TrainingRecord) -> Any | None:
        for item in self._all_versions(client):
            if item.tags.get(RECORD_TAG) == record.record_id:
                return item
        return None

    def _complete(self, client: Any, version: Any, record: TrainingRecord) -> None:
        """Add the seeds and searches of another training that ended in the same policy.

        The version was chosen from all of them, and is judged by all of them.
        """
        known = searches_of(version.tags)
        joined = searches_of(version.tags, record.version_tags())
        if joined != known:
            for name, value in search_values(joined).items():
                client.set_model_version_tag(self.name, version.version, name, value)
        publish_missing_seeds(client, self._experiment(client), version.run_id, record)

    def _register(self, client: Any, record: TrainingRecord) -> Any:
        experiment_id = self._experiment(client)
        half_done = client.search_runs([experiment_id], f"tags.{RECORD_TAG} = '{record.record_id}'")
        for run in half_done:  # of a process that died, or a server that went away, in between
            client.delete_run(run.info.run_id)
        run_id, model_id, location = publish_runs(client, experiment_id, record)
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name)
        return client.create_model_version(
            self.name, location, run_id, tags=record.version_tags(), model_id=model_id
        )

    def _experiment(self, client: Any) -> str:
        found = client.get_experiment_by_name(self.profile)
        if found is not None:
            return str(found.experiment_id)
        artifacts = (self.folder / "artifacts" / self.profile).as_uri() if self._is_local else None
        return str(client.create_experiment(self.profile, artifact_location=artifacts))

    def _download(self, version: Any) -> Path:
        uri = f"{version.source}/artifacts/{WEIGHTS_FILE}"
        return self._fetched(uri, str(version.version), f"{self.name} version {version.version}")

    def _fetched(self, uri: str, folder: str, whose: str) -> Path:
        """A file of MLflow's on this machine: local ones where they are, others in ``folder``."""
        mlflow = _mlflow()
        target = None
        if not self._is_local:
            own = self.downloads / self.model / folder
            own.mkdir(parents=True, exist_ok=True)
            target = str(own)
        try:
            return Path(
                mlflow.artifacts.download_artifacts(
                    uri, dst_path=target, tracking_uri=self.tracking_uri
                )
            )
        except mlflow.exceptions.MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            raise ModelFileMismatch(
                f"{uri} of {whose} is gone: {error}",
                hint="restore mlruns/artifacts from a backup, or train that window again",
            ) from error

    def _row(self, item: Any, aliases: dict[str, str]) -> dict[str, Any]:
        names = sorted(name for name, held in aliases.items() if str(held) == str(item.version))
        row: dict[str, Any] = {
            "model": self.model,
            "version": str(item.version),
            "created_at": datetime.fromtimestamp(item.creation_timestamp / 1_000, UTC),
            "mlflow_run_id": item.run_id,
            "model_path": item.source,
            "aliases": names,
            "is_active": "champion" in names,
        }
        for tag in _VERSION_TAGS:
            value = item.tags.get(tag)
            row[tag] = _typed(tag, value) if value is not None else None
        return row


def _typed(tag: str, value: str) -> Any:
    if tag in _DATES:
        return date.fromisoformat(value)
    return int(value) if tag in _NUMBERS else value


def _version_schema() -> dict[str, Any]:
    import polars as pl

    schema: dict[str, Any] = {
        "model": pl.String,
        "version": pl.String,
        "created_at": pl.Datetime("us", "UTC"),
        "mlflow_run_id": pl.String,
        "model_path": pl.String,
        "aliases": pl.List(pl.String),
        "is_active": pl.Boolean,
    }
    for tag in _VERSION_TAGS:
        schema[tag] = pl.Date if tag in _DATES else pl.Int64 if tag in _NUMBERS else pl.String
    return schema
