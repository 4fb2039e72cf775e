"""Walk-forward: train on a window, judge on the sessions after it, move on, never look back.

Each fold of :mod:`spy_assets.evaluation.splits` is one training of every seed on the fold's training
window and nothing else; whatever is fitted (weights, the choice among seeds) is fitted there. Every seed
is then walked over the test, and so is each baseline, in the same simulator, with the same
costs and a fresh account::

    path      ----[------- train -------]--gap--[---- test ----]-----------
    fitted        weights, choice of seed
    walked                                    decides ^ at the close before the test's first session

The first decision is at the close before the test, so that equity is measured at each close of
the test and no session is counted in two folds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from spy_assets.errors import DataError
from spy_assets.evaluation.backtest import (
    BacktestResult,
    EntryFilter,
    Venue,
    Walked,
    greedy,
    run_policy,
)
from spy_assets.evaluation.baselines import run_baselines
from spy_assets.evaluation.splits import Fold
from spy_assets.evaluation.statistics import Floats
from spy_assets.models.policy.config import AgentConfig
from spy_assets.models.policy.select import Candidate, Selection, Train, as_net, train_and_select
from spy_assets.models.policy.train import Progress, Stop, Trading, path_digest, train_policy
from spy_assets.sessions import NEW_YORK
from spy_assets.simulator.kernel import Trade
from spy_assets.simulator.market_path import MarketPath

POLICY: Final = "policy"
#: Seed of a run that has none: the baselines'.
NO_SEED: Final = 0
#: Least share of training sessions with a complete observation; on the others a policy can only hold.
LEAST_COMPLETE: Final = 0.5

#: Makes the entry filter of one fold's policy, given the last session of its training.
FilterOf = Callable[[date], EntryFilter]


@dataclass(frozen=True)
class ClosedTrade:
    """What is kept of a trade, dollars after all costs.

    ``regime`` is the market's at the decision, None where it is not known; ``entry_hour`` that of the
    entry in New York.
    """

    decision_session: date
    entry_session: date
    exit_session: date
    structure: str
    exit_reason: str
    quantity: int
    holding_sessions: int
    pnl: float
    costs: float
    regime: str | None = None
    entry_hour: int | None = None

    @classmethod
    def of(cls, trade: Trade, regimes: Mapping[date, str]) -> ClosedTrade:
        """Keep what matters of a simulator's trade."""
        return cls(
            decision_session=trade.decision_session,
            entry_session=trade.entry_session,
            exit_session=trade.exit_session,
            structure=trade.structure,
            exit_reason=trade.exit_reason,
            quantity=trade.quantity,
            holding_sessions=trade.holding_sessions,
            pnl=trade.pnl,
            costs=trade.costs,
            regime=regimes.get(trade.decision_session),
            entry_hour=trade.entry_time.astimezone(NEW_YORK).hour,
        )


@dataclass(frozen=True, eq=False)
class WindowRun(Walked):
    """One strategy over the test of one fold.

    Attributes
    ----------
    fold
        The fold.
    strategy, seed
        ``policy`` with the seed of its training, or a baseline with :data:`NO_SEED`.
    selected
        Whether this is the fold's answer: the seed that the training window chose, and each baseline.
    sessions
        Sessions of the test, ``[n]``.
    equity
        Dollars: the capital, then the value at each close, ``[n + 1]``.
    trades
        Closed trades; of several averaged runs none are kept.
    trade_count
        Closed trades of one run.
    costs
        Commissions, spreads and slippage, dollars.
    policy_hash
        SHA-256 of the weights, empty for a baseline.
    """

    fold: Fold
    strategy: str
    seed: int
    selected: bool
    sessions: tuple[date, ...]
    equity: Floats
    trades: tuple[ClosedTrade, ...]
    trade_count: int
    costs: float
    policy_hash: str = ""


@dataclass(frozen=True, eq=False)
class FoldResult:
    """All runs over one fold's test, and what was trained for it.

    ``dataset_digest`` is the SHA-256 of the training data, see
    :func:`~spy_assets.models.policy.train.path_digest`.
    """

    fold: Fold
    selection: Selection
    runs: tuple[WindowRun, ...]
    dataset_digest: str

    @property
    def chosen(self) -> WindowRun:
        """The run of the seed that the training window chose."""
        return next(run for run in self.runs if run.strategy == POLICY and run.selected)


def training_window(path: MarketPath, fold: Fold) -> MarketPath:
    """Cut the fold's training sessions out of a path that may begin earlier and end later.

    Raises
    ------
    DataError
        The path lacks sessions of the window, or too few of them have a complete observation.
    """
    start, stop = _positions(path, fold.train_first, fold.train_last)
    _require_all("train", fold, stop - start, fold.train_sessions)
    window = path.window(start, stop)
    complete = int(window.valid.sum())
    if complete < LEAST_COMPLETE * len(window):
        raise DataError(
            f"{fold}: {complete} of {len(window)} training sessions have a complete observation",
            hint="let the windows begin later (SPY_WALK__START)"
            + (
                "; SPY_OBSERVATION=daily_15_proxy_v1 needs no option chains"
                * path.contract.needs_chain
            ),
        )
    return window


