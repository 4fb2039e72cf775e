"""Assets of agents beside the daily PPO: other algorithms and their vote, and policies that learn.

None of them is in the main job. What comes of a fine-tuning is a challenger of the daily model, which
becomes champion by the gate of `models/evaluation` or not at all.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets.defs import account, agent_training, composites, learning, registering
from spy_assets.defs.describe import (
    OWNERS,
    bar_plot,
    table,
    table_metadata,
    write_metadata,
)
from spy_assets.defs.failures import without_retry
from spy_assets.defs.models import (
    CHAINS_OBSERVED,
    GROUP,
    TRAINING_POOL,
    ppo_daily,
    select,
    training_metadata,
)
from spy_assets.defs.partitions import SESSIONS
from spy_assets.defs.resources import SpyResource
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from spy_assets.models.outcomes.finetune import FinetuneConfig, FinetunedPolicy
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.models.policy.windows import Windows
    from spy_assets.warehouse import Warehouse

OBSERVED = [
    dg.AssetDep(["features", "daily_15"], partition_mapping=dg.TimeWindowPartitionMapping()),
    *CHAINS_OBSERVED,
]
REGIMES_OF_SESSIONS = dg.AssetDep(
    ["features", "adjusted_bars"], partition_mapping=dg.TimeWindowPartitionMapping()
)


def agent_asset(
    name: str,
    description: str,
    *,
    deps: Sequence[Any],
    kinds: set[str],
    table_name: str = "models.training_runs",
) -> Callable[[Callable[..., dg.MaterializeResult]], dg.AssetsDefinition]:
    """An asset of agents: by session, one at a time with other trainings."""
    return dg.asset(
        key=["models", name],
        deps=deps,
        group_name=GROUP,
        kinds=kinds,
        owners=OWNERS,
        tags={"layer": "model"},
        description=description,
        metadata=table_metadata(table_name),
        partitions_def=SESSIONS,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        pool=TRAINING_POOL,
        code_version="1",
    )


class TrainingRun(dg.Config):
    """How long to train; the preset's values where nothing is given."""

    preset: str = ""
    """Name of the preset; by default the one of the algorithm, or `sample` where any may be trained."""
    timesteps: int = 0
    """Environment steps per seed; 0 takes the preset's."""
    seeds: int = 0
    """Number of seeds; 0 takes the preset's."""
    episode_length: int = 0
    """Sessions of an episode; 0 takes the preset's."""


class AgentRun(TrainingRun):
    """How long to train, and whether by what a search found."""

    tuned: bool = False
    """Take what the last search known at the session changes of the preset."""


class RoutingRun(AgentRun):
    """As for an agent, and which regimes get a policy of their own."""

    least_sessions: int = 252
    """Training sessions that a regime needs for it, about a year; the others share the neutral one's."""


class FinetuneRun(dg.Config):
    """How far outcomes or preferences may move the policy."""

    beta: float = 0.25
    """Gain that multiplies the odds of an action by e."""
    kl_coef: float = 0.1
    """Weight of the divergence from the policy as it was."""
    epochs: int = 200
    """Steps of the descent."""


class PreferenceRun(FinetuneRun):
    """As for outcomes; scores are log odds, which need no other scale."""

    beta: float = 1.0
    walks: int = 4
    """How often the training window is walked, each time with other draws."""
    l2: float = 0.0
    """Penalty of the reward's fit; 0 takes that of the last reward model known at the session."""


class RewardRun(dg.Config):
    """How the reward is fitted."""

    l2: float = 1.0
    """Penalty; larger says less for the same answers."""


class EnsembleRun(dg.Config):
    """How the members vote."""

    agreement: float = 0.5
    """Weight that must want an entry, 0 to 1."""


class SearchRun(TrainingRun):
    """What to search around, and how long."""

    trials: int = 20
    """Configurations to finish in all; a larger number goes on with the same search."""
    seed: int = 0
    """Of the proposals."""


