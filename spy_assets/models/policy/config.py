"""Every hyper-parameter of the daily policy, in one frozen object.

Four presets: ``seed`` is the published baseline, ``quick`` and ``full`` are its two training
lengths, and ``sample`` is what ``make run`` trains: the same network and losses, fewer steps,
larger batches.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from spy_assets.errors import ConfigError

PresetName = Literal["seed", "quick", "full", "sample"]

SEED_STEP = 42
"""Seed k of a training is ``k * SEED_STEP``, k = 1, 2, ..."""


def seeds(count: int) -> tuple[int, ...]:
    """Give the first ``count`` training seeds.

    >>> seeds(3)
    (42, 84, 126)
    """
    return tuple(k * SEED_STEP for k in range(1, count + 1))


class PPOConfig(BaseModel):
    """Hyper-parameters of masked PPO.

    The algorithm: Schulman et al. 2017, arXiv:1707.06347; the masks: arXiv:2006.14171. Where a
    value is not the daily baseline's own, it is the default of Stable-Baselines3.

    >>> PPOConfig().rollout_steps
    4096
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    timesteps: Annotated[int, Field(gt=0)] = 500_000
    """Environment steps in all, over all copies; rounded up to whole rollouts."""
    seeds: tuple[int, ...] = seeds(3)
    """One training per seed; the best on the inner validation tail is kept."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer, for the policy and, apart, for the value network."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Non-linearity after each hidden layer."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Step size of Adam, constant."""
    n_steps: Annotated[int, Field(gt=1)] = 1024
    """Steps per environment copy between two updates."""
    n_envs: Annotated[int, Field(gt=0)] = 4
    """Environment copies that are stepped in turn."""
    batch_size: Annotated[int, Field(gt=1)] = 64
    """Transitions per gradient step; divides ``n_steps * n_envs``."""
    n_epochs: Annotated[int, Field(gt=0)] = 10
    """Passes over each rollout."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Discount per session."""
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Bias against variance of the advantage estimate (arXiv:1506.02438)."""
    clip_range: Annotated[float, Field(gt=0)] = 0.2
    """How far the probability ratio may move in one update."""
    ent_coef: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the entropy bonus, which keeps the policy exploring."""
    vf_coef: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the value loss."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    """Gradients are clipped to this norm."""
    target_kl: float | None = None
    """Stop an update early at 1.5 times this KL divergence; None never stops."""
    checkpoint_every: Annotated[int, Field(gt=0)] = 1
    """Rollouts between two checkpoints on disk."""
    episode_length: Annotated[int, Field(gt=0)] = 252
    """Sessions of an episode, which starts at a random session: one year."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Tail of the training window on which seeds are compared; never the reported period."""
    validation_purge: Annotated[int, Field(ge=0)] = 10
    """Sessions dropped before that tail, at least the longest holding time plus the fill delay."""

    @property
    def rollout_steps(self) -> int:
        """Environment steps in one rollout, over all copies."""
        return self.n_steps * self.n_envs

    @property
    def rollouts(self) -> int:
        """Rollouts in the whole training: ``timesteps / rollout_steps`` rounded up."""
        return -(-self.timesteps // self.rollout_steps)

    def hyperparameters(self) -> dict[str, Any]:
        """All values as plain JSON types, for the registry and the warehouse."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """SHA-256 over what decides one seed's weights.

        The list of seeds and the checkpoint interval are left out: neither changes one training.
        """
        decisive = self.model_dump(mode="json", exclude={"seeds", "checkpoint_every"})
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def model_post_init(self, _context: object, /) -> None:
        """Refuse combinations that would silently drop transitions or train nothing.

        Raises
        ------
        ConfigError
            No seed, a repeated seed, or a batch size that does not divide the rollout.
        """
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds={self.seeds}", hint="give one or more different seeds")
        if self.rollout_steps % self.batch_size:
            raise ConfigError(
                f"batch_size={self.batch_size} does not divide n_steps*n_envs="
                f"{self.n_steps}*{self.n_envs}={self.rollout_steps}",
                hint="choose a batch size that divides the rollout, so that no step is dropped",
            )


PRESETS: dict[PresetName, PPOConfig] = {
    "seed": PPOConfig(),
    "quick": PPOConfig(timesteps=50_000, seeds=seeds(1)),
    "full": PPOConfig(timesteps=500_000, seeds=seeds(3), checkpoint_every=12),
    # About 25 s on one core for both seeds: Adam steps dominate, so batches are larger. With half the
    # steps the policy still trades at random and is refused as worse than cash.
    "sample": PPOConfig(timesteps=20_480, seeds=seeds(2), batch_size=256),
}
"""The named configurations. ``full`` writes a checkpoint about every 50,000 steps."""


def preset(name: str, **changes: Any) -> PPOConfig:
    """Give the preset ``name`` with some values changed, validated again.

    Raises
    ------
    ConfigError
        The name is not a preset.

    >>> preset("quick", n_epochs=4).n_epochs
    4
    """
    for key, config in PRESETS.items():
        if key == name:
            return PPOConfig(**{**config.model_dump(), **changes})
    raise ConfigError(f"no preset {name!r}", hint=f"choose one of {', '.join(PRESETS)}")
