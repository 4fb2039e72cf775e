"""Walk-forward of the short-premium plan over sessions of minute bars.

Folds are cut by sessions (:mod:`spy_assets.evaluation.splits`). What is sold expires the same day, so
that no position crosses a night; one session of purge is the least all the same, because a session's
prices begin with the volatility of the close before it::

    path      ----[------ train ------]-purge-embargo-[---- test ----]-----
    trained       head | purge | tail: compares seeds
    walked                                            one account, all its sessions

The tested account keeps its capital and its record of trades through the whole test, as an account does;
a training episode begins anew. Every seed is walked over the test, and so are the baselines, by the
readable simulator with the same plan and costs. The runs are those of the daily walk-forward, so that
its summary (chained equity, paired intervals, spread over seeds) says what they are worth.

**Prices.** No market quoted them: see :data:`MODEL_FILLS`, which goes with every result.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from spy_assets.errors import ConfigError, DataError
from spy_assets.evaluation.backtest import Act, Mask, Observation, choose_action
from spy_assets.evaluation.baselines import CASH, DEFAULT_SEEDS, RANDOM
from spy_assets.evaluation.breakdown import GroupProfit, breakdown
from spy_assets.evaluation.splits import LEAST_PURGE, Fold, SessionWindows
from spy_assets.evaluation.statistics import Floats
from spy_assets.evaluation.trade_metrics import TradeMetrics, trade_metrics
from spy_assets.evaluation.walk_forward import POLICY, WindowRun, window_run
from spy_assets.evaluation.walk_forward_summary import (
    WalkForwardSummary,
    summarise,
    table_columns,
)
from spy_assets.features.contracts import INTRADAY_8_V1
from spy_assets.models.policy.config import AgentConfig
from spy_assets.models.policy.select import (
    Candidate,
    Selection,
    as_net,
    best_of_seeds,
    head_and_tail,
)
from spy_assets.models.policy.short_premium import (
    ShortPremiumTask,
    ShortPremiumTrading,
    intraday_digest,
)
from spy_assets.models.policy.train import Progress, Stop, TrainedPolicy, train_task
from spy_assets.options.contracts import Right
from spy_assets.simulator.intraday_path import SESSION_MINUTES, IntradayPath
from spy_assets.simulator.kernel import Trade
from spy_assets.simulator.short_premium_plan import ShortPremiumPlan

#: What every result is labelled with.
MODEL_FILLS: Final = "model fills on a surface of the previous close's VIX"
#: The fixed rules: the first decision from 10:00 on, in New York.
SELL_PUT, SELL_CALL = "sell_put_1000", "sell_call_1000"
_TEN_O_CLOCK: Final = 30.0


# ---------------------------------------------------------------- one account over a test


@dataclass(frozen=True, eq=False)
class SessionRun:
    """One strategy over a path, as one account. Dollars throughout.

    Attributes
    ----------
    name
        Of the strategy.
    equity
        The capital, then the value at each session's last bar, ``[n + 1]``.
    trades
        Closed trades, of all ``runs``.
    entry_rate, close_rate
        Share of the decisions in which a sale, or a close, was possible that made one.
    runs
        How many accounts were averaged.
    """

    name: str
    equity: Floats
    trades: tuple[Trade, ...]
    entry_rate: float = 0.0
    close_rate: float = 0.0
    runs: int = 1

    @property
    def costs(self) -> float:
        """Commissions and spreads of one run."""
        return sum(trade.costs for trade in self.trades) / self.runs

    @property
    def net_pnl(self) -> float:
        """Change of value."""
        return float(self.equity[-1] - self.equity[0])


def walk_sessions(
    path: IntradayPath, act: Act, trading: ShortPremiumTrading, *, name: str = POLICY
) -> SessionRun:
    """Walk one account over all sessions of a path.

    Raises
    ------
    DataError
        If a session has no volatility or rate, or the first one has a single bar.
    """
    simulator, specs = trading.simulator(path), trading.plan.specs
    equity, trades = [simulator.value], list[Trade]()
    chances, taken = np.zeros(2), np.zeros(2)
    sells = np.array([spec.right is not None for spec in specs])
    closes = np.array([spec.closes for spec in specs])
    while not simulator.done:
        mask = simulator.mask()
        action = act(simulator.observe(), mask)
        chances += bool((mask & sells).any()), bool((mask & closes).any())
        taken += bool(sells[action]), bool(closes[action])
        trades += simulator.step(action).trades
        if path.is_last(simulator.bar):
            equity.append(simulator.value)
    enter, leave = taken / np.maximum(chances, 1.0)
    return SessionRun(name, np.array(equity), tuple(trades), float(enter), float(leave))


def policy_act(policy: TrainedPolicy, activation: str) -> Act:
    """Take the most probable allowed action of the network that the weights give."""
    net = as_net(policy, activation, INTRADAY_8_V1)
    return lambda seen, mask: choose_action(net.probabilities(seen, mask), mask)


def sell_from(plan: ShortPremiumPlan, right: Right, minute: float = _TEN_O_CLOCK) -> Act:
    """Sell the first action of a side as soon as it is allowed from a minute of the session on.

    A session whose first bars are missing has its sale at the first decision there is.
    """
    hold = _hold(plan)
    sale = next(k for k, spec in enumerate(plan.specs) if spec.right == right)
    since = (minute - 1e-3) / SESSION_MINUTES

    def act(seen: Observation, mask: Mask) -> int:
        return sale if seen[0] >= since and mask[sale] else hold

    return act


def random_sales(plan: ShortPremiumPlan, enter: float, leave: float, seed: int) -> Act:
    """Sell and close with these probabilities where it is possible; the sale by chance."""
    generator, hold = np.random.default_rng(seed), _hold(plan)
    sells = [k for k, spec in enumerate(plan.specs) if spec.right is not None]
    close = next((k for k, spec in enumerate(plan.specs) if spec.closes), None)

    def act(seen: Observation, mask: Mask) -> int:  # noqa: ARG001 - it looks at nothing
        sold, closed, pick = generator.random(3)
        if close is not None and mask[close] and closed < leave:
            return close
        allowed = [k for k in sells if mask[k]]
        return allowed[int(pick * len(allowed))] if allowed and sold < enter else hold

    return act


def _hold(plan: ShortPremiumPlan) -> int:
    return next(k for k, s in enumerate(plan.specs) if s.right is None and not s.closes)


def run_intraday_baselines(
    path: IntradayPath,
    trading: ShortPremiumTrading,
    challenger: SessionRun,
    *,
    seeds: Sequence[int] = DEFAULT_SEEDS,
) -> tuple[SessionRun, ...]:
    """Cash, the put and the call of 10:00, and random sales at the challenger's rates."""
    plan = trading.plan
    drawn = [
        walk_sessions(
            path, random_sales(plan, challenger.entry_rate, challenger.close_rate, seed), trading
        )
        for seed in seeds
    ]
    return (
        SessionRun(CASH, np.full(len(path.sessions) + 1, plan.capital), ()),
        walk_sessions(path, sell_from(plan, "P"), trading, name=SELL_PUT),
        walk_sessions(path, sell_from(plan, "C"), trading, name=SELL_CALL),
        SessionRun(
            RANDOM,
            np.mean([run.equity for run in drawn], axis=0),
            tuple(trade for run in drawn for trade in run.trades),
            runs=len(drawn),
        ),
    )


