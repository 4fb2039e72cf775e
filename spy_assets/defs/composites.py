"""Several policies as one version: the members' vote, the router among regimes, and their records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from spy_assets.defs import account, registering
from spy_assets.defs.agent_training import COMPOSITE, BasePolicy, base_policy, trained_versions
from spy_assets.errors import DataError
from spy_assets.sessions import decision_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from spy_assets.defs.learning import Tuned
    from spy_assets.defs.resources import SpyResource
    from spy_assets.evaluation.backtest import BacktestResult, Venue
    from spy_assets.evaluation.regime_routing import RoutingVerdict
    from spy_assets.models.composite import CompositeWeights
    from spy_assets.models.policy.asking import Probabilities
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.models.policy.inference import PolicyNet
    from spy_assets.models.policy.select import Selection
    from spy_assets.models.policy.windows import Windows
    from spy_assets.registry import TrainingRecord
    from spy_assets.settings import Settings
    from spy_assets.simulator.market_path import MarketPath
    from spy_assets.warehouse import Warehouse

#: Registered models that vote -> their algorithm.
MEMBERS: Mapping[str, str] = {"ppo_daily": "ppo", "a2c_daily": "a2c", "dqn_daily": "dqn"}


def composite_record(
    settings: Settings,
    partition: str,
    cut: Windows,
    joined: CompositeWeights,
    *,
    parts: Mapping[str, str],
    timesteps: int,
    lesson: Mapping[str, Any],
    metrics: Mapping[str, float],
    snapshot: int,
    run_id: str,
) -> TrainingRecord:
    """What a composite has to say to the registry: a version of the daily model's seat.

    Parameters
    ----------
    joined
        Members and rule.
    parts
        Member to the version that it is a copy of.
    timesteps
        Environment steps of all members.
    lesson, metrics
        How it came to be, and how it did.
    """
    from spy_assets.features.contracts import get_contract
    from spy_assets.models.composite import encode_composite
    from spy_assets.models.policy.train import path_digest
    from spy_assets.registry import TrainingRecord

    contract = get_contract(joined.contract)
    rule = joined.rule.values()
    return TrainingRecord(
        profile=settings.profile_name,
        model=registering.MODEL,
        partition=partition,
        policy_hash=joined.policy_hash,
        seed=0,  # none of its own
        weights=encode_composite(joined, contract),
        contract=contract.name,
        contract_sha256=contract.sha256,
        observation=contract.names,
        train_start=cut.training.sessions[0],
        train_end=cut.train_end,
        dataset_digest=path_digest(cut.training),
        dataset_rows=len(cut.training),
        lake_snapshot=snapshot,
        timesteps=timesteps,
        dagster_run_id=run_id,
        mandate=joined.mandate,
        hyperparameters={COMPOSITE: rule["kind"], "members": dict(parts), "rule": rule, **lesson},
        metrics=metrics,
    )


# ---------------------------------------------------------------- the ensemble


@dataclass(frozen=True)
class Member:
    """A registered policy that votes.

    ``tail`` is the part of the training window that it was not trained on, 0 to 1; ``search`` is what it
    says of the searches that it was tuned by.
    """

    version: str
    net: PolicyNet
    tail: float
    timesteps: int
    search: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Weighed:
    """Weights of the members and how the ensemble did with them.

    Attributes
    ----------
    rows
        Rows of ``models.ensemble_weights``.
    weights
        Member to its weight.
    net_pnl
        Name to net P&L on the judged sessions, dollars: the ensemble, each member alone, the preset.
    abstain_rate
        Share of the chances to enter at which it abstained; None without any.
    """

    rows: list[dict[str, Any]]
    weights: Mapping[str, float]
    net_pnl: dict[str, float]
    abstain_rate: float | None

    @property
    def metrics(self) -> dict[str, float]:
        """What the registry is told; no rate without a chance to enter."""
        found = {"judged_net_pnl": self.net_pnl["ensemble"]}
        if self.abstain_rate is not None:
            found["abstain_rate"] = self.abstain_rate
        return found


def evidence_of(venue: Venue, cut: Windows, members: Mapping[str, Member]) -> Venue:
    """The sessions by which members are weighed: the end of the training window.

    None of the members was trained on them; each chose its seed there, as a single policy does. The
    validation window is not looked at: the gate judges the vote on all of it.
    """
    sessions = cut.train_stop - cut.train_start
    tail = max(2, round(min(one.tail for one in members.values()) * sessions))
    return replace(venue, start=cut.train_stop - tail, stop=cut.train_stop)


def weigh(
    evidence: Venue,
    judged: Venue,
    members: Mapping[str, Member],
    session: date,
    source: str,
    agreement: float,
) -> Weighed:
    """Weigh members by sessions before those that are judged, and run the vote on these.

    Parameters
    ----------
    evidence, judged
        See :func:`evidence_of`, and the validation window.
    members
        Registered model to its version and network.
    session, source
        Of the rows.
    agreement
        Least weight that must want an entry.
    """
    from spy_assets.evaluation.backtest import greedy, run_policy
    from spy_assets.models.ensemble import PRESET_WEIGHTS, Ensemble, VoteLog, normalised

    asked = {name: one.net.probabilities for name, one in members.items()}
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
            "version": one.version,
            "weight": weights[name],
            "preset_weight": preset[name],
            "information_ratio": ratios[name],
            "net_pnl": runs[name].daily.net_pnl,
        }
        for name, one in members.items()
    ]
    return Weighed(rows, weights, pnl, log.abstain_rate)


def _weights(
    runs: Mapping[str, BacktestResult], judged_from: date
) -> tuple[dict[str, float], dict[str, float]]:
    """Weights and information ratios of members, by their runs before ``judged_from``."""
    from spy_assets.models.ensemble import Record, performance_weights

    records = {name: Record(run.sessions, run.daily_pnl) for name, run in runs.items()}
    ratios = {name: record.information_ratio for name, record in records.items()}
    return performance_weights(records, judged_from=judged_from), ratios


def members_of(lake: Warehouse, spy: SpyResource, partition: str) -> dict[str, Member]:
    """The members that were trained for a window and the settings' mandate.

    Raises
    ------
    DataError
        Fewer than two were.
    """
    from spy_assets.registry.records import SEARCH

    found, mandate = {}, account.mandate(spy.settings)
    for name in MEMBERS:
        registry = spy.registry(name)
        registering.register_spooled(lake, registry, spy.settings, spy.utc_now())
        if trained_versions(lake, registry, partition, mandate):
            base = base_policy(lake, registry, partition, mandate)
            (search,) = registry.versions().filter(version=base.version).select(SEARCH).to_dicts()
            found[name] = _member(base, search)
    if len(found) < 2:
        raise DataError(
            f"{len(found)} members are trained for {partition}: {', '.join(found) or 'none'}",
            hint="materialize two or more of models/ppo_daily, a2c_daily and dqn_daily for it",
        )
    return found


def _member(base: BasePolicy, search: Mapping[str, Any]) -> Member:
    from spy_assets.models.policy.config import AgentConfig

    usual = AgentConfig.model_fields["validation_fraction"].default
    tail = json.loads(base.row["hyperparameters"]).get("validation_fraction", usual)
    return Member(base.version, base.net, tail, base.row["timesteps"], search)


def vote_record(
    settings: Settings,
    partition: str,
    cut: Windows,
    members: Mapping[str, Member],
    weighed: Weighed,
    agreement: float,
    *,
    snapshot: int,
    run_id: str,
) -> TrainingRecord:
    """The members' vote as a version, with the searches that the members were tuned by."""
    from spy_assets.models.composite import CompositeWeights, VoteRule
    from spy_assets.registry.records import search_values, searches_of

    parts = {name: one.net.weights for name, one in members.items()}
    tuned_by = searches_of(*(one.search for one in members.values()))
    return composite_record(
        settings,
        partition,
        cut,
        CompositeWeights(parts, VoteRule(weighed.weights, agreement)),
        parts={name: one.version for name, one in members.items()},
        timesteps=sum(one.timesteps for one in members.values()),
        lesson=search_values(tuned_by),
        metrics=weighed.metrics,
        snapshot=snapshot,
        run_id=run_id,
    )


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
    *,
    least: int,
) -> Routed:
    """Train a policy per regime and one that sees the regime, and compare them where neither was.

    Parameters
    ----------
    settings, cut, config
        Account, windows and hyper-parameters.
    select
        Trains all seeds on a path and keeps the best on its tail; told what for.
    least
        Training sessions that a regime needs for a policy of its own.
    """
    from spy_assets.evaluation.backtest import greedy, run_policy
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

    router = train_regimes(cut.training, known, train, least=least)
    seen = seeing.window(cut.train_start, cut.train_stop)
    single = asked(select(seen, "sees_regime"), seen)
    own = account.venue(settings, cut)

    def run(over: MarketPath, probabilities: Probabilities) -> BacktestResult:
        return run_policy(replace(own, path=over), greedy(probabilities))

    routed, one = run(path, router), run(seeing, single)
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


