"""What all folds of a walk-forward say together: one chained account, its rivals, its seeds.

**Chained equity.** Every fold begins with the same capital, so returns are what folds have in common:
the chained account compounds the daily returns of one test after the other. Differences between
strategies are taken in dollars a session of such an account, paired by session.

**Seeds.** Fold returns of every seed, summed up by :mod:`spy_assets.evaluation.seed_spread`: folds are
the strata, seeds are drawn within each. One seed says nothing about the spread, and gives none.

**Trials.** The best of many configurations looks good by chance. The deflated Sharpe ratio asks whether
the chained returns are better than the best of so many that know nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np

from spy_assets.errors import ConfigError, DataError
from spy_assets.evaluation.seed_spread import SeedSpread, seed_spread
from spy_assets.evaluation.selection_bias import deflated_sharpe
from spy_assets.evaluation.splits import Fold
from spy_assets.evaluation.statistics import (
    DailyStatistics,
    Floats,
    Interval,
    bootstrap_means,
    daily_statistics,
)
from spy_assets.evaluation.walk_forward import POLICY, ClosedTrade, WindowRun, selected_runs

#: What the interval of the policy's lead over a baseline says.
Outcome = Literal["beats", "not shown to beat", "loses to"]

LEVEL: Final = 0.95


@dataclass(frozen=True, eq=False)
class Chain:
    """One strategy's answers over all folds, as one account.

    Attributes
    ----------
    strategy
        Its name.
    runs
        One a fold, oldest first.
    """

    strategy: str
    runs: tuple[WindowRun, ...]

    @cached_property
    def sessions(self) -> tuple[date, ...]:
        """All tested sessions, ``[n]``."""
        return tuple(day for run in self.runs for day in run.sessions)

    @cached_property
    def returns(self) -> Floats:
        """Daily returns as decimals, ``[n]``."""
        return np.concatenate([run.returns for run in self.runs])

    @cached_property
    def daily_pnl(self) -> Floats:
        """Dollars a session of accounts that begin each fold with the capital, ``[n]``."""
        return np.concatenate([run.daily_pnl for run in self.runs])

    @cached_property
    def equity(self) -> Floats:
        """Dollars of the chained account: the capital first, ``[n + 1]``."""
        capital = float(self.runs[0].equity[0])
        return capital * np.concatenate(([1.0], np.cumprod(1.0 + self.returns)))

    @cached_property
    def daily(self) -> DailyStatistics:
        """Statistics of the chained account."""
        return daily_statistics(self.equity)

    @cached_property
    def fold_returns(self) -> Floats:
        """Return of each fold as a decimal."""
        return np.array([run.daily.total_return for run in self.runs])

    @property
    def trades(self) -> tuple[ClosedTrade, ...]:
        """All closed trades that were kept, oldest first."""
        return tuple(trade for run in self.runs for trade in run.trades)

    @property
    def trade_count(self) -> int:
        """Closed trades."""
        return sum(run.trade_count for run in self.runs)


@dataclass(frozen=True)
class StrategySummary:
    """One strategy's line of the table (S0-72 and more).

    Returns and drawdowns are decimals, money is dollars of an account that begins each fold with the
    capital. ``std_return`` is the sample deviation over folds, None for a single one; ``lead`` is the
    policy's mean daily lead over the strategy, None in the policy's own line.
    """

    strategy: str
    folds: int
    net_pnl: float
    avg_return: float
    std_return: float | None
    min_return: float
    max_return: float
    avg_sharpe: float
    avg_drawdown: float
    worst_drawdown: float
    trades: int
    win_rate: float | None
    costs: float
    chained_return: float
    chained_sharpe: float
    chained_drawdown: float
    mean_daily: Interval
    lead: Interval | None

    @property
    def outcome(self) -> Outcome | None:
        """What the lead says of the policy against this strategy."""
        if self.lead is None:
            return None
        if self.lead.above_zero:
            return "beats"
        return "loses to" if self.lead.below_zero else "not shown to beat"


@dataclass(frozen=True)
class SeedSummary:
    """One seed over all folds, as one chained account; ``selected_folds`` chose it."""

    seed: int
    folds: int
    selected_folds: int
    net_pnl: float
    chained_return: float
    chained_sharpe: float
    chained_drawdown: float


@dataclass(frozen=True, eq=False)
class WalkForwardSummary:
    """Everything that the folds say.

    Attributes
    ----------
    folds
        The folds that were run, oldest first.
    chains
        Policy first, then the baselines.
    strategies
        A line each, in the same order.
    seeds
        A line each, in ascending order.
    spread
        Of fold returns over folds and seeds; None with a single seed.
    trials
        Configurations whose out-of-sample result was looked at.
    deflated_sharpe
        Probability of a Sharpe ratio above the best of ``trials`` that know nothing; None where the
        policy's returns do not vary.
    level
        Of all intervals.
    """

    folds: tuple[Fold, ...]
    chains: tuple[Chain, ...]
    strategies: tuple[StrategySummary, ...]
    seeds: tuple[SeedSummary, ...]
    spread: SeedSpread | None
    trials: int
    deflated_sharpe: float | None
    level: float

    @property
    def policy(self) -> StrategySummary:
        """The policy's line."""
        return self.strategies[0]

    @property
    def baselines(self) -> tuple[StrategySummary, ...]:
        """The other lines."""
        return self.strategies[1:]

    def against(self, outcome: Outcome) -> list[str]:
        """Baselines that the policy stands so against."""
        return [row.strategy for row in self.baselines if row.outcome == outcome]

    @property
    def verdict(self) -> str:
        """One sentence: how many baselines the policy beats, and which not."""
        beaten, count = self.against("beats"), len(self.baselines)
        made = "makes" if self.policy.net_pnl > 0 else "loses"
        words = (
            f"Over {len(self.folds)} folds and {len(self.chains[0].sessions):,} sessions out of sample "
            f"the policy {made} ${abs(self.policy.net_pnl):,.2f} after costs and beats "
            f"{len(beaten) or 'none'} of {count} baselines at {self.level:.0%}"
        )
        for outcome in ("not shown to beat", "loses to"):
            if names := self.against(outcome):
                words += f"; {outcome} {', '.join(names)}"
        return words + "."

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values, ready for JSON; without equity curves."""
        return {
            "verdict": self.verdict,
            "sentences": self.sentences(),
            "folds": len(self.folds),
            "sessions": len(self.chains[0].sessions),
            "first": self.chains[0].sessions[0].isoformat(),
            "last": self.chains[0].sessions[-1].isoformat(),
            "trials": self.trials,
            "deflated_sharpe": self.deflated_sharpe,
            "level": self.level,
            "strategies": [table_columns(row) for row in self.strategies],
            "seeds": [asdict(row) for row in self.seeds],
            "spread": None if self.spread is None else asdict(self.spread),
        }

    def sentences(self) -> list[str]:
        """One sentence for each baseline, with the policy's lead and its interval."""
        return [_sentence(row) for row in self.baselines]