# ---------------------------------------------------------------- one fold


@dataclass(frozen=True, eq=False)
class IntradayFold:
    """All runs over one fold's test, and what was trained for it.

    Attributes
    ----------
    fold, selection
        The fold; every seed with its result on the tail of the training window.
    runs
        Every seed of the policy and every baseline.
    trades
        Closed trades of the chosen seed and of each baseline, by strategy.
    dataset_digest
        SHA-256 of the training window.
    """

    fold: Fold
    selection: Selection
    runs: tuple[WindowRun, ...]
    trades: Mapping[str, tuple[Trade, ...]]
    dataset_digest: str

    @property
    def chosen(self) -> WindowRun:
        """The run of the seed that the training window chose."""
        return next(run for run in self.runs if run.strategy == POLICY and run.selected)


def fold_windows(
    path: IntradayPath, fold: Fold, known_to_training: IntradayPath | None = None
) -> tuple[IntradayPath, IntradayPath]:
    """Cut a fold's training and test sessions out of a path.

    The training is cut out of ``known_to_training`` where it is given.

    Raises
    ------
    ConfigError
        The fold has no purge.
    DataError
        The path lacks sessions of the fold.
    """
    if fold.purge < LEAST_PURGE:
        raise ConfigError(f"{fold}: no purge", hint="cut folds with splits.session_windows")
    known = path if known_to_training is None else known_to_training
    return (
        _cut(known, fold, fold.train_first, fold.train_last, fold.train_sessions),
        _cut(path, fold, fold.test_first, fold.test_last, fold.test_sessions),
    )


