"""What all paths of a combinatorial cross-validation say together: a distribution, not one number.

**A path** chains the daily returns of one piece per group, each from a fresh account. Every path has
the same sessions, so that paths and baselines are paired session by session.

**Shares.** A policy path is above a baseline where its chained account ends higher. A baseline that
needs no training has one path; random entries have one per path, and each is compared with its own.

**Deflated Sharpe ratio and PBO** are of the *mean* over the paths: an account split among all of them,
whose sessions are each tested as often as any other. Paths share sessions and trainings, so that they
are no independent samples: there is no interval over paths here, only their spread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from typing import Any, Final

import numpy as np

from spy_assets.errors import DataError
from spy_assets.evaluation.backtest import Walked
from spy_assets.evaluation.combinatorial import Piece
from spy_assets.evaluation.selection_bias import (
    deflated_sharpe,
    deflating_variance,
    probability_of_overfitting,
)
from spy_assets.evaluation.statistics import Floats, sharpe
from spy_assets.evaluation.walk_forward import POLICY

_LEVELS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
#: Blocks of the probability of overfitting: of enough sessions each in a few years too.
_BLOCKS: Final = 10


@dataclass(frozen=True, eq=False)
class PathAccount(Walked):
    """One strategy along one path, as one chained account.

    Attributes
    ----------
    strategy, seed, path
        Whose it is.
    pieces
        One a group, oldest first.
    """

    strategy: str
    seed: int
    path: int
    pieces: tuple[Piece, ...]
    trades: tuple[Any, ...] = ()

    @cached_property
    def sessions(self) -> tuple[date, ...]:
        """All sessions, ``[n]``."""
        return tuple(day for piece in self.pieces for day in piece.sessions)

    @cached_property
    def equity(self) -> Floats:  # type: ignore[override]
        """Dollars: the capital, then the chained account at each close, ``[n + 1]``."""
        returns = np.concatenate([piece.returns for piece in self.pieces])
        return float(self.pieces[0].equity[0]) * np.concatenate(([1.0], np.cumprod(1.0 + returns)))

    @property
    def trade_count(self) -> int:
        """Closed trades."""
        return sum(piece.trade_count for piece in self.pieces)


def assemble(pieces: Sequence[Piece]) -> list[PathAccount]:
    """Put pieces together into paths, by strategy, seed and path.

    Raises
    ------
    DataError
        Paths do not have the same sessions: a split is missing.
    """
    paths = _chained(pieces)
    whole = max((path.sessions for path in paths), key=len, default=())
    for path in paths:
        if path.sessions != whole:
            raise DataError(
                f"path {path.path} of {path.strategy} has {len(path.sessions)} sessions, another "
                f"{len(whole)}",
                hint="run the splits that are missing first",
            )
    return paths


def _chained(pieces: Sequence[Piece]) -> list[PathAccount]:
    found: defaultdict[tuple[str, int, int], list[Piece]] = defaultdict(list)
    for piece in pieces:
        found[piece.strategy, piece.seed, piece.path].append(piece)
    return [
        PathAccount(*key, tuple(sorted(own, key=lambda one: one.sessions[0])))
        for key, own in sorted(found.items())
    ]


@dataclass(frozen=True)
class Quantiles:
    """Least, quartiles and most of a figure over paths."""

    least: float
    quarter: float
    median: float
    three_quarters: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quantiles:
        """Of at least one value, linear between neighbours."""
        return cls(*np.quantile(values, _LEVELS).tolist())


@dataclass(frozen=True, eq=False)
class PathsSummary:
    """Figures of all paths.

    Attributes
    ----------
    paths
        The policy's, by seed and path.
    baselines
        Name to its paths.
    sharpe, net_pnl, max_drawdown
        Over the policy's paths: annual ratio, dollars of the chained account, share of the peak.
    above
        Baseline to the share of the policy's paths that end above it.
    mean_sharpe
        Annual Sharpe ratio of the mean over the paths.
    deflated_sharpe
        Probability that it is better than the best of ``trials`` that know nothing; None where returns
        do not vary.
    overfitting
        Probability that the configuration that looks best is below the median of all elsewhere; None
        with fewer than two.
    trials
        Configurations that were run, this one included.
    left_out
        Baselines that are not there on every group.
    """

    paths: tuple[PathAccount, ...]
    baselines: Mapping[str, tuple[PathAccount, ...]]
    sharpe: Quantiles
    net_pnl: Quantiles
    max_drawdown: Quantiles
    above: Mapping[str, float]
    mean_sharpe: float
    deflated_sharpe: float | None
    overfitting: float | None
    trials: int
    left_out: tuple[str, ...] = ()

    @property
    def sessions(self) -> tuple[date, ...]:
        """Sessions of every path."""
        return self.paths[0].sessions

    @property
    def unbeaten(self) -> tuple[str, ...]:
        """Baselines that half of the paths or more do not end above."""
        return tuple(name for name, share in self.above.items() if share <= 0.5)

    @property
    def verdict(self) -> str:
        """The result in two sentences, and a third where baselines are left out."""
        count, cash = len(self.paths), self.above.get("cash", 0.0)
        words = (
            f"{round(cash * count)} of {count} paths end above cash; the median path's Sharpe ratio is "
            f"{self.sharpe.median:.2f} ({self.sharpe.least:.2f} to {self.sharpe.most:.2f})."
        )
        told = "Most paths end above every baseline."
        if self.unbeaten:
            told = f"Not beaten on most paths: {', '.join(self.unbeaten)}."
        if self.left_out:
            told += f" Not on every group, and so left out: {', '.join(self.left_out)}."
        return f"{words} {told}"

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON types."""
        own = ("sharpe", "net_pnl", "max_drawdown")
        return {
            "verdict": self.verdict,
            "paths": [path_figures(path) for path in self.paths],
            **{name: asdict(getattr(self, name)) for name in own},
            "above": dict(self.above),
            "baselines": {
                name: Quantiles.of([path.daily.net_pnl for path in paths]).median
                for name, paths in self.baselines.items()
            },
            "mean_sharpe": self.mean_sharpe,
            "deflated_sharpe": self.deflated_sharpe,
            "overfitting": self.overfitting,
            "trials": self.trials,
            "left_out": list(self.left_out),
        }