def summarise(
    runs: Sequence[WindowRun], *, trials: int = 1, level: float = LEVEL, seed: int = 0
) -> WalkForwardSummary:
    """Put the runs of all folds together.

    Parameters
    ----------
    runs
        Of one configuration; every seed of the policy and every baseline.
    trials
        Configurations whose result over these sessions was looked at, this one included.
    level, seed
        Of the bootstrap intervals.

    Raises
    ------
    ConfigError
        No trial is counted.
    DataError
        There is no policy's run, or a session is tested twice.
    """
    if trials < 1:
        raise ConfigError(f"trials={trials}", hint="count the configuration itself: at least 1")
    policy = _chain(runs, POLICY)
    names = dict.fromkeys(run.strategy for run in runs if run.strategy != POLICY)
    chains = (policy, *(_chain(runs, name) for name in names))
    scores = _fold_returns_by_seed(runs)
    means, leads = _intervals(chains, level, seed)
    return WalkForwardSummary(
        folds=tuple(run.fold for run in policy.runs),
        chains=chains,
        strategies=tuple(
            _strategy(chain, mean, lead)
            for chain, mean, lead in zip(chains, means, leads, strict=True)
        ),
        seeds=_seeds(runs),
        spread=seed_spread(scores, seed=seed, level=level) if len(scores) > 1 else None,
        trials=trials,
        deflated_sharpe=deflated_sharpe(policy.returns, trials=trials),
        level=level,
    )


