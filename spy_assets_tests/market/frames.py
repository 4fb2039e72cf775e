"""Small raw frames for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from spy_assets.market.schemas import Dataset, raw_columns
from spy_assets.sessions import session_open, sessions_between

START = date(2018, 1, 2)
AS_OF = datetime(2018, 12, 31, 22, tzinfo=UTC)


def frame(dataset: Dataset, rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a raw frame of the data set."""
    return pl.DataFrame(list(rows), schema=raw_columns(dataset))


def bar(day: date, close: float = 100.0, symbol: str = "SPY", **changes: Any) -> dict[str, Any]:
    """A sound daily bar around `close`."""
    row: dict[str, Any] = {
        "symbol": symbol, "session": day, "open": close, "high": close * 1.01, "low": close * 0.99,
        "close": close, "volume": 1e6, "dividend": 0.0, "split": 1.0,
    }  # fmt: skip
    return row | changes


def bars(count: int = 30, symbol: str = "SPY", **changes: Any) -> list[dict[str, Any]]:
    """Sound bars of the first sessions of 2018, with small moves."""
    days = sessions_between(START, AS_OF.date())[:count]
    return [bar(day, 100.0 + (n % 5) * 0.3, symbol, **changes) for n, day in enumerate(days)]


def minute(session: date, n: int, close: float = 100.0, **changes: Any) -> dict[str, Any]:
    """The sound bar of the `n`-th minute of a session."""
    row: dict[str, Any] = {
        "symbol": "SPY", "bar_start": session_open(session) + timedelta(minutes=n),
        "session": session, "open": close, "high": close + 0.1, "low": close - 0.1, "close": close,
        "volume": 100.0, "vwap": close, "trades": 5, "synthetic": False,
    }  # fmt: skip
    return row | changes


def index(day: date, close: float = 20.0, name: str = "VIX", **changes: Any) -> dict[str, Any]:
    """A sound row of a volatility index."""
    row: dict[str, Any] = {
        "name": name, "session": day, "open": close, "high": close + 1, "low": close - 1,
        "close": close,
    }  # fmt: skip
    return row | changes
