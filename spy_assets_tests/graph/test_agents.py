"""Agents beside the daily PPO: real assets on a court's market, with real and tiny trainings."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from spy_assets.defs import account, agents, judging, learning, models, registering
from spy_assets.errors import DataError
from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.models.outcomes.rollouts import Rollout, walk
from spy_assets.models.policy.weights import encode_weights, policy_hash
from spy_assets.models.preference.pairs import Preference
from spy_assets.registry import Registry, records
from spy_assets.sessions import decision_time, session_close
from spy_assets.signals.outcomes import outcome_row
from spy_assets.simulator.actions import DAILY_ACTIONS
from spy_assets.simulator.daily import DailySimulator
from spy_assets.warehouse import Warehouse
from spy_assets_tests.cli.ledgers import signal
from spy_assets_tests.graph import snapshot
from spy_assets_tests.graph.courts import CALLS, IDLE, Court, wants
from spy_assets_tests.graph.worlds import write
from spy_assets_tests.models.planted import net_of, undecided

SHORT = {"seeds": 1, "episode_length": 30}


@pytest.fixture
def court(tmp_path: Path) -> Court:
    return sit(tmp_path)


def sit(home: Path) -> Court:
    court = Court.sit(home, drift=0.003)
    assert court.registry.versions().is_empty()  # its database is made by the first to ask for it
    return court


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Court:
    """A policy with a ledger of what it did; tests only add what others do not look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        court = sit(tmp_path_factory.mktemp("taught"))
        seat(court, court.days[-1])
        live(court, court.days[-1])
    return court


def run(court: Court, asset: Any, window: date, **config: Any) -> Any:
    """Materialize an asset for a window; gives its metadata."""
    name = asset.key.path[-1]
    how = {"run_config": {"ops": {asset.op.name: {"config": config}}}} if config else {}
    made = court.make([asset], window, **how)
    assert made.success
    (event,) = made.get_asset_materialization_events()
    assert event.asset_key.path[-1] == name
    return {key: value.value for key, value in event.materialization.metadata.items()}


def seat(
    court: Court, window: date, tensors: Any = None, *, model: str = "ppo_daily", **said: Any
) -> str:
    """Register a policy as if it had been trained for a window, with its row; gives the version.

    ``said`` are hyper-parameters.
    """
    values = undecided(0).tensors if tensors is None else tensors
    record = replace(
        court.record(window, CALLS),
        model=model,
        hyperparameters=said,
        policy_hash=policy_hash(values),
        weights=encode_weights(values, DAILY_15_PROXY_V1),
        train_end=windows(court, window).train_end,
    )
    registry = Registry(court.settings, model=model)
    logged = registry.log_training(record)
    assert logged.version is not None
    registry.set_alias("challenger", logged.version)
    row = registering.training_row(court.settings, record, logged.version, logged.run_id)
    write(court.settings, "models.training_runs", [row])
    return logged.version


def windows(court: Court, window: date) -> Any:
    with Warehouse.open(court.settings) as lake:
        return account.windows(lake, court.settings, window)


def live(court: Court, window: date, **changes: Any) -> Rollout:
    """What the undecided policy did and earned up to a window's end, recorded in the ledger.

    ``changes`` replaces columns of every outcome.
    """
    path = windows(court, window).path
    rollout = walk(DailySimulator(path), net_of(undecided(0).tensors).probabilities, seed=1)
    signals, outcomes = [], []
    entries = {entry.session: entry for entry in rollout.entries}
    for trade in rollout.trades:
        entry, name = (
            entries[trade.decision_session],
            DAILY_ACTIONS[trade_action(trade)].action.name,
        )
        said = signal(entry.session, name, entry.action)
        allowed = {
            spec.action.name: 0.2 if entry.mask[n] else 0.0 for n, spec in DAILY_ACTIONS.items()
        }
        row = said.to_row() | {"structure": trade.structure}
        row |= {"state_vector": json.dumps(entry.observation.tolist())}
        signals.append(row | {"probabilities": json.dumps(allowed)})
        outcomes.append(outcome_row(said, trade, source="sample") | changes)
    write(court.settings, "ledger.signals", signals, at=decision_time(window))
    write(court.settings, "ledger.outcomes", outcomes, at=decision_time(window))
    return rollout


def trade_action(trade: Any) -> int:
    return next(n for n, spec in DAILY_ACTIONS.items() if spec.structure == trade.structure)


def runs_of(court: Court, model: str = "ppo_daily") -> pl.DataFrame:
    rows = court.rows("models.training_runs")
    return rows.filter(pl.col("model") == model).sort("version")


