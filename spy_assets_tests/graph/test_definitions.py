"""The code location loads, and every asset says what it is."""

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
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.graph import snapshot

GRAPH = defs.resolve_asset_graph()
ASSETS = sorted(GRAPH.materializable_asset_keys)
#: Assets that write no table of their own.
PAGES = {
    "signals/statistics", "evaluation/report", "evaluation/walk_forward_report",
    "evaluation/intraday_walk_forward_report", "evaluation/combinatorial_report",
}  # fmt: skip
#: The assets with a partition a fold, or a split.
FOLDS = {
    "evaluation/walk_forward", "evaluation/intraday_walk_forward", "evaluation/combinatorial_paths",
}  # fmt: skip
#: Models beside the daily one, and what they learn from.
AGENTS = {
    "models/a2c_daily", "models/dqn_daily", "models/ensemble_weights", "models/outcome_finetune",
    "models/reward_model", "models/preference_finetune", "models/regime_routing",
    "models/hyperparameters", "models/ppo_multi_asset",
}  # fmt: skip
HEAVY = (
    "torch", "mlflow", "stable_baselines3", "gymnasium", "pandas", "matplotlib", "plotly",
    "yfinance", "exchange_calendars", "arch", "scipy", "pandera",
)  # fmt: skip


def outside(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPY_")}
    return kept | {"SPY_ENV_FILE": str(tmp_path / "no.env"), "DAGSTER_HOME": str(tmp_path)}


def test_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs)
    assert len(list(defs.resolve_asset_graph().materializable_asset_keys)) > 20


