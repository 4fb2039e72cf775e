"""Model assets: training, out-of-sample evaluation, promotion, and the registry's mirror.

The partition of a model is the session that its window ends with: the model was made from what was
known at that session's decision time, and may speak for later ones only.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets.defs import account, freshness, judging, refusals, registering
from spy_assets.defs.describe import (
    ENV_STEPS,
    OWNERS,
    TRAINING_SECONDS,
    bar_plot,
    line_plot,
    table,
    table_metadata,
    write_metadata,
)
from spy_assets.defs.failures import without_retry
from spy_assets.defs.partitions import OBSERVES_CHAINS, SESSIONS, trained_version
from spy_assets.defs.registering import MODEL
from spy_assets.defs.resources import SpyResource
from spy_assets.errors import ConfigError, DataError
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from spy_assets.defs.learning import Tuned
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.models.policy.select import Selection, Train
    from spy_assets.models.policy.train import TrainedPolicy
    from spy_assets.models.policy.windows import Windows
    from spy_assets.registry import LoggedTraining, Registry, TrainingRecord
    from spy_assets.settings import Settings
    from spy_assets.simulator.market_path import MarketPath
    from spy_assets.warehouse import Warehouse, WriteResult

GROUP = "models"
TRAINING_POOL = "training"
#: Any verdict or promotion renews the mirror; windows that were never trained do not hold it up.
AFTER_PROMOTION = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.in_progress()
)
#: The chains' features of the same session, for a contract that needs them.
CHAINS_OBSERVED = [
    dg.AssetDep(
        ["features", "chain"],
        partition_mapping=dg.MultiToSingleDimensionPartitionMapping("session"),
    )
][: int(OBSERVES_CHAINS)]


class TrainConfig(dg.Config):
    """How long to train; the settings' values where nothing is given."""

    preset: str = ""
    """Name of the preset: sample, quick, full, seed or fast."""
    timesteps: int = 0
    """Environment steps per seed; 0 takes the preset's."""
    seeds: int = 0
    """Number of seeds; 0 takes the preset's."""
    memory_limit_mb: int = 0
    """Address space of each seed's training in MB, which then has a process of its own; 0: no limit."""


class JudgeConfig(dg.Config):
    """Which version is judged."""

    version: str = ""
    """A version of the window; by default its challenger."""


class DailyTraining(TrainConfig):
    """How long to train, and whether by what a search found."""

    tuned: bool = False
    """Take what the last search known at the session changes of the preset."""


def agent_config(spy: SpyResource, config: TrainConfig, found: "Tuned | None" = None) -> Any:
    """Give the preset of a run's config or of the settings, with what they change of it.

    Between the two stands what a search found.
    """
    from spy_assets.models.policy.config import preset, seeds

    own = spy.settings.train
    changes: dict[str, Any] = {} if found is None else dict(found.params)
    if config.timesteps or own.timesteps:
        changes["timesteps"] = config.timesteps or own.timesteps
    if config.seeds or own.seeds:
        changes["seeds"] = seeds(config.seeds or own.seeds or 1)
    return preset(config.preset or own.preset, **changes)


def _ppo_config(spy: SpyResource, config: TrainConfig, found: "Tuned | None") -> Any:
    """The daily model's configuration; where it is of another algorithm, trying again is of no use."""
    from spy_assets.models.policy.config import require_algorithm

    with without_retry(ConfigError):
        ppo = agent_config(spy, config, found)
        require_algorithm(ppo, "ppo", MODEL)
    return ppo


def _found(lake: "Warehouse", session: date, config: DailyTraining) -> "Tuned | None":
    """What the last search found, if the run asks for it; without a search a retry is of no use."""
    from spy_assets.defs.learning import tuned_parameters

    with without_retry(DataError):
        return tuned_parameters(lake, session, "ppo") if config.tuned else None


