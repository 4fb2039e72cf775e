"""Combinatorial cross-validation: pieces, how they become paths, and what all paths say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skfolio.model_selection import CombinatorialPurgedCV, cross_val_predict
from skfolio.optimization import InverseVolatility

from spy_assets.errors import ConfigError, DataError
from spy_assets.evaluation.backtest import Venue, greedy, run_policy
from spy_assets.evaluation.combinatorial import Piece, SplitResult, fitted, run_split
from spy_assets.evaluation.combinatorial_report import PathsFacts, render_paths
from spy_assets.evaluation.combinatorial_summary import (
    PathsSummary,
    Quantiles,
    assemble,
    mean_returns,
    summarise_paths,
)
from spy_assets.evaluation.selection_bias import deflated_sharpe, probability_of_overfitting
from spy_assets.evaluation.splits import combinatorial_purged
from spy_assets.evaluation.statistics import sharpe
from spy_assets.models.policy.config import preset
from spy_assets.models.policy.select import as_net
from spy_assets.models.policy.stretches import StretchesTask
from spy_assets.models.policy.train import Trading, TrainingStopped, train_task
from spy_assets.sessions import sessions_between
from spy_assets.simulator.market_path import MarketPath
from spy_assets_tests.models.markets import random_market, tiny_config
from spy_assets_tests.models.planted import planted_market

MARKET = random_market(160)
CUT = combinatorial_purged(len(MARKET), groups=4, test_groups=2)
CONFIG = fitted(tiny_config(seeds=(42, 84), timesteps=512), CUT)


@pytest.fixture(scope="module")
def result() -> SplitResult:
    """Split 1 tests the first and the third group, so that it trains on two stretches."""
    return run_split(MARKET, CUT.splits[1], CONFIG)


def test_each_seed_is_trained_on_the_stretches_and_walked_over_each_group(
    result: SplitResult,
) -> None:
    split = CUT.splits[1]
    task = StretchesTask.of(MARKET, split.stretches, Trading())
    assert result.dataset_digest == task.dataset_digest
    policy = train_task(task, CONFIG, 84)
    start, stop = int(split.tests[1][0]), int(split.tests[1][-1]) + 1
    by_hand = run_policy(Venue(MARKET, start - 1, stop), greedy(as_net(policy).probabilities))
    (piece,) = (
        one for one in result.pieces
        if one.seed == 84 and one.sessions == MARKET.sessions[start:stop]
    )  # fmt: skip
    assert (piece.policy_hash, piece.path) == (policy.policy_hash, split.paths[1])
    assert np.array_equal(piece.equity, by_hand.equity)


def test_what_needs_no_training_is_walked_once(result: SplitResult) -> None:
    names = [one.strategy for one in result.pieces]
    on_first = sum(number == 0 for number in CUT.splits[1].paths)
    assert names.count("cash") == names.count("always_iron_condor") == on_first
    assert (names.count("random_same_rate"), names.count("policy")) == (2, 4)
    owned = [number for split in CUT.splits for number in split.paths]
    assert owned.count(0) == 4  # each group once, over all splits


def test_a_stopped_split_goes_on(result: SplitResult, tmp_path: Path) -> None:
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > 100  # in the second rollout of the first seed

    with pytest.raises(TrainingStopped):
        run_split(MARKET, CUT.splits[1], CONFIG, checkpoint_dir=tmp_path, stop=stop)
    shares: list[float] = []
    again = run_split(
        MARKET, CUT.splits[1], CONFIG, checkpoint_dir=tmp_path,
        progress=lambda done, _text: shares.append(done),
    )  # fmt: skip
    assert [one.policy_hash for one in again.policies] == [
        one.policy_hash for one in result.policies
    ]
    assert again.timesteps < result.timesteps
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_episodes_fit_on_the_shortest_stretch() -> None:
    shortest = min(b - a for split in CUT.splits for a, b in split.stretches)
    assert fitted(tiny_config(episode_length=252), CUT).episode_length == shortest - 1
    assert fitted(tiny_config(episode_length=5), CUT).episode_length == 5
    narrow = combinatorial_purged(90, groups=5, test_groups=2)
    with pytest.raises(ConfigError, match="a training stretch has 1 session"):
        fitted(tiny_config(), narrow)


# ---------------------------------------------------------------- paths


def piece(returns: Any, days: Any, **how: Any) -> Piece:
    """A piece of these returns."""
    given: dict[str, Any] = {"split": 0, "path": 0, "strategy": "policy", "seed": 42}
    equity = 10_000.0 * np.concatenate(([1.0], np.cumprod(1.0 + np.asarray(returns))))
    return Piece(**(given | how), sessions=tuple(days), equity=equity, trade_count=1, costs=0.0)


def test_paths_are_put_together_as_skfolio_does() -> None:
    """Three assets weighted by inverse volatility on each training: skfolio predicts the paths."""
    days = sessions_between(date(2015, 1, 2), date(2018, 12, 31))[:400]
    returns = np.random.default_rng(0).normal(0.0, [0.005, 0.01, 0.02], (400, 3))
    cv = CombinatorialPurgedCV(6, 2, purged_size=6, embargo_size=5)
    population = cross_val_predict(InverseVolatility(), returns, cv=cv)
    pieces = []
    for split in combinatorial_purged(400).splits:
        weight = 1 / returns[split.train].std(axis=0, ddof=1)
        held = returns @ (weight / weight.sum())
        pieces += [
            piece(held[test], [days[k] for k in test], split=split.number, path=number)
            for test, number in zip(split.tests, split.paths, strict=True)
        ]
    found = assemble(pieces[::-1])
    assert len(found) == len(population) == 5
    for path, theirs in zip(found, population, strict=True):
        assert path.sessions == tuple(days)
        np.testing.assert_allclose(path.returns, theirs.returns, atol=1e-12)


DAYS = sessions_between(date(2018, 1, 2), date(2018, 3, 29))
HALVES = (DAYS[:30], DAYS[30:])


def made(levels: dict[tuple[int, int], float], seed: int = 0) -> list[Piece]:
    """Two groups and some paths: (seed, path) to what it earns a day, in per cent, beside noise."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.01, len(DAYS))
    noise -= noise.mean()
    return [
        piece(level / 100 + part, days, seed=number, path=path)
        for (number, path), level in levels.items()
        for days, part in zip(HALVES, (noise[:30], noise[30:]), strict=True)
    ]


