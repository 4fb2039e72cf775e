"""Combinatorial purged cross-validation: not one path through history, but as many as there are.

The sessions are cut into groups, and every choice of some of them is tested once by policies that were
trained on the others (:func:`~spy_assets.evaluation.splits.combinatorial_purged`)::

    split 0   [ test ][ test ]-gap-[--------------- train ---------------]
    split 1   [ test ]-gap-[ train ]-gap-[ test ]-gap-[----- train -------]
    ...
    path 0    [ from split 0 ][ from split 0 ][ from split 1 ] ...
    path 1    [ from split 1 ][ from split 5 ] ...

Each tested group is a *piece*: a fresh account that decides first at the close before it. A path takes
one piece of every group, each from another training, and chains their returns
(:mod:`spy_assets.evaluation.combinatorial_summary`). A training may lie after its test, so that a path
is no history of anything that could have been done: it says how much a result depends on which sessions
were trained on, where one walk-forward has one answer.

Seeds are not chosen: every seed is trained on all training sessions of a split, and has its own paths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import (
    BacktestResult,
    EntryFilter,
    Venue,
    Walked,
    greedy,
    run_policy,
)
from spy_assets.evaluation.baselines import random_same_rate, run_baselines
from spy_assets.evaluation.splits import CombinatorialPaths, CombinatorialSplit
from spy_assets.evaluation.statistics import Floats
from spy_assets.evaluation.walk_forward import NO_SEED, POLICY
from spy_assets.models.policy.config import AgentConfig
from spy_assets.models.policy.select import as_net, share_of
from spy_assets.models.policy.stretches import StretchesTask
from spy_assets.models.policy.train import Progress, Stop, Trading, TrainedPolicy, train_task
from spy_assets.simulator.market_path import MarketPath

#: Trains one seed on a task, as :func:`~spy_assets.models.policy.train.train_task` does.
TrainTask = Callable[..., TrainedPolicy]


@dataclass(frozen=True, eq=False)
class Piece(Walked):
    """One strategy over one tested group.

    Attributes
    ----------
    split, path
        Number of the training that it is from, and of the path that it belongs to. What needs no
        training is the same on every path, and is kept once, on path 0.
    strategy, seed
        ``policy`` with its training's seed, or a baseline.
    sessions
        Sessions at whose close equity was measured, ``[n]``.
    equity
        Dollars: the capital, then the value at each close, ``[n + 1]``.
    trade_count, costs
        Closed trades, and commissions, spreads and slippage in dollars.
    policy_hash
        SHA-256 of the weights, empty for a baseline.
    """

    split: int
    path: int
    strategy: str
    seed: int
    sessions: tuple[date, ...]
    equity: Floats
    trade_count: int
    costs: float
    policy_hash: str = ""
    trades: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class SplitResult:
    """What one split gave."""

    split: CombinatorialSplit
    policies: tuple[TrainedPolicy, ...]
    pieces: tuple[Piece, ...]
    dataset_digest: str

    @property
    def timesteps(self) -> int:
        """Environment steps that were made now, not those of an earlier process."""
        return sum(one.made_here for one in self.policies)


def fitted(config: AgentConfig, paths: CombinatorialPaths) -> AgentConfig:
    """The configuration with episodes that fit on the shortest training stretch of any split.

    Else some splits would train on other stretches than they are given, or on none.

    Raises
    ------
    ConfigError
        A stretch is shorter than two sessions.
    """
    shortest = min(stop - start for split in paths.splits for start, stop in split.stretches)
    if shortest < 2:
        raise ConfigError(
            f"a training stretch has {shortest} session(s)",
            hint="use fewer groups or more history",
        )
    length = min(config.episode_length, shortest - 1)
    return config.model_copy(update={"episode_length": length})


def run_split(
    path: MarketPath,
    split: CombinatorialSplit,
    config: AgentConfig,
    *,
    trading: Trading | None = None,
    entry_filter: EntryFilter | None = None,
    min_confidence: float = 0.0,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    train: TrainTask = train_task,
) -> SplitResult:
    """Train every seed on a split's stretches, and walk it over each tested group.

    Parameters
    ----------
    path
        The sessions that were split, and no others. Trainings are handed their stretches of it.
    split
        One of :func:`~spy_assets.evaluation.splits.combinatorial_purged`.
    config
        Hyper-parameters and seeds.
    trading
        Costs, exits, capital and clock of training and test.
    entry_filter, min_confidence
        The risk layer of the policy; baselines have none.
    checkpoint_dir, progress, stop, train
        As for :func:`~spy_assets.models.policy.train.train_task`; ``progress`` over all seeds.

    Raises
    ------
    ConfigError
        No stretch is long enough for an episode.
    TrainingStopped
        ``stop`` became true; the next call goes on from the checkpoints.
    """
    trading = trading or Trading()
    task = StretchesTask.of(path, split.stretches, trading)
    policies = tuple(
        train(
            task,
            config,
            seed,
            checkpoint_dir=checkpoint_dir,
            progress=share_of(progress, number, len(config.seeds)),
            stop=stop,
        )
        for number, seed in enumerate(config.seeds)
    )
    nets = [as_net(one, config.activation, path.contract) for one in policies]
    acts = [greedy(net.probabilities, min_confidence=min_confidence) for net in nets]
    pieces: list[Piece] = []
    for tested, number in zip(split.tests, split.paths, strict=True):
        venue = venue_of(path, int(tested[0]), int(tested[-1]) + 1, trading)
        runs = [run_policy(venue, act, name=POLICY, entry_filter=entry_filter) for act in acts]
        pieces += [
            _piece(split, number, run, policy) for run, policy in zip(runs, policies, strict=True)
        ]
        pieces.append(_piece(split, number, random_same_rate(venue, runs[0])))
        if number == 0:
            pieces += [_piece(split, 0, run) for run in run_baselines(venue).values()]
    return SplitResult(split, policies, tuple(pieces), task.dataset_digest)


def venue_of(path: MarketPath, start: int, stop: int, trading: Trading) -> Venue:
    """Where a tested group is walked: the first decision is at the close before it.

    The very first session has none before it, so that the first group is measured from its second
    session on.
    """
    return Venue.of(path, max(0, start - 1), stop, trading)


def _piece(
    split: CombinatorialSplit,
    number: int,
    run: BacktestResult,
    policy: TrainedPolicy | None = None,
) -> Piece:
    return Piece(
        split=split.number,
        path=number,
        strategy=run.name,
        seed=NO_SEED if policy is None else policy.seed,
        sessions=run.sessions,
        equity=run.equity,
        trade_count=run.trade_count,
        costs=run.costs,
        policy_hash="" if policy is None else policy.policy_hash,
    )


def of_strategy(pieces: Sequence[Piece], strategy: str) -> list[Piece]:
    """The pieces of one strategy, oldest first."""
    return sorted(
        (one for one in pieces if one.strategy == strategy), key=lambda one: one.sessions[0]
    )
