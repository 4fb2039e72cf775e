"""The combinatorial cross-validation as assets: its cost, splits that are missing, rows, the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

import pytest

from spy_assets import backfill
from spy_assets.defs import combining, walk_windows, walking
from spy_assets.defs.partitions import SPLITS
from spy_assets.errors import ConfigError
from spy_assets.evaluation.combinatorial_summary import assemble
from spy_assets.models.policy.config import preset
from spy_assets.registry import Registry
from spy_assets.settings import Settings, load_settings
from spy_assets.simulator.exits import DEFAULT_RULES
from spy_assets.warehouse import Warehouse
from spy_assets_tests.graph.walkers import NOW, make_profile
from spy_assets_tests.graph.worlds import read, runner

TRAINING = {"timesteps": 512, "seeds": 1}
SPAN = {"first": "split_000", "last": "split_002"}
FEW: dict[str, Any] = {"walk": {"groups": 3}}


def request(**how: Any) -> backfill.Request:
    return backfill.Request("paths", training=TRAINING, **(SPAN | how))


@dataclass(frozen=True)
class Crossed:
    """A profile before its first split, after one, and after all three."""

    settings: Settings
    before: Any
    between: Any
    early: dict[str, Any]
    report: dict[str, Any]


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        home = tmp_path_factory.mktemp("paths")
        make_profile(home)
        settings = load_settings(home=home, **FEW)
        with runner(settings) as made:
            before = planned(made)
            made.stage("one", "combinatorial_paths", ["split_001"], config=config(), force=True)
            early, between = page(made), planned(made)
            backfill._make(made, between, backfill.PATHS, TRAINING)
            yield Crossed(settings, before, between, early, page(made))


def config() -> dict[str, Any]:
    return {"ops": {backfill.PATHS.to_python_identifier(): {"config": TRAINING}}}


def planned(made: Any) -> Any:
    return backfill._planned(made, request())[0]


def page(made: Any) -> dict[str, Any]:
    """Metadata of the page that was rendered."""
    made.stage("page", "combinatorial_report", None, force=True)
    key = backfill.AssetKey(["evaluation", "combinatorial_report"])
    event = made.instance.get_latest_materialization_event(key)
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_the_partitions_are_the_splits_of_the_settings() -> None:
    keys = SPLITS.get_partition_keys()
    assert len(keys) == comb(6, 2)
    assert [walk_windows.split_number(key) for key in keys] == list(range(15))


@pytest.mark.slow
def test_the_cost_is_said_before_and_only_what_is_missing_is_made(crossed: Crossed) -> None:
    rollout = preset("sample").rollout_steps
    assert (crossed.before.missing, crossed.before.training_steps) == (3, 3 * rollout)
    assert crossed.between.partitions == ("split_000", "split_002")
    assert crossed.between.minutes > 0


@pytest.mark.slow
def test_paths_are_summed_up_once_all_splits_are_there(crossed: Crossed) -> None:
    assert crossed.early["report"] == "2 of 3 splits are missing, the first is split_000"
    told = crossed.report
    written = Path(told["report"]).with_suffix(".json")
    figures = json.loads(written.read_text())
    assert (told["verdict"], told["trials"]) == (figures["verdict"], 1)
    assert {"cash", "random_same_rate", "always_iron_condor"} <= set(figures["above"])
    assert len(figures["paths"]) == 2  # two of three groups are tested: each group twice
    assert "<svg" in Path(told["report"]).read_text()


@pytest.mark.slow
def test_rows_give_the_pieces_back(crossed: Crossed) -> None:
    digest = crossed.report["configuration"]
    with Warehouse.open(crossed.settings, read_only=True) as lake:
        stored = combining.stored_paths(lake, digest)
        others = combining.rival_configurations(lake, digest, stored.parameters, 3)
    assert (stored.seeds, others) == ((42,), [])
    cut = combining.Cut.of(crossed.settings, NOW)
    policies = assemble([one for one in stored.pieces if one.strategy == "policy"])
    assert {path.sessions for path in policies} == {cut.sessions[1:]}
    rows = read(crossed.settings, combining.RESULTS)
    for piece in stored.pieces:
        row = rows.row(by_predicate=_is(piece), named=True)
        assert row["net_pnl"] == pytest.approx(piece.daily.net_pnl)
    assert rows.filter(strategy="policy")["timesteps"].unique().to_list() == [
        preset("sample").rollout_steps
    ]


@pytest.mark.slow
def test_tested_groups_are_looks_at_their_sessions_and_trials(crossed: Crossed) -> None:
    last = combining.Cut.of(crossed.settings, NOW).sessions[-1]
    with Warehouse.open(crossed.settings, read_only=True) as lake:
        looks = walking.looks_from(lake, last)
        found = walking.trials(lake, Registry(crossed.settings), crossed.settings.symbol)
    assert looks.select("configuration", "preset").rows() == [
        (crossed.report["configuration"], "combinatorial")
    ]
    assert found == 1


@pytest.mark.slow
def test_a_page_is_of_its_own_cut_and_not_of_the_settings(crossed: Crossed) -> None:
    home, own = crossed.settings.home, crossed.report["configuration"]
    with runner(load_settings(home=home, walk={"groups": 5})) as made:
        key = backfill.AssetKey(["evaluation", "combinatorial_report"])
        run_config = {"ops": {key.to_python_identifier(): {"config": {"configuration": own}}}}
        made.stage("page", "combinatorial_report", None, config=run_config, force=True)
        event = made.instance.get_latest_materialization_event(key)
    assert event.asset_materialization.metadata["verdict"].value == crossed.report["verdict"]


def _is(piece: Any) -> Any:
    import polars as pl

    named = {"split": piece.split, "test_start": piece.sessions[0], "strategy": piece.strategy}
    return pl.all_horizontal(*(pl.col(name) == value for name, value in named.items()))


def test_the_cut_keeps_its_distance_from_the_final_period() -> None:
    settings = load_settings()
    cut = combining.Cut.of(settings, NOW)
    assert cut.sessions[-1] < walk_windows.final_from(settings, NOW)
    assert cut.purge >= DEFAULT_RULES.max_hold + cut.fill_delay
    own = combining.configuration(settings, preset("sample"), NOW)
    other = load_settings(walk={"groups": 5})
    assert combining.configuration(other, preset("sample"), NOW).digest != own.digest
    length = own.values["training"]["episode_length"]
    assert length == cut.agent(preset("sample")).episode_length < 252


def test_a_history_without_a_session_is_refused() -> None:
    with pytest.raises(ConfigError, match="no session from"):
        combining.Cut.of(load_settings(walk={"final_from": "2015-01-01"}), NOW)
