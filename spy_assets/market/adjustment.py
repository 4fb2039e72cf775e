"""Forward adjustment: prices that are comparable over splits and dividends, without look-ahead.

The usual back-adjusted close divides the whole past by factors that were not known then. Here the
first bar is the anchor, and each later bar is scaled by the events up to and with its own session:

    factor(t) = product over s <= t of  split(s) * C(s-1) / (C(s-1) - split(s) * D(s))

with `C(s-1)` the raw close before the ex-date and `D` the dividend per (new) share. So
`adjusted(t) / adjusted(t-1)` is the total return, and no event ever rewrites an earlier row.
The factor per dividend is the one of CRSP's and Yahoo's adjusted close, applied forwards.
"""

from __future__ import annotations

import polars as pl

from spy_assets.errors import DataError
from spy_assets.market.schemas import TIMESTAMP, Columns

#: Columns of `features.adjusted_bars`.
ADJUSTED: Columns = {
    "symbol": pl.String(),
    "session": pl.Date(),
    "event_time": TIMESTAMP,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "factor": pl.Float64(),
}
_PRICES = ("open", "high", "low", "close")


def _refuse_total_payouts(bars: pl.DataFrame) -> None:
    bad = bars.filter(pl.col("_payout") >= pl.col("_before"))
    if not bad.is_empty():
        row = bad.row(0, named=True)
        raise DataError(
            f"{row['symbol']} {row['session']}: a dividend of {row['dividend']} is not less than "
            f"the close before it, {row['_before']}",
            hint="correct the dividend in the source; its unit is dollars per share",
        )


def undo_split_adjustment(bars: pl.DataFrame, *, adjusted: bool | None = None) -> pl.DataFrame:
    """Give split-adjusted bars of one symbol back the prices at which they were traded.

    Vendors divide all prices before a split by its ratio. With the split known this is undone:
    prices and dividends before it are multiplied by the ratio, volumes divided.

    Parameters
    ----------
    bars
        `session`, prices, `volume`, `dividend`, `split` (1.0 without one), one symbol.
    adjusted
        Whether the bars are adjusted for the splits that they list. By default each split is
        judged by the prices: adjusted bars do not jump by the ratio.
    """
    ordered = bars.sort("session")
    gap = (pl.col("close").shift(1) / pl.col("open")).log()
    continuous = gap.abs() < (gap - pl.col("split").log()).abs()
    undo = continuous.fill_null(True) if adjusted is None else pl.lit(adjusted)
    ratio = pl.when((pl.col("split") != 1.0) & undo).then(pl.col("split")).otherwise(1.0)
    # The ratio of every later split: the product from the end, without the row's own.
    later = ratio.reverse().cum_prod().reverse() / ratio
    scaled = ordered.with_columns(later.alias("_later"))
    return scaled.with_columns(
        *[pl.col(name) * pl.col("_later") for name in (*_PRICES, "dividend")],
        pl.col("volume") / pl.col("_later"),
    ).drop("_later")


def forward_adjust(bars: pl.DataFrame) -> pl.DataFrame:
    """Forward-adjust clean daily bars of one or more symbols.

    Parameters
    ----------
    bars
        Columns of `market.daily_bars`; one row per symbol and session, in any order. Pass the whole
        history of a symbol: its first bar is the anchor (factor 1).

    Returns
    -------
    pl.DataFrame
        The columns of :data:`ADJUSTED`, by symbol and session. Volume is scaled by splits alone.

    Raises
    ------
    DataError
        If a dividend is not less than the close before it, or a key comes twice.
    """
    twice = bars.filter(bars.select("symbol", "session").is_duplicated())
    if not twice.is_empty():
        row = twice.row(0, named=True)
        raise DataError(
            f"{row['symbol']} {row['session']} comes twice",
            hint="clean the bars first, and read one version per key",
        )
    first = pl.col("_before").is_null()
    steps = (
        bars.sort("symbol", "session")
        .with_columns(
            pl.col("close").shift(1).over("symbol").alias("_before"),
            pl.col("split").fill_null(1.0).alias("_split"),
        )
        .with_columns((pl.col("_split") * pl.col("dividend").fill_null(0.0)).alias("_payout"))
    )
    _refuse_total_payouts(steps)
    step = pl.col("_split") * pl.col("_before") / (pl.col("_before") - pl.col("_payout"))
    factors = steps.with_columns(
        pl.when(first).then(1.0).otherwise(step).cum_prod().over("symbol").alias("factor"),
        pl.when(first)
        .then(1.0)
        .otherwise(pl.col("_split"))
        .cum_prod()
        .over("symbol")
        .alias("_splits"),
    )
    return factors.select(
        "symbol",
        "session",
        "event_time",
        *[pl.col(name) * pl.col("factor") for name in _PRICES],
        pl.col("volume") / pl.col("_splits"),
        "factor",
    )