def agent_preset(
    run: TrainingRun, default: str, found: learning.Tuned | None = None
) -> "AgentConfig":
    """The preset with what a search found and, above that, what the run asks for."""
    from spy_assets.models.policy.config import preset, seeds

    asked: dict[str, Any] = {"timesteps": run.timesteps, "episode_length": run.episode_length}
    asked["seeds"] = seeds(run.seeds) if run.seeds else ()
    changes = {name: value for name, value in asked.items() if value}
    return preset(run.preset or default, **{**(found.params if found else {}), **changes})


def final_failures() -> AbstractContextManager[None]:
    """What trying again cannot mend fails the run at once."""
    from spy_assets.errors import DataError, ModelFileMismatch
    from spy_assets.models.policy.train import TrainingStopped
    from spy_assets.models.search.study import SearchBusy

    return without_retry(DataError, ModelFileMismatch, TrainingStopped, SearchBusy)


def _session(context: dg.AssetExecutionContext) -> date:
    return date.fromisoformat(context.partition_key)


def _train_member(
    context: dg.AssetExecutionContext, spy: SpyResource, run: AgentRun, model: str
) -> dg.MaterializeResult:
    """Train on the window that ends with the partition's session, register, and record the run."""
    from spy_assets.models.policy.config import require_algorithm

    algorithm, session = composites.MEMBERS[model], _session(context)
    with spy.warehouse() as lake, final_failures():
        found = learning.tuned_parameters(lake, session, algorithm) if run.tuned else None
        config = agent_preset(run, algorithm, found)
        require_algorithm(config, algorithm, model)
        snapshot = lake.snapshot_id()
        cut = account.windows(lake, spy.settings, session, snapshot=snapshot)
        selection = select(context, spy.settings, model, cut.training, config)
        record = registering.training_record(
            spy.settings, context.partition_key, cut, selection, config, snapshot,
            context.run.run_id, model, found,
        )  # fmt: skip
        logged, written = registering.register(lake, spy, record)
    return dg.MaterializeResult(metadata=training_metadata(selection, record, logged, written))


def _member(model: str, algorithm: str) -> dg.AssetsDefinition:
    @agent_asset(
        model,
        f"Masked {algorithm} on the same window and account as the daily PPO: a member of the ensemble.",
        deps=OBSERVED,
        kinds={"pytorch", "mlflow", "python"},
    )
    def member(
        context: dg.AssetExecutionContext, spy: SpyResource, config: AgentRun
    ) -> dg.MaterializeResult:
        return _train_member(context, spy, config, model)

    return member


a2c_daily = _member("a2c_daily", "A2C")
dqn_daily = _member("dqn_daily", "DQN")


@agent_asset(
    "ensemble_weights",
    "Weights of PPO, A2C and DQN from the end of the training window, and how their vote does "
    "on the validation window, beside each alone and the published weights; with its abstain "
    "rate. The vote is registered as a challenger of the daily model.",
    deps=[ppo_daily, a2c_daily, dqn_daily],
    kinds={"python", "mlflow", "ducklake"},
    table_name="models.ensemble_weights",
)
def ensemble_weights(
    context: dg.AssetExecutionContext, spy: SpyResource, config: EnsembleRun
) -> dg.MaterializeResult:
    """Weigh the members on sessions before those that the vote is judged on, and register it."""
    session, spec = _session(context), TABLES["models.ensemble_weights"]
    with spy.warehouse() as lake, final_failures():
        members = composites.members_of(lake, spy, context.partition_key)
        snapshot = lake.snapshot_id()
        cut = account.windows(lake, spy.settings, session, snapshot=snapshot)
        judged = account.venue(spy.settings, cut)
        evidence = composites.evidence_of(judged, cut, members)
        found = composites.weigh(
            evidence, judged, members, session, spy.settings.source, config.agreement
        )
        rows = registering.frame(spec, found.rows)
        result = lake.write(spec, rows, ingested_at=spy.utc_now())
        vote = composites.vote_record(
            spy.settings, context.partition_key, cut, members, found, config.agreement,
            snapshot=snapshot, run_id=context.run.run_id,
        )  # fmt: skip
        logged, _ = registering.register(lake, spy, vote)
    return dg.MaterializeResult(
        metadata=write_metadata(result)
        | {
            "version": logged.version or "none yet",
            "weights": table(rows.select("member", "weight", "preset_weight", "information_ratio")),
            "net_pnl": bar_plot(
                list(found.net_pnl), list(found.net_pnl.values()), "Net P&L on judged sessions, $"
            ),
            "abstain_rate": "no chance to enter"
            if found.abstain_rate is None
            else found.abstain_rate,
        }
    )


