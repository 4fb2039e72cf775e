"""Is a policy per regime worth it? Routing against one policy that sees the regime, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import BacktestResult
from spy_assets.evaluation.statistics import Interval, bootstrap_difference


@dataclass(frozen=True)
class RoutingVerdict:
    """What the comparison says.

    Attributes
    ----------
    better
        Whether the whole interval lies above zero; nothing less counts.
    lead
        Mean daily P&L of routing less that of the one policy, dollars, with its interval.
    routed, single
        Net P&L of both, dollars.
    by_regime
        Regime to sessions, and to the summed difference there, dollars.
    """

    better: bool
    lead: Interval
    routed: float
    single: float
    by_regime: dict[str, tuple[int, float]]

    @property
    def words(self) -> str:
        """The verdict in one sentence."""
        lead = self.lead
        found = (
            f"{lead.estimate:+.2f} $ a session ({lead.low:+.2f} to {lead.high:+.2f} at "
            f"{lead.level:.0%}) against one policy that sees the regime"
        )
        return f"routing by regime is {'better' if self.better else 'not better'}: {found}"


def compare_routing(
    routed: BacktestResult,
    single: BacktestResult,
    regimes: Sequence[str | None],
    *,
    seed: int = 0,
    level: float = 0.95,
) -> RoutingVerdict:
    """Compare two runs over the same sessions, none of which either was trained on.

    Parameters
    ----------
    routed, single
        Results of the router and of the one policy.
    regimes
        Regime of each session's decision: the session before each of ``routed.sessions``; ``[n]``.
    seed, level
        Of the bootstrap.

    Raises
    ------
    ConfigError
        The runs are of different sessions, or there is not one regime per session.
    """
    if routed.sessions != single.sessions or len(regimes) != len(routed.sessions):
        raise ConfigError(
            f"{_span(routed.sessions)} against {_span(single.sessions)}, {len(regimes)} regimes",
            hint="run both over one venue, and give the regime of each decision",
        )
    lead = bootstrap_difference(routed.daily_pnl, single.daily_pnl, seed=seed, level=level)
    difference = routed.daily_pnl - single.daily_pnl
    by_regime: dict[str, tuple[int, float]] = {}
    for regime, value in zip(regimes, difference.tolist(), strict=True):
        count, total = by_regime.get(regime or "unknown", (0, 0.0))
        by_regime[regime or "unknown"] = (count + 1, total + value)
    return RoutingVerdict(
        better=lead.above_zero,
        lead=lead,
        routed=routed.daily.net_pnl,
        single=single.daily.net_pnl,
        by_regime=by_regime,
    )


def _span(sessions: Sequence[date]) -> str:
    return f"{len(sessions)} sessions" + (f" to {sessions[-1]}" if sessions else "")
