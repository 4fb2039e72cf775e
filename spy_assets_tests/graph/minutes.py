"""A profile that holds minute bars and what was known before each session, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from spy_assets.sessions import bars_due, decision_time, previous_session
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES, TableSpec
from spy_assets_tests.registry.templates import fresh_registry
from spy_assets_tests.simulator.intraday_paths import bars_of

NOW = datetime(2019, 1, 2, 22, tzinfo=UTC)
MARKET_DAILY = TableSpec(
    "features.market_daily",
    ("symbol", "session"),
    {"symbol": "VARCHAR", "session": "DATE", "vix": "DOUBLE", "rate": "DOUBLE"},
)


def bars(days: Sequence[date], minutes: int, seed: int = 0) -> pl.DataFrame:
    """Random walks of whole sessions, as ``bar_start``, ``session`` and prices."""
    rng, price, parts = np.random.default_rng(seed), 250.0, []
    for day in days:
        moves = rng.standard_t(4, bars_due(day, minutes)) * 0.0003 * np.sqrt(minutes)
        close = np.round(price * np.exp(np.cumsum(moves)), 2)
        price = float(close[-1])
        parts.append(bars_of(day, close.tolist(), minutes).with_columns(session=pl.lit(day)))
    return pl.concat(parts)


def known(days: Sequence[date], seed: int = 0) -> pl.DataFrame:
    """VIX (points) and rate at the close before each of the sessions."""
    vix = np.random.default_rng(seed).uniform(10.0, 22.0, len(days)).round(2)
    return pl.DataFrame(
        {
            "session": [previous_session(day) for day in days],
            "vix": vix,
            "rate": np.full(len(days), 0.02),
        }
    )


def keep_bars(lake: Warehouse, rows: pl.DataFrame, minutes: int, synthetic: bool = False) -> None:
    """Write bars as the asset of their length does."""
    spec = TABLES["market.minute_bars" if minutes == 1 else "market.minute_bars_5"]
    ends = pl.col("bar_start") + timedelta(minutes=minutes)
    full = rows.with_columns(
        ends.alias("event_time"),
        ends.alias("available_at"),
        symbol=pl.lit("SPY"),
        volume=pl.lit(1000.0),
        vwap=pl.lit(None, pl.Float64),
        trades=pl.lit(None, pl.Int64),
        synthetic=pl.lit(synthetic),
        source=pl.lit("test"),
    )
    lake.write(spec, full.select(*spec.columns, "available_at", "source"), ingested_at=NOW)


def keep_known(lake: Warehouse, rows: pl.DataFrame, at: datetime | None = None) -> None:
    """Write what is known of sessions, at their decisions or at a moment."""
    moments = [at or decision_time(day) for day in rows["session"]]
    full = rows.with_columns(
        pl.Series("available_at", moments, pl.Datetime("us", "UTC")),
        symbol=pl.lit("SPY"),
        source=pl.lit("test"),
    )
    columns = [*MARKET_DAILY.columns, "available_at", "source"]
    lake.write(MARKET_DAILY, full.select(columns), ingested_at=at or moments[-1])


def make_profile(home: Path, days: Sequence[date], **changes: Any) -> Settings:
    """Five-minute bars of some sessions and all that was known before them."""
    settings = load_settings(home=home, **changes)
    with Warehouse.open(settings) as lake:
        keep_bars(lake, bars(days, 5), 5)
        keep_known(lake, known(days))
    fresh_registry(settings)
    return settings
