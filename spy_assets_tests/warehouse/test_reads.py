from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import polars as pl
import pytest

from spy_assets.errors import NaiveTimestamp, SnapshotExpired, WarehouseError
from spy_assets.settings import Settings
from spy_assets.warehouse import TABLES, Warehouse
from spy_assets_tests.warehouse.frames import BARS, DAY, NOW, bars


def test_as_of_gives_what_was_known_then(warehouse: Warehouse):
    warehouse.write(BARS, bars(3), ingested_at=NOW)
    known = warehouse.read(BARS.name, as_of=bars()["available_at"][1])
    assert known["session"].to_list() == [DAY, DAY + timedelta(days=1)]


def test_a_revision_is_unknown_before_it_came(warehouse: Warehouse):
    warehouse.write(BARS, bars(1, 1.0), ingested_at=NOW)
    warehouse.write(BARS, bars(1, 2.0), ingested_at=NOW + timedelta(hours=1))
    before, after = NOW + timedelta(minutes=59), NOW + timedelta(hours=1)
    assert warehouse.read(BARS.name, as_of=before)["close"].to_list() == [1.0]
    assert warehouse.read(BARS.name, as_of=after)["close"].to_list() == [2.0]


def test_a_snapshot_reads_as_it_was(warehouse: Warehouse):
    old = warehouse.write(BARS, bars(1, 1.0), ingested_at=NOW).snapshot_id
    warehouse.write(BARS, bars(2, 2.0), ingested_at=NOW)
    assert warehouse.read(BARS.name, snapshot=old)["close"].to_list() == [1.0]
    assert warehouse.read(BARS.name)["close"].to_list() == [2.0, 2.0]


def test_a_condition_applies_to_the_chosen_versions(warehouse: Warehouse):
    warehouse.write(BARS, bars(1, 1.0), ingested_at=NOW)
    warehouse.write(BARS, bars(1, 2.0), ingested_at=NOW)
    stale = warehouse.read(BARS.name, where="close = ?", params=[1.0], columns=["close"])
    assert stale.is_empty()
    assert stale.columns == ["close"]


def test_an_unknown_snapshot_is_a_clear_error(warehouse: Warehouse):
    with pytest.raises(SnapshotExpired, match="9999"):
        warehouse.read(BARS.name, snapshot=9999)


def test_an_unknown_table_is_a_clear_error(warehouse: Warehouse):
    with pytest.raises(WarehouseError, match=r"no table 'market\.daily_bar'"):
        warehouse.read("market.daily_bar")


def test_a_naive_moment_is_refused(warehouse: Warehouse):
    with pytest.raises(NaiveTimestamp):
        warehouse.read(BARS.name, as_of=NOW.replace(tzinfo=None))


def test_empty_tables_read_with_their_types(warehouse: Warehouse):
    frame = warehouse.read(BARS.name)
    assert frame.schema["available_at"] == pl.Datetime("us", "UTC")
    assert frame.schema["session"] == pl.Date


def test_every_declared_table_is_there_and_readable(warehouse: Warehouse):
    assert set(TABLES) <= set(warehouse.tables())
    assert all(warehouse.read(name).is_empty() for name in TABLES)


@pytest.mark.parametrize("view", ["signals.latest", "signals.open_trades", "signals.statistics"])
def test_views_are_readable_but_have_no_as_of(warehouse: Warehouse, view: str):
    assert warehouse.read(view).is_empty()
    with pytest.raises(WarehouseError, match="no as_of"):
        warehouse.read(view, as_of=NOW)


def test_threads_share_a_warehouse(warehouse: Warehouse):
    warehouse.write(BARS, bars(5), ingested_at=NOW)
    with ThreadPoolExecutor(8) as pool:
        heights = pool.map(lambda _: warehouse.read(BARS.name).height, range(24))
    assert set(heights) == {5}


def test_a_moved_profile_still_reads(warehouse: Warehouse, settings: Settings, tmp_path):
    warehouse.write(BARS, bars(), ingested_at=NOW)
    warehouse.close()
    settings.root.parent.rename(tmp_path / "elsewhere")
    (tmp_path / "new").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "new" / ".spy")
    moved = settings.model_copy(update={"home": tmp_path / "new"})
    with Warehouse.open(moved) as lake:
        assert lake.read(BARS.name).height == 3


def test_importing_the_tables_is_light():
    code = "import sys, spy_assets.warehouse.tables as t; print(len(t.TABLES), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"duckdb", "polars", "numpy"}.isdisjoint(done.stdout.split())
