"""What the graph says of feature tables: versions of formulas, lineage of columns, how runs fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from spy_assets.definitions import defs
from spy_assets.defs.features import MANIFEST, Translator
from spy_assets.settings import PROJECT_ROOT

GRAPH = defs.resolve_asset_graph()
MARTS = ("market_daily", "daily_15", "regime")
NODES: dict[str, dict[str, Any]] = {
    node["name"]: node
    for node in json.loads(MANIFEST.read_text())["nodes"].values()
    if node["resource_type"] == "model"
}
DBT = sorted(name for name in NODES if not name.startswith("int_"))


def asset(name: str) -> Any:
    schema = "features_stg" if name.startswith("stg_") else "features"
    return GRAPH.get(dg.AssetKey([schema, name]))


def version(name: str, old: str = "", new: str = "") -> str | None:
    """The code version of a model in whose compiled SQL something was replaced."""
    compiled = NODES[name]["compiled_code"]
    assert old in compiled
    return Translator().get_code_version(
        NODES[name] | {"compiled_code": compiled.replace(old, new)}
    )


@pytest.mark.parametrize(
    ("mart", "formula"),
    [
        ("daily_15", "close_to_sma_252 ^ 5"),  # int_daily_15
        ("daily_15", "close_adjusted / lag(close_adjusted, 5)"),  # int_returns
        ("regime", "vix > 25.0"),  # int_regime
        ("market_daily", "ln(high / low) ^ 2"),  # int_realized_volatility
    ],
)
def test_a_formula_in_an_inlined_model_is_part_of_the_version(mart: str, formula: str) -> None:
    assert formula not in NODES[mart]["raw_code"]
    assert version(mart, formula, "1.0") != version(mart)


@pytest.mark.parametrize("name", DBT)
def test_versions_depend_on_neither_time_nor_place(name: str) -> None:
    assert str(PROJECT_ROOT) not in NODES[name]["compiled_code"]
    if name in MARTS:
        stamp = NODES[name]["compiled_code"].split("timestamptz '")[-1].split("'")[0]
        assert version(name, stamp, "2031-01-01T00:00:00+00:00") == version(name)
    assert asset(name).code_version == version(name)


@pytest.mark.parametrize("name", [*DBT, "indicators", "adjusted_bars"])
def test_every_column_says_what_it_is_made_of(name: str) -> None:
    node = asset(name)
    lineage = node.metadata["dagster/column_lineage"].deps_by_column
    columns = {column.name for column in node.metadata["dagster/column_schema"].columns}
    assert columns - set(lineage) <= {"available_at", "ingested_at", "source"} | (
        {"symbol", "session"} if name in ("indicators", "adjusted_bars") else set()
    )
    for deps in lineage.values():
        for dep in deps:
            above = GRAPH.get(dep.asset_key).metadata["dagster/column_schema"].columns
            assert dep.asset_key in node.parent_keys
            assert dep.column_name in {column.name for column in above}


@pytest.mark.parametrize(
    ("column", "inputs"),
    [
        ("daily_15.price", {"stg_adjusted_bars.close"}),
        ("daily_15.rsi14", {"stg_indicators.rsi_cutler_14"}),
        ("daily_15.pcr", {"stg_adjusted_bars.volume", "stg_adjusted_bars.close"}),
        ("daily_15.gamma_proxy", {"stg_daily_bars.close"}),
        ("market_daily.macd", {"stg_indicators.macd"}),
        ("market_daily.close", {"stg_daily_bars.close"}),
        ("regime.trend", {"stg_adjusted_bars.close"}),
        ("stg_rates.rate", {"rates.rate"}),
        ("indicators.mfi_14", {f"adjusted_bars.{n}" for n in ("high", "low", "close", "volume")}),
        ("indicators.ema_9", {"adjusted_bars.close", "adjusted_bars.factor"}),
    ],
)
def test_lineage_follows_the_formulas(column: str, inputs: set[str]) -> None:
    table, _, name = column.partition(".")
    deps = asset(table).metadata["dagster/column_lineage"].deps_by_column[name]
    assert {f"{dep.asset_key.path[-1]}.{dep.column_name}" for dep in deps} == inputs


@pytest.mark.parametrize("name", ["adjusted_bars", "indicators"])
def test_features_are_tried_again(name: str) -> None:
    assert asset(name).assets_def.op.retry_policy.max_retries >= 1


def test_one_dbt_runs_at_a_time() -> None:
    assert {asset(name).assets_def.op.pool for name in DBT} == {"dbt"}


def test_what_must_not_be_read_blocks() -> None:
    def blocks(table: str, check: str) -> bool:
        return GRAPH.get_check_spec(dg.AssetCheckKey(dg.AssetKey(table.split("/")), check)).blocking

    assert all(blocks(f"features/{name}", "no_lookahead") for name in MARTS)
    assert all(
        blocks(f"market/{name}", "not_empty")
        for name in ("daily_bars", "volatility", "rates", "put_call")
    )


LIVE = """
import dagster as dg
from spy_assets.definitions import defs
graph = defs.resolve_asset_graph()
made = [graph.get(k) for k in graph.materializable_asset_keys if k.path[0] in
        ("market", "features", "features_stg")
        and k.path[-1] not in ("minute_bars", "minute_bars_5", "chain")]
assert len(made) == 15, len(made)
assert {n.freshness_policy for n in made} == {made[0].freshness_policy}
print(made[0].freshness_policy.fail_window.to_timedelta())
print(sum(key.name == "fresh" for key in graph.asset_check_keys))
"""


def test_on_a_live_source_history_must_be_fresh(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SPY_")}
    done = subprocess.run(
        [sys.executable, "-c", LIVE], check=False, capture_output=True, text=True, cwd=tmp_path,
        env=env | {"SPY_SOURCE": "yfinance", "SPY_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4", "days,", "4:00:00", "4"]
