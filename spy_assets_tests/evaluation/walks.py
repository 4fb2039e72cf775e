"""Small walk-forwards for tests: real folds of a real training, and runs made of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from spy_assets.evaluation.splits import Fold, SessionWindows
from spy_assets.evaluation.walk_forward import NO_SEED, POLICY, ClosedTrade, WindowRun
from spy_assets.sessions import sessions_between

PLAN = SessionWindows(train=100, test=20, embargo=2)
DAYS = sessions_between(date(2015, 1, 2), date(2018, 12, 31))
STRUCTURES = ("long_call", "iron_condor", "bear_put_debit")
REASONS = ("stop_loss", "profit_target", "max_hold")
REGIMES = ("uptrend", "downtrend", None)


def made_folds(count: int, plan: SessionWindows = PLAN) -> tuple[Fold, ...]:
    return plan.folds(DAYS[: plan.train + plan.gap + count * plan.test])


def made_run(
    fold: Fold,
    returns: Sequence[float],
    *,
    strategy: str = POLICY,
    seed: int | None = None,
    selected: bool = True,
    trades: Sequence[ClosedTrade] = (),
) -> WindowRun:
    """A run whose daily returns are given; the account begins with $10,000."""
    growth = np.concatenate(([1.0], np.cumprod(1.0 + np.asarray(returns, dtype=np.float64))))
    chosen = (42 if strategy == POLICY else NO_SEED) if seed is None else seed
    return WindowRun(
        fold=fold,
        strategy=strategy,
        seed=chosen,
        selected=selected,
        sessions=tuple(DAYS[fold.test_start : fold.test_stop]),
        equity=10_000.0 * growth,
        trades=tuple(trades),
        trade_count=len(trades),
        costs=12.5,
        policy_hash="ab" * 32 if strategy == POLICY else "",
    )


def made_trade(fold: Fold, number: int, pnl: float) -> ClosedTrade:
    day = fold.test_start + number
    return ClosedTrade(
        decision_session=DAYS[day - 1],
        entry_session=DAYS[day],
        exit_session=DAYS[day + 2],
        structure=STRUCTURES[number % 3],
        exit_reason=REASONS[number % 3],
        quantity=1,
        holding_sessions=2,
        pnl=pnl,
        costs=4.0,
        regime=REGIMES[number % 3],
    )


def made_walk(
    folds: int = 4, seeds: Sequence[int] = (42, 84, 126), drift: float = 0.0005
) -> list[WindowRun]:
    """A policy of several seeds beside three baselines; the numbers are drawn once."""
    generator = np.random.default_rng(7)
    runs = []
    for fold in made_folds(folds):
        market = generator.normal(0.0004, 0.008, fold.test_sessions)
        for k, seed in enumerate(seeds):
            own = 0.4 * market + generator.normal(drift, 0.004, fold.test_sessions)
            pnl = generator.normal(5.0, 40.0, 6)
            trades = [made_trade(fold, n, float(one)) for n, one in enumerate(pnl)]
            chosen = k == fold.number % len(seeds)
            runs.append(made_run(fold, own, seed=seed, selected=chosen, trades=trades))
        still = np.zeros(fold.test_sessions)
        runs.append(made_run(fold, still, strategy="cash"))
        runs.append(made_run(fold, market, strategy="buy_and_hold"))
        runs.append(made_run(fold, market - 0.002, strategy="always_long_call"))
    return runs
