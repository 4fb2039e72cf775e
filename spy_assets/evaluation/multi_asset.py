"""Is one policy for several symbols worth it? Against a policy of each symbol alone, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import BacktestResult
from spy_assets.evaluation.statistics import Floats, Interval, bootstrap_difference

#: Names of the runs of each symbol.
MULTI, SINGLE = "multi_asset", "single_symbol"


@dataclass(frozen=True)
class SharingVerdict:
    """What the comparison says.

    Attributes
    ----------
    better
        Whether the whole interval of ``lead`` lies above zero; nothing less counts.
    lead
        Mean over the sessions of the summed daily P&L of all symbols, that of the one policy less
        those of the policies of a symbol each, dollars, with its interval.
    by_symbol
        Symbol to the same of its own sessions.
    over_cash
        Symbol to the mean daily P&L of the one policy, dollars: cash earns nothing.
    multi, single
        Net P&L over all symbols, dollars.
    """

    better: bool
    lead: Interval
    by_symbol: Mapping[str, Interval]
    over_cash: Mapping[str, Interval]
    multi: float
    single: float

    @property
    def words(self) -> str:
        """The verdict in one sentence."""
        parts = ", ".join(f"{name} {_told(lead)}" for name, lead in self.by_symbol.items())
        cash = [name for name, lead in self.over_cash.items() if lead.above_zero]
        return (
            f"one policy for all symbols is {'better' if self.better else 'not better'} than a policy "
            f"for each: {_told(self.lead)} at {self.lead.level:.0%}; {parts}; shown to beat cash on "
            f"{', '.join(cash) or 'none'}"
        )


def compare_sharing(
    multi: Mapping[str, BacktestResult],
    single: Mapping[str, BacktestResult],
    *,
    seed: int = 0,
    level: float = 0.95,
) -> SharingVerdict:
    """Compare two runs of every symbol over the same sessions, none of which either was trained on.

    Parameters
    ----------
    multi, single
        Symbol to the result of the one policy, and of the policy of that symbol alone.
    seed, level
        Of the bootstrap.

    Raises
    ------
    ConfigError
        The runs are of different symbols or sessions.
    """
    sessions = {run.sessions for run in (*multi.values(), *single.values())}
    if multi.keys() != single.keys() or len(sessions) != 1:
        raise ConfigError(
            f"{', '.join(multi)} against {', '.join(single)} over {len(sessions)} sets of sessions",
            hint="run both over the same sessions of the same symbols",
        )

    def lead(ours: BacktestResult, theirs: BacktestResult) -> Interval:
        return bootstrap_difference(ours.daily_pnl, theirs.daily_pnl, seed=seed, level=level)

    whole = bootstrap_difference(_summed(multi), _summed(single), seed=seed, level=level)
    return SharingVerdict(
        better=whole.above_zero,
        lead=whole,
        by_symbol={name: lead(multi[name], single[name]) for name in multi},
        over_cash={
            name: bootstrap_difference(run.daily_pnl, 0.0 * run.daily_pnl, seed=seed, level=level)
            for name, run in multi.items()
        },
        multi=sum(run.daily.net_pnl for run in multi.values()),
        single=sum(run.daily.net_pnl for run in single.values()),
    )


def _summed(runs: Mapping[str, BacktestResult]) -> Floats:
    """Daily P&L of all symbols together, dollars, ``[n]``."""
    return np.asarray(np.stack([run.daily_pnl for run in runs.values()]).sum(axis=0))


def _told(lead: Interval) -> str:
    return f"{lead.estimate:+.2f} $ a session ({lead.low:+.2f} to {lead.high:+.2f})"
