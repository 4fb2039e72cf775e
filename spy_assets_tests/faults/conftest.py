"""Faults of the whole system start from a profile that works."""

from spy_assets_tests.graph.conftest import webhook, world
from spy_assets_tests.market.conftest import gate, pauses

__all__ = ["gate", "pauses", "webhook", "world"]
