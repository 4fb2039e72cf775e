"""Training of a policy: PPO, A2C or DQN, reproducible to the bit, continued after any kill.

What is learned is a :class:`TrainingTask`: data, an account, and how both are observed. The daily one is
:class:`DailyTask`; :func:`train_policy` trains it, :func:`train_task` any.

One core, one thread, deterministic kernels: the same path, configuration and seed give the same
weights in every process of one machine. The state at the end of each rollout (weights, optimizer,
random numbers, environments, for DQN its memory) is a checkpoint; a training that continues from it
ends with the weights of one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ModelError
from spy_assets.models.policy.checkpoint import CheckpointStore
from spy_assets.models.policy.config import AgentConfig
from spy_assets.models.policy.weights import exported, policy_hash
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import PRESETS as COST_PRESETS
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.environment import DailyOptionsEnv
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules
from spy_assets.simulator.market_path import MarketPath

if TYPE_CHECKING:
    from spy_assets.features.contracts import ObservationContract
    from spy_assets.models.policy.agents import Agent
    from spy_assets.models.policy.undo import Undo
    from spy_assets.simulator.account_vec_env import AccountVecEnv
    from spy_assets.simulator.vector_env import DailyVecEnv

Progress = Callable[[float, str], None]
Stop = Callable[[], bool]


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

    def copies(self, book: PathBook, count: int, episode_length: int | None) -> DailyVecEnv:
        """Make a vector environment of ``count`` accounts over the path of ``book``."""
        from spy_assets.simulator.vector_env import DailyVecEnv

        return DailyVecEnv(
            book, count, episode_length=episode_length, rules=self.rules, capital=self.capital
        )


class TrainingTask(Protocol):
    """What a policy learns to do."""

    @property
    def contract(self) -> ObservationContract:
        """What the policy sees, under which its weights are stored."""
        ...

    @property
    def dataset_digest(self) -> str:
        """SHA-256 over every number of the market that the training can see."""
        ...

    @property
    def account(self) -> str:
        """All settings of account and simulation as text; another text is another training."""
        ...

    def copies(self, count: int, episode_length: int) -> AccountVecEnv:
        """Make ``count`` accounts that trade random episodes of so many sessions."""
        ...


@dataclass(frozen=True)
class DailyTask:
    """To trade option structures along a daily path, which is the training window."""

    path: MarketPath
    trading: Trading = field(default_factory=Trading)

    @property
    def contract(self) -> ObservationContract:
        """The path's."""
        return self.path.contract

    @cached_property
    def dataset_digest(self) -> str:
        """See :func:`path_digest`."""
        return path_digest(self.path)

    @property
    def account(self) -> str:
        """Costs, exits, capital and simulation."""
        return repr(self.trading)

    def copies(self, count: int, episode_length: int) -> DailyVecEnv:
        """Make accounts over the path."""
        return self.trading.copies(self.trading.book(self.path), count, episode_length)