# ---------------------------------------------------------------- outcomes


def test_outcomes_make_a_challenger_of_the_window_s_policy(taught: Court) -> None:
    window = taught.days[-1]
    cut, rows = windows(taught, window), taught.rows("ledger.outcomes")
    known = rows.filter(pl.col("exit_session") <= cut.train_end).height
    assert 20 < known < rows.height
    told = run(taught, agents.outcome_finetune, window)
    assert (told["from_version"], told["outcomes"]) == ("1", known)
    assert told["kl"] > 0
    assert "than the version that it came from" in told["verdict"]
    base, tuned = (version_row(taught, name) for name in ("1", told["version"]))
    assert (tuned["train_end"], tuned["policy_hash"] != base["policy_hash"]) == (
        cut.train_end,
        True,
    )
    kept = json.loads(tuned["hyperparameters"])
    assert (kept["finetuned_from"], kept["finetuned_by"], kept["finetune_beta"]) == (
        "1", "outcomes", 0.25,
    )  # fmt: skip
    assert taught.registry.alias("challenger") == told["version"]
    assert taught.registry.load(told["version"]).weights.policy_hash == tuned["policy_hash"]


def version_row(court: Court, version: str) -> dict[str, Any]:
    return runs_of(court).filter(pl.col("version") == version).row(0, named=True)


def test_the_same_outcomes_make_the_same_version_and_the_gate_judges_it(taught: Court) -> None:
    window = taught.days[-1]
    first, again = (run(taught, agents.outcome_finetune, window) for _ in range(2))
    assert first["version"] == again["version"] != "1"
    assert again["inserted"] == 0
    decided = taught.judge(window)
    assert decided["version"] == first["version"]
    assert decided["basis"] in ("gate", "bootstrap", "refused")


def test_outcomes_of_the_judged_sessions_teach_nothing(taught: Court) -> None:
    window = taught.days[-1]
    cut, rows = windows(taught, window), taught.rows("ledger.outcomes")
    start = cut.path.sessions[cut.validation_start]
    late = rows.filter(pl.col("exit_session") >= start).drop("ingested_at")
    assert 0 < late.height < rows.height
    before = run(taught, agents.outcome_finetune, window)["version"]
    praised = [row | {"pnl_pct": 0.9, "pnl": 9.0} for row in late.iter_rows(named=True)]
    write(taught.settings, "ledger.outcomes", praised, at=decision_time(window))
    assert run(taught, agents.outcome_finetune, window)["version"] == before


def test_without_a_lesson_nothing_is_registered(court: Court) -> None:
    window = court.days[-1]
    seat(court, window)
    told = run(court, agents.outcome_finetune, window)
    assert (told["version"], told["left_out"]) == ("none", {})
    assert "no outcome closed by" in told["reason"]
    for asset in (agents.reward_model, agents.preference_finetune):
        assert run(court, asset, window)["version"] == "none"
    assert runs_of(court).height == 1


def test_outcomes_without_gain_leave_the_record_of_the_training(court: Court) -> None:
    window = court.days[-1]
    seat(court, window)
    live(court, window, pnl=0.0, pnl_pct=0.0)
    before = runs_of(court)
    for _ in range(2):  # and the version can still be fine-tuned from
        told = run(court, agents.outcome_finetune, window)
        assert (told["version"], "leave version 1 as it is" in told["reason"]) == ("none", True)
    assert runs_of(court).equals(before)


def test_a_policy_that_never_enters_has_no_trade_to_like(court: Court) -> None:
    window, tensors = court.days[-1], wants(IDLE)
    tensors["action_net.bias"][IDLE] = 60.0
    seat(court, window, tensors)
    live(court, window)
    answer(court, window, 5)
    before = runs_of(court)
    told = run(court, agents.preference_finetune, window, walks=1)
    assert (told["version"], told["reason"][:10]) == ("none", "0 outcomes")
    assert runs_of(court).equals(before)


def test_without_a_trained_policy_the_run_fails_at_once(court: Court) -> None:
    made = court.make([agents.outcome_finetune], court.days[-1], raise_on_error=False)
    assert not made.success
    (failure,) = [event for event in made.all_events if event.is_step_failure]
    assert "no trained version" in str(failure.event_specific_data.error)


# ---------------------------------------------------------------- preferences


