"""The jobs: which assets one run makes together, and in which process.

A run has one kind of partition. History is by year; minutes, chains, models and signals by session.
"""

from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from spy_assets.defs.resources import SpyResource

if TYPE_CHECKING:
    from spy_assets.warehouse import Warehouse


#: Tables whose rows name the snapshot that they were made from.
SNAPSHOTS_OF = {
    "models.training_runs", "models.promotions", "ledger.signals", "evaluation.walk_forward",
    "models.hyperparameters", "models.regime_routing", "models.multi_asset",
    "evaluation.intraday_walk_forward", "evaluation.combinatorial_paths",
}  # fmt: skip
#: One process a run: light assets take 0.2 s each. Training runs in its run's process too: a process
#: per run under the daemon, the caller's own under `spy run`. With `memory_limit_mb` each seed has a
#: child of its own, so that running out of memory ends that training only.
IN_PROCESS = dg.in_process_executor

MINUTES = dg.AssetSelection.assets(["market", "minute_bars"])
FIVE_MINUTES = dg.AssetSelection.assets(["market", "minute_bars_5"])
HISTORY = dg.AssetSelection.groups("market", "features") - MINUTES - FIVE_MINUTES
CHAINS = dg.AssetSelection.groups("options")
TRAINING = dg.AssetSelection.assets(
    ["models", "ppo_daily"], ["models", "evaluation"], ["models", "promotions"]
)
SIGNAL = dg.AssetSelection.assets(["signals", "daily_signal"])
OUTCOMES = dg.AssetSelection.assets(["ledger", "outcomes"])
WALK = dg.AssetSelection.assets(["evaluation", "walk_forward"])
FINAL = dg.AssetSelection.assets(["evaluation", "final_test"])
TEARSHEET = dg.AssetSelection.assets(["evaluation", "walk_forward_report"])
INTRADAY_WALK = dg.AssetSelection.assets(["evaluation", "intraday_walk_forward"])
INTRADAY_TEARSHEET = dg.AssetSelection.assets(["evaluation", "intraday_walk_forward_report"])
PATHS = dg.AssetSelection.assets(["evaluation", "combinatorial_paths"])
PATHS_REPORT = dg.AssetSelection.assets(["evaluation", "combinatorial_report"])
MEMBERS = dg.AssetSelection.assets(
    ["models", "a2c_daily"], ["models", "dqn_daily"], ["models", "ensemble_weights"]
)
BY_OUTCOMES = dg.AssetSelection.assets(["models", "outcome_finetune"])
BY_PREFERENCES = dg.AssetSelection.assets(
    ["models", "reward_model"], ["models", "preference_finetune"]
)
REGIME_POLICIES = dg.AssetSelection.assets(["models", "regime_routing"])
MULTI_ASSET = dg.AssetSelection.assets(["models", "ppo_multi_asset"])
SEARCHES = dg.AssetSelection.assets(["models", "hyperparameters"])
CHAIN_BACKTESTS = dg.AssetSelection.assets(["evaluation", "chain_backtest"])
REPORTS = dg.AssetSelection.assets(
    ["signals", "statistics"], ["evaluation", "report"], ["models", "model_versions"]
)


def _job(
    name: str, selection: dg.AssetSelection, description: str, kind: str | None = None
) -> UnresolvedAssetJobDefinition:
    """One run of the selected assets; ``kind`` is the tag by which the UI groups runs."""
    return dg.define_asset_job(
        name,
        selection,
        executor_def=IN_PROCESS,
        description=description,
        tags=None if kind is None else {"spy/kind": kind},
    )


