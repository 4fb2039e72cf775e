"""From a version to a verdict, and who is champion by it: glue between domain, registry and lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from spy_assets.defs import account
from spy_assets.defs.registering import MODEL, mandates_of
from spy_assets.defs.seed_runs import SeedRuns, run_seeds
from spy_assets.errors import ContractMismatch, DataError, ModelError, ModelFileMismatch
from spy_assets.sessions import (
    decision_time,
    last_closed_session,
    previous_session,
    sessions_apart,
)
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.evaluation.backtest import BacktestResult, Venue
    from spy_assets.evaluation.gate import GateVerdict
    from spy_assets.models.composite import LoadedPolicy
    from spy_assets.models.policy.inference import PolicyNet
    from spy_assets.registry import Registry
    from spy_assets.settings import Settings
    from spy_assets.signals.champion import Champion
    from spy_assets.simulator.mandate import Mandate
    from spy_assets.warehouse import Warehouse

#: `spy run` tries a new window at most this often, as the weekly schedule does.
RETRAIN_SESSIONS = 5
#: Other versions that are run beside a challenger at most.
MOST_CANDIDATES = 19


@dataclass(frozen=True)
class Judged:
    """A challenger's and its rivals' runs over one window, and the gate's verdict.

    ``effective_from`` is the moment from which the verdict counts, ``lake_snapshot`` what all of it
    was read at, ``recorded`` what was decided about the version before, ``seeds`` the runs of all seeds
    that the version was chosen from.
    """

    version: str
    session: date
    results: tuple[BacktestResult, ...]
    verdict: GateVerdict
    train_end: date
    source: str
    lake_snapshot: int
    effective_from: datetime
    recorded: Mapping[str, Any] | None = None
    seeds: SeedRuns = field(default_factory=SeedRuns)

    def rows(self) -> list[dict[str, Any]]:
        """Rows of ``models.evaluations``."""
        from spy_assets.evaluation.gate import evaluation_rows

        own = {
            "model": MODEL,
            "version": self.version,
            "available_at": decision_time(self.session),
            "source": self.source,
        }
        return [row | own for row in evaluation_rows([*self.results, *self.seeds.results])]

    def promotion_row(self) -> dict[str, Any]:
        """The decision: the row of ``models.promotions``.

        If the same was decided before, its row is given again, with the snapshot that it saw.
        """
        verdict = self.verdict
        row = {
            "model": MODEL,
            "alias": "champion",
            "effective_from": self.effective_from,
            "version": self.version,
            "window_end": self.session,
            "accepted": verdict.accepted,
            "basis": verdict.basis,
            "reason": "; ".join(verdict.reasons),
            "train_end": self.train_end,
            "metrics": json.dumps(verdict.metrics, sort_keys=True),
        }
        known = self.recorded or {}
        same = all(known.get(name) == value for name, value in row.items())
        return row | {
            "lake_snapshot": known["lake_snapshot"] if same else self.lake_snapshot,
            "available_at": self.effective_from,
            "source": self.source,
        }


def judge(
    lake: Warehouse,
    registry: Registry,
    settings: Settings,
    session: date,
    version: str,
    now: datetime,
) -> Judged:
    """Run a version, the reigning champion and all baselines over the validation window.

    Everything is read at one snapshot of the lake, and each policy sees the market by the contract
    that it was trained on. A reigning champion whose own training reached into
    this window is flattered by it, so that the error is on the side of keeping it. One that this
    program cannot run keeps nobody off its seat.
    """
    from spy_assets.evaluation.baselines import run_baselines
    from spy_assets.evaluation.gate import promotion_gate
    from spy_assets.signals.champion import champion_effective_at

    snapshot, known = lake.snapshot_id(), registry.versions()
    decided = promotion_rows(lake, snapshot=snapshot)
    others = [row for row in decided if row["version"] != version]
    moment = _counts_from(settings, session, now)
    incumbent = champion_effective_at(others, moment, settings.train.purge_sessions)
    contracts, mandates = dict(known.select("version", "contract").iter_rows()), mandates_of(known)
    _require_mandate(settings, version, mandates)

    @cache
    def venue_by(contract: str | None, mandate: Mandate | None) -> Venue:
        cut = account.windows(lake, settings, session, snapshot=snapshot, contract=contract)
        return account.venue(settings, cut, mandate)

    def venue_of(policy: str) -> Venue:
        return venue_by(contracts.get(policy), mandates.get(policy))

    def run(policy: str, name: str) -> BacktestResult:
        return _run(venue_of(policy), registry, settings, policy, name)

    def run_seed(net: PolicyNet, name: str) -> BacktestResult:
        if net.weights.policy_hash == chosen["policy_hash"]:
            return replace(challenger, name=name)  # it has been walked already
        return _walk(venue_of(version), settings, net, train_end, name)

    challenger = run(version, "policy")
    (chosen,) = known.filter(version=version).to_dicts()
    train_end = chosen["train_end"]
    seeds = run_seeds(registry, version, run_seed, settings.promotion.confidence)
    champion, vacancy = _incumbent(incumbent, run, moment, settings, mandates)
    baselines = run_baselines(venue_of(version), challenger)
    tried = tried_before(known, version, settings.train.validation_sessions)
    verdict = promotion_gate(
        challenger,
        champion,
        baselines,
        bootstrap=settings.promotion.bootstrap,
        vacancy=vacancy,
        min_trades=settings.promotion.min_trades,
        level=settings.promotion.confidence,
        trials=trials(known, session, settings.train.validation_sessions),
        candidates=_runs_of(tried, run),
        spread=seeds.spread,
        seed_note=seeds.note,
    )
    rivals = tuple(baselines.values()) + (() if champion is None else (champion,))
    recorded = _last_decision(decided, version)
    reigning = champion_effective_at(decided, moment, settings.train.purge_sessions)
    cannot_run = incumbent is not None and champion is None
    if verdict.accepted and _gives_way(reigning, version, mandates, cannot_run=cannot_run):
        recorded = None  # decided anew: as it was taken before it would not be heard
    return Judged(
        version=version,
        session=session,
        results=(challenger, *rivals),
        verdict=verdict,
        train_end=train_end,
        source=settings.source,
        lake_snapshot=snapshot,
        effective_from=_effective_from(verdict, recorded, others, session, moment),
        recorded=recorded,
        seeds=seeds,
    )


def _runs_of(
    versions: Sequence[str], run: Callable[[str, str], BacktestResult]
) -> dict[str, BacktestResult]:
    """Run versions by name; one whose file is gone or broken is no reason to judge nobody else."""
    found = {}
    for version in versions:
        with suppress(ModelFileMismatch, ContractMismatch):
            found[version] = run(version, version)
    return found


def _run(
    venue: Venue, registry: Registry, settings: Settings, version: str, name: str
) -> BacktestResult:
    """A version under the risk layer that its signals would have."""
    train_end = registry.fetch(version).train_end
    return _walk(venue, settings, registry.load(version), train_end, name)


def _walk(
    venue: Venue, settings: Settings, net: LoadedPolicy, train_end: date, name: str
) -> BacktestResult:
    """A policy under the risk layer that its signals would have."""
    from spy_assets.evaluation.backtest import greedy, run_policy
    from spy_assets.signals.risk import risk_filter

    limits = replace(account.desk(settings).limits, max_positions=venue.book.config.max_positions)
    policy = greedy(net.probabilities, min_confidence=limits.min_confidence)
    rules = risk_filter(replace(limits, min_confidence=0.0), train_end=train_end)
    return run_policy(venue, policy, name=name, entry_filter=rules)


def trials(versions: pl.DataFrame, session: date, validation_sessions: int) -> int:
    """How much was tried for this window, by what the registry says of its versions; at least 1.

    These are the versions that are judged on sessions that this window has too, and the configurations
    of the searches that any of them was tuned by, each search once. Only windows up to this one count:
    later ones were not tried when it was judged, and would take an acceptance back when it is judged
    again.

    A vote or a router counts the searches of all that it is made of.

    Neither a search nor the choice of a seed looked at this window: both compare inside the training
    window. A search's configurations are counted all the same, which errs on the side of refusing: they
    are what was tried until something worked. The seeds of one training are not: their spread is judged.
    """
    from spy_assets.registry.records import searches_of

    near = [
        row
        for row in versions.iter_rows(named=True)
        if row["partition"] is not None
        and (end := date.fromisoformat(row["partition"])) <= session
        and sessions_apart(end, session) < validation_sessions
    ]
    return max(1, len(near)) + sum(searches_of(*near).values())


def tried_before(versions: pl.DataFrame, version: str, validation_sessions: int) -> list[str]:
    """Other versions to run beside one, so that the gate sees how much trials differ.

    Those judged on sessions that this window has too, under the same contract and mandate and trained
    no later, so that none has seen more of the window than this one has; the newest
    :data:`MOST_CANDIDATES`.
    """
    rows = {row["version"]: row for row in versions.iter_rows(named=True)}
    own, mandates = rows[version], mandates_of(versions)
    if own["partition"] is None:
        return []
    window = date.fromisoformat(own["partition"])

    def beside(row: Mapping[str, Any]) -> bool:
        end = row["partition"] and date.fromisoformat(row["partition"])
        return bool(
            end
            and end <= window
            and sessions_apart(end, window) < validation_sessions
            and row["contract"] == own["contract"]
            and mandates[row["version"]] == mandates[version]
        )

    found = [name for name, row in rows.items() if name != version and beside(row)]
    return found[-MOST_CANDIDATES:]


def _counts_from(settings: Settings, session: date, now: datetime) -> datetime:
    """The moment of a decision about a window: in a replay of the past, that window's own."""
    moment = decision_time(session)
    return moment if settings.historical else max(moment, now)


