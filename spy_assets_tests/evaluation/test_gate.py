from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import Venue, run_policy
from spy_assets.evaluation.baselines import run_baselines
from spy_assets.evaluation.gate import GateVerdict, evaluation_rows, promotion_gate
from spy_assets.evaluation.seed_spread import seed_spread
from spy_assets_tests.evaluation.markets import random_walk
from spy_assets_tests.evaluation.policies import random_policy
from spy_assets_tests.evaluation.runs import CASH, SESSIONS, TRADED, result


def test_a_real_edge_is_accepted_by_the_gate() -> None:
    verdict = promotion_gate(result(20.0), None, CASH, bootstrap=False)
    assert (verdict.accepted, verdict.basis) == (True, "gate")
    assert verdict.notice is None
    assert verdict.unbeaten == ()


def test_a_first_model_without_proof_is_seated_and_says_so() -> None:
    verdict = promotion_gate(result(0.5), None, CASH, bootstrap=True)
    assert (verdict.accepted, verdict.basis) == (True, "bootstrap")
    assert verdict.notice == "bootstrap: not shown to beat cash"
    assert "paper" in verdict.reason


def test_without_the_setting_a_first_model_needs_proof() -> None:
    verdict = promotion_gate(result(0.5), None, CASH, bootstrap=False)
    assert (verdict.accepted, verdict.basis) == (False, "refused")


def test_a_model_that_loses_significantly_is_never_seated() -> None:
    verdict = promotion_gate(result(-20.0), None, CASH, bootstrap=True)
    assert (verdict.accepted, verdict.basis) == (False, "refused")
    assert "worse than cash" in verdict.reason


def test_bootstrap_is_only_for_the_very_first_model() -> None:
    verdict = promotion_gate(result(0.5), result(-1.0, seed=9), CASH, bootstrap=True)
    assert (verdict.accepted, verdict.basis) == (False, "refused")


OLD = "the unproven champion is too old to speak"


def vacancy(
    mean: float, champion: float | None, *, bootstrap: bool = True, why: str = OLD
) -> GateVerdict:
    """The seat of a champion that cannot speak any more."""
    rival = None if champion is None else result(champion, seed=0)
    return promotion_gate(result(mean), rival, CASH, bootstrap=bootstrap, vacancy=why)


def test_the_seat_of_a_silent_champion_may_be_taken_unproven() -> None:
    verdict = vacancy(0.5, 0.4)
    assert (verdict.accepted, verdict.basis) == (True, "bootstrap")
    assert verdict.notice == "bootstrap: not shown to beat cash"
    assert f"{OLD}, seated for paper signals only" in verdict.reason


def test_a_seat_says_why_it_is_vacant() -> None:
    why = "the unproven champion is of another mandate, daily_7/1"
    assert f"{why}, seated for paper signals only" in vacancy(0.5, 0.4, why=why).reason


def test_a_champion_that_cannot_be_run_is_compared_with_nobody() -> None:
    why = "the champion cannot be run: no such map"
    seated, proven = vacancy(0.5, None, why=why), vacancy(20.0, None, why=why)
    assert (seated.basis, proven.basis) == ("bootstrap", "gate")
    assert f"{why}, seated for paper signals only" in seated.reason
    assert "first model" not in seated.reason
    assert f"not compared with the champion: {why}" in proven.reasons


@pytest.mark.parametrize(
    ("mean", "champion", "bootstrap", "why"),
    [
        (0.5, 15.0, True, "significantly worse than the champion"),
        (-20.0, -30.0, True, "significantly worse than cash"),
        (0.5, 0.4, False, "promotion.bootstrap is off"),
    ],
)
def test_but_not_by_a_worse_one(mean: float, champion: float, bootstrap: bool, why: str) -> None:
    verdict = vacancy(mean, champion, bootstrap=bootstrap)
    assert (verdict.accepted, verdict.basis) == (False, "refused")
    assert why in verdict.reason


def test_the_challenger_must_beat_the_champion() -> None:
    challenger, champion = result(20.0), result(20.5, seed=4)
    verdict = promotion_gate(challenger, champion, CASH, bootstrap=True)
    assert not verdict.accepted
    assert "lead over the champion" in verdict.reason


def test_a_much_better_baseline_stops_promotion() -> None:
    rivals = CASH | {"buy_and_hold": result(80.0, seed=3, name="buy_and_hold")}
    verdict = promotion_gate(result(20.0), None, rivals, bootstrap=False)
    assert not verdict.accepted
    assert "lead over buy_and_hold" in verdict.reason