@dg.asset(
    key=["models", MODEL],
    deps=[
        dg.AssetDep(["features", "daily_15"], partition_mapping=dg.TimeWindowPartitionMapping()),
        *CHAINS_OBSERVED,
    ],
    group_name=GROUP,
    kinds={"pytorch", "mlflow", "python"},
    owners=OWNERS,
    tags={"layer": "model"},
    description="Masked PPO on the daily simulator: seeds compared inside the training window, the "
    "best one registered in MLflow as challenger. Goes on from its checkpoint after a crash.",
    metadata=table_metadata("models.training_runs"),
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    freshness_policy=freshness.WEEKLY,
    pool=TRAINING_POOL,
    # Another observation or mandate is another model: the window is trained again.
    code_version=trained_version("3"),
)
def ppo_daily(
    context: dg.AssetExecutionContext, spy: SpyResource, config: DailyTraining
) -> dg.MaterializeResult:
    """Train on the window that ends with the partition's session, register, and record the run."""
    settings, session = spy.settings, date.fromisoformat(context.partition_key)
    with spy.warehouse() as lake:
        found = _found(lake, session, config)
        ppo = _ppo_config(spy, config, found)
        snapshot = lake.snapshot_id()  # first: reading at it gives back what this run saw
        cut = _windows(lake, settings, session, snapshot)
        started = time.perf_counter()
        selection = select(context, settings, MODEL, cut.training, ppo, config.memory_limit_mb)
        seconds = time.perf_counter() - started
        record = registering.training_record(
            settings, context.partition_key, cut, selection, ppo, snapshot, context.run.run_id,
            found=found,
        )  # fmt: skip
        logged, written = registering.register(lake, spy, record)
    return dg.MaterializeResult(
        metadata=training_metadata(selection, record, logged, written)
        | pace(selection.made_here, seconds)
    )


def pace(steps: int, seconds: float) -> dict[str, Any]:
    """What `spy plan` knows this machine's speed by: steps made here, and how long it took."""
    return {ENV_STEPS: steps, TRAINING_SECONDS: round(seconds, 3)}


def _windows(lake: "Warehouse", settings: "Settings", session: date, snapshot: int) -> "Windows":
    """The windows of a training; where history is too short for them, trying again is of no use."""
    with without_retry(DataError):
        return account.windows(lake, settings, session, snapshot=snapshot)


def select(
    context: dg.AssetExecutionContext,
    settings: "Settings",
    model: str,
    path: "MarketPath",
    config: "AgentConfig",
    memory_limit_mb: int = 0,
) -> "Selection":
    """Train all seeds of a model, and choose; goes on from the checkpoint after a crash."""
    from spy_assets.models.policy.select import train_and_select

    with training(context, memory_limit_mb, f"{model} ") as ways:
        return train_and_select(
            path,
            config,
            trading=account.trading(settings),
            checkpoint_dir=settings.root / "checkpoints" / model / context.partition_key,
            **ways,
        )


@contextmanager
def training(
    context: dg.AssetExecutionContext,
    memory_limit_mb: int,
    label: str = "",
    learn: "Train | None" = None,
) -> Iterator[dict[str, Any]]:
    """How an asset trains: what to tell of the progress, when to stop, and in which process.

    ``learn`` is what trains, `train_policy` by default. A training that is stopped or out of memory
    fails the run, without a retry.
    """
    from spy_assets.models.policy.isolation import WorkerFailed
    from spy_assets.models.policy.stopping import stop_on_sigterm
    from spy_assets.models.policy.train import TrainingStopped, train_policy

    alone = memory_limit_mb > 0  # then SIGTERM ends this process, and the other one with it
    with (
        without_retry(TrainingStopped, WorkerFailed),
        nullcontext(lambda: False) if alone else stop_on_sigterm() as stop,
    ):
        yield {
            "progress": lambda done, text: context.log.info(f"progress {done:.3f} {label}{text}"),
            "stop": stop,
            "train": isolated(memory_limit_mb, learn) if alone else learn or train_policy,
        }


def isolated(memory_limit_mb: int, learn: "Train | None" = None) -> "Train":
    """``train_policy`` or another in a process of its own; what cannot go there stays here."""
    from spy_assets.models.policy.isolation import run_isolated
    from spy_assets.models.policy.train import train_policy

    def train(path: Any, ppo: Any, seed: int, *, progress: Any, **given: Any) -> "TrainedPolicy":
        del given["stop"]
        limit = memory_limit_mb * 2**20
        policy = run_isolated(learn or train_policy, path, ppo, seed, memory_bytes=limit, **given)
        progress(1.0, f"seed {seed}: trained in a process of its own")
        return policy

    return train


