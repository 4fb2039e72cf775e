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
from spy_assets.defs import account, chains, judging, registering
from spy_assets.defs.resources import SpyResource
from spy_assets.errors import SourceUnavailable
from spy_assets.sessions import decision_time
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from spy_assets.settings import Settings
    from spy_assets.signals.contract import Signal
    from spy_assets.signals.paper import Book, MarketHistory, World
    from spy_assets.warehouse import Warehouse

#: Rules about the moment of the decision, which no replay can reproduce.
_OF_THE_MOMENT = frozenset({"kill_switch", "clock_skew", "source_outage"})
#: Reasons that say that the champion could not be had, then or now.
_WITHOUT_MODEL = ("model_error: ", "registry_unavailable: ")
#: What a replay does not compare: where it read, under which settings, and the wording of the rules.
_NOT_COMPARED = {"lake_snapshot", "settings_digest", "mandate", "risk", "reasons"}
_LONGEST_GAP = re.compile(r"longest gap (\d+)")
#: Incident of the refresh job; while it is open, the source counts as out.
REFRESH_INCIDENT = "run_failed:refresh_history"
#: What signals report while that incident is open, and what follows from it: it is told already.
_OF_AN_OUTAGE = frozenset({"source_outage", "stale_data", "missing_input"})


def decide(lake: Warehouse, spy: SpyResource, days: Sequence[date]) -> list[Signal]:
    """Signals of some sessions, each by what was known at its decision time."""
    from spy_assets.signals.paper import decide_sessions

    settings = spy.settings
    lake.ensure(TABLES["ledger.signals"])
    if account.desk(settings).contract.needs_chain:
        lake.ensure(TABLES[chains.FEATURES])
    snapshot = lake.snapshot_id()
    setup = account.paper_setup(settings, account.chain_fills(lake, settings, snapshot=snapshot))
    rows = ledger_rows(lake, settings.symbol, before=max(days), snapshot=snapshot)
    book = _book(lake, spy, account.standing_decisions(rows), snapshot)
    market = _market(lake, settings, days, snapshot)
    return decide_sessions(market, days, book, setup, world(settings))


def decided_differently(
    lake: Warehouse, spy: SpyResource, recorded: Sequence[Signal], days: Sequence[date]
) -> list[str]:
    """Ids of recorded signals of ``days`` that come out differently from the snapshot they saw.

    Left out is what cannot be asked again: signals that the kill file, the clock or an outage held,
    those whose champion could not be had, then or now, and those of other settings (see
    :func:`of_other_settings`).
    """
    from spy_assets.signals.paper import decide_sessions
    from spy_assets.signals.recorded import Recorded

    settings, batches = spy.settings, defaultdict(list)
    for signal in recorded:
        batches[signal.lake_snapshot].append(signal)
    wanted, changed = set(days), []
    for snapshot, batch in batches.items():
        chosen = {one.session: one for one in batch if one.session in wanted}
        if not chosen or snapshot is None:
            continue
        before = ledger_rows(lake, settings.symbol, before=max(chosen), snapshot=snapshot)
        of_batch = {one.session: Recorded.of(one) for one in batch}
        followed = of_batch | account.standing_decisions(before)
        again = decide_sessions(
            _market(lake, settings, list(chosen), snapshot),
            list(chosen),
            _book(lake, spy, followed, snapshot),
            account.paper_setup(settings, account.chain_fills(lake, settings, snapshot=snapshot)),
            _nothing_of_the_moment(),
        )
        changed += [
            chosen[one.session].signal_id
            for one in again
            if _comparable(one, chosen[one.session])
            and _decision(one) != _decision(chosen[one.session])
        ]
    return changed


def of_other_settings(
    recorded: Sequence[Signal], settings: Settings, days: Sequence[date]
) -> list[str]:
    """Ids of recorded signals of ``days`` that were decided under other limits, costs or capital.

    They stand as they are. Asked again, they may come out differently for that alone.
    """
    now, wanted = _settings_digest(settings), set(days)
    return [
        one.signal_id
        for one in recorded
        if one.session in wanted and one.settings_digest not in (None, now)
    ]


def _settings_digest(settings: Settings) -> str:
    return account.paper_setup(settings).digest(settings.train.purge_sessions)


def _comparable(again: Signal, recorded: Signal) -> bool:
    """Whether both answer the same question, and were both able to."""
    if recorded.settings_digest not in (None, again.settings_digest):
        return False
    return not (_held_by_the_moment(recorded) or _has_no_model(recorded) or _has_no_model(again))


