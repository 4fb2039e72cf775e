"""Technical indicators of daily bars, in Polars.

Everything is computed on forward-adjusted bars, so that a split or a dividend is no price move.
Levels in dollars are brought back to the session's own dollars (divided by that session's
``factor``), so that they compare with the raw close of that day. Nothing looks ahead: each value
depends on bars up to its own session only, and is null until its window is full (``warm-up``);
nothing is filled.

Definitions
-----------
EMA(n)
    alpha = 2 / (n + 1), seeded by the simple mean of the first n values (as Wilder, TA-Lib and most
    charting programs do), null before that.
Wilder(n)
    the same recursion with alpha = 1 / n.
RSI
    Wilder (1978) with Wilder(14) of gains and losses; Cutler's with simple means. Null if the
    price did not move at all in the window.
ATR, DI, DX, ADX
    Wilder (1978); the true range starts at the second bar, ADX is Wilder(14) of DX.
Bollinger
    simple mean of 20 closes, +- 2 population standard deviations.
MFI
    Quong & Soudack (1989): typical price times volume, summed over 14 sessions.
"""

from __future__ import annotations

import math
from typing import Final

import polars as pl

from spy_assets.errors import DataError
from spy_assets.features.columns import INDICATOR_COLUMNS

TRADING_DAYS: Final = 252
#: Length of the week in ``day_of_week_sin`` and ``_cos``: exchange and crypto.
_EXCHANGE_WEEK: Final = 5
_CRYPTO_WEEK: Final = 7
_DAYS_PER_YEAR: Final = 365.25
_REQUIRED: Final = (
    "symbol", "session", "event_time", "open", "high", "low", "close", "volume", "factor",
)  # fmt: skip
_LEVELS: Final = (
    "macd", "macd_signal", "macd_hist", "macd_hist_8_21_9", "atr_14", "ema_9", "ema_20", "ema_21",
    "ema_50", "bb_middle_20", "bb_upper_20", "bb_lower_20", "close_lag_1", "close_lag_2",
    "close_lag_3", "ma_5", "ma_10", "ma_15",
)  # fmt: skip


def smoothed(values: pl.Expr, alpha: float, length: int, leading_nulls: int = 0) -> pl.Expr:
    """Exponential smoothing, seeded by the simple mean of the first ``length`` values.

    Parameters
    ----------
    values
        Series of one symbol, with ``leading_nulls`` nulls at its head and none after.
    alpha
        Weight of the newest value.
    length
        Values in the seed; the result is null before index ``leading_nulls + length - 1``.
    """
    seed_at = leading_nulls + length - 1
    index = pl.int_range(pl.len())
    seeded = (
        pl.when(index < seed_at)
        .then(None)
        .when(index == seed_at)
        .then(values.rolling_mean(length))
        .otherwise(values)
    )
    return seeded.ewm_mean(alpha=alpha, adjust=False)


def ema(values: pl.Expr, length: int, leading_nulls: int = 0) -> pl.Expr:
    """Exponential mean with alpha = 2 / (length + 1)."""
    return smoothed(values, 2.0 / (length + 1.0), length, leading_nulls)


def wilder(values: pl.Expr, length: int, leading_nulls: int = 0) -> pl.Expr:
    """Wilder's smoothing, alpha = 1 / length."""
    return smoothed(values, 1.0 / length, length, leading_nulls)


def _ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """Null where the denominator is zero: 0/0 has no neutral value."""
    return pl.when(denominator != 0.0).then(numerator / denominator)


def _macd(fast: int, slow: int, signal: int, prefix: str, suffix: str = "") -> list[list[pl.Expr]]:
    line, smooth, hist = (f"{prefix}{suffix}", f"{prefix}_signal{suffix}", f"{prefix}_hist{suffix}")
    close = pl.col("close")
    return [
        [(ema(close, fast) - ema(close, slow)).alias(line)],
        [ema(pl.col(line), signal, leading_nulls=slow - 1).alias(smooth)],
        [(pl.col(line) - pl.col(smooth)).alias(hist)],
    ]


def _with_stages(frame: pl.DataFrame, stages: list[list[pl.Expr]]) -> pl.DataFrame:
    for stage in stages:
        frame = frame.with_columns(stage)
    return frame


