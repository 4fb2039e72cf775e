from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest
import yaml

from spy_assets.dagster_home import prepare_dagster_home
from spy_assets.errors import CatalogueCorrupt, ChecksumMismatch, ProfileMismatch, WarehouseError
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import Warehouse, backup, restore, restore_catalogue, verify
from spy_assets.warehouse.copies import list_copies
from spy_assets_tests.warehouse.frames import BARS, NOW, bars, flip_a_bit


@pytest.fixture
def saved(warehouse: Warehouse, settings: Settings, tmp_path: Path) -> Path:
    """A backup of a profile with bars, a Dagster home, and an MLflow database in use."""
    warehouse.write(BARS, bars(), ingested_at=NOW)
    (settings.dagster_home / "storage").mkdir(parents=True)
    prepare_dagster_home(settings)
    for name in ("models/abc.npz", "incidents/i.json", "spool/r/record.json", "refetch/n.json"):
        (settings.root / name).parent.mkdir(parents=True)
        (settings.root / name).write_text(name)
    settings.kill_file.write_text("stop")
    settings.resume_file.write_text("2018-11-14 anna: understood\n")
    settings.mlruns_dir.mkdir()
    database = sqlite3.connect(settings.mlruns_dir / "mlflow.db")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE runs AS SELECT 'r1' AS id")
    database.commit()
    backup(settings, tmp_path / "backup")
    database.close()
    return tmp_path / "backup"


def test_lake_dagster_and_mlflow_come_back_together(saved: Path, warehouse, tmp_path: Path):
    other = load_settings(home=tmp_path / "other")
    other.root.mkdir(parents=True)
    other.resume_file.write_text("2018-12-03 ben: looked at")
    report = restore(other, saved)
    assert (report.snapshot, report.set_aside) == (warehouse.snapshot_id(), None)
    with Warehouse.open(other) as lake:
        assert lake.history(BARS.name).equals(warehouse.history(BARS.name))
    assert verify(other).ok
    assert (other.root / "models/abc.npz").read_text() == "models/abc.npz"
    assert {path.name for path in other.root.glob("[irs]*/**/*.json")} == {
        "i.json",
        "n.json",
        "record.json",
    }
    assert other.kill_file.read_text() == "stop"
    assert other.resume_file.read_text().splitlines() == [
        "2018-11-14 anna: understood",
        "2018-12-03 ben: looked at",
    ]
    runs = sqlite3.connect(other.mlruns_dir / "mlflow.db").execute("SELECT id FROM runs")
    assert runs.fetchall() == [("r1",)]


def test_a_restored_dagster_writes_to_its_own_home(saved: Path, settings: Settings, tmp_path: Path):
    text = (settings.dagster_home / "dagster.yaml").read_text()
    other = load_settings(home=tmp_path / "o'ther")
    restore(other, saved)
    restored = yaml.safe_load((other.dagster_home / "dagster.yaml").read_text())
    assert restored["storage"]["sqlite"]["base_dir"] == str(other.dagster_home)
    assert str(settings.dagster_home) in text
    assert restored["telemetry"] == yaml.safe_load(text)["telemetry"]


def test_a_restored_catalogue_has_a_copy(saved: Path, warehouse: Warehouse, tmp_path: Path):
    other = load_settings(home=tmp_path / "other")
    snapshot = restore(other, saved).snapshot
    assert [copy[0] for copy in list_copies(other)] == [snapshot]
    other.catalogue_path.write_bytes(b"not a database")
    assert restore_catalogue(other) == snapshot
    with Warehouse.open(other) as lake:
        assert lake.history(BARS.name).equals(warehouse.history(BARS.name))


@pytest.mark.fault(50)
@pytest.mark.parametrize("damage", ["corrupt", "missing"])
def test_damage_is_not_backed_up(
    warehouse: Warehouse, settings: Settings, tmp_path: Path, damage: str
):
    warehouse.write(BARS, bars(), ingested_at=NOW)
    (file,) = (settings.root / "lake/market/daily_bars").glob("*.parquet")
    flip_a_bit(file) if damage == "corrupt" else file.unlink()
    with pytest.raises(ChecksumMismatch, match=f"{damage}: market.daily_bars .*{file.name}"):
        backup(settings, tmp_path / "backup")
    assert list(tmp_path.glob("backup*")) == []


@pytest.mark.fault(51)
def test_a_damaged_catalogue_is_not_backed_up(settings: Settings, tmp_path: Path):
    content = bytearray(settings.catalogue_path.read_bytes())
    content[8192:28_672] = bytes(range(256)) * 80
    settings.catalogue_path.write_bytes(content)
    with pytest.raises(CatalogueCorrupt):
        backup(settings, tmp_path / "backup")
    assert list(tmp_path.glob("backup*")) == []


def test_a_halt_survives_a_restore_of_a_backup_without_one(settings: Settings, tmp_path: Path):
    backup(settings, tmp_path / "backup")
    settings.kill_file.write_text("stop")
    restore(settings, tmp_path / "backup", force=True)
    assert settings.kill_file.read_text() == "stop"


