"""A registry whose folder was restored, moved or copied elsewhere."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from spy_assets.registry import Registry
from spy_assets.registry.moving import follow_folder
from spy_assets.settings import load_settings
from spy_assets.warehouse import Warehouse, backup, restore
from spy_assets_tests.models.policies import ALL, MIDDLE, random_net, training_record
from spy_assets_tests.registry.templates import fresh_registry


@pytest.fixture
def origin(tmp_path: Path) -> Registry:
    """A home with an odd name, a lake and a champion."""
    settings = load_settings(home=tmp_path / "old home 100%")
    Warehouse.open(settings).close()
    registry = fresh_registry(settings)
    registry.log_training(training_record(seed=3))
    registry.set_alias("champion", "1")
    return registry


def addresses(folder: Path) -> set[str]:
    """Every text in MLflow's database that names a file."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        return {line for line in database.iterdump() if "file://" in line}


def test_the_champion_is_restored_though_its_origin_is_gone(origin: Registry, tmp_path: Path):
    import mlflow

    backup(load_settings(home=origin.folder.parent), tmp_path / "backup")
    shutil.rmtree(origin.folder.parent)
    settings = load_settings(home=tmp_path / "it's new")
    restore(settings, tmp_path / "backup")
    registry = Registry(settings)
    champion = registry.alias("champion")
    assert champion is not None
    net = registry.load(champion)
    np.testing.assert_array_equal(
        net.probabilities(MIDDLE, ALL), random_net(3).probabilities(MIDDLE, ALL)
    )
    assert [path.name for path in registry.downloads.glob("*.npz")] != []
    with registry._session() as client:  # as MLflow's UI does
        (version,) = client.search_model_versions(f"name = '{registry.name}'")
        assert [item.path for item in client.list_artifacts(version.run_id)]
    served = mlflow.pyfunc.load_model(f"models:/{registry.name}/{champion}")
    assert served.predict({"observation": MIDDLE[None], "mask": ALL[None]}).shape == (1, ALL.size)
    assert not [line for line in addresses(registry.folder) if "old%20home" in line]


def test_a_training_goes_on_in_the_new_place(origin: Registry, tmp_path: Path):
    shutil.move(origin.folder.parent, tmp_path / "new")
    registry = Registry(load_settings(home=tmp_path / "new"))
    assert registry.log_training(training_record("2018-10-31")).version == "2"
    assert registry.load("2").weights.policy_hash == training_record().policy_hash
    assert not origin.folder.exists()


def test_a_copy_uses_its_own_files_and_leaves_the_origin_alone(origin: Registry, tmp_path: Path):
    before = addresses(origin.folder)
    shutil.copytree(origin.folder, tmp_path / "copy" / "mlruns")
    copy = Registry(load_settings(home=tmp_path / "copy"))
    assert copy.fetch("1").path.is_relative_to(tmp_path / "copy")
    assert addresses(origin.folder) == before
    assert follow_folder(origin.folder) == 0


def test_what_is_kept_elsewhere_stays_as_it_is(origin: Registry, tmp_path: Path):
    folder = tmp_path / "database only"
    folder.mkdir()
    shutil.copy(origin.folder / "mlflow.db", folder)
    assert follow_folder(folder) == 0
    assert addresses(folder) == addresses(origin.folder)
    (folder / "artifacts" / "sample").mkdir(parents=True)
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/1'")
    assert follow_folder(folder) == 0


def test_a_broken_database_is_a_registry_that_does_not_answer(tmp_path: Path):
    from spy_assets.errors import RegistryUnavailable

    registry = Registry(load_settings(home=tmp_path))
    registry.folder.mkdir()
    (registry.folder / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(RegistryUnavailable, match="not a database"):
        registry.versions()
