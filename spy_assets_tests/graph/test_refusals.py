"""A refused challenger stops its promotion and nothing else: real runs on a profile's own instance."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from spy_assets import backfill, plan
from spy_assets.defs import models, refusals
from spy_assets.registry import Registry
from spy_assets.sessions import decision_time
from spy_assets_tests.graph.courts import CALLS, IDLE, Court
from spy_assets_tests.graph.worlds import (
    LAST,
    World,
    latest_check,
    make,
    quiet,
    read,
    runner,
    signals,
)
from spy_assets_tests.models.policies import training_record

EVALUATION, PROMOTIONS = (dg.AssetKey(["models", name]) for name in ("evaluation", "promotions"))
JUDGING = {"keys": [EVALUATION.path, PROMOTIONS.path]}
NO_BOOTSTRAP = {"bootstrap": False}


@pytest.fixture
def court(tmp_path: Path) -> Court:
    """A live source on which nothing unproven is seated."""
    return Court.sit(tmp_path, source="yfinance", promotion=NO_BOOTSTRAP)


@contextmanager
def judging(court: Court, days_later: int = 0) -> Iterator[plan.Runner]:
    now = decision_time(court.days[-1]) + timedelta(days=days_later)
    with runner(court.settings, now) as made:
        made.console = Console(file=io.StringIO(), width=200)
        yield made


def judge(made: plan.Runner, court: Court, **how: Any) -> plan.Step:
    return made.stage("judge", "train_daily", [str(court.days[-1])], **JUDGING, **how)


def told(made: plan.Runner) -> str:
    file: Any = made.console.file
    return str(file.getvalue())


def test_a_refusal_stops_the_promotion_and_is_told_not_raised(court: Court) -> None:
    court.register(court.days[-1], IDLE)
    with judging(court) as made:
        step = judge(made, court)
        (run,) = made.instance.get_runs()
        events = [one.dagster_event for one in made.instance.all_logs(run.run_id)]
        status, shown = latest_check(made.instance, "models/evaluation", "promotion_gate")
        assert not made.instance.get_materialized_partitions(PROMOTIONS)
        words = told(made)
    assert step.materialized == 1
    assert step.refused.startswith("challenger refused: version 1: not shown: 0 trades, least 10")
    assert "challenger refused: version 1" in words
    assert (run.status, status) == (dg.DagsterRunStatus.FAILURE, "FAILED")
    assert shown[refusals.REFUSED].startswith("challenger refused: version 1")
    assert not [one for one in events if one and one.is_step_up_for_retry]
    assert court.registry.alias("champion") is None


def test_a_refused_window_is_judged_until_it_is_trained_again(court: Court) -> None:
    window = str(court.days[-1])
    court.register(court.days[-1], IDLE)
    with judging(court) as made:
        judge(made, court)
        assert judge(made, court).skipped == 2
        trained = dg.AssetMaterialization(models.ppo_daily.key, partition=window)
        made.instance.report_runless_asset_event(trained)
        cost, _ = backfill._planned(made, backfill.Request("training", first=window, last=window))
        assert (cost.present, cost.missing, cost.failed) == (1, 0, 0)
        again = judge(made, court)
        assert again.reason == "models/evaluation: 0 missing, 1 stale"
        assert again.skipped == 0


def test_an_unproven_champion_passes_the_gate_and_is_said_to_be_unproven(tmp_path: Path) -> None:
    court = Court.sit(tmp_path, source="yfinance")
    court.register(court.days[-1], IDLE)
    with judging(court) as made:
        assert judge(made, court).materialized == 2
        found = {
            name: latest_check(made.instance, "models/evaluation", name)
            for name in ("promotion_gate", "proven")
        }
    assert [found[name][0] for name in found] == ["SUCCEEDED", "FAILED"]
    assert {shown["basis"] for _, shown in found.values()} == {"bootstrap"}
    assert court.registry.alias("champion") == "1"


def test_a_promotion_alone_does_not_go_round_the_gate(court: Court) -> None:
    court.register(court.days[-1], IDLE)
    court.judge(court.days[-1])
    made = court.make([models.promotions], court.days[-1], raise_on_error=False)
    (failure,) = [event for event in made.all_events if event.is_step_failure]
    assert "challenger refused: version 1" in str(failure.step_failure_data.error)
    assert not [event for event in made.all_events if event.is_step_up_for_retry]
    told = refusals.refusal_of(made.all_events)
    assert told is not None
    assert told.startswith("challenger refused: version 1: ")
    assert court.registry.alias("champion") is None


def strict(court: Court) -> Court:
    """The same profile with a gate that nothing passes."""
    promotion = {"min_trades": 1_000, **NO_BOOTSTRAP}
    return Court.sit(court.settings.home, source="yfinance", promotion=promotion)


@pytest.mark.slow
def test_a_champion_is_promoted_outlives_a_refusal_and_is_withdrawn(court: Court) -> None:
    court.register(court.days[-1], CALLS)
    with judging(court) as made:
        assert judge(made, court).materialized == 2
    court.register(court.days[-1], IDLE)
    with judging(court, days_later=1) as made:
        assert "version 2" in judge(made, court, force=True).refused
        assert court.registry.alias("champion") == "1"
        assert judge(made, court).skipped == 2
    court.registry.set_alias("challenger", "1")
    with judging(strict(court), days_later=2) as made:
        assert "version 1" in judge(made, court, force=True).refused
        assert judge(made, court).skipped == 2
    assert court.registry.alias("champion") is None
    assert court.champion_at(decision_time(court.days[-1]) + timedelta(days=3)) is None


def test_the_alias_of_a_withdrawn_champion_goes_to_the_one_before(court: Court) -> None:
    window = court.days[-1]
    court.register(court.days[-30], IDLE)
    Court.sit(court.settings.home, source="yfinance").judge(court.days[-30])
    taken = court.register(window, CALLS)
    assert court.judge(window)["basis"] == "gate"
    assert court.registry.alias("champion") == taken
    again = strict(court).judge(window, decision_time(window) + timedelta(days=1))
    assert (again["version"], again["accepted"]) == (taken, False)
    assert court.registry.alias("champion") == "1"


def checked(
    *, refuses: bool = False, finds_fault: bool = False, breaks: bool = False, follows: bool = False
) -> Any:
    """A run of an asset with a check that gives verdicts and one that does not."""

    def spec(name: str, **how: Any) -> dg.AssetCheckSpec:
        return dg.AssetCheckSpec(name, asset="judged", blocking=True, **how)

    @dg.asset(check_specs=[spec("verdict", metadata={refusals.VERDICT: True}), spec("sound")])
    def judged() -> dg.MaterializeResult:
        told = {refusals.REFUSED: "version 3: no trades"} if refuses else {}
        verdict = dg.AssetCheckResult(check_name="verdict", passed=not refuses, metadata=told)
        sound = dg.AssetCheckResult(check_name="sound", passed=not finds_fault)
        return dg.MaterializeResult(check_results=[verdict, sound])

    @dg.asset
    def other() -> None:
        if breaks:
            raise ConnectionError("vendor away")

    @dg.asset
    def promoted() -> None:
        if follows:
            raise refusals.refusal("version 2: refused before")

    return dg.materialize([judged, other, promoted], raise_on_error=False)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({}, None),
        ({"refuses": True}, "version 3: no trades"),
        ({"finds_fault": True}, None),
        ({"refuses": True, "finds_fault": True}, None),
        ({"refuses": True, "breaks": True}, None),
        ({"follows": True}, "version 2: refused before"),
        ({"follows": True, "breaks": True}, None),
        ({"follows": True, "finds_fault": True}, None),
    ],
)
def test_only_a_refusal_and_nothing_else_is_a_refusal(what: Any, words: str | None) -> None:
    assert refusals.refusal_of(checked(**what).all_events) == words


@pytest.mark.slow
def test_a_refused_training_ends_well_and_is_not_made_again(world: World, tmp_path: Path) -> None:
    settings = world.copy(tmp_path)
    told = plan.train(settings, quiet(), timesteps=16_384, seeds=2)
    assert (told["version"], told["accepted"], told["basis"]) == ("2", False, "refused")
    judged = read(settings, "models.evaluations").filter(version="2")["strategy"].to_list()
    assert len([name for name in judged if name.startswith("seed_")]) == 2
    summary = plan.run(settings, quiet())
    assert summary.signal is not None
    assert summary.signal["model_version"] == "1"
    trained = {step.name: step.materialized for step in summary.steps}
    assert trained["train and judge the model"] == 0


@pytest.mark.slow
def test_the_signal_of_the_day_is_still_the_champions(world: World, tmp_path: Path) -> None:
    settings = world.copy(tmp_path)
    (window,) = Registry(settings).versions()["partition"]
    record = training_record(window, profile=settings.profile_name)
    refused = Registry(settings).log_training(record).version
    assert refused == "2"
    Registry(settings).set_alias("challenger", refused)
    make(settings, "train_daily", [window], **JUDGING)
    (spoken,) = signals(settings, LAST)
    assert spoken["model_version"] == "1"
    assert Registry(settings).alias("champion") == "1"
