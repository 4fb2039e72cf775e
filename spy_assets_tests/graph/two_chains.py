"""Chains of two underlyings on one code location, for a test that runs it: prints JSON.

``python -m spy_assets_tests.graph.two_chains HOME`` with ``SPY_CHAINS__SYMBOLS=SPY,QQQ`` in the
environment, so that partitions are of both. QQQ's file is of another day at first, and mended later.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from io import StringIO
from pathlib import Path

import polars as pl
from rich.console import Console

from spy_assets import plan
from spy_assets.defs.chains import FEATURES, QUOTES
from spy_assets.settings import load_settings
from spy_assets_tests.graph.test_options import DAY, LATER, NOW, cboe_rows, drop, plant
from spy_assets_tests.graph.worlds import read, runner


def kept(settings: plan.Settings, table: str) -> list[str]:
    found = read(settings, table).select("session", "symbol").unique().sort("session", "symbol")
    return [f"{day} {symbol}" for day, symbol in found.rows()]


def of_qqq(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("option").str.replace("SPY", "QQQ"))


def main(home: Path) -> None:
    files = home / "files"
    settings = load_settings(home=home, source="yfinance", files_dir=files)
    plant(settings)
    for day in (DAY, LATER):
        drop(files, day, cboe_rows(day))
    drop(files, DAY, of_qqq(cboe_rows(LATER)), made=LATER, symbol="QQQ")
    told, found = StringIO(), []
    with runner(settings, datetime.fromisoformat(NOW)) as made:
        made.console = Console(file=told, width=300)
        for _ in range(2):
            plan._chains(made, DAY)
            found.append({table: kept(settings, table) for table in (QUOTES, FEATURES)})
            drop(files, DAY, of_qqq(cboe_rows(DAY)), symbol="QQQ")
        steps = [(step.name, step.materialized, step.skipped) for step in made.steps]
        both = [f"{LATER}|SPY", f"{LATER}|QQQ"]
        steps.append(("both", made.stage("both", "refresh_chain", both).materialized, 0))
    print("FOUND " + json.dumps({"kept": found, "steps": steps, "told": told.getvalue()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