@pytest.mark.slow
def test_dagster_validates_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").touch()
    command = [str(Path(sys.executable).parent / "dagster"), "definitions", "validate"]
    done = subprocess.run(
        [*command, "-m", "spy_assets.definitions"],
        env=outside(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    words = done.stdout + done.stderr
    assert done.returncode == 0, words
    # Dagster warns of its own command, which `dg check defs` is to replace; nothing else may.
    ours = [line for line in words.splitlines() if "SupersessionWarning" not in line]
    assert not [line for line in ours if "warning" in line.lower()], words
    assert "All code locations passed validation" in words


def test_importing_the_definitions_stays_light(tmp_path: Path) -> None:
    code = f"import sys, spy_assets.definitions; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=outside(tmp_path), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_the_graph_is_the_reviewed_one() -> None:
    renew = "python -m spy_assets_tests.graph.snapshot"
    assert snapshot.text(defs) == snapshot.GOLDEN.read_text(), f"if meant, renew it: {renew}"


def test_the_graph_on_a_live_source_is_the_reviewed_one() -> None:
    renew = "python -m spy_assets_tests.graph.snapshot"
    assert snapshot.live_text() == snapshot.LIVE.read_text(), f"if meant, renew it: {renew}"


def test_everything_on_a_live_source_ages() -> None:
    assets = json.loads(snapshot.LIVE.read_text())["assets"]
    ageless = {name for name, asset in assets.items() if not asset["fails_when_older_than"]}
    # The mirror of the registry follows it, and a promotion waits for a challenger that passes; chains
    # age where a source of them is set; a walk-forward, its paths and what agents learn are made when
    # somebody asks for it.
    assert ageless == AGENTS | {
        "models/model_versions", "models/promotions", "options/option_chain", "features/chain",
        "evaluation/walk_forward", "evaluation/walk_forward_report", "evaluation/chain_backtest",
        "evaluation/final_test", "evaluation/intraday_walk_forward",
        "evaluation/intraday_walk_forward_report", "market/minute_bars_5",
        "evaluation/combinatorial_paths", "evaluation/combinatorial_report",
    }  # fmt: skip


@pytest.mark.parametrize("key", ASSETS, ids=lambda key: key.to_user_string())
def test_every_asset_says_what_it_is(key: dg.AssetKey) -> None:
    node = GRAPH.get(key)
    assert node.description
    assert len(node.description) > 20
    assert node.owners == ["team:research"]
    assert node.group_name in {
        "market", "options", "features", "models", "signals", "evaluation",
    }  # fmt: skip
    assert node.kinds


@pytest.mark.parametrize("key", ASSETS, ids=lambda key: key.to_user_string())
def test_every_table_shows_its_columns(key: dg.AssetKey) -> None:
    node = GRAPH.get(key)
    if key.to_user_string() in PAGES or "dbt" in node.kinds:
        return  # dbt's are attached when they are built, see test_run
    schema = node.metadata["dagster/column_schema"]
    names = [column.name for column in schema.columns]
    assert {"available_at", "ingested_at", "source"} <= set(names)
    undocumented = [column.name for column in schema.columns if not column.description]
    assert not undocumented or key.path[-1] == "model_versions"


def test_tables_named_by_assets_exist() -> None:
    named = {
        GRAPH.get(key).metadata["dagster/table_name"]
        for key in ASSETS
        if "dagster/table_name" in GRAPH.get(key).metadata and "dbt" not in GRAPH.get(key).kinds
    }
    assert named - set(TABLES) == {"features.indicators", "models.model_versions"}


def test_adjusted_bars_show_where_their_columns_come_from() -> None:
    node = GRAPH.get(dg.AssetKey(["features", "adjusted_bars"]))
    lineage = node.metadata["dagster/column_lineage"].deps_by_column
    close = dg.TableColumnDep(dg.AssetKey(["market", "daily_bars"]), "close")
    assert lineage["close"] == [close]
    assert {dep.column_name for dep in lineage["factor"]} >= {"dividend", "split"}


@pytest.mark.parametrize(
    ("name", "column", "inputs"),
    [
        ("options/option_chain", "rate", {"market/rates.rate"}),
        ("features/chain", "spot", {"options/option_chain.spot_used"}),
        (
            "features/chain",
            "expected_move",
            {
                f"options/option_chain.{one}"
                for one in ("mid", "right", "strike", "forward", "expiry", "spot_used")
            },
        ),
    ],
)
def test_chains_show_where_their_columns_come_from(
    name: str, column: str, inputs: set[str]
) -> None:
    assert {
        f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in lineage(name)[column]
    } == inputs


def test_every_feature_of_a_chain_has_its_lineage() -> None:
    assert list(lineage("features/chain")) == list(TABLES["features.chain"].payload)


@pytest.mark.parametrize("name", ["options/option_chain", "features/chain"])
def test_lineage_of_chains_names_columns_and_parents_that_exist(name: str) -> None:
    node = GRAPH.get(dg.AssetKey(name.split("/")))
    own = {column.name for column in node.metadata["dagster/column_schema"].columns}
    found = lineage(name)
    assert set(found) <= own
    for dep in (dep for deps in found.values() for dep in deps):
        assert dep.asset_key in node.parent_keys
        table = GRAPH.get(dep.asset_key).metadata["dagster/column_schema"]
        assert dep.column_name in {column.name for column in table.columns}


def lineage(name: str) -> Any:
    node = GRAPH.get(dg.AssetKey(name.split("/")))
    return node.metadata["dagster/column_lineage"].deps_by_column


def ancestors(name: str) -> set[str]:
    return {k.to_user_string() for k in GRAPH.get_ancestor_asset_keys(dg.AssetKey(name.split("/")))}


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ("market/daily_bars", "signals/daily_signal"),
        ("market/volatility", "signals/daily_signal"),
        ("market/rates", "signals/daily_signal"),
        ("models/ppo_daily", "signals/daily_signal"),
        ("signals/daily_signal", "ledger/outcomes"),
        ("market/daily_bars", "ledger/outcomes"),
        ("ledger/outcomes", "evaluation/report"),
        ("ledger/outcomes", "signals/statistics"),
    ],
)
def test_lineage_runs_from_source_to_outcome(above: str, below: str) -> None:
    assert above in ancestors(below)
    assert below not in ancestors(above)


def test_every_asset_belongs_to_exactly_one_job() -> None:
    jobs = snapshot.describe(defs)["jobs"]
    held = sorted(key for keys in jobs.values() for key in keys)
    assert held == [key.to_user_string() for key in ASSETS]


def test_small_rows_are_by_year_decisions_by_session_and_chains_by_symbol_too() -> None:
    described = snapshot.describe(defs)["assets"]
    kinds = {name: str(asset["partitions"]).split(" ")[0] for name, asset in described.items()}
    assert {k for k, kind in kinds.items() if kind == "%Y-%m-%d"} == AGENTS | {
        "market/minute_bars", "market/minute_bars_5", "models/ppo_daily",
        "models/evaluation", "models/promotions",
        "signals/daily_signal", "ledger/outcomes",
    }  # fmt: skip
    chains = {k for k, kind in kinds.items() if kind == "session"}
    assert chains == {"options/option_chain", "features/chain"}
    assert {described[k]["partitions"] for k in chains} == {
        "session %Y-%m-%d Etc/GMT-2 x symbol SPY"
    }
    assert {k for k, kind in kinds.items() if kind == "folds"} == FOLDS
    assert {k for k, kind in kinds.items() if kind == "None"} == PAGES | {
        "models/model_versions", "evaluation/chain_backtest", "evaluation/final_test",
    }  # fmt: skip
