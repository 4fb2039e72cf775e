"""The walk-forward over minute bars: a partition a fold, and the tearsheet of all of them.

As the daily one: a fold's partition is the first session of its test. Option prices are a model's for
every fill, which each row and the page say. `spy run` leaves both assets alone;
`spy walkforward --clock intraday` and the UI's backfill make them.
"""

import shutil
import time
from typing import Any

import dagster as dg

from spy_assets.defs import intraday_walking, walk_windows, walking
from spy_assets.defs.describe import OWNERS, table, table_metadata
from spy_assets.defs.failures import without_retry
from spy_assets.defs.models import TRAINING_POOL, pace, training
from spy_assets.defs.partitions import INTRADAY_WINDOWS
from spy_assets.defs.resources import SpyResource
from spy_assets.defs.walkforward import ALL, GROUP, ReportConfig, keep_fold, report_metadata
from spy_assets.errors import ConfigError, DataError

NAME = "intraday_walk_forward"
_SKIPPED_SHOWN = 40


class IntradayTrainConfig(dg.Config):
    """How long to train; the settings' values where nothing is given."""

    timesteps: int = 0
    """Environment steps per seed; 0 takes the settings', or a million."""
    seeds: int = 0
    """Number of seeds; 0 takes the settings', or three."""


@dg.asset(
    key=["evaluation", NAME],
    deps=[
        dg.AssetDep(["market", "minute_bars"], partition_mapping=ALL),
        dg.AssetDep(["market", "minute_bars_5"], partition_mapping=ALL),
        dg.AssetDep(["features", "market_daily"], partition_mapping=ALL),
    ],
    group_name=GROUP,
    kinds={"pytorch", "mlflow", "ducklake"},
    owners=OWNERS,
    tags={"layer": "evaluation"},
    description="One fold of the walk-forward of the short-premium plan over minute bars: every seed "
    "trained on the sessions before purge and embargo, then walked over the test beside cash, the put "
    "and the call of 10:00 and random sales. All fills are a model's. Goes on from checkpoints.",
    metadata=table_metadata(intraday_walking.RESULTS),
    partitions_def=INTRADAY_WINDOWS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    pool=TRAINING_POOL,
    code_version="1",
)
def intraday_walk_forward(
    context: dg.AssetExecutionContext, spy: SpyResource, config: IntradayTrainConfig
) -> dg.MaterializeResult:
    """Train and test the partition's fold; rows of all runs, and nested MLflow runs of its seeds."""
    settings = spy.settings
    fold = walk_windows.intraday_fold_named(settings, context.partition_key, spy.utc_now())
    agent = intraday_walking.agent_of(settings, config.timesteps, config.seeds)
    checkpoints = settings.root / "checkpoints" / NAME / fold.key
    with spy.warehouse() as lake:
        snapshot = lake.snapshot_id()  # reading at it gives back what this saw
        started = time.perf_counter()
        with without_retry(ConfigError, DataError):
            markets = intraday_walking.fold_markets(lake, settings, fold, snapshot)
            _tell(context, markets)
            ways = training(context, 0)
            result = intraday_walking.run(markets, settings, agent, checkpoints, ways)
        seconds = time.perf_counter() - started
        own = intraday_walking.configuration(settings, agent)
        tables, labels = intraday_walking.TABLES_OF, markets.labels(settings)
        kept = keep_fold(context, lake, spy, result, own, snapshot, tables, labels)
    shutil.rmtree(checkpoints, ignore_errors=True)  # its rows are what counts now
    return dg.MaterializeResult(
        metadata=kept
        | _origin_metadata(markets, settings.intraday.minutes)
        | pace(result.selection.made_here, seconds)
    )


def _tell(context: dg.AssetExecutionContext, markets: intraday_walking.FoldMarkets) -> None:
    """Say in the log which sessions are left out, before anything is trained."""
    for day, reason in markets.skipped.items():
        context.log.warning(f"{day} is left out: {reason}")


def _origin_metadata(markets: intraday_walking.FoldMarkets, minutes: int) -> dict[str, Any]:
    """What the fold's page says of its prices: of the options, and of the bars."""
    import polars as pl

    from spy_assets.evaluation.intraday_walk_forward import MODEL_FILLS

    skipped = pl.DataFrame(
        {"session": list(markets.skipped), "reason": list(markets.skipped.values())},
        schema={"session": pl.Date, "reason": pl.String},
    )
    return {
        "fills": MODEL_FILLS,
        "bars": f"{minutes} minute(s); training {dict(markets.known.origins)}, test "
        f"{dict(markets.tested.origins)}",
        "skipped_sessions": skipped.height,
        "skipped": table(skipped, _SKIPPED_SHOWN),
    }


@dg.asset(
    key=["evaluation", f"{NAME}_report"],
    deps=[dg.AssetDep(intraday_walk_forward, partition_mapping=ALL)],
    group_name=GROUP,
    kinds={"python", "html"},
    owners=OWNERS,
    tags={"layer": "report"},
    description="All folds over minute bars as one account beside every baseline, with intervals, the "
    "spread over seeds, the trial count and the sessions left out: one HTML page without network.",
    code_version="1",
)
def intraday_walk_forward_report(spy: SpyResource, config: ReportConfig) -> dg.MaterializeResult:
    """Sum up the stored folds of a configuration and render their tearsheet."""
    from spy_assets.evaluation.tearsheet import render_tearsheet

    settings, now, own = spy.settings, spy.utc_now(), intraday_walking
    with spy.warehouse() as lake:
        digest = config.configuration or own.latest_configuration(lake, settings)
        if digest is None:
            return dg.MaterializeResult(metadata={"report": "no fold has been walked yet"})
        walk = own.shown_walk(lake, settings, digest, now)
        labels = own.labels_of(lake, walk)
        trials = walking.trials(lake, spy.registry(), settings.symbol, own.TABLES_OF)
    summary = walking.summary_of(walk, trials)
    path = own.tearsheet_path(settings, walk.preset, walk.digest)
    shown = spy.source().display_symbol(settings.symbol)
    facts = own.tearsheet_facts(settings, walk, labels, shown, now)
    verdict = own.verdict_of(summary)
    figures = summary.to_dict() | labels | {"verdict": verdict}
    walking.keep_page(path, render_tearsheet(facts, summary, walk.runs), figures)
    return dg.MaterializeResult(
        metadata=report_metadata(path, summary, digest)
        | {"verdict": verdict, "skipped_sessions": len(labels["skipped"])}
    )


ASSETS = [intraday_walk_forward, intraday_walk_forward_report]
