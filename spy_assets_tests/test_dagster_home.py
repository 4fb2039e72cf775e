"""DAGSTER_HOME: written once, never overwritten, and accepted by Dagster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spy_assets.dagster_home import instance, prepare_dagster_home, remove_profile
from spy_assets.errors import ConfigError
from spy_assets.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _dagster_home_is_put_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAGSTER_HOME", "/nowhere")


def test_yaml_is_written_once(settings: Settings):
    home = prepare_dagster_home(settings)
    assert sorted(path.name for path in home.iterdir()) == ["dagster.yaml"]
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    prepare_dagster_home(settings)
    assert "storage" not in (home / "dagster.yaml").read_text()


def test_dagster_accepts_it_and_keeps_all_in_the_profile(settings: Settings):
    with instance(settings) as dagster:
        assert not dagster.telemetry_enabled
        assert dagster.run_monitoring_enabled
        pools = dagster.get_concurrency_config().pool_config
        assert pools.default_pool_limit == 1
        assert dagster.get_runs_count() == 0
    assert os.environ["DAGSTER_HOME"] == str(settings.dagster_home)
    assert list(settings.dagster_home.rglob("*.db"))


def test_a_home_with_odd_characters(tmp_path: Path):
    settings = load_settings(home=tmp_path / "it's: a #home")
    with instance(settings) as dagster:
        assert dagster.root_directory == str(settings.dagster_home)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / ".spy").write_text("a file where a folder is due")
    with pytest.raises(ConfigError, match="DAGSTER_HOME"):
        prepare_dagster_home(load_settings(home=tmp_path))


def test_removing_a_profile_leaves_the_others_and_mlflow(tmp_path: Path):
    for name in ("sample", "paper"):
        prepare_dagster_home(load_settings(home=tmp_path, profile=name))
    (tmp_path / "mlruns").mkdir()
    assert remove_profile(load_settings(home=tmp_path)) is True
    assert remove_profile(load_settings(home=tmp_path)) is False
    assert {path.name for path in (tmp_path / ".spy").iterdir()} == {"paper"}
    assert (tmp_path / "mlruns").is_dir()
