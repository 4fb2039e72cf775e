"""Raw tables for feature tests: random but well-formed, with a split and a dividend."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from spy_assets.market.availability import with_availability, with_event_time
from spy_assets.market.schemas import Dataset
from spy_assets.sessions import sessions_between

LAST = date(2018, 12, 31)


def last_sessions(count: int) -> list[date]:
    """The last `count` sessions of the test calendar."""
    return sessions_between(date(1995, 1, 3), LAST)[-count:]


def stamp(frame: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """Add the event time, the nominal availability and a source."""
    timed = with_availability(with_event_time(frame, dataset), dataset)
    return timed.with_columns(pl.lit("test").alias("source"))


def _ohlc(close: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    opened = close * np.exp(0.004 * rng.standard_normal(close.size))
    high = np.maximum(opened, close) * np.exp(np.abs(0.003 * rng.standard_normal(close.size)))
    low = np.minimum(opened, close) * np.exp(-np.abs(0.003 * rng.standard_normal(close.size)))
    return {"open": opened, "high": high, "low": low, "close": close}


def daily_bars(count: int, symbol: str = "SPY", seed: int = 1) -> pl.DataFrame:
    """Bars with a dividend every 63 sessions and a 2:1 split in the middle."""
    rng = np.random.default_rng(seed)
    index = np.arange(count)
    split = np.where(index == count // 2, 2.0, 1.0)
    close = 250.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(count))) / np.cumprod(split)
    frame = pl.DataFrame(
        {
            "symbol": [symbol] * count,
            "session": last_sessions(count),
            **_ohlc(close, rng),
            "volume": rng.integers(50_000_000, 150_000_000, count).astype(float),
            "dividend": np.where(index % 63 == 62, 1.1, 0.0),
            "split": split,
        }
    )
    return stamp(frame, "daily_bars")


def volatility(count: int, seed: int = 2) -> pl.DataFrame:
    """All six indices, mean-reverting around their usual levels."""
    rng = np.random.default_rng(seed)
    levels = {"VIX": 18, "VIX9D": 17, "VIX3M": 20, "VVIX": 95, "SKEW": 130, "VIX1D": 15}
    frames = []
    for name, level in levels.items():
        noise = np.zeros(count)
        for i in range(1, count):
            noise[i] = 0.95 * noise[i - 1] + 0.07 * rng.standard_normal()
        values = {"name": [name] * count, "session": last_sessions(count)}
        frames.append(pl.DataFrame({**values, **_ohlc(level * np.exp(noise), rng)}))
    return stamp(pl.concat(frames), "volatility")


def rates(count: int, seed: int = 3) -> pl.DataFrame:
    """Two series; DGS3MO is the preferred one."""
    rng = np.random.default_rng(seed)
    days = last_sessions(count)
    frames = [
        pl.DataFrame(
            {
                "series": [series] * count,
                "session": days,
                "rate": level + 0.001 * rng.standard_normal(count),
                "is_constant": [False] * count,
            }
        )
        for series, level in (("DFF", 0.018), ("DGS3MO", 0.022))
    ]
    return stamp(pl.concat(frames), "rates")


def put_call(count: int, seed: int = 4) -> pl.DataFrame:
    """Total and equity volumes."""
    rng = np.random.default_rng(seed)
    frames = []
    for series in ("total", "equity"):
        puts, calls = (rng.integers(1_000_000, 3_000_000, count).astype(float) for _ in "pc")
        keys = {"series": [series] * count, "session": last_sessions(count)}
        volumes = {"put_volume": puts, "call_volume": calls, "ratio": puts / calls}
        frames.append(pl.DataFrame({**keys, **volumes}))
    return stamp(pl.concat(frames), "put_call")


def raw_tables(count: int) -> dict[str, pl.DataFrame]:
    """The four raw tables that features are made from, over the same `count` sessions."""
    return {
        "market.daily_bars": daily_bars(count),
        "market.volatility": volatility(count),
        "market.rates": rates(count),
        "market.put_call": put_call(count),
    }
