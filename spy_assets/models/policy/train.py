"""Training of the daily policy: masked PPO, reproducible to the bit, continued after any kill.

One core, one thread, deterministic kernels: the same path, configuration and seed give the same
weights in every process of one machine. The state at the end of each rollout (weights, Adam,
random numbers, environments) is a checkpoint; a training that continues from it ends with the
weights of one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import numpy.typing as npt

from spy_assets.errors import ModelError
from spy_assets.models.policy.checkpoint import CheckpointStore
from spy_assets.models.policy.config import PPOConfig
from spy_assets.models.policy.weights import policy_hash
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import PRESETS as COST_PRESETS
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.environment import DailyOptionsEnv
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules
from spy_assets.simulator.market_path import MarketPath

if TYPE_CHECKING:
    from sb3_contrib import MaskablePPO

Progress = Callable[[float, str], None]
Stop = Callable[[], bool]

#: Names in the learning curve of what Stable-Baselines3 measures in an update.
_MEASURED = {
    "train/policy_gradient_loss": "policy_loss",
    "train/value_loss": "value_loss",
    "train/entropy_loss": "entropy_loss",
    "train/approx_kl": "approx_kl",
    "train/clip_fraction": "clip_fraction",
    "train/explained_variance": "explained_variance",
}


class TrainingStopped(ModelError):
    """The training was asked to end; its checkpoint is written, the next run continues."""


@dataclass(frozen=True)
class Trading:
    """The account that the policy learns to trade: costs, exits, capital, and how orders fill."""

    costs: CostModel = COST_PRESETS["rltrade"]
    rules: ExitRules = DEFAULT_RULES
    capital: float = 10_000.0
    simulation: DailyConfig = field(default_factory=DailyConfig)

    def book(self, path: MarketPath) -> PathBook:
        """Prepare what all environments over one path share."""
        return PathBook(path, self.costs, self.simulation)

    def environment(self, book: PathBook, episode_length: int | None) -> DailyOptionsEnv:
        """Make an environment over the path of ``book``."""
        return DailyOptionsEnv(
            book.path,
            episode_length=episode_length,
            rules=self.rules,
            capital=self.capital,
            book=book,
        )


@dataclass(frozen=True)
class TrainedPolicy:
    """One seed's result.

    Attributes
    ----------
    seed
        The seed.
    state_dict
        Tensors by name, in order, as NumPy arrays.
    policy_hash
        SHA-256 of ``state_dict``; see :func:`~spy_assets.models.policy.weights.policy_hash`.
    curve
        One row per rollout: ``timesteps``, ``step_reward`` (mean), the losses, and
        ``episode_reward`` (mean over the episodes that ended in it, absent if none did).
    timesteps
        Environment steps made.
    resumed_at
        Steps that were already made when this process began; 0 for a training from the start.
    """

    seed: int
    state_dict: Mapping[str, npt.NDArray[Any]]
    policy_hash: str
    curve: tuple[Mapping[str, float], ...]
    timesteps: int
    resumed_at: int = 0


def path_digest(path: MarketPath) -> str:
    """SHA-256 over every number that a training on ``path`` can see.

    It goes with the training as its data set's digest.
    """
    digest = hashlib.sha256(",".join(day.isoformat() for day in path.sessions).encode())
    for values in (
        path.open,
        path.close,
        path.iv_open,
        path.iv_close,
        path.rate,
        path.observation,
    ):
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()


def training_fingerprint(path: MarketPath, config: PPOConfig, seed: int, trading: Trading) -> str:
    """SHA-256 over all that decides the weights: data, hyper-parameters, account, seed."""
    parts = (path_digest(path), config.digest(), str(seed), repr(trading))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def train_ppo(
    path: MarketPath,
    config: PPOConfig,
    seed: int,
    *,
    trading: Trading | None = None,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> TrainedPolicy:
    """Train one policy, or go on with a training that was interrupted.

    Parameters
    ----------
    path
        The training window, and nothing after it.
    config, seed
        Hyper-parameters and seed; ``config.seeds`` is not looked at.
    trading
        Costs, exits, capital; the defaults of :class:`Trading` if None.
    checkpoint_dir
        Where the checkpoint is kept; None keeps none. A finished training leaves its last one, so
        that running it again gives the result at once.
    progress
        Called after each rollout with the fraction done and a line of text.
    stop
        Asked before every step; once true, the checkpoint is written and :class:`TrainingStopped`
        raised. The wait is one update at most.

    Raises
    ------
    TrainingStopped
        ``stop`` became true.
    """
    trading = trading or Trading()
    store = CheckpointStore(checkpoint_dir, training_fingerprint(path, config, seed, trading))
    report = progress or (lambda _fraction, _text: None)
    with _deterministic(), np.errstate(all="warn"):
        trainer = _Trainer(path, config, seed, trading, stop or (lambda: False))
        saved = store.read()
        if saved is not None:
            trainer.restore(saved)
            report(trainer.done / config.rollouts, f"seed {seed}: continued at {trainer.steps:,}")
        resumed_at = trainer.steps
        _run(trainer, store, config, report)
        return trainer.result(resumed_at)


def _run(trainer: _Trainer, store: CheckpointStore, config: PPOConfig, report: Progress) -> None:
    state, written = trainer.state(), trainer.done
    try:
        while trainer.done < config.rollouts:
            row = trainer.rollout()
            state = trainer.state()
            if trainer.done % config.checkpoint_every == 0:
                store.write(state)
                written = trainer.done
            report(trainer.done / config.rollouts, trainer.describe(row))
    finally:  # also when the process is told to stop, whatever the way
        if state["rollouts"] > written:
            store.write(state)


@contextmanager
def _deterministic() -> Iterator[None]:
    """One thread and reproducible kernels for PyTorch; everything global is put back afterwards."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    held = (random.getstate(), np.random.get_state(), torch.get_rng_state())  # noqa: NPY002
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        random.setstate(held[0])
        np.random.set_state(held[1])  # noqa: NPY002
        torch.set_rng_state(held[2])


