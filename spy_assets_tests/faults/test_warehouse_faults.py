"""Rows 42-44, 46, 47, 50, 51 and 62 of the fault table, each injected for real."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from spy_assets.errors import CatalogueCorrupt, ChecksumMismatch, UnsafeQuery, WarehouseError
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import (
    Warehouse,
    WriteLock,
    backup,
    forget_file,
    hardened,
    mend_file,
    restore_catalogue,
    run_query,
    verify,
)
from spy_assets.warehouse.copies import copies_dir, list_copies
from spy_assets.warehouse.locking import lock_path
from spy_assets_tests.warehouse.frames import BARS, NOW, bars, flip_a_bit
from spy_assets_tests.warehouse.profiles import empty_profile, settings, warehouse

__all__ = ["empty_profile", "settings", "warehouse"]

#: Writes one symbol of argv[3] rows per transaction and says when each is committed.
WRITER = """
import sys
from spy_assets.settings import load_settings
from spy_assets.warehouse import Warehouse
from spy_assets_tests.warehouse.frames import BARS, NOW, bars
home, prefix, rows, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with Warehouse.open(load_settings(home=home)) as lake:
    print("ready", flush=True)
    for i in range(count):
        lake.write(BARS, bars(rows, symbol=f"{prefix}{i}"), ingested_at=NOW)
        print(f"{prefix}{i}", flush=True)
"""


def start_writer(settings: Settings, prefix: str, rows: int, count: int, **options):
    command = [sys.executable, "-c", WRITER, str(settings.home), prefix, str(rows), str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    assert process.stdout.readline() == "ready\n"
    return process


def rows_per_symbol(lake: Warehouse) -> dict[str, int]:
    return dict(lake.history(BARS.name).group_by("symbol").len().rows())


def bar_files(settings: Settings) -> set[Path]:
    return set((settings.root / "lake/market/daily_bars").glob("*.parquet"))


@pytest.mark.fault(42)
def test_disk_full_leaves_old_data_and_no_temporary_files(warehouse: Warehouse, settings: Settings):
    warehouse.write(BARS, bars(), ingested_at=NOW)
    before, files = warehouse.history(BARS.name), bar_files(settings)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))  # writes beyond fail as if full
    try:
        with pytest.raises(WarehouseError, match="failed and was undone"):
            warehouse.write(BARS, bars(50_000, symbol="BIG"), ingested_at=NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert bar_files(settings) == files
    assert warehouse.history(BARS.name).equals(before)
    assert warehouse.write(BARS, bars(symbol="BIG"), ingested_at=NOW).inserted == 3
    assert verify(settings).ok


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Settings]:
    """A profile on a file system of 4 MB of its own."""
    made = load_settings(home=tmp_path)
    made.root.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(made.root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` on this machine")
    if done.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    yield made
    # Lazily: DuckDB keeps a handle on the catalogue after a commit that failed.
    subprocess.run(["umount", "-l", str(made.root)], check=True)


def fill(settings: Settings, left: int) -> Path:
    """Fill the profile's disk but for so many bytes."""
    free = shutil.disk_usage(settings.root).free
    filler = settings.root / "filler"
    filler.write_bytes(bytes(max(0, free - left)))
    return filler


def big(symbol: str) -> pl.DataFrame:
    return bars(2000, symbol=symbol)


#: What has no room, and the room that is left: a share of the data file, and bytes.
FULL = {
    "anything": (0.0, 0, "writing market.daily_bars failed and was undone"),
    "the data file": (0.5, 40_000, "No space left on device"),
    "the commit": (1.0, 48_000, "(?s)failed and was undone.*commit.*full"),
}


@pytest.mark.fault(42)
@pytest.mark.parametrize("without_room", FULL)
def test_a_full_disk_undoes_the_write_and_the_next_one_succeeds(small_disk, without_room: str):
    share, more, told = FULL[without_room]
    with Warehouse.open(small_disk) as lake:
        lake.write(BARS, big("OLD"), ingested_at=NOW)
        before, files = lake.history(BARS.name), bar_files(small_disk)
        size = max(path.stat().st_size for path in files)
        filler = fill(small_disk, int(share * size) + more)
        with pytest.raises(WarehouseError, match=told) as caught:
            lake.write(BARS, big("NEW"), ingested_at=NOW)
        assert "free disk space" in str(caught.value.hint)
        assert bar_files(small_disk) == files
        filler.unlink()
        assert lake.history(BARS.name).equals(before)
        assert lake.write(BARS, big("NEW"), ingested_at=NOW).inserted == 2000
    assert verify(small_disk).ok


