"""Training on a market with gaps: several stretches of it, none of whose episodes crosses a gap.

What lies in a gap is not handed to the training at all, so that nothing can be learnt from it. Episodes
are drawn from all stretches alike, and each ends, with its position closed, inside its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from spy_assets.errors import ConfigError
from spy_assets.models.policy.train import Trading, path_digest
from spy_assets.simulator.market_path import MarketPath

if TYPE_CHECKING:
    from spy_assets.features.contracts import ObservationContract
    from spy_assets.simulator.vector_env import DailyVecEnv


@dataclass(frozen=True)
class StretchesTask:
    """To trade one option structure at a time along stretches of a daily path.

    A :class:`~spy_assets.models.policy.train.TrainingTask`; the account is the same as in
    :class:`~spy_assets.models.policy.train.DailyTask`.

    Parameters
    ----------
    stretches
        The market between the gaps, oldest first.
    trading
        The account.

    Raises
    ------
    ConfigError
        There is no stretch.
    """

    stretches: tuple[MarketPath, ...]
    trading: Trading = field(default_factory=Trading)

    def __post_init__(self) -> None:
        if not self.stretches:
            raise ConfigError("no stretch to train on", hint="give at least one")

    @classmethod
    def of(
        cls, path: MarketPath, bounds: Sequence[tuple[int, int]], trading: Trading
    ) -> StretchesTask:
        """Cut the stretches out of a path, by first position and the one after the last."""
        return cls(tuple(path.window(start, stop) for start, stop in bounds), trading)

    @property
    def contract(self) -> ObservationContract:
        """The stretches'."""
        return self.stretches[0].contract

    @cached_property
    def dataset_digest(self) -> str:
        """SHA-256 over every number of all stretches, and where one ends."""
        digests = "|".join(path_digest(one) for one in self.stretches)
        return hashlib.sha256(digests.encode()).hexdigest()

    @property
    def account(self) -> str:
        """Costs, exits, capital and simulation."""
        return repr(self.trading)

    def usable(self, episode_length: int) -> tuple[MarketPath, ...]:
        """The stretches that an episode fits on.

        Raises
        ------
        ConfigError
            There is none; with the lengths.
        """
        found = tuple(
            one for one in self.stretches if one.valid[: max(0, len(one) - episode_length)].any()
        )
        if not found:
            raise ConfigError(
                f"no episode of {episode_length} steps fits on stretches of "
                f"{', '.join(str(len(one)) for one in self.stretches)} sessions",
                hint="give a smaller episode_length, fewer groups or more history",
            )
        return found

    def copies(self, count: int, episode_length: int) -> DailyVecEnv:
        """Make accounts over the stretches."""
        from spy_assets.simulator.vector_env import DailyVecEnv

        return DailyVecEnv(
            [self.trading.book(one) for one in self.usable(episode_length)],
            count,
            episode_length=episode_length,
            rules=self.trading.rules,
            capital=self.trading.capital,
            pooled=True,
        )
