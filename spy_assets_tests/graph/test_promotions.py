"""Who is champion from when on: real policies, judged by the real assets at fixed times."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from scipy.stats import trim_mean

from spy_assets.defs import account, judging, learning, models, registering
from spy_assets.defs.resources import SpyResource
from spy_assets.errors import DataError, ModelFileMismatch
from spy_assets.features.contracts import DAILY_15_CHAIN_V1
from spy_assets.models.policy.train import path_digest
from spy_assets.registry import Registry
from spy_assets.sessions import decision_time, next_session, previous_session
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.graph.courts import CALLS, DAILY_15, IDLE, PUTS, Court


@pytest.fixture
def court(tmp_path: Path) -> Court:
    """A historical source."""
    return Court.sit(tmp_path)


@pytest.fixture
def live(tmp_path: Path) -> Court:
    """A live source."""
    return Court.sit(tmp_path, source="yfinance")


def version_at(court: Court, moment: datetime) -> str | None:
    champion = court.champion_at(moment)
    return None if champion is None else champion.version


def judged_in_turn(court: Court, *actions: int) -> list[dict[str, Any]]:
    """The verdicts on policies of the last window, each after the one before."""
    found = []
    for action in actions:
        court.register(court.days[-1], action)
        found.append(court.judge(court.days[-1]))
    return found


def test_a_refused_challenger_of_the_same_window_dethrones_nobody(court: Court) -> None:
    window = court.days[-1]
    seated, refused = judged_in_turn(court, CALLS, IDLE)
    assert seated["basis"] == "gate"
    assert (refused["version"], refused["basis"]) == ("2", "refused")
    assert version_at(court, decision_time(window)) == "1"
    assert court.registry.alias("champion") == "1"
    assert court.rows("models.promotions")["version"].to_list() == ["1", "2"]


def test_the_version_that_the_last_training_gave_is_judged_not_the_newest(court: Court) -> None:
    window = court.days[-1]
    for action, version in ((CALLS, "1"), (IDLE, "2"), (CALLS, "1")):
        assert court.register(window, action) == version
        court.registry.set_alias("challenger", version)
    assert court.judge(window)["version"] == "1"

    other = court.days[-30]
    court.registry.set_alias("challenger", court.register(other, IDLE))
    assert registering.version_of_partition(court.registry, str(window)) == "2"
    assert registering.version_of_partition(court.registry, str(other)) == "3"


def test_one_of_a_window_s_versions_may_be_named(court: Court) -> None:
    window = court.days[-1]
    for action in (CALLS, IDLE):
        court.registry.set_alias("challenger", court.register(window, action))
    assert registering.version_of_partition(court.registry, str(window), "1") == "1"
    with pytest.raises(ModelFileMismatch, match=f"no version '7' of {window}") as refused:
        registering.version_of_partition(court.registry, str(window), "7")
    assert "it has 1, 2" in str(refused.value.hint)


def test_a_better_challenger_of_the_same_window_must_beat_the_first(court: Court) -> None:
    window = court.days[-1]
    seated, decided = judged_in_turn(court, IDLE, CALLS)
    assert seated["basis"] == "bootstrap"
    assert (decided["version"], decided["basis"]) == ("2", "gate")
    assert "lead over the champion" in decided["reason"]
    assert version_at(court, decision_time(window)) == "2"
    assert court.registry.alias("champion") == "2"


@pytest.mark.slow
def test_others_tried_on_the_window_are_evidence_and_a_broken_one_only_counts(court: Court) -> None:
    window = court.days[-1]
    first, second = judged_in_turn(court, IDLE, CALLS)
    seen = [json.loads(row["metrics"]) for row in (first, second)]
    assert [(one["candidates"], one["trials"]) for one in seen] == [(1, 1), (2, 2)]
    assert seen[0]["spa_p"] is None  # it never differs from cash
    assert seen[1]["spa_p"] < 0.05
    assert seen[1]["deflated_sharpe"] > 0.95
    court.registry.fetch("1").path.write_bytes(b"")
    court.register(window, CALLS, nudge=1.0)
    third = json.loads(court.judge(window)["metrics"])
    assert (third["candidates"], third["trials"]) == (2, 3)


def test_versions_that_saw_more_of_the_window_are_no_candidates(court: Court) -> None:
    for end in (-90, -20, -10, -1):
        court.register(court.days[end], CALLS, nudge=float(end))
    known = court.registry.versions()
    assert judging.tried_before(known, "3", 63) == ["2"]
    assert judging.tried_before(known, "4", 63) == ["2", "3"]


def test_on_a_live_source_only_the_first_champion_counts_backwards(live: Court) -> None:
    first, second = live.days[-30], live.days[-1]
    now = decision_time(second) + timedelta(days=1)
    live.register(first, IDLE)
    seated = live.judge(first, decision_time(second))
    assert seated["effective_from"] == seated["available_at"] == decision_time(first)
    live.register(second, CALLS)
    won = live.judge(second, now)
    assert (won["basis"], won["effective_from"], won["available_at"]) == ("gate", now, now)
    assert version_at(live, decision_time(second)) == "1"
    assert version_at(live, now) == "2"


def test_the_champion_of_this_hour_is_the_rival_whatever_the_window(live: Court) -> None:
    window = live.days[-1]
    live.register(window, CALLS)
    live.judge(window, decision_time(window) + timedelta(hours=1))
    live.register(live.days[-30], CALLS, nudge=1.0)  # an earlier window, trained later
    decided = live.judge(live.days[-30], decision_time(window) + timedelta(hours=2))
    assert (decided["version"], decided["basis"]) == ("2", "refused")
    assert "lead over the champion" in decided["reason"]


def test_the_newest_does_not_win_while_an_unproven_champion_can_speak(live: Court) -> None:
    old, new = live.days[-60], live.days[-1]
    live.register(old, IDLE)
    live.judge(old)  # 128 sessions after its training at the second verdict: over half of 189
    live.register(new, IDLE, nudge=1.0)
    assert live.judge(new)["basis"] == "refused"
    assert version_at(live, decision_time(new)) == "1"


def test_an_unproven_champion_that_is_too_old_to_speak_is_replaced(tmp_path: Path) -> None:
    court = Court.sit(tmp_path, source="yfinance", train={"max_age_sessions": 120})
    court.register(court.days[-60], IDLE)
    court.judge(court.days[-60])
    court.register(court.days[-1], IDLE, nudge=1.0)
    decided = court.judge(court.days[-1])
    assert (decided["basis"], decided["accepted"]) == ("bootstrap", True)
    assert "the unproven champion is too old to speak" in decided["reason"]
    compared = {row["strategy"] for row in json.loads(decided["metrics"])["table"]}
    assert "champion" in compared


def test_judging_again_decides_the_same_and_writes_nothing(live: Court) -> None:
    window = live.days[-1]
    live.register(window, CALLS)
    first = live.judge(window)
    again = live.judge(window, decision_time(window) + timedelta(days=3))
    assert again == first
    assert live.rows("models.promotions").height == 1


def test_the_alias_follows_the_recorded_verdict_not_a_new_one(court: Court) -> None:
    window = court.days[-1]
    court.register(window, CALLS)
    court.make([models.evaluation], window)
    court.register(window, IDLE)  # registered between the verdict and the promotion
    made = court.make([models.promotions], window)
    (event,) = made.get_asset_materialization_events()
    assert event.materialization.metadata["version"].value == "1"
    assert court.registry.alias("champion") == "1"


def test_a_promotion_without_a_verdict_is_refused(court: Court) -> None:
    with (
        Warehouse.open(court.settings) as lake,
        pytest.raises(DataError, match="models/evaluation"),
    ):
        judging.recorded_decision(lake, court.days[-1])


class WhileItIsFetched(Registry):
    """Another writer revises the market while a policy is being fetched."""

    lake: Warehouse
    spec: Any

    def fetch(self, version: str) -> Any:
        rows = self.lake.read("features.daily_15").drop("ingested_at")
        revised = rows.with_columns(rsi14=pl.col("rsi14") * 0.5)
        self.lake.write(self.spec, revised, ingested_at=rows["available_at"].max())  # type: ignore[arg-type]
        return super().fetch(version)


def test_the_snapshot_of_a_verdict_gives_back_what_it_saw(court: Court) -> None:
    window = court.days[-1]
    version = court.register(window, CALLS)
    busy = WhileItIsFetched(court.settings)
    with Warehouse.open(court.settings) as lake:
        busy.lake, busy.spec = lake, DAILY_15
        seen = path_digest(account.market_path(lake, court.settings, window))
        judged = judging.judge(lake, busy, court.settings, window, version, decision_time(window))
        again = account.market_path(lake, court.settings, window, snapshot=judged.lake_snapshot)
        now = account.market_path(lake, court.settings, window)
    assert path_digest(again) == seen != path_digest(now)


def pay(court: Court, day: date, cash: float) -> None:
    """Write the bars of the market, one of which goes ex."""
    spec, rows = TABLES["market.daily_bars"], DAILY_15.name
    with Warehouse.open(court.settings) as lake:
        bars = lake.read(
            rows, columns=["symbol", "session", "open", "close", "available_at", "source"]
        )
        bars = bars.with_columns(
            event_time="available_at", high=pl.max_horizontal("open", "close"),
            low=pl.min_horizontal("open", "close"), volume=1e6, split=1.0,
            dividend=pl.when(pl.col("session") == day).then(cash).otherwise(0.0),
        )  # fmt: skip
        lake.write(
            spec,
            bars.select(*spec.columns, "available_at", "source"),
            ingested_at=decision_time(day),
        )


def test_training_gate_and_account_know_the_same_dividends(court: Court) -> None:
    ex, before, last = court.days[-3], court.days[-4], court.days[-1]
    pay(court, ex, 1.75)
    with Warehouse.open(court.settings) as lake:
        path = account.market_path(lake, court.settings, last)
        early = account.market_path(lake, court.settings, before)
        walked = account.observations(lake, "SPY", last)
    assert path.dividend[path.index_of(ex)] == path.dividend.sum() == 1.75
    assert early.dividend.sum() == 0.0
    assert dict(walked.select("session", "dividend").iter_rows())[ex] == 1.75


def test_without_bars_dividends_are_not_known(court: Court) -> None:
    with Warehouse.open(court.settings) as lake:
        path = account.market_path(lake, court.settings, court.days[-1])
    assert np.isnan(path.dividend).all()


def test_the_gate_judges_under_the_risk_layer_and_baselines_without(tmp_path: Path) -> None:
    court = Court.sit(tmp_path, drift=-0.006, risk={"max_drawdown": 0.01})
    version = court.register(court.days[-1], CALLS)
    with Warehouse.open(court.settings) as lake:
        now = decision_time(court.days[-1])
        judged = judging.judge(lake, court.registry, court.settings, court.days[-1], version, now)
    by_name = {run.name: run.decisions for run in judged.results}
    assert any(one.requested != one.action for one in by_name["policy"])
    assert all(one.requested == one.action for one in by_name["always_long_call"])


def test_a_confidence_floor_holds_in_the_gate_too(tmp_path: Path) -> None:
    court = Court.sit(tmp_path, risk={"min_confidence": 0.99})
    court.register(court.days[-1], CALLS)
    assert "0 trades" in court.judge(court.days[-1])["reason"]


@pytest.mark.parametrize(("back", "count"), [(62, 3), (63, 2), (5, 3), (0, 3)])
def test_trials_are_versions_whose_windows_overlap(court: Court, back: int, count: int) -> None:
    last = court.days[-1]
    other = previous_session(last, back) if back else last
    versions = pl.DataFrame({"partition": [str(last), str(last), str(other), None]})
    assert judging.trials(versions, last, 63) == count
    assert judging.trials(versions.clear(), last, 63) == 1


def searched(court: Court, trials: int, session: date) -> dict[str, Any]:
    """Plant a search that tried so many configurations, and give what a training says of it."""
    spec = TABLES["models.hyperparameters"]
    row = {"window_end": session, "algorithm": "ppo", "trials": trials, "params": '{"gamma": 0.9}',
           "available_at": decision_time(session), "source": "test"}  # fmt: skip
    with Warehouse.open(court.settings) as lake:
        lake.write(spec, registering.frame(spec, [row]), ingested_at=decision_time(session))
        return learning.tuned_parameters(lake, court.days[-1], "ppo").origin


def test_the_trials_of_a_search_deflate_what_was_tuned_by_it(court: Court) -> None:
    window = court.days[-1]
    origin = searched(court, 50, previous_session(window))
    court.register(window, CALLS, hyperparameters=origin)
    tuned = json.loads(court.judge(window)["metrics"])
    court.register(window, CALLS, nudge=1.0)
    plain = json.loads(court.judge(window)["metrics"])
    assert (tuned["trials"], plain["trials"]) == (1 + 50, 2 + 50)
    assert tuned["level"] == pytest.approx(1 - 0.05 / 51)
    # Untuned the same policy is proven here; alone it is deflated by nothing, the best of one.
    assert court.rows("models.promotions").filter(version="1")["basis"].item() == "bootstrap"
    assert tuned["deflated_sharpe"] < tuned["probabilistic_sharpe"]


def test_each_search_counts_once_and_as_it_was_last_known(court: Court) -> None:
    last, far = court.days[-1], court.days[-90]
    found = [(last, "ppo a", 20), (last, "ppo a", 50), (last, "ppo b", 7), (last, None, None)]
    rows = [*found, (far, "ppo c", 1_000)]
    columns = ("partition", "search", "search_trials")
    versions = pl.DataFrame(
        [dict(zip(columns, (str(row[0]), *row[1:]), strict=True)) for row in rows]
    )
    assert judging.trials(versions, last, 63) == 4 + 50 + 7


def test_a_version_of_several_searches_counts_each_of_them_once(court: Court) -> None:
    last = str(court.days[-1])
    said = {"search": "a2c a; dqn b", "search_trials": "20; 7"}
    rows = [
        {"partition": last, "search": "a2c a", "search_trials": "20"},
        {"partition": last} | said,
    ]
    assert judging.trials(pl.DataFrame(rows), court.days[-1], 63) == 2 + 20 + 7


def test_a_tuned_training_takes_what_the_search_found(court: Court) -> None:
    searched(court, 50, previous_session(court.days[-1]))
    spy = SpyResource(overrides=court.settings.model_dump(mode="json", exclude_unset=True))
    with Warehouse.open(court.settings) as lake:
        found = learning.tuned_parameters(lake, court.days[-1], "ppo")
    config = models.DailyTraining(preset="sample", tuned=True)
    assert models.agent_config(spy, config, found).gamma == 0.9
    assert models.agent_config(spy, config).gamma != 0.9


def test_a_training_that_is_to_be_tuned_without_a_search_fails_at_once(court: Court) -> None:
    config = {"ops": {"models__ppo_daily": {"config": {"tuned": True}}}}
    made = court.make([models.ppo_daily], court.days[-1], run_config=config, raise_on_error=False)
    (failure,) = [event for event in made.all_events if event.is_step_failure]
    assert "no search for ppo is known" in str(failure.step_failure_data.error)
    assert not [event for event in made.all_events if event.is_step_up_for_retry]


def test_later_windows_do_not_take_a_verdict_back(live: Court) -> None:
    window = live.days[-30]
    live.register(window, CALLS)
    first = live.judge(window)
    for k in range(1, 9):
        live.register(live.days[-30 + k], IDLE, nudge=float(k))
    assert live.judge(window, decision_time(live.days[-1])) == first
    assert judging.trials(live.registry.versions(), window, 63) == 1
    assert judging.trials(live.registry.versions(), live.days[-22], 63) == 9


def window_for(court: Court, last: Any) -> Any:
    with Warehouse.open(court.settings) as lake:
        return judging.window_to_train(lake, Registry(court.settings), court.settings, last)


def test_a_live_source_keeps_its_champions_window(live: Court) -> None:
    before = previous_session(live.days[-1])
    window = previous_session(before, 60)
    assert window_for(live, before) == window
    live.register(window, IDLE)
    live.judge(window, decision_time(before))
    assert window_for(live, live.days[-1]) == window
    # Trained up to 69 sessions before its window, it may speak for 189.
    assert window_for(live, next_session(window, 120)) == window
    assert window_for(live, next_session(window, 121)) == next_session(window, 61)


def test_a_refused_model_is_tried_again_after_a_week_not_every_day(tmp_path: Path) -> None:
    live = Court.sit(tmp_path, source="yfinance", promotion={"bootstrap": False})
    last = live.days[-1]
    window = previous_session(last, 60)
    live.register(window, IDLE)
    assert not live.judge(window, decision_time(last))["accepted"]
    assert window_for(live, next_session(last, 4)) == window
    assert window_for(live, next_session(last, 5)) == next_session(window, 5)


def test_a_historical_source_has_one_window_per_session(court: Court) -> None:
    last = court.days[-1]
    court.register(previous_session(last, 63), CALLS)
    court.judge(previous_session(last, 63))
    assert window_for(court, last) == previous_session(last, 60)


def seeds_of(court: Court) -> dict[str, float]:
    """Net P&L of the seeds that were judged, by name."""
    rows = court.rows("models.evaluations").filter(pl.col("strategy").str.starts_with("seed_"))
    return dict(rows.sort("strategy").select("strategy", "net_pnl").iter_rows())


@pytest.mark.parametrize(
    ("actions", "basis", "words"),
    [((CALLS, CALLS, IDLE), "gate", "67%"), ((CALLS, PUTS, PUTS, PUTS), "bootstrap", "25%")],
)
def test_the_middle_of_the_seeds_has_to_earn(
    court: Court, actions: tuple[int, ...], basis: str, words: str
) -> None:
    window = court.days[-1]
    court.register(window, CALLS, seeds=actions)
    decided, found = court.judge(window), seeds_of(court)
    metrics = json.loads(decided["metrics"])
    assert (decided["basis"], len(found)) == (basis, len(actions))
    assert f"{words} of the runs earned" in decided["reason"]
    assert metrics["seed_iqm"] == pytest.approx(trim_mean(list(found.values()), 0.25))
    low, high = metrics["seed_iqm_ci"]
    assert min(found.values()) <= low <= metrics["seed_iqm"] < high <= max(found.values())


def test_the_chosen_seed_runs_as_the_version_does(court: Court) -> None:
    court.register(court.days[-1], CALLS, seeds=(CALLS, IDLE))
    court.judge(court.days[-1])
    judged = court.rows("models.evaluations").drop("strategy", "ingested_at", "available_at")
    names = court.rows("models.evaluations")["strategy"].to_list()
    policy, chosen = (judged.row(names.index(name)) for name in ("policy", "seed_0"))
    assert policy == chosen


@pytest.mark.parametrize(
    ("actions", "why"),
    [((), "registered without the weights of its seeds"), ((CALLS,), "of one seed")],
)
def test_a_version_without_the_weights_of_its_seeds_says_so(
    court: Court, actions: tuple[int, ...], why: str
) -> None:
    court.register(court.days[-1], CALLS, seeds=actions)
    decided = court.judge(court.days[-1])
    assert decided["basis"] == "gate"
    assert "seeds not judged: version 1 " in decided["reason"]
    assert why in json.loads(decided["metrics"])["seed_note"]


def test_a_broken_seed_is_a_reason_and_no_error(court: Court) -> None:
    court.register(court.days[-1], CALLS, seeds=(CALLS, IDLE))
    files = court.registry.folder.glob("artifacts/**/artifacts/policy.npz")
    for file in files:
        if file != court.registry.fetch("1").path:
            file.write_bytes(b"")
    decided = court.judge(court.days[-1])
    assert "seeds not judged: the weights of a seed of version 1" in decided["reason"]


SMALL = {"ops": {"models__ppo_daily": {"config": {"timesteps": 4096, "seeds": 1}}}}


@pytest.mark.slow
@pytest.mark.fault(49)
def test_a_training_while_mlflow_is_down_gets_its_row_when_it_is_back(court: Court) -> None:
    window, mlruns = court.days[-1], court.settings.mlruns_dir
    mlruns.write_text("not a folder")
    with Warehouse.open(court.settings) as lake:
        before = lake.snapshot_id()
    (event,) = court.make(
        [models.ppo_daily], window, run_config=SMALL
    ).get_asset_materialization_events()
    assert "does not answer" in event.materialization.metadata["spooled"].value
    assert court.rows("models.training_runs").is_empty()
    mlruns.unlink()
    court.judge(window)
    (row,) = court.rows("models.training_runs").iter_rows(named=True)
    assert (row["version"], row["lake_snapshot"], row["timesteps"]) == ("1", before, 8192)
    assert row["mlflow_run_id"]
    assert Registry(court.settings).alias("challenger") == "1"


def test_each_rival_sees_the_market_by_its_own_observation(court: Court) -> None:
    window = court.days[-1]
    court.register(court.days[-30], CALLS)
    court.judge(court.days[-30])
    court.chains(
        court.days[:-20]
    )  # so that a policy of chains may enter in part of the window only
    court.register(window, CALLS, contract=DAILY_15_CHAIN_V1)
    court.judge(window)
    judged = court.rows("models.evaluations").filter(version="2")
    trades = dict(judged.select("strategy", "trades").iter_rows())
    assert 0 < trades["policy"] < trades["champion"]


@pytest.mark.slow
def test_a_model_of_chains_is_trained_registered_and_judged(tmp_path: Path) -> None:
    court = Court.sit(tmp_path, observation="daily_15_chain_v1")
    window = court.days[-1]
    court.chains(court.days[5:])
    assert court.make([models.ppo_daily], window, run_config=SMALL).success
    (row,) = court.rows("models.training_runs").iter_rows(named=True)
    assert (row["contract"], row["train_start"]) == ("daily_15_chain_v1", court.days[5])
    known = Registry(court.settings).versions().row(0, named=True)
    assert known["contract_sha256"] == DAILY_15_CHAIN_V1.sha256
    assert court.judge(window)["version"] == "1"


@pytest.mark.parametrize("late", [None, timedelta(hours=13)], ids=["none", "the next morning"])
def test_without_chains_in_time_nothing_is_trained_on_them(
    tmp_path: Path, late: timedelta | None
) -> None:
    court = Court.sit(tmp_path, observation="daily_15_chain_v1")
    if late is not None:
        court.chains(court.days, late)
    made = court.make([models.ppo_daily], court.days[-1], run_config=SMALL, raise_on_error=False)
    failures = [
        str(event.step_failure_data.error) for event in made.all_events if event.is_step_failure
    ]
    assert "420 before the first complete observation" in failures[-1]
    assert "SPY_OBSERVATION=daily_15_proxy_v1 needs no option chains" in failures[-1]


def test_the_mirror_registers_what_waits_too(court: Court) -> None:
    court.registry.spool.put(court.record(court.days[-1], IDLE))
    overrides = court.settings.model_dump(mode="json", exclude_unset=True)
    spy = SpyResource(overrides=overrides, now=decision_time(court.days[-1]).isoformat())
    assert dg.materialize([models.model_versions], resources={"spy": spy}).success
    (row,) = court.rows("models.training_runs").iter_rows(named=True)
    assert (row["version"], json.loads(row["hyperparameters"])["symbol"]) == ("1", "SPY")
    with Warehouse.open(court.settings) as lake:
        assert lake.row_count("models.model_versions") == 1


def test_what_waits_of_a_model_that_nobody_opens_is_registered_too(court: Court) -> None:
    own = court.record(court.days[-1], IDLE)
    for record in (dataclasses.replace(own, model="ppo_uptrend"), own):
        court.registry.spool.put(record)
    with Warehouse.open(court.settings) as lake:
        now = decision_time(court.days[-1])
        found = registering.register_spooled(lake, court.registry, court.settings, now)
        assert registering.register_spooled(lake, court.registry, court.settings, now) == {}
    assert found == {"ppo_uptrend": ["1"], "ppo_daily": ["1"]}
    assert Registry(court.settings, model="ppo_uptrend").alias("challenger") == "1"
    rows = court.rows("models.training_runs")
    assert set(rows.select("model", "version").iter_rows()) == {(name, "1") for name in found}


def test_a_row_that_cannot_be_written_leaves_the_training_on_disk(court: Court) -> None:
    registry = court.registry
    registry.spool.put(court.record(court.days[-1], IDLE))

    def dies(*_record_and_version: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registry.flush_spool(dies)
    with Warehouse.open(court.settings) as lake:
        now = decision_time(court.days[-1])
        assert registering.register_spooled(lake, registry, court.settings, now) == {
            "ppo_daily": ["1"]
        }
    assert court.rows("models.training_runs").height == 1


@pytest.mark.slow
@pytest.mark.fault(52)
def test_a_training_without_memory_fails_its_run_only(court: Court) -> None:
    neighbour = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    config = {"timesteps": 4096, "seeds": 1, "memory_limit_mb": 300}
    made = court.make(
        [models.ppo_daily],
        court.days[-1],
        run_config={"ops": {"models__ppo_daily": {"config": config}}},
        raise_on_error=False,
    )
    assert not made.success
    (failure,) = [event for event in made.all_events if event.is_step_failure]
    assert "train_policy failed in its process" in str(failure.step_failure_data.error)
    assert not [event for event in made.all_events if event.is_step_up_for_retry]
    assert neighbour.poll() is None
    neighbour.communicate(b"\n")
    assert court.make([models.ppo_daily], court.days[-1], run_config=SMALL).success