def _chain(runs: Sequence[WindowRun], strategy: str) -> Chain:
    own = selected_runs(runs, strategy)
    if not own:
        raise DataError(
            f"no run of {strategy!r} among {len(runs)}", hint="run the folds first: spy walkforward"
        )
    chain = Chain(strategy, tuple(own))
    if len(set(chain.sessions)) != len(chain.sessions):
        twice = next(b for a, b in zip(chain.sessions, chain.sessions[1:], strict=False) if b <= a)
        raise DataError(
            f"{strategy}: session {twice} is in two folds", hint="give the runs of one preset"
        )
    return chain


def _intervals(
    chains: Sequence[Chain], level: float, seed: int
) -> tuple[list[Interval], list[Interval | None]]:
    """Each one's mean daily P&L, and the policy's lead over it; the policy, which is first, has none.

    A strategy that lacks folds is compared over those that it has. What is of the same length is
    resampled together.
    """
    policy, others = chains[0], chains[1:]
    series = [chain.daily_pnl for chain in chains]
    series += [_shared_pnl(policy, other) - other.daily_pnl for other in others]
    found: list[Interval | None] = [None] * len(series)
    for length in sorted({len(values) for values in series}):
        where = [k for k, values in enumerate(series) if len(values) == length]
        made = bootstrap_means([series[k] for k in where], seed=seed, level=level)
        for k, interval in zip(where, made, strict=True):
            found[k] = interval
    means = [interval for interval in found[: len(chains)] if interval is not None]
    return means, [None, *found[len(chains) :]]


def _shared_pnl(policy: Chain, other: Chain) -> Floats:
    """The policy's dollars a session over the folds that the other one has too."""
    shared = {run.fold.key for run in other.runs}
    return np.concatenate([run.daily_pnl for run in policy.runs if run.fold.key in shared])


def _strategy(chain: Chain, mean: Interval, lead: Interval | None) -> StrategySummary:
    returns, stats = chain.fold_returns, [run.daily for run in chain.runs]
    wins = [trade.pnl > 0 for trade in chain.trades]
    return StrategySummary(
        strategy=chain.strategy,
        folds=len(chain.runs),
        net_pnl=float(sum(one.net_pnl for one in stats)),
        avg_return=float(returns.mean()),
        std_return=float(returns.std(ddof=1)) if len(returns) > 1 else None,
        min_return=float(returns.min()),
        max_return=float(returns.max()),
        avg_sharpe=float(np.mean([one.sharpe for one in stats])),
        avg_drawdown=float(np.mean([one.max_drawdown for one in stats])),
        worst_drawdown=max(one.max_drawdown for one in stats),
        trades=chain.trade_count,
        win_rate=float(np.mean(wins)) if wins else None,
        costs=float(sum(run.costs for run in chain.runs)),
        chained_return=chain.daily.total_return,
        chained_sharpe=chain.daily.sharpe,
        chained_drawdown=chain.daily.max_drawdown,
        mean_daily=mean,
        lead=lead,
    )


def _by_seed(runs: Iterable[WindowRun]) -> dict[int, list[WindowRun]]:
    found: dict[int, list[WindowRun]] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.fold.test_first)):
        if run.strategy == POLICY:
            found.setdefault(run.seed, []).append(run)
    return found


def _seeds(runs: Sequence[WindowRun]) -> tuple[SeedSummary, ...]:
    rows = []
    for seed, own in _by_seed(runs).items():
        chain = Chain(POLICY, tuple(own))
        rows.append(
            SeedSummary(
                seed=seed,
                folds=len(own),
                selected_folds=sum(run.selected for run in own),
                net_pnl=float(chain.daily_pnl.sum()),
                chained_return=chain.daily.total_return,
                chained_sharpe=chain.daily.sharpe,
                chained_drawdown=chain.daily.max_drawdown,
            )
        )
    return tuple(rows)