def _finetuned(
    context: dg.AssetExecutionContext,
    spy: SpyResource,
    lake: "Warehouse",
    cut: "Windows",
    base: agent_training.BasePolicy,
    tuned: "FinetunedPolicy",
    lesson: Mapping[str, Any],
    *,
    digest: str,
    snapshot: int,
) -> dg.MaterializeResult:
    """Register what a fine-tuning gave, and show it beside the policy that it came from.

    The same weights are the same version: registered again they would replace the record of the training
    that made them.
    """
    from spy_assets.models.policy.inference import PolicyNet
    from spy_assets.models.policy.weights import decode_weights

    if tuned.policy_hash == base.net.weights.policy_hash:
        return _nothing_learnt(f"{tuned.outcomes} outcomes leave version {base.version} as it is")
    record = agent_training.tuned_record(
        spy.settings, context.partition_key, base, tuned, lesson,
        digest=digest, snapshot=snapshot, run_id=context.run.run_id,
    )  # fmt: skip
    net = PolicyNet.from_weights(decode_weights(record.weights))
    venue = account.venue(spy.settings, cut)
    compared = agent_training.compare(venue, base.net.probabilities, net.probabilities)
    logged, written = registering.register(lake, spy, record)
    shown: dict[str, Any] = write_metadata(written) if written else {"spooled": str(logged.reason)}
    return dg.MaterializeResult(
        metadata=shown
        | {
            "version": logged.version or "none yet",
            "from_version": base.version,
            "outcomes": tuned.outcomes,
            "kl": tuned.kl,
            "verdict": compared.words,
            "net_pnl": bar_plot(
                ["before", "after"],
                [compared.before.daily.net_pnl, compared.after.daily.net_pnl],
                "Net P&L on the validation window, $",
            ),
        }
    )


def _finetune_config(run: FinetuneRun) -> "FinetuneConfig":
    from spy_assets.models.outcomes.finetune import FinetuneConfig

    return FinetuneConfig(beta=run.beta, kl_coef=run.kl_coef, epochs=run.epochs)


@agent_asset(
    "outcome_finetune",
    "The window's policy, moved towards what its signals really earned. Only outcomes that "
    "had closed before the validation window teach; without any, nothing is registered.",
    deps=[
        ppo_daily,
        dg.AssetDep(["ledger", "outcomes"], partition_mapping=dg.AllPartitionMapping()),
    ],
    kinds={"python", "mlflow"},
)
def outcome_finetune(
    context: dg.AssetExecutionContext, spy: SpyResource, config: FinetuneRun
) -> dg.MaterializeResult:
    """Fine-tune by realised outcomes; a challenger for the gate."""
    from spy_assets.models.outcomes.finetune import finetune

    with spy.warehouse() as lake, final_failures():
        snapshot = lake.snapshot_id()
        cut = account.windows(lake, spy.settings, _session(context), snapshot=snapshot)
        base = agent_training.base_policy(
            lake, spy.registry(), context.partition_key, account.mandate(spy.settings)
        )
        known = learning.realised_outcomes(lake, spy.settings, cut.train_end, cut.path.contract)
        if not len(known):
            return _nothing_learnt(f"no outcome closed by {cut.train_end}", known.left_out)
        own = _finetune_config(config)
        return _finetuned(
            context, spy, lake, cut, base, finetune(base.net.weights, known, own),
            {"finetuned_by": "outcomes", **_prefixed(own.hyperparameters())},
            digest=agent_training.outcomes_digest(known), snapshot=snapshot,
        )  # fmt: skip


