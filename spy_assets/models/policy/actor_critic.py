"""Masked PPO and masked A2C: Stable-Baselines3's algorithms with a leaner inside.

The algorithm, the policy object, its optimizer and all defaults are those of
``sb3_contrib.MaskablePPO``, and one update of equal inputs gives equal weights to float32's accuracy.
What differs is how it gets there:

* a rollout goes into arrays that are made once, without a loop over the copies' ``infos``;
* the environment is asked once per step for all masks;
* loss and derivative are one compiled pass (:func:`~spy_assets.models.policy.kernels.ppo_loss`), the
  derivatives go back through :class:`~spy_assets.models.policy.network.Network`.

Actions are drawn by NumPy's global generator, which Stable-Baselines3 seeds and permutes batches with;
PyTorch's is used for the first weights only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import explained_variance
from torch import nn

from spy_assets.models.policy.kernels import generalized_advantages, ppo_loss, sample_actions
from spy_assets.models.policy.network import Network

#: What the update's figures are called in Stable-Baselines3's log.
_FIGURES = ("policy_gradient_loss", "value_loss", "entropy_loss", "approx_kl", "clip_fraction")

#: Those of Stable-Baselines3's A2C.
_RMSPROP = {"alpha": 0.99, "eps": 1e-5, "weight_decay": 0.0}


class Rollout:
    """Transitions of one rollout, ``[steps, n]``, in arrays that every rollout uses again.

    Takes the place of Stable-Baselines3's rollout buffer and is made with the same arguments.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: Any,
        action_space: Any,
        device: Any = "cpu",  # noqa: ARG002
        gae_lambda: float = 1.0,
        gamma: float = 0.99,
        n_envs: int = 1,
    ) -> None:
        shape = (buffer_size, n_envs)
        self.buffer_size, self.n_envs = shape
        self.gamma, self.gae_lambda = gamma, gae_lambda
        self.observations = np.zeros((*shape, *observation_space.shape), dtype=np.float32)
        self.masks = np.ones((*shape, int(action_space.n)), dtype=np.bool_)
        self.actions = np.zeros(shape, dtype=np.int64)
        self.starts = np.zeros(shape, dtype=np.bool_)
        self.rewards, self.values, self.log_probs, self.advantages, self.returns = (
            np.zeros(shape, dtype=np.float32) for _ in range(5)
        )

    def reset(self) -> None:
        """Nothing to do: every row is written again."""

    def estimate(self, last_values: Any, last_dones: npt.NDArray[np.bool_]) -> None:
        """Fill advantages and returns, as the last step of a rollout."""
        generalized_advantages(
            self.rewards, self.values, self.starts, last_values, last_dones,
            self.gamma, self.gae_lambda, self.advantages, self.returns,
        )  # fmt: skip

    def shuffled(self) -> npt.NDArray[np.int64]:
        """Positions of all transitions in random order, to index flattened arrays.

        The order is that of Stable-Baselines3, which counts through one copy after the other.
        """
        by_copy = np.random.permutation(self.buffer_size * self.n_envs)  # noqa: NPY002
        copy, step = np.divmod(by_copy, self.buffer_size)
        return np.asarray(step * self.n_envs + copy, dtype=np.int64)


