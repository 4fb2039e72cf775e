from __future__ import annotations

import pytest

from spy_assets.errors import QueryTimeout, SnapshotExpired, UnsafeQuery, WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse, hardened, run_query
from spy_assets_tests.warehouse.frames import BARS, NOW, bars


@pytest.fixture
def filled(warehouse: Warehouse, settings: Settings) -> Settings:
    warehouse.write(BARS, bars(1, 1.0), ingested_at=NOW)
    warehouse.write(BARS, bars(5, 2.0), ingested_at=NOW)
    return settings


def test_rows_come_back_up_to_the_limit(filled: Settings):
    result = run_query(filled, "SELECT * FROM market.daily_bars -- all", limit=4, timeout_s=20)
    assert result.frame.height == 4
    assert result.truncated
    assert set(result.frame["symbol"]) == {"SPY"}


def test_an_old_version_can_be_asked_for(filled: Settings, warehouse: Warehouse):
    version = warehouse.snapshot_id() - 1
    sql = f"SELECT close FROM market.daily_bars AT (VERSION => {version});"
    assert run_query(filled, sql, timeout_s=20).frame["close"].to_list() == [1.0]


def test_an_unknown_version_is_a_clear_error(filled: Settings):
    with pytest.raises(SnapshotExpired, match="9999"):
        run_query(filled, "SELECT * FROM market.daily_bars AT (VERSION => 9999)", timeout_s=20)


def test_wrong_sql_is_a_clear_error(filled: Settings):
    with pytest.raises(WarehouseError, match="SQL error"):
        run_query(filled, "SELEC 1", timeout_s=20)


def test_an_endless_query_is_stopped(filled: Settings):
    with pytest.raises(QueryTimeout, match="longer than 1 s"):
        run_query(filled, "SELECT count(*) FROM range(1000000) a, range(1000000) b", timeout_s=1)


def test_a_query_runs_while_a_writer_is_in_its_transaction(filled: Settings, warehouse: Warehouse):
    with warehouse._transaction(BARS.name) as cursor:
        cursor.execute("DELETE FROM lake.market.daily_bars")
        result = run_query(filled, "SELECT count(*) AS n FROM market.daily_bars", timeout_s=20)
    assert result.frame["n"].to_list() == [6]
    assert warehouse.row_count(BARS.name) == 0


@pytest.mark.parametrize(
    "sql",
    [
        "FROM market.daily_bars",
        "DESCRIBE market.daily_bars",
        "SUMMARIZE market.daily_bars",
        "SHOW ALL TABLES",
        "WITH a AS (SELECT 1 AS x) SELECT * FROM a",
        "VALUES (1), (2)",
        "SELECT * FROM snapshots()",
        "SELECT * FROM signals.statistics",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM (SELECT unnest([1, 2]))",
    ],
)
def test_harmless_statements_pass(filled: Settings, sql: str):
    connection = hardened.open_hardened(filled)
    try:
        table, _ = hardened.run(connection, hardened.check(connection, sql), 100, 20)
        assert table.num_columns >= 1
    finally:
        connection.close()


def test_too_long_a_text_is_refused(filled: Settings):
    connection = hardened.open_hardened(filled)
    try:
        with pytest.raises(UnsafeQuery, match="characters"):
            hardened.check(connection, "SELECT 1" + " " * hardened.MAX_SQL_CHARACTERS)
    finally:
        connection.close()
