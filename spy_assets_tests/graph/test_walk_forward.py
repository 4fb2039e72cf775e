"""The walk-forward as assets: folds that are missing, that failed, that are there, and their rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from spy_assets import backfill, plan
from spy_assets.defs import walk_windows, walkforward, walking
from spy_assets.defs.partitions import WINDOWS, window_partitions
from spy_assets.errors import ConfigError, DataError
from spy_assets.evaluation.splits import HOLDING, Fold
from spy_assets.evaluation.walk_forward import POLICY, FoldResult, WindowRun, training_window
from spy_assets.models.policy.config import preset
from spy_assets.registry import Registry
from spy_assets.sessions import decision_time, sessions_between
from spy_assets.settings import Settings, load_settings
from spy_assets.simulator.exits import DEFAULT_RULES
from spy_assets.warehouse import Warehouse
from spy_assets_tests.evaluation.walks import made_walk
from spy_assets_tests.graph.courts import DAILY_15
from spy_assets_tests.graph.walkers import FOLDS, NOW, TRAINING, features, make_profile
from spy_assets_tests.graph.worlds import read, runner


def walk(settings: Settings, **how: Any) -> backfill.WalkReport:
    with runner(settings) as made:
        return backfill.walk(made, training=TRAINING, **how)


def cost(settings: Settings, target: str = "walk_forward", **how: Any) -> Any:
    with runner(settings) as made:
        return backfill._planned(made, backfill.Request(target, training=TRAINING, **how))[0]


def steps(asked: int) -> int:
    """Environment steps of a training that was asked for so many: whole rollouts."""
    rollout = preset("sample").rollout_steps
    return -(-asked // rollout) * rollout


@dataclass(frozen=True)
class Walked:
    """A profile before and after its walk-forward, and after it was asked for again."""

    settings: Settings
    before: Any
    report: backfill.WalkReport
    again: backfill.WalkReport
    after: Any


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        settings = make_profile(tmp_path_factory.mktemp("walk"))
        before = cost(settings)
        report = walk(settings)
        yield Walked(settings, before, report, walk(settings), cost(settings))


def test_the_partitions_are_the_folds_of_the_settings() -> None:
    folds = walk_windows.folds_of(load_settings(), NOW)
    assert [fold.key for fold in folds] == FOLDS == WINDOWS.get_partition_keys()
    assert folds[-1].test_last < walk_windows.final_from(load_settings(), NOW) == date(2018, 1, 1)


def test_every_fold_is_walked_once(walked: Walked) -> None:
    assert (walked.report.made, walked.report.due, walked.again.made) == (3, 3, 0)
    assert walked.again.figures == walked.report.figures


def test_the_cost_is_said_before_and_known_after(walked: Walked) -> None:
    before, after = walked.before, walked.after
    assert (before.total, before.missing, before.present) == (3, 3, 0)
    assert before.training_steps == 3 * 2 * steps(512)
    assert before.minutes is None
    assert before.basis.startswith("unknown")
    assert (after.missing, after.present, after.minutes) == (0, 3, 0.0)


def test_recorded_speed_gives_minutes(walked: Walked) -> None:
    again = cost(walked.settings, which="all")
    assert again.partitions == tuple(FOLDS)
    assert again.minutes > 0
    assert "steps a second, by 3 recorded partition(s)" in again.basis


def test_another_configuration_is_missing_though_dagster_has_its_folds(walked: Walked) -> None:
    with runner(walked.settings) as made:
        other = backfill.Request("walk_forward", training={"timesteps": 9_000, "seeds": 1})
        planned = backfill._planned(made, other)[0]
    assert (planned.present, planned.missing, planned.training_steps) == (0, 3, 3 * steps(9_000))


def test_rows_of_each_seed_and_of_every_baseline(walked: Walked) -> None:
    rows = read(walked.settings, walking.RESULTS)
    policies = rows.filter(strategy=POLICY)
    assert set(policies["seed"]) == {42, 84}
    assert policies.group_by("test_start").agg(pl.col("selected").sum())["selected"].to_list() == [
        1, 1, 1,
    ]  # fmt: skip
    baselines = {"cash", "buy_and_hold", "random_same_rate", "always_iron_condor"}
    assert baselines <= {
        name.removesuffix("_price_only") for name in rows.filter(seed=0)["strategy"]
    }
    assert set(rows["configuration"]) == {walked.report.configuration}
    assert rows["lake_snapshot"].null_count() == rows["mlflow_run_id"].null_count() == 0
    assert (rows["available_at"].dt.date() >= rows["test_end"]).all()


def test_what_is_read_back_is_what_was_walked(walked: Walked) -> None:
    with Warehouse.open(walked.settings, read_only=True) as lake:
        stored = walking.stored_walk(lake, "s0", walked.report.configuration)
    rows = read(walked.settings, walking.RESULTS)
    assert len(stored.runs) == rows.height
    for run in stored.runs:
        row = rows.row(
            by_predicate=(pl.col("test_start") == run.fold.test_first)
            & (pl.col("strategy") == run.strategy)
            & (pl.col("seed") == run.seed),
            named=True,
        )
        assert run.daily.net_pnl == pytest.approx(row["net_pnl"])
        assert len(run.trades) in (run.trade_count, 0)
        assert all(trade.regime == "uptrend" for trade in run.trades)
    assert (stored.seeds, stored.timesteps) == ((42, 84), steps(512))


def test_folds_are_nested_runs_of_their_configuration(walked: Walked) -> None:
    registry = Registry(walked.settings)
    assert registry.walk_forward_trials("SPY") == {walked.report.configuration}
    with registry._session() as client:
        experiment = client.get_experiment_by_name(registry.profile).experiment_id
        runs = client.search_runs([experiment])
    kinds = [run.data.tags["kind"] for run in runs]
    assert sorted(kinds) == ["walk_forward"] + ["walk_forward_fold"] * 3 + ["walk_forward_seed"] * 6
    fold = next(run for run in runs if run.data.tags["kind"] == "walk_forward_fold")
    assert fold.data.tags["lake_snapshot"].isdigit()
    assert fold.inputs.dataset_inputs[0].dataset.digest == fold.data.tags["dataset_digest"][:36]


def test_a_finished_fold_leaves_no_checkpoint(walked: Walked) -> None:
    folder = walked.settings.root / "checkpoints" / "walk_forward"
    assert list(folder.iterdir()) == []


def test_the_tearsheet_and_its_figures_are_there(walked: Walked) -> None:
    page = Path(walked.report.tearsheet).read_text()
    figures = json.loads(Path(walked.report.tearsheet).with_suffix(".json").read_text())
    assert "SPY*" in page
    assert figures["verdict"] == walked.report.figures["verdict"]
    assert figures["verdict"] in page.replace("&#x27;", "'")
    assert (figures["folds"], figures["sessions"], figures["trials"]) == (3, 189, 1)


def test_the_snapshots_of_folds_are_kept_by_maintenance(walked: Walked) -> None:
    from spy_assets.defs.jobs import referenced_snapshots

    with Warehouse.open(walked.settings, read_only=True) as lake:
        kept = referenced_snapshots(lake)
    assert set(read(walked.settings, walking.RESULTS)["lake_snapshot"]) <= kept


def test_failed_folds_are_asked_for_alone(tmp_path: Path) -> None:
    settings = make_profile(tmp_path)
    with Warehouse.open(settings) as lake:
        lake.execute("DELETE FROM features.daily_15 WHERE session >= '2017-10-02'")
    with pytest.raises(plan.RunFailed, match="has 51 of the 63 test sessions"):
        walk(settings)
    assert (cost(settings).present, cost(settings).failed) == (2, 1)
    assert cost(settings, which="failed").partitions == (FOLDS[-1],)
    with Warehouse.open(settings) as lake:
        lake.write(DAILY_15, features(), ingested_at=NOW)
    report = walk(settings, which="failed")
    assert (report.made, cost(settings).present) == (1, 3)


def test_windows_begin_later_or_end_earlier_as_the_settings_say() -> None:
    settings = load_settings(
        source="yfinance",
        walk={"preset": "yearly", "start": "2012-01-01", "final_from": "2018-01-01"},
    )
    keys = window_partitions(settings, NOW).get_partition_keys()
    assert keys == ["2016-01-04", "2017-01-03"]


def test_a_live_source_lists_a_fold_when_its_test_is_over() -> None:
    settings = load_settings(source="yfinance", walk={"final_from": "2030-01-01"})
    fold = walk_windows.folds_of(settings, NOW)[-1]
    over = decision_time(fold.test_last)
    assert walk_windows.folds_of(settings, over)[-1] == fold
    before = walk_windows.folds_of(settings, over.replace(hour=1))
    assert before == walk_windows.folds_of(settings, NOW)[:-1]


def test_the_final_period_of_a_live_source_is_the_running_year() -> None:
    assert walk_windows.final_from(load_settings(source="yfinance"), NOW) == date(2019, 1, 1)


def test_the_least_purge_follows_the_fill() -> None:
    assert DEFAULT_RULES.max_hold == HOLDING
    assert walk_windows.windows_of(load_settings()).purge == 6
    assert walk_windows.windows_of(load_settings(fill="next_close")).purge == 7
    with pytest.raises(ConfigError, match=r"purge=6 sessions is less than 5 .* = 7"):
        walk_windows.windows_of(load_settings(fill="next_close", walk={"purge_sessions": 6}))


def test_as_many_folds_as_years_have() -> None:
    settings = load_settings(source="yfinance")
    assert len(walk_windows.last_folds(settings, NOW, 3.0)) == 3
    assert walk_windows.last_folds(settings, NOW) == walk_windows.folds_of(settings, NOW)
    with pytest.raises(ConfigError, match="504 to train on"):
        walk_windows.last_folds(settings, NOW, 1.0)


def test_a_history_that_is_too_short_has_no_fold_and_says_why() -> None:
    settings = load_settings(start_year=2016)
    assert walk_windows.folds_of(settings, NOW) == ()
    with pytest.raises(ConfigError, match="251 sessions before 2018-01-01"):
        walk_windows.last_folds(settings, NOW)
    with pytest.raises(DataError, match="has no fold whose test begins on 2017-01-19; it has none"):
        walk_windows.fold_named(settings, "2017-01-19", NOW)


def test_a_configuration_knows_what_matters_and_nothing_else() -> None:
    def digest(agent: Any = None, **changes: Any) -> str:
        return walking.configuration(load_settings(**changes), agent or preset("quick")).digest

    same = digest()
    assert digest(preset("quick", checkpoint_every=7)) == same
    others = {
        digest(preset("quick", timesteps=60_000)),
        digest(costs="tradier"),
        digest(walk={"embargo_sessions": 6}),
        digest(risk={"capital": 20_000.0}),
        digest(symbol="^GSPC"),
        digest(source="yfinance", walk={"start": "2015-01-02"}),
        digest(walk={"start": "2015-03-02"}),
    }
    assert len(others - {same}) == 7
    # The final period says how many folds there are, and not what any of them is.
    assert digest(walk={"final_from": "2018-11-01"}) == same


def test_equity_that_is_stored_begins_after_the_capital() -> None:
    run = made_walk(1)[0]
    rows = walking.equity_rows(run)
    assert [row["session"] for row in rows] == list(run.sessions)
    assert np.allclose([row["equity"] for row in rows], run.equity[1:])


def test_the_final_fold_follows_the_last_and_ends_with_the_source() -> None:
    settings = load_settings()
    fold = walk_windows.final_fold(settings, NOW)
    assert (fold.test_first, fold.test_last) == (date(2018, 1, 2), date(2018, 12, 31))
    assert (fold.train_sessions, fold.number) == (504, 3)
    assert fold.test_start - fold.train_stop == 11
    expanding = load_settings(walk={"preset": "expanding"})
    assert walk_windows.final_fold(expanding, NOW).train_first == date(2015, 1, 2)
    late = load_settings(walk={"final_from": "2018-12-31"})
    with pytest.raises(ConfigError, match="the final period has 1 session"):
        walk_windows.final_fold(late, NOW)


def test_the_final_period_is_looked_at_once(walked: Walked) -> None:
    settings = walked.settings
    with runner(settings) as made:
        figures = backfill.final_test(made, TRAINING)
        assert backfill.final_test(made, TRAINING) == figures
        with pytest.raises(plan.RunFailed, match=r"3 of 3 folds of configuration \w+ are missing"):
            backfill.final_test(made, {"timesteps": 9_000, "seeds": 1})
    assert (figures["folds"], figures["sessions"], figures["first"]) == (1, 251, "2018-01-02")
    assert cost(settings).total == 3  # it is no fold of the walk-forward
    later = load_settings(home=settings.home, walk={"final_from": "2018-07-02"})
    with runner(later) as made, pytest.raises(plan.RunFailed, match="of 5 folds of configuration"):
        backfill.final_test(made, TRAINING)  # another period, of which nothing is known yet


def test_a_second_configuration_is_refused_the_final_period(walked: Walked) -> None:
    fold = walk_windows.final_fold(walked.settings, NOW)
    own = walking.Configuration("s0", {"symbol": "SPY"})
    with Warehouse.open(walked.settings, read_only=True) as lake:
        walking.require_untouched(lake, walked_as(walked), fold, [])
        with pytest.raises(ConfigError, match="was tested on the final period from 2018-01-02"):
            walking.require_untouched(lake, own, fold, [])


def walked_as(walked: Walked) -> walking.Configuration:
    with Warehouse.open(walked.settings, read_only=True) as lake:
        stored = walking.stored_walk(lake, "s0", walked.report.configuration)
    return walking.Configuration("s0", stored.parameters)


def store(
    lake: Warehouse,
    runs: Sequence[WindowRun],
    own: walking.Configuration,
    *,
    at: datetime = NOW,
    run_id: str = "first",
) -> None:
    """Write a fold's runs as its asset does."""
    policies = [run for run in runs if run.strategy == POLICY]
    trained = [SimpleNamespace(policy=SimpleNamespace(seed=r.seed, timesteps=9)) for r in policies]
    selection: Any = SimpleNamespace(candidates=trained)
    result = FoldResult(runs[0].fold, selection, tuple(runs), "digest")
    walked = walking.WalkedFold(result, own, "sample", "sample", "SPY", lake.snapshot_id(), run_id)
    lake.write_many(walked.batches(None), ingested_at=at)


