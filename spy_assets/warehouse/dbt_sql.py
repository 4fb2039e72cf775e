"""dbt from Python: its environment, its invocation, and its SQL without a lake.

    python -m spy_assets.warehouse.dbt_sql build --select daily_15      # by hand
    python -m spy_assets.warehouse.dbt_sql prepare                      # by the build

:func:`prepare_manifest` compiles the project once into ``dbt_features/target/manifest.json``.
Dagster reads that file, and :func:`load_models` takes the compiled SQL out of it, so that
:func:`compute_features` runs the very statements that build the warehouse in memory, for tests and
the look-ahead audit.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spy_assets.errors import ConfigError, WarehouseError
from spy_assets.settings import PROJECT_ROOT, Settings
from spy_assets.warehouse.connection import (
    attach_options,
    catalogue_uri,
    identifier,
    is_initialised,
    is_postgres,
    metadata_schema,
)
from spy_assets.warehouse.tables import SYSTEM_COLUMNS, TABLES, TableSpec

if TYPE_CHECKING:
    import duckdb
    import polars as pl

PROJECT_DIR: Final = PROJECT_ROOT / "dbt_features"
MANIFEST: Final = PROJECT_DIR / "target" / "manifest.json"
#: Raw tables that the feature models read.
INPUTS: Final = ("market.daily_bars", "market.volatility", "market.rates", "market.put_call")
#: Tables that a model or a reader may use, i.e. what the look-ahead audit covers.
FEATURE_TABLES: Final = (
    "features.adjusted_bars",
    "features.indicators",
    "features.market_daily",
    "features.daily_15",
    "features.regime",
)


def indicators_spec() -> TableSpec:
    """Declare the warehouse table of :func:`spy_assets.features.indicators.compute_indicators`."""
    from spy_assets.features.columns import INDICATOR_COLUMNS

    bars = TABLES["features.adjusted_bars"]
    head = ("symbol", "session", "event_time")
    return TableSpec(
        name="features.indicators",
        key=("symbol", "session"),
        columns={name: bars.columns[name] for name in head}
        | {name: kind for name, (kind, _) in INDICATOR_COLUMNS.items()},
        description="Technical indicators of the forward-adjusted bars, in each session's dollars.",
        column_docs={name: bars.column_docs[name] for name in (*head, *SYSTEM_COLUMNS)}
        | {name: doc for name, (_, doc) in INDICATOR_COLUMNS.items()},
    )


def dbt_environment(settings: Settings) -> dict[str, str]:
    """Return the variables by which ``dbt_features/profiles.yml`` finds the lake.

    The Postgres address is in ``DBT_ENV_SECRET_…``, which dbt keeps out of its logs.
    """
    environment = {
        "DBT_PROFILES_DIR": str(PROJECT_DIR),
        "SPY_DBT_TARGET": "postgres" if is_postgres(settings) else "lake",
        "SPY_DBT_CATALOGUE": catalogue_uri(settings),
        "SPY_DBT_DATA": str(attach_options(settings)["DATA_PATH"]),
        "SPY_DBT_HOME": str(settings.home),
        "SPY_DBT_PROFILE": settings.profile_name,
        "SPY_DBT_LAKE_URL": settings.lake_url or "",
        "SPY_DBT_LOCK_TIMEOUT_S": f"{settings.lock_timeout_s:g}",
        "DBT_ENV_SECRET_SPY_CATALOGUE": "",
    }
    if is_postgres(settings):
        environment["DBT_ENV_SECRET_SPY_CATALOGUE"] = settings.catalogue_dsn or ""
        environment["SPY_DBT_METADATA_SCHEMA"] = metadata_schema(settings)
        del environment["SPY_DBT_CATALOGUE"]
    return environment


@contextlib.contextmanager
def dbt_environment_set(settings: Settings) -> Iterator[None]:
    """Put :func:`dbt_environment` into ``os.environ``, which Dagster's dbt passes on."""
    wanted = dbt_environment(settings)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def window_vars(start: date | None, end: date | None, ingested_at: str | None = None) -> str:
    """Return the argument of ``--vars``: first and last session to publish, moment to stamp.

    >>> from datetime import date
    >>> window_vars(date(2018, 1, 1), date(2018, 12, 31))
    '{"start": "2018-01-01", "end": "2018-12-31"}'
    """
    values = {
        "start": start and start.isoformat(),
        "end": end and end.isoformat(),
        "ingested_at": ingested_at,
    }
    return json.dumps({name: value for name, value in values.items() if value is not None})


