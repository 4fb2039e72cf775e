"""The short-premium plan as Gymnasium environments for policies that use action masks.

:class:`ShortPremiumEnv` walks the readable simulator; agents are trained on its compiled twin,
:class:`~spy_assets.simulator.short_premium_vector.ShortPremiumVecEnv`. The span of an environment is the
path that it is given: a training environment gets a window that ends before the evaluation begins
(D-16: both sampled all days).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.contracts import INTRADAY_8_V1
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.intraday_book import BID_ASK_COSTS, IntradayConfig
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.simulator.short_premium import ShortPremiumSimulator
from spy_assets.simulator.short_premium_batch import episode_starts
from spy_assets.simulator.short_premium_plan import ShortPremiumPlan

Observation = npt.NDArray[np.float32]


def observation_space() -> gymnasium.spaces.Space[Observation]:
    """The ranges of the contract."""
    low, high = (
        np.array([getattr(dimension, end) for dimension in INTRADAY_8_V1.dimensions], np.float32)
        for end in ("low", "high")
    )
    return gymnasium.spaces.Box(low, high, low.shape, np.float32)


class ShortPremiumEnv(gymnasium.Env[Observation, np.int64]):
    """Three or five actions, eight observations, one bar a step, one session (or more) an episode.

    Parameters
    ----------
    path
        The market.
    plan, costs, market
        As for :class:`~spy_assets.simulator.short_premium.ShortPremiumSimulator`.
    sessions
        Sessions of an episode.

    Notes
    -----
    ``reset(seed=...)`` fixes the random session; ``reset(options={"start": date})`` chooses it. An
    episode ends (``terminated``) with its last session, when everything is settled. ``info`` of a step
    has ``trades``, ``events``, ``value`` and ``quote_kind``: no market quoted the prices.

    Raises
    ------
    DataError
        If no episode of that length can be had of the path.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        path: IntradayPath,
        plan: ShortPremiumPlan | None = None,
        costs: CostModel = BID_ASK_COSTS,
        *,
        sessions: int = 1,
        market: IntradayConfig | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan or ShortPremiumPlan()
        self.path = path
        self.costs = costs
        self.sessions = sessions
        self.market = market
        self._starts = episode_starts(path, sessions)
        self.observation_space = observation_space()
        self.action_space = gymnasium.spaces.Discrete(self.plan.actions)
        self.simulator = self._simulator(int(self._starts[0]))

    def _simulator(self, first: int) -> ShortPremiumSimulator:
        return ShortPremiumSimulator(
            self.path,
            self.plan,
            self.costs,
            first=first,
            sessions=self.sessions,
            market=self.market,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin with a random session, or with ``options["start"]`` (a date)."""
        super().reset(seed=seed)
        wanted = (options or {}).get("start")
        if wanted is None:
            first = int(self._starts[self.np_random.integers(len(self._starts))])
        else:
            first = self._start_of(wanted)
        self.simulator = self._simulator(first)
        return self.simulator.observe(), {
            "symbol": self.path.symbol,
            "session": self.path.sessions[first],
            "value": self.simulator.value,
        }

    def _start_of(self, wanted: date) -> int:
        found = [k for k in self._starts.tolist() if self.path.sessions[k] == wanted]
        if not found:
            raise DataError(
                f"no episode of {self.path.symbol} can start on {wanted}",
                hint="it is not on the path, cannot be traded, or too few sessions follow",
            )
        return int(found[0])

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decide, and walk to the end of the next bar."""
        result = self.simulator.step(int(action))
        info = {
            "trades": result.trades,
            "events": result.events,
            "value": self.simulator.value,
            "quote_kind": "surface",
        }
        return self.simulator.observe(), result.reward, result.done, False, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Actions allowed now; the name that MaskablePPO looks for."""
        return self.simulator.mask()


class MultiAssetOptionsEnv(gymnasium.Env[Observation, np.int64]):
    """:class:`ShortPremiumEnv` over several symbols: each reset takes a random one (S1-25).

    Parameters
    ----------
    paths
        Symbol -> its path.
    plan, costs, sessions, market
        As for :class:`ShortPremiumEnv`.

    Notes
    -----
    ``reset(options={"symbol": ...})`` chooses the symbol, with ``"start"`` the session too.

    Raises
    ------
    ConfigError
        If there is no path.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        paths: Mapping[str, IntradayPath],
        plan: ShortPremiumPlan | None = None,
        costs: CostModel = BID_ASK_COSTS,
        *,
        sessions: int = 1,
        market: IntradayConfig | None = None,
    ) -> None:
        super().__init__()
        if not paths:
            raise ConfigError("an environment over no symbol", hint="give a path for each symbol")
        self.environments = {
            symbol: ShortPremiumEnv(path, plan, costs, sessions=sessions, market=market)
            for symbol, path in paths.items()
        }
        self.symbols = tuple(self.environments)
        self.current = self.environments[self.symbols[0]]
        self.observation_space = self.current.observation_space
        self.action_space = self.current.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin with a random symbol and session, or with those of ``options``.

        Raises
        ------
        ConfigError
            If the symbol is not one of the environment's.
        """
        super().reset(seed=seed)
        wanted = dict(options or {})
        drawn = int(self.np_random.integers(len(self.symbols)))
        symbol = wanted.pop("symbol", self.symbols[drawn])
        if symbol not in self.environments:
            raise ConfigError(f"no symbol {symbol!r}", hint=f"one of: {', '.join(self.symbols)}")
        self.current = self.environments[symbol]
        return self.current.reset(seed=int(self.np_random.integers(2**31)), options=wanted)

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One bar of the episode's symbol."""
        return self.current.step(action)

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Actions allowed now."""
        return self.current.action_masks()
