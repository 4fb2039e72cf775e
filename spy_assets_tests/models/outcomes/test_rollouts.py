from __future__ import annotations

import numpy as np
import pytest

from spy_assets.evaluation.backtest import Venue, greedy, run_policy
from spy_assets.models.outcomes.rollouts import outcomes_of, walk
from spy_assets.simulator.daily import DailySimulator
from spy_assets_tests.models.planted import net_of, planted_market, undecided

MARKET = planted_market(1, 120)
NET = net_of(undecided(0).tensors)


def test_every_trade_finds_the_entry_that_it_came_of() -> None:
    simulator = DailySimulator(MARKET)
    rollout = walk(simulator, NET.probabilities, seed=1)
    found = outcomes_of(rollout, simulator)
    assert len(found) == len(rollout.trades) > 10
    assert found.gain.tolist() == [trade.pnl_pct for trade in rollout.trades]
    assert rollout.net_pnl == pytest.approx(sum(trade.pnl for trade in rollout.trades))
    structures = ["long_call", "long_put", "bull_call_debit", "bear_put_debit", "iron_condor"]
    traded = [trade.structure for trade in rollout.trades]
    assert traded == [structures[action] for action in found.action]


def test_a_seed_repeats_and_another_differs() -> None:
    pnl = [walk(DailySimulator(MARKET), NET.probabilities, seed=seed).net_pnl for seed in (1, 1, 2)]
    assert pnl[0] == pnl[1] != pnl[2]


def test_without_a_seed_the_walk_is_the_backtest() -> None:
    walked = walk(DailySimulator(MARKET), NET.probabilities)
    judged = run_policy(Venue(MARKET), greedy(NET.probabilities))
    assert walked.net_pnl == pytest.approx(judged.daily.net_pnl)
    assert walked.trades == judged.trades


def test_actions_are_drawn_as_often_as_they_are_probable() -> None:
    simulator = DailySimulator(planted_market(2, 900))
    said = np.array([0.2, 0.0, 0.1, 0.0, 0.0, 0.7, 0.0])

    def probabilities(observation: object, mask: np.ndarray[tuple[int], np.dtype[np.bool_]]):
        values = np.where(mask, said, 0.0)
        return values / values.sum()

    entries = walk(simulator, probabilities, seed=0).entries
    share = np.mean([entry.action == 0 for entry in entries])
    assert {entry.action for entry in entries} == {0, 2}
    assert share == pytest.approx(2 / 3, abs=4 * np.sqrt(2 / 9 / len(entries)))
