"""The dbt plugin: extensions out of the wheels, the write lock, no lake by the way."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import duckdb
import pytest
from dbt_common.exceptions import DbtRuntimeError

from spy_assets.errors import LockTimeout
from spy_assets.settings import Settings
from spy_assets.warehouse import VerifyReport, Warehouse, WriteLock, verify
from spy_assets.warehouse.connection import attach_sql
from spy_assets.warehouse.dbt_plugin import Plugin, settings_from
from spy_assets.warehouse.locking import lock_path


def make_plugin(settings: Settings, timeout_s: float = 5.0) -> Plugin:
    """The plugin as dbt makes it from the profile."""
    config = {
        "home": str(settings.home),
        "profile": settings.profile_name,
        "catalogue": "",
        "lake_url": "",
        "lock_timeout_s": str(timeout_s),
    }
    return Plugin(name="dbt_plugin", plugin_config=config)


def free(settings: Settings) -> bool:
    """Whether another thread can take the write lock now."""
    taken: list[bool] = []

    def attempt() -> None:
        lock = WriteLock(lock_path(settings), timeout_s=0.05)
        try:
            lock.acquire()
        except LockTimeout:
            return
        lock.release()
        taken.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return taken == [True]


@pytest.fixture
def lake(settings: Settings) -> Settings:
    """Settings of a lake that is there."""
    Warehouse.open(settings).close()
    return settings


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    offline: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    with duckdb.connect(config=offline) as connected:
        yield connected


def test_the_profile_s_text_values_become_settings(settings: Settings) -> None:
    config = {"home": settings.home, "profile": "files", "catalogue": "", "lock_timeout_s": "2.5"}
    read = settings_from(config)
    assert (read.root, read.catalogue) == (settings.home / ".spy" / "files", None)
    assert read.lock_timeout_s == 2.5


def test_extensions_come_without_a_download(
    lake: Settings, connection: duckdb.DuckDBPyConnection
) -> None:
    plugin = make_plugin(lake)
    plugin.configure_connection(connection)
    loaded = connection.sql(
        "SELECT extension_name FROM duckdb_extensions() WHERE loaded"
    ).fetchall()
    assert {("ducklake",), ("sqlite_scanner",)} <= set(loaded)


def test_the_lock_is_held_from_the_connection_to_the_end(
    lake: Settings, connection: duckdb.DuckDBPyConnection
) -> None:
    plugin = make_plugin(lake)
    assert free(lake)
    plugin.configure_connection(connection)
    assert not free(lake)
    del plugin
    gc.collect()
    assert free(lake)


def test_files_are_recorded_before_the_lock_is_given_back(
    lake: Settings, connection: duckdb.DuckDBPyConnection
) -> None:
    plugin = make_plugin(lake)
    plugin.configure_connection(connection)
    connection.execute(attach_sql(lake, read_only=False))
    connection.execute("CREATE TABLE lake.features.regime AS SELECT 'SPY' AS symbol")
    reports: list[VerifyReport] = []
    waiting = threading.Thread(target=lambda: reports.append(verify(lake)))
    waiting.start()
    waiting.join(0.5)
    assert reports == []  # the file has no checksum, and its writer is still at work
    del plugin
    gc.collect()
    waiting.join(20)
    assert [report.ok for report in reports] == [True]
    assert reports[0].checked > 0


def test_a_held_lock_times_out_with_its_holder(
    lake: Settings, connection: duckdb.DuckDBPyConnection
) -> None:
    other = WriteLock(lock_path(lake))
    holder = threading.Thread(target=other.acquire)
    holder.start()
    holder.join()
    try:
        with pytest.raises(DbtRuntimeError, match=r"LockTimeout: waited 0\.1 s.*held by process"):
            make_plugin(lake, timeout_s=0.1).configure_connection(connection)
    finally:
        other.release()


def test_a_missing_warehouse_is_not_made(settings: Settings) -> None:
    with pytest.raises(DbtRuntimeError, match="there is no warehouse"):
        make_plugin(settings).update_connection_config(None, {})
    assert not settings.catalogue_path.exists()
