"""Signals, outcomes, statistics and the report.

A signal's partition is the session that it decides for. The account that it trades is rebuilt from the
recorded decisions, so each session depends on the ones before it.
"""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from spy_assets.defs import deciding, freshness, registering
from spy_assets.defs.describe import OWNERS, bar_plot, table_metadata, write_metadata
from spy_assets.defs.models import CHAINS_OBSERVED, promotions
from spy_assets.defs.partitions import SESSIONS
from spy_assets.defs.resources import SpyResource
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from spy_assets.signals.contract import Signal

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
        *CHAINS_OBSERVED,
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
    freshness_policy=freshness.EVENING,
    check_specs=[
        dg.AssetCheckSpec(
            "replays_equal",
            asset=["signals", "daily_signal"],
            description="A recorded signal comes out the same from the snapshot that it saw; else code "
            "changed since. The record stands either way. Signals made under other settings are named.",
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
        recorded = deciding.load_signals(lake, spy.settings.symbol)
        changed = deciding.decided_differently(lake, spy, recorded, days)
        others = deciding.of_other_settings(recorded, spy.settings, days)
        signals = deciding.decide(lake, spy, days)
        known = {one.signal_id for one in recorded}
        new = [signal for signal in signals if signal.signal_id not in known]
        results = deciding.record_signals(lake, new, spy)
    deciding.alert(signals[-1:], spy)
    context.add_asset_metadata(
        {"signal": dg.MetadataValue.md(render_markdown(signals[-1]))},
        asset_key=context.asset_key,
        partition_key=context.partition_keys[-1],
    )
    return dg.MaterializeResult(
        metadata=write_metadata(results[0]) | {"sessions": len(signals), "new": len(new)},
        check_results=[_replays_equal(changed, others), _decided(signals)],
    )


def _replays_equal(changed: list[str], others: list[str]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(["signals", "daily_signal"]),
        check_name="replays_equal",
        passed=not changed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "decided_differently": ", ".join(changed[:20]) or "none",
            "settings_changed_since": ", ".join(others[:20]) or "none",
        },
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
    freshness_policy=freshness.EVENING,
    check_specs=[
        dg.AssetCheckSpec(
            "ledger_reconciles",
            asset=["ledger", "outcomes"],
            blocking=True,
            description="Change of cash and marks equals the sum of trade P&L and of ledger entries.",
        )
    ],
    code_version="2",
)
def outcomes(context: dg.AssetExecutionContext, spy: SpyResource) -> dg.MaterializeResult:
    """Replay the account through the run's last session and settle what closed in its sessions."""
    from spy_assets.defs.settling import settle_sessions

    days = [date.fromisoformat(key) for key in context.partition_keys]
    with spy.warehouse() as lake:
        settled = settle_sessions(lake, spy.settings, days)
        batches = [
            (TABLES[name], registering.frame(TABLES[name], rows))
            for name, rows in settled.rows.items()
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
    freshness_policy=freshness.EVENING,
    description="Counts, hit rate with its interval, P&L, calibration, and how often each risk rule "
    "let an entry through.",
    code_version="1",
)
def statistics(spy: SpyResource) -> dg.MaterializeResult:
    """Statistics of the last thirty days and of all time."""
    from spy_assets.signals.rendering import render_statistics
    from spy_assets.signals.statistics import recent_and_all

    with spy.warehouse() as lake:
        signals = deciding.load_signals(lake, spy.settings.symbol)
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
            "abstain_rate": "no vote"
            if everything.abstain_rate is None
            else everything.abstain_rate,
        }
        | {
            f"total_pnl_{results.quotes.replace(' ', '_')}": round(results.total_pnl, 2)
            for results in everything.results
        }
    )


@dg.asset(
    key=["evaluation", "report"],
    deps=[dg.AssetDep(outcomes, partition_mapping=dg.AllPartitionMapping())],
    group_name="evaluation",
    kinds={"python", "html"},
    owners=OWNERS,
    tags={"layer": "report"},
    freshness_policy=freshness.EVENING,
    description="One HTML page without network: the paper account of the recorded signals beside "
    "every baseline over the same sessions, with intervals, decisions and trades.",
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
