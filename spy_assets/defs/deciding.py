"""Reading what a decision may see, deciding, recording: the glue between lake, registry and signals.

Everything that a run reads is read at one snapshot, whose id the signals carry: so a recorded signal can
be decided again from exactly what it saw, whatever came into the lake since.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from spy_assets import clock
from spy_assets.defs import account, judging
from spy_assets.defs.resources import SpyResource
from spy_assets.errors import SourceUnavailable
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from spy_assets.settings import Settings
    from spy_assets.signals.contract import Signal
    from spy_assets.signals.paper import Book, MarketHistory, World
    from spy_assets.warehouse import Warehouse

#: Rules about the moment of the decision, which no replay can reproduce.
_OF_THE_MOMENT = frozenset({"kill_switch", "clock_skew", "source_outage"})
_LONGEST_GAP = re.compile(r"longest gap (\d+)")
#: Incident of the refresh job; while it is open, the source counts as out.
REFRESH_INCIDENT = "run_failed:refresh_history"


def decide(lake: Warehouse, spy: SpyResource, days: Sequence[date]) -> list[Signal]:
    """Signals of some sessions, each by what was known at its decision time."""
    from spy_assets.signals.paper import decide_sessions

    settings = spy.settings
    lake.ensure(TABLES["ledger.signals"])
    snapshot = lake.snapshot_id()
    rows = ledger_rows(lake, settings.symbol, before=max(days), snapshot=snapshot)
    book = _book(lake, spy, account.standing_decisions(rows), snapshot)
    market = _market(lake, settings, days, snapshot)
    return decide_sessions(market, days, book, account.paper_setup(settings), world(settings))


def decided_differently(lake: Warehouse, spy: SpyResource, days: Sequence[date]) -> list[str]:
    """Ids of recorded signals of ``days`` that come out differently from the snapshot they saw.

    Signals that the kill file, the clock or an outage held are left out: those are not in the lake.
    """
    from spy_assets.signals.paper import Recorded, decide_sessions

    settings, batches = spy.settings, defaultdict(list)
    for signal in load_signals(lake, settings.symbol):
        batches[signal.lake_snapshot].append(signal)
    wanted, changed = set(days), []
    for snapshot, batch in batches.items():
        chosen = {one.session: one for one in batch if one.session in wanted}
        if not chosen or snapshot is None:
            continue
        before = ledger_rows(lake, settings.symbol, before=max(chosen), snapshot=snapshot)
        recorded = {
            one.session: Recorded(one.session, one.action, one.size, one.signal_id) for one in batch
        } | account.standing_decisions(before)
        again = decide_sessions(
            _market(lake, settings, list(chosen), snapshot),
            list(chosen),
            _book(lake, spy, recorded, snapshot),
            account.paper_setup(settings),
            _nothing_of_the_moment(),
        )
        changed += [
            chosen[one.session].signal_id
            for one in again
            if not _held_by_the_moment(chosen[one.session])
            and _decision(one) != _decision(chosen[one.session])
        ]
    return changed


def _decision(signal: Signal) -> dict[str, Any]:
    """What was decided, without the snapshot and the wording of the rules."""
    return signal.model_dump(exclude={"lake_snapshot", "risk", "reasons"})


def _held_by_the_moment(signal: Signal) -> bool:
    return any(rule in _OF_THE_MOMENT for rule in signal.risk.blocked_by)


def _nothing_of_the_moment() -> World:
    from spy_assets.signals.paper import World

    return World()


def _book(lake: Warehouse, spy: SpyResource, recorded: Mapping[date, Any], snapshot: int) -> Book:
    from spy_assets.signals.paper import Book

    registry, loaded = spy.registry(), dict[str, Any]()

    def policy_of(champion: Any) -> Any:
        if champion.version not in loaded:
            loaded[champion.version] = account.policy_of(lake, registry, champion)
        return loaded[champion.version]

    return Book(
        recorded=recorded,
        promotions=judging.promotion_rows(lake, snapshot=snapshot),
        policy_of=policy_of,
        purge_sessions=spy.settings.train.purge_sessions,
        lake_snapshot=snapshot,
    )


def _market(
    lake: Warehouse, settings: Settings, days: Sequence[date], snapshot: int
) -> MarketHistory:
    from spy_assets.signals.paper import MarketHistory

    def versions(table: str) -> Any:
        return account.versions_of(lake, table, settings.symbol, snapshot=snapshot)

    return MarketHistory(
        observations=versions("features.daily_15"),
        regimes=versions("features.regime"),
        raw=versions("features.market_daily"),
        flags=quality_flags(lake, settings.symbol, days, snapshot),
    )


def quality_flags(
    lake: Warehouse, symbol: str, days: Sequence[date], snapshot: int
) -> dict[date, tuple[str, ...]]:
    """Flags of each session: rows withheld as errors, and minutes missing beyond the fill limit."""
    from spy_assets.market.gaps import FILL_LIMIT

    flags: defaultdict[date, set[str]] = defaultdict(set)
    withheld = lake.execute(
        f"SELECT session, reason FROM quarantine.rows AT (VERSION => {snapshot})"
        " WHERE severity = 'error' AND dataset IN ('daily_bars', 'volatility')"
        " AND symbol IN (?, 'VIX') AND session BETWEEN ? AND ?",
        (symbol, min(days), max(days)),
    )
    for day, reason in withheld.iter_rows():
        flags[day].add(f"quarantined:{reason}")
    covered = lake.execute(
        f"SELECT session, note FROM market.coverage AT (VERSION => {snapshot})"
        " WHERE dataset = 'minute_bars' AND symbol = ? AND session BETWEEN ? AND ?",
        (symbol, min(days), max(days)),
    )
    for day, note in covered.iter_rows():
        gap = _LONGEST_GAP.search(note or "")
        if gap and int(gap[1]) > FILL_LIMIT:
            flags[day].add(f"minute_gaps:{gap[1]}")
    return {day: tuple(sorted(found)) for day, found in flags.items()}


def world(settings: Settings) -> World:
    """What holds at this moment: the kill file, the clock, an outage of the refresh."""
    from spy_assets.signals.paper import World

    latch = settings.kill_file
    return World(
        kill_switch=(latch.read_text().strip() or "kill file") if latch.exists() else None,
        clock_skew_s=_skew(settings),
        outage=_outage(settings),
    )


def _skew(settings: Settings) -> float | None:
    """How far the clock is off; infinite if the server that was named does not say.

    A live source without a clock server of its own is asked through its rates vendor; if that one is
    silent nothing was measured, and the verdict says so.
    """
    named = settings.live.clock_url
    url = named or (None if settings.historical else settings.http.fred_url)
    if url is None:
        return None
    try:
        return clock.clock_skew_s(url)
    except SourceUnavailable:
        return None if named is None else float("inf")


def _outage(settings: Settings) -> str | None:
    from spy_assets.alerts import alerter

    open_incidents = {body["key"]: body for body in alerter(settings).open_incidents()}
    incident = open_incidents.get(REFRESH_INCIDENT)
    return None if incident is None else f"{incident['title']} since {incident['occurred_at']}"


def ledger_rows(
    lake: Warehouse, symbol: str, *, before: date, snapshot: int | None = None
) -> list[Mapping[str, Any]]:
    """What the account needs of each recorded signal up to ``before``."""
    at = "" if snapshot is None else f" AT (VERSION => {snapshot})"
    rows = lake.execute(
        f"SELECT signal_id, session, action, size, ingested_at FROM ledger.signals{at}"
        " WHERE symbol = ? AND session <= ? ORDER BY session, ingested_at, signal_id",
        (symbol, before),
    )
    return list(rows.iter_rows(named=True))


def load_signals(lake: Warehouse, symbol: str) -> list[Signal]:
    """All recorded signals of a symbol, by session."""
    from spy_assets.signals.contract import Signal

    rows = lake.read("ledger.signals", where="symbol = ?", params=(symbol,), columns=["payload"])
    signals = [Signal.from_json(text) for (text,) in rows.iter_rows()]
    return sorted(signals, key=lambda signal: (signal.session, signal.signal_id))


def record_signals(lake: Warehouse, signals: Sequence[Signal], spy: SpyResource) -> list[Any]:
    """Write signals and decisions in one transaction."""
    from spy_assets.signals.outcomes import decision_row

    rows, decisions = TABLES["ledger.signals"], TABLES["ledger.decisions"]
    return lake.write_many(
        [
            (rows, judging.frame(rows, [signal.to_row() for signal in signals])),
            (decisions, judging.frame(decisions, [decision_row(signal) for signal in signals])),
        ],
        ingested_at=spy.utc_now(),
    )


def alert(signals: Sequence[Signal], spy: SpyResource) -> None:
    """One alert per incident that a signal reports; what none reports any more is over."""
    from spy_assets.alerts import alerter
    from spy_assets.signals.incidents import incidents_of, is_signal_incident

    incidents = [one for signal in signals for one in incidents_of(signal)]
    sender = alerter(spy.settings)
    present = {one.key for one in incidents}
    for known in sender.open_incidents():
        key = known["key"]
        if key not in present and is_signal_incident(key, spy.settings.symbol):
            sender.resolve(key)
    for one in incidents:
        sender.send(key=one.key, title=one.title, text=one.detail, now=spy.utc_now())