@dataclass(frozen=True)
class TrainedPolicy:
    """One seed's result.

    Attributes
    ----------
    seed
        The seed.
    state_dict
        Tensors by name, in order, as NumPy arrays: what a weights file holds. Softmax of the
        logits that they give is the policy, whatever the algorithm; for DQN they give
        Q / temperature.
    policy_hash
        SHA-256 of ``state_dict``; see :func:`~spy_assets.models.policy.weights.policy_hash`.
    curve
        One row per rollout: ``timesteps``, ``step_reward`` (mean), the algorithm's figures, and
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

    @property
    def made_here(self) -> int:
        """Environment steps that this process made, not an earlier one."""
        return self.timesteps - self.resumed_at


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
        path.factor,
        path.dividend,
    ):
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()


def training_fingerprint(path: MarketPath, config: AgentConfig, seed: int, trading: Trading) -> str:
    """As :func:`task_fingerprint`, of a training on a daily path."""
    return task_fingerprint(DailyTask(path, trading), config, seed)


def task_fingerprint(task: TrainingTask, config: AgentConfig, seed: int) -> str:
    """SHA-256 over all that decides the weights: data, hyper-parameters, account, seed."""
    parts = (task.dataset_digest, config.digest(), str(seed), task.account)
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def train_policy(
    path: MarketPath,
    config: AgentConfig,
    seed: int,
    *,
    trading: Trading | None = None,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> TrainedPolicy:
    """Train one daily policy, or go on with a training that was interrupted.

    Parameters
    ----------
    path
        The training window, and nothing after it.
    trading
        Costs, exits, capital; the defaults of :class:`Trading` if None.
    config, seed, checkpoint_dir, progress, stop
        As for :func:`train_task`.

    Raises
    ------
    TrainingStopped
        ``stop`` became true.
    """
    return train_task(
        DailyTask(path, trading or Trading()),
        config,
        seed,
        checkpoint_dir=checkpoint_dir,
        progress=progress,
        stop=stop,
    )


def train_task(
    task: TrainingTask,
    config: AgentConfig,
    seed: int,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> TrainedPolicy:
    """Train one policy of any kind, or go on with a training that was interrupted.

    Parameters
    ----------
    task
        Data, account and observation.
    config, seed
        Hyper-parameters, the algorithm among them, and seed; ``config.seeds`` is not looked at.
    checkpoint_dir
        Where the checkpoint is kept; None keeps none. A finished training leaves its last one, so
        that running it again gives the result at once.
    progress
        Called after each rollout with the fraction done and a line of text.
    stop
        Asked after every step; once true, the checkpoint is written and :class:`TrainingStopped`
        raised. The wait is one update at most.

    Raises
    ------
    TrainingStopped
        ``stop`` became true.
    """
    store = CheckpointStore(checkpoint_dir, task_fingerprint(task, config, seed))
    report = progress or (lambda _fraction, _text: None)
    # What an option far from the money is worth may be too small for a float: then it is 0.
    with _deterministic(), np.errstate(all="warn", under="ignore"):
        trainer = _Trainer(task, config, seed, stop or (lambda: False))
        saved = store.read()
        if saved is not None:
            trainer.restore(saved)
            report(trainer.done / config.rollouts, f"seed {seed}: continued at {trainer.steps:,}")
        resumed_at = trainer.steps
        _run(trainer, store, config, report)
        return trainer.result(resumed_at)


def _run(trainer: _Trainer, store: CheckpointStore, config: AgentConfig, report: Progress) -> None:
    keeps, written = store.path is not None, trainer.done
    try:
        while trainer.done < config.rollouts:
            row = trainer.rollout()
            if keeps and trainer.done % config.checkpoint_every == 0:
                store.write(trainer.state())
                written = trainer.done
            report(trainer.done / config.rollouts, trainer.describe(row))
    finally:  # also when the process is told to stop, whatever the way
        if keeps and trainer.done > written:
            store.write(trainer.state())


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
    """An agent and its environments, one rollout at a time."""

    def __init__(self, task: TrainingTask, config: AgentConfig, seed: int, stop: Stop) -> None:
        from spy_assets.models.policy.agents import make_agent

        self.config, self.seed, self.stop = config, seed, stop
        self.copies = task.copies(config.n_envs, config.episode_length)
        self.agent: Agent = make_agent(self.copies, config, seed)
        self.curve: list[dict[str, float]] = []
        self.running = np.zeros(config.n_envs)

    @property
    def steps(self) -> int:
        """Environment steps made."""
        return self.agent.steps

    @property
    def done(self) -> int:
        """Rollouts made."""
        return len(self.curve)

    def rollout(self) -> dict[str, float]:
        """Collect one rollout and learn from it; one that is interrupted has never begun."""
        undo = self._mark()
        try:
            row = self._figures()
        except BaseException:
            undo()
            raise
        self.curve.append(row)
        return row

    def _figures(self) -> dict[str, float]:
        """One rollout's row of the curve."""
        figures = self.agent.rollout(self.stop)
        if figures is None:
            raise TrainingStopped(
                f"training of seed {self.seed} was stopped after {self.done} of "
                f"{self.config.rollouts} rollouts",
                hint="run it again; it continues from its checkpoint",
            )
        rewards, starts = self.agent.experience()
        row = {"timesteps": float(self.steps), "step_reward": float(rewards.mean())}
        episodes = self._episode_rewards(rewards, starts)
        if episodes:
            row["episode_reward"] = float(np.mean(episodes))
        return row | figures

    def _mark(self) -> Undo:
        """Remember what one rollout changes, at a small part of what :meth:`state` costs."""
        learnt, environments, running = self.agent.mark(), self.copies.state(), self.running.copy()
        numbers = np.random.get_state()  # noqa: NPY002

        def undo() -> None:
            learnt()
            self.copies.restore(environments)
            self.running = running
            np.random.set_state(numbers)  # noqa: NPY002

        return undo

    def _episode_rewards(
        self, rewards: npt.NDArray[np.float32], starts: npt.NDArray[np.bool_]
    ) -> list[float]:
        """Sum rewards per episode, across rollouts; give the sums of those that ended."""
        ended: list[float] = []
        for step, (reward, start) in enumerate(zip(rewards, starts, strict=True)):
            if start.any():
                if self.curve or step > 0:
                    ended += self.running[start].tolist()
                self.running[start] = 0.0
            self.running += reward
        return ended

    def describe(self, row: Mapping[str, float]) -> str:
        """One line about where the training stands."""
        reward = row.get("episode_reward")
        text = "" if reward is None else f", reward per episode {reward:.2f}"
        total = self.config.rollouts * self.config.rollout_steps
        return f"seed {self.seed}: {self.steps:,} of {total:,} steps{text}"

    def state(self) -> dict[str, Any]:
        """Everything that the next rollout depends on, as tensors and plain values."""
        import torch

        from spy_assets.models.policy.agents import packed

        kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
        state: dict[str, Any] = packed(
            {
                "rollouts": self.done,
                "agent": self.agent.state(),
                "environments": self.copies.state(),
                "torch_random": torch.get_rng_state(),
                "numpy_random": [
                    str(kind),
                    np.asarray(keys).astype(np.int64),
                    int(position),
                    int(has_gauss),
                    float(cached),
                ],
                "running": self.running,
            }
        )
        return state | {"curve": list(self.curve)}  # its rows never change

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        import torch

        from spy_assets.models.policy.agents import unpacked

        self.agent.restore(state["agent"])
        self.copies.restore(unpacked(state["environments"], like=self.copies.state()))
        self.running = state["running"].numpy()
        self.curve = [dict(row) for row in state["curve"]]
        kind, keys, *rest = state["numpy_random"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(state["torch_random"])

    def result(self, resumed_at: int) -> TrainedPolicy:
        """Copy the weights out."""
        tensors = exported(self.agent.learned())
        return TrainedPolicy(
            seed=self.seed,
            state_dict=tensors,
            policy_hash=policy_hash(tensors),
            curve=tuple(self.curve),
            timesteps=self.steps,
            resumed_at=resumed_at,
        )
