"""A tearsheet of made folds, for tests of the page and of the browser."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from spy_assets.evaluation.tearsheet import TearsheetFacts, render_tearsheet
from spy_assets.evaluation.walk_forward_summary import summarise
from spy_assets_tests.evaluation.walks import made_walk

FACTS: dict[str, Any] = {
    "title": "Walk-forward <SPY*>",
    "symbol": "SPY*",
    "source": "sample",
    "preset": "s0",
    "configuration": "0123456789ab",
    "parameters": {"symbol": "SPY", "windows": {"train": 100, "purge": 6, "embargo": 2}},
    "seeds": (42, 84, 126),
    "timesteps": 20_480,
    "costs": "rltrade",
    "lake_snapshots": (12, 13),
    "due_folds": 25,
    "final_from": date(2018, 1, 1),
    "final_to": date(2018, 12, 31),
    "made_at": datetime(2018, 12, 31, 22, tzinfo=UTC),
    "notices": ("SPY* is S&P 500 / 10",),
}


def made_sheet(folds: int = 24, **changes: Any) -> str:
    runs = made_walk(folds)
    return render_tearsheet(TearsheetFacts(**(FACTS | changes)), summarise(runs, trials=3), runs)
