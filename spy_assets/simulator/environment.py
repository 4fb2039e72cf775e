"""The daily simulation as a Gymnasium environment for policies that use action masks.

The policy is asked only where it would be asked live: a session whose observation has a missing
input is held through without it, and its reward is added to the step that leads there.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import PRESETS, CostModel
from spy_assets.simulator.daily import N_OBSERVATION, DailySimulator
from spy_assets.simulator.episodes import episode_starts
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules
from spy_assets.simulator.kernel import Trade
from spy_assets.simulator.market_path import MARKET_DIMS, MarketPath
from spy_assets.simulator.rewards import RewardComponents

Observation = npt.NDArray[np.float32]


class DailyOptionsEnv(gymnasium.Env[Observation, np.int64]):
    """The actions of the configuration's map, fifteen observations in 0..1, one session a step.

    Parameters
    ----------
    path
        The market.
    episode_length
        Steps of an episode in sessions, started at a random session; None walks the whole path from
        its first complete observation.
    costs, rules, capital, config
        As for :class:`~spy_assets.simulator.daily.DailySimulator`.
    book
        A prepared book to share between environments over one path.

    Notes
    -----
    ``reset(seed=...)`` fixes the random start; ``reset(options={"start": date})`` chooses it. An
    episode ends (``terminated``) at its last session, with the position closed at that close.
    ``info`` of a step has ``reward_components``, ``events``, ``trades`` and ``value``.

    Raises
    ------
    DataError
        If no session has a complete observation, or one lies outside 0..1.
    ConfigError
        If the episode is longer than the path.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        path: MarketPath,
        *,
        episode_length: int | None = 252,
        costs: CostModel = PRESETS["rltrade"],
        rules: ExitRules = DEFAULT_RULES,
        capital: float = 10_000.0,
        config: DailyConfig | None = None,
        book: PathBook | None = None,
    ) -> None:
        super().__init__()
        self.book = book or PathBook(path, costs, config)
        self.rules = rules
        self.capital = capital
        self.episode_length = episode_length
        self._starts = episode_starts(self.book, episode_length)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (N_OBSERVATION,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(len(self.book.actions))
        self.simulator = self._simulator(int(self._starts[0]))
        self._market = self.book.observation[self._starts[0]]

    def _simulator(self, start: int) -> DailySimulator:
        stop = None if self.episode_length is None else start + self.episode_length + 1
        return DailySimulator(
            self.book.path,
            rules=self.rules,
            capital=self.capital,
            start=start,
            stop=stop,
            book=self.book,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode at a random session, or at ``options["start"]`` (a date)."""
        super().reset(seed=seed)
        wanted = (options or {}).get("start")
        if wanted is None:
            start = int(self._starts[self.np_random.integers(len(self._starts))])
        else:
            start = self._start_of(wanted)
        self.simulator = self._simulator(start)
        return self._observe(), {"session": self.simulator.session, "value": self.simulator.value}

    def _start_of(self, wanted: date) -> int:
        start = self.book.path.index_of(wanted)
        if not self.book.valid[start] or start >= len(self.book.path) - (self.episode_length or 1):
            raise DataError(
                f"no episode can start on {wanted}",
                hint="its observation is incomplete, or too few sessions follow",
            )
        return start

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One decision, and with it all sessions up to the next complete observation."""
        simulator = self.simulator
        result = simulator.step(int(action))
        components, trades, events = result.components, result.trades, result.events
        while not simulator.done and not simulator.observation_valid:
            result = simulator.step(simulator.actions.hold)
            components = _added(components, result.components)
            trades, events = trades + result.trades, events + result.events
        info: dict[str, Any] = {
            "reward_components": components,
            "trades": trades,
            "events": events,
            "value": simulator.value,
        }
        return self._observe(), sum(components), simulator.done, False, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Actions allowed now; the name that MaskablePPO looks for."""
        return self.simulator.mask()

    def _observe(self) -> Observation:
        simulator = self.simulator
        seen = simulator.observe()
        if simulator.observation_valid:
            self._market = simulator.book.observation[simulator.index]
        else:
            # Only a terminal session: nothing is decided on it, but it must be finite.
            seen[: len(MARKET_DIMS)] = self._market
        return seen


def _added(left: RewardComponents, right: RewardComponents) -> RewardComponents:
    return RewardComponents(*(a + b for a, b in zip(left, right, strict=True)))


__all__ = ["DailyOptionsEnv", "Observation", "Trade"]
