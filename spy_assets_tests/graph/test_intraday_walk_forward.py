"""The walk-forward over minute bars as assets: folds, rows, labels, and the numbers of a direct call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from spy_assets import backfill, plan
from spy_assets.defs import intraday_walking, walk_windows, walking
from spy_assets.defs.jobs import referenced_snapshots
from spy_assets.defs.partitions import INTRADAY_WINDOWS
from spy_assets.defs.walk_clocks import INTRADAY
from spy_assets.errors import ConfigError, DataError
from spy_assets.evaluation.intraday_walk_forward import (
    MODEL_FILLS,
    SELL_CALL,
    SELL_PUT,
    walk_intraday,
)
from spy_assets.evaluation.splits import session_windows
from spy_assets.evaluation.walk_forward import POLICY
from spy_assets.registry import Registry
from spy_assets.sessions import sessions_between
from spy_assets.settings import Settings, load_settings
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.warehouse import Warehouse
from spy_assets_tests.graph.minutes import NOW, bars, known, make_profile
from spy_assets_tests.graph.worlds import read, runner

DAYS = sessions_between(date(2017, 1, 3), date(2018, 12, 31))[: 252 + 6 + 126]
FOLDS = ["2018-01-11", "2018-04-13"]
TRAINING = {"timesteps": 512, "seeds": 2}
TWO_FOLDS: dict[str, Any] = {"intraday": {"end": str(DAYS[-1])}}


def walk(settings: Settings, **how: Any) -> backfill.WalkReport:
    with runner(settings, NOW) as made:
        return backfill.walk(made, training=TRAINING, clock=INTRADAY, **how)


def cost(settings: Settings, **how: Any) -> Any:
    request = backfill.Request("intraday_walk_forward", training=TRAINING, **how)
    with runner(settings, NOW) as made:
        return backfill._planned(made, request)[0]


@dataclass(frozen=True)
class Walked:
    """A profile with one fold, then with the one that was missing, then asked again."""

    settings: Settings
    before: Any
    report: backfill.WalkReport
    again: backfill.WalkReport


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        settings = make_profile(tmp_path_factory.mktemp("minutes"), DAYS, **TWO_FOLDS)
        before = cost(settings)
        with runner(settings, NOW) as made:
            backfill._make(made, cost(settings, last=FOLDS[0]), INTRADAY.asset, TRAINING)
        yield Walked(settings, before, walk(settings), walk(settings))


def test_the_partitions_are_the_folds_of_the_settings() -> None:
    folds = walk_windows.intraday_folds(load_settings(), NOW)
    assert [fold.key for fold in folds] == INTRADAY_WINDOWS.get_partition_keys()
    assert [fold.key for fold in folds[:2]] == FOLDS
    assert {(fold.purge, fold.embargo) for fold in folds} == {(1, 5)}
    assert folds[-1].test_last == date(2018, 12, 31)  # shorter, as no later session comes


def test_the_cost_is_said_before(walked: Walked) -> None:
    rollout = 128 * 78
    assert (walked.before.partitions, walked.before.present) == (tuple(FOLDS), 0)
    assert walked.before.training_steps == 2 * 2 * rollout
    assert walked.before.basis.startswith("unknown")
    again = cost(walked.settings, which="all")
    assert "steps a second, by 2 recorded partition(s)" in again.basis


def test_only_what_is_missing_is_walked(walked: Walked) -> None:
    assert (walked.report.made, walked.report.due, walked.again.made) == (1, 2, 0)
    assert walked.again.figures == walked.report.figures


@pytest.mark.slow
def test_the_rows_are_those_of_a_direct_call_on_the_same_path(walked: Walked) -> None:
    settings = walked.settings
    daily = known(DAYS).rename({"vix": "vix_close"})
    direct = walk_intraday(
        IntradayPath.from_bars(bars(DAYS, 5), daily, minutes=5),
        session_windows(252, 63),
        intraday_walking.agent_of(settings, 512, 2),
        trading=intraday_walking.trading(settings),
    )
    with Warehouse.open(settings, read_only=True) as lake:
        stored = walking.stored_walk(
            lake, "5min_5", walked.report.configuration, tables=intraday_walking.TABLES_OF
        )
    due = {(r.fold.key, r.strategy, r.seed): r for fold in direct.folds for r in fold.runs}
    assert len(stored.runs) == len(due) == 2 * 6
    for run in stored.runs:
        own = due[run.fold.key, run.strategy, run.seed]
        np.testing.assert_array_equal(run.equity, own.equity)
        assert (run.trades, run.trade_count, run.costs) == (own.trades, own.trade_count, own.costs)
        assert (run.policy_hash, run.selected) == (own.policy_hash, own.selected)
    told = {row["strategy"]: row for row in walked.report.figures["strategies"]}
    summed = json.loads(json.dumps(direct.summary.to_dict()["strategies"]))
    assert told == {row["strategy"]: row for row in summed}


def test_every_row_is_labelled_and_apart_from_the_daily_ones(walked: Walked) -> None:
    rows = read(walked.settings, intraday_walking.RESULTS)
    assert set(rows["strategy"]) == {POLICY, "cash", SELL_PUT, SELL_CALL, "random_same_rate"}
    assert set(rows["fills"]) == {MODEL_FILLS}
    assert set(rows.select("bar_minutes", "actions", "skipped_sessions").rows()) == {(5, 5, 0)}
    assert set(rows["bars"]) == {'{"from the source": 315}'}
    with Warehouse.open(walked.settings) as lake:
        assert walking.latest_configuration(lake, walked.settings) is None
        assert walking.trials(lake, Registry(walked.settings), "SPY") == 1
        assert set(rows["lake_snapshot"]) <= referenced_snapshots(lake)
    trades = read(walked.settings, "evaluation.intraday_walk_forward_trades")
    assert set(trades.filter(strategy=SELL_PUT)["entry_hour"]) == {10}


def test_trials_of_one_clock_are_none_of_the_other(walked: Walked) -> None:
    registry = Registry(walked.settings)
    assert registry.walk_forward_trials("SPY", "intraday") == {walked.report.configuration}
    assert registry.walk_forward_trials("SPY") == set()


def test_the_page_says_whose_prices_these_are(walked: Walked) -> None:
    page = Path(walked.report.tearsheet).read_text()
    figures = walked.report.figures
    assert figures["verdict"].endswith(f"Prices: {MODEL_FILLS}.")
    for words in (MODEL_FILLS, "no result of real quotes is pooled", "630 from the source"):
        assert words in page.replace("&#x27;", "'")
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (figures["folds"], figures["sessions"], figures["skipped"]) == (2, 126, {})


def test_a_finished_fold_leaves_no_checkpoint(walked: Walked) -> None:
    folder = walked.settings.root / "checkpoints" / "intraday_walk_forward"
    assert list(folder.iterdir()) == []


def test_a_fold_without_bars_fails_and_says_what_to_do(tmp_path: Path) -> None:
    settings = make_profile(tmp_path, DAYS[:300], **TWO_FOLDS)
    with pytest.raises(plan.RunFailed, match=r"21 of 63 sessions .* cannot be walked") as caught:
        walk(settings)
    assert "21 of 63" in caught.value.message
    assert (cost(settings).failed, cost(settings).present) == (1, 0)


def files(root: Path, days: list[date]) -> Settings:
    """A folder of five-minute bars of some sessions, and the profile that reads it."""
    daily, fine = root / "bars" / "daily", root / "bars" / "5min" / "SPY"
    for folder in (daily, fine):
        folder.mkdir(parents=True)
    pl.DataFrame({"date": days}).write_parquet(daily / "SPY.parquet")
    rows = bars(days, 5).rename({"bar_start": "ts"}).drop("session")
    rows.with_columns(volume=pl.lit(1000.0)).write_parquet(fine / "a.parquet")
    return load_settings(source="files", files_dir=root, home=root / "home")


def test_the_bars_of_the_folds_are_asked_for_and_a_hole_keeps_nobody_back(tmp_path: Path) -> None:
    days = DAYS[:6]
    settings = files(tmp_path, [day for day in days if day != days[2]])
    folds = session_windows(3, 2, embargo=0).folds(days)
    with runner(settings, NOW) as made:
        backfill._minute_bars(made, folds)
        backfill._minute_bars(made, folds)
    rows = read(settings, "market.minute_bars_5")
    assert sorted(set(rows["session"])) == [day for day in days if day != days[2]]
    assert rows.height == 5 * 78
    assert not rows["synthetic"].any()
    assert read(settings, "market.minute_bars").is_empty()


def test_single_minutes_fill_a_hole_of_the_five_minute_files(tmp_path: Path) -> None:
    days = DAYS[:6]
    settings = files(tmp_path, [day for day in days if day != days[2]])
    single = tmp_path / "bars" / "1min" / "SPY"
    single.mkdir(parents=True)
    rows = bars(days, 1).rename({"bar_start": "ts"}).drop("session")
    rows.with_columns(volume=pl.lit(1000.0)).write_parquet(single / "a.parquet")
    with runner(settings, NOW) as made:
        backfill._minute_bars(made, session_windows(3, 2, embargo=0).folds(days))
    assert set(read(settings, "market.minute_bars")["session"]) == {days[2]}


def test_a_fold_counts_the_sessions_that_there_are(tmp_path: Path) -> None:
    settings = make_profile(tmp_path, [day for day in DAYS if day != DAYS[260]], **TWO_FOLDS)
    fold = walk_windows.intraday_folds(settings, NOW)[0]
    with Warehouse.open(settings) as lake:
        found = intraday_walking.fold_markets(lake, settings, fold)
    assert (found.fold.train_sessions, found.fold.test_sessions) == (252, 62)
    assert (found.fold.key, found.fold.train_last) == (fold.key, fold.train_last)
    labels = found.labels(settings)
    assert labels["skipped_sessions"] == 1
    assert json.loads(labels["skipped"]) == {str(DAYS[260]): "0 bar(s)"}
    told = " ".join(intraday_walking.notices(settings, {
        "origins": json.loads(labels["bars"]), "skipped": json.loads(labels["skipped"]),
    }))  # fmt: skip
    assert f"1 session(s) left out, the first on {DAYS[260]}: 0 bar(s)." in told


def test_a_configuration_knows_what_matters() -> None:
    def digest(agent: Any = None, **own: Any) -> str:
        settings = load_settings(intraday=own)
        found = agent or intraday_walking.agent_of(settings)
        return intraday_walking.configuration(settings, found).digest

    others = [
        {"minutes": 1}, {"actions": 3}, {"plan": "original"}, {"naked": True}, {"timesteps": 9},
        {"embargo_sessions": 6}, {"start": "2017-02-01"}, {"end": "2018-02-01"}, {"seeds": 2},
    ]  # fmt: skip
    assert len({digest(), *(digest(**own) for own in others)}) == 1 + len(others)


def test_settings_take_numbers_as_text_and_refuse_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPY_INTRADAY__MINUTES", "1")
    monkeypatch.setenv("SPY_INTRADAY__ACTIONS", "3")
    assert (load_settings().intraday.minutes, load_settings().intraday.actions) == (1, 3)
    monkeypatch.setenv("SPY_INTRADAY__ACTIONS", "4")
    with pytest.raises(ConfigError, match="SPY_INTRADAY__ACTIONS=4: allowed: 3 or 5"):
        load_settings()


def test_a_live_source_has_no_folds_until_its_start_is_set() -> None:
    live = load_settings(source="yfinance")
    assert walk_windows.intraday_folds(live, NOW) == ()
    with pytest.raises(ConfigError, match="does not say where its minute bars begin"):
        walk_windows.last_intraday_folds(live, NOW)
    own = {"start": "2017-01-03"}
    settings = load_settings(source="yfinance", intraday=own)
    folds = walk_windows.intraday_folds(settings, NOW)
    assert {fold.test_sessions for fold in folds} == {63}  # the running quarter is not over
    before = walk_windows.intraday_folds(settings, NOW - timedelta(days=90))
    assert before == folds[: len(before)]
    with pytest.raises(
        DataError, match="5-minute bars has no fold whose test begins on 2016-01-04"
    ):
        walk_windows.intraday_fold_named(settings, "2016-01-04", NOW)


def test_as_many_folds_as_years_have() -> None:
    settings = load_settings()
    folds = walk_windows.last_intraday_folds(settings, NOW, 1.3)
    assert folds == walk_windows.intraday_folds(settings, NOW)[-len(folds) :]
    assert len(folds) == 2
    with pytest.raises(ConfigError, match="252 to train on"):
        walk_windows.last_intraday_folds(settings, NOW, 0.5)
