"""A compiled project, features computed in memory and one small lake, once a session."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from spy_assets.features.pipeline import python_tables
from spy_assets.settings import Settings
from spy_assets.warehouse import TABLES, Warehouse
from spy_assets.warehouse.dbt_sql import (
    CompiledModel,
    compute_features,
    indicators_spec,
    load_models,
    prepare_manifest,
    run_dbt,
    window_vars,
)
from spy_assets_tests.features import tables
from spy_assets_tests.warehouse.profiles import postgres  # noqa: F401 - a fixture

SESSIONS = 330
FIRST_INGEST = datetime(2019, 1, 2, tzinfo=UTC)
Tables = dict[str, pl.DataFrame]


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's manifest, compiled now."""
    return prepare_manifest(tmp_path_factory.mktemp("dbt-target"))


@pytest.fixture(scope="session")
def models(manifest: Path) -> list[CompiledModel]:
    """The compiled models."""
    return load_models(manifest)


@pytest.fixture(scope="session")
def raw() -> Tables:
    """Raw tables of 330 sessions."""
    return tables.raw_tables(SESSIONS)


@pytest.fixture(scope="session")
def features(raw: Tables, models: list[CompiledModel]) -> Tables:
    """All feature tables of `raw`, computed in memory."""
    return compute_features(raw, models)


def ingest(settings: Settings, raw: Mapping[str, pl.DataFrame], at: datetime) -> None:
    """Write raw tables and what Python makes of the stored bars, as the assets do."""
    with Warehouse.open(settings) as lake:
        for name, frame in raw.items():
            lake.write(TABLES[name], frame, ingested_at=at)
        bars = lake.read("market.daily_bars")
        made = python_tables(bars)
        lake.write(TABLES["features.adjusted_bars"], made["features.adjusted_bars"], ingested_at=at)
        lake.write(indicators_spec(), made["features.indicators"], ingested_at=at)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, raw: Tables) -> tuple[Settings, str]:
    """A lake on which dbt was run once, and what dbt printed."""
    settings = Settings(_env_file=None, home=tmp_path_factory.mktemp("home"))
    ingest(settings, raw, FIRST_INGEST)
    variables = window_vars(None, None, FIRST_INGEST.isoformat())
    return settings, run_dbt(settings, ["build", "--vars", variables])
