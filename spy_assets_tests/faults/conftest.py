"""Faults of the whole system start from a profile that works."""

from spy_assets_tests.graph.conftest import webhook, world

__all__ = ["webhook", "world"]
