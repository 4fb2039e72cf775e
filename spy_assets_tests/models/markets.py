"""Synthetic markets for trainings that take a second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from spy_assets import sessions
from spy_assets.models.policy.config import A2CConfig, AgentConfig, DQNConfig, PPOConfig
from spy_assets.models.policy.train import Trading
from spy_assets.simulator.actions import DailyAction
from spy_assets.simulator.market_path import MarketPath


def random_market(length: int = 120, seed: int = 0, drift: float = 0.0004) -> MarketPath:
    """A random walk at 14 % volatility with complete observations."""
    rng = np.random.default_rng(seed)
    days = sessions.sessions_between(date(2015, 1, 2), date(2018, 12, 31))[:length]
    close = 200.0 * np.exp(np.cumsum(rng.normal(drift, 0.009, length)))
    volatility = np.clip(0.15 + 0.005 * np.cumsum(rng.normal(size=length)), 0.09, 0.5)
    return MarketPath.from_arrays(
        days,
        open=close * np.exp(rng.normal(0, 0.003, length)),
        close=close,
        iv_open=volatility,
        iv_close=volatility,
        rate=np.full(length, 0.01),
        observation=rng.random((length, 10)),
    )


def tiny_config(**changes: Any) -> PPOConfig:
    """Four rollouts of 256 steps: about a second."""
    values: dict[str, Any] = {
        "timesteps": 1_024,
        "n_steps": 64,
        "n_envs": 4,
        "batch_size": 64,
        "n_epochs": 2,
        "episode_length": 30,
        "seeds": (42,),
    }
    return PPOConfig(**(values | changes))


def tiny_agent(algorithm: str, **changes: Any) -> AgentConfig:
    """Four short rollouts of any algorithm."""
    values: dict[str, Any] = {"timesteps": 512, "n_steps": 16, "n_envs": 8, "episode_length": 30}
    if algorithm == "a2c":
        return A2CConfig(**(values | changes))
    if algorithm == "dqn":
        memory = {"replay_size": 256, "learning_starts": 64, "batch_size": 32, "target_every": 10}
        return DQNConfig(**(values | memory | changes))
    return PPOConfig(**(values | {"batch_size": 32, "n_epochs": 2} | changes))


#: Sessions of a run in one direction on a planted market.
RUN = 6


def planted_market(length: int = 1_500, seed: int = 0) -> MarketPath:
    """A market whose next session is known to whoever finds the rule.

    Runs of six sessions at 1 % a day, up or down at random within 10 % of the start. The next
    session goes up where exactly one of dimensions 2 and 5 is above one half; each of them alone, and
    the other eight dimensions, say nothing.
    """
    rng = np.random.default_rng(seed)
    days = sessions.sessions_between(date(2010, 1, 4), date(2018, 12, 31))[:length]
    runs, level = [], 0.0
    for _ in range(-(-length // RUN) + 1):
        runs.append(level < 0.0 if abs(level) > 0.1 else bool(rng.integers(2)))
        level += RUN * (0.01 if runs[-1] else -0.01)
    up = np.repeat(runs, RUN)
    close = 200.0 * np.exp(np.cumsum(np.where(up[:length], 0.01, -0.01)))
    first = rng.random(length) < 0.5
    observation = rng.random((length, 10))
    for dimension, high in ((2, first), (5, first != up[1 : length + 1])):
        centre = np.where(high, 0.75, 0.25)
        observation[:, dimension] = centre + rng.uniform(-0.2, 0.2, length)
    return MarketPath.from_arrays(
        days,
        open=np.concatenate((close[:1], close[:-1])),
        close=close,
        iv_open=np.full(length, 0.15),
        iv_close=np.full(length, 0.15),
        rate=np.full(length, 0.01),
        observation=observation,
    )


def planted_rule(observation: Any, mask: Any) -> int:
    """Buy a call before a rise and a put before a fall; the exit rules close what was bought."""
    if mask[DailyAction.CLOSE]:
        return DailyAction.HOLD
    rises = (observation[2] > 0.5) != (observation[5] > 0.5)
    return DailyAction.BUY_CALL if rises else DailyAction.BUY_PUT


def earned(path: MarketPath, act: Callable[[Any, Any], int]) -> float:
    """Reward, in percent of the capital, of one walk over the whole path."""
    trading = Trading()
    env = trading.environment(trading.book(path), None)
    (observation, _), total, done = env.reset(seed=0), 0.0, False
    while not done:
        observation, reward, done, _, _ = env.step(int(act(observation, env.action_masks())))
        total += reward
    return total
