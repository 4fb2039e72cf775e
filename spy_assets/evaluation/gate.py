"""The promotion gate: what a challenger must show out of sample before its signals count.

Accepted by ``gate`` if, on the validation window, all of these hold:

1. it traded at least ``min_trades`` times;
2. the interval of its mean daily net P&L lies above zero, i.e. above cash;
3. against the incumbent champion the interval of the daily difference lies above zero;
4. no baseline is significantly better: no interval of the difference lies below zero;
5. the evidence of :mod:`spy_assets.evaluation.evidence` is on its side: the deflated Sharpe ratio, no
   better baseline among all of them, and, where other candidates or seeds were run, that their best is
   superior to cash, that choosing among them is no overfitting, and that the middle seed earns.

The level of the intervals is divided among the ``trials`` whose windows overlap (Bonferroni), because
the best of many noise policies looks good on any window; they are those of
:func:`~spy_assets.evaluation.statistics.guarded_means`, which hold at such levels. That makes 4 easier
as trials grow; the test of all baselines together in 5 does not depend on them.

While the seat is vacant, because there is no champion or for a reason that the caller gives (it is
unproven and too old to speak, or of another mandate; it cannot be run), a challenger that is not
significantly worse than cash, nor than the old champion, may be seated for paper signals
(``bootstrap``); each of its signals then says that it is unproven, and against what.
Everything else is ``refused``. "The newest" never wins by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import BacktestResult
from spy_assets.evaluation.decision_bands import Band, DecisionBand, decision_band
from spy_assets.evaluation.evidence import Condition, Evidence, conditions, gather_evidence
from spy_assets.evaluation.seed_spread import SeedSpread
from spy_assets.evaluation.statistics import Interval, bootstrap_mean, guarded_means

GateBasis = Literal["gate", "bootstrap", "refused"]

POLICY: Final = "policy"
CHAMPION: Final = "champion"
CASH: Final = "cash"


@dataclass(frozen=True)
class GateRow:
    """One strategy on the window: its own mean daily P&L, and the challenger's lead over it.

    Dollars a session. ``difference`` is ``None`` in the challenger's own row.
    """

    strategy: str
    trades: int
    net_pnl: float
    mean_daily: Interval
    difference: Interval | None


@dataclass(frozen=True)
class GateVerdict:
    """The gate's answer with all that it looked at.

    ``reasons`` names each condition with its numbers; ``unbeaten`` the baselines that the
    challenger was not shown to beat. ``band`` is the first week's rule on the win rate (S1-45 to
    S1-47), for information.
    """

    accepted: bool
    basis: GateBasis
    reasons: tuple[str, ...]
    unbeaten: tuple[str, ...]
    table: tuple[GateRow, ...]
    trials: int
    level: float
    evidence: Evidence
    band: DecisionBand | None

    @property
    def deflated_sharpe(self) -> float | None:
        """Probability of a true Sharpe ratio above the best of as many noise strategies."""
        return self.evidence.deflated_sharpe

    @property
    def seed_band(self) -> Band | None:
        """Name of the band, without its interval."""
        return None if self.band is None else self.band.band

    @property
    def reason(self) -> str:
        """All reasons in one line, for ``models.promotions.reason``."""
        return "; ".join(self.reasons)

    @property
    def notice(self) -> str | None:
        """The label that every signal of a bootstrap champion carries, else ``None``."""
        return self.reasons[0] if self.basis == "bootstrap" else None

    @property
    def metrics(self) -> dict[str, Any]:
        """The numbers for ``models.promotions.metrics``, ready for JSON."""
        return {
            "trials": self.trials,
            "level": self.level,
            **self.evidence.metrics,
            "seed_band": self.seed_band,
            "band": None if self.band is None else asdict(self.band),
            "unbeaten": list(self.unbeaten),
            "table": [_row_metrics(row) for row in self.table],
        }


def promotion_gate(
    challenger: BacktestResult,
    champion: BacktestResult | None,
    baselines: Mapping[str, BacktestResult],
    *,
    bootstrap: bool,
    vacancy: str | None = None,
    min_trades: int = 10,
    level: float = 0.95,
    trials: int = 1,
    candidates: Mapping[str, BacktestResult] | None = None,
    spread: SeedSpread | None = None,
    seed_note: str | None = None,
    seed: int = 0,
) -> GateVerdict:
    """Decide on a challenger; all results must be of the same sessions.

    Parameters
    ----------
    challenger
        The candidate's run over the validation window, which it was not trained or chosen on.
    champion
        The incumbent's run, or ``None`` if there is none.
    baselines
        Name to run; see :func:`spy_assets.evaluation.baselines.run_baselines`.
    bootstrap
        Whether an unproven model may take a vacant seat, for paper signals.
    vacancy
        Why the seat of an incumbent is vacant, in words that a reason quotes: that it is too old to
        speak, of another mandate, or cannot be run, and so has no ``champion``. ``None``: the seat is
        vacant only if there is no ``champion``, because there never was one.
    min_trades, level, trials, seed
        Least trades; level of the two-sided intervals before it is divided; number of candidates
        judged on overlapping windows, this one included; seed of the bootstrap.
    candidates
        Name to run of the others that were tried, where they were run over the same sessions.
    spread
        Net P&L of the seeds that the challenger was chosen from.
    seed_note
        Why there is no ``spread``; a reason, not a condition.

    Raises
    ------
    ConfigError
        If ``trials`` is below one or a run covers other sessions than the challenger's.
    """
    if trials < 1:
        raise ConfigError(f"trials={trials}", hint="count the challenger itself: at least 1")
    rivals = dict(baselines) | ({CHAMPION: champion} if champion is not None else {})
    _require_same_sessions(challenger, rivals | dict(candidates or {}))
    evidence = gather_evidence(
        challenger,
        baselines,
        trials=trials,
        candidates=candidates,
        spread=spread,
        seed_note=seed_note,
        level=level,
        seed=seed,
    )
    trials = evidence.trials
    corrected = 1 - (1 - level) / trials
    table = _table(challenger, rivals, corrected, seed)
    own, others = table[0], table[1:]
    asked = [*_conditions(own, others, min_trades), *conditions(evidence, level=level)]
    if champion is None and vacancy is not None:
        asked.append((True, f"not compared with the champion: {vacancy}"))
    unbeaten = tuple(row.strategy for row in others if not _difference(row).above_zero)
    if not own.mean_daily.above_zero and CASH not in unbeaten:
        unbeaten = (CASH, *unbeaten)
    failed = tuple(text for passed, text in asked if not passed)
    free = champion is None or vacancy is not None
    refusals = None if not free else _unseatable(own, others, bootstrap)
    who = vacancy or "first model"
    accepted, basis, reasons = _decide(failed, tuple(text for _, text in asked), refusals, who)
    if basis == "bootstrap":
        reasons = (f"bootstrap: not shown to beat {', '.join(unbeaten)}", *reasons)
    return GateVerdict(
        accepted=accepted,
        basis=basis,
        reasons=reasons,
        unbeaten=unbeaten,
        table=table,
        trials=trials,
        level=corrected,
        evidence=evidence,
        band=band_of(challenger),
    )


def band_of(result: BacktestResult) -> DecisionBand | None:
    """Place a run in the first week's bands; ``None`` without trades."""
    wins = sum(trade.pnl > 0 for trade in result.trades)
    return decision_band(wins, len(result.trades), result.daily.net_pnl)