def test_too_few_trades_prove_nothing() -> None:
    few = replace(result(20.0), trades=TRADED[:3])
    verdict = promotion_gate(few, None, CASH, bootstrap=False)
    assert not verdict.accepted
    assert "3 trades, least 10" in verdict.reason


def test_more_trials_ask_for_more() -> None:
    once = promotion_gate(result(4.5), None, CASH, bootstrap=False)
    often = promotion_gate(result(4.5), None, CASH, bootstrap=False, trials=50)
    assert (once.accepted, often.accepted) == (True, False)
    assert often.level == pytest.approx(1 - 0.05 / 50)


def test_runs_of_other_sessions_are_refused() -> None:
    other = replace(result(1.0), sessions=SESSIONS[1:], equity=np.full(60, 10_000.0))
    with pytest.raises(ConfigError, match="59 sessions"):
        promotion_gate(result(1.0), None, {"other": other}, bootstrap=False)


def test_no_trials_are_refused() -> None:
    with pytest.raises(ConfigError, match="trials=0"):
        promotion_gate(result(1.0), None, CASH, bootstrap=False, trials=0)


def test_metrics_are_json_and_rows_are_evaluations() -> None:
    verdict = promotion_gate(result(20.0), None, CASH, bootstrap=False)
    assert json.loads(json.dumps(verdict.metrics))["table"][1]["strategy"] == "cash"
    rows = evaluation_rows([result(20.0), *CASH.values()])
    assert [row["strategy"] for row in rows] == ["policy", "cash"]
    assert rows[0]["ci_low"] < rows[0]["mean_daily"] < rows[0]["ci_high"]


def test_the_verdict_has_all_evidence_ready_for_json() -> None:
    others = {str(k): result(2.0, seed=k + 9) for k in range(11)}
    spread = seed_spread([[120.0], [40.0], [90.0]], seed=0)
    verdict = promotion_gate(
        result(20.0), None, CASH, bootstrap=False, candidates=others, spread=spread
    )
    metrics = json.loads(json.dumps(verdict.metrics, allow_nan=False))
    assert (metrics["candidates"], metrics["trials"], verdict.trials) == (12, 12, 12)
    known = {
        "pbo",
        "spa_p",
        "deflated_sharpe",
        "probabilistic_sharpe",
        "seed_iqm",
        "better_baseline_p",
    }
    assert all(metrics[name] is not None for name in known)
    assert metrics["band"]["possible"]
    assert metrics["seed_band"] == metrics["band"]["band"]


def test_every_reason_has_its_numbers() -> None:
    others = {str(k): result(2.0, seed=k + 9) for k in range(3)}
    spread = seed_spread([[120.0], [40.0]], seed=0)
    for mean in (20.0, -20.0):
        verdict = promotion_gate(
            result(mean), None, CASH, bootstrap=False, candidates=others, spread=spread
        )
        stated = [text for text in verdict.reasons if "promotion.bootstrap" not in text]
        assert len(stated) >= 3
        assert all(any(letter.isdigit() for letter in text) for text in stated)
        assert tuple(verdict.reason.split("; ")) == verdict.reasons  # as promotions shows them


def test_a_run_that_never_moves_has_no_evidence_and_is_refused() -> None:
    verdict = promotion_gate(CASH["cash"], None, CASH, bootstrap=False)
    assert not verdict.accepted
    assert "daily returns do not vary" in verdict.reason


@pytest.mark.parametrize(
    ("wins", "losses", "band"),
    [(7, 3, "CONTINUE"), (6, 4, "REFINE"), (4, 6, "MAJOR"), (0, 0, None)],
)
def test_the_seeds_own_bands(wins: int, losses: int, band: str | None) -> None:
    trades = tuple(replace(TRADED[0], pnl=1.0) for _ in range(wins))
    trades += tuple(replace(TRADED[0], pnl=-1.0) for _ in range(losses))
    verdict = promotion_gate(
        replace(result(1.0), trades=trades), None, CASH, bootstrap=True, min_trades=0
    )
    assert verdict.seed_band == band


def test_no_noise_policy_on_a_random_walk_passes_the_gate() -> None:
    """A dozen quick ones; the hundred that were trained are in test_noise_market.py."""
    accepted = []
    for market in range(3):
        venue = Venue(random_walk(100 + market))
        for number in range(4):
            challenger = run_policy(venue, random_policy(np.random.default_rng(number)))
            rivals = run_baselines(venue, challenger, seeds=(0, 1))
            verdict = promotion_gate(challenger, None, rivals, bootstrap=True, trials=4)
            accepted.append(verdict.basis)
    assert len(accepted) == 12
    assert "gate" not in accepted
