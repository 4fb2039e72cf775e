"""Training on the intraday short-premium plan: the same trainer, minute bars instead of sessions.

A step is a bar and an episode ``config.episode_length`` sessions, one in :data:`SHORT_PREMIUM`. What is
learned is learned on a model's prices: no market quoted them
(:mod:`spy_assets.simulator.intraday_book`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from spy_assets.errors import ConfigError
from spy_assets.features.contracts import INTRADAY_8_V1, ObservationContract
from spy_assets.models.policy.config import PPOConfig
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.intraday_book import BID_ASK_COSTS, IntradayConfig
from spy_assets.simulator.intraday_path import IntradayPath
from spy_assets.simulator.short_premium import ShortPremiumSimulator
from spy_assets.simulator.short_premium_plan import ShortPremiumPlan

if TYPE_CHECKING:
    from spy_assets.simulator.short_premium_vector import ShortPremiumVecEnv

#: A session is 78 bars of five minutes: the horizon is about one session, and nothing is worth less for
#: being settled at its end.
SHORT_PREMIUM: Final = PPOConfig(
    timesteps=1_000_000, n_envs=128, n_steps=78, batch_size=1664, n_epochs=4, shared_trunk=True,
    learning_rate=3e-4, gamma=1.0, vf_coef=0.05, ent_coef=0.03, episode_length=1,
    validation_purge=1, checkpoint_every=16,
)  # fmt: skip


@dataclass(frozen=True)
class ShortPremiumTrading:
    """The account that the policy learns to trade: the plan, costs, and what prices the options."""

    plan: ShortPremiumPlan = field(default_factory=ShortPremiumPlan)
    costs: CostModel = BID_ASK_COSTS
    market: IntradayConfig = field(default_factory=IntradayConfig)

    def simulator(self, path: IntradayPath) -> ShortPremiumSimulator:
        """Make one fresh account that walks all of ``path``."""
        return ShortPremiumSimulator(path, self.plan, self.costs, market=self.market)


@dataclass(frozen=True)
class ShortPremiumTask:
    """To follow the short-premium plan along the bars of one or several symbols.

    Raises
    ------
    ConfigError
        If there is no path.
    """

    paths: tuple[IntradayPath, ...]
    trading: ShortPremiumTrading = field(default_factory=ShortPremiumTrading)

    def __post_init__(self) -> None:
        if not self.paths:
            raise ConfigError("a training on no path", hint="give a path for each symbol")

    @property
    def contract(self) -> ObservationContract:
        """Eight numbers at the end of a bar."""
        return INTRADAY_8_V1

    @cached_property
    def dataset_digest(self) -> str:
        """SHA-256 over the paths' digests; of a single one it is that path's."""
        digests = [intraday_digest(path) for path in self.paths]
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("|".join(digests).encode()).hexdigest()

    @property
    def account(self) -> str:
        """Plan, costs and market."""
        return repr(self.trading)

    def copies(self, count: int, episode_length: int) -> ShortPremiumVecEnv:
        """Make accounts over the paths."""
        from spy_assets.simulator.short_premium_vector import ShortPremiumVecEnv

        own = self.trading
        return ShortPremiumVecEnv(
            self.paths, count, own.plan, own.costs, sessions=episode_length, market=own.market
        )


def intraday_digest(path: IntradayPath) -> str:
    """SHA-256 over symbol, sessions, and every number that the simulator reads of a path."""
    days = ",".join(day.isoformat() for day in path.sessions)
    digest = hashlib.sha256(f"{path.symbol}|{path.bar_minutes}|{days}".encode())
    for name, values in path.arrays._asdict().items():
        array = np.ascontiguousarray(values)
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