def _has_no_model(signal: Signal) -> bool:
    return any(reason.startswith(_WITHOUT_MODEL) for reason in signal.reasons)


def _decision(signal: Signal) -> dict[str, Any]:
    return signal.model_dump(exclude=_NOT_COMPARED)


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
        observations=account.observations(lake, settings.symbol, max(days), snapshot=snapshot),
        regimes=versions("features.regime"),
        raw=versions("features.market_daily"),
        flags=quality_flags(lake, settings.symbol, days, snapshot),
        chains=lambda: versions(chains.FEATURES),
    )


def quality_flags(
    lake: Warehouse, symbol: str, days: Sequence[date], snapshot: int
) -> dict[date, tuple[str, ...]]:
    """Flags of each session: rows withheld as errors, and minutes missing beyond the fill limit.

    A row that was withheld is no flag any more once a good one has come in its place; of a session's
    minutes the last count that was known at its decision time is the one.
    """
    from spy_assets.market.gaps import FILL_LIMIT

    flags: defaultdict[date, set[str]] = defaultdict(set)
    span = (symbol, min(days), max(days))
    for day, reason in lake.execute(_WITHHELD.format(snapshot=snapshot), span).iter_rows():
        flags[day].add(f"quarantined:{reason}")
    counts = lake.execute(_COUNTED.format(snapshot=snapshot), span)
    notes = {day: note for day, note, known in counts.iter_rows() if known <= decision_time(day)}
    for day, note in notes.items():
        gap = _LONGEST_GAP.search(note or "")
        if gap and int(gap[1]) > FILL_LIMIT:
            flags[day].add(f"minute_gaps:{gap[1]}")
    return {day: tuple(sorted(found)) for day, found in flags.items()}


_WITHHELD = """
    WITH published AS (
        SELECT 'daily_bars' AS dataset, symbol, session, max(ingested_at) AS newest
        FROM market.daily_bars AT (VERSION => {snapshot}) GROUP BY ALL
        UNION ALL
        SELECT 'volatility', name, session, max(ingested_at)
        FROM market.volatility AT (VERSION => {snapshot}) GROUP BY ALL
    ),
    withheld AS (
        SELECT dataset, symbol, session, reason, ingested_at
        FROM quarantine.rows AT (VERSION => {snapshot})
        WHERE severity = 'error' AND dataset IN ('daily_bars', 'volatility')
            AND symbol IN (?, 'VIX') AND session BETWEEN ? AND ?
    )
    SELECT withheld.session, withheld.reason
    FROM withheld LEFT JOIN published USING (dataset, symbol, session)
    WHERE published.newest IS NULL OR published.newest <= withheld.ingested_at
"""
_COUNTED = """
    SELECT session, note, available_at FROM market.coverage AT (VERSION => {snapshot})
    WHERE dataset = 'minute_bars' AND symbol = ? AND session BETWEEN ? AND ?
    ORDER BY session, available_at, ingested_at
"""


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

    If a vendor that stands in for such a server is silent nothing was measured, and the verdict says so.
    """
    url = settings.clock_server
    if url is None:
        return None
    try:
        return clock.clock_skew_s(url)
    except SourceUnavailable:
        return None if settings.live.clock_url is None else float("inf")


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
        "SELECT signal_id, session, action, action_name, size, probabilities, ingested_at,"
        " json_extract_string(payload, '$.mandate') AS mandate"
        f" FROM ledger.signals{at} WHERE symbol = ? AND session <= ?"
        " ORDER BY session, ingested_at, signal_id",
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
            (rows, registering.frame(rows, [signal.to_row() for signal in signals])),
            (decisions, registering.frame(decisions, [decision_row(signal) for signal in signals])),
        ],
        ingested_at=spy.utc_now(),
    )


def alert(signals: Sequence[Signal], spy: SpyResource) -> None:
    """One alert per incident that a signal reports; what none reports any more is over.

    An outage of the source is one incident, that of the refresh, however many rules it holds.
    """
    from spy_assets.alerts import alerter
    from spy_assets.signals.incidents import incidents_of, is_signal_incident

    incidents = [one for signal in signals for one in incidents_of(signal)]
    sender = alerter(spy.settings)
    present = {one.key for one in incidents}
    known = {body["key"] for body in sender.open_incidents()}
    for key in known:
        if key not in present and is_signal_incident(key, spy.settings.symbol):
            sender.resolve(key)
    for one in incidents:
        if REFRESH_INCIDENT in known and one.key.partition(":")[0] in _OF_AN_OUTAGE:
            continue
        sender.send(key=one.key, title=one.title, text=one.detail, now=spy.utc_now())