def on_fold(fold: Fold) -> list[WindowRun]:
    """A policy and cash over the sessions of a fold."""
    days = tuple(sessions_between(fold.test_first, fold.test_last))
    equity = np.full(len(days) + 1, 10_000.0)
    return [
        replace(run, fold=fold, sessions=days, equity=equity) for run in made_walk(1, seeds=(42,))
    ]


OTHER = walking.Configuration("s0", {"symbol": "SPY", "other": 1})
OWN = walking.Configuration("s0", {"symbol": "SPY", "own": 1})


@pytest.mark.parametrize("who", [OTHER, OWN], ids=["another", "itself"])
def test_a_fold_in_the_final_period_is_a_look_at_it(tmp_path: Path, who: Any) -> None:
    settings = load_settings(home=tmp_path)
    later = load_settings(home=tmp_path, walk={"final_from": "2018-11-01"})
    final = walk_windows.final_fold(settings, NOW)
    fold = walk_windows.folds_of(later, NOW)[-1]
    assert fold.test_last >= final.test_first
    with Warehouse.open(settings) as lake:
        walking.require_untouched(lake, OWN, final, [])
        store(lake, on_fold(fold), who)
        with pytest.raises(ConfigError, match=f"{who.digest} was tested on the final .* 's0'"):
            walking.require_untouched(lake, OWN, final, [])
        assert set(walking.looks_from(lake, final.test_first)["configuration"]) == {who.digest}


