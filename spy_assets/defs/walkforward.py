"""The walk-forward: a partition a fold, and the tearsheet of all of them.

A fold's partition is the first session of its test. It trains on the sessions before purge and embargo
as the market was known when they ended, tests on it as it was known when the test ended, and writes
what came of it. `spy run` leaves both assets alone; `spy walkforward` and the UI's backfill make them.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets.defs import account, walk_windows, walking
from spy_assets.defs.describe import (
    OWNERS,
    bar_plot,
    line_plot,
    table,
    table_metadata,
    write_metadata,
)
from spy_assets.defs.failures import without_retry
from spy_assets.defs.models import TRAINING_POOL, TrainConfig, agent_config, pace, training
from spy_assets.defs.partitions import OBSERVES_CHAINS, WINDOWS, trained_version
from spy_assets.defs.resources import SpyResource
from spy_assets.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.evaluation.intraday_walk_forward import IntradayFold
    from spy_assets.evaluation.splits import Fold
    from spy_assets.evaluation.walk_forward import FoldResult
    from spy_assets.evaluation.walk_forward_summary import WalkForwardSummary
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.settings import Settings
    from spy_assets.simulator.market_path import MarketPath
    from spy_assets.warehouse import Warehouse

GROUP = "evaluation"
NAME = "walk_forward"
#: A fold reads several years before its own key, and the year that its test ends in.
ALL = dg.AllPartitionMapping()


#: The chains' features of all sessions, for a contract that needs them.
ALL_CHAINS = [dg.AssetDep(["features", "chain"], partition_mapping=ALL)][: int(OBSERVES_CHAINS)]


class ReportConfig(dg.Config):
    """What the page shows."""

    configuration: str = ""
    """Hash of a configuration; by default the one that was written last."""


@dg.asset(
    key=["evaluation", NAME],
    deps=[
        dg.AssetDep(["features", "daily_15"], partition_mapping=ALL),
        dg.AssetDep(["features", "regime"], partition_mapping=ALL),
        *ALL_CHAINS,
    ],
    group_name=GROUP,
    kinds={"pytorch", "mlflow", "ducklake"},
    owners=OWNERS,
    tags={"layer": "evaluation"},
    description="One fold of the walk-forward: every seed trained on the sessions before purge and "
    "embargo, then walked over the test beside every baseline. Goes on from checkpoints after a crash.",
    metadata=table_metadata(walking.RESULTS),
    partitions_def=WINDOWS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    pool=TRAINING_POOL,
    code_version=trained_version("1"),
)
def walk_forward(
    context: dg.AssetExecutionContext, spy: SpyResource, config: TrainConfig
) -> dg.MaterializeResult:
    """Train and test the partition's fold; rows of all runs, and nested MLflow runs of its seeds."""
    fold = walk_windows.fold_named(spy.settings, context.partition_key, spy.utc_now())
    agent = agent_config(spy, config)
    with spy.warehouse() as lake:
        own = walking.configuration(spy.settings, agent)
        return _walked(context, lake, spy, fold, agent, own, config.memory_limit_mb)


@dg.asset(
    key=["evaluation", "final_test"],
    deps=[dg.AssetDep(walk_forward, partition_mapping=ALL)],
    group_name=GROUP,
    kinds={"pytorch", "mlflow", "ducklake"},
    owners=OWNERS,
    tags={"layer": "evaluation"},
    description="The final period, which is in no fold and is looked at once: a configuration with all "
    "folds walked is trained before it and tested on it. A second configuration is refused.",
    metadata=table_metadata(walking.RESULTS),
    pool=TRAINING_POOL,
    code_version=trained_version("1"),
)
def final_test(
    context: dg.AssetExecutionContext, spy: SpyResource, config: TrainConfig
) -> dg.MaterializeResult:
    """Train on the window before the final period and test on all of it."""
    settings, now = spy.settings, spy.utc_now()
    fold, agent = walk_windows.final_fold(settings, now), agent_config(spy, config)
    own = walking.configuration(settings, agent)
    with spy.warehouse() as lake:
        walking.require_untouched(lake, own, fold, walk_windows.folds_of(settings, now))
        final = replace(own, preset=walking.final_preset(own.preset))
        return _walked(context, lake, spy, fold, agent, final, config.memory_limit_mb)


def _walked(
    context: dg.AssetExecutionContext,
    lake: "Warehouse",
    spy: SpyResource,
    fold: "Fold",
    agent: "AgentConfig",
    own: walking.Configuration,
    memory_limit_mb: int,
) -> dg.MaterializeResult:
    """Run a fold and write what came of it."""
    settings, snapshot = spy.settings, lake.snapshot_id()  # reading at it gives back what this saw
    started = time.perf_counter()
    result = _walk(context, lake, settings, fold, agent, snapshot, memory_limit_mb)
    seconds = time.perf_counter() - started
    kept = keep_fold(context, lake, spy, result, own, snapshot)
    shutil.rmtree(_checkpoints(settings, fold), ignore_errors=True)  # its rows are what counts now
    return dg.MaterializeResult(metadata=kept | pace(result.selection.made_here, seconds))