def _cut(path: IntradayPath, fold: Fold, first: date, last: date, due: int) -> IntradayPath:
    start, stop = bisect_left(path.sessions, first), bisect_right(path.sessions, last)
    if stop - start != due:
        raise DataError(
            f"{fold}: the path has {stop - start} of the {due} sessions {first} to {last}",
            hint="cut the folds from the path's own sessions",
        )
    return path.window(start, stop)


def split_sessions(window: IntradayPath, config: AgentConfig) -> tuple[IntradayPath, IntradayPath]:
    """Cut a training window into the head that is trained on and the tail that compares seeds.

    Raises
    ------
    ConfigError
        Less than one episode is left to train on.
    """
    count, purge = len(window.sessions), max(LEAST_PURGE, config.validation_purge)
    head, tail = head_and_tail(count, config, purge)
    return window.window(0, head), window.window(tail, count)


Train = Callable[..., TrainedPolicy]


def train_seeds(
    window: IntradayPath,
    config: AgentConfig,
    trading: ShortPremiumTrading,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    train: Train = train_task,
) -> Selection:
    """Train every seed on the window's head and keep the best on its tail; the earlier wins a tie.

    Raises
    ------
    ConfigError
        The window is too short.
    TrainingStopped
        ``stop`` became true; finished seeds are not trained again by the next call.
    """
    head, tail = split_sessions(window, config)
    task = ShortPremiumTask((head,), trading)
    how = {"checkpoint_dir": checkpoint_dir, "stop": stop}

    def judge(policy: TrainedPolicy) -> Candidate:
        run = walk_sessions(tail, policy_act(policy, config.activation), trading)
        return Candidate.of(policy, run.net_pnl, run.trades)

    return best_of_seeds(
        config,
        lambda seed, told: train(task, config, seed, progress=told, **how),
        judge,
        (len(head.sessions), len(tail.sessions)),
        progress,
    )


def run_intraday_fold(
    path: IntradayPath,
    fold: Fold,
    config: AgentConfig,
    *,
    known_to_training: IntradayPath | None = None,
    trading: ShortPremiumTrading | None = None,
    select: Callable[..., Selection] = train_seeds,
) -> IntradayFold:
    """Train every seed on the fold's sessions, and walk them and all baselines over its test.

    Parameters
    ----------
    path
        The market, with all sessions of the fold. The training is handed its own window of it.
    known_to_training
        The market as it was known when the training ended, to train on; by default ``path`` itself.
    fold, config, trading
        Sessions; hyper-parameters and seeds; the account of training and test.
    select
        How seeds are trained: :func:`train_seeds`, with checkpoints and progress bound to it.

    Raises
    ------
    ConfigError, DataError, TrainingStopped
        As for :func:`fold_windows`, :func:`walk_sessions` and :func:`train_seeds`.
    """
    trading = trading or ShortPremiumTrading()
    window, test = fold_windows(path, fold, known_to_training)
    selection = select(window, config, trading)
    walked = [
        walk_sessions(test, policy_act(one.policy, config.activation), trading)
        for one in selection.candidates
    ]
    chosen = walked[selection.candidates.index(selection.chosen)]
    baselines = run_intraday_baselines(test, trading, chosen)
    runs = [
        window_run(fold, run, test.sessions, candidate=one, selected=one is selection.chosen)
        for one, run in zip(selection.candidates, walked, strict=True)
    ]
    runs += [window_run(fold, run, test.sessions) for run in baselines]
    trades = {run.name: run.trades for run in (chosen, *baselines)}
    return IntradayFold(fold, selection, tuple(runs), trades, intraday_digest(window))


