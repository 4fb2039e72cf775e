"""The whole graph, run once and shared."""

from __future__ import annotations

import pytest

from spy_assets_tests.graph.worlds import World, the_world
from spy_assets_tests.test_alerts import webhook

__all__ = ["webhook", "world"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A profile after two runs of the main job; copy it to change it."""
    return the_world(tmp_path_factory)