def _effective_from(
    verdict: GateVerdict,
    recorded: Mapping[str, Any] | None,
    others: Sequence[Mapping[str, Any]],
    session: date,
    moment: datetime,
) -> datetime:
    """From when on a verdict counts.

    The first champion counts from its window on, so that the sessions kept out of training can be
    signalled on; later ones from the moment of the decision. A decision that is only taken again, or
    taken back, stays where it was. An acceptance that takes the seat from a champion of another mandate,
    or from one that cannot be run, is none of these: ``recorded`` is None then, and what was decided
    before stands for its own time.
    """
    if recorded is not None and (recorded["accepted"] or not verdict.accepted):
        known: datetime = recorded["effective_from"]
        return known
    first = not any(row["accepted"] for row in others)
    return decision_time(session) if first else moment


def _last_decision(rows: Sequence[Mapping[str, Any]], version: str) -> Mapping[str, Any] | None:
    """What was decided about a version at last; None if nothing was."""
    own = [row for row in rows if row["version"] == version and row["alias"] == "champion"]
    return max(own, key=lambda row: row["ingested_at"], default=None)


def _gives_way(
    champion: Champion | None, version: str, mandates: Mapping[str, Mandate], *, cannot_run: bool
) -> bool:
    """Whether another version holds the seat that the account of the judged one cannot ask."""
    if champion is None or champion.version == version:
        return False
    return cannot_run or mandates.get(champion.version) != mandates.get(version)


