"""Several policies as one version: trained, registered, judged, seated on a vacant seat, and heard."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from spy_assets.defs import account, agents, judging, models, signals
from spy_assets.defs.agent_training import COMPOSITE
from spy_assets.defs.resources import SpyResource
from spy_assets.models.composite import CompositePolicy
from spy_assets.models.policy.asking import DecisionContext, ask
from spy_assets.models.routing import path_regimes
from spy_assets.registry import Registry
from spy_assets.sessions import decision_time, sessions_between
from spy_assets.settings import Settings
from spy_assets.signals.contract import Signal
from spy_assets.simulator.actions import DAILY_ACTIONS
from spy_assets.warehouse import Warehouse
from spy_assets_tests.graph.worlds import FIRST, LAST, World, read, write

pytestmark = pytest.mark.slow
SHORT = {"timesteps": 2048, "seeds": 1, "episode_length": 30}
DAYS = sessions_between(FIRST, LAST)


@pytest.fixture
def vacant(world: World, tmp_path: Path) -> Settings:
    """A profile with a trained policy that nobody has judged, and no signal."""
    settings = world.copy(tmp_path)
    with Warehouse.open(settings) as lake:
        for table in (
            "models.promotions",
            "models.evaluations",
            "ledger.signals",
            "ledger.decisions",
        ):
            lake.execute(f"DELETE FROM {table}")
    return settings


def window_of(settings: Settings) -> date:
    (key,) = Registry(settings).versions()["partition"].unique()
    return date.fromisoformat(key)


def run(settings: Settings, asset: Any, *days: date, **config: Any) -> dict[str, Any]:
    """Materialize an asset for a session, or for a range of them; gives its metadata."""
    how: dict[str, Any] = {"partition_key": str(days[0])}
    if len(days) > 1:
        how = {"tags": {"dagster/asset_partition_range_start": str(days[0]),
                        "dagster/asset_partition_range_end": str(days[-1])}}  # fmt: skip
    overrides = settings.model_dump(mode="json", exclude_unset=True)
    made = dg.materialize(
        [asset],
        resources={"spy": SpyResource(overrides=overrides, now=decision_time(LAST).isoformat())},
        run_config={"ops": {asset.op.name: {"config": config}}} if config else {},
        **how,
    )
    told = made.get_asset_materialization_events()[-1].materialization.metadata
    checks = {one.check_name: one.passed for one in made.get_asset_check_evaluations()}
    return {key: value.value for key, value in told.items()} | checks


def seated(settings: Settings, window: date, **named: str) -> dict[str, Any]:
    """Judge the window's challenger, or the one named, and promote it; gives the recorded decision."""
    run(settings, models.evaluation, window, **named)
    run(settings, models.promotions, window)
    with Warehouse.open(settings) as lake:
        return judging.recorded_decision(lake, window)


def heard(settings: Settings) -> list[Signal]:
    """Signals of the last sessions, decided twice: the second time nothing is new or different."""
    first = run(settings, signals.daily_signal, *DAYS)
    again = run(settings, signals.daily_signal, *DAYS)
    assert (first["new"], again["new"]) == (len(DAYS), 0)
    assert first["decided"]
    assert again["replays_equal"]
    rows = read(settings, "ledger.signals").sort("session")
    return [Signal.from_row(row) for row in rows.iter_rows(named=True)]


def recorded(settings: Settings, version: str) -> dict[str, Any]:
    rows = read(settings, "models.training_runs", where="model = 'ppo_daily'")
    return rows.filter(pl.col("version") == version).row(0, named=True)


def test_the_members_vote_becomes_champion_and_speaks(vacant: Settings) -> None:
    window = window_of(vacant)
    for member in (agents.a2c_daily, agents.dqn_daily):
        run(vacant, member, window, **SHORT)
    told = run(vacant, agents.ensemble_weights, window, agreement=0.9)
    registry, version = Registry(vacant), told["version"]
    assert registry.alias("challenger") == version == "2"
    assert run(vacant, agents.ensemble_weights, window, agreement=0.9)["version"] == version

    row, policy = recorded(vacant, version), registry.load(version)
    assert isinstance(policy, CompositePolicy)
    assert policy.weights.policy_hash == row["policy_hash"]
    assert json.loads(row["hyperparameters"])[COMPOSITE] == "vote"
    assert set(policy.weights.members) == {"ppo_daily", "a2c_daily", "dqn_daily"}
    weights = read(vacant, "models.ensemble_weights")
    assert weights["evidence_end"].unique().to_list() == [row["train_end"]]
    logged = registry._client.get_run(row["mlflow_run_id"]).data.metrics
    assert logged["abstain_rate"] == told["abstain_rate"]

    decided = seated(vacant, window)
    assert (decided["version"], decided["basis"]) == (version, "bootstrap")
    assert registry.alias("champion") == version
    given = heard(vacant)
    assert {one.model_version for one in given} == {version}
    abstained = [one for one in given if one.abstained]
    assert abstained
    assert all(one.reasons[0].startswith("abstained: ") for one in abstained)
    assert {one.abstained for one in given} <= {True, False, None}


def test_the_router_becomes_champion_and_hears_the_regime(vacant: Settings) -> None:
    window = window_of(vacant)
    search = {"window_end": window, "algorithm": "ppo", "trials": 50, "params": '{"gamma": 0.9}',
              "available_at": decision_time(window), "source": "test"}  # fmt: skip
    write(vacant, "models.hyperparameters", [search], at=decision_time(window))
    told = run(vacant, agents.regime_routing, window, least_sessions=30, tuned=True, **SHORT)
    assert len(told["policies"]) > 1
    registry, version = Registry(vacant), told["version"]
    kept = json.loads(recorded(vacant, version)["hyperparameters"])
    assert (kept[COMPOSITE], kept["members"]) == ("router", told["policies"])
    assert kept["routing_verdict"] == told["verdict"]
    assert judging.trials(registry.versions(), window, 63) == 2 + 50
    registry.set_alias("challenger", "1")  # a version that is named is judged all the same
    assert seated(vacant, window, version=version)["version"] == version
    assert registry.alias("champion") == version

    known = regimes(vacant)
    given = heard(vacant)
    for one in given:
        assert (one.model_version, one.regime) == (version, known[one.session])
        assert answer_again(registry, one) == pytest.approx(said(one))
    members = registry.load(version).probabilities.policies
    assert len({one.regime for one in given if one.regime in members}) > 1
    # What is fine-tuned is the trained network, not the router, which would fail the run.
    assert run(vacant, agents.outcome_finetune, window)["version"] == "none"


def regimes(settings: Settings) -> dict[date, str | None]:
    """The regimes that a backtest sees on the path; those of the mart are the same."""
    with Warehouse.open(settings) as lake:
        path = account.market_path(lake, settings, LAST)
    found = dict(zip(path.sessions, path_regimes(path), strict=True))
    mart = read(settings, "features.regime").select("session", "regime")
    assert found == dict(mart.filter(pl.col("session").is_in(list(path.sessions))).iter_rows())
    return found


def said(signal: Signal) -> list[float]:
    """The signal's probabilities in the order of the actions."""
    return [signal.probabilities[DAILY_ACTIONS[number].action.name] for number in DAILY_ACTIONS]


def answer_again(registry: Registry, signal: Signal) -> list[float]:
    """What the signal's version says to what it saw, under the mask that it had."""
    mask = np.array(said(signal)) > 0
    seen = np.array(signal.state_vector, dtype=np.float32)
    asked = registry.load(signal.model_version).probabilities
    return ask(asked, seen, mask, DecisionContext(signal.regime)).probabilities.tolist()
