"""One fold: what the training may see, what is walked, and that a stopped one goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spy_assets.errors import DataError
from spy_assets.evaluation.backtest import Venue, greedy, run_policy
from spy_assets.evaluation.baselines import BUY_AND_HOLD, RANDOM, buy_and_hold
from spy_assets.evaluation.splits import Fold
from spy_assets.evaluation.walk_forward import (
    NO_SEED,
    POLICY,
    FoldResult,
    run_fold,
    selected_runs,
    training_window,
    venue_of,
)
from spy_assets.models.policy.select import as_net, train_and_select
from spy_assets.models.policy.train import Trading, TrainingStopped, path_digest
from spy_assets.simulator.market_path import MarketPath
from spy_assets_tests.evaluation.walks import PLAN
from spy_assets_tests.models.markets import random_market, tiny_config

CONFIG = tiny_config(seeds=(42, 84), timesteps=512)
REGIMES = ("uptrend", "downtrend")


@pytest.fixture(scope="module")
def path() -> MarketPath:
    market = random_market(160)
    return replace(market, factor=np.ones(len(market)))


@pytest.fixture(scope="module")
def fold(path: MarketPath) -> Fold:
    return PLAN.folds(path.sessions)[1]


@pytest.fixture(scope="module")
def result(path: MarketPath, fold: Fold) -> FoldResult:
    regimes = {day: REGIMES[k % 2] for k, day in enumerate(path.sessions)}
    return run_fold(path, fold, CONFIG, regimes=regimes)


def test_the_training_sees_its_own_window_only(path: MarketPath, fold: Fold) -> None:
    window = training_window(path, fold)
    assert (window.sessions[0], window.sessions[-1]) == (fold.train_first, fold.train_last)
    assert len(window) == fold.train_sessions == 100


def test_nothing_outside_the_window_changes_the_weights(
    path: MarketPath, fold: Fold, result: FoldResult
) -> None:
    outside = np.ones(len(path), dtype=bool)
    outside[fold.train_start : fold.train_stop] = False
    other = replace(
        path,
        close=np.where(outside, 3.0 * path.close, path.close),
        open=np.where(outside, 3.0 * path.open, path.open),
        observation=np.where(outside[:, None], 0.5, path.observation),
    )
    again = run_fold(other, fold, CONFIG)
    hashes = [run.policy_hash for run in result.runs if run.strategy == POLICY]
    assert [run.policy_hash for run in again.runs if run.strategy == POLICY] == hashes
    assert again.dataset_digest == result.dataset_digest == path_digest(training_window(path, fold))


def test_a_session_of_the_window_changes_them(
    path: MarketPath, fold: Fold, result: FoldResult
) -> None:
    observation = path.observation.copy()
    observation[fold.train_stop - 1] += 0.01
    digest = path_digest(training_window(replace(path, observation=observation), fold))
    assert digest != result.dataset_digest


def test_what_is_trained_on_may_be_an_earlier_state_of_the_market(
    path: MarketPath, fold: Fold, result: FoldResult
) -> None:
    revised = replace(path, close=3.0 * path.close, open=3.0 * path.open)
    known = path.window(0, fold.train_stop)
    again = run_fold(revised, fold, CONFIG, known_to_training=known)
    assert again.chosen.policy_hash == result.chosen.policy_hash
    assert again.dataset_digest == result.dataset_digest
    assert not np.array_equal(again.chosen.equity, result.chosen.equity)


def test_equity_is_measured_at_each_close_of_the_test(path: MarketPath, result: FoldResult) -> None:
    fold = result.fold
    for run in result.runs:
        assert run.sessions == path.sessions[fold.test_start : fold.test_stop]
        assert len(run.equity) == fold.test_sessions + 1
        assert run.equity[0] == 10_000.0


def test_each_seed_is_walked_as_it_would_be_by_hand(path: MarketPath, result: FoldResult) -> None:
    fold, trading = result.fold, Trading()
    selection = train_and_select(path.window(fold.train_start, fold.train_stop), CONFIG)
    venue = Venue(path, fold.test_start - 1, fold.test_stop)
    for candidate, run in zip(selection.candidates, result.runs, strict=False):
        act = greedy(as_net(candidate.policy).probabilities)
        assert (run.seed, run.policy_hash) == (candidate.policy.seed, candidate.policy.policy_hash)
        assert np.array_equal(run.equity, run_policy(venue, act).equity)
    assert result.chosen.seed == selection.chosen.policy.seed
    assert trading.capital == 10_000.0


def test_every_baseline_stands_beside_the_policy(path: MarketPath, result: FoldResult) -> None:
    names = [run.strategy for run in result.runs if run.seed == NO_SEED]
    assert {"cash", BUY_AND_HOLD, RANDOM, "always_iron_condor"} <= set(names)
    assert all(run.selected and not run.policy_hash for run in result.runs if run.seed == NO_SEED)
    (held,) = selected_runs(result.runs, BUY_AND_HOLD)
    assert np.array_equal(held.equity, buy_and_hold(venue_of(path, result.fold, Trading())).equity)


def test_trades_add_up_to_the_equity(result: FoldResult) -> None:
    for run in result.runs:
        if run.strategy not in ("cash", BUY_AND_HOLD, RANDOM):
            total = sum(trade.pnl for trade in run.trades)
            assert total == pytest.approx(run.daily.net_pnl, abs=1e-6)
            assert run.trade_count == len(run.trades)


def test_trades_know_the_regime_of_their_decision(path: MarketPath, result: FoldResult) -> None:
    trades = [trade for run in result.runs for trade in run.trades]
    assert trades
    for trade in trades:
        assert trade.regime == REGIMES[path.index_of(trade.decision_session) % 2]


def test_the_risk_layer_is_told_the_end_of_the_training(path: MarketPath, fold: Fold) -> None:
    told = []

    def refuse_all(train_end):  # type: ignore[no-untyped-def]
        told.append(train_end)
        return lambda *_: False

    config = tiny_config(timesteps=256)
    result = run_fold(path, fold, config, filter_of=refuse_all)
    assert told == [fold.train_last]
    assert result.chosen.trade_count == 0
    assert sum(run.trade_count for run in result.runs) > 0  # no baseline is filtered


def test_a_stopped_fold_goes_on_from_its_checkpoint(
    path: MarketPath, fold: Fold, result: FoldResult, tmp_path: Path
) -> None:
    seen: list[str] = []

    def progress(done: float, text: str) -> None:
        seen.append(text)

    with pytest.raises(TrainingStopped):
        run_fold(
            path,
            fold,
            CONFIG,
            checkpoint_dir=tmp_path,
            progress=progress,
            stop=lambda: len(seen) > 2,
        )
    again = run_fold(path, fold, CONFIG, checkpoint_dir=tmp_path)
    resumed = [one.policy.resumed_at for one in again.selection.candidates]
    assert resumed[0] > 0
    assert again.chosen.policy_hash == result.chosen.policy_hash
    assert np.array_equal(again.chosen.equity, result.chosen.equity)


def test_sessions_that_the_market_lacks_are_named(path: MarketPath, fold: Fold) -> None:
    with pytest.raises(DataError, match="has 90 of the 100 train sessions"):
        training_window(path.window(fold.train_start + 10, 160), fold)
    with pytest.raises(DataError, match="has 15 of the 20 test sessions"):
        venue_of(path.window(0, fold.test_stop - 5), fold, Trading())
    with pytest.raises(DataError, match="begins with the test"):
        venue_of(path.window(fold.test_start, fold.test_stop), fold, Trading())


def test_a_window_without_observations_is_refused(path: MarketPath, fold: Fold) -> None:
    valid = path.valid.copy()
    valid[fold.train_start : fold.train_start + 51] = False
    with pytest.raises(DataError, match="49 of 100 training sessions have a complete"):
        training_window(replace(path, valid=valid), fold)
