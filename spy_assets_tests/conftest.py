"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from spy_assets.settings import Settings, load_settings

REPOSITORY = Path(__file__).resolve().parent.parent

# Not under a name of ours: the settings would refuse it where a fixture of a session reads them. Kept
# in the environment, as workers of xdist start after this.
if "SPY_TEST_SHARED" in os.environ:
    os.environ["TEST_SHARED"] = os.environ.pop("SPY_TEST_SHARED")
#: Real market data for tests; absent on most machines. SPY_TEST_SHARED names another folder.
SHARED = Path(os.environ.get("TEST_SHARED", REPOSITORY.parent / "shared"))

# The suite draws the same examples each time, so that a change is judged by what it changed;
# HYPOTHESIS_PROFILE=explore draws new ones, and more where a test does not say how many.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=2000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Tests see no SPY_ variable, no .env and no proxy of the machine they run on."""
    for name in list(os.environ):
        if name.startswith("SPY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SPY_ENV_FILE", str(tmp_path / "no.env"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    return


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a fresh `sample` profile in a temporary home."""
    return load_settings(home=tmp_path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real market data, or a skip that says so."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no real market data at {folder}")
    return folder


@pytest.fixture(scope="session")
def shared_vectors() -> Path:
    """The folder of reference values, or a skip that says so."""
    folder = SHARED / "vectors"
    if not folder.is_dir():
        pytest.skip(f"no reference values at {folder}")
    return folder
