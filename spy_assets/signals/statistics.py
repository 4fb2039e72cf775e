"""What the ledger says about the signals: counts, money, hit rate, calibration, rule pass rates.

``executed`` are signals that opened a position. ``settled`` are executed ones whose position is
closed; only they have a P&L. Hit rates come with a Wilson interval: 7 wins of 10 say little.

What trades earned at real quotes and what they earned at a model's are never pooled: money, hit rate and
calibration are told by the kind of quotes (:class:`Results`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from spy_assets.evaluation.statistics import Interval, wilson_interval
from spy_assets.sessions import require_aware
from spy_assets.signals.contract import Signal
from spy_assets.signals.risk import RULES

#: Window of the seed's ``--stats`` (S0-48), calendar days.
RECENT_DAYS: Final = 30
#: Of outcomes from before their quotes were recorded.
NOT_RECORDED: Final = "not recorded"
_BINS: Final = 10


@dataclass(frozen=True)
class PassRate:
    """How often a risk rule let an entry through: ``passed`` of ``asked``."""

    rule: str
    asked: int
    passed: int

    @property
    def rate(self) -> float | None:
        """Share passed, or ``None`` if no entry was ever proposed. 0 is a dead path."""
        return self.passed / self.asked if self.asked else None


@dataclass(frozen=True)
class Results:
    """What settled trades earned whose fills were quoted alike; dollars after costs.

    ``quotes`` is the ``quote_kind`` of their outcomes: ``surface``, ``spread_model``, ``chain`` or
    ``mixed``, or :data:`NOT_RECORDED`.
    """

    quotes: str
    settled: int
    profitable: int
    total_pnl: float
    average_pnl: float
    hit_rate: Interval
    brier: float | None
    calibration_error: float | None


@dataclass(frozen=True)
class SignalStatistics:
    """One window's numbers; what cannot be known is ``None``, without a settled trade no results."""

    window: str
    total: int
    executed: int
    average_confidence: float | None
    results: tuple[Results, ...]
    by_action: Mapping[str, int]
    hold_reasons: Mapping[str, int]
    pass_rates: tuple[PassRate, ...]
    votes: int = 0
    abstentions: int = 0

    @property
    def abstain_rate(self) -> float | None:
        """Share of the votes on an entry in which the members did not agree; ``None`` without one."""
        return self.abstentions / self.votes if self.votes else None


def signal_statistics(
    signals: Sequence[Signal],
    outcomes: Iterable[Mapping[str, Any]],
    *,
    executed_ids: Collection[str] = (),
    window: str = "all time",
) -> SignalStatistics:
    """Count one window.

    Parameters
    ----------
    signals
        The window's signals.
    outcomes
        Rows of ``ledger.outcomes``; those of other signals are left out.
    executed_ids
        Signals with a fill. Settled ones count as executed anyway.
    window
        Name of the window.
    """
    settled = {
        row["signal_id"]: row
        for row in outcomes
        if row.get("pnl") is not None and row["signal_id"] in {s.signal_id for s in signals}
    }
    executed = {s.signal_id for s in signals} & (set(executed_ids) | set(settled))
    confidences = [s.confidence for s in signals if s.confidence is not None]
    return SignalStatistics(
        window=window,
        total=len(signals),
        executed=len(executed),
        average_confidence=sum(confidences) / len(confidences) if confidences else None,
        results=_results(signals, settled),
        by_action=dict(sorted(Counter(s.action_name for s in signals).items())),
        hold_reasons=_hold_reasons(signals),
        pass_rates=rule_pass_rates(signals),
        votes=sum(s.abstained is not None for s in signals),
        abstentions=sum(s.abstained is True for s in signals),
    )


def _results(
    signals: Sequence[Signal], settled: Mapping[str, Mapping[str, Any]]
) -> tuple[Results, ...]:
    """Results of each kind of quotes, by name."""
    kinds: dict[str, list[tuple[float | None, float]]] = {}
    for signal in signals:
        row = settled.get(signal.signal_id)
        if row is not None:
            kind = row.get("quote_kind") or NOT_RECORDED
            kinds.setdefault(kind, []).append((signal.confidence, float(row["pnl"])))
    return tuple(_results_of(kind, kinds[kind]) for kind in sorted(kinds))


def _results_of(kind: str, trades: Sequence[tuple[float | None, float]]) -> Results:
    pnl = [earned for _, earned in trades]
    wins = sum(earned > 0 for earned in pnl)
    pairs = [(sure, earned > 0) for sure, earned in trades if sure is not None]
    return Results(
        quotes=kind,
        settled=len(pnl),
        profitable=wins,
        total_pnl=sum(pnl),
        average_pnl=sum(pnl) / len(pnl),
        hit_rate=wilson_interval(wins, len(pnl)),
        brier=brier_score(pairs),
        calibration_error=expected_calibration_error(pairs),
    )


def recent_and_all(
    signals: Sequence[Signal],
    outcomes: Sequence[Mapping[str, Any]],
    *,
    as_of: datetime,
    executed_ids: Collection[str] = (),
) -> tuple[SignalStatistics, SignalStatistics]:
    """Give the last 30 days up to ``as_of``, and everything up to ``as_of``."""
    instant = require_aware(as_of)
    until = [signal for signal in signals if signal.as_of <= instant]
    since = instant - timedelta(days=RECENT_DAYS)
    recent = [signal for signal in until if signal.as_of > since]
    return (
        signal_statistics(
            recent, outcomes, executed_ids=executed_ids, window=f"last {RECENT_DAYS} days"
        ),
        signal_statistics(until, outcomes, executed_ids=executed_ids),
    )


def rule_pass_rates(signals: Iterable[Signal]) -> tuple[PassRate, ...]:
    """Count, over signals whose model asked for an entry, how often each rule passed."""
    asked: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for signal in signals:
        if signal.asked_for_entry:
            for verdict in signal.risk.rules:
                asked[verdict.rule] += 1
                passed[verdict.rule] += verdict.passed
    return tuple(PassRate(rule, asked[rule], passed[rule]) for rule in RULES)


def brier_score(pairs: Sequence[tuple[float, bool]]) -> float | None:
    """Mean squared distance of confidence and outcome (Brier 1950); 0.25 is a coin's."""
    if not pairs:
        return None
    return sum((confidence - won) ** 2 for confidence, won in pairs) / len(pairs)


def expected_calibration_error(pairs: Sequence[tuple[float, bool]]) -> float | None:
    """Mean gap of confidence and hit rate over ten equal bins, weighted by count.

    This is what tells whether a policy probability may be read as a probability of profit.
    """
    if not pairs:
        return None
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, won in pairs:
        bins.setdefault(min(int(confidence * _BINS), _BINS - 1), []).append((confidence, won))
    gaps = (
        abs(sum(confidence for confidence, _ in members) - sum(won for _, won in members))
        for members in bins.values()
    )
    return sum(gaps) / len(pairs)


def _hold_reasons(signals: Iterable[Signal]) -> dict[str, int]:
    """First reason of each HOLD, cut at the colon that starts its details."""
    held = (s.reasons[0].split(":")[0] for s in signals if s.action_name == "HOLD" and s.reasons)
    return dict(sorted(Counter(held).items()))
