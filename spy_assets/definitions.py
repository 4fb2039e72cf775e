"""The code location: every asset, check, job, schedule and sensor, with the resources they use."""

from __future__ import annotations

import dagster as dg

from spy_assets.defs import (
    agents,
    chain_backtests,
    combinatorial,
    features,
    intraday_walkforward,
    jobs,
    market,
    models,
    multi_asset,
    options,
    schedules,
    sensors,
    signals,
    walkforward,
)
from spy_assets.defs.resources import SpyResource


def build(spy: SpyResource) -> dg.Definitions:
    """The graph bound to a resource; tests and the shell bind their own settings."""
    return dg.Definitions(
        assets=[
            *market.ASSETS,
            *options.ASSETS,
            *features.ASSETS,
            *models.ASSETS,
            *agents.ASSETS,
            *multi_asset.ASSETS,
            *signals.ASSETS,
            *walkforward.ASSETS,
            *intraday_walkforward.ASSETS,
            *combinatorial.ASSETS,
            *chain_backtests.ASSETS,
        ],
        asset_checks=[*market.CHECKS, *features.CHECKS],
        jobs=jobs.JOBS,
        schedules=schedules.SCHEDULES,
        sensors=sensors.SENSORS,
        resources={"spy": spy, "dbt": features.dbt_resource()},
        executor=dg.in_process_executor,
    )


defs = build(SpyResource())