@pytest.mark.fault(42)
def test_a_full_disk_after_the_commit_loses_no_checksum(small_disk: Settings):
    with Warehouse.open(small_disk) as lake:
        lake.write(BARS, big("OLD"), ingested_at=NOW)
        for path in copies_dir(small_disk).iterdir():
            path.unlink()  # so that a whole copy is due, which has no room
        filler = fill(small_disk, 220_000)
        with pytest.raises(WarehouseError, match=r"cannot copy .*full"):
            lake.write(BARS, big("NEW"), ingested_at=NOW)
        assert rows_per_symbol(lake) == {"OLD": 2000, "NEW": 2000}
        filler.unlink()
        assert lake.write(BARS, big("NEW"), ingested_at=NOW).unchanged == 2000
        snapshot = lake.snapshot_id()
    assert verify(small_disk).ok
    assert [copy[0] for copy in list_copies(small_disk)] == [snapshot]


@pytest.mark.fault(43)
def test_a_killed_file_write_is_never_read(warehouse: Warehouse, settings: Settings):
    files = bar_files(settings)
    writer = start_writer(settings, "K", 200_000, 1)
    while bar_files(settings) == files:
        assert writer.poll() is None
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    stored = rows_per_symbol(warehouse)
    assert stored in ({}, {"K0": 200_000})
    assert warehouse.write(BARS, bars(symbol="after"), ingested_at=NOW).inserted == 3


@pytest.mark.slow
@pytest.mark.fault(44)
def test_kills_around_commits_lose_no_acknowledged_one_and_leave_no_part(settings: Settings):
    acknowledged: set[str] = set()
    chance = random.Random(7)
    for attempt in range(4):
        writer = start_writer(settings, f"a{attempt}-", 40, 10_000)
        acknowledged.add(writer.stdout.readline().strip())
        time.sleep(chance.uniform(0.0, 0.4))
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged |= set(writer.stdout.read().split("\n")[:-1])
        writer.wait()
    with Warehouse.open(settings) as lake:
        stored = rows_per_symbol(lake)
        lake.write(BARS, bars(symbol="after"), ingested_at=NOW)
    assert acknowledged <= set(stored)
    assert len(acknowledged) > 3
    assert set(stored.values()) == {40}


