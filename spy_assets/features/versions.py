"""Versions of rows by session: what was the last one that was known."""

from __future__ import annotations

import polars as pl


def oldest_first(versions: pl.DataFrame) -> pl.DataFrame:
    """Sessions in order, and each session's versions from the oldest to the newest."""
    order = ("session", "available_at", "ingested_at")
    return versions.sort([name for name in order if name in versions.columns])


def last_of_each_session(versions: pl.DataFrame) -> pl.DataFrame:
    """The newest of each session's versions, by session."""
    return oldest_first(versions).unique("session", keep="last", maintain_order=True)
