"""Fixtures of the chain sources' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spy_assets_tests.market.sources.chains.servers import RecordingServer


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    recording = RecordingServer()
    yield recording
    recording.close()


@pytest.fixture(autouse=True)
def _fresh_yahoo() -> Iterator[None]:
    """yfinance keeps one client per process; forget what it remembers of other servers."""
    from yfinance.data import YfData

    YfData.cache_get.cache_clear()
    yield
    YfData.cache_get.cache_clear()
