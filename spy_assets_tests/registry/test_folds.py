"""Folds in MLflow: nested runs, made again in place, and configurations counted as trials."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spy_assets.registry import FoldRecord, Registry, SeedRun
from spy_assets.settings import Settings
from spy_assets_tests.registry.templates import fresh_registry

CURVE = [{"timesteps": 100, "value_loss": 1.0}, {"timesteps": 200, "value_loss": 0.5}]
RECORD = FoldRecord(
    profile="sample",
    symbol="SPY",
    preset="s0",
    window="2017-01-19",
    configuration="0123456789ab",
    parameters={"windows": {"train": 504}, "symbol": "SPY"},
    fold={"purge": 6, "embargo": 5},
    metrics={"test_net_pnl": -12.5},
    chosen_seed=84,
    dataset_digest="cd" * 32,
    dataset_rows=504,
    lake_snapshot=7,
    seeds=[SeedRun(seed, "ab" * 32, {"test_net_pnl": -float(seed)}, CURVE) for seed in (42, 84)],
    dagster_run_id="run-1",
)


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return fresh_registry(settings)


def runs(registry: Registry, kind: str) -> list[Any]:
    with registry._session() as client:
        experiment = client.get_experiment_by_name(registry.profile)
        return list(client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'"))


def test_a_fold_is_nested_in_its_configuration_and_seeds_in_it(registry: Registry) -> None:
    run_id = registry.log_fold(RECORD)
    (walk,) = runs(registry, "walk_forward")
    (fold,) = runs(registry, "walk_forward_fold")
    assert fold.info.run_id == run_id
    assert fold.data.tags["mlflow.parentRunId"] == walk.info.run_id
    seeds = runs(registry, "walk_forward_seed")
    assert {run.data.tags["mlflow.parentRunId"] for run in seeds} == {run_id}
    assert {run.data.metrics["test_net_pnl"] for run in seeds} == {-42.0, -84.0}


def test_a_fold_names_its_data_and_its_dates(registry: Registry) -> None:
    registry.log_fold(RECORD)
    (fold,) = runs(registry, "walk_forward_fold")
    assert fold.inputs.dataset_inputs[0].dataset.digest == ("cd" * 32)[:36]
    assert fold.data.params == {"purge": "6", "embargo": "5", "chosen_seed": "84"}
    assert (fold.data.tags["lake_snapshot"], fold.data.tags["dagster_run_id"]) == ("7", "run-1")


def test_learning_curves_are_kept_by_step(registry: Registry) -> None:
    registry.log_fold(RECORD)
    run = runs(registry, "walk_forward_seed")[0]
    with registry._session() as client:
        curve = client.get_metric_history(run.info.run_id, "value_loss")
    assert [(point.step, point.value) for point in curve] == [(100, 1.0), (200, 0.5)]


def test_a_fold_made_again_takes_the_place_of_the_first(registry: Registry) -> None:
    first = registry.log_fold(RECORD)
    second = registry.log_fold(replace(RECORD, metrics={"test_net_pnl": 3.0}))
    (fold,) = runs(registry, "walk_forward_fold")
    assert first != second == fold.info.run_id
    assert fold.data.metrics == {"test_net_pnl": 3.0}
    assert len(runs(registry, "walk_forward_seed")) == 2


def test_trials_are_configurations_not_folds(registry: Registry) -> None:
    for change in (
        {},
        {"window": "2017-04-20"},
        {"configuration": "ba9876543210"},
        {"symbol": "QQQ", "configuration": "another"},
    ):
        registry.log_fold(replace(RECORD, **change))
    assert registry.walk_forward_trials("SPY") == {"0123456789ab", "ba9876543210"}
    assert registry.walk_forward_trials("IWM") == set()
