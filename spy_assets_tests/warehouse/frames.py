"""Small frames for warehouse tests."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from spy_assets.warehouse.tables import TABLES

BARS = TABLES["market.daily_bars"]
DAY = date(2020, 1, 2)
NOW = datetime(2024, 1, 1, tzinfo=UTC)


def flip_a_bit(path: Path) -> None:
    """Damage a file as a failing disk does."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def bars(
    count: int = 3, close: float | None = 1.0, start: date = DAY, symbol: str = "SPY"
) -> pl.DataFrame:
    """Daily bars on consecutive days, each available at 21:15 UTC of its day."""
    days = [start + timedelta(days=i) for i in range(count)]
    ends = [datetime(d.year, d.month, d.day, 21, tzinfo=UTC) for d in days]
    return pl.DataFrame(
        {
            "symbol": [symbol] * count,
            "session": days,
            "event_time": ends,
            "open": [1.0] * count,
            "high": [2.0] * count,
            "low": [0.5] * count,
            "close": [close] * count,
            "volume": [10.0] * count,
            "dividend": [0.0] * count,
            "split": [1.0] * count,
            "available_at": [end + timedelta(minutes=15) for end in ends],
            "source": ["test"] * count,
        },
        schema_overrides={
            "close": pl.Float64,
            "session": pl.Date,
            "event_time": pl.Datetime("us", "UTC"),
            "available_at": pl.Datetime("us", "UTC"),
        },
    )