def training_metadata(
    selection: "Selection",
    record: "TrainingRecord",
    logged: "LoggedTraining",
    written: "WriteResult | None",
) -> dict[str, Any]:
    """What the page of a trained model shows: the version, every seed, and the learning curve."""
    import polars as pl

    chosen = selection.chosen
    curve = pl.DataFrame([dict(row) for row in chosen.policy.curve])
    seeds = pl.DataFrame([{"seed": one.policy.seed, **one.metrics} for one in selection.candidates])
    return {
        "seeds": table(seeds),
        "chosen_seed": chosen.policy.seed,
        "learning_curve": line_plot(curve, "timesteps", ["step_reward"], "Mean reward per step"),
        "policy_hash": record.policy_hash[:16],
        "train_end": str(record.train_end),
        "version": logged.version or "none yet",
    } | ({"spooled": str(logged.reason)} if written is None else write_metadata(written))


@dg.asset(
    key=["models", "evaluation"],
    deps=[ppo_daily],
    group_name=GROUP,
    kinds={"python", "ducklake"},
    owners=OWNERS,
    tags={"layer": "evaluation"},
    description="The challenger on sessions that it never saw, beside the champion, cash, buy and hold, "
    "random entries at its rate, and each structure always; with the gate's verdict.",
    metadata=table_metadata("models.evaluations"),
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=dg.RetryPolicy(max_retries=3, delay=30, backoff=dg.Backoff.EXPONENTIAL),
    freshness_policy=freshness.WEEKLY,
    check_specs=[
        dg.AssetCheckSpec(
            "promotion_gate",
            asset=["models", "evaluation"],
            description="The challenger may be champion: by the evidence, or unproven on a vacant seat. "
            "A refusal is an answer; nothing is promoted then.",
            blocking=True,
            metadata={refusals.VERDICT: True},
        ),
        dg.AssetCheckSpec(
            "proven",
            asset=["models", "evaluation"],
            description="Net out-of-sample P&L is above zero and above the champion, with confidence.",
        ),
    ],
    code_version="4",
)
def evaluation(
    context: dg.AssetExecutionContext, spy: SpyResource, config: JudgeConfig
) -> dg.MaterializeResult:
    """Run challenger, champion and baselines over the validation window; record results and verdict.

    Both are one transaction, so that the promotion follows exactly the verdict that is shown here. A
    version whose acceptance is taken back loses the alias here, because a refusal stops the promotion.
    """
    session = date.fromisoformat(context.partition_key)
    registry, now = spy.registry(), spy.utc_now()
    with spy.warehouse() as lake:
        registering.register_spooled(lake, registry, spy.settings, now)
        version = _to_judge(registry, spy.settings, context.partition_key, config.version)
        judged = judging.judge(lake, registry, spy.settings, session, version, now)
        results, decisions = TABLES["models.evaluations"], TABLES["models.promotions"]
        rows = registering.frame(results, judged.rows())
        decision = registering.frame(decisions, [judged.promotion_row()])
        written = lake.write_many([(results, rows), (decisions, decision)], ingested_at=now)
        withdrawn = judging.withdraw(lake, registry, version)
    return dg.MaterializeResult(
        metadata=write_metadata(written[0])
        | {
            "version": version,
            "withdrawn": withdrawn or "none",
            "seed_spread": judged.seeds.words,
            "net_pnl": bar_plot(
                rows["strategy"].to_list(), rows["net_pnl"].to_list(), "Net P&L, $"
            ),
            "results": table(
                rows.select("strategy", "net_pnl", "ci_low", "ci_high", "sharpe", "trades"), 20
            ),
        },
        check_results=_gate_checks(judged),
    )


def _to_judge(registry: "Registry", settings: "Settings", partition: str, wanted: str) -> str:
    """The version to judge; where all are of another mandate, trying again is of no use."""
    own = account.mandate(settings)
    with without_retry(DataError):
        return registering.version_of_partition(registry, partition, wanted, own)


