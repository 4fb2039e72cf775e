"""The short-premium plan as a vectorised environment of stable-baselines3, at compiled speed.

Several paths make it the multi-asset environment: each episode takes a random symbol. stable-baselines3
brings torch with it, so this module is imported only where agents are trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from spy_assets.errors import ConfigError
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.intraday_book import BID_ASK_COSTS, IntradayConfig
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.simulator.short_premium_batch import ShortPremiumAccounts
from spy_assets.simulator.short_premium_env import observation_space
from spy_assets.simulator.short_premium_plan import ShortPremiumPlan

Array = npt.NDArray[Any]
Indices = None | int | Iterable[int]


class ShortPremiumVecEnv(VecEnv):
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
    ``infos`` is one list of one shared empty dict, but for accounts whose episode has just ended: theirs
    has ``episode`` (``r`` and ``l``, as stable-baselines3's monitor) and ``terminal_observation``.
    Observations, rewards and dones are fresh arrays at every step.
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
        self.render_mode: str | None = None
        self._actions = np.zeros(n_envs, dtype=np.int64)
        self._nothing: dict[str, Any] = {}
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, dtype=np.int64)
        space = gymnasium.spaces.Discrete(self.accounts.plan.actions)
        super().__init__(n_envs, observation_space(), space)

    def reset(self) -> npt.NDArray[np.float32]:
        """Begin a random episode with every account; a seed given before is used now."""
        self._returns[:] = 0.0
        self._lengths[:] = 0
        seen = self.accounts.restart(seed=self._seeds[0]).copy()
        self._reset_seeds()
        self._reset_options()
        return seen

    def step_async(self, actions: Array) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = np.asarray(actions)

    def step_wait(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Array, list[dict[str, Any]]]:
        """Walk every account one bar; the ones that are done begin anew."""
        rewards, dones = self.accounts.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        infos = [self._nothing] * self.num_envs
        ended = np.flatnonzero(dones)
        for i in ended:
            infos[i] = {
                "episode": {"r": float(self._returns[i]), "l": int(self._lengths[i])},
                "terminal_observation": self.accounts.desks.terminal[i].copy(),
            }
        self._returns[ended] = 0.0
        self._lengths[ended] = 0
        return self.accounts.observations.copy(), rewards.astype(np.float32), dones.copy(), infos

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which actions each account may take now, ``[n, actions]``."""
        return self.accounts.masks.copy()

    def state(self) -> dict[str, Array]:
        """Accounts, episodes and random numbers as plain arrays: all that :meth:`restore` needs."""
        sums = {"returns": self._returns.copy(), "lengths": self._lengths.copy()}
        return {**self.accounts.state(), **sums}

    def restore(self, state: Mapping[str, Array]) -> npt.NDArray[np.float32]:
        """Go on from :meth:`state` bit by bit; gives the observations, as :meth:`reset` does.

        Raises
        ------
        DataError
            If the state is of another number of accounts.
        """
        seen = self.accounts.restore(state).copy()
        self._returns[:], self._lengths[:] = state["returns"], state["lengths"]
        return seen

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