def _prefixed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"finetune_{name}": value for name, value in values.items()}


def _nothing_learnt(reason: str, left_out: Mapping[str, int] | None = None) -> dg.MaterializeResult:
    """The policy stays as it is, bit by bit, so that there is nothing to register."""
    metadata: dict[str, Any] = {"version": "none", "reason": reason}
    return dg.MaterializeResult(metadata=metadata | {"left_out": dict(left_out or {})})


@agent_asset(
    "reward_model",
    "What answers of `spy prefs collect` say people like about trades: a Bradley-Terry model "
    "with its held-out accuracy.",
    deps=[dg.AssetDep(["ledger", "outcomes"], partition_mapping=dg.AllPartitionMapping())],
    kinds={"python", "ducklake"},
    table_name="models.reward_models",
)
def reward_model(
    context: dg.AssetExecutionContext, spy: SpyResource, config: RewardRun
) -> dg.MaterializeResult:
    """Fit the reward to the answers about trades that had closed by the session's decision time."""
    session, spec = _session(context), TABLES["models.reward_models"]
    with spy.warehouse() as lake:
        pairs = learning.answered_pairs(lake, spy.settings, session)
        if not len(pairs):
            return _nothing_learnt(f"no answer about trades that had closed by {session}")
        row = learning.reward_row(spy.settings, session, pairs, config.l2)
        result = lake.write(spec, registering.frame(spec, [row]), ingested_at=spy.utc_now())
    likes: dict[str, float] = learning.likes(row)
    return dg.MaterializeResult(
        metadata=write_metadata(result)
        | {
            "pairs": row["pairs"],
            "verdict": learning.accuracy_words(row),
            "likes": bar_plot(list(likes), list(likes.values()), "Log odds per feature"),
        }
    )


@agent_asset(
    "preference_finetune",
    "The window's policy, moved towards trades that people prefer, as the reward model scores"
    " them on the training window; a challenger for the gate.",
    deps=[ppo_daily, reward_model],
    kinds={"python", "mlflow"},
)
def preference_finetune(
    context: dg.AssetExecutionContext, spy: SpyResource, config: PreferenceRun
) -> dg.MaterializeResult:
    """Fine-tune by the learnt reward."""
    from spy_assets.models.outcomes.finetune import finetune
    from spy_assets.models.preference.finetune import simulated_preferences

    with spy.warehouse() as lake, final_failures():
        snapshot = lake.snapshot_id()
        cut = account.windows(lake, spy.settings, _session(context), snapshot=snapshot)
        base = agent_training.base_policy(
            lake, spy.registry(), context.partition_key, account.mandate(spy.settings)
        )
        # Answers about later trades would have seen the validation window.
        pairs = learning.answered_pairs(lake, spy.settings, cut.train_end)
        if not len(pairs):
            return _nothing_learnt(f"no answer about trades that had closed by {cut.train_end}")
        l2 = config.l2 or learning.reward_penalty(lake, _session(context))
        model = learning.reward_of(spy.settings, pairs, l2)
        account_of = learning.fresh_account(spy.settings, cut.training)
        liked = simulated_preferences(
            base.net.weights, account_of, model, walks=config.walks, seed=base.seed
        )
        own = _finetune_config(config)
        lesson = {"answers": len(pairs), "reward_l2": l2, "walks": config.walks}
        return _finetuned(
            context, spy, lake, cut, base, finetune(base.net.weights, liked, own),
            {"finetuned_by": "preferences", **lesson, **_prefixed(own.hyperparameters())},
            digest=agent_training.outcomes_digest(liked), snapshot=snapshot,
        )  # fmt: skip


