"""Signals, outcomes, statistics and the report.

A signal's partition is the session that it decides for. The account that it trades is rebuilt from the
recorded decisions, so each session depends on the ones before it.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets import clock
from spy_assets.defs import account, judging
from spy_assets.defs.describe import OWNERS, bar_plot, table_metadata, write_metadata
from spy_assets.defs.models import promotions
from spy_assets.defs.partitions import HISTORICAL, SESSIONS
from spy_assets.defs.resources import SpyResource
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from spy_assets.settings import Settings
    from spy_assets.signals.contract import Signal
    from spy_assets.signals.paper import World
    from spy_assets.warehouse import Warehouse

FRESH_SIGNAL = (
    None
    if HISTORICAL
    else dg.FreshnessPolicy.cron("30 23 * * 1-5", timedelta(hours=2), timezone="UTC")
)
#: A signal looks at the promotions of about the last two years, and may have none.
RECENT_PROMOTIONS = dg.TimeWindowPartitionMapping(
    start_offset=-504, allow_nonexistent_upstream_partitions=True
)
#: The account's past: a position is held for five sessions at most, so this is more than enough.
EARLIER_SIGNALS = dg.TimeWindowPartitionMapping(
    start_offset=-1, end_offset=-1, allow_nonexistent_upstream_partitions=True
)


@dg.asset(
    key=["signals", "daily_signal"],
    deps=[
        dg.AssetDep(["features", "daily_15"], partition_mapping=dg.TimeWindowPartitionMapping()),
        dg.AssetDep(["features", "regime"], partition_mapping=dg.TimeWindowPartitionMapping()),
        dg.AssetDep(promotions, partition_mapping=RECENT_PROMOTIONS),
        dg.AssetDep(["signals", "daily_signal"], partition_mapping=EARLIER_SIGNALS),
    ],
    group_name="signals",
    kinds={"python", "ducklake"},
    owners=OWNERS,
    tags={"layer": "signal"},
    description="The session's decision by the champion of that time, under the risk rules, as one "
    "contract. HOLD with the reason where anything is missing, stale or broken.",
    metadata=table_metadata("ledger.signals"),
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
    freshness_policy=FRESH_SIGNAL,
    check_specs=[
        dg.AssetCheckSpec(
            "replays_equal",
            asset=["signals", "daily_signal"],
            blocking=True,
            description="A signal that was recorded before is decided the same way again.",
        ),
        dg.AssetCheckSpec(
            "decided",
            asset=["signals", "daily_signal"],
            description="The model was asked: no signal is HOLD for a missing or broken input.",
        ),
    ],
    code_version="1",
)
def daily_signal(context: dg.AssetExecutionContext, spy: SpyResource) -> dg.MaterializeResult:
    """Decide for the run's sessions in order and record what is new."""
    from spy_assets.signals.rendering import render_markdown

    days = [date.fromisoformat(key) for key in context.partition_keys]
    with spy.warehouse() as lake:
        signals = decide(lake, spy, days)
        recorded = recorded_signals(lake)
        new = [signal for signal in signals if signal.signal_id not in recorded]
        changed = [
            signal.signal_id
            for signal in signals
            if signal.signal_id in recorded
            and recorded[signal.signal_id] != signal.decision_digest()
        ]
        results = record_signals(lake, new, spy)
    alert(signals[-1:], spy)
    context.add_asset_metadata(
        {"signal": dg.MetadataValue.md(render_markdown(signals[-1]))},
        asset_key=context.asset_key,
        partition_key=context.partition_keys[-1],
    )
    return dg.MaterializeResult(
        metadata=write_metadata(results[0]) | {"sessions": len(signals), "new": len(new)},
        check_results=[_replays_equal(changed), _decided(signals)],
    )


