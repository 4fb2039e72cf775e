"""The feature tables that Python makes, from the last version of each raw bar.

The asset that publishes them and the look-ahead audit call the same function.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from spy_assets.features.indicators import compute_indicators
from spy_assets.market.adjustment import forward_adjust

Compute = Callable[[pl.DataFrame], pl.DataFrame]
_KEY = ("symbol", "session")


def known_since(bars: pl.DataFrame) -> pl.DataFrame:
    """Tell, per symbol and session, the source and when the history up to that bar was complete.

    A value with memory is known when the latest of its inputs is, so ``available_at`` is the
    running maximum along each symbol.
    """
    return (
        bars.sort(_KEY)
        .select(*_KEY, "available_at", "source")
        .with_columns(pl.col("available_at").cum_max().over("symbol"))
    )


def adjusted_bars(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of ``features.adjusted_bars`` with ``available_at`` and ``source``.

    Parameters
    ----------
    bars
        The last version of every row of ``market.daily_bars`` of the symbols, from the first bar
        on, which is the anchor of the adjustment.
    """
    adjusted = forward_adjust(bars)
    return adjusted.join(known_since(bars), on=_KEY, how="left", maintain_order="left")


def python_tables(
    bars: pl.DataFrame, indicators: Compute = compute_indicators
) -> dict[str, pl.DataFrame]:
    """Return both Python tables, keyed by their names in the warehouse.

    Parameters
    ----------
    bars
        As for :func:`adjusted_bars`.
    indicators
        The indicator function; another one only in tests that plant a leak.
    """
    adjusted = adjusted_bars(bars)
    return {"features.adjusted_bars": adjusted, "features.indicators": indicators(adjusted)}
