"""Random-walk markets without any edge, for tests of evaluation."""

from __future__ import annotations

from datetime import date

import numpy as np

from spy_assets.sessions import next_session, sessions_between
from spy_assets.simulator.market_path import MarketPath

FIRST = date(2016, 1, 4)


def random_walk(seed: int, sessions: int = 80, *, drift: float = 0.0) -> MarketPath:
    """A driftless walk at the volatility that VIX says; observations are noise, nothing is paid out."""
    generator = np.random.default_rng(seed)
    iv = np.full(sessions, 0.18)
    moves = generator.normal(drift, 0.18 * 0.9 / np.sqrt(252), sessions)
    close = 200.0 * np.exp(np.cumsum(moves))
    return MarketPath.from_arrays(
        sessions_between(FIRST, next_session(FIRST, sessions - 1)),
        open=np.concatenate(([200.0], close[:-1])),
        close=close,
        iv_open=iv,
        iv_close=iv,
        rate=np.full(sessions, 0.01),
        observation=generator.uniform(0, 1, (sessions, 10)),
        factor=np.ones(sessions),
    )
