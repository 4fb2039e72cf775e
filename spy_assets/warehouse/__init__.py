"""The warehouse: a DuckLake of Parquet files under an SQLite (or Postgres) catalogue.

    with Warehouse.open(settings) as warehouse:
        warehouse.write(TABLES["market.daily_bars"], bars, ingested_at=now)
        known_then = warehouse.read("market.daily_bars", as_of=decision_time(session))

Writers take turns by a file lock, readers never wait. Rows are only appended: a revision is a new
version of its key, so whatever could be known at a moment can be read back for ever.

Names are resolved on first use (PEP 562), so that importing ``warehouse.tables`` loads neither
DuckDB nor Polars.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spy_assets.warehouse.backups import backup as backup
    from spy_assets.warehouse.backups import restore as restore
    from spy_assets.warehouse.checksums import VerifyReport as VerifyReport
    from spy_assets.warehouse.checksums import record_checksums as record_checksums
    from spy_assets.warehouse.checksums import verify as verify
    from spy_assets.warehouse.lake import Warehouse as Warehouse
    from spy_assets.warehouse.lock import WriteLock as WriteLock
    from spy_assets.warehouse.maintenance import MaintenanceReport as MaintenanceReport
    from spy_assets.warehouse.maintenance import maintain as maintain
    from spy_assets.warehouse.query import QueryResult as QueryResult
    from spy_assets.warehouse.query import run_query as run_query
    from spy_assets.warehouse.recovery import forget_file as forget_file
    from spy_assets.warehouse.recovery import mend_file as mend_file
    from spy_assets.warehouse.recovery import restore_catalogue as restore_catalogue
    from spy_assets.warehouse.tables import TABLES as TABLES
    from spy_assets.warehouse.tables import TableSpec as TableSpec
    from spy_assets.warehouse.writes import WriteResult as WriteResult

_HOME = {
    "MaintenanceReport": "maintenance",
    "QueryResult": "query",
    "TABLES": "tables",
    "TableSpec": "tables",
    "VerifyReport": "checksums",
    "Warehouse": "lake",
    "WriteLock": "lock",
    "WriteResult": "writes",
    "backup": "backups",
    "forget_file": "recovery",
    "maintain": "maintenance",
    "mend_file": "recovery",
    "record_checksums": "checksums",
    "restore": "backups",
    "restore_catalogue": "recovery",
    "run_query": "query",
    "verify": "checksums",
}

__all__ = [
    "TABLES",
    "MaintenanceReport",
    "QueryResult",
    "TableSpec",
    "VerifyReport",
    "Warehouse",
    "WriteLock",
    "WriteResult",
    "backup",
    "forget_file",
    "maintain",
    "mend_file",
    "record_checksums",
    "restore",
    "restore_catalogue",
    "run_query",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
