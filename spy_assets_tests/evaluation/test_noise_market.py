"""The gate on markets where nothing can be learnt, and on one where something can.

A hundred agents are trained by PPO on random walks, as a window's policy is. Another hundred only
search: each tries five random policies on one half of a random walk, keeps the one that earned most
there, and is judged on the other half, with all five as the seeds that it was chosen from. The best of a
few at random is what a search without skill amounts to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pytest

from spy_assets.evaluation.backtest import (
    BacktestResult,
    Mask,
    Observation,
    Venue,
    greedy,
    run_policy,
)
from spy_assets.evaluation.baselines import run_baselines
from spy_assets.evaluation.gate import GateVerdict, promotion_gate
from spy_assets.evaluation.seed_spread import SeedSpread, seed_spread
from spy_assets.models.policy.config import preset
from spy_assets.models.policy.select import as_net
from spy_assets.models.policy.train import train_policy
from spy_assets.simulator.actions import DailyAction
from spy_assets.simulator.market_path import MarketPath
from spy_assets_tests.evaluation.markets import random_walk
from spy_assets_tests.evaluation.policies import random_policy

pytestmark = pytest.mark.slow

MARKETS: Final = 10
AGENTS: Final = 10
TRIES: Final = 5
#: Sessions of each half, those of the gate's validation window.
HALF: Final = 64


@dataclass(frozen=True)
class Judged:
    """An agent's P&L where it was trained, its run where it was judged, and the verdict."""

    trained_pnl: float
    run: BacktestResult
    verdict: GateVerdict


@dataclass(frozen=True)
class Agent:
    """What it earned where it was trained, and the runs of all that it tried, its choice first."""

    trained_pnl: float
    runs: list[BacktestResult]

    @property
    def spread(self) -> SeedSpread:
        return seed_spread([[run.daily.net_pnl] for run in self.runs], seed=0)


def trained_agent(training: Venue, window: Venue, generator: np.random.Generator) -> Agent:
    tried = [random_policy(generator) for _ in range(TRIES)]
    earned = [run_policy(training, act).daily.net_pnl for act in tried]
    best = int(np.argmax(earned))
    others = [act for k, act in enumerate(tried) if k != best]
    return Agent(earned[best], [run_policy(window, act) for act in (tried[best], *others)])


def judged_on_noise(number: int) -> list[Judged]:
    """Ten agents of one market, each judged with the nine others as what was tried beside it."""
    path = random_walk(1_000 + number, 2 * HALF)
    training, window = Venue(path, stop=HALF), Venue(path, start=HALF)
    generator = np.random.default_rng(number)
    trained = [trained_agent(training, window, generator) for _ in range(AGENTS)]
    runs = {str(k): agent.runs[0] for k, agent in enumerate(trained)}
    rivals = run_baselines(window)
    found = []
    for name, agent in zip(runs, trained, strict=True):
        beside = {other: run for other, run in runs.items() if other != name}
        verdict = promotion_gate(
            runs[name], None, rivals, bootstrap=True, candidates=beside, spread=agent.spread
        )
        found.append(Judged(agent.trained_pnl, runs[name], verdict))
    return found


@pytest.fixture(scope="module")
def hundred() -> list[Judged]:
    return [one for number in range(MARKETS) for one in judged_on_noise(number)]


def test_of_a_hundred_agents_trained_on_noise_none_is_promoted(hundred: list[Judged]) -> None:
    """Without their seeds none of 500 on 50 markets is either; one is without the nine beside it."""
    assert len(hundred) == MARKETS * AGENTS
    assert [one.verdict.basis for one in hundred].count("gate") == 0
    assert {one.verdict.trials for one in hundred} == {AGENTS}


def test_their_seeds_were_judged_and_most_of_them_do_not_earn(hundred: list[Judged]) -> None:
    spreads = [one.verdict.evidence.spread for one in hundred]
    assert {spread.seeds for spread in spreads if spread} == {TRIES}
    assert sum(bool(spread and spread.iqm.estimate > 0) for spread in spreads) < len(hundred) / 2


def test_they_were_trained_and_traded(hundred: list[Judged]) -> None:
    """What they chose did better where it was chosen; elsewhere it loses its costs."""
    learnt = np.mean([one.trained_pnl for one in hundred])
    kept = np.mean([one.run.daily.net_pnl for one in hundred])
    assert learnt > kept + 100
    assert kept < 0
    assert np.mean([one.run.trade_count for one in hundred]) > 10


# ---------------------------------------------------------------- by gradient

