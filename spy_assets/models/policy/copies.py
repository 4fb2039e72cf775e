"""Copies of one environment as a vector environment that gives all masks, and its state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import DummyVecEnv

from spy_assets.simulator.environment import DailyOptionsEnv


class _WithoutInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Drops what a step tells beside the reward: the vector environment would copy it deeply."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self.env.step(action)
        return observation, reward, terminated, truncated, {}


class EnvironmentCopies(DummyVecEnv):
    """Environments that are stepped in turn."""

    def __init__(self, daily: Sequence[DailyOptionsEnv]) -> None:
        self.daily = list(daily)
        super().__init__([partial(_WithoutInfo, env) for env in self.daily])

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Actions allowed now, ``[n_envs, 7]``."""
        return np.stack([env.action_masks() for env in self.daily])

    def state(self) -> list[str]:
        """Accounts and random numbers; JSON keeps floats and 128-bit integers exactly."""
        return [
            json.dumps(
                {
                    "simulator": env.simulator.state(),
                    "random": env.np_random.bit_generator.state,
                }
            )
            for env in self.daily
        ]

    def restore(self, state: Sequence[str]) -> None:
        """Go on from :meth:`state`."""
        for env, saved in zip(self.daily, map(json.loads, state), strict=True):
            env.simulator.restore(saved["simulator"])
            env.np_random.bit_generator.state = saved["random"]
            env._observe()  # the last complete observation, which a terminal session repeats
