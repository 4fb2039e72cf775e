"""The quarantine: what is wrong with which row, and the row itself as it came, under a stable id.

Cleaning numbers the rows (:func:`number_rows`), collects flags (:func:`flag`), and tells the flagged
rows in the columns of ``quarantine.rows`` (:func:`quarantined_rows`). The id is a hash of the data set
and the row's values, so that the same row refused again is the same row of the quarantine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from datetime import date, datetime

import polars as pl

from spy_assets.market.schemas import QUARANTINE, TIMESTAMP, empty

#: Columns of flags: the row's number, what is wrong with it, and `error` or `warn`.
FLAGS = {"row": pl.UInt32, "reason": pl.String, "severity": pl.String}


def number_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the number of each row in `row`, by which flags name it."""
    return frame.select(pl.row_index("row").cast(pl.UInt32), *frame.columns)


def flag(rows: pl.DataFrame, condition: pl.Expr, reason: str, severity: str) -> pl.DataFrame:
    """Flags, in columns :data:`FLAGS`, for the numbered rows that meet the condition; null does not."""
    return rows.filter(condition).select(
        "row", pl.lit(reason).alias("reason"), pl.lit(severity).alias("severity")
    )


def payloads_of(rows: pl.DataFrame, names: Iterable[str]) -> list[str]:
    """JSON of these columns of each row; NaN and infinity, which JSON lacks, as strings."""
    kept = list(names)
    return [
        json.dumps({n: _jsonable(v) for n, v in zip(kept, row, strict=True)}, sort_keys=True)
        for row in rows.select(kept).iter_rows()
    ]


def _jsonable(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value


def row_id(dataset: str, payload: str) -> str:
    """The id under which the quarantine keeps what was refused."""
    return hashlib.sha256(f"{dataset}\n{payload}".encode()).hexdigest()[:32]


def quarantined_rows(
    rows: pl.DataFrame,
    flags: pl.DataFrame,
    dataset: str,
    *,
    names: Iterable[str] | None = None,
    symbol: str = "symbol",
    event_time: str = "event_time",
) -> pl.DataFrame:
    """One quarantine row per flagged row, its reasons joined; the severest counts.

    Parameters
    ----------
    rows, flags
        Numbered rows, and flags in columns :data:`FLAGS`.
    dataset
        Name of the data set in the quarantine.
    names
        Columns that make the row what it is; by default all of them.
    symbol, event_time
        The columns that hold these two; without the second the moment is null.
    """
    if flags.is_empty():
        return empty(QUARANTINE)
    merged = (
        flags.unique()
        .sort("row", "reason")
        .group_by("row", maintain_order=True)
        .agg(pl.col("reason").unique(maintain_order=True).str.join(","), pl.col("severity").min())
    )  # "error" sorts before "warn"
    told = rows.join(merged, on="row", maintain_order="left")
    moment = pl.col(event_time) if event_time in rows.columns else pl.lit(None, TIMESTAMP)
    return quarantine_frame(
        told.select(
            pl.col(symbol).alias("symbol"),
            "session",
            "reason",
            "severity",
            moment.alias("event_time"),
        ),
        payloads_of(told, names or [name for name in rows.columns if name != "row"]),
        dataset,
    )


def quarantine_frame(told: pl.DataFrame, payloads: list[str], dataset: str) -> pl.DataFrame:
    """Rows of the quarantine, once each: `told` is all but the id, the payload and the data set."""
    ids = [row_id(dataset, text) for text in payloads]
    frame = told.with_columns(
        pl.lit(dataset).alias("dataset"),
        pl.Series("row_id", ids, dtype=pl.String),
        pl.Series("payload", payloads, dtype=pl.String),
    )
    ordered = frame.select(QUARANTINE.keys()).cast(pl.Schema(QUARANTINE))
    return ordered.unique(subset=["row_id"], keep="first", maintain_order=True).sort(
        "symbol", "session", "row_id", nulls_last=True
    )
