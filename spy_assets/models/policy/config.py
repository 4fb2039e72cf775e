"""Every hyper-parameter of a policy's training, in one frozen object per algorithm.

Presets: ``seed`` is the published baseline of the daily policy, ``quick`` and ``full`` are its two
training lengths; ``fast`` is made for one core and many copies of the environment; ``a2c`` and ``dqn``
are the other two algorithms at the same scale; ``sample`` is what ``make run`` trains.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from spy_assets.errors import ConfigError

AlgorithmName = Literal["ppo", "a2c", "dqn"]
PresetName = Literal["seed", "quick", "full", "sample", "fast", "a2c", "dqn"]

SEED_STEP = 42
"""Seed k of a training is ``k * SEED_STEP``, k = 1, 2, ..."""


def seeds(count: int) -> tuple[int, ...]:
    """Give the first ``count`` training seeds.

    >>> seeds(3)
    (42, 84, 126)
    """
    return tuple(k * SEED_STEP for k in range(1, count + 1))


class AgentConfig(BaseModel):
    """What all algorithms have in common; made as :class:`PPOConfig` or one of its siblings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: AlgorithmName
    """How the policy learns."""
    timesteps: Annotated[int, Field(gt=0)] = 500_000
    """Environment steps in all, over all copies; rounded up to whole rollouts."""
    seeds: tuple[int, ...] = seeds(3)
    """One training per seed; the best on the inner validation tail is kept."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    shared_trunk: bool = False
    """Whether policy and value have the hidden layers in common, or each their own."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Non-linearity after each hidden layer."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Step size of the optimizer, constant."""
    n_steps: Annotated[int, Field(gt=1)] = 1024
    """Steps per environment copy between two updates (PPO, A2C) or two rows of the curve (DQN)."""
    n_envs: Annotated[int, Field(gt=0)] = 4
    """Environment copies that are stepped together."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Discount per session."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    """Gradients are clipped to this norm."""
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
        """SHA-256 over what decides one seed's weights, the algorithm first of all.

        The list of seeds and the checkpoint interval are left out: neither changes one training.
        """
        decisive = self.model_dump(mode="json", exclude={"seeds", "checkpoint_every"})
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def model_post_init(self, _context: object, /) -> None:
        """Refuse a training of nothing.

        Raises
        ------
        ConfigError
            No seed, or a repeated one; no hidden layer.
        """
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds={self.seeds}", hint="give one or more different seeds")
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(
                f"hidden={self.hidden}", hint="give one or more layers, such as 64, 64"
            )


