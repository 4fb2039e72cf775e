"""The asset graph as JSON that a person can review: ``python -m spy_assets_tests.graph.snapshot``.

A change of the graph changes ``asset_graph.json``, and ``asset_graph_live.json``, the graph on a live
source; renew them with that line, and read the difference.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from spy_assets_tests.conftest import REPOSITORY

GOLDEN = Path(__file__).with_name("asset_graph.json")
LIVE = Path(__file__).with_name("asset_graph_live.json")


def describe(defs: dg.Definitions) -> dict[str, Any]:
    """What matters of every asset, job, schedule and sensor."""
    graph = defs.resolve_asset_graph()
    assets = {
        key.to_user_string(): _asset(graph, key) for key in sorted(graph.materializable_asset_keys)
    }
    repository = defs.get_repository_def()
    return {
        "assets": assets,
        "jobs": {
            job.name: sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys)
            for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)
            if not job.name.startswith("__")
        },
        "schedules": {
            one.name: f"{one.cron_schedule} {one.execution_timezone} -> {one.job_name}"
            for one in sorted(repository.schedule_defs, key=lambda one: one.name)
        },
        "sensors": {
            one.name: one.sensor_type.value
            for one in sorted(repository.sensor_defs, key=lambda one: one.name)
        },
    }


def _asset(graph: Any, key: dg.AssetKey) -> dict[str, Any]:
    node = graph.get(key)
    spec = node.assets_def.get_asset_spec(key)
    op = node.assets_def.op
    policy, retry = node.backfill_policy, getattr(op, "retry_policy", None)
    return {
        "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
        "group": node.group_name,
        "kinds": sorted(node.kinds),
        "owners": sorted(node.owners),
        "tags": {name: value for name, value in sorted(node.tags.items()) if "/" not in name},
        "partitions": _partitions(node.partitions_def),
        "checks": sorted(check.name for check in graph.get_check_keys_for_assets({key})),
        "pool": op.pool,
        "backfill": None if policy is None else policy.max_partitions_per_run or "single run",
        "retries": None if retry is None else retry.max_retries,
        "automation": None
        if spec.automation_condition is None
        else spec.automation_condition.get_label(),
        "code_version": spec.code_version is not None,
        "fails_when_older_than": _fail_window(spec.freshness_policy),
    }


def _partitions(definition: dg.PartitionsDefinition[str] | None) -> str | None:
    if definition is None:
        return None
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return " x ".join(map(_dimension, definition.partitions_defs))
    if isinstance(definition, dg.StaticPartitionsDefinition):
        return "folds"  # which ones is a matter of the settings, see test_partitions
    assert isinstance(definition, dg.TimeWindowPartitionsDefinition)
    return f"{definition.fmt} {definition.timezone}"


def _dimension(one: Any) -> str:
    """A dimension of two: symbols are told, sessions are described."""
    inner = one.partitions_def
    named = isinstance(inner, dg.StaticPartitionsDefinition)
    told = ",".join(inner.get_partition_keys()) if named else _partitions(inner)
    return f"{one.name} {told}"


def _fail_window(policy: Any) -> str | None:
    return None if policy is None else str(policy.fail_window.to_timedelta())


def text(defs: dg.Definitions) -> str:
    return json.dumps(describe(defs), indent=1, sort_keys=True) + "\n"


def live_text() -> str:
    """The graph on a live source; in a process of its own, as the source is fixed at import."""
    code = (
        "from spy_assets.definitions import defs; from spy_assets_tests.graph import snapshot; "
        "print(snapshot.text(defs), end='')"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SPY_SOURCE": "yfinance"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    from spy_assets.definitions import defs as current

    GOLDEN.write_text(text(current))
    LIVE.write_text(live_text())