def evaluation_rows(
    results: Sequence[BacktestResult], *, level: float = 0.95, seed: int = 0
) -> list[dict[str, Any]]:
    """Give the rows of ``models.evaluations`` without model and version, one per strategy."""
    rows = []
    for result in results:
        interval = bootstrap_mean(result.daily_pnl, seed=seed, level=level)
        daily, trades = result.daily, result.trade_statistics
        rows.append(
            {
                "window_start": result.sessions[0],
                "window_end": result.sessions[-1],
                "strategy": result.name,
                "net_pnl": daily.net_pnl,
                "mean_daily": interval.estimate,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "sharpe": daily.sharpe,
                "trades": result.trade_count,
                "win_rate": trades.win_rate,
                "max_drawdown": daily.max_drawdown,
                "costs": result.costs,
            }
        )
    return rows


def _table(
    challenger: BacktestResult, rivals: Mapping[str, BacktestResult], level: float, seed: int
) -> tuple[GateRow, ...]:
    runs = {POLICY: challenger} | dict(rivals)
    daily = [run.daily_pnl for run in runs.values()]
    leads = [daily[0] - pnl for pnl in daily[1:]]
    found = guarded_means([*daily, *leads], seed=seed, level=level)
    means, differences = found[: len(daily)], [None, *found[len(daily) :]]
    return tuple(
        GateRow(name, run.trade_count, run.daily.net_pnl, mean, difference)
        for (name, run), mean, difference in zip(runs.items(), means, differences, strict=True)
    )


