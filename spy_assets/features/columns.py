"""The columns of ``features.indicators``: DuckDB type and meaning. Light to import.

"Dollars" are the session's own: a level computed on forward-adjusted prices, divided by the
session's adjustment factor, so that it compares with the raw close of that session.
"""

from __future__ import annotations

INDICATOR_COLUMNS: dict[str, tuple[str, str]] = {
    "macd": ("DOUBLE", "EMA12 - EMA26 of the close, dollars"),
    "macd_signal": ("DOUBLE", "EMA9 of macd, dollars"),
    "macd_hist": ("DOUBLE", "macd - macd_signal, dollars"),
    "macd_hist_8_21_9": ("DOUBLE", "MACD histogram with 8/21/9, dollars"),
    "impulse": (
        "INTEGER",
        "Elder's impulse: 1 if EMA13 and macd_hist_8_21_9 both rose, -1 if both fell, else 0",
    ),
    "rsi_wilder_14": ("DOUBLE", "RSI with Wilder's smoothing, 0 to 100"),
    "rsi_cutler_14": ("DOUBLE", "RSI with simple means, 0 to 100"),
    "atr_14": ("DOUBLE", "average true range, Wilder's smoothing, dollars"),
    "plus_di_14": ("DOUBLE", "positive directional indicator, 0 to 100"),
    "minus_di_14": ("DOUBLE", "negative directional indicator, 0 to 100"),
    "adx_14": ("DOUBLE", "average directional index, 0 to 100"),
    "ema_9": ("DOUBLE", "exponential mean of the close, 9 sessions, dollars"),
    "ema_20": ("DOUBLE", "exponential mean of the close, 20 sessions, dollars"),
    "ema_21": ("DOUBLE", "exponential mean of the close, 21 sessions, dollars"),
    "ema_50": ("DOUBLE", "exponential mean of the close, 50 sessions, dollars"),
    "bb_middle_20": ("DOUBLE", "Bollinger middle: simple mean of 20 closes, dollars"),
    "bb_upper_20": ("DOUBLE", "middle + 2 population standard deviations, dollars"),
    "bb_lower_20": ("DOUBLE", "middle - 2 population standard deviations, dollars"),
    "bb_position_20": ("DOUBLE", "(close - lower) / (upper - lower); may leave 0 to 1"),
    "bb_width_20": ("DOUBLE", "(upper - lower) / middle"),
    "mfi_14": ("DOUBLE", "money flow index over 14 sessions, 0 to 100"),
    "close_lag_1": ("DOUBLE", "close 1 session ago, in this session's dollars"),
    "close_lag_2": ("DOUBLE", "close 2 sessions ago, in this session's dollars"),
    "close_lag_3": ("DOUBLE", "close 3 sessions ago, in this session's dollars"),
    "ma_5": ("DOUBLE", "simple mean of 5 closes, dollars"),
    "ma_10": ("DOUBLE", "simple mean of 10 closes, dollars"),
    "ma_15": ("DOUBLE", "simple mean of 15 closes, dollars"),
    "realized_vol_20": (
        "DOUBLE",
        "sample standard deviation of 20 log returns * sqrt(252), annualised decimal",
    ),
    "day_of_week": ("INTEGER", "0 Monday to 4 Friday (crypto: to 6 Sunday)"),
    "day_of_week_sin": ("DOUBLE", "sin(2 pi day_of_week / 5); crypto: / 7"),
    "day_of_week_cos": ("DOUBLE", "cos(2 pi day_of_week / 5); crypto: / 7"),
    "day_of_year_sin": ("DOUBLE", "sin(2 pi day of year / 365.25)"),
    "day_of_year_cos": ("DOUBLE", "cos(2 pi day of year / 365.25)"),
}
