"""Trades with chosen P&L, day and kind, made from a real one, for tests of what is counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from spy_assets.evaluation.backtest import Venue, run_policy
from spy_assets.evaluation.baselines import always
from spy_assets.sessions import next_session, session_open
from spy_assets.simulator.kernel import Trade
from spy_assets_tests.evaluation.markets import random_walk

MONDAY = date(2016, 1, 4)
REAL = run_policy(Venue(random_walk(5, 40)), always(0)).trades[0]


def trade(pnl: float, *, session: date = MONDAY, **changes: Any) -> Trade:
    """A trade decided in this session and filled at the next open, with this P&L."""
    opened = next_session(session)
    values = {"decision_session": session, "entry_session": opened, "pnl": pnl}
    return replace(REAL, **(values | {"entry_time": session_open(opened)} | changes))
