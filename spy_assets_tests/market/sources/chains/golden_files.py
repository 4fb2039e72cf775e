"""Canonical frames on disk, one JSON object a row.

They are written again with WRITE_GOLDEN=1; then read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from spy_assets.options.chain import CHAIN_SCHEMA, RawChain

FOLDER = Path(__file__).parent / "golden"
_WRITE = os.environ.get("WRITE_GOLDEN") == "1"


def text_of(chain: RawChain) -> str:
    """Rows as JSON lines, rejected contracts last."""
    return chain.frame.write_ndjson() + chain.rejected.write_ndjson()


def check_golden(name: str, chain: RawChain) -> None:
    """The chain is the one on disk, to the bit, and in the schema."""
    assert chain.frame.schema == pl.Schema(CHAIN_SCHEMA)
    path = FOLDER / f"{name}.ndjson"
    if _WRITE:
        path.write_text(text_of(chain))
    assert text_of(chain) == path.read_text()
