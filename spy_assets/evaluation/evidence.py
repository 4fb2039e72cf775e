"""What speaks against a challenger's result being luck or search, gathered for the promotion gate.

    deflated Sharpe    above the best that so many trials without skill would show
    superior ability   the best of the candidates beats cash, knowing how many there are
    better baseline    no baseline beats the challenger, knowing how many there are
    overfitting        choosing among the candidates by half of the window holds in the other half
    seeds              the middle of the seeds earns, not only the one that was chosen

The last two need runs of other candidates or seeds over the same sessions; without them nothing is
asked, and nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from spy_assets.evaluation.backtest import BacktestResult
from spy_assets.evaluation.seed_spread import SeedSpread
from spy_assets.evaluation.selection_bias import (
    DEFAULT_BLOCKS,
    Overfitting,
    SuperiorAbility,
    deflated_sharpe,
    deflating_variance,
    minimum_track_record,
    probabilistic_sharpe,
    probability_of_overfitting,
    resample_counts,
    superior_ability,
)
from spy_assets.evaluation.statistics import Floats

Condition = tuple[bool, str]

#: Fewer sessions a block would cut trades apart: the daily policy holds five.
_BLOCK_SESSIONS: Final = 10
#: Fewer sessions have no bootstrap test.
LEAST_SESSIONS: Final = 3
#: Fewer runs say too little about how much trials differ.
LEAST_CANDIDATES: Final = 10
#: A choice that is worse than this out of sample is no better than a coin.
MAX_OVERFITTING: Final = 0.50
#: Unless the chosen one hardly ever loses: among equally good candidates every rank is chance.
HARMLESS_LOSS: Final = 0.05


@dataclass(frozen=True)
class Evidence:
    """All numbers; ``None`` where they cannot be had, for want of candidates or of variation.

    Attributes
    ----------
    trials, candidates
        How many were tried in all, and how many runs of them are here, the challenger included.
    sharpe_variance
        Variance of the Sharpe ratios per session that deflates, if there are ten candidates or more:
        theirs, but never less than that of the challenger's own estimate, because near copies of one
        strategy would else undo all other trials. With fewer, it is the challenger's own alone.
    probabilistic_sharpe, deflated_sharpe
        Probability of a true ratio above zero, and above the best of ``trials`` noise strategies.
    sessions, sessions_needed
        Of the window, and after how many the first would reach the gate's level.
    superior
        Against cash, of all candidates.
    p_against
        Baseline to the p-value of "no candidate beats it".
    better_baseline, best_baseline
        Of all baselines against the challenger, and which of them comes nearest.
    overfitting
        Of the choice among the candidates.
    spread
        Over seeds, if they were given.
    seed_note
        Why seeds were not, where that is known.
    """

    trials: int
    candidates: int
    sharpe_variance: float | None
    probabilistic_sharpe: float | None
    deflated_sharpe: float | None
    sessions: int
    sessions_needed: int | None
    superior: SuperiorAbility | None
    p_against: Mapping[str, float | None]
    better_baseline: SuperiorAbility | None
    best_baseline: str | None
    overfitting: Overfitting | None
    spread: SeedSpread | None
    seed_note: str | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        overfitting, spread = self.overfitting, self.spread
        return {
            "candidates": self.candidates,
            "sharpe_variance": self.sharpe_variance,
            "probabilistic_sharpe": self.probabilistic_sharpe,
            "deflated_sharpe": self.deflated_sharpe,
            "sessions": self.sessions,
            "sessions_needed": self.sessions_needed,
            "spa_p": _p_value(self.superior),
            "spa_p_against": dict(self.p_against),
            "better_baseline": self.best_baseline,
            "better_baseline_p": _p_value(self.better_baseline),
            "pbo": None if overfitting is None else overfitting.probability,
            "pbo_loss": None if overfitting is None else overfitting.probability_of_loss,
            "seeds": None if spread is None else spread.seeds,
            "seed_iqm": None if spread is None else spread.iqm.estimate,
            "seed_iqm_ci": None if spread is None else [spread.iqm.low, spread.iqm.high],
            "seed_positive": None if spread is None else spread.positive,
            "seed_note": self.seed_note,
        }


def gather_evidence(
    challenger: BacktestResult,
    baselines: Mapping[str, BacktestResult],
    *,
    trials: int = 1,
    candidates: Mapping[str, BacktestResult] | None = None,
    spread: SeedSpread | None = None,
    seed_note: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Evidence:
    """Compute everything that can be computed from these runs.

    Parameters
    ----------
    challenger
        The candidate that was chosen.
    baselines, candidates
        Name to run; ``candidates`` are the others that were tried. All of the challenger's sessions.
    trials
        How many were tried, run here or not.
    spread
        Net P&L of the seeds that the challenger was chosen from.
    seed_note
        Why there is no ``spread``.
    level, seed
        Probability asked for, and the bootstrap's seed.
    """
    runs = [challenger, *(candidates or {}).values()]
    pnl = np.column_stack([run.daily_pnl for run in runs])
    returns = challenger.returns
    enough = len(runs) >= LEAST_CANDIDATES
    variance = deflating_variance(returns, [run.returns for run in runs]) if enough else None
    rivals = {name: run.daily_pnl for name, run in baselines.items()}
    counts = resample_counts(len(pnl), seed=seed) if len(pnl) >= LEAST_SESSIONS else None

    def beats(benchmark: Floats, tested: Floats) -> SuperiorAbility | None:
        if counts is None or not tested.size:
            return None
        return superior_ability(benchmark, tested, seed=seed, counts=counts)

    better = beats(pnl[:, 0], np.column_stack([*rivals.values()]) if rivals else np.zeros(0))
    return Evidence(
        trials=max(trials, len(runs)),
        candidates=len(runs),
        sharpe_variance=variance,
        probabilistic_sharpe=probabilistic_sharpe(returns),
        deflated_sharpe=deflated_sharpe(
            returns, trials=max(trials, len(runs)), sharpe_variance=variance
        ),
        sessions=len(returns),
        sessions_needed=minimum_track_record(returns, level=level),
        superior=beats(np.zeros(len(pnl)), pnl),
        p_against={name: _p_value(beats(rival, pnl)) for name, rival in rivals.items()},
        better_baseline=better,
        best_baseline=None if better is None else list(baselines)[better.best],
        overfitting=_overfitting(pnl),
        spread=spread,
        seed_note=seed_note,
    )


def conditions(evidence: Evidence, *, level: float) -> list[Condition]:
    """What the gate asks of the evidence: passed or not, and why, in numbers."""
    asked = [_deflated(evidence, level), _no_better_baseline(evidence, level)]
    if evidence.candidates > 1:
        asked.append(_superior(evidence, level))
    if evidence.overfitting is not None:
        asked.append(_not_overfitted(evidence, evidence.overfitting))
    if evidence.spread is not None:
        asked.append(_seeds_earn(evidence.spread))
    elif evidence.seed_note is not None:
        asked.append((True, f"seeds not judged: {evidence.seed_note}"))
    return asked


def _deflated(evidence: Evidence, level: float) -> Condition:
    deflated, alone = evidence.deflated_sharpe, evidence.probabilistic_sharpe
    if deflated is None or alone is None:
        return False, "no Sharpe ratio: daily returns do not vary"
    needed = evidence.sessions_needed
    record = "no record would do" if needed is None else f"needs {needed:,} sessions"
    return deflated >= level, (
        f"deflated Sharpe probability {deflated:.3f} among {evidence.trials} trials, least {level:.3f} "
        f"(alone {alone:.3f}, {record}, has {evidence.sessions})"
    )


def _no_better_baseline(evidence: Evidence, level: float) -> Condition:
    better = evidence.better_baseline
    if better is None:
        return True, "no baseline to be better"
    return better.consistent > 1 - level, (
        f"no baseline better: {evidence.best_baseline} comes nearest, SPA p "
        f"{better.consistent:.3f}, over {1 - level:.3f}"
    )


def _superior(evidence: Evidence, level: float) -> Condition:
    superior = evidence.superior
    if superior is None:
        return False, "no candidate ever differs from cash"
    return superior.consistent <= 1 - level, (
        f"best of {evidence.candidates} candidates against cash: SPA p {superior.consistent:.3f}, "
        f"most {1 - level:.3f}"
    )


def _not_overfitted(evidence: Evidence, found: Overfitting) -> Condition:
    loses = found.probability_of_loss
    return found.probability <= MAX_OVERFITTING or loses <= HARMLESS_LOSS, (
        f"probability of overfitting {found.probability:.2f} among {evidence.candidates} candidates, "
        f"most {MAX_OVERFITTING:.2f}, the chosen one loses out of sample in {loses:.0%} of "
        f"{len(found.logits):,} halvings"
    )


def _seeds_earn(spread: SeedSpread) -> Condition:
    iqm = spread.iqm
    return iqm.estimate > 0, (
        f"middle of {spread.seeds} seeds ${iqm.estimate:,.2f} [{iqm.low:,.2f}, {iqm.high:,.2f}] at "
        f"{iqm.level:.0%}, {spread.positive:.0%} of the runs earned"
    )


def _overfitting(pnl: np.ndarray) -> Overfitting | None:
    """PBO in blocks of at least ten sessions; ``None`` without candidates or for a short window."""
    blocks = min(DEFAULT_BLOCKS, len(pnl) // _BLOCK_SESSIONS // 2 * 2)
    if pnl.shape[1] < 2 or blocks < 4:
        return None
    return probability_of_overfitting(pnl, blocks=blocks)


def _p_value(found: SuperiorAbility | None) -> float | None:
    return None if found is None else found.consistent