def _momentum(frame: pl.DataFrame) -> pl.DataFrame:
    change = pl.col("close").diff()
    frame = _with_stages(frame, _macd(12, 26, 9, "macd") + _macd(8, 21, 9, "macd", "_8_21_9"))
    frame = frame.with_columns(
        gain=pl.when(change > 0.0).then(change).when(change.is_not_null()).then(0.0),
        loss=pl.when(change < 0.0).then(-change).when(change.is_not_null()).then(0.0),
    )
    gain, loss = pl.col("gain"), pl.col("loss")
    smooth_gain, smooth_loss = wilder(gain, 14, 1), wilder(loss, 14, 1)
    mean_gain, mean_loss = gain.rolling_mean(14), loss.rolling_mean(14)
    # A running sum may leave 1e-17 where all fourteen values are zero.
    moved = (pl.max_horizontal(gain, loss) > 0.0).cast(pl.Int32).rolling_sum(14) > 0
    return frame.with_columns(
        rsi_wilder_14=100.0 * _ratio(smooth_gain, smooth_gain + smooth_loss),
        rsi_cutler_14=pl.when(moved).then(
            (100.0 * _ratio(mean_gain, mean_gain + mean_loss)).clip(0.0, 100.0)
        ),
    )


def _direction(frame: pl.DataFrame) -> pl.DataFrame:
    high, low, previous = pl.col("high"), pl.col("low"), pl.col("close").shift(1)
    up, down = high.diff(), -low.diff()
    frame = frame.with_columns(
        true_range=pl.when(previous.is_not_null()).then(
            pl.max_horizontal(high - low, (high - previous).abs(), (low - previous).abs())
        ),
        plus_dm=pl.when((up > down) & (up > 0.0)).then(up).when(up.is_not_null()).then(0.0),
        minus_dm=pl.when((down > up) & (down > 0.0)).then(down).when(up.is_not_null()).then(0.0),
    )
    frame = frame.with_columns(
        atr_14=wilder(pl.col("true_range"), 14, 1),
        smooth_plus=wilder(pl.col("plus_dm"), 14, 1),
        smooth_minus=wilder(pl.col("minus_dm"), 14, 1),
    )
    plus, minus = pl.col("plus_di_14"), pl.col("minus_di_14")
    frame = frame.with_columns(
        plus_di_14=100.0 * _ratio(pl.col("smooth_plus"), pl.col("atr_14")),
        minus_di_14=100.0 * _ratio(pl.col("smooth_minus"), pl.col("atr_14")),
    )
    # Without any directional movement DX is 0/0; such a day adds no direction to the mean.
    dx = (
        pl.when((plus + minus) == 0.0)
        .then(0.0)
        .otherwise(100.0 * (plus - minus).abs() / (plus + minus))
    )
    return frame.with_columns(dx=dx).with_columns(adx_14=wilder(pl.col("dx"), 14, 14))


def _bands_and_means(frame: pl.DataFrame) -> pl.DataFrame:
    close = pl.col("close")
    frame = frame.with_columns(
        *(ema(close, length).alias(f"ema_{length}") for length in (9, 13, 20, 21, 50)),
        *(close.rolling_mean(length).alias(f"ma_{length}") for length in (5, 10, 15)),
        *(close.shift(lag).alias(f"close_lag_{lag}") for lag in (1, 2, 3)),
        bb_middle_20=close.rolling_mean(20),
        # A running variance leaves 1e-8 where all twenty closes are one and the same.
        deviation=pl.when(close.rolling_max(20) == close.rolling_min(20))
        .then(0.0)
        .otherwise(close.rolling_std(20, ddof=0)),
        realized_vol_20=close.log().diff().rolling_std(20) * math.sqrt(TRADING_DAYS),
    )
    middle, upper, lower = (pl.col(f"bb_{band}_20") for band in ("middle", "upper", "lower"))
    return frame.with_columns(
        bb_upper_20=middle + 2.0 * pl.col("deviation"),
        bb_lower_20=middle - 2.0 * pl.col("deviation"),
    ).with_columns(
        bb_position_20=_ratio(close - lower, upper - lower),
        bb_width_20=(upper - lower) / middle,
    )


def _impulse(frame: pl.DataFrame) -> pl.DataFrame:
    trend, momentum = pl.col("ema_13").diff(), pl.col("macd_hist_8_21_9").diff()
    return frame.with_columns(
        impulse=pl.when(trend.is_null() | momentum.is_null())
        .then(None)
        .when((trend > 0.0) & (momentum > 0.0))
        .then(1)
        .when((trend < 0.0) & (momentum < 0.0))
        .then(-1)
        .otherwise(0)
        .cast(pl.Int32)
    )


