"""Synthetic markets for trainings that take a second."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np

from spy_assets import sessions
from spy_assets.models.policy.config import PPOConfig
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