def router_record(
    settings: Settings,
    partition: str,
    cut: Windows,
    config: AgentConfig,
    routed: Routed,
    versions: Mapping[str, str],
    *,
    snapshot: int,
    run_id: str,
    found: Tuned | None = None,
) -> TrainingRecord:
    """The router as a version, with what its comparison showed: the gate decides all the same.

    ``found`` is by what its policies were tuned.
    """
    from spy_assets.models.composite import CompositeWeights, RouterRule
    from spy_assets.models.policy.select import as_net

    policies = {regime: one.chosen.policy for regime, one in routed.selections.items()}
    contract, lead, mandate = cut.path.contract, routed.verdict.lead, account.mandate(settings)
    parts = {
        regime: as_net(policy, config.activation, contract, mandate).weights
        for regime, policy in policies.items()
    }
    return composite_record(
        settings,
        partition,
        cut,
        CompositeWeights(parts, RouterRule()),
        parts={regime: versions[regime] for regime in parts},
        timesteps=sum(policy.timesteps for policy in policies.values()),
        lesson={
            "routing_better": routed.verdict.better,
            "routing_verdict": routed.verdict.words,
            **(found.origin if found else {}),
        },
        metrics={
            "routing_lead": lead.estimate,
            "routing_lead_low": lead.low,
            "routing_lead_high": lead.high,
            "judged_net_pnl": routed.verdict.routed,
        },
        snapshot=snapshot,
        run_id=run_id,
    )


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
