"""Masked, double, dueling deep Q-learning on the same vector environment and the same network.

After each step of all copies the network learns from transitions drawn from a replay memory; the
targets come from an older copy of it (arXiv:1312.5602), the action that they bootstrap from is chosen
by the network itself (double, arXiv:1509.06461). The network's two outputs are the state's value and
one advantage per action (dueling, arXiv:1511.06581), with the best allowed action as the reference::

    Q(s, a) = V(s) + A(s, a) - max over allowed b of A(s, b)

Masks act in four places: random actions are drawn from the allowed ones, the greedy action is the best
of them, the target bootstraps from the best allowed next action, and Q's reference is an allowed one.
An action that is never allowed in a state is never learned there, and never looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.utils import set_random_seed

from spy_assets.models.policy.config import DQNConfig
from spy_assets.models.policy.kernels import double_q_targets, explore, q_loss
from spy_assets.models.policy.network import Network, policy_arguments
from spy_assets.models.policy.undo import Undo, mark_learnt


class ReplayMemory:
    """The last steps of all copies in a ring; a row's next observation is the row after it.

    After the end of an episode the next row holds the first observation of another one. It is never
    used: nothing is bootstrapped across an end.

    Parameters
    ----------
    rows
        Steps that are remembered, one more than can be drawn from.
    copies, width, actions
        Environment copies, dimensions of the observation, number of actions.
    """

    def __init__(self, rows: int, copies: int, width: int, actions: int) -> None:
        self.rows, self.copies = rows, copies
        shape = (rows, copies)
        self.observations = np.zeros((*shape, width), dtype=np.float32)
        self.masks = np.zeros((*shape, actions), dtype=np.bool_)
        self.actions = np.zeros(shape, dtype=np.int64)
        self.rewards = np.zeros(shape, dtype=np.float32)
        self.starts = np.zeros(shape, dtype=np.bool_)
        self.ended = np.zeros(shape, dtype=np.bool_)
        self.steps = 0

    @property
    def now(self) -> int:
        """Row of the observation that is acted on next."""
        return self.steps % self.rows

    @property
    def filled(self) -> int:
        """Complete rows, which can be drawn from."""
        return min(self.steps, self.rows - 1)

    def draw(self, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Positions of random transitions and of what follows each, in flattened arrays."""
        back = np.random.randint(1, self.filled + 1, count)  # noqa: NPY002
        copy = np.random.randint(0, self.copies, count)  # noqa: NPY002
        row = (self.now - back) % self.rows
        return row * self.copies + copy, (row + 1) % self.rows * self.copies + copy

    def latest(self, name: str, count: int) -> npt.NDArray[Any]:
        """The last ``count`` complete rows of one array, in order."""
        values: npt.NDArray[Any] = getattr(self, name)
        return values[np.arange(self.now - count, self.now) % self.rows]

    def mark(self, count: int) -> Undo:
        """Remember the rows that the next ``count`` steps write."""
        steps, rows = self.steps, np.arange(self.now, self.now + count + 1) % self.rows
        kept = [(values, values[rows]) for _, values in self.arrays()]

        def undo() -> None:
            self.steps = steps
            for values, before in kept:
                values[rows] = before

        return undo

    def arrays(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """All arrays by name."""
        for name in ("observations", "masks", "actions", "rewards", "starts", "ended"):
            yield name, getattr(self, name)


class MaskedDQN:
    """One training by deep Q-learning.

    Parameters
    ----------
    env
        A vector environment with ``action_masks``; its episodes end, they are not cut off.
    config
        Hyper-parameters.
    seed
        Of the first weights, of exploration, and of the draws from memory.
    total
        Environment steps of the whole training, over which exploration falls.
    """

    def __init__(self, env: Any, config: DQNConfig, seed: int, total: int) -> None:
        set_random_seed(seed)
        self.env, self.config, self.total = env, config, total
        self.policy, self.target_policy = self._policy(), self._policy()
        self.target_policy.load_state_dict(self.policy.state_dict())
        self.network = Network(self.policy, config.activation)
        self.target = Network(self.target_policy, config.activation)
        rows = -(-config.replay_size // config.n_envs) + 1
        self.memory = ReplayMemory(
            max(rows, config.n_steps + 1), config.n_envs, self.network.width, env.action_space.n
        )
        self.num_timesteps = self.updates = 0
        env.seed(seed)
        self._see(env.reset(), np.ones(config.n_envs, dtype=np.bool_))

    def _policy(self) -> MaskableActorCriticPolicy:
        config = self.config
        arguments = policy_arguments(config.hidden, config.activation, config.shared_trunk)
        return MaskableActorCriticPolicy(
            self.env.observation_space,
            self.env.action_space,
            lambda _: config.learning_rate,
            **arguments,
        )

    def _see(self, observation: npt.NDArray[Any], starts: npt.NDArray[np.bool_]) -> None:
        memory, now = self.memory, self.memory.now
        memory.observations[now] = observation
        memory.masks[now] = self.env.action_masks()
        memory.starts[now] = starts

    @property
    def exploration(self) -> float:
        """Probability of a random action: from 1 down to its final value."""
        config = self.config
        progress = self.num_timesteps / (self.total * config.exploration_fraction)
        return max(config.exploration_final, 1.0 - (1.0 - config.exploration_final) * progress)

    def rollout(self, stop: Callable[[], bool]) -> dict[str, float] | None:
        """Step all copies ``n_steps`` times and learn after each; the mean figures, None if stopped.

        There are no figures before the first gradient step.
        """
        seen: list[npt.NDArray[np.float64]] = []
        for _ in range(self.config.n_steps):
            self._step()
            if stop():
                return None
            if self.num_timesteps >= self.config.learning_starts:
                seen += [self._descend() for _ in range(self.config.gradient_steps)]
        figures = {"exploration": self.exploration}
        if seen:
            loss, q = np.mean(seen, axis=0).tolist()
            figures |= {"value_loss": loss, "mean_q": q}
        return figures

    def _step(self) -> None:
        memory, rows = self.memory, self.config.n_envs
        now = memory.now
        self.network.inputs(rows)[:] = memory.observations[now]
        uniform = np.random.random_sample((rows, 2))  # noqa: NPY002
        advantages = self.network.forward(rows).logits
        explore(advantages, memory.masks[now], uniform, self.exploration, memory.actions[now])
        observation, memory.rewards[now], memory.ended[now], _ = self.env.step(memory.actions[now])
        memory.steps += 1
        self._see(observation, memory.ended[now])
        self.num_timesteps += rows

    def _descend(self) -> npt.NDArray[np.float64]:
        network, memory, rows = self.network, self.memory, self.config.batch_size
        index, following = memory.draw(rows)
        targets = self._targets(index, following)
        self._load(network, index)
        output, slope = network.forward(rows), network.derivative(rows)
        figures = np.zeros(2)
        q_loss(
            output.logits, output.values, index, memory.masks.reshape(-1, memory.masks.shape[-1]),
            memory.actions.reshape(-1), targets, slope.logits, slope.values, figures,
        )  # fmt: skip
        network.backward(rows)
        network.clip_gradients(self.config.max_grad_norm)
        self.policy.optimizer.step()
        self.updates += 1
        if self.updates % self.config.target_every == 0:
            self.target_policy.load_state_dict(self.policy.state_dict())
        return figures

    def _targets(
        self, index: npt.NDArray[np.int64], following: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        memory, rows = self.memory, len(index)
        self._load(self.network, following)
        self._load(self.target, following)
        online, older = self.network.forward(rows), self.target.forward(rows)
        targets = np.empty(rows, dtype=np.float32)
        double_q_targets(
            memory.rewards.reshape(-1), memory.ended.reshape(-1), index,
            memory.masks.reshape(-1, memory.masks.shape[-1])[following],
            online.logits, older.logits, older.values, self.config.gamma, targets,
        )  # fmt: skip
        return targets

    def _load(self, network: Network, index: npt.NDArray[np.int64]) -> None:
        observations = self.memory.observations.reshape(-1, network.width)
        np.take(observations, index, axis=0, out=network.inputs(len(index)))

    def learned(self) -> dict[str, Any]:
        """Weights whose logits are Q / temperature, up to a number per state that softmax drops."""
        weights = {key: value.clone() for key, value in self.policy.state_dict().items()}
        for name in ("action_net.weight", "action_net.bias"):
            weights[name] /= self.config.temperature
        return weights

    def state(self) -> dict[str, Any]:
        """What the next rollout depends on, beside the random numbers and the environment."""
        return {
            "policy": self.policy.state_dict(),
            "target": self.target_policy.state_dict(),
            "optimizer": self.policy.optimizer.state_dict(),
            "timesteps": self.num_timesteps,
            "updates": self.updates,
            "memory": {
                name: values[: self.memory.steps + 1] for name, values in self.memory.arrays()
            },
            "memory_steps": self.memory.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.policy.load_state_dict(state["policy"])
        self.target_policy.load_state_dict(state["target"])
        self.policy.optimizer.load_state_dict(state["optimizer"])
        self.num_timesteps, self.updates = state["timesteps"], state["updates"]
        for name, values in self.memory.arrays():
            saved = state["memory"][name]
            values[: len(saved)] = saved
        self.memory.steps = state["memory_steps"]

    def mark(self) -> Undo:
        """Remember what one rollout changes."""
        learnt = mark_learnt(self.policy.optimizer, self.policy, self.target_policy)
        memory = self.memory.mark(self.config.n_steps)
        counted = (self.num_timesteps, self.updates)

        def undo() -> None:
            learnt()
            memory()
            self.num_timesteps, self.updates = counted

        return undo