def answer(court: Court, window: date, count: int) -> None:
    """Someone who prefers the larger P&L compares neighbouring trades."""
    rows = court.rows("ledger.outcomes").sort("exit_session").head(count + 1)
    known = list(rows.iter_rows(named=True))
    said = [
        Preference(a["signal_id"], b["signal_id"], "1" if a["pnl"] > b["pnl"] else "2", "anna",
                   session_close(a["exit_session"]))
        for a, b in pairwise(known)
    ]  # fmt: skip
    table = [one.to_row("SPY", "sample") for one in said]
    write(court.settings, "ledger.preferences", table, at=decision_time(window))


def test_answers_make_a_reward_and_the_reward_a_challenger(taught: Court) -> None:
    window = taught.days[-1]
    answer(taught, window, 20)
    told = run(taught, agents.reward_model, window, l2=4.0)
    assert told["pairs"] == 20
    assert "%" in told["verdict"]
    (row,) = taught.rows("models.reward_models").iter_rows(named=True)
    assert row["held_out"] == 20
    assert row["ci_low"] < row["accuracy"] <= row["ci_high"]
    likes = learning.likes(row)
    assert likes["gain"] > 0 > likes["loss"]
    tuned = run(taught, agents.preference_finetune, window, walks=1)
    assert tuned["from_version"] == "1" != tuned["version"]
    kept = json.loads(version_row(taught, tuned["version"])["hyperparameters"])
    assert (kept["finetuned_by"], kept["answers"], kept["walks"]) == ("preferences", 20, 1)
    assert kept["reward_l2"] == row["l2"] == 4.0


def test_what_few_answers_say_is_told_as_such() -> None:
    assert learning.accuracy_words({"accuracy": None}).startswith("too few")
    row = {"accuracy": 0.6, "held_out": 10, "ci_low": 0.31, "ci_high": 0.83}
    assert learning.accuracy_words(row) == "60% of 10 (31% to 83%): no better than a coin"
    assert learning.accuracy_words(row | {"ci_low": 0.51}).endswith(": better than a coin")


# ---------------------------------------------------------------- the ensemble


def test_members_are_weighed_before_they_are_judged(court: Court) -> None:
    window = court.days[-1]
    for model, action in (("ppo_daily", IDLE), ("a2c_daily", CALLS), ("dqn_daily", IDLE)):
        seat(court, window, wants(action), model=model)
    told = run(court, agents.ensemble_weights, window, agreement=0.4)
    rows = {
        row["member"]: row for row in court.rows("models.ensemble_weights").iter_rows(named=True)
    }
    assert sum(row["weight"] for row in rows.values()) == pytest.approx(1.0)
    assert rows["a2c_daily"]["weight"] > rows["ppo_daily"]["weight"] == rows["dqn_daily"]["weight"]
    assert rows["ppo_daily"]["preset_weight"] == 0.5
    assert rows["a2c_daily"]["information_ratio"] > 0 == rows["ppo_daily"]["information_ratio"]
    assert rows["ppo_daily"]["evidence_end"] < window
    assert 0 <= told["abstain_rate"] <= 1


def test_the_searches_of_tuned_members_are_trials_of_their_vote(court: Court) -> None:
    window = court.days[-1]
    for model, name, tried in (
        ("ppo_daily", "ppo", 9),
        ("a2c_daily", "a2c", 50),
        ("dqn_daily", "", 0),
    ):
        said = {"search": f"{name} {window}", "search_trials": tried} if tried else {}
        seat(court, window, wants(CALLS), model=model, **said)
    version = run(court, agents.ensemble_weights, window)["version"]
    found = court.registry.versions()
    (vote,) = found.filter(version=version).iter_rows(named=True)
    assert records.searches_of(vote) == {f"ppo {window}": 9, f"a2c {window}": 50}
    assert judging.trials(found, window, 63) == 2 + 9 + 50  # the first search is ppo_daily's too


def test_one_member_is_no_ensemble(taught: Court) -> None:
    made = taught.make([agents.ensemble_weights], taught.days[-1], raise_on_error=False)
    (failure,) = [event for event in made.all_events if event.is_step_failure]
    assert "1 members are trained" in str(failure.event_specific_data.error)


@pytest.mark.parametrize(
    ("asset", "preset", "told"),
    [
        (models.ppo_daily, "dqn", "ppo_daily is trained by ppo, its configuration is of dqn"),
        (agents.a2c_daily, "sample", "a2c_daily is trained by a2c, its configuration is of ppo"),
        (agents.dqn_daily, "a2c", "dqn_daily is trained by dqn, its configuration is of a2c"),
        (agents.regime_routing, "a2c", "ppo_REGIME is trained by ppo, its configuration is of a2c"),
    ],
)
def test_a_model_is_trained_by_its_own_algorithm(
    taught: Court, asset: Any, preset: str, told: str
) -> None:
    ops = {asset.op.name: {"config": {"preset": preset, "timesteps": 2048, "seeds": 1}}}
    made = taught.make([asset], taught.days[-1], run_config={"ops": ops}, raise_on_error=False)
    (failure,) = [event for event in made.all_events if event.is_step_failure]
    assert told in str(failure.event_specific_data.error)