# ---------------------------------------------------------------- all folds


@dataclass(frozen=True, eq=False)
class IntradayWalk:
    """What all folds say together; everything is of :data:`MODEL_FILLS`.

    Attributes
    ----------
    symbol, bar_minutes
        Of the path.
    folds
        Oldest first.
    summary
        Chained equity, leads over each baseline, seeds, as of the daily walk-forward.
    metrics
        Of the closed trades, by strategy; those of random sales are of all its accounts.
    hours
        Profit by the hour of the entry in New York, by strategy.
    """

    symbol: str
    bar_minutes: int
    folds: tuple[IntradayFold, ...]
    summary: WalkForwardSummary
    metrics: Mapping[str, TradeMetrics]
    hours: Mapping[str, tuple[GroupProfit, ...]]
    fills: str = MODEL_FILLS

    @property
    def verdict(self) -> str:
        """What the policy beats and what not, and on which prices."""
        return f"{self.summary.verdict} Prices: {self.fills}."

    def rows(self) -> list[dict[str, Any]]:
        """One labelled row a strategy, the policy first."""
        label = {"bars": f"{self.bar_minutes} min", "fills": self.fills}
        return [table_columns(row) | label for row in self.summary.strategies]

    def hour_rows(self) -> list[dict[str, Any]]:
        """One labelled row for each strategy and hour of entry."""
        return [
            {
                "strategy": name,
                "hour": group.value,
                "trades": group.trades,
                "net_pnl": group.net_pnl,
                "win_rate": group.win_rate.estimate,
                "mean_low": None if group.mean is None else group.mean.low,
                "mean_high": None if group.mean is None else group.mean.high,
                "fills": self.fills,
            }
            for name, groups in self.hours.items()
            for group in groups
        ]

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain values, ready for JSON; without equity curves."""
        return self.summary.to_dict() | {
            "verdict": self.verdict,
            "fills": self.fills,
            "symbol": self.symbol,
            "bar_minutes": self.bar_minutes,
            "hours": self.hour_rows(),
            "trade_metrics": {name: one.as_dict() for name, one in self.metrics.items()},
        }


def walk_intraday(
    path: IntradayPath,
    windows: SessionWindows,
    config: AgentConfig,
    *,
    trading: ShortPremiumTrading | None = None,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    trials: int = 1,
) -> IntradayWalk:
    """Cut the path's sessions into folds, run each, and sum them up.

    Parameters
    ----------
    path
        The market.
    windows
        See :func:`~spy_assets.evaluation.splits.session_windows`.
    config, trading
        Hyper-parameters and seeds; the account.
    checkpoint_dir, progress, stop
        As for :func:`~spy_assets.models.policy.train.train_task`.
    trials
        Configurations whose result over these sessions was looked at, this one included.

    Raises
    ------
    ConfigError, DataError, TrainingStopped
        As for :func:`run_intraday_fold`; ConfigError too where no fold fits.
    """
    train = partial(train_seeds, checkpoint_dir=checkpoint_dir, progress=progress, stop=stop)
    folds = [
        run_intraday_fold(path, fold, config, trading=trading, select=train)
        for fold in windows.folds(path.sessions)
    ]
    return summarise_folds(path, folds, trials=trials)


def summarise_folds(
    path: IntradayPath, folds: Sequence[IntradayFold], *, trials: int = 1
) -> IntradayWalk:
    """Put folds of one configuration together."""
    trades = {name: _together(folds, name) for name in folds[0].trades}
    return IntradayWalk(
        symbol=path.symbol,
        bar_minutes=path.bar_minutes,
        folds=tuple(folds),
        summary=summarise([run for fold in folds for run in fold.runs], trials=trials),
        metrics={name: trade_metrics(kept) for name, kept in trades.items()},
        hours={name: breakdown(kept, "hour") for name, kept in trades.items()},
    )


def _together(folds: Iterable[IntradayFold], name: str) -> tuple[Trade, ...]:
    return tuple(trade for fold in folds for trade in fold.trades[name])
