"""Indicators against literal numbers, a slow twin, and their invariants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.features.columns import INDICATOR_COLUMNS
from spy_assets.features.indicators import compute_indicators, ema, wilder
from spy_assets.features.pipeline import adjusted_bars
from spy_assets_tests.features import slow_indicators as slow
from spy_assets_tests.features import tables

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return adjusted_bars(tables.daily_bars(120))


@pytest.fixture(scope="module")
def result(bars: pl.DataFrame) -> pl.DataFrame:
    return compute_indicators(bars)


def from_closes(closes: list[float]) -> pl.DataFrame:
    days = tables.last_sessions(len(closes))
    prices = dict.fromkeys(("open", "high", "low", "close"), closes)
    rest = {"symbol": "SPY", "volume": 1.0, "factor": 1.0}
    frame = pl.DataFrame({"session": days, **prices}).with_columns(
        [pl.lit(value).alias(name) for name, value in rest.items()]
    )
    return frame.with_columns(pl.col("session").cast(pl.Datetime("us", "UTC")).alias("event_time"))


def assert_same(actual: pl.Series, expected: list[float | None]) -> None:
    wanted = np.array([np.nan if value is None else value for value in expected])
    np.testing.assert_allclose(actual.to_numpy(), wanted, rtol=1e-9, atol=1e-9)


def test_ema_is_seeded_by_the_simple_mean() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0, 6.0]})
    assert frame.select(ema(pl.col("x"), 3)).to_series().to_list() == [None, None, 2.0, 3.0, 4.5]


def test_wilder_has_alpha_one_over_n() -> None:
    frame = pl.DataFrame({"x": [None, 2.0, 4.0, 8.0]}, schema={"x": pl.Float64})
    smoothed = frame.select(wilder(pl.col("x"), 2, leading_nulls=1)).to_series()
    assert smoothed.to_list() == [None, None, 3.0, 5.5]


def test_wilder_rsi_equals_a_published_example() -> None:
    # StockCharts ChartSchool, "Relative Strength Index", spreadsheet cs-rsi, two decimals.
    example = pl.read_csv(HERE / "wilder_rsi.csv")
    rsi = compute_indicators(from_closes(example["close"].to_list()))["rsi_wilder_14"]
    np.testing.assert_allclose(rsi.to_numpy(), example["rsi"].to_numpy(), atol=0.006)


def test_macd_equals_the_twin(bars: pl.DataFrame, result: pl.DataFrame) -> None:
    close, factor = bars["close"].to_list(), bars["factor"]
    assert_same(result["macd_hist"] * factor, slow.macd_hist(close, 12, 26, 9))
    assert_same(result["macd_hist_8_21_9"] * factor, slow.macd_hist(close, 8, 21, 9))


def test_rsi_equals_the_twin(bars: pl.DataFrame, result: pl.DataFrame) -> None:
    close = bars["close"].to_list()
    assert_same(result["rsi_wilder_14"], slow.rsi_wilder(close))
    assert_same(result["rsi_cutler_14"], slow.rsi_cutler(close))


def test_atr_and_adx_equal_the_twin(bars: pl.DataFrame, result: pl.DataFrame) -> None:
    high, low, close = (bars[name].to_list() for name in ("high", "low", "close"))
    atr, adx = slow.atr_and_adx(high, low, close)
    assert_same(result["atr_14"] * bars["factor"], atr)
    assert_same(result["adx_14"], adx)


def test_bollinger_equals_the_twin(bars: pl.DataFrame, result: pl.DataFrame) -> None:
    bands = slow.bollinger(bars["close"].to_list())
    assert_same(result["bb_lower_20"] * bars["factor"], [band and band[0] for band in bands])
    width = (result["bb_upper_20"] - result["bb_middle_20"]) * bars["factor"]
    assert_same(width, [band and band[1] for band in bands])


def test_money_flow_equals_the_twin(bars: pl.DataFrame, result: pl.DataFrame) -> None:
    high, low, close = (bars[name].to_list() for name in ("high", "low", "close"))
    assert_same(result["mfi_14"], slow.mfi(high, low, close, bars["volume"].to_list()))


def test_realized_volatility_equals_the_twin(bars: pl.DataFrame, result: pl.DataFrame) -> None:
    assert_same(result["realized_vol_20"], slow.realized_vol(bars["close"].to_list()))


def test_columns_are_the_declared_ones(result: pl.DataFrame) -> None:
    assert result.columns[3:-2] == list(INDICATOR_COLUMNS)
    assert result.columns[-2:] == ["available_at", "source"]


@pytest.mark.parametrize(
    ("column", "warm_up"),
    [("macd", 25), ("macd_hist", 33), ("rsi_wilder_14", 14), ("rsi_cutler_14", 14), ("atr_14", 14),
     ("adx_14", 27), ("ema_50", 49), ("bb_position_20", 19), ("mfi_14", 14), ("close_lag_3", 3),
     ("ma_15", 14), ("realized_vol_20", 20), ("impulse", 29)],
)  # fmt: skip
def test_warm_up_is_null_and_nothing_else(result: pl.DataFrame, column: str, warm_up: int) -> None:
    nulls = result[column].is_null().to_list()
    assert nulls == [i < warm_up for i in range(result.height)]


def test_levels_are_in_the_dollars_of_their_session(
    bars: pl.DataFrame, result: pl.DataFrame
) -> None:
    # After a 2:1 split the lag of the close before it is half of what was paid then.
    split = bars.height // 2
    raw = bars["close"] / bars["factor"]
    ratio = result["close_lag_1"][split] / raw[split - 1]
    assert bars["factor"][split] / bars["factor"][split - 1] == pytest.approx(1 / ratio)
    assert ratio == pytest.approx(0.5, rel=0.02)


def test_one_price_gives_nulls_not_numbers() -> None:
    flat = compute_indicators(from_closes([100.0] * 40)).row(-1, named=True)
    for name in ("rsi_wilder_14", "rsi_cutler_14", "mfi_14", "bb_position_20", "plus_di_14"):
        assert flat[name] is None
    assert flat["bb_width_20"] == 0.0


def test_rising_prices_give_rsi_100() -> None:
    rising = compute_indicators(from_closes([100.0 + i for i in range(40)])).row(-1, named=True)
    assert rising["rsi_wilder_14"] == rising["rsi_cutler_14"] == rising["mfi_14"] == 100.0
    assert rising["adx_14"] == pytest.approx(100.0)


def test_seasonality_of_a_monday() -> None:
    monday = compute_indicators(from_closes([1.0] * 6)).row(-1, named=True)  # 2018-12-31
    assert monday["day_of_week"] == 0
    assert monday["day_of_week_sin"] == 0.0
    assert monday["day_of_year_cos"] == pytest.approx(1.0, abs=1e-4)


def test_symbols_do_not_touch_each_other(result: pl.DataFrame) -> None:
    both = pl.concat([tables.daily_bars(120), tables.daily_bars(120, "QQQ", seed=9)])
    spy = compute_indicators(adjusted_bars(both)).filter(pl.col("symbol") == "SPY")
    assert spy.equals(result)


def test_a_value_is_known_when_its_latest_input_is(bars: pl.DataFrame) -> None:
    late = bars["available_at"][-1]
    revised = bars.with_columns(
        pl.when(pl.int_range(pl.len()) == 10)
        .then(late)
        .otherwise("available_at")
        .alias("available_at")
    )
    known = compute_indicators(revised)["available_at"]
    assert known[9] == bars["available_at"][9]
    assert (known[10:] == late).all()


def test_order_of_the_input_does_not_matter(bars: pl.DataFrame, result: pl.DataFrame) -> None:
    assert compute_indicators(bars.reverse()).equals(result)


def test_no_bars_give_no_rows(bars: pl.DataFrame, result: pl.DataFrame) -> None:
    assert compute_indicators(bars.clear()).schema == result.schema


def test_a_bar_twice_is_refused(bars: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="more than one bar on 2018-12-31"):
        compute_indicators(pl.concat([bars, bars.tail(1)]))


def test_a_missing_column_is_named(bars: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="factor"):
        compute_indicators(bars.drop("factor"))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(1.0, 1000.0), min_size=35, max_size=60))
def test_oscillators_stay_in_range(closes: list[float]) -> None:
    frame = compute_indicators(from_closes(closes))
    for name in ("rsi_wilder_14", "rsi_cutler_14", "mfi_14", "adx_14"):
        values = frame[name].drop_nulls()
        assert values.is_between(-1e-9, 100.0 + 1e-6).all()
        assert not values.is_nan().any()