def rivals(**levels: float) -> list[Piece]:
    return [
        piece(np.full(len(days), level / 100), days, strategy=name, seed=0)
        for name, level in levels.items()
        for days in HALVES
    ]


LEVELS = {(42, 0): 0.3, (42, 1): 0.2, (84, 0): 0.1, (84, 1): -0.2}


def summary(**how: Any) -> PathsSummary:
    return summarise_paths(made(LEVELS) + rivals(cash=0.0, buy_and_hold=0.15), **how)


def test_the_distribution_is_over_seeds_and_paths() -> None:
    found = summary()
    ends = [path.daily.net_pnl for path in found.paths]
    assert (len(ends), found.net_pnl) == (4, Quantiles(*np.quantile(ends, [0, 0.25, 0.5, 0.75, 1])))
    assert found.net_pnl.least == min(ends)
    drawn = max(path.daily.max_drawdown for path in found.paths)
    assert found.max_drawdown.most == pytest.approx(drawn)
    above = [path.equity[-1] > 10_000.0 for path in found.paths]
    assert found.above["cash"] == np.mean(above)
    assert found.above == {"buy_and_hold": 0.5, "cash": 0.75}
    assert found.unbeaten == ("buy_and_hold",)


def test_random_entries_are_compared_path_by_path() -> None:
    own = made({(42, 0): 0.0, (42, 1): 0.0})
    better = made({(0, 0): 0.1, (0, 1): -0.1})
    random = [replace(one, strategy="random_same_rate") for one in better]
    assert summarise_paths(own + random).above == {"random_same_rate": 0.5}


