"""What Dagster adds to light assets: ten assets with one tiny write each, and the bare writes.

python benchmarks/overhead.py [--rounds 5]

In-process executor, instance in SQLite on disk as ``spy run`` uses it. Target: at most 0.3 s each.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from measuring import Figure, Took, clean_environment, report, timed

from spy_assets.dagster_home import instance as open_instance
from spy_assets.defs.describe import table_metadata, write_metadata
from spy_assets.defs.resources import SpyResource
from spy_assets.settings import load_settings
from spy_assets.warehouse import TABLES, Warehouse

ASSETS = 10
AT_MOST_S = 0.3
SPEC = TABLES["market.rates"]
NOW = datetime(2024, 1, 3, tzinfo=UTC)


def row(series: str, number: int) -> pl.DataFrame:
    """One observation that the table has not seen."""
    return pl.DataFrame(
        {
            "series": [series],
            "session": [date.fromordinal(date(1990, 1, 1).toordinal() + number)],
            "event_time": [NOW],
            "rate": [0.02],
            "is_constant": [False],
            "available_at": [NOW],
            "source": ["sample"],
        }
    )


def asset(number: int, rounds: dict[str, int]) -> dg.AssetsDefinition:
    """A light asset as the graph has them: open the lake, write, say what was written."""

    @dg.asset(
        name=f"light_{number}",
        kinds={"python", "ducklake"},
        metadata=table_metadata(SPEC.name),
        code_version="1",
    )
    def light(spy: SpyResource) -> dg.MaterializeResult[Any]:
        with spy.warehouse() as lake:
            result = lake.write(
                SPEC, row(f"DAGSTER{number}", rounds["number"]), ingested_at=spy.utc_now()
            )
        return dg.MaterializeResult(metadata=write_metadata(result))

    return light


def bare(home: str, number: int) -> None:
    """The same work without Dagster."""
    with Warehouse.open(load_settings(home=home)) as lake:
        for one in range(ASSETS):
            lake.write(SPEC, row(f"BARE{one}", number), ingested_at=NOW)


def measure(home: str, rounds: int) -> tuple[list[Took], list[Took]]:
    """Times of the run and of the bare work, in turn; the first round warms up."""
    settings = load_settings(home=home)
    counter = {"number": 0}
    defs = dg.Definitions(
        assets=[asset(number, counter) for number in range(ASSETS)],
        jobs=[dg.define_asset_job("light", executor_def=dg.in_process_executor)],
        resources={"spy": SpyResource(overrides={"home": home})},
    )
    job = defs.resolve_job_def("light")
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    ours, alone = [], []
    with open_instance(settings) as instance:
        for number in range(rounds + 1):
            counter["number"] = number
            ours.append(timed(lambda: job.execute_in_process(instance=instance, run_config=quiet)))
            alone.append(timed(lambda number=number: bare(home, number)))  # type: ignore[misc]
    return ours[1:], alone[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of the ten assets")
    arguments = parser.parse_args()
    clean_environment()
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / ".spy").mkdir()
        ours, alone = measure(home, arguments.rounds)

    def each(kind: str) -> tuple[float, float]:
        with_dagster = statistics.median(getattr(one, kind) for one in ours)
        without = statistics.median(getattr(one, kind) for one in alone)
        return with_dagster / ASSETS, without / ASSETS

    user, own = each("user")
    wall, own_wall = each("wall")
    report(
        "overhead",
        "Ten light assets (medians, per asset)",
        [
            Figure("own work, user time", own, "s"),
            Figure("as assets, user time", user, "s"),
            Figure("added, user time", user - own, "s", AT_MOST_S),
            Figure("added, elapsed", wall - own_wall, "s"),
        ],
    )


if __name__ == "__main__":
    main()