class _Trainer:
    """MaskablePPO, one rollout and its update at a time."""

    def __init__(
        self, path: MarketPath, config: PPOConfig, seed: int, trading: Trading, stop: Stop
    ) -> None:
        from stable_baselines3.common.vec_env import DummyVecEnv

        self.config, self.seed = config, seed
        book = trading.book(path)
        self.envs = [trading.environment(book, config.episode_length) for _ in range(config.n_envs)]
        makers = [partial(_without_info, env) for env in self.envs]
        self.vector = DummyVecEnv(makers)  # type: ignore[arg-type]  # a list is invariant
        self.model = _make_model(self.vector, config, seed)
        total = config.rollouts * config.rollout_steps
        self.total, self.callback = self.model._setup_learn(total, _stopper(stop))
        self.curve: list[dict[str, float]] = []
        self.running = np.zeros(config.n_envs)

    @property
    def steps(self) -> int:
        """Environment steps made."""
        return int(self.model.num_timesteps)

    @property
    def done(self) -> int:
        """Rollouts made."""
        return len(self.curve)

    def rollout(self) -> dict[str, float]:
        """Collect one rollout and learn from it."""
        model = self.model
        buffer = model.rollout_buffer
        finished = model.collect_rollouts(self.vector, self.callback, buffer, model.n_steps)
        if not finished:
            raise TrainingStopped(
                f"training of seed {self.seed} was stopped after {self.done} of "
                f"{self.config.rollouts} rollouts",
                hint="run it again; it continues from its checkpoint",
            )
        model._update_current_progress_remaining(model.num_timesteps, self.total)
        row = {"timesteps": float(self.steps), "step_reward": float(buffer.rewards.mean())}
        episodes = self._episode_rewards(buffer.rewards, buffer.episode_starts)
        if episodes:
            row["episode_reward"] = float(np.mean(episodes))
        model.train()
        measured = model.logger.name_to_value
        row |= {name: float(measured[key]) for key, name in _MEASURED.items()}
        model.logger.dump(self.steps)
        self.curve.append(row)
        return row

    def _episode_rewards(
        self, rewards: npt.NDArray[np.float32], starts: npt.NDArray[np.float32]
    ) -> list[float]:
        """Sum rewards per episode, across rollouts; give the sums of those that ended."""
        ended: list[float] = []
        for step, (reward, start) in enumerate(zip(rewards, starts, strict=True)):
            fresh = start.astype(bool) & (step + self.steps > self.config.rollout_steps)
            ended += self.running[fresh].tolist()
            self.running = np.where(start.astype(bool), 0.0, self.running) + reward
        return ended

    def describe(self, row: Mapping[str, float]) -> str:
        """One line about where the training stands."""
        reward = row.get("episode_reward")
        text = "" if reward is None else f", reward per episode {reward:.2f}"
        return f"seed {self.seed}: {self.steps:,} of {self.total:,} steps{text}"

    def state(self) -> dict[str, Any]:
        """Everything that the next rollout depends on, as tensors and plain values."""
        import torch

        model = self.model
        kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
        assert model._last_obs is not None
        return {
            "rollouts": self.done,
            "timesteps": self.steps,
            "updates": int(model._n_updates),
            "policy": {key: value.clone() for key, value in model.policy.state_dict().items()},
            "optimizer": _copied(model.policy.optimizer.state_dict()),
            "torch_random": torch.get_rng_state(),
            "numpy_random": [
                str(kind),
                torch.from_numpy(np.asarray(keys).astype(np.int64)),
                int(position),
                int(has_gauss),
                float(cached),
            ],
            "environments": [_environment_state(env) for env in self.envs],
            "observation": torch.from_numpy(np.array(model._last_obs)),
            "episode_starts": torch.from_numpy(np.array(model._last_episode_starts)),
            "running": self.running.tolist(),
            "curve": [dict(row) for row in self.curve],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        import torch

        model = self.model
        model.num_timesteps, model._n_updates = state["timesteps"], state["updates"]
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        for env, saved in zip(self.envs, state["environments"], strict=True):
            _restore_environment(env, saved)
        model._last_obs = state["observation"].numpy()
        model._last_episode_starts = state["episode_starts"].numpy()
        self.running = np.array(state["running"])
        self.curve = [dict(row) for row in state["curve"]]
        kind, keys, *rest = state["numpy_random"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(state["torch_random"])

    def result(self, resumed_at: int) -> TrainedPolicy:
        """Copy the weights out."""
        tensors = {
            key: value.numpy().copy() for key, value in self.model.policy.state_dict().items()
        }
        return TrainedPolicy(
            seed=self.seed,
            state_dict=tensors,
            policy_hash=policy_hash(tensors),
            curve=tuple(self.curve),
            timesteps=self.steps,
            resumed_at=resumed_at,
        )


class _WithoutInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Drops what a step tells beside the reward: the vector environment would copy it deeply."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self.env.step(action)
        return observation, reward, terminated, truncated, {}


def _without_info(env: DailyOptionsEnv) -> _WithoutInfo:
    return _WithoutInfo(env)


def _make_model(envs: Any, config: PPOConfig, seed: int) -> MaskablePPO:
    import torch
    from sb3_contrib import MaskablePPO
    from stable_baselines3.common.logger import Logger

    activation = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[config.activation]
    model = MaskablePPO(
        "MlpPolicy",
        envs,
        learning_rate=config.learning_rate,
        n_steps=config.n_steps,
        batch_size=config.batch_size,
        n_epochs=config.n_epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.ent_coef,
        vf_coef=config.vf_coef,
        max_grad_norm=config.max_grad_norm,
        target_kl=config.target_kl,
        policy_kwargs={"net_arch": list(config.hidden), "activation_fn": activation},
        seed=seed,
        device="cpu",
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def _stopper(stop: Stop) -> Any:
    from stable_baselines3.common.callbacks import BaseCallback

    class Stopper(BaseCallback):
        """Ends the rollout when asked to."""

        def _on_step(self) -> bool:
            return not stop()

    return Stopper()


def _copied(value: Any) -> Any:
    """Copy nested state: the optimizer's own tensors change in place."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value


def _environment_state(env: DailyOptionsEnv) -> str:
    """Account and random numbers; JSON keeps floats and 128-bit integers exactly."""
    random_state = env.np_random.bit_generator.state
    return json.dumps({"simulator": env.simulator.state(), "random": random_state})


def _restore_environment(env: DailyOptionsEnv, saved: str) -> None:
    state = json.loads(saved)
    env.simulator.restore(state["simulator"])
    env.np_random.bit_generator.state = state["random"]
    env._observe()  # the last complete observation, which a terminal session repeats
