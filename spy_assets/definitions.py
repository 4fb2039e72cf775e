"""The code location: every asset, check, job, schedule and sensor, with the resources they use."""

from __future__ import annotations

import dagster as dg

from spy_assets.defs import features, graph, jobs, schedules, sensors
from spy_assets.defs.resources import SpyResource


def build(spy: SpyResource) -> dg.Definitions:
    """The graph bound to a resource; tests and the shell bind their own settings."""
    return dg.Definitions(
        assets=graph.ASSETS,
        asset_checks=graph.CHECKS,
        jobs=jobs.JOBS,
        schedules=schedules.SCHEDULES,
        sensors=sensors.SENSORS,
        resources={"spy": spy, "dbt": features.dbt_resource()},
        executor=dg.in_process_executor,
    )


defs = build(SpyResource())
