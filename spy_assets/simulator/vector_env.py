"""The daily simulation as a vectorised environment of stable-baselines3, at compiled speed.

One process and one compiled call walk all accounts: no subprocesses, no copies of infos, no Python per
account. Episodes are those of :class:`~spy_assets.simulator.environment.DailyOptionsEnv`: random start,
a fixed number of sessions, an end (``terminated``) that the observation's contract does not hide, and
sessions with an incomplete observation held through.

stable-baselines3 brings torch with it, so this module is imported only where agents are trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from spy_assets.errors import ConfigError
from spy_assets.simulator.batch import BatchedAccounts
from spy_assets.simulator.book import PathBook
from spy_assets.simulator.episodes import Episodes
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules

Array = npt.NDArray[Any]
Indices = None | int | Iterable[int]


class DailyVecEnv(VecEnv):
    """Accounts that trade random episodes of one path.

    Parameters
    ----------
    book
        Path, costs and configuration; or several of one configuration, one for each symbol
        (:class:`MultiSymbolVecEnv`).
    n_envs
        Number of accounts.
    episode_length
        Steps of an episode in sessions; None walks whole paths.
    rules, capital
        Exit chain; initial cash of each account in dollars.
    seed
        Of the accounts' random starts; each has its own stream.
    dtype
        Of the table of prices; observations and rewards are float32 either way.

    Attributes
    ----------
    accounts
        The engine underneath.
    episode_returns, episode_lengths
        Sums of rewards, and decisions, of the episodes that ended in the last step.

    Notes
    -----
    ``infos`` is one list of one shared empty dict, but for accounts whose episode has just ended:
    theirs has ``episode`` (``r`` and ``l``, as stable-baselines3's monitor) and
    ``terminal_observation``. Observations, rewards and dones are fresh arrays at every step.

    Raises
    ------
    DataError, ConfigError
        As for :func:`~spy_assets.simulator.episodes.episode_starts` and
        :class:`~spy_assets.simulator.batch.BatchedAccounts`.
    """

    def __init__(
        self,
        book: PathBook | Sequence[PathBook],
        n_envs: int,
        *,
        episode_length: int | None = 252,
        rules: ExitRules = DEFAULT_RULES,
        capital: float = 10_000.0,
        seed: int = 0,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        books = (book,) if isinstance(book, PathBook) else tuple(book)
        self.accounts = BatchedAccounts(
            books,
            n_envs,
            rules=rules,
            capital=capital,
            dtype=dtype,
            hold_through=True,
            episodes=Episodes.over(books, episode_length),
        )
        self.render_mode: str | None = None
        self.episode_returns = np.zeros(0)
        self.episode_lengths = np.zeros(0, dtype=np.int64)
        self._actions = np.zeros(n_envs, dtype=np.int64)
        self._nothing: dict[str, Any] = {}
        width, n_actions = self.accounts.observations.shape[1], self.accounts.masks.shape[1]
        super().__init__(
            n_envs,
            gymnasium.spaces.Box(0.0, 1.0, (width,), np.float32),
            gymnasium.spaces.Discrete(n_actions),
        )
        self.accounts.seed(seed)
        self.accounts.draw()

    def reset(self) -> npt.NDArray[np.float32]:
        """Begin a random episode with every account; a seed given before is used now."""
        if self._seeds[0] is not None:
            self.accounts.seed(self._seeds[0])
        self.accounts.draw()
        self._reset_seeds()
        self._reset_options()
        return self.accounts.observations.copy()

    def step_async(self, actions: Array) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = np.asarray(actions)

    def step_wait(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Array, list[dict[str, Any]]]:
        """Walk every account to its next decision; the ones that are done begin anew."""
        rewards, dones = self.accounts.step(self._actions)
        infos = [self._nothing] * self.num_envs
        ended = np.flatnonzero(dones)
        finished = self.accounts.finished[ended]
        self.episode_returns = finished[:, 0]
        self.episode_lengths = finished[:, 1].astype(np.int64)
        for i, (total, steps) in zip(ended, finished, strict=True):
            infos[i] = {
                "episode": {"r": float(total), "l": int(steps)},
                "terminal_observation": self.accounts.terminal[i].copy(),
            }
        return self.accounts.observations.copy(), rewards.astype(np.float32), dones.copy(), infos

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which actions each account may take now, ``[n, actions]``."""
        return self.accounts.masks.copy()

    def state(self) -> dict[str, Array]:
        """Accounts, positions and random numbers as plain arrays: all that :meth:`restore` needs."""
        return self.accounts.state()

    def restore(self, state: Mapping[str, Array]) -> npt.NDArray[np.float32]:
        """Go on from :meth:`state` bit by bit; gives the observations, as :meth:`reset` does.

        Raises
        ------
        DataError
            If the state is of another number of accounts.
        """
        self.accounts.restore(state)
        return self.accounts.observations.copy()

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


class MultiSymbolVecEnv(DailyVecEnv):
    """:class:`DailyVecEnv` over several symbols: each episode takes a random one (inventory S1-25).

    The observation is the same for all of them, so that one policy learns what they have in common.

    Parameters
    ----------
    books
        One book for each symbol, of one configuration but for the root.
    **options
        As for :class:`DailyVecEnv`.
    """

    def __init__(self, books: Sequence[PathBook], n_envs: int, **options: Any) -> None:
        super().__init__(books, n_envs, **options)