def test_a_fold_that_is_walked_again_leaves_nothing_of_the_first_time(tmp_path: Path) -> None:
    runs = made_walk(1)
    fewer = [
        replace(one, trades=one.trades[:1], trade_count=min(1, one.trade_count)) for one in runs
    ]
    with Warehouse.open(load_settings(home=tmp_path)) as lake:
        store(lake, runs, OWN)
        store(lake, fewer[1:], OWN, at=NOW + timedelta(days=1), run_id="second")
        stored = walking.stored_walk(lake, "s0", OWN.digest).runs
    found = {(run.strategy, run.seed): run.trades for run in stored}
    assert found == {(run.strategy, run.seed): run.trades for run in fewer[1:]}


def test_the_report_is_of_the_symbol_and_the_cut_of_the_settings(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    moved = load_settings(home=tmp_path, walk={"start": "2015-03-02"})
    qqq = load_settings(home=tmp_path, symbol="QQQ")
    own, later, other = (
        walking.configuration(one, preset("quick")) for one in (settings, moved, qqq)
    )
    runs = made_walk(1)
    with Warehouse.open(settings) as lake:
        assert walking.latest_configuration(lake, settings) is None
        for day, one in enumerate((own, later, other)):
            store(lake, runs, one, at=NOW + timedelta(days=day))
        found = [walking.latest_configuration(lake, one) for one in (settings, moved, qqq)]
    assert found == [own.digest, later.digest, other.digest]


def test_the_final_period_of_this_year_is_not_that_of_the_last(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, source="yfinance")
    years = [datetime(year, 6, 3, 22, tzinfo=UTC) for year in (2019, 2020)]
    first, second = (walk_windows.final_fold(settings, now) for now in years)
    final = replace(OWN, preset=walking.final_preset("s0"))
    with Warehouse.open(settings) as lake:
        for fold, now in zip((first, second), years, strict=True):
            assert fold.key not in walking.walked_windows(lake, final.preset, final.digest)
            walking.require_untouched(lake, OWN, fold, [])
            store(lake, on_fold(fold), final, at=now)
        stored = walking.stored_walk(lake, final.preset, final.digest, [second.key])
    assert {run.fold.test_first for run in stored.runs} == {second.test_first}


def test_a_fold_that_the_settings_no_longer_have_is_not_shown(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    own = walking.configuration(settings, preset("quick"))
    folds = walk_windows.folds_of(settings, NOW)
    earlier = load_settings(home=tmp_path, walk={"final_from": folds[-1].test_first})
    moved = load_settings(home=tmp_path, walk={"start": "2014-06-02"})
    with Warehouse.open(settings) as lake:
        for fold in folds:
            store(lake, on_fold(fold), own)
        shown = [
            {run.fold.key for run in walking.shown_walk(lake, one, own.digest, NOW).runs}
            for one in (settings, earlier, moved)
        ]
    assert shown == [set(FOLDS), set(FOLDS[:2]), set(FOLDS)]


def test_a_revision_during_the_test_is_not_trained_on(tmp_path: Path) -> None:
    settings, rows = load_settings(home=tmp_path), features()
    fold = walk_windows.folds_of(settings, NOW)[0]
    revised = rows.filter(session=fold.train_last).with_columns(close=pl.lit(999.0))
    with Warehouse.open(settings) as lake:
        lake.write(DAILY_15, rows, ingested_at=decision_time(date(2014, 1, 2)))
        lake.write(DAILY_15, revised, ingested_at=decision_time(fold.test_first))
        known, path = walkforward._markets(lake, settings, fold, lake.snapshot_id())
    (published,) = rows.filter(session=fold.train_last)["close"]
    assert training_window(known, fold).close[-1] == published
    assert path.close[path.index_of(fold.train_last)] == 999.0
    assert (known.sessions[-1], path.sessions[-1]) == (fold.train_last, fold.test_last)
