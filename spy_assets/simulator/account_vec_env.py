"""What vectorised environments over compiled accounts have in common, as stable-baselines3 asks for it.

One process and one compiled call walk all accounts: no subprocesses, no copies of infos, no Python per
account. stable-baselines3 brings torch with it: only what trains agents imports this module.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from spy_assets.errors import ConfigError

Array = npt.NDArray[Any]
Indices = None | int | Iterable[int]


class Engine(Protocol):
    """Accounts that walk together; what they give is overwritten by their next step."""

    @property
    def observations(self) -> npt.NDArray[np.float32]:
        """What each account sees, ``[n, dimensions]``."""
        ...

    @property
    def terminal(self) -> npt.NDArray[np.float32]:
        """What an account saw last, where its episode ended in the last step."""
        ...

    @property
    def masks(self) -> npt.NDArray[np.bool_]:
        """What each account may do, ``[n, actions]``."""
        ...

    def step(self, actions: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Walk every account to its next decision; gives rewards and dones, ``[n]``."""
        ...


class AccountVecEnv(VecEnv):
    """Accounts that trade random episodes; a subclass says how they begin and what they earned.

    Parameters
    ----------
    engine
        The accounts.
    n_envs
        How many there are.
    observation_space
        What they see; their actions are as many as their masks are wide.

    Attributes
    ----------
    episode_returns, episode_lengths
        Sums of rewards, and decisions, of the episodes that ended in the last step.

    Notes
    -----
    ``infos`` is one list of one shared empty dict, but for accounts whose episode has just ended:
    theirs has ``episode`` (``r`` and ``l``, as stable-baselines3's monitor) and
    ``terminal_observation``. Observations, rewards and dones are fresh arrays at every step.
    """

    def __init__(
        self,
        engine: Engine,
        n_envs: int,
        observation_space: gymnasium.spaces.Space[npt.NDArray[np.float32]],
    ) -> None:
        self._engine = engine
        self.render_mode: str | None = None
        self.episode_returns = np.zeros(0)
        self.episode_lengths = np.zeros(0, dtype=np.int64)
        self._actions = np.zeros(n_envs, dtype=np.int64)
        self._nothing: dict[str, Any] = {}
        actions = gymnasium.spaces.Discrete(engine.masks.shape[1])
        super().__init__(n_envs, observation_space, actions)

    @abstractmethod
    def _begin(self, seed: int | None) -> None:
        """Begin a random episode with every account, with new random numbers if there is a seed."""

    @abstractmethod
    def _finished(self, rewards: Array, ended: npt.NDArray[np.intp]) -> tuple[Array, Array]:
        """Take in the rewards of a step; returns and lengths of the episodes that ended in it."""

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """Accounts, episodes and random numbers as plain arrays: all that :meth:`restore` needs."""

    @abstractmethod
    def _restore(self, state: Mapping[str, Array]) -> None:
        """Take :meth:`state` over."""

    def reset(self) -> npt.NDArray[np.float32]:
        """Begin a random episode with every account; a seed given before is used now."""
        self._begin(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return self._engine.observations.copy()

    def restore(self, state: Mapping[str, Array]) -> npt.NDArray[np.float32]:
        """Go on from :meth:`state` bit by bit; gives the observations, as :meth:`reset` does.

        Raises
        ------
        DataError
            If the state is of another number of accounts.
        """
        self._restore(state)
        return self._engine.observations.copy()

    def step_async(self, actions: Array) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = np.asarray(actions)

    def step_wait(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Array, list[dict[str, Any]]]:
        """Walk every account to its next decision; the ones that are done begin anew."""
        rewards, dones = self._engine.step(self._actions)
        infos = [self._nothing] * self.num_envs
        ended = np.flatnonzero(dones)
        self.episode_returns, self.episode_lengths = self._finished(rewards, ended)
        for i, total, steps in zip(ended, self.episode_returns, self.episode_lengths, strict=True):
            infos[i] = {
                "episode": {"r": float(total), "l": int(steps)},
                "terminal_observation": self._engine.terminal[i].copy(),
            }
        return self._engine.observations.copy(), rewards.astype(np.float32), dones.copy(), infos

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which actions each account may take now, ``[n, actions]``."""
        return self._engine.masks.copy()

    # ---------------------------------------------------------------- what VecEnv asks for

    def close(self) -> None:
        """Do nothing: there are no processes to end."""

    def has_attr(self, attr_name: str) -> bool:
        """Whether the environment has an attribute."""
        return hasattr(self, attr_name)

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Give an attribute once for each account asked for: it is the same for all."""
        value = getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute for all accounts.

        Raises
        ------
        ConfigError
            If it is asked for some of them only.
        """
        if indices is not None:
            raise ConfigError(f"{attr_name!r} of some accounts only", hint="set it for all of them")
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method that gives one row for each account (``action_masks``).

        Raises
        ------
        AttributeError
            If there is no such method.
        """
        rows = getattr(self, method_name)(*args, **kwargs)
        return [rows[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Indices = None) -> list[bool]:
        """No account is wrapped, but the infos of ended episodes are a monitor's."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor for _ in self._get_indices(indices)]
