"""Each condition of the evidence, on runs made to pass all of them but one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spy_assets.evaluation.backtest import BacktestResult
from spy_assets.evaluation.evidence import Evidence, conditions, gather_evidence
from spy_assets.evaluation.gate import promotion_gate
from spy_assets.evaluation.seed_spread import seed_spread
from spy_assets.evaluation.selection_bias import deflated_sharpe, superior_ability
from spy_assets_tests.evaluation.runs import CASH, SESSIONS, result

GOOD = result(8.0)


def failed(evidence: Evidence, level: float = 0.95) -> list[str]:
    return [text for passed, text in conditions(evidence, level=level) if not passed]


def others(count: int, mean: float, spread: float = 10.0) -> dict[str, BacktestResult]:
    return {str(k): result(mean, spread=spread, seed=100 + k) for k in range(count)}


def test_a_strong_run_has_nothing_against_it() -> None:
    evidence = gather_evidence(GOOD, CASH)
    assert failed(evidence) == []
    assert (evidence.trials, evidence.candidates, evidence.overfitting) == (1, 1, None)
    assert evidence.probabilistic_sharpe == evidence.deflated_sharpe
    assert evidence.sessions_needed is not None
    assert evidence.sessions_needed < evidence.sessions


def test_many_trials_deflate_it() -> None:
    evidence = gather_evidence(result(3.5), CASH, trials=200)
    (text,) = failed(evidence)
    assert text.startswith("deflated Sharpe probability 0.")
    assert "among 200 trials" in text


def test_runs_beside_it_are_trials_that_happened() -> None:
    evidence = gather_evidence(GOOD, CASH, trials=3, candidates=others(7, 0.0))
    assert (evidence.trials, evidence.candidates) == (8, 8)
    assert evidence.sharpe_variance is None  # of eight runs it says too little


def test_a_wider_spread_of_ten_trials_is_the_one_that_deflates() -> None:
    far = others(6, -20.0) | {f"b{k}": result(7.0) for k in range(6)}
    ratios = [run.daily_pnl.mean() / run.daily_pnl.std() for run in (GOOD, *far.values())]
    evidence = gather_evidence(GOOD, CASH, trials=50, candidates=far)
    assert evidence.sharpe_variance == pytest.approx(np.var(ratios, ddof=1), rel=0.1)
    assert evidence.deflated_sharpe == deflated_sharpe(
        GOOD.returns, trials=50, sharpe_variance=evidence.sharpe_variance
    )
    assert evidence.deflated_sharpe is not None
    assert evidence.deflated_sharpe < 0.5


def test_near_copies_beside_it_do_not_undo_the_other_trials() -> None:
    """The best of 50 noise strategies and 19 fine-tunings of it: 69 were tried, not one."""
    noise = np.random.default_rng(0).normal(0, 10, (50, len(SESSIONS)))
    best = result(float(noise.mean(axis=1).max()))
    copies = {
        f"copy {k}": replace(best, equity=best.equity + np.append(0.0, step.cumsum()))
        for k, step in enumerate(np.random.default_rng(1).normal(0, 0.2, (19, len(SESSIONS))))
    }
    alone, beside = (
        gather_evidence(best, CASH, trials=69, candidates=given) for given in ({}, copies)
    )
    assert alone.probabilistic_sharpe is not None
    assert alone.probabilistic_sharpe > 0.95
    assert beside.deflated_sharpe == alone.deflated_sharpe
    assert any(text.startswith("deflated Sharpe") for text in failed(beside))


def test_a_better_baseline_is_named_however_many_trials_there_are() -> None:
    rivals = CASH | {"always_long_call": result(30.0, seed=3)}
    for trials in (1, 10_000):
        evidence = gather_evidence(GOOD, rivals, trials=trials)
        assert any("always_long_call comes nearest" in text for text in failed(evidence))
    verdict = promotion_gate(GOOD, None, rivals, bootstrap=False, trials=10_000)
    assert not verdict.accepted


def test_baselines_that_are_no_better_do_not_add_up_to_one() -> None:
    rivals = CASH | {f"always_{k}": result(8.0, seed=50 + k) for k in range(12)}
    assert failed(gather_evidence(GOOD, rivals)) == []


def test_each_baseline_has_the_p_value_of_being_unbeaten() -> None:
    rivals = CASH | {"weak": result(-9.0, seed=3), "strong": result(7.0, seed=4), "same": GOOD}
    found = gather_evidence(GOOD, rivals).p_against
    weak, strong = found["weak"], found["strong"]
    assert weak is not None
    assert strong is not None
    assert weak < 0.01 < 0.1 < strong
    assert found["same"] is None  # nothing differs
    assert found["cash"] == superior_ability(np.zeros(60), GOOD.daily_pnl, seed=0).consistent  # type: ignore[union-attr]


def test_the_best_of_a_noisy_crowd_is_not_superior() -> None:
    best = result(2.6)
    evidence = gather_evidence(best, CASH, candidates=others(19, 0.0))
    assert any(text.startswith("best of 20 candidates against cash: SPA p 0.") for text in
               failed(evidence))  # fmt: skip


def crowd(seed: int, edge: float) -> tuple[BacktestResult, dict[str, BacktestResult]]:
    """Twelve runs around a common edge; the challenger is the best of them."""
    found = [result(m, seed=200 + k) for k, m in
             enumerate(np.random.default_rng(seed).normal(edge, 1.3, 12))]  # fmt: skip
    best = max(found, key=lambda run: run.daily.net_pnl)
    return best, {str(k): run for k, run in enumerate(found) if run is not best}


def test_choosing_among_noise_is_overfitting_more_often_than_not_caught() -> None:
    caught = 0
    for seed in range(12):
        best, rest = crowd(seed, 0.0)
        texts = failed(gather_evidence(best, CASH, candidates=rest))
        caught += any(text.startswith("probability of overfitting") for text in texts)
    assert caught >= 5


def test_a_crowd_of_equally_good_candidates_is_no_overfitting() -> None:
    """Their ranks are chance, so that PBO is about one half, but whichever is chosen earns."""
    for seed in range(4):
        best, rest = crowd(seed, 12.0)
        evidence = gather_evidence(best, CASH, candidates=rest)
        assert evidence.overfitting is not None
        assert not any("overfitting" in text for text in failed(evidence))


@pytest.mark.parametrize(
    ("scores", "passes"), [([90, 80, 70, -20], True), ([900, -1, -5, -9], False)]
)
def test_one_lucky_seed_is_not_enough(scores: list[float], passes: bool) -> None:
    spread = seed_spread(np.array(scores, dtype=float)[:, None], seed=0)
    texts = failed(gather_evidence(GOOD, CASH, spread=spread))
    assert (texts == []) == passes
    if not passes:
        assert texts[0].startswith("middle of 4 seeds $-3.00 [")


def test_blocks_hold_ten_sessions_at_least() -> None:
    """60 sessions: six blocks, 20 halvings. Below 40 there is nothing to halve."""
    runs = others(3, 1.0)
    evidence = gather_evidence(GOOD, CASH, candidates=runs)
    assert evidence.overfitting is not None
    assert len(evidence.overfitting.logits) == 20
    short = {
        name: replace(run, sessions=run.sessions[:39], equity=run.equity[:40])
        for name, run in (runs | CASH | {"good": GOOD}).items()
    }
    found = gather_evidence(short.pop("good"), {"cash": short.pop("cash")}, candidates=short)
    assert found.overfitting is None
