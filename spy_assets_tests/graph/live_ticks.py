"""Ticks of all schedules on a live code location, for a test that runs it: prints JSON.

``python -m spy_assets_tests.graph.live_ticks`` with ``SPY_SOURCE=yfinance`` in the environment, so that
partitions are the live ones; each tick is evaluated as the daemon does, at a frozen time.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import dagster as dg
from dagster._core.test_utils import freeze_time

from spy_assets.definitions import defs
from spy_assets.defs.resources import SpyResource

TICKS = {
    "daily_refresh": [
        "2026-11-25T22:05+00:00", "2026-11-26T22:05+00:00", "2026-11-27T22:05+00:00",
        "2026-11-28T22:05+00:00", "2026-07-03T22:05+00:00", "2026-12-31T22:05+00:00",
        "2027-01-04T22:05+00:00",
    ],
    "daily_outcomes": [
        "2026-11-25T22:45+00:00", "2026-11-26T22:45+00:00", "2026-11-27T22:45+00:00",
        "2026-11-28T22:45+00:00", "2026-07-03T22:45+00:00",
    ],
    "daily_minutes": ["2026-11-27T22:15+00:00", "2026-11-28T22:15+00:00"],
    "daily_chain": ["2026-11-27T22:01+00:00", "2026-11-28T22:01+00:00"],
    "weekly_retrain": ["2026-11-29T18:00-05:00", "2026-07-05T18:00-04:00"],
    "weekly_maintenance": ["2026-11-28T06:00+00:00"],
}  # fmt: skip


def evaluate(name: str, moment: datetime) -> dict[str, object]:
    """One tick: partition keys, run keys and tags asked for, or why not."""
    frozen = freeze_time(moment.astimezone(UTC))
    with dg.instance_for_test() as instance, frozen:
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=moment,
            repository_def=defs.get_repository_def(),
            resources={"spy": SpyResource()},
        )
        with context:
            data = defs.resolve_schedule_def(name).evaluate_tick(context)
    return {
        "partitions": [request.partition_key for request in data.run_requests],
        "run_keys": [request.run_key for request in data.run_requests],
        "sessions": [request.tags.get("spy/session") for request in data.run_requests],
        "skipped": data.skip_message,
    }


def main() -> None:
    found = {
        f"{name} {tick}": evaluate(name, datetime.fromisoformat(tick))
        for name, ticks in TICKS.items()
        for tick in ticks
    }
    print("TICKS " + json.dumps(found))


if __name__ == "__main__":
    main()
