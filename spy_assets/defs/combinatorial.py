"""The combinatorial cross-validation: a partition a split, and the page of all paths.

A split's partition is one choice of tested groups. It trains on the stretches that are left, tests on
the groups, and writes what came of it: what was killed goes on with the splits that are missing, and
within a split from its checkpoints. `spy run` leaves both assets alone; `spy plan paths --run` and the
UI's backfill make them.
"""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets.defs import account, combining, walk_windows, walking
from spy_assets.defs.describe import (
    OWNERS,
    bar_plot,
    table,
    table_metadata,
    write_metadata,
)
from spy_assets.defs.failures import without_retry
from spy_assets.defs.models import TRAINING_POOL, TrainConfig, agent_config, pace, training
from spy_assets.defs.partitions import SPLITS, trained_version
from spy_assets.defs.resources import SpyResource
from spy_assets.defs.walkforward import ALL, ALL_CHAINS, GROUP, ReportConfig
from spy_assets.errors import ConfigError, DataError

if TYPE_CHECKING:
    from spy_assets.evaluation.combinatorial import SplitResult
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.settings import Settings
    from spy_assets.warehouse import Warehouse

NAME = "combinatorial_paths"


@dg.asset(
    key=["evaluation", NAME],
    deps=[
        dg.AssetDep(["features", "daily_15"], partition_mapping=ALL),
        *ALL_CHAINS,
    ],
    group_name=GROUP,
    kinds={"pytorch", "ducklake"},
    owners=OWNERS,
    tags={"layer": "evaluation"},
    description="One split of the combinatorial purged cross-validation: every seed trained on the "
    "sessions left around the tested groups, then walked over each. Goes on from checkpoints.",
    metadata=table_metadata(combining.RESULTS),
    partitions_def=SPLITS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    pool=TRAINING_POOL,
    code_version=trained_version("1"),
)
def combinatorial_paths(
    context: dg.AssetExecutionContext, spy: SpyResource, config: TrainConfig
) -> dg.MaterializeResult:
    """Train and test the partition's split; rows of all pieces."""
    settings, now = spy.settings, spy.utc_now()
    agent = agent_config(spy, config)
    with spy.warehouse() as lake:
        snapshot = lake.snapshot_id()  # reading at it gives back what this saw
        with without_retry(ConfigError, DataError):
            own, cut = (
                combining.configuration(settings, agent, now),
                combining.Cut.of(settings, now),
            )
        started = time.perf_counter()
        result = _run(context, lake, settings, cut, agent, snapshot, config.memory_limit_mb)
        seconds = time.perf_counter() - started
        done = combining.RunSplit(
            result, own, cut.sessions[-1], settings.source, snapshot, context.run.run_id
        )
        written = lake.write_many(done.batches(), ingested_at=now)
    shutil.rmtree(_checkpoints(settings, context.partition_key), ignore_errors=True)
    return dg.MaterializeResult(
        metadata=write_metadata(written[0])
        | _metadata(result)
        | {"configuration": own.digest}
        | pace(result.timesteps, seconds)
    )


def _run(
    context: dg.AssetExecutionContext,
    lake: "Warehouse",
    settings: "Settings",
    cut: combining.Cut,
    agent: "AgentConfig",
    snapshot: int,
    memory_limit_mb: int,
) -> "SplitResult":
    """Run the split; one that is stopped, out of memory or short of history fails without a retry."""
    from spy_assets.evaluation.combinatorial import run_split
    from spy_assets.models.policy.train import train_task

    key = context.partition_key
    with without_retry(ConfigError, DataError):
        path = combining.market(lake, settings, cut, snapshot)
        split = cut.paths.splits[walk_windows.split_number(key)]
        fitting = cut.agent(agent)
        with training(context, memory_limit_mb, f"{key} ", train_task) as ways:
            return run_split(
                path,
                split,
                fitting,
                trading=account.trading(settings),
                entry_filter=combining.entry_filter(settings),
                min_confidence=settings.risk.min_confidence,
                checkpoint_dir=_checkpoints(settings, key),
                **ways,
            )


def _checkpoints(settings: "Settings", key: str) -> Path:
    """Where a split's trainings are kept until it has its rows, so that a killed one goes on."""
    return settings.root / "checkpoints" / NAME / key


def _metadata(result: "SplitResult") -> dict[str, Any]:
    """What the split's page shows: its stretches, and every piece."""
    import polars as pl

    shown = pl.DataFrame([combining.piece_row(piece) for piece in result.pieces])
    return {
        "train_sessions": len(result.split.train),
        "stretches": len(result.split.stretches),
        "results": table(
            shown.select(
                "strategy", "seed", "path", "test_start", "net_pnl", "sharpe", "max_drawdown", "trades"
            ),
            60,
        ),
    }  # fmt: skip


@dg.asset(
    key=["evaluation", "combinatorial_report"],
    deps=[dg.AssetDep(combinatorial_paths, partition_mapping=ALL)],
    group_name=GROUP,
    kinds={"python", "html"},
    owners=OWNERS,
    tags={"layer": "report"},
    description="All paths through the sessions: how Sharpe ratio, P&L and drawdown are distributed, "
    "how many paths end above each baseline, and what selection did: one HTML page without network.",
    code_version="1",
)
def combinatorial_report(spy: SpyResource, config: ReportConfig) -> dg.MaterializeResult:
    """Put the stored pieces of a configuration together into paths, and render their page."""
    from spy_assets.evaluation.combinatorial_report import render_paths
    from spy_assets.evaluation.combinatorial_summary import path_figures, summarise_paths

    settings, now = spy.settings, spy.utc_now()
    with spy.warehouse() as lake:
        digest = config.configuration or combining.latest_configuration(lake, settings, now)
        if digest is None:
            return dg.MaterializeResult(metadata={"report": "no split has been run yet"})
        stored = combining.stored_paths(lake, digest)
        keys = set(stored.keys)
        missing, due = sorted(keys - combining.run_splits(lake, digest)), len(keys)
        if missing:
            told = f"{len(missing)} of {due} splits are missing, the first is {missing[0]}"
            return dg.MaterializeResult(metadata={"report": told, "configuration": digest})
        rivals = combining.rival_configurations(lake, digest, stored.parameters, due)
        others = combining.pieces_of(lake, rivals)
    summary = summarise_paths(stored.pieces, others)
    path = combining.report_path(settings, digest)
    shown = spy.source().display_symbol(settings.symbol)
    facts = combining.report_facts(stored, shown, now, due)
    walking.keep_page(path, render_paths(facts, summary), summary.to_dict())

    import polars as pl

    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.path(str(path)),
            "verdict": summary.verdict,
            "configuration": digest,
            "trials": summary.trials,
            "paths": table(pl.DataFrame([path_figures(one) for one in summary.paths]), 60),
            "paths_above": bar_plot(
                list(summary.above),
                list(summary.above.values()),
                "Share of paths above the baseline",
            ),
        }
    )


ASSETS = [combinatorial_paths, combinatorial_report]
