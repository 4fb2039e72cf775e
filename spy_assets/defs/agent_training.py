"""From what a policy learnt to its registered version: glue between domain, registry and lake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from spy_assets.defs import account, judging
from spy_assets.errors import DataError, ModelFileMismatch
from spy_assets.sessions import decision_time
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from spy_assets.defs.resources import SpyResource
    from spy_assets.evaluation.backtest import BacktestResult, Venue
    from spy_assets.evaluation.regime_routing import RoutingVerdict
    from spy_assets.evaluation.statistics import Interval
    from spy_assets.models.ensemble import Probabilities
    from spy_assets.models.outcomes.finetune import FinetunedPolicy
    from spy_assets.models.outcomes.records import Outcomes
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.models.policy.inference import PolicyNet
    from spy_assets.models.policy.select import Selection
    from spy_assets.models.policy.windows import Windows
    from spy_assets.registry import Registry, TrainingRecord
    from spy_assets.settings import Settings
    from spy_assets.simulator.mandate import Mandate
    from spy_assets.simulator.market_path import MarketPath
    from spy_assets.warehouse import Warehouse

#: In a version's hyper-parameters: the version that it was fine-tuned from.
FINETUNED_FROM = "finetuned_from"
#: Registered models that vote -> their algorithm.
MEMBERS: Mapping[str, str] = {"ppo_daily": "ppo", "a2c_daily": "a2c", "dqn_daily": "dqn"}


@dataclass(frozen=True)
class BasePolicy:
    """A registered policy that is to be fine-tuned: its network, and its row of the training runs."""

    version: str
    net: PolicyNet
    seed: int
    row: Mapping[str, Any]


def base_policy(
    lake: Warehouse, registry: Registry, partition: str, mandate: Mandate
) -> BasePolicy:
    """The last policy that was trained for a window and the settings' mandate, and not fine-tuned.

    Raises
    ------
    ModelFileMismatch
        There is none.
    """
    known = registry.versions().filter(partition=partition)
    mandates = judging.mandates_of(known)
    seeds = {
        version: seed
        for version, seed in known.select("version", "seed").iter_rows()
        if mandates[version] == mandate
    }
    lake.ensure(TABLES["models.training_runs"])
    rows = lake.read("models.training_runs", where="model = ?", params=(registry.model,))
    found = {
        row["version"]: row
        for row in rows.iter_rows(named=True)
        if row["version"] in seeds and FINETUNED_FROM not in json.loads(row["hyperparameters"])
    }
    if not found:
        raise ModelFileMismatch(
            f"{registry.name} has no trained version of {partition} for {mandate}",
            hint=f"materialize models/{registry.model} for {partition}",
        )
    version = max(found, key=int)
    return BasePolicy(version, registry.load(version), seeds[version], found[version])


def tuned_record(
    settings: Settings,
    partition: str,
    base: BasePolicy,
    tuned: FinetunedPolicy,
    lesson: Mapping[str, Any],
    *,
    digest: str,
    snapshot: int,
    run_id: str,
) -> TrainingRecord:
    """What a fine-tuning has to say to the registry.

    ``lesson`` is how it was tuned and by what; ``digest`` the SHA-256 of what it learnt from.
    """
    from spy_assets.features.contracts import get_contract
    from spy_assets.models.policy.weights import encode_weights
    from spy_assets.registry import SeedRun, TrainingRecord

    weights, row = base.net.weights, base.row
    contract = get_contract(weights.contract)
    metrics = {"finetune_kl": tuned.kl, "finetune_outcomes": float(tuned.outcomes)}
    own = {name: value for name, value in _base_parameters(row).items() if name != "symbol"}
    return TrainingRecord(
        profile=settings.profile_name,
        model=row["model"],
        partition=partition,
        policy_hash=tuned.policy_hash,
        seed=base.seed,
        weights=encode_weights(
            tuned.state_dict,
            contract,
            activation=weights.activation,
            mandate=weights.mandate,
        ),
        contract=contract.name,
        contract_sha256=contract.sha256,
        observation=contract.names,
        train_start=row["train_start"],
        train_end=row["train_end"],
        dataset_digest=hashlib.sha256(f"{row['dataset_digest']}|{digest}".encode()).hexdigest(),
        dataset_rows=tuned.outcomes,
        lake_snapshot=snapshot,
        timesteps=row["timesteps"],
        dagster_run_id=run_id,
        mandate=weights.mandate,
        hyperparameters=own | {FINETUNED_FROM: base.version} | dict(lesson),
        metrics=metrics,
        seeds=[SeedRun(base.seed, tuned.policy_hash, metrics, tuned.curve)],
    )


def _base_parameters(row: Mapping[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = json.loads(row["hyperparameters"])
    return parameters


def outcomes_digest(outcomes: Outcomes) -> str:
    """SHA-256 over what was learnt from: ids, observations, actions and gains."""
    import numpy as np

    digest = hashlib.sha256(",".join(outcomes.ids).encode())
    for values in (outcomes.observation, outcomes.gain, outcomes.action.astype(np.float64)):
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Compared:
    """A tuned policy beside the one that it came from, on sessions that neither learnt from."""

    before: BacktestResult
    after: BacktestResult
    lead: Interval

    @property
    def words(self) -> str:
        """The comparison in one sentence."""
        told = "better" if self.lead.above_zero else "not better"
        lead = (
            f"{self.lead.estimate:+.2f} $ a session ({self.lead.low:+.2f} to {self.lead.high:+.2f})"
        )
        return f"{told} than the version that it came from: {lead}"


def compare(venue: Venue, before: Probabilities, after: Probabilities) -> Compared:
    """Run both over the validation window; the gate judges the tuned one again, with its rivals."""
    from spy_assets.evaluation.backtest import greedy, run_policy
    from spy_assets.evaluation.statistics import bootstrap_difference

    first = run_policy(venue, greedy(before), name="before")
    second = run_policy(venue, greedy(after), name="after")
    return Compared(first, second, bootstrap_difference(second.daily_pnl, first.daily_pnl, seed=0))


# ---------------------------------------------------------------- the ensemble


@dataclass(frozen=True)
class Weighed:
    """Weights of the members and how the ensemble did with them.

    Attributes
    ----------
    rows
        Rows of ``models.ensemble_weights``.
    net_pnl
        Name to net P&L on the judged sessions, dollars: the ensemble, each member alone, the preset.
    abstain_rate
        Share of the chances to enter at which it abstained; None without any.
    """

    rows: list[dict[str, Any]]
    net_pnl: dict[str, float]
    abstain_rate: float | None


def weigh(
    venue: Venue,
    members: Mapping[str, tuple[str, PolicyNet]],
    session: date,
    source: str,
    agreement: float,
) -> Weighed:
    """Weigh members by the first half of the validation window, and judge them on the second.

    Parameters
    ----------
    venue
        The validation window.
    members
        Registered model to its version and network.
    session, source
        Of the rows.
    agreement
        Least weight that must want an entry.
    """
    from spy_assets.evaluation.backtest import greedy, run_policy
    from spy_assets.models.ensemble import PRESET_WEIGHTS, Ensemble, VoteLog, normalised

    half = venue.start + (venue.end - venue.start) // 2
    evidence, judged = replace(venue, stop=half), replace(venue, start=half)
    asked = {name: net.probabilities for name, (_, net) in members.items()}
    runs = {name: run_policy(evidence, greedy(ask), name=name) for name, ask in asked.items()}
    weights, ratios = _weights(runs, judged.sessions[0])
    preset = normalised({name: PRESET_WEIGHTS[MEMBERS[name]] for name in members})
    log = VoteLog(Ensemble(asked, weights, agreement))
    published = Ensemble(asked, preset, agreement)
    alone = {"ensemble": log.probabilities, **asked, "preset": published.probabilities}
    pnl = {name: run_policy(judged, greedy(ask)).daily.net_pnl for name, ask in alone.items()}
    common = {
        "window_end": session,
        "evidence_start": evidence.sessions[0],
        "evidence_end": evidence.sessions[-1],
        "agreement": agreement,
        "abstain_rate": log.abstain_rate,
        "ensemble_pnl": pnl["ensemble"],
        "available_at": decision_time(session),
        "source": source,
    }
    rows = [
        common
        | {
            "member": name,
            "version": version,
            "weight": weights[name],
            "preset_weight": preset[name],
            "information_ratio": ratios[name],
            "net_pnl": runs[name].daily.net_pnl,
        }
        for name, (version, _) in members.items()
    ]
    return Weighed(rows, pnl, log.abstain_rate)


def _weights(
    runs: Mapping[str, BacktestResult], judged_from: date
) -> tuple[dict[str, float], dict[str, float]]:
    """Weights and information ratios of members, by their runs before ``judged_from``."""
    from spy_assets.models.ensemble import Record, performance_weights

    records = {name: Record(run.sessions, run.daily_pnl) for name, run in runs.items()}
    ratios = {name: record.information_ratio for name, record in records.items()}
    return performance_weights(records, judged_from=judged_from), ratios


def members_of(
    lake: Warehouse, spy: SpyResource, partition: str
) -> dict[str, tuple[str, PolicyNet]]:
    """The members that were trained for a window, each with its version.

    Raises
    ------
    DataError
        Fewer than two were.
    """
    found = {}
    for name in MEMBERS:
        registry = spy.registry(name)
        judging.register_spooled(lake, registry, spy.settings, spy.utc_now())
        if not registry.versions().filter(partition=partition).is_empty():
            base = base_policy(lake, registry, partition, account.mandate(spy.settings))
            found[name] = (base.version, base.net)
    if len(found) < 2:
        raise DataError(
            f"{len(found)} members are trained for {partition}: {', '.join(found) or 'none'}",
            hint="materialize two or more of models/ppo_daily, a2c_daily and dqn_daily for it",
        )
    return found


# ---------------------------------------------------------------- policies by regime


@dataclass(frozen=True)
class Routed:
    """Policies by regime with what they had, and the verdict on routing."""

    selections: dict[str, Selection]
    sessions: Mapping[str, int]
    verdict: RoutingVerdict


def route(
    settings: Settings,
    cut: Windows,
    config: AgentConfig,
    select: Callable[[MarketPath, str], Selection],
) -> Routed:
    """Train a policy per regime and one that sees the regime, and compare them where neither was.

    Parameters
    ----------
    settings, cut, config
        Account, windows and hyper-parameters.
    select
        Trains all seeds on a path and keeps the best on its tail; told what for.
    """
    from spy_assets.evaluation.backtest import Venue, greedy, run_policy
    from spy_assets.evaluation.regime_routing import compare_routing
    from spy_assets.models.policy.select import as_net
    from spy_assets.models.routing import path_regimes, path_seeing_regime, train_regimes

    path, selections = cut.path, dict[str, Any]()
    regimes, seeing = path_regimes(path), path_seeing_regime(path, path_regimes(path))
    known = _trainable(cut.training, regimes[cut.train_start : cut.train_stop], config)

    def asked(selection: Selection, seen: MarketPath) -> Probabilities:
        return as_net(selection.chosen.policy, config.activation, seen.contract).probabilities

    def train(shown: MarketPath, regime: str) -> Probabilities:
        selections[regime] = select(shown, regime)
        return asked(selections[regime], shown)

    router = train_regimes(cut.training, known, train)
    seen = seeing.window(cut.train_start, cut.train_stop)
    single = asked(select(seen, "sees_regime"), seen)
    own = account.venue(settings, cut)

    def run(over: MarketPath, probabilities: Probabilities) -> BacktestResult:
        venue = Venue(over, own.start, None, own.costs, own.rules, own.capital, own.config)
        return run_policy(venue, greedy(probabilities))

    routed, one = run(path, router.on_path(path, regimes)), run(seeing, single)
    judged = regimes[own.start : len(path) - 1]
    return Routed(selections, router.sessions, compare_routing(routed, one, judged))


def _trainable(
    path: MarketPath, regimes: Sequence[str | None], config: AgentConfig
) -> tuple[str | None, ...]:
    """The regimes, without those that no episode could start in or no seed be compared on."""
    from spy_assets.features.regime import REGIMES
    from spy_assets.models.policy.select import split_for_selection
    from spy_assets.models.routing import path_of_regime

    usable = set()
    for regime in REGIMES:
        head, tail = split_for_selection(path_of_regime(path, regimes, regime), config)
        if head.valid[: len(head) - config.episode_length].any() and tail.valid[:-1].any():
            usable.add(regime)
    return tuple(one if one in usable else None for one in regimes)


def routing_row(
    settings: Settings, session: date, routed: Routed, versions: Mapping[str, str], snapshot: int
) -> dict[str, Any]:
    """The row of ``models.regime_routing``."""
    verdict = routed.verdict
    return {
        "window_end": session,
        "better": verdict.better,
        "lead": verdict.lead.estimate,
        "ci_low": verdict.lead.low,
        "ci_high": verdict.lead.high,
        "routed_pnl": verdict.routed,
        "single_pnl": verdict.single,
        "policies": json.dumps(dict(versions), sort_keys=True),
        "sessions": json.dumps(dict(routed.sessions), sort_keys=True),
        "by_regime": json.dumps(verdict.by_regime, sort_keys=True),
        "lake_snapshot": snapshot,
        "available_at": decision_time(session),
        "source": settings.source,
    }