def test_a_search_takes_nothing_from_an_earlier_one(taught: Court) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="tuned"):
        run(taught, agents.hyperparameters, taught.days[-1], tuned=True)


@pytest.mark.slow
def test_other_algorithms_are_trained_and_registered(taught: Court) -> None:
    window, before = taught.days[-1], taught.registry.versions().height
    for asset in (agents.a2c_daily, agents.dqn_daily):
        model = asset.key.path[-1]
        assert run(taught, asset, window, timesteps=2048, **SHORT)["version"] == "1"
        registry = Registry(taught.settings, model=model)
        assert registry.alias("challenger") == "1"
        (row,) = runs_of(taught, model).iter_rows(named=True)
        assert row["train_end"] == windows(taught, window).train_end
        assert registry.load("1").weights.policy_hash == row["policy_hash"]
    assert taught.registry.versions().height == before


# ---------------------------------------------------------------- regimes and the search


def give_factors(court: Court) -> None:
    """Adjusted bars that are the raw ones, so that trends are known."""
    rows = [
        {"symbol": "SPY", "session": day, "factor": 1.0, "available_at": decision_time(day),
         "source": "test"}
        for day in court.days
    ]  # fmt: skip
    write(court.settings, "features.adjusted_bars", rows, at=decision_time(court.days[-1]))


@pytest.mark.slow
def test_routing_is_measured_against_one_policy_that_sees_the_regime(taught: Court) -> None:
    window = taught.days[-1]
    give_factors(taught)
    told = run(taught, agents.regime_routing, window, timesteps=4096, **SHORT)
    (row,) = taught.rows("models.regime_routing").iter_rows(named=True)
    assert row["better"] == (row["ci_low"] > 0)
    assert told["verdict"].startswith(
        "routing by regime is " + ("better" if row["better"] else "not")
    )
    policies = json.loads(row["policies"])
    assert "neutral" in policies
    for regime, version in policies.items():
        assert Registry(taught.settings, model=f"ppo_{regime}").load(version)
    judged = sum(count for count, _ in json.loads(row["by_regime"]).values())
    assert judged == taught.settings.train.validation_sessions - 1


@pytest.mark.slow
def test_a_search_is_recorded_with_the_number_of_its_trials(taught: Court) -> None:
    window = taught.days[-1]
    told = run(taught, agents.hyperparameters, window, trials=2, timesteps=4096, **SHORT)
    (row,) = taught.rows("models.hyperparameters").iter_rows(named=True)
    assert (row["algorithm"], row["trials"], told["trials"]) == ("ppo", 3, 3)
    assert row["complete"] + row["pruned"] == 2
    assert row["best_pnl"] >= row["base_pnl"]
    assert json.loads(row["config"])["timesteps"] == 4096
    with Warehouse.open(taught.settings) as lake:
        found = learning.tuned_parameters(lake, window, "ppo")
        with pytest.raises(DataError, match="no search for dqn"):
            learning.tuned_parameters(lake, window, "dqn")
    assert found.origin == {"search": f"ppo {window}", "search_trials": 3}
    tuned = agents.agent_preset(agents.AgentRun(seeds=1, timesteps=4096), "sample", found)
    assert tuned.hyperparameters() == json.loads(row["config"]) | {"episode_length": 252}
    again = run(taught, agents.hyperparameters, window, trials=2, timesteps=4096, **SHORT)
    assert (again["inserted"], again["trials"], again["net_pnl"]) == (0, 3, told["net_pnl"])


def test_agents_have_jobs_of_their_own() -> None:
    from spy_assets.definitions import defs

    jobs = snapshot.describe(defs)["jobs"]
    names = {asset.key.to_user_string() for asset in agents.ASSETS}
    own = [name for name, assets in jobs.items() if names & set(assets)]
    assert own == [
        "learn_from_outcomes", "learn_from_preferences", "train_by_regime", "train_ensemble",
        "tune_hyperparameters",
    ]  # fmt: skip
    assert sorted(asset for name in own for asset in jobs[name]) == sorted(names)