def decide(lake: "Warehouse", spy: SpyResource, days: list[date]) -> "list[Signal]":
    """Signals of some sessions, each by what was known at its decision time."""
    from spy_assets.signals.paper import Book, decide_sessions

    settings, registry = spy.settings, spy.registry()
    lake.ensure(TABLES["ledger.signals"])
    loaded: dict[str, Any] = {}

    def policy_of(champion: Any) -> Any:
        if champion.version not in loaded:
            loaded[champion.version] = account.policy_of(registry, champion)
        return loaded[champion.version]

    book = Book(
        recorded=account.standing_decisions(ledger_rows(lake, settings.symbol, before=max(days))),
        promotions=judging.promotion_rows(lake),
        policy_of=policy_of,
        purge_sessions=settings.train.purge_sessions,
        lake_snapshot=lake.snapshot_id(),
    )
    return decide_sessions(
        account.versions_of(lake, "features.daily_15", settings.symbol),
        account.versions_of(lake, "features.regime", settings.symbol),
        days,
        book,
        account.paper_setup(settings),
        world(settings),
    )


def world(settings: "Settings") -> "World":
    """What holds now: the kill file, and the clock where a server to ask is set."""
    from spy_assets.signals.paper import World

    latch = settings.kill_file
    url = settings.live.clock_url
    return World(
        kill_switch=latch.read_text().strip() or "kill file" if latch.exists() else None,
        clock_skew_s=None if url is None else clock.clock_skew_s(url),
    )


def ledger_rows(lake: "Warehouse", symbol: str, *, before: date) -> list[Mapping[str, Any]]:
    """What the account needs of each recorded signal, first versions only."""
    rows = lake.execute(
        "SELECT session, action, size, ingested_at FROM ledger.signals"
        " WHERE symbol = ? AND session <= ? ORDER BY session, ingested_at",
        (symbol, before),
    )
    return list(rows.iter_rows(named=True))


def recorded_signals(lake: "Warehouse") -> dict[str, str]:
    """Id and decision digest of each recorded signal."""
    from spy_assets.signals.contract import Signal

    rows = lake.read("ledger.signals", columns=["signal_id", "payload"])
    return {key: Signal.from_json(text).decision_digest() for key, text in rows.iter_rows()}


def record_signals(lake: "Warehouse", signals: "list[Signal]", spy: SpyResource) -> list[Any]:
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


def alert(signals: "list[Signal]", spy: SpyResource) -> None:
    """One alert per incident that a signal reports."""
    from spy_assets.signals.incidents import incidents_of

    incidents = [one for signal in signals for one in incidents_of(signal)]
    if not incidents:
        return
    from spy_assets.alerts import alerter

    sender = alerter(spy.settings)
    for one in incidents:
        sender.send(key=one.key, title=one.title, text=one.detail, now=spy.utc_now())


def _replays_equal(changed: list[str]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(["signals", "daily_signal"]),
        check_name="replays_equal",
        passed=not changed,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"decided_differently": ", ".join(changed[:20]) or "none"},
    )


def _decided(signals: "list[Signal]") -> dg.AssetCheckResult:
    unasked = [signal for signal in signals if not signal.probabilities]
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(["signals", "daily_signal"]),
        check_name="decided",
        passed=not unasked,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "held": "; ".join(f"{s.session}: {s.reasons[0]}" for s in unasked[:20]) or "none"
        },
    )


