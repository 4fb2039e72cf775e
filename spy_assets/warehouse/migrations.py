"""The profile's stamp and the ordered migrations that bring a lake to this program's schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from spy_assets.errors import ProfileMismatch, SchemaVersionError
from spy_assets.warehouse.connection import qualified
from spy_assets.warehouse.tables import SCHEMAS, TABLES
from spy_assets.warehouse.views import create_views
from spy_assets.warehouse.writes import create_table


@dataclass(frozen=True)
class Migration:
    """One step of the schema: its number, its name and what it does to the attached lake."""

    version: int
    name: str
    apply: Callable[[duckdb.DuckDBPyConnection], None]


def _initial(cursor: duckdb.DuckDBPyConnection) -> None:
    for schema in SCHEMAS:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {qualified(schema)}")
    for spec in TABLES.values():
        create_table(cursor, spec)
    create_views(cursor)


def _chains(cursor: duckdb.DuckDBPyConnection) -> None:
    for name in ("options.chain_quotes", "features.chain"):
        create_table(cursor, TABLES[name])


def _walk_forward(cursor: duckdb.DuckDBPyConnection) -> None:
    for name, spec in TABLES.items():
        if name.startswith("evaluation.walk_forward"):
            create_table(cursor, spec)


def _agents(cursor: duckdb.DuckDBPyConnection) -> None:
    for name in (
        "ledger.preferences",
        "models.ensemble_weights",
        "models.reward_models",
        "models.regime_routing",
        "models.hyperparameters",
    ):
        create_table(cursor, TABLES[name])


def _chain_backtests(cursor: duckdb.DuckDBPyConnection) -> None:
    create_table(cursor, TABLES["evaluation.chain_backtests"])
    cursor.execute("ALTER TABLE lake.ledger.outcomes ADD COLUMN IF NOT EXISTS quote_kind VARCHAR")
    create_views(cursor)


def _more_evaluations(cursor: duckdb.DuckDBPyConnection) -> None:
    for name in (
        "market.minute_bars_5",
        "models.multi_asset",
        "evaluation.intraday_walk_forward",
        "evaluation.intraday_walk_forward_equity",
        "evaluation.intraday_walk_forward_trades",
        "evaluation.combinatorial_paths",
        "evaluation.combinatorial_equity",
    ):
        create_table(cursor, TABLES[name])


#: In order, never edited once released: a change is a new migration at the end.
MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "initial tables and views", _initial),
    Migration(2, "option chains", _chains),
    Migration(3, "walk-forward results", _walk_forward),
    Migration(4, "preferences, ensembles, rewards and searches", _agents),
    Migration(5, "backtests over chains, and the kind of quotes of outcomes", _chain_backtests),
    Migration(6, "minutes walked, combinatorial paths, several symbols", _more_evaluations),
)


@dataclass(frozen=True)
class Stamp:
    """What a profile was made for: its source, its schema version, and when it was made (UTC)."""

    source: str
    schema_version: int
    created: datetime


def read_stamp(cursor: duckdb.DuckDBPyConnection) -> Stamp | None:
    """The stamp of the attached lake, or None if it has none yet."""
    try:
        row = cursor.execute(
            "SELECT p.source, p.created, (SELECT max(version) FROM lake.meta.migrations)"
            " FROM lake.meta.profile AS p"
        ).fetchone()
    except duckdb.CatalogException:  # no such table: an empty lake
        return None
    return Stamp(row[0], row[2], row[1]) if row else None


def check_stamp(
    stamp: Stamp, source: str, migrations: Sequence[Migration] = MIGRATIONS
) -> list[Migration]:
    """The migrations that the lake still lacks.

    Raises
    ------
    ProfileMismatch
        If the lake was made with another source.
    SchemaVersionError
        If the lake is newer than this program, or older than its first migration.
    """
    if stamp.source != source:
        raise ProfileMismatch(
            f"this profile was made with source {stamp.source!r}, not {source!r}",
            hint=f"set SPY_SOURCE={stamp.source}, or SPY_PROFILE to another name for {source}",
        )
    newest, oldest = migrations[-1].version, migrations[0].version
    if stamp.schema_version > newest:
        raise SchemaVersionError(
            f"the warehouse has schema {stamp.schema_version}, this program knows up to {newest}",
            hint="update the program, or restore a backup that it made",
        )
    if stamp.schema_version < oldest - 1:
        raise SchemaVersionError(
            f"the warehouse has schema {stamp.schema_version}, migrations begin at {oldest}",
            hint="update by way of an older version of the program, or rebuild the profile",
        )
    return [step for step in migrations if step.version > stamp.schema_version]


def migrate(
    cursor: duckdb.DuckDBPyConnection,
    source: str,
    now: datetime,
    migrations: Sequence[Migration] = MIGRATIONS,
) -> list[Migration]:
    """Stamp a new lake and apply what it lacks, in one transaction under the write lock."""
    cursor.execute("BEGIN")
    try:
        stamp = read_stamp(cursor)
        if stamp is None:
            _stamp(cursor, source, now)
        steps = list(migrations) if stamp is None else check_stamp(stamp, source, migrations)
        for step in steps:
            step.apply(cursor)
            cursor.execute(
                "INSERT INTO lake.meta.migrations VALUES (?, ?, ?)", [step.version, step.name, now]
            )
        cursor.execute("COMMIT")
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    return steps


def _stamp(cursor: duckdb.DuckDBPyConnection, source: str, now: datetime) -> None:
    cursor.execute("CREATE SCHEMA IF NOT EXISTS lake.meta")
    cursor.execute("CREATE TABLE lake.meta.profile (source VARCHAR, created TIMESTAMPTZ)")
    cursor.execute(
        "CREATE TABLE lake.meta.migrations (version INTEGER, name VARCHAR, applied_at TIMESTAMPTZ)"
    )
    cursor.execute("INSERT INTO lake.meta.profile VALUES (?, ?)", [source, now])