#: Sessions that PPO trains on, and between them and the window; environment steps of each agent.
TRAINED: Final = 252
PURGE: Final = 6
STEPS: Final = 32_768


def learnt_on_noise(number: int) -> list[Judged]:
    """Ten seeds of one market, trained alike; each is judged beside the nine others."""
    path = random_walk(5_000 + number, TRAINED + PURGE + HALF)
    config = preset("fast", timesteps=STEPS, episode_length=63, seeds=tuple(range(AGENTS)))
    training, window = Venue(path, stop=TRAINED), Venue(path, start=TRAINED + PURGE)
    policies = [
        greedy(as_net(train_policy(path.window(0, TRAINED), config, seed)).probabilities)
        for seed in config.seeds
    ]
    runs = [run_policy(window, act, name=str(seed)) for seed, act in enumerate(policies)]
    spread = seed_spread([[run.daily.net_pnl] for run in runs], seed=0)
    rivals = run_baselines(window)
    return [
        Judged(
            run_policy(training, act).daily.net_pnl,
            run,
            promotion_gate(
                run, None, rivals, bootstrap=False, spread=spread, trials=AGENTS,
                candidates={other.name: other for other in runs if other is not run},
            ),
        )
        for act, run in zip(policies, runs, strict=True)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def learnt() -> list[Judged]:
    return [one for number in range(MARKETS) for one in learnt_on_noise(number)]


def test_of_a_hundred_agents_trained_by_ppo_on_noise_none_is_promoted(learnt: list[Judged]) -> None:
    assert len(learnt) == MARKETS * AGENTS
    assert not any(one.verdict.accepted for one in learnt)


def test_ppo_learnt_the_noise_that_it_was_trained_on(learnt: list[Judged]) -> None:
    """Most earn there, after costs; where they did not learn they trade as much and lose."""
    there = [one.trained_pnl for one in learnt]
    elsewhere = [one.run.daily.net_pnl for one in learnt]
    assert sum(pnl > 0 for pnl in there) > 70
    assert np.mean(there) > 500 > 0 > np.mean(elsewhere)
    assert np.mean([one.run.trade_count for one in learnt]) > 10


def planted(seed: int, edge: float, spell: int = 5) -> MarketPath:
    """A walk whose drift is ``edge`` a session, up or down by spells; observation 0 shows which."""
    path = random_walk(seed, HALF)
    signs = np.random.default_rng([seed, 1]).choice([-1.0, 1.0], HALF // spell + 1)
    sign = np.repeat(signs, spell)[:HALF]
    drift = edge * np.concatenate(([0.0], sign[:-1])).cumsum()
    close = path.close * np.exp(drift)
    observation = path.observation.copy()
    observation[:, 0] = (sign + 1) / 2
    return MarketPath.from_arrays(
        path.sessions,
        open=np.concatenate((path.open[:1], close[:-1])),
        close=close,
        iv_open=path.iv_open,
        iv_close=path.iv_close,
        rate=path.rate,
        observation=observation,
        factor=np.ones(HALF),
    )


def follow(observation: Observation, mask: Mask) -> int:
    """Open the spread that observation 0 calls for; the exit rules close it."""
    wanted = DailyAction.BULL_SPREAD if observation[0] > 0.5 else DailyAction.BEAR_SPREAD
    return int(wanted if mask[wanted] else DailyAction.HOLD)


def promoted(edge: float, trials: int, markets: int = 16) -> tuple[int, float]:
    """How many followers of the planted rule pass, and their mean Sharpe ratio a session."""
    passed, ratios = 0, []
    for seed in range(markets):
        venue = Venue(planted(seed, edge))
        run = run_policy(venue, follow)
        rivals = run_baselines(venue, run, seeds=(0,))
        passed += promotion_gate(run, None, rivals, bootstrap=False, trials=trials).accepted
        ratios.append(run.daily.sharpe / np.sqrt(252))
    return passed, float(np.mean(ratios))


def test_an_edge_of_sharpe_046_a_session_is_promoted_in_two_windows_of_three() -> None:
    """Among ten trials on 63 sessions; half of that in one of eight.

    Of the five that are refused three are for a baseline that was really better: trends that nobody
    priced make straddles earn too.
    """
    passed, ratio = promoted(0.010, trials=10)
    assert ratio == pytest.approx(0.46, abs=0.05)
    assert passed >= 10
    weaker, ratio = promoted(0.006, trials=10)
    assert ratio == pytest.approx(0.22, abs=0.05)
    assert 0 < weaker <= 6
