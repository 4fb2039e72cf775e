"""The protocol of sources, and the few things that every source needs."""

from __future__ import annotations

from spy_assets.errors import NotProvided
from spy_assets.market.protocol import Source
from spy_assets.market.schemas import Dataset

__all__ = ["Source", "not_provided"]


def not_provided(source: str, dataset: Dataset, hint: str) -> NotProvided:
    """The error of a source that lacks a data set."""
    return NotProvided(f"source {source!r} has no {dataset}", hint=hint)
