"""Views ``signals.*`` over the ledger, for people and dashboards."""

from __future__ import annotations

import duckdb

# A view cannot know an as_of, so it shows the last version of each key.
_LAST = (
    "(SELECT * FROM ledger.{table} QUALIFY row_number() OVER"
    " (PARTITION BY {key} ORDER BY available_at DESC, ingested_at DESC) = 1)"
)
_SIGNALS = _LAST.format(table="signals", key="signal_id")
_OUTCOMES = _LAST.format(table="outcomes", key="signal_id")

VIEWS: dict[str, str] = {
    "signals.latest": f"""
        SELECT * FROM {_SIGNALS} AS s
        QUALIFY row_number() OVER (
            PARTITION BY symbol, model ORDER BY as_of DESC, ingested_at DESC) = 1
    """,
    "signals.open_trades": f"""
        SELECT s.* FROM {_SIGNALS} AS s
        WHERE s.signal_id IN (SELECT f.signal_id FROM ledger.fills AS f)
          AND s.signal_id NOT IN (SELECT o.signal_id FROM {_OUTCOMES} AS o)
    """,
    "signals.statistics": f"""
        SELECT s.symbol, s.model, s.action_name, o.quote_kind,
            count(*) AS signals,
            count(o.signal_id) AS settled,
            count(*) FILTER (o.was_profitable) AS wins,
            count(*) FILTER (o.was_profitable) / nullif(count(o.signal_id), 0) AS win_rate,
            sum(o.pnl) AS net_pnl,
            avg(o.pnl) AS mean_pnl,
            sum(o.costs) AS costs
        FROM {_SIGNALS} AS s LEFT JOIN {_OUTCOMES} AS o ON o.signal_id = s.signal_id
        GROUP BY s.symbol, s.model, s.action_name, o.quote_kind
    """,
}


def create_views(cursor: duckdb.DuckDBPyConnection) -> None:
    """Create or replace the views in the attached lake."""
    for name, sql in VIEWS.items():
        cursor.execute(f"CREATE OR REPLACE VIEW lake.{name} AS {_in_lake(sql)}")


def _in_lake(sql: str) -> str:
    """Views name their tables in full, so that they work whatever the current schema is."""
    return sql.replace("FROM ledger.", "FROM lake.ledger.")