def _gate_checks(judged: judging.Judged) -> list[dg.AssetCheckResult]:
    """Whether the challenger may be champion, which stops the promotion if not; and whether by proof."""
    verdict, asset = judged.verdict, dg.AssetKey(["models", "evaluation"])
    reasons = dg.MetadataValue.md("\n".join(f"- {reason}" for reason in verdict.reasons))
    told = {"basis": verdict.basis, "reasons": reasons}
    refused = {} if verdict.accepted else {refusals.REFUSED: _refusal(judged.promotion_row())}
    return [
        dg.AssetCheckResult(
            asset_key=asset,
            check_name="promotion_gate",
            passed=verdict.accepted,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata=told
            | refused
            | {
                "not_beaten": ", ".join(verdict.unbeaten) or "none",
                "win_rate_band": verdict.band.words if verdict.band else "no trades",
                "evidence": dg.MetadataValue.json(verdict.evidence.metrics),
            },
        ),
        dg.AssetCheckResult(
            asset_key=asset,
            check_name="proven",
            passed=verdict.basis == "gate",
            severity=dg.AssetCheckSeverity.WARN,
            metadata=told,
        ),
    ]


def _refusal(decision: Mapping[str, Any]) -> str:
    return f"challenger refused: version {decision['version']}: {decision['reason']}"


@dg.asset(
    key=["models", "promotions"],
    deps=[evaluation],
    group_name=GROUP,
    kinds={"mlflow", "ducklake"},
    owners=OWNERS,
    tags={"layer": "model"},
    description="Who is champion from when on, and why: accepted by the gate, or seated unproven on a "
    "vacant seat (said on every signal). The MLflow alias follows the recorded verdict. A refused "
    "window has none.",
    metadata=table_metadata("models.promotions"),
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=dg.RetryPolicy(max_retries=3, delay=30, backoff=dg.Backoff.EXPONENTIAL),
    # It does not age: with every challenger refused, which is sound, nothing is promoted for months.
    code_version="2",
)
def promotions(context: dg.AssetExecutionContext, spy: SpyResource) -> dg.MaterializeResult:
    """Let the registry's alias follow an acceptance that was recorded with the evaluation.

    A refused window has no promotion: the check before this stops it, and so does the recorded verdict
    where this is materialized alone: that run fails and is told as the refusal that it follows.
    """
    with spy.warehouse() as lake:
        decision = judging.recorded_decision(lake, date.fromisoformat(context.partition_key))
        if not decision["accepted"]:
            raise refusals.refusal(_refusal(decision))
        champion = judging.latest_champion(lake)
    if champion is not None:
        spy.registry().set_alias("champion", champion)
    reasons = "\n".join(f"- {text}" for text in decision["reason"].split("; "))
    return dg.MaterializeResult(
        metadata={
            "version": decision["version"],
            "accepted": decision["accepted"],
            "basis": decision["basis"],
            "effective_from": decision["effective_from"].isoformat(),
            "lake_snapshot": decision["lake_snapshot"],
            "champion": champion or "none",
            "reasons": dg.MetadataValue.md(reasons),
        }
    )


@dg.asset(
    key=["models", "model_versions"],
    deps=[
        # Refused versions have no promotion, and are registered all the same.
        dg.AssetDep(upstream, partition_mapping=dg.AllPartitionMapping())
        for upstream in (evaluation, promotions)
    ],
    group_name=GROUP,
    kinds={"mlflow", "ducklake"},
    owners=OWNERS,
    tags={"layer": "report"},
    description="MLflow's registry as a table, with each version's out-of-sample result.",
    metadata=table_metadata(registering.VERSIONS),
    automation_condition=AFTER_PROMOTION,
    code_version="1",
)
def model_versions(spy: SpyResource) -> dg.MaterializeResult:
    """Mirror the registry into the warehouse."""
    registry = spy.registry()
    with spy.warehouse() as lake:
        registering.register_spooled(lake, registry, spy.settings, spy.utc_now())
        versions = registry.versions()
        rows = registering.mirrored(versions, spy.settings.source)
        result = lake.write(registering.VERSIONS, rows, ingested_at=spy.utc_now())
    shown = versions.select(
        "version", "partition", "aliases", "train_end", "timesteps", "policy_hash"
    )
    return dg.MaterializeResult(metadata=write_metadata(result) | {"versions": table(shown)})


ASSETS = [ppo_daily, evaluation, promotions, model_versions]
