"""The audit passes causal features and names leaking ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime

import polars as pl
import pytest

from spy_assets.errors import CheckFailed, DataError
from spy_assets.features.indicators import compute_indicators
from spy_assets.features.lookahead import (
    AuditReport,
    as_first_published,
    audit,
    default_cuts,
    perturb,
    shared_sessions,
    truncate,
)
from spy_assets.features.pipeline import python_tables
from spy_assets_tests.features import tables

RAW = {"market.daily_bars": tables.daily_bars(240)}
Indicators = Callable[[pl.DataFrame], pl.DataFrame]


def run(indicators: Indicators = compute_indicators) -> AuditReport:
    def compute(raw: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        return python_tables(raw["market.daily_bars"], indicators)

    return audit(compute, RAW)


def planted(**columns: pl.Expr) -> Indicators:
    def leaking(bars: pl.DataFrame) -> pl.DataFrame:
        return compute_indicators(bars).with_columns(**columns)

    return leaking


def test_indicators_and_adjustment_do_not_look_ahead() -> None:
    report = run()
    assert report.passed
    assert len(report.cuts) >= 6
    assert report.columns > 40


def test_a_shift_back_is_caught() -> None:
    report = run(planted(ma_5=pl.col("ma_5").shift(-1)))
    assert list(report.leaking_columns) == ["features.indicators.ma_5"]
    assert report.leaking_columns["features.indicators.ma_5"] == min(report.cuts)


def test_a_backfill_is_caught() -> None:
    # A hole at the cut that is filled from the session after it.
    hole = pl.col("session") == default_cuts(RAW["market.daily_bars"]["session"].to_list())[0]
    filled = pl.when(~hole).then(pl.col("atr_14")).backward_fill()
    assert "features.indicators.atr_14" in run(planted(atr_14=filled)).leaking_columns


def test_scaling_by_the_whole_history_is_caught() -> None:
    scaled = pl.col("ema_9") / pl.col("ema_9").max()
    assert "features.indicators.ema_9" in run(planted(ema_9=scaled)).leaking_columns


def test_a_leaking_integer_is_caught() -> None:
    later = pl.col("impulse").shift(-3)
    assert "features.indicators.impulse" in run(planted(impulse=later)).leaking_columns


def test_the_error_names_column_and_session() -> None:
    report = run(planted(ma_5=pl.col("ma_5").shift(-1)))
    with pytest.raises(CheckFailed, match=rf"indicators\.ma_5 \(from {min(report.cuts)}\)"):
        report.require_passed()


def test_rows_that_come_and_go_are_a_leak() -> None:
    def compute(raw: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        bars = raw["market.daily_bars"]
        return {"features.indicators": bars.filter(pl.col("close") < pl.col("close").max() * 0.9)}

    assert "features.indicators.(rows)" in audit(compute, RAW).leaking_columns


def test_perturbing_touches_only_what_was_published_later() -> None:
    bars = RAW["market.daily_bars"]
    cut = bars["session"][100]
    changed = perturb(RAW, cut, seed=1)["market.daily_bars"]
    assert changed.head(101).equals(bars.head(101))
    assert (changed["close"].tail(139) != bars["close"].tail(139)).all()
    assert (changed["low"] <= changed["close"]).all()


def test_truncation_goes_by_publication_not_by_session() -> None:
    cut = date(2018, 12, 20)
    left = truncate({"market.rates": tables.rates(20)}, cut)["market.rates"]
    assert left["session"].max() == date(2018, 12, 19)


def test_cuts_lie_where_all_inputs_are() -> None:
    inputs = {
        "market.daily_bars": tables.daily_bars(240),
        "market.volatility": tables.volatility(100),
        "market.rates": tables.rates(300),
        "market.put_call": tables.put_call(10).clear(),
    }
    assert shared_sessions(inputs) == tables.last_sessions(100)


def test_too_few_cuts_are_refused() -> None:
    with pytest.raises(DataError, match="1 cuts are too few"):
        audit(lambda raw: raw, RAW, cuts=[date(2018, 12, 20)])


def test_too_short_a_history_is_refused() -> None:
    with pytest.raises(DataError, match="10 sessions are too few"):
        default_cuts(tables.last_sessions(10))


def test_a_late_revision_is_dated_as_its_first_version() -> None:
    early, late = datetime(2018, 1, 2, 21, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    versions = pl.DataFrame(
        {
            "symbol": ["SPY", "SPY", "QQQ"],
            "session": [date(2018, 1, 2)] * 3,
            "close": [1.0, 2.0, 9.0],
            "available_at": [early, late, late],
        }
    )
    shown = as_first_published(versions, ("symbol", "session")).sort("symbol")
    assert shown["close"].to_list() == [9.0, 2.0]
    assert shown["available_at"].to_list() == [late, early]