def venue_of(path: MarketPath, fold: Fold, trading: Trading) -> Venue:
    """Where all strategies of a fold run: the first decision is at the close before the test.

    Raises
    ------
    DataError
        The path lacks sessions of the test, or the one before it.
    """
    start, stop = _positions(path, fold.test_first, fold.test_last)
    _require_all("test", fold, stop - start, fold.test_sessions)
    if start < 1:
        raise DataError(
            f"{fold}: the path begins with the test", hint="give the sessions before it too"
        )
    return Venue.of(path, start - 1, stop, trading)


def run_fold(
    path: MarketPath,
    fold: Fold,
    config: AgentConfig,
    *,
    known_to_training: MarketPath | None = None,
    trading: Trading | None = None,
    filter_of: FilterOf | None = None,
    min_confidence: float = 0.0,
    regimes: Mapping[date, str] | None = None,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    train: Train = train_policy,
) -> FoldResult:
    """Train every seed on the fold's window, and walk them and all baselines over its test.

    Parameters
    ----------
    path
        The market, at least from the fold's first training session to its last test session. The
        training is handed its own window of it, and nothing else.
    config
        Hyper-parameters and seeds.
    known_to_training
        The market as it was known when the training ended, to train on: ``path`` may have revisions
        of the training window that came later. By default ``path`` itself.
    trading
        Costs, exits, capital and clock of training and test.
    filter_of
        Makes the risk layer's entry filter of the policy; baselines have none.
    min_confidence
        Entries that the policy gives less become HOLD.
    regimes
        The market's regime by session, to tell trades apart by.
    checkpoint_dir, progress, stop, train
        As for :func:`~spy_assets.models.policy.select.train_and_select`.

    Raises
    ------
    DataError
        The path does not have the fold's sessions.
    ConfigError
        The training window is too short for an episode.
    TrainingStopped
        ``stop`` became true; the next call goes on from the checkpoints.
    """
    trading = trading or Trading()
    window = training_window(path if known_to_training is None else known_to_training, fold)
    venue = venue_of(path, fold, trading)
    selection = train_and_select(
        window,
        config,
        trading=trading,
        checkpoint_dir=checkpoint_dir,
        progress=progress,
        stop=stop,
        train=train,
    )
    entry_filter = None if filter_of is None else filter_of(fold.train_last)

    def walk(candidate: Candidate) -> BacktestResult:
        net = as_net(candidate.policy, config.activation, path.contract)
        act = greedy(net.probabilities, min_confidence=min_confidence)
        return run_policy(venue, act, name=POLICY, entry_filter=entry_filter)

    walked = [(candidate, walk(candidate)) for candidate in selection.candidates]
    chosen = next(result for candidate, result in walked if candidate is selection.chosen)
    known = regimes or {}
    policies = [
        window_run(fold, result, result.sessions, known, candidate, candidate is selection.chosen)
        for candidate, result in walked
    ]
    baselines = [
        window_run(fold, run, run.sessions, known) for run in run_baselines(venue, chosen).values()
    ]
    return FoldResult(fold, selection, (*policies, *baselines), path_digest(window))


class Run(Protocol):
    """What a walk over a test has, of whatever clock. Dollars; ``costs`` are of one of its ``runs``."""

    @property
    def name(self) -> str:
        """Of the strategy."""
        ...

    @property
    def equity(self) -> Floats:
        """The capital, then the value at each close."""
        ...

    @property
    def trades(self) -> tuple[Trade, ...]:
        """Closed trades of all runs."""
        ...

    @property
    def costs(self) -> float:
        """Commissions, spreads and slippage."""
        ...

    @property
    def runs(self) -> int:
        """How many accounts were averaged."""
        ...


def window_run(
    fold: Fold,
    result: Run,
    sessions: tuple[date, ...],
    regimes: Mapping[date, str] = MappingProxyType({}),
    candidate: Candidate | None = None,
    selected: bool = True,
) -> WindowRun:
    """Keep what matters of a walk over a fold's test."""
    trades = result.trades if result.runs == 1 else ()
    return WindowRun(
        fold=fold,
        strategy=result.name,
        seed=NO_SEED if candidate is None else candidate.policy.seed,
        selected=selected,
        sessions=sessions,
        equity=result.equity,
        trades=tuple(ClosedTrade.of(trade, regimes) for trade in trades),
        trade_count=round(len(result.trades) / result.runs),
        costs=result.costs,
        policy_hash="" if candidate is None else candidate.policy.policy_hash,
    )


def _positions(path: MarketPath, first: date, last: date) -> tuple[int, int]:
    return bisect_left(path.sessions, first), bisect_right(path.sessions, last)


def _require_all(what: str, fold: Fold, found: int, due: int) -> None:
    if found != due:
        raise DataError(
            f"{fold}: the market has {found} of the {due} {what} sessions",
            hint="materialize the features of these years first",
        )


def selected_runs(runs: Sequence[WindowRun], strategy: str) -> list[WindowRun]:
    """The answers of one strategy, one per fold, oldest first."""
    own = [run for run in runs if run.strategy == strategy and run.selected]
    return sorted(own, key=lambda run: run.fold.test_first)