def _require_mandate(settings: Settings, version: str, mandates: Mapping[str, Mandate]) -> None:
    """Refuse to judge a challenger that the account of the settings would not ask."""
    own = account.mandate(settings)
    trained = mandates.get(version, own)
    if trained != own:
        raise DataError(
            f"version {version} was trained for {trained.beside(own)}, "
            f"the settings have {own.beside(trained)}",
            hint=f"materialize models/{MODEL} for its window again, or set the mandate back",
        )


def _incumbent(
    incumbent: Champion | None,
    run: Callable[[str, str], BacktestResult],
    moment: datetime,
    settings: Settings,
    mandates: Mapping[str, Mandate],
) -> tuple[BacktestResult | None, str | None]:
    """The incumbent's run, and why its seat is vacant; one without a run has lost its seat.

    It cannot be run where its action map or its contract is not this program's any more. Then it cannot
    speak either, proven or not, and a judgement must not wait for it. A file that is gone or altered is
    another matter: it has to be brought back, and nobody takes the seat meanwhile.
    """
    if incumbent is None:
        return None, None
    try:
        champion = run(incumbent.version, "champion")
    except ContractMismatch as error:
        why = error.message.replace("; ", ", ")  # a verdict's reasons are joined by semicolons
        return None, f"the champion, version {incumbent.version}, cannot be run: {why}"
    return champion, _vacancy(incumbent, moment, settings, mandates)


def _vacancy(
    champion: Champion, moment: datetime, settings: Settings, mandates: Mapping[str, Mandate]
) -> str | None:
    """Why an unproven champion's seat is free: of another mandate, or too old to enter; None if not."""
    from spy_assets.models.policy.staleness import stale_reason

    if champion.is_proven:
        return None
    own = account.mandate(settings)
    trained = mandates.get(champion.version, own)
    if trained != own:
        return f"the unproven champion is of another mandate, {trained.beside(own)}"
    session = last_closed_session(moment)
    aged = stale_reason(champion.train_end, session, settings.train.max_age_sessions)
    return None if aged is None else "the unproven champion is too old to speak"


