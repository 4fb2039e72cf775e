"""Fixtures of the market tests: a scripted server and a patient gate that never sleeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spy_assets.market.sources.http import Gate
from spy_assets.settings import HttpSettings
from spy_assets_tests.scripted_server import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def pauses() -> list[float]:
    """The pauses that the gate asked for, in seconds."""
    return []


@pytest.fixture
def gate(pauses: list[float]) -> Gate:
    policy = HttpSettings(
        timeout_s=0.5, max_attempts=3, backoff_s=1.0, max_backoff_s=30.0, budget=30
    )
    return Gate(policy, sleep=pauses.append)