def test_a_backup_of_another_profile_is_refused(saved: Path, tmp_path: Path):
    other = load_settings(home=tmp_path / "other", profile="look")
    with pytest.raises(ProfileMismatch, match="profile 'sample', not 'look'"):
        restore(other, saved)


def test_the_manifest_sums_every_file(saved: Path):
    manifest = json.loads((saved / "manifest.json").read_text())
    files = {str(p.relative_to(saved)) for p in saved.rglob("*") if p.is_file()}
    assert set(manifest["sha256"]) == files - {"manifest.json"}
    assert manifest["source"] == "sample"


def test_an_existing_lake_is_not_overwritten_without_force(saved: Path, settings: Settings):
    with pytest.raises(WarehouseError, match="hold data already"):
        restore(settings, saved)


def test_force_replaces_it(saved: Path, warehouse: Warehouse, settings: Settings):
    warehouse.write(BARS, bars(5), ingested_at=NOW)
    warehouse.close()
    restore(settings, saved, force=True)
    with Warehouse.open(settings) as lake:
        assert lake.row_count(BARS.name) == 3
        assert lake.write(BARS, bars(5), ingested_at=NOW).inserted == 2


def mlflow_with(folder: Path, runs: dict[str, str]) -> None:
    """MLflow's database as far as a restore looks at it: runs, each with its profile."""
    folder.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.executescript(
            "DROP TABLE IF EXISTS runs; DROP TABLE IF EXISTS experiments;"
            "CREATE TABLE experiments (experiment_id INTEGER, name TEXT);"
            "CREATE TABLE runs (run_uuid TEXT, name TEXT, experiment_id INTEGER)"
        )
        names = {name: number for number, name in enumerate(sorted(set(runs.values())))}
        database.executemany(
            "INSERT INTO experiments VALUES (?, ?)", [(n, e) for e, n in names.items()]
        )
        database.executemany(
            "INSERT INTO runs VALUES (?, NULL, ?)", [(r, names[e]) for r, e in runs.items()]
        )


def runs_in(folder: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return {run for (run,) in database.execute("SELECT run_uuid FROM runs")}


def test_force_sets_aside_what_mlflow_had(settings: Settings, warehouse, tmp_path: Path):
    warehouse.close()
    mlflow_with(settings.mlruns_dir, {"a": "sample", "b": "yfinance"})
    backup(settings, tmp_path / "backup")
    mlflow_with(settings.mlruns_dir, {"a": "sample", "b": "yfinance", "c": "sample"})
    kept = restore(settings, tmp_path / "backup", force=True).set_aside
    assert runs_in(settings.mlruns_dir) == {"a", "b"}
    assert kept is not None
    assert runs_in(kept) == {"a", "b", "c"}


def test_runs_of_other_profiles_are_not_lost_even_by_force(
    settings: Settings, warehouse, tmp_path: Path
):
    warehouse.write(BARS, bars(), ingested_at=NOW)
    warehouse.close()
    mlflow_with(settings.mlruns_dir, {"a": "sample"})
    backup(settings, tmp_path / "backup")
    mlflow_with(settings.mlruns_dir, {"a": "sample", "b": "yfinance", "c": "sample"})
    with Warehouse.open(settings) as lake:
        lake.write(BARS, bars(5), ingested_at=NOW)
    with pytest.raises(WarehouseError, match=r"the backup lacks 1 run\(s\) in it, of yfinance"):
        restore(settings, tmp_path / "backup", force=True)
    assert runs_in(settings.mlruns_dir) == {"a", "b", "c"}
    with Warehouse.open(settings) as lake:
        assert lake.row_count(BARS.name) == 5


def test_a_changed_backup_is_refused_before_anything_happens(saved: Path, tmp_path: Path):
    (saved / "mlruns/mlflow.db").write_bytes(b"other")
    other = load_settings(home=tmp_path / "other")
    with pytest.raises(ChecksumMismatch, match=r"mlruns/mlflow\.db"):
        restore(other, saved)
    assert not other.root.exists()


def test_a_backup_of_another_source_is_refused(saved: Path, tmp_path: Path):
    other = load_settings(home=tmp_path / "other", source="yfinance")
    with pytest.raises(ProfileMismatch, match="'sample', not 'yfinance'"):
        restore(other, saved)


def test_what_is_no_backup_is_refused(settings: Settings, tmp_path: Path):
    with pytest.raises(WarehouseError, match="no backup"):
        restore(settings, tmp_path)


def test_a_backup_needs_an_empty_folder(saved: Path, settings: Settings):
    with pytest.raises(WarehouseError, match="not empty"):
        backup(settings, saved)


def test_a_restored_lake_opens_read_only_at_once(settings: Settings, tmp_path: Path) -> None:
    with Warehouse.open(settings) as lake:
        before = lake.snapshot_id()
    backup(settings, tmp_path / "backup")
    elsewhere = load_settings(home=tmp_path / "elsewhere")
    restore(elsewhere, tmp_path / "backup")
    with Warehouse.open(elsewhere, read_only=True) as lake:
        assert lake.snapshot_id() == before
