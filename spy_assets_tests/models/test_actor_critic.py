"""The lean PPO and A2C against Stable-Baselines3's own, on equal inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from spy_assets.models.policy.actor_critic import FastMaskablePPO, MaskedA2C
from spy_assets.models.policy.network import policy_arguments

COPIES, STEPS = 6, 16
"""Copies and steps of a rollout."""


class Corridor(VecEnv):
    """Random observations and masks, a reward that depends on both, episodes of seven steps."""

    def __init__(self, masked: bool = True, truncated: bool = False) -> None:
        super().__init__(COPIES, spaces.Box(0, 1, (15,), np.float32), spaces.Discrete(7))
        self.random, self.masked, self.truncated = np.random.default_rng(1), masked, truncated
        self.steps = 0
        self.observation = self.reset()

    def reset(self) -> Any:
        return self.random.random((COPIES, 15), dtype=np.float32)

    def action_masks(self) -> Any:
        masks = self.observation[:, :7] < 0.6
        masks[:, 5] = True
        return masks | (not self.masked)

    def step_async(self, actions: Any) -> None:
        self.actions = np.asarray(actions)

    def step_wait(self) -> Any:
        self.steps += 1
        rewards = self.observation[np.arange(COPIES), self.actions] - 0.4
        self.observation = self.reset()
        dones = np.full(COPIES, self.steps % 7 == 0)
        info = {"TimeLimit.truncated": self.truncated, "terminal_observation": self.observation[0]}
        return self.observation, rewards.astype(np.float32), dones, [info] * COPIES

    def close(self) -> None: ...

    def env_is_wrapped(self, *_: Any, **__: Any) -> Any:
        return [False] * COPIES

    def env_method(self, *_: Any, **__: Any) -> Any:
        return list(self.action_masks())

    def has_attr(self, attr_name: str) -> bool:
        return attr_name == "action_masks"

    def get_attr(self, *_: Any, **__: Any) -> Any:
        return [None] * COPIES

    def set_attr(self, *_: Any, **__: Any) -> None: ...


def make(
    kind: Any, env: VecEnv, *, shared: bool = True, activation: str = "tanh", **changes: Any
) -> Any:
    arguments = policy_arguments((32, 16), activation, shared)
    if kind is A2C:
        del arguments["optimizer_kwargs"]  # those of Adam
    values: dict[str, Any] = {"n_steps": STEPS, "seed": 3, "ent_coef": 0.02, "learning_rate": 1e-2}
    if kind in (FastMaskablePPO, MaskablePPO):
        values |= {"batch_size": 32, "n_epochs": 3}
    if kind in (MaskablePPO, A2C):
        values["device"] = "cpu"
    model = kind("MlpPolicy", env, policy_kwargs=arguments, **(values | changes))
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def copy_rollout(ours: Any, theirs: Any) -> None:
    """Put our rollout into the library's buffer, as its own collection would have left it."""
    buffer, rollout = theirs.rollout_buffer, ours.rollout_buffer
    buffer.reset()
    buffer.observations[:], buffer.actions[..., 0] = rollout.observations, rollout.actions
    for name in ("rewards", "values", "log_probs"):
        getattr(buffer, name)[:] = getattr(rollout, name)
    buffer.episode_starts[:] = rollout.starts
    if hasattr(buffer, "action_masks"):
        buffer.action_masks[:] = rollout.masks
    last = ours.policy.predict_values(torch.from_numpy(ours._last_obs)).detach()
    buffer.compute_returns_and_advantage(last, np.asarray(ours._last_episode_starts))
    buffer.full = True


def updated(ours: Any, theirs: Any) -> None:
    """Collect a rollout with ours, and let both learn from it."""
    theirs.policy.load_state_dict(ours.policy.state_dict())
    _, callback = ours._setup_learn(1_000)
    assert ours.collect_rollouts(ours.env, callback, ours.rollout_buffer, STEPS)
    copy_rollout(ours, theirs)
    for model in (ours, theirs):
        np.random.seed(5)  # noqa: NPY002
        model.train()