@dg.asset(
    key=["ledger", "outcomes"],
    deps=[
        dg.AssetDep(
            daily_signal,
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=-8, allow_nonexistent_upstream_partitions=True
            ),
        )
    ],
    group_name="signals",
    kinds={"python", "ducklake"},
    owners=OWNERS,
    tags={"layer": "ledger"},
    description="Trades that ended in the session: legs repriced at entry and exit, all costs, and "
    "the seed's spot-move rule as a second opinion. Fills are recorded with them.",
    metadata=table_metadata("ledger.outcomes"),
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
    check_specs=[
        dg.AssetCheckSpec(
            "ledger_reconciles",
            asset=["ledger", "outcomes"],
            blocking=True,
            description="Change of cash and marks equals the sum of trade P&L and of ledger entries.",
        )
    ],
    code_version="1",
)
def outcomes(context: dg.AssetExecutionContext, spy: SpyResource) -> dg.MaterializeResult:
    """Replay the account through the run's last session and settle what closed in its sessions."""
    from spy_assets.defs.settling import settle_sessions

    days = [date.fromisoformat(key) for key in context.partition_keys]
    with spy.warehouse() as lake:
        settled = settle_sessions(lake, spy.settings, days)
        batches = [
            (TABLES[name], judging.frame(TABLES[name], rows)) for name, rows in settled.rows.items()
        ]
        results = lake.write_many(batches, ingested_at=spy.utc_now())
    return dg.MaterializeResult(
        metadata=write_metadata(results[0])
        | {"open": settled.pending, "fills": len(settled.rows["ledger.fills"])},
        check_results=[
            dg.AssetCheckResult(
                asset_key=dg.AssetKey(["ledger", "outcomes"]),
                check_name="ledger_reconciles",
                passed=not settled.broken,
                metadata={"broken": settled.broken or "nothing", "account_value": settled.value},
            )
        ],
    )


@dg.asset(
    key=["signals", "statistics"],
    deps=[dg.AssetDep(outcomes, partition_mapping=dg.AllPartitionMapping())],
    group_name="signals",
    kinds={"python"},
    owners=OWNERS,
    tags={"layer": "report"},
    description="Counts, hit rate with its interval, P&L, calibration, and how often each risk rule "
    "let an entry through.",
    automation_condition=dg.AutomationCondition.eager(),
    code_version="1",
)
def statistics(spy: SpyResource) -> dg.MaterializeResult:
    """Statistics of the last thirty days and of all time."""
    from spy_assets.defs.settling import load_signals
    from spy_assets.signals.rendering import render_statistics
    from spy_assets.signals.statistics import recent_and_all

    with spy.warehouse() as lake:
        signals = load_signals(lake, spy.settings.symbol)
        rows = list(lake.read("ledger.outcomes").iter_rows(named=True))
    recent, everything = recent_and_all(signals, rows, as_of=spy.as_of())
    actions = everything.by_action
    return dg.MaterializeResult(
        metadata={
            "recent": dg.MetadataValue.md(f"```\n{render_statistics(recent)}\n```"),
            "all_time": dg.MetadataValue.md(f"```\n{render_statistics(everything)}\n```"),
            "actions": bar_plot(
                list(actions), [float(n) for n in actions.values()], "Signals by action"
            ),
            "total_pnl": everything.total_pnl,
        }
    )


@dg.asset(
    key=["evaluation", "report"],
    deps=[dg.AssetDep(outcomes, partition_mapping=dg.AllPartitionMapping())],
    group_name="evaluation",
    kinds={"python", "html"},
    owners=OWNERS,
    tags={"layer": "report"},
    description="One HTML page without network: the paper account of the recorded signals beside "
    "every baseline over the same sessions, with intervals, decisions and trades.",
    automation_condition=dg.AutomationCondition.eager(),
    code_version="1",
)
def report(spy: SpyResource) -> dg.MaterializeResult:
    """Render the report of all recorded signals into the profile's reports folder."""
    from spy_assets.defs.settling import holdout_report

    with spy.warehouse() as lake:
        made = holdout_report(lake, spy.settings, spy.last_session(), spy.utc_now())
    if made is None:
        return dg.MaterializeResult(metadata={"report": "no signal is recorded yet"})
    path = spy.settings.root / "reports" / made.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.html)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.path(str(path)),
            "net_pnl": bar_plot(list(made.net_pnl), list(made.net_pnl.values()), "Net P&L, $"),
        }
    )


ASSETS = [daily_signal, outcomes, statistics, report]
