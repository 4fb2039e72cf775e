"""Runs with a chosen daily P&L, for tests of what is concluded from them."""

from __future__ import annotations

from datetime import date

import numpy as np

from spy_assets.evaluation.backtest import BacktestResult, Venue, run_policy
from spy_assets.evaluation.baselines import random_entries
from spy_assets.sessions import next_session, sessions_between
from spy_assets_tests.evaluation.markets import random_walk

FIRST = date(2016, 1, 4)
SESSIONS = tuple(sessions_between(FIRST, next_session(FIRST, 59)))
TRADED = run_policy(Venue(random_walk(5, 60)), random_entries(0.9, 0.5, seed=1)).trades


def result(
    mean: float, *, spread: float = 10.0, seed: int = 0, name: str = "policy"
) -> BacktestResult:
    """A run whose daily P&L has this mean in the sample."""
    pnl = np.random.default_rng(seed).normal(0, spread, len(SESSIONS))
    pnl += mean - pnl.mean()
    equity = 10_000 + np.concatenate(([0.0], pnl.cumsum()))
    return BacktestResult(name, SESSIONS, equity, TRADED, (), 100.0)


CASH = {"cash": result(0.0, spread=0.0, name="cash")}