def assert_equal_policies(ours: Any, theirs: Any, tolerance: float = 2e-6) -> None:
    expected = theirs.policy.state_dict()
    for name, tensor in ours.policy.state_dict().items():
        np.testing.assert_allclose(tensor, expected[name], atol=tolerance, err_msg=name)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_an_update_equals_that_of_maskable_ppo(shared: bool, activation: str) -> None:
    """Twelve gradient steps, masks, shuffled batches, clipping of ratios and of gradients."""
    ours, theirs = (
        make(kind, Corridor(), shared=shared, activation=activation)
        for kind in (FastMaskablePPO, MaskablePPO)
    )
    before = ours.policy.action_net.weight.detach().clone()
    updated(ours, theirs)
    assert (ours.policy.action_net.weight - before).abs().max() > 0.01
    assert_equal_policies(ours, theirs, 2e-5)
    for name in ("value_loss", "policy_gradient_loss", "entropy_loss", "clip_fraction"):
        measured = (model.logger.name_to_value[f"train/{name}"] for model in (ours, theirs))
        assert next(measured) == pytest.approx(next(measured), abs=2e-6)


def test_an_update_of_a2c_equals_that_of_stable_baselines() -> None:
    """Their A2C knows no masks, so every action is allowed here."""
    ours = make(MaskedA2C, Corridor(masked=False), gae_lambda=1.0)
    theirs = make(A2C, Corridor(masked=False), gae_lambda=1.0)
    assert isinstance(ours.policy.optimizer, type(theirs.policy.optimizer))
    updated(ours, theirs)
    assert_equal_policies(ours, theirs)


def test_advantages_equal_those_of_the_library() -> None:
    ours, theirs = (make(kind, Corridor()) for kind in (FastMaskablePPO, MaskablePPO))
    _, callback = ours._setup_learn(1_000)
    ours.collect_rollouts(ours.env, callback, ours.rollout_buffer, STEPS)
    copy_rollout(ours, theirs)
    for name in ("advantages", "returns"):
        expected = getattr(theirs.rollout_buffer, name)
        np.testing.assert_allclose(getattr(ours.rollout_buffer, name), expected, atol=1e-6)


def test_a_time_limit_adds_the_value_of_what_was_cut_off() -> None:
    rewards = []
    for truncated in (False, True):
        model = make(FastMaskablePPO, Corridor(truncated=truncated))
        _, callback = model._setup_learn(1_000)
        model.collect_rollouts(model.env, callback, model.rollout_buffer, STEPS)
        rewards.append(model.rollout_buffer.rewards.copy())
    assert np.flatnonzero((rewards[0] != rewards[1]).any(axis=1)).tolist() == [6, 13]


def test_values_and_chances_of_a_rollout_are_those_of_the_policy() -> None:
    model = make(FastMaskablePPO, Corridor())
    _, callback = model._setup_learn(1_000)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, STEPS)
    rollout = model.rollout_buffer
    with torch.no_grad():
        values, chances, _ = model.policy.evaluate_actions(
            torch.from_numpy(rollout.observations.reshape(-1, 15)),
            torch.from_numpy(rollout.actions.reshape(-1)),
            torch.from_numpy(rollout.masks.reshape(-1, 7)),
        )
    np.testing.assert_allclose(rollout.values.reshape(-1), values[:, 0], atol=1e-6)
    np.testing.assert_allclose(rollout.log_probs.reshape(-1), chances, atol=1e-6)
    assert rollout.masks[np.arange(STEPS)[:, None], np.arange(COPIES), rollout.actions].all()


def test_target_kl_ends_an_update_early() -> None:
    model = make(FastMaskablePPO, Corridor(), target_kl=1e-9)
    model.learn(COPIES * STEPS)
    assert model._n_updates == 1