def _dbt_command(arguments: Sequence[str], target: Path) -> list[str]:
    return [
        sys.executable, "-c", "from dbt.cli.main import cli; cli()", *arguments,
        "--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR),
        "--target-path", str(target), "--log-path", str(target),
    ]  # fmt: skip


def run_dbt(settings: Settings, arguments: Sequence[str]) -> str:
    """Run dbt on the lake in a target folder of its own.

    The plugin checksums the files that dbt wrote; here only those of a dbt that was killed.

    Returns
    -------
    str
        What dbt printed.

    Raises
    ------
    WarehouseError
        If there is no warehouse, or dbt fails; with the end of its output.
    """
    from spy_assets.warehouse.checksums import record_checksums

    if not is_initialised(settings):
        raise WarehouseError(
            f"there is no warehouse at {settings.root}", hint="make one with `make run`"
        )

    with tempfile.TemporaryDirectory(prefix="dbt-") as folder:
        try:
            return _run(_dbt_command(arguments, Path(folder)), dbt_environment(settings))
        finally:
            record_checksums(settings)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(  # noqa: S603 - our own arguments, no shell
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise WarehouseError(
            f"dbt ended with status {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}",
            hint="the models are in dbt_features/models",
        )
    return done.stdout


def prepare_manifest(target: Path = MANIFEST.parent) -> Path:
    """Compile the dbt project without a lake and write ``target/manifest.json``.

    The manifest holds each model's SQL as it builds the table from nothing (no earlier versions).
    """
    environment = {"SPY_DBT_TARGET": "memory"}
    target.mkdir(parents=True, exist_ok=True)
    _run(_dbt_command(["compile", "--full-refresh", "--quiet"], target), environment)
    return target / "manifest.json"


@dataclass(frozen=True)
class CompiledModel:
    """A dbt model as plain SQL.

    Attributes
    ----------
    table
        ``schema.name``.
    sql
        A SELECT on tables of the database ``lake``.
    depends_on
        Tables of other models that must be there before.
    """

    table: str
    sql: str
    depends_on: tuple[str, ...]


def _upstream(nodes: Mapping[str, Any], unique_id: str) -> set[str]:
    """Find the unique ids of the physical models that a model reads, through the inlined ones."""
    found: set[str] = set()
    for parent in nodes[unique_id]["depends_on"]["nodes"]:
        if parent in nodes:
            ephemeral = nodes[parent]["config"]["materialized"] == "ephemeral"
            found |= _upstream(nodes, parent) if ephemeral else {parent}
    return found


def load_models(manifest: Path = MANIFEST) -> list[CompiledModel]:
    """Return the project's physical models in an order in which each comes after what it reads.

    Raises
    ------
    ConfigError
        If the manifest is missing or was written without compiling.
    """
    if not manifest.is_file():
        raise ConfigError(
            f"no dbt manifest at {manifest}",
            hint="python -m spy_assets.warehouse.dbt_sql prepare",
        )
    content = json.loads(manifest.read_text())
    nodes = {key: n for key, n in content["nodes"].items() if n["resource_type"] == "model"}
    physical = {k for k, n in nodes.items() if n["config"]["materialized"] != "ephemeral"}
    uncompiled = sorted(key for key in physical if not nodes[key].get("compiled_code"))
    if uncompiled:
        raise ConfigError(
            f"the manifest at {manifest} has no compiled SQL of {', '.join(uncompiled)}",
            hint="python -m spy_assets.warehouse.dbt_sql prepare",
        )
    names = {key: f"{nodes[key]['schema']}.{nodes[key]['name']}" for key in physical}
    waiting = {key: _upstream(nodes, key) for key in sorted(physical)}
    ordered: list[CompiledModel] = []
    while waiting:
        ready = [key for key, parents in waiting.items() if not parents & waiting.keys()]
        for key in ready:
            parents = tuple(sorted(names[parent] for parent in waiting.pop(key)))
            ordered.append(CompiledModel(names[key], nodes[key]["compiled_code"], parents))
    return ordered


def _create_source(connection: duckdb.DuckDBPyConnection, spec: TableSpec, frame: Any) -> None:
    """Make a table of the warehouse in memory; ``ingested_at`` defaults to ``available_at``."""
    import polars as pl

    if "ingested_at" not in frame.columns:
        frame = frame.with_columns(pl.col("available_at").alias("ingested_at"))
    columns = ", ".join(
        f"CAST({identifier(name)} AS {kind}) AS {identifier(name)}"
        for name, kind in spec.all_columns.items()
    )
    connection.register("incoming", frame)
    connection.execute(f"CREATE TABLE lake.{spec.name} AS SELECT {columns} FROM incoming")
    connection.unregister("incoming")


def run_models(
    tables: Mapping[str, pl.DataFrame], models: Sequence[CompiledModel]
) -> dict[str, pl.DataFrame]:
    """Run compiled models on source tables in an in-memory database.

    Parameters
    ----------
    tables
        All versions of each source table, by its name in the warehouse, with the system columns.
    models
        In order; see :func:`load_models`.

    Returns
    -------
    dict
        Result of each model, by its table.
    """
    import duckdb

    specs = {**TABLES, "features.indicators": indicators_spec()}
    results: dict[str, pl.DataFrame] = {}
    with duckdb.connect(":memory:") as connection:
        # One thread: on a few thousand rows more of them cost a third more and gain nothing.
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1; ATTACH ':memory:' AS lake")
        for schema in ("market", "features", "features_stg"):
            connection.execute(f"CREATE SCHEMA lake.{schema}")
        for name, frame in tables.items():
            _create_source(connection, specs[name], frame)
        for model in models:
            connection.execute(f"CREATE TABLE lake.{model.table} AS {model.sql}")
            results[model.table] = connection.sql(f"SELECT * FROM lake.{model.table}").pl()
    return results


def compute_features(
    raw: Mapping[str, pl.DataFrame],
    models: Sequence[CompiledModel],
    indicators: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
) -> dict[str, pl.DataFrame]:
    """Make all feature tables from the raw ones, with the warehouse's own Python and SQL.

    Parameters
    ----------
    raw
        The tables of :data:`INPUTS`, one version per key, with ``available_at`` and ``source``.
    models
        See :func:`load_models`.
    indicators
        Another indicator function, for tests that plant a leak.

    Returns
    -------
    dict
        The tables of :data:`FEATURE_TABLES`.
    """
    from spy_assets.features.indicators import compute_indicators
    from spy_assets.features.pipeline import python_tables

    python = python_tables(raw["market.daily_bars"], indicators or compute_indicators)
    marts = run_models({name: raw[name] for name in INPUTS} | python, models)
    return {name: frame for name, frame in {**python, **marts}.items() if name in FEATURE_TABLES}


def main(arguments: Sequence[str]) -> int:
    """Run dbt by hand with the settings' lake, or ``prepare`` the manifest."""
    from spy_assets.settings import load_settings

    if list(arguments) == ["prepare"]:
        sys.stdout.write(f"{prepare_manifest()}\n")
        return 0
    sys.stdout.write(run_dbt(load_settings(), arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
