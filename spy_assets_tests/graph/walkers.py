"""A profile that holds four years of features and nothing else: enough for three folds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from spy_assets.sessions import decision_time
from spy_assets.settings import Settings, load_settings
from spy_assets.simulator.market_path import MARKET_DIMS
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TableSpec
from spy_assets_tests.graph.courts import DAILY_15
from spy_assets_tests.models.markets import random_market
from spy_assets_tests.registry.templates import fresh_registry

NOW = datetime(2019, 1, 2, 22, tzinfo=UTC)
FOLDS = ["2017-01-19", "2017-04-20", "2017-07-20"]
TRAINING = {"timesteps": 512, "seeds": 2}
REGIME = TableSpec(
    "features.regime",
    ("symbol", "session"),
    {"symbol": "VARCHAR", "session": "DATE", "regime": "VARCHAR"},
)


def features() -> pl.DataFrame:
    """Four years of a random walk with complete observations, from the walk's first session on."""
    path = random_market(1006)
    return pl.DataFrame(
        {
            "symbol": ["SPY"] * len(path),
            "session": path.sessions,
            "open": path.open,
            "close": path.close,
            "vix_open": path.iv_open * 100,
            "vix_close": path.iv_close * 100,
            "rate": path.rate,
            **{name: path.observation[:, k] for k, name in enumerate(MARKET_DIMS)},
            "available_at": [decision_time(day) for day in path.sessions],
            "source": ["test"] * len(path),
        }
    )


def make_profile(home: Path) -> Settings:
    settings = load_settings(home=home)
    rows = features()
    regimes = rows.select("symbol", "session", "available_at", "source").with_columns(
        regime=pl.lit("uptrend")
    )
    with Warehouse.open(settings) as lake:
        lake.write(DAILY_15, rows, ingested_at=NOW)
        lake.write(REGIME, regimes, ingested_at=NOW)
    fresh_registry(settings)
    return settings
