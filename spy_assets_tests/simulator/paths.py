"""Market paths for the simulator's tests: random ones, and flat ones with known prices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from spy_assets.sessions import next_session, sessions_between
from spy_assets.simulator.market_path import MarketPath

FIRST = date(2016, 1, 4)


def path_of(
    close: Sequence[float] | npt.NDArray[np.float64],
    *,
    open: Sequence[float] | None = None,  # noqa: A002
    iv: float | Sequence[float] = 0.20,
    iv_open: Sequence[float] | None = None,
    rate: float = 0.02,
    first: date = FIRST,
    observation: npt.ArrayLike | None = None,
) -> MarketPath:
    """A path with these closes; opens equal the previous close unless given."""
    n = len(close)
    sessions = sessions_between(first, next_session(first, n - 1) if n > 1 else first)
    vix = np.broadcast_to(np.asarray(iv, dtype=float), n)
    return MarketPath.from_arrays(
        sessions,
        open=[close[0], *close[:-1]] if open is None else open,
        close=close,
        iv_open=np.concatenate((vix[:1], vix[:-1])) if iv_open is None else iv_open,
        iv_close=vix,
        rate=np.full(n, rate),
        observation=np.full((n, 10), 0.5) if observation is None else observation,
    )


def random_path(
    seed: int, n: int = 60, *, holes: bool = False, scale: float = 0.012, dividends: bool = False
) -> MarketPath:
    """A random walk with gaps, jumps in volatility and, with ``holes``, missing inputs.

    With ``dividends`` every fifth session or so goes ex, and what goes ex in some is not known.
    """
    rng = np.random.default_rng(seed)
    close = 200.0 * np.exp(np.cumsum(rng.standard_t(4, n) * scale))
    gap = np.exp(rng.normal(0.0, scale / 2, n))
    iv = np.clip(0.16 * np.exp(np.cumsum(rng.normal(0.0, 0.06, n))), 0.05, 1.5)
    iv_open = np.clip(iv * np.exp(rng.normal(0.0, 0.03, n)), 0.05, 1.5)
    seen = rng.uniform(0.0, 1.0, (n, 10))
    if holes:
        iv[rng.uniform(size=n) < 0.1] = np.nan
        iv_open[rng.uniform(size=n) < 0.2] = np.nan
        seen[rng.uniform(size=n) < 0.1, 3] = np.nan
    cash = None
    if dividends:
        cash = np.where(rng.uniform(size=n) < 0.2, rng.uniform(0.5, 3.0, n), 0.0)
        cash[rng.uniform(size=n) < 0.05] = np.nan
    return MarketPath.from_arrays(
        sessions_between(FIRST, next_session(FIRST, n - 1)),
        open=np.concatenate(([200.0], close[:-1])) * gap,
        close=close,
        iv_open=iv_open,
        iv_close=iv,
        rate=np.full(n, 0.02),
        observation=seen,
        dividend=cash,
    )