def test_selection_is_judged_on_the_mean_over_paths() -> None:
    found = summary()
    mean = mean_returns(found.paths)
    assert mean == pytest.approx(np.mean([path.returns for path in found.paths], axis=0))
    assert found.mean_sharpe == pytest.approx(sharpe(mean))
    assert (found.trials, found.overfitting) == (1, None)
    assert found.deflated_sharpe == pytest.approx(deflated_sharpe(mean, trials=1))


def test_other_configurations_are_trials() -> None:
    others = {"b": made({(42, 0): 0.0}, seed=1), "c": made({(42, 0): 0.1}, seed=2)}
    alone, among = summary(), summary(others=others)
    means = [mean_returns(alone.paths)]
    means += [mean_returns(assemble(pieces)) for pieces in others.values()]
    expected = probability_of_overfitting(np.column_stack(means), blocks=10).probability
    assert (among.trials, among.overfitting) == (3, pytest.approx(expected))
    assert among.deflated_sharpe is not None
    assert alone.deflated_sharpe is not None
    assert among.deflated_sharpe < alone.deflated_sharpe


def test_what_is_not_whole_is_refused_or_left_out() -> None:
    whole = made(LEVELS)
    with pytest.raises(DataError, match="splits that are missing"):
        summarise_paths(whole[:-1])
    with pytest.raises(DataError, match="no path of a policy"):
        summarise_paths(rivals(cash=0.0))
    with pytest.raises(DataError, match="configuration b was not run over the same sessions"):
        summary(others={"b": made(LEVELS)[:1]})
    assert list(summarise_paths(whole + rivals(cash=0.0)[:1]).baselines) == []


# ---------------------------------------------------------------- what is found


@pytest.mark.slow
@pytest.mark.parametrize("rule", [True, False], ids=["a planted rule", "noise"])
def test_a_rule_is_found_on_all_paths_and_noise_is_not(rule: bool) -> None:
    market = planted_market(3, 800)
    if not rule:
        observation = np.random.default_rng(0).random(market.observation.shape)
        market = replace(market, observation=observation)
    found = cross_validated(market)
    if rule:
        assert found.above["cash"] == found.above["random_same_rate"] == 1.0
        assert found.sharpe.least > 2.0
        assert found.unbeaten == ()
    else:
        assert found.sharpe.median < 0.5
        assert "cash" in found.unbeaten


def cross_validated(market: MarketPath) -> PathsSummary:
    cut = combinatorial_purged(len(market), groups=4, test_groups=2)
    config = preset("fast", timesteps=40_000, seeds=(42,), episode_length=40, n_envs=64)
    return summarise_paths(
        [one for split in cut.splits for one in run_split(market, split, config).pieces]
    )


# ---------------------------------------------------------------- the page


FACTS = PathsFacts(
    title="Combinatorial paths, SPY<1>", symbol="SPY", source="test", configuration="abc",
    parameters={"groups": 6}, seeds=(42, 84), timesteps=512, groups=6, test_groups=2, purge=6,
    embargo=5, due_splits=15, made_at=datetime(2019, 1, 2, 22, tzinfo=UTC), notices=("made up",),
)  # fmt: skip


def test_the_page_shows_every_path_and_loads_nothing() -> None:
    page = render_paths(FACTS, summary())
    assert page == render_paths(FACTS, summary())
    assert page.count("<polyline") == 4 + 2
    assert page.count('class="path"') == 3
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "SPY&lt;1&gt;" in page
    assert summary().verdict.replace("'", "&#x27;") in page
    assert "two configurations on" in page
    assert "made up" in page