def keep_fold(
    context: dg.AssetExecutionContext,
    lake: "Warehouse",
    spy: SpyResource,
    result: "FoldResult | IntradayFold",
    own: walking.Configuration,
    snapshot: int,
    tables: walking.WalkTables = walking.DAILY,
    labels: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Keep what came of a fold: MLflow first, so that rows name their run; what its page shows."""
    settings = spy.settings
    walked = walking.WalkedFold(
        result,
        own,
        settings.profile_name,
        settings.source,
        settings.symbol,
        snapshot,
        context.run.run_id,
        tables,
        labels or {},
    )
    run_id, unlogged = walking.log_fold(spy.registry(), walked)
    written = lake.write_many(walked.batches(run_id), ingested_at=spy.utc_now())
    return (
        write_metadata(written[0])
        | fold_metadata(result)
        | {"configuration": own.digest, "mlflow_run": run_id or f"none: {unlogged}"}
    )


def _walk(
    context: dg.AssetExecutionContext,
    lake: "Warehouse",
    settings: "Settings",
    fold: "Fold",
    agent: "AgentConfig",
    snapshot: int,
    memory_limit_mb: int,
) -> "FoldResult":
    """Run the fold; one that is stopped, out of memory or short of history fails without a retry."""
    from spy_assets.evaluation.walk_forward import run_fold

    with without_retry(ConfigError, DataError):
        known, path = _markets(lake, settings, fold, snapshot)
        with training(context, memory_limit_mb) as ways:
            return run_fold(
                path,
                fold,
                agent,
                known_to_training=known,
                trading=account.trading(settings),
                filter_of=walking.filter_of(settings, fold),
                min_confidence=settings.risk.min_confidence,
                regimes=walking.regimes(lake, settings, fold.test_last, snapshot),
                checkpoint_dir=_checkpoints(settings, fold),
                **ways,
            )


def _markets(
    lake: "Warehouse", settings: "Settings", fold: "Fold", snapshot: int
) -> tuple["MarketPath", "MarketPath"]:
    """The market as it was known when the training ended, and when the test did.

    A revision that was published in between is no part of what is trained on.
    """
    known, path = (
        account.market_path(lake, settings, day, snapshot=snapshot)
        for day in (fold.train_last, fold.test_last)
    )
    return known, path


def _checkpoints(settings: "Settings", fold: "Fold") -> Path:
    """Where a fold's trainings are kept until it has its rows, so that a killed one goes on."""
    return settings.root / "checkpoints" / NAME / fold.key


def fold_metadata(result: "FoldResult | IntradayFold") -> dict[str, Any]:
    """What the fold's page shows: its dates, every run, and equity over the test."""
    import polars as pl

    fold = result.fold
    shown = pl.DataFrame(
        {
            "strategy": [run.strategy for run in result.runs],
            "seed": [run.seed for run in result.runs],
            "selected": [run.selected for run in result.runs],
            "net_pnl": [run.daily.net_pnl for run in result.runs],
            "sharpe": [run.daily.sharpe for run in result.runs],
            "max_drawdown": [run.daily.max_drawdown for run in result.runs],
            "trades": [run.trade_count for run in result.runs],
        }
    )
    answers = [run for run in result.runs if run.selected]
    curves = pl.DataFrame(
        {"session": answers[0].sessions} | {run.strategy: run.equity[1:] for run in answers}
    )
    return {
        "train": f"{fold.train_first} to {fold.train_last}, {fold.train_sessions} sessions",
        "gap": f"{fold.purge} sessions of purge, {fold.embargo} of embargo",
        "test": f"{fold.test_first} to {fold.test_last}, {fold.test_sessions} sessions",
        "results": table(shown, 40),
        "equity": line_plot(curves, "session", curves.columns[1:], "Equity over the test, $"),
    }


@dg.asset(
    key=["evaluation", "walk_forward_report"],
    deps=[dg.AssetDep(walk_forward, partition_mapping=ALL)],
    group_name=GROUP,
    kinds={"python", "html"},
    owners=OWNERS,
    tags={"layer": "report"},
    description="All folds as one account beside every baseline, with intervals, the spread over seeds, "
    "the trial count and what the policy does not beat: one HTML page without network.",
    code_version="1",
)
def walk_forward_report(spy: SpyResource, config: ReportConfig) -> dg.MaterializeResult:
    """Sum up the stored folds of a configuration and render their tearsheet."""
    from spy_assets.evaluation.tearsheet import render_tearsheet

    settings, now = spy.settings, spy.utc_now()
    with spy.warehouse() as lake:
        digest = config.configuration or walking.latest_configuration(lake, settings)
        if digest is None:
            return dg.MaterializeResult(metadata={"report": "no fold has been walked yet"})
        walk = walking.shown_walk(lake, settings, digest, now)
        trials = walking.trials(lake, spy.registry(), settings.symbol)
        looks = walking.looks_from(lake, walk_windows.final_from(settings, now))
    summary = walking.summary_of(walk, trials)
    path = walking.tearsheet_path(settings, walk.preset, walk.digest)
    shown = spy.source().display_symbol(settings.symbol)
    facts = walking.tearsheet_facts(settings, walk, shown, now, looks["configuration"])
    walking.keep_page(path, render_tearsheet(facts, summary, walk.runs), summary.to_dict())
    return dg.MaterializeResult(metadata=report_metadata(path, summary, digest))


def report_metadata(path: Path, summary: "WalkForwardSummary", digest: str) -> dict[str, Any]:
    """What the page of a walk-forward's report shows."""
    return {
        "report": dg.MetadataValue.path(str(path)),
        "verdict": summary.verdict,
        "configuration": digest,
        "folds": len(summary.folds),
        "trials": summary.trials,
        "net_pnl": bar_plot(
            [row.strategy for row in summary.strategies],
            [row.net_pnl for row in summary.strategies],
            "Net P&L of all folds, $",
        ),
        "strategies": table(_summary_table(summary), 20),
    }


def _summary_table(summary: "WalkForwardSummary") -> "pl.DataFrame":
    import polars as pl

    from spy_assets.evaluation.walk_forward_summary import table_columns

    return pl.DataFrame([table_columns(row) for row in summary.strategies])


ASSETS = [walk_forward, walk_forward_report, final_test]
