"""The learnt reward as an environment, for any trainer: Stable-Baselines3's ``learn`` takes none.

env = PreferenceReward(DailyOptionsEnv(path), model, share=0.5)
MaskablePPO("MlpPolicy", env).learn(500_000)
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError
from spy_assets.models.preference.reward_model import RewardModel
from spy_assets.models.preference.trades import ClosedTrade
from spy_assets.simulator.environment import DailyOptionsEnv


class PreferenceReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Rewards a step with what its closed trades are worth to a person.

    ``reward = (1 - share) * reward of the simulator + share * sum of the scores of trades closed``. The
    simulator's reward is in percent of the capital; a score is in log odds against doing nothing. Both
    stand in ``info`` as ``simulator_reward`` and ``preference_reward``.

    Parameters
    ----------
    env
        The daily environment.
    model
        The fitted reward.
    share
        0 (the simulator's alone) to 1 (the person's alone).

    Raises
    ------
    ConfigError
        The share is out of range.
    """

    def __init__(self, env: DailyOptionsEnv, model: RewardModel, share: float = 1.0) -> None:
        super().__init__(env)
        if not 0 <= share <= 1:
            raise ConfigError(f"share={share}", hint="give 0 to 1")
        self.model = model
        self.share = share
        self._daily = env

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, and reward the trades that closed in it."""
        seen, earned, terminated, truncated, info = self.env.step(action)
        liked = sum(self.model.reward(ClosedTrade.of_trade(trade)) for trade in info["trades"])
        info |= {"simulator_reward": float(earned), "preference_reward": float(liked)}
        reward = (1 - self.share) * float(earned) + self.share * liked
        return seen, reward, terminated, truncated, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """The environment's own; MaskablePPO asks the outermost wrapper."""
        return self._daily.action_masks()
