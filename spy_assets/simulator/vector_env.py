"""The daily simulation as a vectorised environment of stable-baselines3, at compiled speed.

Episodes are those of :class:`~spy_assets.simulator.environment.DailyOptionsEnv`: random start,
a fixed number of sessions, an end (``terminated``) that the observation's contract does not hide, and
sessions with an incomplete observation held through.

stable-baselines3 brings torch with it, so this module is imported only where agents are trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gymnasium
import numpy as np
import numpy.typing as npt

from spy_assets.simulator.account_vec_env import AccountVecEnv, Array
from spy_assets.simulator.batch import BatchedAccounts
from spy_assets.simulator.book import PathBook
from spy_assets.simulator.episodes import Episodes
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules


class DailyVecEnv(AccountVecEnv):
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
    pooled
        Whether the books are stretches of one market, see
        :meth:`~spy_assets.simulator.episodes.Episodes.over`.

    Attributes
    ----------
    accounts
        The engine underneath.
    episode_returns, episode_lengths
        Sums of rewards, and decisions, of the episodes that ended in the last step.

    Notes
    -----
    Infos are those of :class:`~spy_assets.simulator.account_vec_env.AccountVecEnv`.

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
        pooled: bool = False,
    ) -> None:
        books = (book,) if isinstance(book, PathBook) else tuple(book)
        self.accounts = BatchedAccounts(
            books,
            n_envs,
            rules=rules,
            capital=capital,
            dtype=dtype,
            hold_through=True,
            episodes=Episodes.over(books, episode_length, pooled=pooled),
        )
        width = self.accounts.observations.shape[1]
        super().__init__(
            self.accounts, n_envs, gymnasium.spaces.Box(0.0, 1.0, (width,), np.float32)
        )
        self._begin(seed)

    def _begin(self, seed: int | None) -> None:
        if seed is not None:
            self.accounts.seed(seed)
        self.accounts.draw()

    def _finished(self, rewards: Array, ended: npt.NDArray[np.intp]) -> tuple[Array, Array]:  # noqa: ARG002 - the engine sums
        finished = self.accounts.finished[ended]
        return finished[:, 0], finished[:, 1].astype(np.int64)

    def state(self) -> dict[str, Array]:
        """Accounts, positions and random numbers as plain arrays: all that :meth:`restore` needs."""
        return self.accounts.state()

    def _restore(self, state: Mapping[str, Array]) -> None:
        self.accounts.restore(state)


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