refresh_history = _job(
    "refresh_history",
    HISTORY,
    "Market data and features, by year: asks only for what is missing.",
    "history",
)
refresh_minutes = _job(
    "refresh_minutes",
    MINUTES,
    "One-minute bars of sessions, with the bars due and the gaps.",
    "history",
)
refresh_five_minutes = _job(
    "refresh_five_minutes",
    FIVE_MINUTES,
    "Five-minute bars of sessions, of a source that has them of its own.",
    "history",
)
refresh_chain = _job(
    "refresh_chain",
    CHAINS,
    "Option chains of sessions, with implied volatility and Greeks, and their features.",
    "history",
)
train_daily = _job(
    "train_daily",
    TRAINING,
    "Train the daily PPO on what was known at a session, evaluate it out of sample, and decide on "
    "its promotion.",
    "training",
)
daily_signal_job = _job(
    "daily_signal_job", SIGNAL, "The signal of a session, stored in the ledger.", "signal"
)
track_outcomes = _job(
    "track_outcomes",
    OUTCOMES,
    "Settle the trades that ended in a session, by repricing their legs.",
    "signal",
)
report_job = _job(
    "report", REPORTS, "Statistics of signals and outcomes, and the mirror of the registry."
)
train_ensemble = _job(
    "train_ensemble",
    MEMBERS,
    "Train A2C and DQN beside the PPO of a window, and weigh the three by their results.",
    "training",
)
learn_from_outcomes = _job(
    "learn_from_outcomes",
    BY_OUTCOMES,
    "Fine-tune the policy of a window by what became of its signals; a challenger for the gate.",
    "training",
)
learn_from_preferences = _job(
    "learn_from_preferences",
    BY_PREFERENCES,
    "Fit the reward that answers of `spy prefs` say, and fine-tune the policy of a window by it.",
    "training",
)
train_by_regime = _job(
    "train_by_regime",
    REGIME_POLICIES,
    "Train a policy per regime, and measure routing against one policy that sees the regime.",
    "training",
)
train_multi_asset = _job(
    "train_multi_asset",
    MULTI_ASSET,
    "Train one policy for several symbols, and measure it against a policy of each symbol alone.",
    "training",
)
tune_hyperparameters = _job(
    "tune_hyperparameters",
    SEARCHES,
    "Search for hyper-parameters inside a training window; goes on where it was stopped or killed.",
    "training",
)
walk_forward_job = _job(
    "walk_forward",
    WALK,
    "One fold of the walk-forward: train, test, record. Not part of the main job: it takes long.",
    "training",
)
walk_forward_tearsheet = _job(
    "walk_forward_tearsheet", TEARSHEET, "Sum up the folds and renew the tearsheet."
)
intraday_walk_forward_job = _job(
    "intraday_walk_forward",
    INTRADAY_WALK,
    "One fold of the walk-forward over minute bars: train, test, record; fills are a model's.",
    "training",
)
intraday_walk_forward_tearsheet = _job(
    "intraday_walk_forward_tearsheet",
    INTRADAY_TEARSHEET,
    "Sum up the folds over minute bars and renew their tearsheet.",
)
final_test_job = _job(
    "final_test",
    FINAL,
    "The final period, once, for a configuration that was walked over all folds.",
    "training",
)
combinatorial_paths_job = _job(
    "combinatorial_paths",
    PATHS,
    "One split of the combinatorial cross-validation. Not part of the main job: it takes long.",
    "training",
)
combinatorial_report_job = _job(
    "combinatorial_report", PATHS_REPORT, "Put the splits together into paths and renew their page."
)
chain_backtest_job = _job(
    "chain_backtest",
    CHAIN_BACKTESTS,
    "Trade every structure over the stored real chains, at their own bid and ask.",
)


@dg.op(
    description="Compact data files, expire snapshots that nothing refers to, copy the catalogue."
)
def maintain_lake(context: dg.OpExecutionContext, spy: SpyResource) -> None:
    """Run the lake's maintenance; snapshots of models, promotions and signals are kept."""
    from spy_assets.warehouse import maintain

    with spy.warehouse() as lake:
        keep = referenced_snapshots(lake)
    report = maintain(spy.settings, keep=keep, now=spy.utc_now())
    context.log.info(str(report))


def referenced_snapshots(lake: "Warehouse") -> set[int]:
    """Snapshots that a model, a promotion or a signal was made from."""
    named = SNAPSHOTS_OF & set(lake.tables())
    return {
        int(snapshot)
        for table in sorted(named)
        for snapshot in lake.execute(
            f"SELECT DISTINCT lake_snapshot AS s FROM {table} WHERE lake_snapshot IS NOT NULL"
        )["s"]
    }


@dg.job(executor_def=IN_PROCESS, description="Weekly care of the warehouse.")
def maintain_warehouse() -> None:
    """Compaction, expiry, clean-up."""
    maintain_lake()


JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    refresh_history,
    refresh_minutes,
    refresh_five_minutes,
    refresh_chain,
    train_daily,
    daily_signal_job,
    track_outcomes,
    report_job,
    train_ensemble,
    learn_from_outcomes,
    learn_from_preferences,
    train_by_regime,
    train_multi_asset,
    tune_hyperparameters,
    walk_forward_job,
    walk_forward_tearsheet,
    intraday_walk_forward_job,
    intraday_walk_forward_tearsheet,
    final_test_job,
    combinatorial_paths_job,
    combinatorial_report_job,
    chain_backtest_job,
    maintain_warehouse,
]