def path_figures(path: PathAccount) -> dict[str, Any]:
    """One path's line of the table."""
    daily = path.daily
    return {
        "seed": path.seed,
        "path": path.path,
        "net_pnl": daily.net_pnl,
        "sharpe": daily.sharpe,
        "max_drawdown": daily.max_drawdown,
        "trades": path.trade_count,
    }


def mean_returns(paths: Sequence[PathAccount]) -> Floats:
    """Daily returns of an account split equally among paths each day, ``[n]``."""
    return np.asarray(np.mean([path.returns for path in paths], axis=0), dtype=np.float64)


def summarise_paths(
    pieces: Sequence[Piece], others: Mapping[str, Sequence[Piece]] | None = None
) -> PathsSummary:
    """Sum up the pieces of one configuration.

    A baseline that is not there on every group is left out, such as buy and hold with dividends where
    some of them are not known.

    Parameters
    ----------
    pieces
        Of all splits.
    others
        Pieces of the other configurations that were run over the same sessions, by name: they are the
        trials that this one is one of.

    Raises
    ------
    DataError
        A split is missing, or another configuration has other sessions.
    """
    own = tuple(assemble([piece for piece in pieces if piece.strategy == POLICY]))
    if not own:
        raise DataError("no path of a policy", hint="run the splits first")
    untrained = [piece for piece in pieces if piece.strategy != POLICY]
    rivals = [path for path in _chained(untrained) if path.sessions == own[0].sessions]
    names = dict.fromkeys(path.strategy for path in rivals)
    baselines = {name: tuple(one for one in rivals if one.strategy == name) for name in names}
    mean = mean_returns(own)
    tried = [mean, *_means_of_others(others or {}, own[0].sessions)]
    daily = [path.daily for path in own]
    return PathsSummary(
        paths=own,
        baselines=baselines,
        sharpe=Quantiles.of([one.sharpe for one in daily]),
        net_pnl=Quantiles.of([one.net_pnl for one in daily]),
        max_drawdown=Quantiles.of([one.max_drawdown for one in daily]),
        above={name: share_above(own, paths) for name, paths in baselines.items()},
        mean_sharpe=sharpe(mean),
        deflated_sharpe=deflated_sharpe(
            mean, trials=len(tried), sharpe_variance=deflating_variance(mean, tried)
        ),
        overfitting=_overfitting(tried),
        trials=len(tried),
        left_out=tuple(sorted({piece.strategy for piece in untrained} - set(baselines))),
    )


def share_above(paths: Sequence[PathAccount], rivals: Sequence[PathAccount]) -> float:
    """Share of paths that end above a rival: its only path, or the one of the same number."""
    by_number = {rival.path: rival for rival in rivals}
    ends = [by_number.get(path.path, rivals[0]).equity[-1] for path in paths]
    return float(np.mean([path.equity[-1] > end for path, end in zip(paths, ends, strict=True)]))


def _means_of_others(
    others: Mapping[str, Sequence[Piece]], sessions: tuple[date, ...]
) -> list[Floats]:
    means = []
    for name, pieces in others.items():
        paths = assemble([piece for piece in pieces if piece.strategy == POLICY])
        if not paths or paths[0].sessions != sessions:
            raise DataError(
                f"configuration {name} was not run over the same sessions",
                hint="compare configurations of one market and one cut",
            )
        means.append(mean_returns(paths))
    return means


def _overfitting(tried: Sequence[Floats]) -> float | None:
    if len(tried) < 2:
        return None
    return probability_of_overfitting(np.column_stack(tried), blocks=_BLOCKS).probability