def _conditions(own: GateRow, others: Sequence[GateRow], min_trades: int) -> list[Condition]:
    asked = [
        (own.trades >= min_trades, f"{own.trades} trades, least {min_trades}"),
        (own.mean_daily.above_zero, f"mean daily P&L {_words(own.mean_daily)} against cash"),
    ]
    for row in others:
        lead = _difference(row)
        if row.strategy == CHAMPION:
            asked.append((lead.above_zero, f"lead over the champion {_words(lead)}"))
        else:
            asked.append((not lead.below_zero, f"lead over {row.strategy} {_words(lead)}"))
    return asked


def _unseatable(own: GateRow, others: Sequence[GateRow], bootstrap: bool) -> tuple[str, ...]:
    """What keeps a challenger without proof off a vacant seat; empty if nothing does."""
    lost = [] if bootstrap else ["promotion.bootstrap is off"]
    if own.mean_daily.below_zero:
        lost.append(f"significantly worse than cash: {_words(own.mean_daily)}")
    for row in others:
        if row.strategy == CHAMPION and _difference(row).below_zero:
            lost.append(f"significantly worse than the champion: {_words(_difference(row))}")
    return tuple(lost)


def _decide(
    failed: Sequence[str],
    all_reasons: tuple[str, ...],
    refusals: tuple[str, ...] | None,
    who: str,
) -> tuple[bool, GateBasis, tuple[str, ...]]:
    """Decide by what failed; ``refusals`` are None where the seat is taken, ``who`` why it is not."""
    if not failed:
        return True, "gate", all_reasons
    why = tuple(f"not shown: {text}" for text in failed)
    if refusals is None:
        return False, "refused", why
    if refusals:
        return False, "refused", (*why, *refusals)
    return True, "bootstrap", (f"{who}, seated for paper signals only", *why)


def _difference(row: GateRow) -> Interval:
    if row.difference is None:
        raise ConfigError(f"row {row.strategy!r} has no difference", hint="compare rivals only")
    return row.difference


def _words(interval: Interval) -> str:
    bounds = f"[{interval.low:.2f}, {interval.high:.2f}]"
    return f"${interval.estimate:.2f} {bounds} at {interval.level:.1%}"


def _row_metrics(row: GateRow) -> dict[str, Any]:
    difference = row.difference
    return {
        "strategy": row.strategy,
        "trades": row.trades,
        "net_pnl": row.net_pnl,
        "mean_daily": row.mean_daily.estimate,
        "ci": [row.mean_daily.low, row.mean_daily.high],
        "lead": None if difference is None else difference.estimate,
        "lead_ci": None if difference is None else [difference.low, difference.high],
    }


def _require_same_sessions(
    challenger: BacktestResult, rivals: Mapping[str, BacktestResult]
) -> None:
    for name, run in rivals.items():
        if run.sessions != challenger.sessions or not np.isclose(
            run.equity[0], challenger.equity[0]
        ):
            raise ConfigError(
                f"{name} covers {len(run.sessions)} sessions from ${run.equity[0]:.2f}, the "
                f"challenger {len(challenger.sessions)} from ${challenger.equity[0]:.2f}",
                hint="run all strategies over one market path with one capital",
            )
