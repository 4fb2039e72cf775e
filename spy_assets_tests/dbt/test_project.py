"""The dbt project agrees with the Python declarations, the environment with the profile."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from spy_assets.errors import ConfigError
from spy_assets.features.columns import INDICATOR_COLUMNS
from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse.dbt_sql import (
    INPUTS,
    CompiledModel,
    dbt_environment,
    dbt_environment_set,
    indicators_spec,
    load_models,
    window_vars,
)
from spy_assets.warehouse.tables import TABLES

MARTS = ("market_daily", "daily_15", "regime")


@pytest.fixture(scope="module")
def content(manifest: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(manifest.read_text())
    return loaded


def types(node: dict[str, Any]) -> dict[str, str]:
    return {name: column["data_type"] for name, column in node["columns"].items()}


def test_models_come_after_what_they_read(models: list[CompiledModel]) -> None:
    seen: set[str] = set()
    for model in models:
        assert set(model.depends_on) <= seen
        seen.add(model.table)
    assert {f"features.{mart}" for mart in MARTS} <= seen


@pytest.mark.parametrize("table", [*INPUTS, "features.adjusted_bars"])
def test_source_columns_are_the_warehouse_s(table: str, content: dict[str, Any]) -> None:
    source = content["sources"][f"source.dbt_features.{table}"]
    assert types(source) == TABLES[table].all_columns


def test_indicator_columns_are_the_python_ones(content: dict[str, Any]) -> None:
    source = content["sources"]["source.dbt_features.features.indicators"]
    assert types(source) == indicators_spec().all_columns
    wide = types(content["nodes"]["model.dbt_features.market_daily"])
    assert INDICATOR_COLUMNS.keys() <= wide.keys()


def test_daily_15_has_the_contract_s_dimensions_in_order(content: dict[str, Any]) -> None:
    columns = list(types(content["nodes"]["model.dbt_features.daily_15"]))
    assert tuple(columns[3:13]) == DAILY_15_PROXY_V1.market_names


@pytest.mark.parametrize("mart", MARTS)
def test_marts_publish_what_the_yml_declares(
    mart: str, content: dict[str, Any], features: dict[str, Any]
) -> None:
    declared = list(types(content["nodes"][f"model.dbt_features.{mart}"]))
    assert features[f"features.{mart}"].columns == declared
    assert declared[-3:] == ["available_at", "ingested_at", "source"]


def test_every_column_is_described(content: dict[str, Any]) -> None:
    nodes = [n for n in content["nodes"].values() if n["resource_type"] == "model"]
    columns = [column for node in nodes for column in node["columns"].values()]
    assert len(columns) > 150
    assert [column["name"] for column in columns if not column["description"]] == []


def test_sources_link_to_python_assets(content: dict[str, Any]) -> None:
    keys = [s["config"]["meta"]["dagster"]["asset_key"] for s in content["sources"].values()]
    assert ["market", "daily_bars"] in keys
    assert ["features", "indicators"] in keys


def test_environment_of_the_sqlite_lake(settings: Settings) -> None:
    environment = dbt_environment(settings)
    assert environment["SPY_DBT_CATALOGUE"] == f"ducklake:sqlite:{settings.catalogue_path}"
    assert environment["SPY_DBT_DATA"] == settings.lake_dir
    assert environment["SPY_DBT_TARGET"] == "lake"


def test_environment_keeps_the_postgres_password_out_of_logs(tmp_path: Path) -> None:
    dsn = "postgresql://spy:secret@localhost/lake"
    environment = dbt_environment(load_settings(home=tmp_path, catalogue=dsn))
    assert environment["SPY_DBT_TARGET"] == "postgres"
    holders = [name for name, value in environment.items() if "secret" in value]
    assert holders == ["DBT_ENV_SECRET_SPY_CATALOGUE"]


def test_environment_is_put_back(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("SPY_DBT_DATA", "before")
    with dbt_environment_set(settings):
        assert os.environ["SPY_DBT_DATA"] == settings.lake_dir
    assert os.environ["SPY_DBT_DATA"] == "before"
    assert "SPY_DBT_HOME" not in os.environ


def test_window_without_bounds_is_empty() -> None:
    assert window_vars(None, None) == "{}"
    assert json.loads(window_vars(None, date(2018, 1, 2), "now")) == {
        "end": "2018-01-02",
        "ingested_at": "now",
    }


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no dbt manifest"):
        load_models(tmp_path / "manifest.json")


def test_a_manifest_without_sql_is_refused(manifest: Path, tmp_path: Path) -> None:
    content = json.loads(manifest.read_text())
    del content["nodes"]["model.dbt_features.regime"]["compiled_code"]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"no compiled SQL of model\.dbt_features\.regime"):
        load_models(tmp_path / "manifest.json")