def _money_flow(frame: pl.DataFrame) -> pl.DataFrame:
    typical = (pl.col("high") + pl.col("low") + pl.col("close")) / 3.0
    change, flow = typical.diff(), typical * pl.col("volume")
    frame = frame.with_columns(
        inflow=pl.when(change > 0.0).then(flow).when(change.is_not_null()).then(0.0),
        outflow=pl.when(change < 0.0).then(flow).when(change.is_not_null()).then(0.0),
    )
    # Ratios of rolling means of sums: exact zeros are decided by a count, as in the RSI.
    inflow, outflow = pl.col("inflow"), pl.col("outflow")
    moved = (pl.max_horizontal(inflow, outflow) > 0.0).cast(pl.Int32).rolling_sum(14) > 0
    total_in, total_out = inflow.rolling_sum(14), outflow.rolling_sum(14)
    return frame.with_columns(
        mfi_14=pl.when(moved).then(
            (100.0 * _ratio(total_in, total_in + total_out)).clip(0.0, 100.0)
        )
    )


def _seasonality(frame: pl.DataFrame) -> pl.DataFrame:
    weekday = pl.col("session").dt.weekday().cast(pl.Int32) - 1
    is_crypto = pl.col("symbol").str.ends_with("-USD")
    week = pl.when(is_crypto).then(_CRYPTO_WEEK).otherwise(_EXCHANGE_WEEK)
    in_week = 2.0 * math.pi * weekday / week
    in_year = 2.0 * math.pi * pl.col("session").dt.ordinal_day() / _DAYS_PER_YEAR
    return frame.with_columns(
        day_of_week=weekday,
        day_of_week_sin=in_week.sin(),
        day_of_week_cos=in_week.cos(),
        day_of_year_sin=in_year.sin(),
        day_of_year_cos=in_year.cos(),
    )


def _one_symbol(bars: pl.DataFrame) -> pl.DataFrame:
    frame = bars
    for step in (_momentum, _direction, _bands_and_means, _impulse, _money_flow, _seasonality):
        frame = step(frame)
    return frame.with_columns(pl.col(name) / pl.col("factor") for name in _LEVELS)


def _checked(adjusted: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in _REQUIRED if name not in adjusted.columns]
    if missing:
        raise DataError(
            f"adjusted bars lack the column(s) {', '.join(missing)}",
            hint="pass the frame of forward_adjust()",
        )
    twice = adjusted.filter(pl.struct("symbol", "session").is_duplicated())
    if twice.height:
        row = twice.row(0, named=True)
        raise DataError(
            f"{row['symbol']} has more than one bar on {row['session']}",
            hint="read the last version of each key",
        )
    return adjusted.sort("symbol", "session")


def compute_indicators(adjusted: pl.DataFrame) -> pl.DataFrame:
    """All indicators of ``features.indicators``, for every symbol and session of the input.

    Parameters
    ----------
    adjusted
        ``features.adjusted_bars``: symbol, session, event_time, open, high, low, close, volume,
        factor; any order, one row per symbol and session. If it has ``available_at``, each result
        row gets the latest one up to its session (a value is known when its last input is);
        ``source`` is passed on.

    Returns
    -------
    pl.DataFrame
        symbol, session, event_time, the columns of :data:`INDICATOR_COLUMNS`, then
        ``available_at`` and ``source`` if the input has them; sorted by symbol and session.
        Warm-up is null; there is no NaN.

    Raises
    ------
    DataError
        If a column is missing or a bar is there twice.
    """
    bars = _checked(adjusted)
    system = [name for name in ("available_at", "source") if name in bars.columns]
    if "available_at" in system:
        bars = bars.with_columns(pl.col("available_at").cum_max().over("symbol"))
    parts = [_one_symbol(part) for part in bars.partition_by("symbol", maintain_order=True)]
    frame = pl.concat(parts) if parts else _one_symbol(bars)
    doubles = [name for name, (kind, _) in INDICATOR_COLUMNS.items() if kind == "DOUBLE"]
    return frame.select(
        "symbol", "session", "event_time", *INDICATOR_COLUMNS, *system
    ).with_columns(pl.col(doubles).fill_nan(None))