@agent_asset(
    "regime_routing",
    "A policy per market regime with enough sessions, each registered, and whether routing "
    "among them beats one policy that sees the regime: not better unless the interval says "
    "so. The router is registered as a challenger of the daily model in any case.",
    deps=[*OBSERVED, REGIMES_OF_SESSIONS],
    kinds={"pytorch", "mlflow", "python"},
    table_name="models.regime_routing",
)
def regime_routing(
    context: dg.AssetExecutionContext, spy: SpyResource, config: RoutingRun
) -> dg.MaterializeResult:
    """Train by regime, register the policies, and record the verdict on routing."""
    from spy_assets.models.policy.config import require_algorithm

    session, spec = _session(context), TABLES["models.regime_routing"]
    with spy.warehouse() as lake, final_failures():
        found = learning.tuned_parameters(lake, session, "ppo") if config.tuned else None
        own = agent_preset(config, "sample", found)
        require_algorithm(own, "ppo", "ppo_REGIME")
        snapshot = lake.snapshot_id()
        cut = account.windows(lake, spy.settings, session, snapshot=snapshot)
        routed = composites.route(
            spy.settings, cut, own,
            lambda path, name: select(context, spy.settings, f"ppo_{name}", path, own),
            least=config.least_sessions,
        )  # fmt: skip
        versions = {}
        for regime, selection in routed.selections.items():
            record = registering.training_record(
                spy.settings, context.partition_key, cut, selection, own, snapshot,
                context.run.run_id, f"ppo_{regime}", found,
            )  # fmt: skip
            logged, _ = registering.register(lake, spy, record)
            versions[regime] = logged.version or "spooled"
        row = composites.routing_row(spy.settings, session, routed, versions, snapshot)
        result = lake.write(spec, registering.frame(spec, [row]), ingested_at=spy.utc_now())
        router = composites.router_record(
            spy.settings, context.partition_key, cut, own, routed, versions,
            snapshot=snapshot, run_id=context.run.run_id, found=found,
        )  # fmt: skip
        logged, _ = registering.register(lake, spy, router)
    return dg.MaterializeResult(
        metadata=write_metadata(result)
        | {
            "version": logged.version or "none yet",
            "verdict": routed.verdict.words,
            "policies": versions,
            "sessions": dict(routed.sessions),
            "net_pnl": bar_plot(
                ["routed", "one policy"],
                [routed.verdict.routed, routed.verdict.single],
                "Net P&L, $",
            ),
        }
    )


@agent_asset(
    "hyperparameters",
    "The best hyper-parameters of a search inside the training window, with the number of "
    "configurations tried. Goes on where it was stopped or killed.",
    deps=OBSERVED,
    kinds={"pytorch", "python"},
    table_name="models.hyperparameters",
)
def hyperparameters(
    context: dg.AssetExecutionContext, spy: SpyResource, config: SearchRun
) -> dg.MaterializeResult:
    """Search; what is reported later never chose."""
    from spy_assets.models.policy.stopping import stop_on_sigterm
    from spy_assets.models.search.study import SearchPlan, search

    session, spec = _session(context), TABLES["models.hyperparameters"]
    base, plan = agent_preset(config, "sample"), SearchPlan(trials=config.trials, seed=config.seed)
    with spy.warehouse() as lake, final_failures(), stop_on_sigterm() as stop:
        snapshot = lake.snapshot_id()
        path = account.windows(lake, spy.settings, session, snapshot=snapshot).training
        found = search(
            path, base, plan, spy.settings.root / "searches",
            trading=account.trading(spy.settings), stop=stop,
            progress=lambda done, text: context.log.info(f"progress {done:.3f} {text}"),
        )  # fmt: skip
        row = learning.search_row(spy.settings, session, found, path, snapshot)
        result = lake.write(spec, registering.frame(spec, [row]), ingested_at=spy.utc_now())
    return dg.MaterializeResult(
        metadata=write_metadata(result)
        | {
            "trials": found.trials,
            "pruned": found.pruned,
            "failed": found.failed,
            "improved": found.improved,
            "best": found.best_params,
            "net_pnl": bar_plot(
                ["base", "best"], [found.base_pnl, found.best_pnl], "Inner validation, net P&L, $"
            ),
        }
    )


ASSETS = [
    a2c_daily,
    dqn_daily,
    ensemble_weights,
    outcome_finetune,
    reward_model,
    preference_finetune,
    regime_routing,
    hyperparameters,
]
