"""The three algorithms behind one face: one rollout and its update at a time, and all of its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from spy_assets.models.policy.actor_critic import FastMaskablePPO, MaskedA2C
from spy_assets.models.policy.config import A2CConfig, AgentConfig, DQNConfig, PPOConfig
from spy_assets.models.policy.dqn import MaskedDQN
from spy_assets.models.policy.network import policy_arguments
from spy_assets.models.policy.undo import Undo, mark_learnt

Array = npt.NDArray[Any]

#: Names in the learning curve of what Stable-Baselines3 logs about an update.
_MEASURED = {
    "train/policy_gradient_loss": "policy_loss",
    "train/value_loss": "value_loss",
    "train/entropy_loss": "entropy_loss",
    "train/approx_kl": "approx_kl",
    "train/clip_fraction": "clip_fraction",
    "train/explained_variance": "explained_variance",
}


class Agent(Protocol):
    """A policy that learns."""

    @property
    def steps(self) -> int:
        """Environment steps made, over all copies."""
        ...

    def rollout(self, stop: Callable[[], bool]) -> dict[str, float] | None:
        """Collect one rollout and learn from it; the figures of the update, None if stopped."""
        ...

    def experience(self) -> tuple[Array, Array]:
        """Rewards of the last rollout and where its episodes started, ``[n_steps, n_envs]``."""
        ...

    def learned(self) -> dict[str, Any]:
        """Tensors of the policy as it acts, in the order in which they are stored."""
        ...

    def state(self) -> dict[str, Any]:
        """What the next rollout depends on, beside the random numbers and the environment."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        ...

    def mark(self) -> Undo:
        """Remember what one rollout changes; much cheaper than :meth:`state`."""
        ...


class ActorCritic:
    """PPO and A2C."""

    def __init__(self, env: Any, config: PPOConfig | A2CConfig, seed: int) -> None:
        self.env = env
        self.model = _actor_critic(env, config, seed)
        self.model.set_logger(Logger(folder=None, output_formats=[]))
        total = config.rollouts * config.rollout_steps
        self.total, callback = self.model._setup_learn(total, _Stopper())
        self.callback: Any = callback

    @property
    def steps(self) -> int:
        """Environment steps made."""
        return int(self.model.num_timesteps)

    def rollout(self, stop: Callable[[], bool]) -> dict[str, float] | None:
        """Collect one rollout and learn from it."""
        model, self.callback.stop = self.model, stop
        if not model.collect_rollouts(self.env, self.callback, model.rollout_buffer, model.n_steps):
            return None
        model._update_current_progress_remaining(self.steps, self.total)
        model.train()
        measured = model.logger.name_to_value
        figures = {name: float(measured[key]) for key, name in _MEASURED.items()}
        model.logger.dump(self.steps)
        return figures

    def experience(self) -> tuple[Array, Array]:
        """Rewards and starts of the rollout."""
        return self.model.rollout_buffer.rewards, self.model.rollout_buffer.starts

    def learned(self) -> dict[str, Any]:
        """The policy's weights."""
        return dict(self.model.policy.state_dict())

    def state(self) -> dict[str, Any]:
        """Weights, optimizer, and the observation that is acted on next."""
        model = self.model
        return {
            "policy": model.policy.state_dict(),
            "optimizer": model.policy.optimizer.state_dict(),
            "timesteps": self.steps,
            "updates": int(model._n_updates),
            "observation": model._last_obs,
            "episode_starts": model._last_episode_starts,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        model = self.model
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        model.num_timesteps, model._n_updates = state["timesteps"], state["updates"]
        model._last_obs = state["observation"].numpy()
        model._last_episode_starts = state["episode_starts"].numpy()

    def mark(self) -> Undo:
        """Remember what one rollout changes."""
        model = self.model
        learnt = mark_learnt(model.policy.optimizer, model.policy)
        counted = (model.num_timesteps, model._n_updates)
        seen, starts = model._last_obs, model._last_episode_starts  # steps give new arrays

        def undo() -> None:
            learnt()
            model.num_timesteps, model._n_updates = counted
            model._last_obs, model._last_episode_starts = seen, starts

        return undo


class DeepQ:
    """DQN."""

    def __init__(self, env: Any, config: DQNConfig, seed: int) -> None:
        self.config = config
        self.model = MaskedDQN(env, config, seed, config.rollouts * config.rollout_steps)
        self.rollout, self.learned = self.model.rollout, self.model.learned
        self.state, self.restore, self.mark = self.model.state, self.model.restore, self.model.mark

    @property
    def steps(self) -> int:
        """Environment steps made."""
        return self.model.num_timesteps

    def experience(self) -> tuple[Array, Array]:
        """Rewards and starts of the last ``n_steps`` steps."""
        memory, count = self.model.memory, self.config.n_steps
        return memory.latest("rewards", count), memory.latest("starts", count)


def make_agent(env: Any, config: AgentConfig, seed: int) -> Agent:
    """Make the agent that ``config`` describes on a vector environment with ``action_masks``."""
    if isinstance(config, DQNConfig):
        return DeepQ(env, config, seed)
    assert isinstance(config, PPOConfig | A2CConfig)
    return ActorCritic(env, config, seed)


def _actor_critic(env: Any, config: PPOConfig | A2CConfig, seed: int) -> FastMaskablePPO:
    policy = policy_arguments(config.hidden, config.activation, config.shared_trunk)
    common: dict[str, Any] = {
        "learning_rate": config.learning_rate,
        "n_steps": config.n_steps,
        "gamma": config.gamma,
        "gae_lambda": config.gae_lambda,
        "ent_coef": config.ent_coef,
        "vf_coef": config.vf_coef,
        "max_grad_norm": config.max_grad_norm,
        "seed": seed,
        "policy_kwargs": policy,
    }
    if isinstance(config, A2CConfig):
        return MaskedA2C("MlpPolicy", env, **common)
    return FastMaskablePPO(
        "MlpPolicy",
        env,
        batch_size=config.batch_size,
        n_epochs=config.n_epochs,
        clip_range=config.clip_range,
        target_kl=config.target_kl,
        **common,
    )


class _Stopper(BaseCallback):
    """Ends the rollout when asked to."""

    stop: Callable[[], bool]

    def _on_step(self) -> bool:
        return not self.stop()


def packed(value: Any) -> Any:
    """Copy nested state, arrays as tensors, so that it can be stored and read without running code.

    Records become their bytes, which :func:`unpacked` takes back.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        copy = np.ascontiguousarray(value).copy()
        return torch.from_numpy(copy if copy.dtype.names is None else copy.view(np.uint8))
    if isinstance(value, dict):
        return {key: packed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [packed(inner) for inner in value]
    return value


def unpacked(stored: Mapping[str, torch.Tensor], like: Mapping[str, Array]) -> dict[str, Array]:
    """Give packed arrays back with the types and shapes of ``like``."""
    return {
        name: stored[name].numpy().view(array.dtype).reshape(array.shape)
        for name, array in like.items()
    }
