"""Outcomes made in the simulator: a policy is walked over a market, sampling its actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from spy_assets.models.outcomes.records import Outcomes
from spy_assets.models.policy.asking import Mask, Probabilities
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.kernel import Trade

#: What a closed trade is worth to the learner; zero is what doing nothing is worth.
Reward = Callable[[Trade], float]


@dataclass(frozen=True)
class Entered:
    """An entry as it was decided."""

    session: date
    observation: npt.NDArray[Any]
    mask: Mask
    action: int


@dataclass(frozen=True)
class Rollout:
    """One walk: the entries decided, the trades that came of them, and the net P&L, dollars."""

    entries: tuple[Entered, ...]
    trades: tuple[Trade, ...]
    net_pnl: float


def return_on_risk(trade: Trade) -> float:
    """P&L after costs over capital at risk, a decimal: the reward of realised outcomes."""
    return trade.pnl_pct


def walk(
    simulator: DailySimulator, probabilities: Probabilities, *, seed: int | None = None
) -> Rollout:
    """Walk a fresh simulator to its end.

    Actions are drawn from the probabilities, or, with ``seed=None``, the most probable one is taken.
    Where the observation is incomplete the policy is not asked.
    """
    generator = None if seed is None else np.random.default_rng(seed)
    start, entries, hold = simulator.value, [], simulator.actions.hold
    while not simulator.done:
        action = hold
        if simulator.observation_valid:
            seen, mask = simulator.observe(), simulator.mask()
            values = probabilities(seen, mask)
            action = int(np.argmax(values)) if generator is None else _draw(values, generator)
            if action < hold:
                entries.append(Entered(simulator.session, seen, mask, action))
        simulator.step(action)
    return Rollout(tuple(entries), tuple(simulator.trades), simulator.value - start)


def _draw(values: npt.NDArray[np.float64], generator: np.random.Generator) -> int:
    bounds = np.cumsum(values)
    return int(np.searchsorted(bounds, generator.random() * bounds[-1], side="right"))


def outcomes_of(
    rollout: Rollout, simulator: DailySimulator, reward: Reward = return_on_risk
) -> Outcomes:
    """The rollout's entries that became trades, as outcomes; orders that were not filled have none."""
    by_session = {entry.session: entry for entry in rollout.entries}
    decisions = []
    for trade in rollout.trades:
        entry = by_session[trade.decision_session]
        name = f"{entry.session}:{trade.trade_id}"
        decisions.append((name, entry.observation, entry.mask, entry.action, reward(trade)))
    return Outcomes.of(decisions, simulator.path.contract, actions=simulator.actions)