class ActorCriticConfig(AgentConfig):
    """What PPO and A2C have in common."""

    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Bias against variance of the advantage estimate (arXiv:1506.02438)."""
    ent_coef: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the entropy bonus, which keeps the policy exploring."""
    vf_coef: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the value loss."""


class PPOConfig(ActorCriticConfig):
    """Hyper-parameters of masked PPO.

    The algorithm: Schulman et al. 2017, arXiv:1707.06347; the masks: arXiv:2006.14171. Where a
    value is not the daily baseline's own, it is the default of Stable-Baselines3.

    >>> PPOConfig().rollout_steps
    4096
    """

    algorithm: Literal["ppo"] = "ppo"
    """Proximal policy optimization."""
    batch_size: Annotated[int, Field(gt=1)] = 64
    """Transitions per gradient step; divides ``n_steps * n_envs``."""
    n_epochs: Annotated[int, Field(gt=0)] = 10
    """Passes over each rollout."""
    clip_range: Annotated[float, Field(gt=0)] = 0.2
    """How far the probability ratio may move in one update."""
    target_kl: float | None = None
    """Stop an update early at 1.5 times this KL divergence; None never stops."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse a batch size that would silently drop transitions.

        Raises
        ------
        ConfigError
            It does not divide the rollout, or as for :class:`AgentConfig`.
        """
        super().model_post_init(context)
        if self.rollout_steps % self.batch_size:
            raise ConfigError(
                f"batch_size={self.batch_size} does not divide n_steps*n_envs="
                f"{self.n_steps}*{self.n_envs}={self.rollout_steps}",
                hint="choose a batch size that divides the rollout, so that no step is dropped",
            )


class A2CConfig(ActorCriticConfig):
    """Hyper-parameters of masked A2C (arXiv:1602.01783): one gradient step per rollout, by RMSprop.

    >>> A2CConfig().rollout_steps
    512
    """

    algorithm: Literal["a2c"] = "a2c"
    """Advantage actor-critic."""
    timesteps: Annotated[int, Field(gt=0)] = 2_000_000
    n_steps: Annotated[int, Field(gt=1)] = 8
    n_envs: Annotated[int, Field(gt=0)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.95
    shared_trunk: bool = True
    vf_coef: Annotated[float, Field(ge=0)] = 0.05
    checkpoint_every: Annotated[int, Field(gt=0)] = 256


class DQNConfig(AgentConfig):
    """Hyper-parameters of masked, double (arXiv:1509.06461), dueling (arXiv:1511.06581) DQN.

    The network puts out the state's value V and an advantage A per action; the best allowed action is
    the reference, Q = V + A - max A, so that V is the value of acting greedily. Choosing, bootstrapping
    and exploring all look at allowed actions only.

    >>> DQNConfig().rollout_steps
    4096
    """

    algorithm: Literal["dqn"] = "dqn"
    """Deep Q-learning."""
    n_steps: Annotated[int, Field(gt=1)] = 64
    n_envs: Annotated[int, Field(gt=0)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.95
    checkpoint_every: Annotated[int, Field(gt=0)] = 32
    shared_trunk: bool = True
    max_grad_norm: Annotated[float, Field(gt=0)] = 10.0
    batch_size: Annotated[int, Field(gt=1)] = 256
    """Transitions per gradient step, drawn from the replay memory with replacement."""
    replay_size: Annotated[int, Field(gt=1)] = 131_072
    """Transitions that are remembered, over all copies; rounded up to whole steps of them."""
    learning_starts: Annotated[int, Field(ge=0)] = 8_192
    """Environment steps of pure exploration before the first gradient step."""
    gradient_steps: Annotated[int, Field(gt=0)] = 1
    """Gradient steps after each step of all copies."""
    target_every: Annotated[int, Field(gt=0)] = 100
    """Gradient steps between two copies of the network to its target."""
    exploration_fraction: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Part of the training over which exploration falls from 1 to its final value."""
    exploration_final: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Probability of a random allowed action after that."""
    temperature: Annotated[float, Field(gt=0)] = 0.25
    """Probabilities of the exported policy are softmax(Q / temperature), in reward units.

    A quarter of a percent of the capital less in Q makes an action e times less probable. The greedy
    action is the same at every temperature.
    """


# The value loss grows with the square of what a position earns, and a shared trunk is pulled by both
# losses: a small weight for it, and a horizon of 20 sessions where positions are held for 5.
_FAST = PPOConfig(
    timesteps=1_000_000, n_envs=256, n_steps=32, batch_size=1024, n_epochs=4, shared_trunk=True,
    learning_rate=2e-3, gamma=0.95, vf_coef=0.05, checkpoint_every=16,
)  # fmt: skip

PRESETS: dict[PresetName, AgentConfig] = {
    "seed": PPOConfig(),
    "quick": PPOConfig(timesteps=50_000, seeds=seeds(1)),
    "full": PPOConfig(timesteps=500_000, seeds=seeds(3), checkpoint_every=12),
    "fast": _FAST,
    # Four years of sessions are soon known by heart: with the baseline's entropy bonus every probability
    # ends at 0 or 1, and with it every signal's confidence.
    "sample": _FAST.model_copy(update={"ent_coef": 0.2}),
    "a2c": A2CConfig(),
    "dqn": DQNConfig(),
}
"""The named configurations. ``full`` writes a checkpoint about every 50,000 steps.

A seed of ``fast``, ``a2c`` or ``dqn`` takes about five seconds on one core."""


def preset(name: str, **changes: Any) -> AgentConfig:
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
            return type(config)(**{**config.model_dump(), **changes})
    raise ConfigError(f"no preset {name!r}", hint=f"choose one of {', '.join(PRESETS)}")


def require_algorithm(config: AgentConfig, algorithm: str, model: str) -> None:
    """Refuse to train a registered model by another algorithm than its own.

    Raises
    ------
    ConfigError
        The configuration is of another algorithm.

    >>> require_algorithm(preset("fast"), "ppo", "ppo_daily")
    """
    if config.algorithm != algorithm:
        fitting = [name for name, known in PRESETS.items() if known.algorithm == algorithm]
        raise ConfigError(
            f"{model} is trained by {algorithm}, its configuration is of {config.algorithm}",
            hint=f"choose a preset of {algorithm}: {', '.join(fitting)}",
        )
