"""The short-premium plan as a vectorised environment of stable-baselines3, at compiled speed.

Several paths make it the multi-asset environment: each episode takes a random symbol. stable-baselines3
brings torch with it, so this module is imported only where agents are trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from spy_assets.simulator.account_vec_env import AccountVecEnv, Array
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.intraday_book import BID_ASK_COSTS, IntradayConfig
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.simulator.short_premium_batch import ShortPremiumAccounts
from spy_assets.simulator.short_premium_env import observation_space
from spy_assets.simulator.short_premium_plan import ShortPremiumPlan


class ShortPremiumVecEnv(AccountVecEnv):
    """Accounts that trade random sessions of one or several symbols.

    Parameters
    ----------
    paths
        One path a symbol.
    n_envs
        Number of accounts.
    plan, costs, sessions, market, seed
        As for :class:`~spy_assets.simulator.short_premium_batch.ShortPremiumAccounts`.

    Attributes
    ----------
    accounts
        The engine underneath.

    Notes
    -----
    Infos are those of :class:`~spy_assets.simulator.account_vec_env.AccountVecEnv`.
    """

    def __init__(
        self,
        paths: IntradayPath | Sequence[IntradayPath],
        n_envs: int,
        plan: ShortPremiumPlan | None = None,
        costs: CostModel = BID_ASK_COSTS,
        *,
        sessions: int = 1,
        market: IntradayConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.accounts = ShortPremiumAccounts(
            paths, n_envs, plan, costs, sessions=sessions, market=market, seed=seed
        )
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64)
        super().__init__(self.accounts, n_envs, observation_space())

    def _begin(self, seed: int | None) -> None:
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self.accounts.restart(seed=seed)

    def _finished(self, rewards: Array, ended: npt.NDArray[np.intp]) -> tuple[Array, Array]:
        self._returns += rewards
        self._lengths += 1
        sums = self._returns[ended], self._lengths[ended]
        self._returns[ended] = 0.0
        self._lengths[ended] = 0
        return sums

    def state(self) -> dict[str, Array]:
        """Accounts, episodes and random numbers as plain arrays: all that :meth:`restore` needs."""
        sums = {"returns": self._returns.copy(), "lengths": self._lengths.copy()}
        return {**self.accounts.state(), **sums}

    def _restore(self, state: Mapping[str, Array]) -> None:
        self.accounts.restore(state)
        self._returns[:], self._lengths[:] = state["returns"], state["lengths"]
