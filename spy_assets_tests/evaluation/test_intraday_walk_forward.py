"""The walk-forward over sessions of minute bars: what is trained on, and what the runs add up to."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import time

import numpy as np
import polars as pl
import pytest

from spy_assets.errors import ConfigError, DataError
from spy_assets.evaluation.backtest import Act
from spy_assets.evaluation.intraday_walk_forward import (
    MODEL_FILLS,
    SELL_CALL,
    SELL_PUT,
    IntradayWalk,
    fold_windows,
    policy_act,
    random_sales,
    run_intraday_fold,
    sell_from,
    split_sessions,
    train_seeds,
    walk_intraday,
    walk_sessions,
)
from spy_assets.evaluation.splits import session_windows
from spy_assets.evaluation.walk_forward import POLICY, selected_runs
from spy_assets.models.policy.short_premium import (
    SHORT_PREMIUM,
    ShortPremiumTask,
    ShortPremiumTrading,
)
from spy_assets.models.policy.train import TrainingStopped, train_task
from spy_assets.sessions import NEW_YORK, bars_due
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.simulator.short_premium_plan import ShortPremiumPlan
from spy_assets_tests.models.markets import tiny_agent
from spy_assets_tests.simulator.intraday_paths import (
    FIRST,
    bars_of,
    daily_of,
    days_from,
    random_path,
)

WINDOWS = session_windows(10, 4, embargo=1)
CONFIG = tiny_agent("ppo", episode_length=1, validation_purge=1, seeds=(42, 84))
TRADING = ShortPremiumTrading()
PLAN = TRADING.plan


@pytest.fixture(scope="module")
def path() -> IntradayPath:
    return random_path(1, 20, minutes=15)


@pytest.fixture(scope="module")
def walk(path: IntradayPath) -> IntradayWalk:
    return walk_intraday(path, WINDOWS, CONFIG)


def test_a_fold_keeps_train_and_test_apart(path: IntradayPath) -> None:
    folds = WINDOWS.folds(path.sessions)
    assert [(f.train_start, f.train_stop, f.test_start, f.test_stop) for f in folds] == [
        (0, 10, 12, 16),
        (4, 14, 16, 20),
    ]
    train, test = fold_windows(path, folds[0])
    assert (train.sessions, test.sessions) == (path.sessions[:10], path.sessions[12:16])
    assert test.close.tolist() == path.close[path.first_bar[12] : path.first_bar[16]].tolist()


def test_a_fold_without_purge_or_sessions_is_refused(path: IntradayPath) -> None:
    fold = WINDOWS.folds(path.sessions)[0]
    with pytest.raises(ConfigError, match="no purge"):
        fold_windows(path, replace(fold, purge=0))
    with pytest.raises(DataError, match="has 8 of the 10 sessions"):
        fold_windows(path.window(2, 20), fold)


def test_the_tail_that_compares_seeds_is_purged(path: IntradayPath) -> None:
    window = path.window(0, 10)
    head, tail = split_sessions(window, CONFIG)
    assert (head.sessions, tail.sessions) == (path.sessions[:7], path.sessions[8:10])
    with pytest.raises(ConfigError, match="2 of validation - 1 of purge = 7 to train on"):
        split_sessions(window, CONFIG.model_copy(update={"episode_length": 8}))


def test_nothing_is_learned_from_a_test(path: IntradayPath, walk: IntradayWalk) -> None:
    """Other prices from the purge on: the same weights, and other results."""
    fold = WINDOWS.folds(path.sessions)[0]
    other = random_path(2, 20, minutes=15)
    low, high = path.first_bar[10], other.first_bar[10]
    assert low == high
    moved = {
        name: np.concatenate((getattr(path, name)[:low], getattr(other, name)[low:]))
        for name in ("open", "high", "low", "close")
    }
    arrays = path.arrays._replace(open=moved["open"], close=moved["close"])
    again = run_intraday_fold(replace(path, **moved, arrays=arrays), fold, CONFIG)
    before = walk.folds[0]
    assert again.dataset_digest == before.dataset_digest
    assert [run.policy_hash for run in again.runs] == [run.policy_hash for run in before.runs]
    assert again.selection.chosen.net_pnl == before.selection.chosen.net_pnl
    assert again.runs[0].equity.tolist() != before.runs[0].equity.tolist()


def test_equity_is_the_capital_and_the_trades_of_each_session(path: IntradayPath) -> None:
    run = walk_sessions(path, random_sales(PLAN, 0.5, 0.1, 3), TRADING)
    made = dict.fromkeys(path.sessions, 0.0)
    for trade in run.trades:
        assert trade.entry_session == trade.exit_session
        made[trade.exit_session] += trade.pnl
    assert run.equity[0] == PLAN.capital
    np.testing.assert_allclose(np.diff(run.equity), list(made.values()), atol=1e-6)
    assert run.net_pnl == pytest.approx(sum(trade.pnl for trade in run.trades))
    assert run.costs == pytest.approx(sum(trade.gross - trade.pnl for trade in run.trades))


@pytest.mark.parametrize(
    ("right", "structure"), [("P", "bull_put_credit"), ("C", "bear_call_credit")]
)
def test_the_fixed_rule_sells_once_a_session_at_ten(path: IntradayPath, right, structure) -> None:
    run = walk_sessions(path, sell_from(PLAN, right), TRADING)
    assert {trade.structure for trade in run.trades} == {structure}
    assert {t.entry_time.astimezone(NEW_YORK).time() for t in run.trades} == {time(10)}
    days = [trade.entry_session for trade in run.trades]
    assert len(set(days)) == len(days) > 10


def test_random_sales_sell_and_close_as_often_as_they_are_told(path: IntradayPath) -> None:
    def run(enter: float, leave: float):
        return walk_sessions(path, random_sales(PLAN, enter, leave, 0), TRADING)

    assert not run(0.0, 1.0).trades
    both = run(1.0, 0.0)
    assert (both.entry_rate, both.close_rate) == (1.0, 0.0)
    assert {trade.structure for trade in both.trades} == {"bull_put_credit", "bear_call_credit"}
    assert run(0.3, 0.2).close_rate == pytest.approx(0.2, abs=0.08)
    three = ShortPremiumTrading(ShortPremiumPlan(actions=3))
    assert walk_sessions(path, random_sales(three.plan, 1.0, 1.0, 0), three).trades


def test_every_seed_and_baseline_is_walked_over_every_test(walk: IntradayWalk) -> None:
    for fold in walk.folds:
        assert [(run.strategy, run.seed) for run in fold.runs] == [
            (POLICY, 42), (POLICY, 84), ("cash", 0), (SELL_PUT, 0), (SELL_CALL, 0),
            ("random_same_rate", 0),
        ]  # fmt: skip
        best = max(fold.selection.candidates, key=lambda one: one.net_pnl)
        chosen = [run for run in fold.runs if run.strategy == POLICY and run.selected]
        assert [run.seed for run in chosen] == [best.policy.seed]
        assert all(len(run.equity) == 5 for run in fold.runs)
    assert walk.summary.spread is not None


def test_the_summary_is_one_chained_account(walk: IntradayWalk) -> None:
    growth = 1.0
    for run in selected_runs([run for fold in walk.folds for run in fold.runs], SELL_CALL):
        growth *= run.equity[-1] / run.equity[0]
    row = next(row for row in walk.rows() if row["strategy"] == SELL_CALL)
    assert row["chained_return"] == pytest.approx(growth - 1.0)
    policy = walk.rows()[0]
    cash = next(row for row in walk.rows() if row["strategy"] == "cash")
    assert cash["lead"] == pytest.approx(policy["net_pnl"] / 8)


def test_hours_and_metrics_have_all_the_profit(walk: IntradayWalk) -> None:
    hours = pl.DataFrame(walk.hour_rows())
    sums = dict(hours.group_by("strategy").agg(pl.col("net_pnl").sum()).iter_rows())
    for row in walk.rows():
        name = row["strategy"]
        if name in (POLICY, SELL_PUT, SELL_CALL):
            assert sums[name] == pytest.approx(row["net_pnl"])
            assert walk.metrics[name].net_pnl == pytest.approx(row["net_pnl"])
            assert walk.metrics[name].trades == row["trades"]


def test_every_result_says_whose_prices_it_is_of(walk: IntradayWalk) -> None:
    assert MODEL_FILLS == "model fills on a surface of the previous close's VIX"
    labels = [row["fills"] for row in (*walk.rows(), *walk.hour_rows())]
    assert set(labels) == {MODEL_FILLS}
    assert walk.verdict.endswith(f"Prices: {MODEL_FILLS}.")
    stored = json.loads(json.dumps(walk.to_dict()))
    assert (stored["fills"], stored["bar_minutes"]) == (MODEL_FILLS, 15)


def test_a_stopped_walk_goes_on_from_its_checkpoints(path: IntradayPath, tmp_path) -> None:
    window, calls, made = path.window(0, 10), iter(range(10_000)), []

    def keep(*given, **options):
        made.append(train_task(*given, **options))
        return made[-1]

    with pytest.raises(TrainingStopped):
        train_seeds(
            window, CONFIG, TRADING, checkpoint_dir=tmp_path, stop=lambda: next(calls) >= 40
        )
    again = train_seeds(window, CONFIG, TRADING, checkpoint_dir=tmp_path, train=keep)
    assert [policy.resumed_at for policy in made] == [256, 0]
    fresh = train_seeds(window, CONFIG, TRADING)
    assert [one.net_pnl for one in again.candidates] == [one.net_pnl for one in fresh.candidates]


def falling_days(count: int = 20) -> IntradayPath:
    """Sessions that lose 1.5 % between 10:45 and the close: the put of 10:00 loses its whole width."""
    days = days_from(FIRST, count)
    shape = [np.clip((np.arange(bars_due(d, 15)) - 5) / (bars_due(d, 15) - 6), 0, 1) for d in days]
    bars = [
        bars_of(d, (500.0 * (1 - 0.015 * s)).tolist(), 15) for d, s in zip(days, shape, strict=True)
    ]
    return IntradayPath.from_bars(pl.concat(bars), daily_of(days), minutes=15)


@pytest.mark.slow
def test_a_policy_finds_more_than_the_better_rule() -> None:
    """The call of 10:00 wins every day; the policy finds that, and what else there is."""
    path = falling_days()
    brisk = {
        "timesteps": 120_000,
        "n_envs": 64,
        "n_steps": 52,
        "learning_rate": 1e-3,
        "ent_coef": 0.01,
    }
    config = SHORT_PREMIUM.model_copy(update=brisk)

    def made(act: Act) -> float:
        return walk_sessions(path, act, TRADING).net_pnl

    policy = train_task(ShortPremiumTask((path,)), config, 84)
    assert made(sell_from(PLAN, "P")) < 0.0 < made(sell_from(PLAN, "C"))
    assert made(policy_act(policy, "tanh")) > 1.5 * made(sell_from(PLAN, "C"))
