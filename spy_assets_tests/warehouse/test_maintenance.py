from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from spy_assets.errors import ChecksumMismatch, NaiveTimestamp, SnapshotExpired
from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse, maintain, verify
from spy_assets_tests.warehouse.frames import BARS, DAY, NOW, bars, flip_a_bit

LATER = datetime.now(tz=UTC) + timedelta(days=30)


@pytest.fixture
def snapshots(warehouse: Warehouse) -> list[int]:
    """Six commits of a bar each."""
    frames = [bars(1, start=DAY + timedelta(days=i)) for i in range(6)]
    return [warehouse.write(BARS, frame, ingested_at=NOW).snapshot_id for frame in frames]


def test_files_are_merged_and_no_version_is_lost(warehouse, settings: Settings, snapshots):
    before = warehouse.history(BARS.name)
    report = maintain(settings, keep=set(), now=LATER)
    assert report.files_after < report.files_before
    assert warehouse.history(BARS.name).equals(before)
    assert verify(settings).ok


def test_kept_snapshots_stay_readable_and_others_expire(warehouse, settings: Settings, snapshots):
    maintain(settings, keep={snapshots[2]}, now=LATER)
    assert warehouse.read(BARS.name, snapshot=snapshots[2]).height == 3
    with pytest.raises(SnapshotExpired, match=str(snapshots[1])):
        warehouse.read(BARS.name, snapshot=snapshots[1])


def test_young_snapshots_stay(warehouse, settings: Settings, snapshots):
    assert maintain(settings, keep=set(), now=datetime.now(tz=UTC)).expired == 0
    assert warehouse.read(BARS.name, snapshot=snapshots[0]).height == 1


def test_writing_goes_on_afterwards(warehouse, settings: Settings, snapshots):
    maintain(settings, keep=set(), now=LATER)
    assert warehouse.write(BARS, bars(6), ingested_at=NOW).unchanged == 6
    assert warehouse.write(BARS, bars(7), ingested_at=NOW).inserted == 1
    assert verify(settings).ok


def test_files_that_nobody_knows_are_removed(warehouse, settings: Settings, snapshots):
    stray = settings.root / "lake/market/daily_bars/ducklake-stray.parquet"
    stray.write_bytes(b"half")
    maintain(settings, keep=set(), now=LATER)
    assert not stray.exists()


@pytest.mark.fault(50)
@pytest.mark.parametrize("damage", ["corrupt", "missing"])
def test_damage_is_refused_and_not_merged_away(
    warehouse: Warehouse, settings: Settings, snapshots: list[int], damage: str
):
    files = sorted((settings.root / "lake/market/daily_bars").glob("*.parquet"))
    flip_a_bit(files[2]) if damage == "corrupt" else files[2].unlink()
    before, found = warehouse.snapshot_id(), verify(settings)
    with pytest.raises(ChecksumMismatch, match=f"{damage}: market.daily_bars .*{files[2].name}"):
        maintain(settings, keep=set(), now=LATER)
    assert verify(settings) == found
    assert [file.path for file in getattr(found, damage)] == [f"market/daily_bars/{files[2].name}"]
    assert warehouse.snapshot_id() == before
    assert set(files) - {files[2]} <= set(files[2].parent.glob("*.parquet"))


def test_a_file_of_a_killed_writer_is_no_damage(warehouse: Warehouse, settings: Settings):
    warehouse._connection.execute("INSERT INTO lake.market.rates (series) VALUES ('killed')")
    assert len(verify(settings).unrecorded) == 1
    maintain(settings, keep=set(), now=LATER)
    assert verify(settings).ok


def test_the_next_write_heals_what_a_killed_writer_left(warehouse: Warehouse, settings: Settings):
    warehouse.write(BARS, bars(), ingested_at=NOW)
    warehouse._connection.execute("INSERT INTO lake.market.rates (series) VALUES ('killed')")
    assert warehouse.write(BARS, bars(), ingested_at=NOW).unchanged == 3
    assert verify(settings).ok


def test_a_naive_moment_is_refused(settings: Settings):
    with pytest.raises(NaiveTimestamp):
        maintain(settings, keep=set(), now=LATER.replace(tzinfo=None))
