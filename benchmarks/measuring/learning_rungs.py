"""Ours, and what it is made of: the same training with one part after the other taken away."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.logger import Logger

from spy_assets.models.policy.actor_critic import FastMaskablePPO
from spy_assets.models.policy.config import PPOConfig, preset
from spy_assets.models.policy.network import policy_arguments
from spy_assets.models.policy.train import Trading
from spy_assets_tests.models.markets import random_market

SESSIONS = 937
"""As long as the sample's training window."""


def fast() -> PPOConfig:
    config = preset("fast")
    assert isinstance(config, PPOConfig)
    return config


def torch_loss(policy: Any, batch: tuple[torch.Tensor, ...], config: PPOConfig) -> torch.Tensor:
    """The loss of masked PPO in PyTorch's operations, with nothing that a compiler cannot follow."""
    observations, masks, actions, old, advantages, returns = batch
    features = policy.features_extractor(observations)
    logits, values = policy.action_net(features), policy.value_net(features)[:, 0]
    logs = torch.log_softmax(torch.where(masks, logits, -1e8), 1)
    ratio = torch.exp(logs.gather(1, actions[:, None])[:, 0] - old)
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    clipped = ratio.clamp(1 - config.clip_range, 1 + config.clip_range)
    gain = torch.minimum(advantages * ratio, advantages * clipped).mean()
    entropy = -torch.where(masks, logs.exp() * logs, 0.0).sum(1).mean()
    error = ((returns - values) ** 2).mean()
    return -gain - config.ent_coef * entropy + config.vf_coef * error


class TorchUpdate(FastMaskablePPO):
    """Our rollouts, and an update by automatic differentiation of :func:`torch_loss`."""

    loss: Callable[..., torch.Tensor] = staticmethod(torch_loss)

    def _descend(self, index: Any, clip_range: float, seen: Any) -> bool:  # noqa: ARG002
        rollout = self.rollout_buffer
        rows = [
            rollout.observations.reshape(-1, self.network.width),
            rollout.masks.reshape(-1, rollout.masks.shape[-1]),
            *(getattr(rollout, name).reshape(-1) for name in ("actions", "log_probs")),
            *(getattr(rollout, name).reshape(-1) for name in ("advantages", "returns")),
        ]
        batch = tuple(torch.from_numpy(values[index]) for values in rows)
        self.network.gradients.zero_()
        self.loss(self.policy, batch, fast()).backward()
        self.network.clip_gradients(self.max_grad_norm)
        self.policy.optimizer.step()
        seen.append(np.zeros(5))
        return True


class CompiledUpdate(TorchUpdate):
    """The same loss through ``torch.compile``."""

    loss = staticmethod(torch.compile(torch_loss))


def environment(accounts: int) -> Any:
    trading = Trading()
    return trading.copies(trading.book(random_market(SESSIONS)), accounts, fast().episode_length)


def defaults() -> Any:
    """MaskablePPO with all of its defaults on one account of ours."""
    return MaskablePPO("MlpPolicy", environment(1), device="cpu", seed=0)


def batched(kind: Any = MaskablePPO, *, shared: bool = False) -> Any:
    """The hyper-parameters of ``fast`` on 256 accounts."""
    config = fast()
    arguments = policy_arguments(config.hidden, config.activation, shared)
    if not shared:
        del arguments["optimizer_kwargs"]
    more = {"device": "cpu"} if kind is MaskablePPO else {}
    names = (
        "n_steps", "batch_size", "n_epochs", "learning_rate", "gamma", "gae_lambda", "clip_range",
        "ent_coef", "vf_coef", "max_grad_norm",
    )  # fmt: skip
    values = {name: getattr(config, name) for name in names}
    return kind(
        "MlpPolicy", environment(config.n_envs), policy_kwargs=arguments, seed=0, **values, **more
    )


RUNGS: dict[str, Callable[[], Any]] = {
    "SB3's defaults, one account of ours": defaults,
    "256 accounts x 32 steps, batch 1024, 4 epochs": batched,
    "and one trunk, fused Adam": lambda: batched(shared=True),
    "and our rollouts": lambda: batched(TorchUpdate, shared=True),
    "and our update: ours": lambda: batched(FastMaskablePPO, shared=True),
}
COMPILED = "our rollouts, torch.compile of the loss"


def rungs() -> dict[str, Any]:
    """All models, quiet, in the order of the ladder; that of ``torch.compile`` last, if it can run."""
    made = {name: make() for name, make in RUNGS.items()}
    if shutil.which("c++") or shutil.which("g++"):
        made[COMPILED] = batched(CompiledUpdate, shared=True)
    for model in made.values():
        model.set_logger(Logger(folder=None, output_formats=[]))
    return made