class FastMaskablePPO(MaskablePPO):
    """``MaskablePPO`` on the CPU for a flat observation, discrete actions and no value clipping.

    >>> FastMaskablePPO.normalizes_advantages
    True
    """

    normalizes_advantages: ClassVar[bool] = True
    rollout_buffer: Any  # a Rollout
    _network: Network | None = None
    _last_obs: Any

    def __init__(self, policy: Any, env: Any, **arguments: Any) -> None:
        buffer: Any = Rollout
        super().__init__(policy, env, rollout_buffer_class=buffer, device="cpu", **arguments)

    @property
    def network(self) -> Network:
        """Passes over the policy's weights."""
        if self._network is None:
            name = "relu" if self.policy.activation_fn is nn.ReLU else "tanh"
            self._network = Network(self.policy, name)
        return self._network

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_network"]

    def collect_rollouts(
        self,
        env: Any,
        callback: BaseCallback,
        rollout_buffer: Any,
        n_rollout_steps: int,
        use_masking: bool = True,
    ) -> bool:
        """Fill the rollout; False if the callback ended it early."""
        masks_now = _mask_source(env) if use_masking else None
        network, rows, rollout = self.network, env.num_envs, rollout_buffer
        inputs = network.inputs(rows)
        callback.on_rollout_start()
        for step in range(n_rollout_steps):
            inputs[:] = rollout.observations[step] = self._last_obs
            rollout.starts[step] = self._last_episode_starts
            if masks_now is not None:
                rollout.masks[step] = masks_now()
            output = network.forward(rows)
            rollout.values[step] = output.values
            uniform = np.random.random_sample(rows)  # noqa: NPY002
            actions, chances = rollout.actions[step], rollout.log_probs[step]
            sample_actions(output.logits, rollout.masks[step], uniform, actions, chances)
            self._last_obs, rewards, dones, infos = env.step(actions)
            rollout.rewards[step] = rewards
            self._last_episode_starts = dones
            self.num_timesteps += rows
            if not callback.on_step():
                return False
            if dones.any():
                self._value_the_cut(infos, dones, rollout.rewards[step])
        inputs[:] = self._last_obs
        rollout.estimate(network.forward(rows).values, np.asarray(self._last_episode_starts))
        callback.on_rollout_end()
        return True

    def _value_the_cut(self, infos: Any, dones: Any, rewards: Any) -> None:
        """Add the value of what an episode was cut off from by a time limit, where it was."""
        for i in np.flatnonzero(dones):
            if infos[i].get("TimeLimit.truncated") and "terminal_observation" in infos[i]:
                self.network.inputs(1)[0] = infos[i]["terminal_observation"]
                rewards[i] += self.gamma * float(self.network.forward(1).values[0])

    def train(self) -> None:
        """Update the policy from the rollout."""
        self._update_learning_rate(self.policy.optimizer)
        schedule: Any = self.clip_range
        clip_range = float(schedule(self._current_progress_remaining))
        rollout = self.rollout_buffer
        total, batch = rollout.buffer_size * rollout.n_envs, int(self.batch_size or 0)
        seen: list[npt.NDArray[np.float64]] = []
        for _ in range(self.n_epochs):
            order = rollout.shuffled()
            batches = (order[start : start + batch] for start in range(0, total, batch))
            stopped = any(not self._descend(index, clip_range, seen) for index in batches)
            self._n_updates += 1
            if stopped:
                break
        self._log(np.mean(seen, axis=0))

    def _descend(
        self, index: npt.NDArray[np.int64], clip_range: float, seen: list[npt.NDArray[np.float64]]
    ) -> bool:
        """One gradient step on the transitions ``index``; False where the policy has moved enough."""
        network, rollout, rows = self.network, self.rollout_buffer, len(index)
        observations = rollout.observations.reshape(-1, network.width)
        np.take(observations, index, axis=0, out=network.inputs(rows))
        output, slope = network.forward(rows), network.derivative(rows)
        figures = np.zeros(len(_FIGURES))
        ppo_loss(
            output.logits, output.values, index,
            rollout.masks.reshape(-1, rollout.masks.shape[-1]), rollout.actions.reshape(-1),
            rollout.log_probs.reshape(-1), rollout.advantages.reshape(-1),
            rollout.returns.reshape(-1), self.normalizes_advantages, clip_range,
            float(self.ent_coef), float(self.vf_coef), slope.logits, slope.values, figures,
        )  # fmt: skip
        seen.append(figures)
        if self.target_kl is not None and figures[3] > 1.5 * self.target_kl:
            return False
        network.backward(rows)
        network.clip_gradients(self.max_grad_norm)
        self.policy.optimizer.step()
        return True

    def _log(self, figures: npt.NDArray[np.float64]) -> None:
        for name, value in zip(_FIGURES, figures.tolist(), strict=True):
            self.logger.record(f"train/{name}", value)
        rollout = self.rollout_buffer
        explained = explained_variance(rollout.values.flatten(), rollout.returns.flatten())
        self.logger.record("train/explained_variance", explained)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


class MaskedA2C(FastMaskablePPO):
    """Masked A2C: PPO with one epoch, one batch, raw advantages (arXiv:2205.09123) and RMSprop.

    In the only step of an update the old policy is the policy, so that the ratio is 1, nothing is
    clipped, and the gradient of the surrogate is the policy gradient.
    """

    normalizes_advantages: ClassVar[bool] = False

    def __init__(
        self,
        policy: Any,
        env: Any,
        *,
        n_steps: int,
        policy_kwargs: dict[str, Any],
        **arguments: Any,
    ) -> None:
        optimizer = {"optimizer_class": torch.optim.RMSprop, "optimizer_kwargs": _RMSPROP}
        super().__init__(
            policy,
            env,
            n_steps=n_steps,
            n_epochs=1,
            batch_size=n_steps * env.num_envs,
            policy_kwargs=policy_kwargs | optimizer,
            **arguments,
        )


def _mask_source(env: Any) -> Callable[[], npt.NDArray[np.bool_]]:
    """The vector environment's own masks of all copies, else those that its copies give."""
    own = getattr(env, "action_masks", None)
    if own is not None:
        asked: Callable[[], npt.NDArray[np.bool_]] = own
        return asked
    return partial(get_action_masks, env)