def promotion_rows(lake: Warehouse, *, snapshot: int | None = None) -> list[dict[str, Any]]:
    """All promotion decisions in all their versions, as they were at a snapshot or are now.

    A historical source has no present: a decision that was taken again there counts from its window
    on, as if it had never been another.
    """
    spec = TABLES["models.promotions"]
    if lake.settings.historical:
        last = lake.read(spec.name, snapshot=snapshot).iter_rows(named=True)
        return [row | {"available_at": row["effective_from"]} for row in last]
    at = "" if snapshot is None else f" AT (VERSION => {snapshot})"
    rows = lake.execute(f"SELECT * FROM {spec.name}{at} ORDER BY available_at, ingested_at, rowid")
    return list(rows.iter_rows(named=True))


def recorded_decision(lake: Warehouse, session: date) -> dict[str, Any]:
    """The last decision about a window's version.

    Raises
    ------
    DataError
        If there is none yet.
    """
    from spy_assets.signals.champion import version_order

    found = [row for row in promotion_rows(lake) if row.get("window_end") == session]
    if not found:
        raise DataError(
            f"no verdict is recorded for the window that ends with {session}",
            hint=f"materialize models/evaluation for {session}",
        )
    return max(found, key=lambda row: (row["ingested_at"], version_order(row["version"])))


def latest_champion(lake: Warehouse) -> str | None:
    """The version that the champion alias shall mean: the latest accepted one."""
    from spy_assets.signals.champion import accepted_promotions

    accepted = accepted_promotions(promotion_rows(lake))
    return str(accepted[-1]["version"]) if accepted else None


def withdraw(lake: Warehouse, registry: Registry, judged: str) -> str | None:
    """Take the champion alias from a version whose acceptance was taken back; gives that version.

    The alias goes to the latest version that still stands accepted, and to none if there is none; never
    to the one that was judged just now, because seating it is the promotion's. A version of which the
    lake knows no decision keeps it.
    """
    from spy_assets.signals.champion import accepted_promotions

    rows = promotion_rows(lake)
    standing = [str(row["version"]) for row in accepted_promotions(rows)]
    held = registry.alias("champion")
    last = _last_decision(rows, judged)
    stands = held in standing and (held != judged or last is None or last["accepted"])
    if stands or held not in {str(row["version"]) for row in rows}:
        return None
    heirs = [version for version in standing if version != judged]
    if heirs:
        registry.set_alias("champion", heirs[-1])
    else:
        registry.drop_alias("champion")
    return held


def window_to_train(lake: Warehouse, registry: Registry, settings: Settings, last: date) -> date:
    """The training window that the main job needs for signals up to ``last``.

    On a historical source it is the one before the hold-out. On a live source the window of the
    champion that may speak for ``last``, so that it is trained once and kept; without one, or with one
    of another mandate, the newest window that was judged within a week of sessions, or else the one
    before the hold-out.
    """
    from spy_assets.models.policy.staleness import stale_reason
    from spy_assets.signals.champion import champion_effective_at

    train = settings.train
    before_holdout = previous_session(last, train.holdout_sessions)
    if settings.historical:
        return before_holdout
    decided = [row for row in promotion_rows(lake) if row.get("window_end") is not None]
    champion = champion_effective_at(decided, decision_time(last), train.purge_sessions)
    if (
        champion
        and stale_reason(champion.train_end, last, train.max_age_sessions) is None
        and _is_asked(lake, registry, settings, champion)
    ):
        ends: list[date] = [
            row["window_end"] for row in decided if row["version"] == champion.version
        ]
        return max(ends)
    recent: list[date] = [
        row["window_end"]
        for row in decided
        if 0 <= sessions_apart(row["window_end"], before_holdout) < RETRAIN_SESSIONS
    ]
    return max(recent, default=before_holdout)


def _is_asked(lake: Warehouse, registry: Registry, settings: Settings, champion: Champion) -> bool:
    """Whether the account of the settings asks a champion, by the mandate in its file.

    One whose file cannot be had just now counts as asked: its window is not given up for that.
    """
    try:
        trained_for = account.policy_of(lake, registry, champion).mandate
    except ModelError:
        return True
    return trained_for == account.mandate(settings)
