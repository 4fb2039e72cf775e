"""Forward adjustment: the factor, and that it never rewrites the past."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from spy_assets.errors import DataError
from spy_assets.market.adjustment import ADJUSTED, forward_adjust, undo_split_adjustment
from spy_assets.market.cleaning import clean_daily_bars
from spy_assets_tests.market.frames import AS_OF, START, bar, bars, frame


def published(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return clean_daily_bars(frame("daily_bars", rows), as_of=AS_OF).frame


def flat(count: int, symbol: str = "SPY") -> list[dict[str, Any]]:
    return [row | bar(row["session"], 100.0, symbol) for row in bars(count, symbol)]


def test_without_events_nothing_changes() -> None:
    raw = published(bars())
    got = forward_adjust(raw)
    assert got.schema == pl.Schema(ADJUSTED)
    assert got["factor"].unique().to_list() == [1.0]
    assert_frame_equal(got.drop("factor"), raw.select(list(ADJUSTED)[:-1]))


@pytest.mark.fault(7)
def test_a_dividend_scales_what_comes_after_it() -> None:
    rows = flat(10)
    rows[4]["dividend"] = 2.0
    got = forward_adjust(published(rows))
    assert got["factor"].to_list() == pytest.approx([1.0] * 4 + [100 / 98] * 6)
    assert got["volume"].unique().to_list() == [1e6]


@pytest.mark.fault(6)
def test_a_split_scales_prices_and_volume() -> None:
    rows = flat(10)
    for row in rows[5:]:
        row.update(bar(row["session"], 50.0))
    rows[5]["split"] = 2.0
    got = forward_adjust(published(rows))
    assert got["close"].to_list() == pytest.approx([100.0] * 10)
    assert got["volume"].to_list() == [1e6] * 5 + [5e5] * 5


def test_adjusted_returns_are_total_returns() -> None:
    rows = [bar(START, 100.0), bar(date(2018, 1, 3), 51.0, split=2.0, dividend=0.5)]
    got = forward_adjust(published(rows))["close"]
    # 100 dollars become two new shares of 51; one dollar of dividends buys at the price before.
    assert got[1] / got[0] == pytest.approx(1.02 * 100 / 99)


@pytest.mark.fault(7)
def test_an_event_on_the_first_bar_is_before_the_anchor() -> None:
    rows = flat(3)
    rows[0] |= {"dividend": 5.0, "split": 2.0}
    assert forward_adjust(published(rows))["factor"].to_list() == [1.0] * 3


def test_symbols_are_independent() -> None:
    rows = flat(5, "QQQ") + flat(5)
    rows[2]["dividend"] = 1.0
    got = forward_adjust(published(rows))
    assert got.filter(pl.col("symbol") == "SPY")["factor"].unique().to_list() == [1.0]
    assert got.filter(pl.col("symbol") == "QQQ")["factor"][-1] > 1.0


def test_a_dividend_of_the_whole_price_is_refused() -> None:
    rows = flat(5)
    rows[2]["dividend"] = 100.0
    with pytest.raises(DataError, match=r"dividend of 100\.0 is not less than the close before it"):
        forward_adjust(published(rows))


def test_two_versions_of_a_bar_are_refused() -> None:
    twice = pl.concat([published(bars(3)), published(bars(1))])
    with pytest.raises(DataError, match="SPY 2018-01-02 comes twice"):
        forward_adjust(twice)


def test_listed_splits_are_undone_only_where_prices_run_through() -> None:
    through = flat(4)
    through[2]["split"] = 2.0
    got = undo_split_adjustment(frame("daily_bars", through))
    assert got["close"].to_list() == [200.0, 200.0, 100.0, 100.0]
    assert got["volume"].to_list() == [5e5, 5e5, 1e6, 1e6]
    assert_frame_equal(undo_split_adjustment(got), got)


@st.composite
def _history(draw: st.DrawFn) -> pl.DataFrame:
    rows = bars(20)
    for row in rows:
        close = draw(st.floats(50, 150))
        dividend = draw(st.sampled_from([0.0, 0.0, 0.7, 2.5]))
        split = draw(st.sampled_from([1.0, 1.0, 1.0, 2.0, 0.1]))
        row.update(bar(row["session"], close, dividend=dividend, split=split))
    return frame("daily_bars", rows).with_columns(
        pl.lit(None, ADJUSTED["event_time"]).alias("event_time")
    )


@pytest.mark.fault(6)
@pytest.mark.fault(7)
@given(_history(), st.integers(1, 19))
@settings(deadline=None, max_examples=50)
def test_later_events_never_rewrite_the_past(bars_: pl.DataFrame, cut: int) -> None:
    assert_frame_equal(forward_adjust(bars_).head(cut), forward_adjust(bars_.head(cut)))