def _fold_returns_by_seed(runs: Sequence[WindowRun]) -> Floats:
    """Return of each fold and seed, ``[seeds, folds]``, over the seeds that have every fold."""
    by_seed = _by_seed(runs)
    most = max(len(own) for own in by_seed.values())
    full = [own for own in by_seed.values() if len(own) == most]
    return np.array([[run.daily.total_return for run in own] for own in full])


@dataclass(frozen=True)
class Group:
    """Trades that have something in common, dollars after costs."""

    name: str
    trades: int
    win_rate: float
    net_pnl: float
    mean_pnl: float


#: What trades are told apart by, in the order of the tearsheet.
GROUPINGS: Final[dict[str, Callable[[ClosedTrade], str]]] = {
    "structure": lambda trade: trade.structure,
    "regime": lambda trade: trade.regime or "unknown",
    "exit reason": lambda trade: trade.exit_reason,
}
#: Of trades that may begin at any minute.
INTRADAY_GROUPINGS: Final[dict[str, Callable[[ClosedTrade], str]]] = {
    "structure": lambda trade: trade.structure,
    "hour of entry": lambda trade: _hour(trade.entry_hour),
    "exit reason": lambda trade: trade.exit_reason,
}


def _hour(hour: int | None) -> str:
    return "unknown" if hour is None else f"{hour:02d}:00-{hour:02d}:59"


def grouped(trades: Iterable[ClosedTrade], key: Callable[[ClosedTrade], str]) -> tuple[Group, ...]:
    """Add up trades by a key, the best group first."""
    found: dict[str, list[float]] = {}
    for trade in trades:
        found.setdefault(key(trade), []).append(trade.pnl)
    groups = [
        Group(
            name,
            len(pnl),
            sum(one > 0 for one in pnl) / len(pnl),
            float(np.sum(pnl)),
            float(np.mean(pnl)),
        )
        for name, pnl in found.items()
    ]
    return tuple(sorted(groups, key=lambda group: (-group.net_pnl, group.name)))


def monthly_returns(chain: Chain) -> dict[tuple[int, int], float]:
    """Compounded return of each calendar month that was tested, by year and month."""
    growth: dict[tuple[int, int], float] = {}
    for day, value in zip(chain.sessions, chain.returns, strict=True):
        month = (day.year, day.month)
        growth[month] = growth.get(month, 1.0) * (1.0 + float(value))
    return {month: value - 1.0 for month, value in growth.items()}


def drawdowns(equity: Floats) -> Floats:
    """Fall from the running peak as a decimal, 0 at a peak; as long as the equity."""
    peak = np.maximum(np.maximum.accumulate(equity), 1e-9)
    return np.asarray(1.0 - equity / peak)


def table_columns(row: StrategySummary) -> dict[str, Any]:
    """One line of the table that surfaces print: the columns of S0-72, and what it is worth."""
    return {
        "strategy": row.strategy,
        "net_pnl": row.net_pnl,
        "avg_return": row.avg_return,
        "std_return": row.std_return,
        "min_return": row.min_return,
        "max_return": row.max_return,
        "avg_sharpe": row.avg_sharpe,
        "avg_drawdown": row.avg_drawdown,
        "worst_drawdown": row.worst_drawdown,
        "trades": row.trades,
        "win_rate": row.win_rate,
        "costs": row.costs,
        "chained_return": row.chained_return,
        "lead": None if row.lead is None else row.lead.estimate,
        "lead_low": None if row.lead is None else row.lead.low,
        "lead_high": None if row.lead is None else row.lead.high,
        "policy": row.outcome,
    }


def _sentence(row: StrategySummary) -> str:
    lead = row.lead
    assert lead is not None
    words = {
        "beats": f"The policy beats {row.strategy}",
        "not shown to beat": f"The policy is not shown to beat {row.strategy}",
        "loses to": f"The policy loses to {row.strategy}",
    }[row.outcome or "not shown to beat"]
    return (
        f"{words}: its lead is {_dollars(lead.estimate)} a session "
        f"({_dollars(lead.low)} to {_dollars(lead.high)} at {lead.level:.0%})."
    )


def _dollars(value: float) -> str:
    rounded = round(value, 2) + 0.0
    return f"{'−' if rounded < 0 else ''}${abs(rounded):,.2f}"
