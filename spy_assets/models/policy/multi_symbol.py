"""One daily policy for several symbols: what it learns on, and how its seeds are compared.

Every episode is of one symbol, drawn evenly, however long its history is
(:class:`~spy_assets.simulator.vector_env.MultiSymbolVecEnv`). Each symbol has an account of its own with
the same rules; only the root of its options differs. Seeds are compared by the sum over the symbols'
own inner tails, so that a policy which pays for one symbol with another is not kept for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.contracts import ObservationContract
from spy_assets.models.policy.config import AgentConfig
from spy_assets.models.policy.select import (
    Candidate,
    Selection,
    best_of_seeds,
    score,
    split_for_selection,
)
from spy_assets.models.policy.train import (
    Progress,
    Stop,
    Trading,
    TrainedPolicy,
    path_digest,
    train_task,
)
from spy_assets.simulator.market_path import MarketPath

if TYPE_CHECKING:
    from spy_assets.simulator.vector_env import MultiSymbolVecEnv


@dataclass(frozen=True)
class SymbolMarket:
    """A symbol's training window and the account that trades it."""

    path: MarketPath
    trading: Trading


@dataclass(frozen=True)
class MultiSymbolTask:
    """To trade one option structure at a time, along the daily path of one of several symbols.

    Raises
    ------
    ConfigError
        If there are fewer than two symbols.
    DataError
        If the symbols are observed by different contracts.
    """

    markets: Mapping[str, SymbolMarket]

    def __post_init__(self) -> None:
        require_common(self.markets)

    @property
    def contract(self) -> ObservationContract:
        """What the policy sees of every symbol."""
        return next(iter(self.markets.values())).path.contract

    @cached_property
    def dataset_digest(self) -> str:
        """SHA-256 over the symbols and the digests of their paths, in their order."""
        parts = [f"{name}:{path_digest(one.path)}" for name, one in self.markets.items()]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()

    @property
    def account(self) -> str:
        """Costs, exits, capital and simulation of each symbol."""
        return repr({name: one.trading for name, one in self.markets.items()})

    def copies(self, count: int, episode_length: int) -> MultiSymbolVecEnv:
        """Make accounts over the paths."""
        from spy_assets.simulator.vector_env import MultiSymbolVecEnv

        books = [one.trading.book(one.path) for one in self.markets.values()]
        first = next(iter(self.markets.values())).trading
        return MultiSymbolVecEnv(
            books, count, episode_length=episode_length, rules=first.rules, capital=first.capital
        )


def require_common(markets: Mapping[str, SymbolMarket]) -> None:
    """Refuse a single symbol, and symbols that are observed by different contracts.

    Raises
    ------
    ConfigError, DataError
        As for :class:`MultiSymbolTask`.
    """
    if len(markets) < 2:
        raise ConfigError(
            f"a policy of several symbols over {', '.join(markets) or 'none'}",
            hint="give two symbols or more",
        )
    contracts = {name: one.path.contract.sha256 for name, one in markets.items()}
    if len(set(contracts.values())) > 1:
        raise DataError(
            f"the symbols are observed by {len(set(contracts.values()))} contracts: {contracts}",
            hint="build the observations of all of them by one contract",
        )


def train_and_select_symbols(
    markets: Mapping[str, SymbolMarket],
    config: AgentConfig,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Selection:
    """Train every seed on all symbols and keep the one with the best net P&L over their inner tails.

    Each symbol's window is cut by itself, so that no tail lies in what another symbol was trained on
    where their windows end together. The earlier seed wins a tie.

    Parameters
    ----------
    markets
        Symbol to its training window and account, and nothing after the window.
    config, checkpoint_dir, progress, stop
        As for :func:`~spy_assets.models.policy.select.train_and_select`.

    Raises
    ------
    ConfigError
        Fewer than two symbols, or a window that is too short.
    DataError
        Different contracts, or windows that do not end together: the later end of one would have been
        seen in the other's tail.
    TrainingStopped
        ``stop`` became true; finished seeds are not trained again by the next call.
    """
    require_common(markets)
    _require_one_end(markets)
    cut = {name: split_for_selection(one.path, config) for name, one in markets.items()}
    _require_apart(cut)
    task = MultiSymbolTask(
        {name: SymbolMarket(cut[name][0], one.trading) for name, one in markets.items()}
    )

    def train(seed: int, told: Progress | None) -> TrainedPolicy:
        return train_task(
            task, config, seed, checkpoint_dir=checkpoint_dir, progress=told, stop=stop
        )

    def judge(policy: TrainedPolicy) -> Candidate:
        parts = [score(policy, cut[name][1], config, one.trading) for name, one in markets.items()]
        return _summed(policy, parts)

    sizes = [(len(head), len(tail)) for head, tail in cut.values()]
    return best_of_seeds(
        config,
        train,
        judge,
        (sum(head for head, _ in sizes), sum(tail for _, tail in sizes)),
        progress,
    )


def _require_one_end(markets: Mapping[str, SymbolMarket]) -> None:
    ends = {name: one.path.sessions[-1] for name, one in markets.items()}
    if len(set(ends.values())) > 1:
        told = ", ".join(f"{name} {day}" for name, day in ends.items())
        raise DataError(
            f"the training windows of the symbols end on different sessions: {told}",
            hint="materialize the features of all symbols up to the window's session",
        )


def _require_apart(cut: Mapping[str, tuple[MarketPath, MarketPath]]) -> None:
    """No session that seeds are compared on, of any symbol, may have been trained on by another.

    A longer window has a longer tail, which may begin before a shorter window's head ends.
    """
    last = max(head.sessions[-1] for head, _ in cut.values())
    first = min(tail.sessions[0] for _, tail in cut.values())
    if first <= last:
        raise DataError(
            f"one symbol is trained on until {last}, another one's seeds are compared from {first} on",
            hint="cut the symbols' windows to the sessions that all of them have",
        )


def _summed(policy: TrainedPolicy, parts: list[Candidate]) -> Candidate:
    trades = sum(one.trades for one in parts)
    wins = sum(one.win_rate * one.trades for one in parts)
    return Candidate(
        policy,
        sum(one.net_pnl for one in parts),
        trades,
        wins / trades if trades else 0.0,
    )