@pytest.mark.fault(46)
def test_two_backfills_of_one_partition_store_it_once(settings: Settings):
    running = [start_writer(settings, "same", 30, 5) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    with Warehouse.open(settings) as lake:
        assert rows_per_symbol(lake) == {f"same{i}": 30 for i in range(5)}
    assert verify(settings).ok


@pytest.mark.fault(47)
def test_a_second_writer_queues_and_finishes(settings: Settings):
    with WriteLock(lock_path(settings)):
        writer = start_writer(settings, "q", 3, 2)
        time.sleep(0.5)
        assert writer.poll() is None
        with Warehouse.open(settings, read_only=True) as lake:
            assert rows_per_symbol(lake) == {}
    assert writer.wait(timeout=60) == 0
    with Warehouse.open(settings) as lake:
        assert rows_per_symbol(lake) == {"q0": 3, "q1": 3}


@pytest.fixture
def flipped(warehouse: Warehouse, settings: Settings, tmp_path: Path) -> str:
    """Path in the lake of a data file with one bit flipped, after a backup."""
    warehouse.write(BARS, bars(40, symbol="GOOD"), ingested_at=NOW)
    before = bar_files(settings)
    warehouse.write(BARS, bars(40, symbol="BAD"), ingested_at=NOW)
    backup(settings, tmp_path / "backup")
    damaged = (bar_files(settings) - before).pop()
    flip_a_bit(damaged)
    return str(damaged.relative_to(settings.lake_dir))


@pytest.mark.fault(50)
def test_a_flipped_bit_is_found_and_named(flipped: str, settings: Settings):
    report = verify(settings)
    assert [file.path for file in report.corrupt] == [flipped]
    with pytest.raises(ChecksumMismatch, match=f"corrupt: market.daily_bars {flipped}"):
        report.raise_if_damaged()


@pytest.mark.fault(50)
def test_a_corrupt_file_is_forgotten_and_fetched_again(flipped, warehouse, settings: Settings):
    gone = forget_file(settings, flipped)
    assert (gone.table, gone.rows, gone.ranges["symbol"]) == (BARS.name, 40, ("BAD", "BAD"))
    assert rows_per_symbol(warehouse) == {"GOOD": 40}
    assert warehouse.write(BARS, bars(40, symbol="BAD"), ingested_at=NOW).inserted == 40
    known_then = warehouse.read(BARS.name, as_of=bars(10)["available_at"][9])
    assert known_then.group_by("symbol").len().sort("symbol").rows() == [("BAD", 10), ("GOOD", 10)]
    assert verify(settings).ok


@pytest.mark.fault(50)
def test_a_corrupt_file_is_mended_from_a_backup(flipped, settings: Settings, tmp_path: Path):
    mend_file(settings, flipped, tmp_path / "backup" / "lake" / flipped)
    assert verify(settings).ok
    with pytest.raises(ChecksumMismatch, match="was written with"):
        mend_file(settings, flipped, settings.root / "write.lock")


@pytest.mark.fault(50)
def test_missing_and_unrecorded_files_are_found(warehouse: Warehouse, settings: Settings):
    warehouse.write(BARS, bars(), ingested_at=NOW)
    bar_files(settings).pop().unlink()
    warehouse._connection.execute("INSERT INTO lake.market.rates (series) VALUES ('by dbt')")
    report = verify(settings)
    assert [file.table for file in report.missing] == ["market.daily_bars"]
    assert [file.table for file in report.unrecorded] == ["market.rates"]


@pytest.mark.fault(51)
@pytest.mark.parametrize("damage", ["header", "middle", "cut"])
def test_a_corrupt_catalogue_is_restored_without_losing_a_commit(settings: Settings, damage: str):
    with Warehouse.open(settings) as lake:
        for i in range(4):
            lake.write(BARS, bars(3, symbol=f"S{i}"), ingested_at=NOW)
        before, snapshot = lake.history(BARS.name), lake.snapshot_id()
    path = settings.catalogue_path
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        start = 0 if damage == "header" else 4096
        content[start : start + 20_000] = os.urandom(20_000)
    path.write_bytes(content)
    with pytest.raises((CatalogueCorrupt, WarehouseError)):
        verify(settings).raise_if_damaged()
    assert restore_catalogue(settings) == snapshot
    with Warehouse.open(settings) as lake:
        assert lake.history(BARS.name).equals(before)
        assert lake.write(BARS, bars(3, symbol="S3"), ingested_at=NOW).unchanged == 3
        assert lake.write(BARS, bars(3, symbol="new"), ingested_at=NOW).inserted == 3
    assert verify(settings).ok
    assert list(settings.root.glob("catalogue.sqlite.damaged-*"))


@pytest.mark.fault(51)
def test_without_a_sound_copy_the_way_back_is_a_backup(settings: Settings):
    for copy in (settings.root / "catalogue_copies").glob("*.sqlite"):
        copy.write_bytes(b"broken")
    with pytest.raises(CatalogueCorrupt, match="no sound copy"):
        restore_catalogue(settings)


HOSTILE = [
    "SELECT 1; SELECT 2",
    "ATTACH '/tmp/x.db' AS y",
    "COPY (SELECT 1) TO '{victim}'",
    "COPY market.daily_bars FROM '{secret}'",
    "EXPORT DATABASE '{victim}'",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM '{secret}'",
    "SELECT content FROM read_text('{secret}')",
    "SELECT (SELECT content FROM read_text('{secret}'))",
    "WITH t AS (FROM read_blob('{secret}')) FROM t",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM market.daily_bars WHERE symbol IN (SELECT * FROM parquet_scan('/tmp/*'))",
    "SELECT * FROM sqlite_scan('{catalogue}', 'ducklake_snapshot')",
    "SELECT * FROM sqlite_query('__ducklake_metadata_lake', 'SELECT 1')",
    "SELECT * FROM __ducklake_metadata_lake.ducklake_snapshot",
    'SELECT * FROM "__DuckLake_Metadata_lake".main.ducklake_data_file',
    "SELECT * FROM postgres_query('x', 'SELECT 1')",
    "FROM query('SELECT 1')",
    "FROM query_table('market.daily_bars')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{secret}'')'))",
    "SET memory_limit = '100GB'",
    "SET GLOBAL enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "FROM duckdb_settings()",
    "FROM duckdb_secrets()",
    "FROM duckdb_databases",
    "SELECT current_setting('memory_limit')",
    "SELECT getenv('HOME')",
    "INSTALL httpfs",
    "LOAD '{secret}'",
    "CREATE TABLE market.z (a INTEGER)",
    "CREATE MACRO f() AS 1",
    "INSERT INTO market.daily_bars SELECT * FROM market.daily_bars",
    "UPDATE market.daily_bars SET close = 0",
    "DELETE FROM market.daily_bars",
    "DROP TABLE market.daily_bars",
    "CALL ducklake_expire_snapshots('lake', older_than => now())",
    "FROM ducklake_expire_snapshots('lake', older_than => now())",
    "FROM ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "FROM ducklake_list_files('lake', 'daily_bars')",
    "USE memory",
    "BEGIN",
    "CHECKPOINT",
    "PREPARE p AS SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "SELECT repeat('x', 2000000000)",
    "SELECT write_log('x')",
    "PIVOT (FROM read_csv('{secret}')) ON password IN ('x') USING count(*)",
    "PIVOT (FROM read_csv('{secret}')) ON password USING count(*)",
    "PIVOT market.daily_bars ON symbol IN (SELECT content FROM read_text('{secret}')) USING max(close)",
    "PIVOT market.daily_bars ON symbol IN ('SPY') USING max(getenv('HOME'))",
    "CREATE TYPE x AS ENUM (SELECT symbol FROM market.daily_bars); SELECT 1",
]


@pytest.mark.fault(62)
def test_hostile_sql_is_refused(settings: Settings, tmp_path: Path):
    secret, victim = tmp_path / "secret.csv", tmp_path / "victim"
    secret.write_text("password\n")
    connection = hardened.open_hardened(settings)
    passed = []
    for template in HOSTILE:
        sql = template.format(secret=secret, victim=victim, catalogue=settings.catalogue_path)
        try:
            hardened.check(connection, sql)
            passed.append(sql)
        except WarehouseError:
            continue
    connection.close()
    assert passed == []
    assert not victim.exists()


@pytest.mark.fault(62)
def test_the_connection_itself_reaches_nothing_even_unchecked(settings: Settings, tmp_path: Path):
    victim = tmp_path / "victim.csv"
    connection = hardened.open_hardened(settings)
    for sql in (
        f"COPY (SELECT 1) TO '{victim}'",
        f"COPY (SELECT 1) TO '{settings.lake_dir}/x.parquet'",
        "SELECT * FROM read_text('/etc/hostname')",
        f"ATTACH '{tmp_path}/x.db' AS y",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "INSERT INTO lake.market.rates (series) VALUES ('x')",
        "DROP TABLE lake.market.rates",
    ):
        with pytest.raises(hardened.duckdb.Error):
            connection.execute(sql)
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")
    connection.close()
    assert not victim.exists()


@pytest.mark.slow
@pytest.mark.fault(62)
@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
        "SELECT generate_series(1, 2000000000)",
        "SELECT * FROM range(10000000000) ORDER BY random()",
    ],
)
def test_endless_and_huge_queries_are_stopped(settings: Settings, sql: str):
    started = time.monotonic()
    with pytest.raises(WarehouseError, match=r"longer than|[Mm]emory"):
        run_query(settings, sql, timeout_s=1)
    assert time.monotonic() - started < 40


@pytest.mark.fault(62)
def test_the_refusal_reaches_the_caller_as_such(settings: Settings):
    with pytest.raises(UnsafeQuery, match="COPY"):
        run_query(settings, "COPY (SELECT 1) TO '/tmp/never.csv'", timeout_s=20)
