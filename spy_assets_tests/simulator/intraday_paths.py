"""Paths of minute bars for the tests of the intraday simulator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from spy_assets.sessions import bars_due, next_session, previous_session, session_open
from spy_assets.simulator.intraday_path import IntradayPath

#: A week with the half day before Independence Day and the holiday itself.
FIRST = date(2024, 7, 1)


def days_from(first: date, count: int) -> list[date]:
    return [first, *(next_session(first, n) for n in range(1, count))]


def bars_of(day: date, close: Sequence[float], minutes: int = 5) -> pl.DataFrame:
    """Bars of one session with these closes; each opens where the last one closed."""
    starts = [session_open(day) + timedelta(minutes=minutes * n) for n in range(len(close))]
    opens = [close[0], *close[:-1]]
    return pl.DataFrame(
        {
            "bar_start": starts,
            "open": opens,
            "high": np.maximum(opens, close),
            "low": np.minimum(opens, close),
            "close": close,
        },
        schema_overrides={"bar_start": pl.Datetime("us", "UTC")},
    )


def daily_of(
    days: Sequence[date],
    vix: float | Sequence[float | None] = 20.0,
    dividends: dict[date, float | None] | None = None,
) -> pl.DataFrame:
    """What was known at the close before each of the days, and dividends by ex-date (others: none)."""
    values = [vix] * len(days) if isinstance(vix, int | float) else list(vix)
    frame = pl.DataFrame(
        {"session": [previous_session(day) for day in days], "vix_close": values},
        schema_overrides={"vix_close": pl.Float64},
    ).with_columns(rate=pl.lit(0.05))
    last = pl.DataFrame({"session": [days[-1]]}, schema={"session": pl.Date})
    rows = pl.concat([frame, last], how="diagonal")
    paid = [(dividends or {}).get(day, 0.0) for day in rows["session"]]
    return rows.with_columns(pl.Series("dividend", paid, pl.Float64))


def flat_path(
    count: int = 1, *, price: float = 500.0, minutes: int = 5, vix: float = 20.0
) -> IntradayPath:
    """Sessions in which nothing moves."""
    days = days_from(FIRST, count)
    bars = [bars_of(day, [price] * bars_due(day, minutes), minutes) for day in days]
    return IntradayPath.from_bars(pl.concat(bars), daily_of(days, vix), minutes=minutes)


def path_of(close: Sequence[float], *, minutes: int = 5, vix: float = 20.0) -> IntradayPath:
    """One whole session with these closes."""
    return IntradayPath.from_bars(
        bars_of(FIRST, close, minutes), daily_of([FIRST], vix), minutes=minutes
    )


def random_path(
    seed: int, count: int = 6, *, minutes: int = 5, holes: bool = False, scale: float = 1.0
) -> IntradayPath:
    """Random walks with jumps and gaps overnight; ``holes`` takes out bars, sessions and VIX."""
    rng = np.random.default_rng(seed)
    days = days_from(FIRST, count)
    vix: list[float | None] = [float(x) for x in rng.uniform(10.0, 45.0, count)]
    parts, price = [], 500.0
    for day in days:
        due = bars_due(day, minutes)
        moves = rng.standard_t(4, due) * 0.0007 * scale * np.sqrt(minutes / 5)
        price *= float(np.exp(rng.normal(0.0, 0.004)))
        close = np.round(price * np.exp(np.cumsum(moves)), 2)
        price = float(close[-1])
        frame = bars_of(day, close.tolist(), minutes)
        if holes:
            frame = frame.filter(rng.uniform(size=due) > 0.05)
        parts.append(frame)
    if holes:
        vix[int(rng.integers(count))] = None
        if count > 3:
            del parts[int(rng.integers(1, count - 1))]
    paid = {day: [2.0, 8.0, None][int(rng.integers(3))] for day in days if rng.uniform() < 0.4}
    return IntradayPath.from_bars(pl.concat(parts), daily_of(days, vix, paid), minutes=minutes)
