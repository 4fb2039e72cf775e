"""`spy` run in this process, and a small real lake to run it on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spy_assets.cli import app
from spy_assets.settings import Settings, load_settings
from spy_assets_tests.cli.ledgers import make_lake


@dataclass(frozen=True)
class Ran:
    """What one `spy` gave."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run `spy` with words of a command line; an unexpected exception fails the test."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: object, stdin: str | None = None) -> Ran:
        result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake that tests only read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        return make_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture
def own_lake(lake: Settings, tmp_path: Path) -> Settings:
    """A lake of the test's own: a copy, since a profile may be moved."""
    shutil.copytree(lake.root, tmp_path / ".spy" / "sample")
    return load_settings(home=tmp_path, source="sample", profile="sample")
