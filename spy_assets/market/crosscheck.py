"""Two sources of one number, held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from spy_assets.errors import DataError
from spy_assets.market.cleaning import Cleaned, jumps, quarantine_rows
from spy_assets.market.schemas import KEYS, QUARANTINE, Columns, Dataset

#: Columns of a comparison; `relative` is |left - right| / |right|.
MISMATCH: Columns = {
    "column": pl.String(),
    "left": pl.Float64(),
    "right": pl.Float64(),
    "relative": pl.Float64(),
}


def compare(
    left: pl.DataFrame,
    right: pl.DataFrame,
    *,
    key: Sequence[str],
    columns: Sequence[str],
    rtol: float,
    atol: float = 0.0,
) -> pl.DataFrame:
    """Where two sources disagree on a key that both have.

    Parameters
    ----------
    left, right
        One row per key each.
    rtol, atol
        A pair agrees if |left - right| <= atol + rtol * |right|. A value that only one side has is
        not compared.

    Returns
    -------
    pl.DataFrame
        The key, then the columns of :data:`MISMATCH`, worst first.

    Raises
    ------
    DataError
        If a key comes twice in one of the frames.
    """
    for name, frame in (("left", left), ("right", right)):
        if frame.select(key).is_duplicated().any():
            raise DataError(
                f"the {name} source has two rows for one of {list(key)}", hint="clean it first"
            )
    both = left.select(*key, *columns).join(
        right.select(*key, *columns), on=list(key), suffix="_right"
    )
    parts = [_mismatches(both, list(key), name, rtol, atol) for name in columns]
    return pl.concat(parts).sort("relative", *key, descending=[True, *[False] * len(key)])


def _mismatches(
    both: pl.DataFrame, key: list[str], name: str, rtol: float, atol: float
) -> pl.DataFrame:
    a, b = pl.col(name).cast(pl.Float64), pl.col(f"{name}_right").cast(pl.Float64)
    off = (a - b).abs() > atol + rtol * b.abs()
    return both.filter(off.fill_null(False)).select(
        *key,
        pl.lit(name).alias("column"),
        a.alias("left"),
        b.alias("right"),
        ((a - b).abs() / b.abs()).alias("relative"),
    )


def judge_jumps(
    bars: pl.DataFrame, second: pl.DataFrame, *, key: str = "symbol", rtol: float = 0.005
) -> pl.DataFrame:
    """Ask a second source about the closes of `bars` that jumped by 10 sigma.

    Parameters
    ----------
    bars, second
        Clean rows with `key`, `session` and `close`.
    rtol
        How far the two closes may be apart, relative.

    Returns
    -------
    pl.DataFrame
        `key`, `session`, `close`, `second_close`, `log_return`, `sigmas`, and `verdict`:
        `confirmed`, `contradicted`, or `unconfirmed` where the second source has no such row.
    """
    found = jumps(bars, key)
    other = second.select(key, "session", pl.col("close").alias("second_close"))
    joined = found.join(other, on=[key, "session"], how="left", maintain_order="left")
    apart = (pl.col("close") - pl.col("second_close")).abs() > rtol * pl.col("second_close")
    verdict = (
        pl.when(pl.col("second_close").is_null())
        .then(pl.lit("unconfirmed"))
        .when(apart)
        .then(pl.lit("contradicted"))
        .otherwise(pl.lit("confirmed"))
    )
    return joined.select(
        key, "session", "close", "second_close", "log_return", "sigmas", verdict.alias("verdict")
    )


@dataclass(frozen=True)
class Tolerance:
    """What is compared, and how far apart two sources may be."""

    column: str
    rtol: float = 0.0
    atol: float = 0.0


#: Ratios and indices are published to 0.01 and rates to 0.01 %; closes differ by the last print.
TOLERANCES: dict[Dataset, Tolerance] = {
    "daily_bars": Tolerance("close", rtol=0.005),
    "volatility": Tolerance("close", atol=0.015),
    "rates": Tolerance("rate", atol=1.5e-4),
    "put_call": Tolerance("ratio", atol=0.015),
}


def hold_against(cleaned: Cleaned, second: pl.DataFrame, dataset: Dataset) -> Cleaned:
    """Compare clean rows with a second source.

    A disagreement is a warning, `sources_disagree`, with both values; the preferred source is
    published. But a ten-sigma jump that the second source contradicts is withheld,
    `jump_contradicted`.

    Parameters
    ----------
    second
        Raw rows of the same data set; keys that only one side has are not compared.
    """
    key, tolerance = list(KEYS[dataset]), TOLERANCES[dataset]
    found = compare(
        cleaned.frame,
        second.unique(key, keep="first"),
        key=key,
        columns=[tolerance.column],
        rtol=tolerance.rtol,
        atol=tolerance.atol,
    )
    if found.is_empty():
        return cleaned
    jumped = cleaned.quarantined.filter(pl.col("reason").str.contains("jump", literal=True))
    suspects = jumped.select(pl.col("symbol").alias(key[0]), "session")
    contradicted = found.join(suspects, on=key, how="semi")
    told = found.join(contradicted, on=key, how="anti")
    parts = [
        cleaned.quarantined,
        quarantine_rows(told, dataset, reason="sources_disagree", severity="warn"),
        quarantine_rows(contradicted, dataset, reason="jump_contradicted", severity="error"),
    ]
    return replace(
        cleaned,
        frame=cleaned.frame.join(contradicted, on=key, how="anti", maintain_order="left"),
        quarantined=pl.concat(parts).select(QUARANTINE.keys()),
        notes=(*cleaned.notes, f"{found.height} rows differ from the second source"),
    )
