"""From the lake to a path of minute bars: exact bars, and nothing that was not known at the open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from spy_assets.defs.intraday_market import (
    OWN,
    PUT_TOGETHER,
    SYNTHETIC,
    IntradayMarket,
    intraday_market,
)
from spy_assets.errors import DataError
from spy_assets.sessions import (
    decision_time,
    previous_session,
    session_close,
    session_open,
    sessions_between,
)
from spy_assets.settings import load_settings
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.graph.minutes import bars, keep_bars, keep_known, known

#: Two weeks with Thanksgiving and the half day after it.
DAYS = sessions_between(date(2017, 11, 13), date(2017, 11, 29))
HALF_DAY = date(2017, 11, 24)


def market(lake: Warehouse, days: Sequence[date] = DAYS, **changes: Any) -> IntradayMarket:
    settings = load_settings(intraday=changes)
    return intraday_market(lake, settings, days[0], days[-1], known_by=decision_time(days[-1]))


@pytest.fixture
def lake(tmp_path: Path):
    with Warehouse.open(load_settings(home=tmp_path)) as opened:
        keep_known(opened, known(DAYS))
        yield opened


def test_single_minutes_make_exact_bars_of_five(lake: Warehouse) -> None:
    minutes = bars(DAYS, 1)
    keep_bars(lake, minutes, 1)
    made = market(lake)
    # The oracle: Polars' own windows, of each session, from its open on.
    due = (
        minutes.sort("bar_start")
        .group_by_dynamic("bar_start", every="5m", group_by="session")
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
        )
        .sort("bar_start")
    )
    path = made.path
    assert np.diff(path.first_bar).tolist() == [42 if day == HALF_DAY else 78 for day in DAYS]
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(path, name), due[name].to_numpy())
    assert path.start.tolist() == due["bar_start"].dt.epoch("s").to_list()
    assert made.origins == {PUT_TOGETHER: len(DAYS)}


def test_single_minutes_stay_as_they_are(lake: Warehouse) -> None:
    minutes = bars(DAYS, 1)
    keep_bars(lake, minutes, 1)
    made = market(lake, minutes=1)
    np.testing.assert_array_equal(made.path.close, minutes["close"].to_numpy())
    assert (made.path.bar_minutes, made.origins) == (1, {OWN: len(DAYS)})


def test_a_session_has_the_bars_of_one_table(lake: Warehouse) -> None:
    own, other = bars(DAYS[:4], 5, seed=1), bars(DAYS, 1, seed=2)
    keep_bars(lake, own, 5)
    keep_bars(lake, other, 1, synthetic=True)
    made = market(lake)
    assert made.origins == {OWN: 4, SYNTHETIC: len(DAYS) - 4}
    cut = int(made.path.first_bar[4])
    np.testing.assert_array_equal(made.path.close[:cut], own["close"].to_numpy())
    last = other.filter(pl.col("session") == DAYS[-1])["close"][-1]
    assert made.path.close[-1] == last


@pytest.mark.parametrize(("late", "used"), [(False, True), (True, False)])
def test_a_revision_counts_if_it_was_known_at_the_open(
    lake: Warehouse, late: bool, used: bool
) -> None:
    keep_bars(lake, bars(DAYS, 5), 5)
    before, day = DAYS[4], DAYS[5]
    revised = pl.DataFrame({"session": [before], "vix": [33.0], "rate": [0.09]})
    at = session_open(day) + timedelta(minutes=1 if late else -1)
    keep_known(lake, revised, at)
    path = market(lake).path
    own = known(DAYS).row(5, named=True)
    assert (path.volatility[5], path.rate[5]) == pytest.approx(
        (0.33, 0.09) if used else (own["vix"] / 100, own["rate"])
    )


def test_a_session_never_sees_its_own_close(lake: Warehouse) -> None:
    keep_bars(lake, bars(DAYS, 5), 5)
    path = market(lake).path
    assert path.volatility.tolist() == pytest.approx((known(DAYS)["vix"] / 100.0).to_list())
    after = pl.DataFrame({"session": DAYS, "vix": [80.0] * len(DAYS), "rate": [0.5] * len(DAYS)})
    keep_known(lake, after, session_close(DAYS[-1]) + timedelta(days=30))
    assert market(lake).path.volatility.tolist() == path.volatility.tolist()


def test_a_revised_bar_is_none_of_an_earlier_training_s(lake: Warehouse) -> None:
    keep_bars(lake, bars(DAYS, 5), 5)
    first = market(lake).path
    at = decision_time(DAYS[-1]) + timedelta(days=3)
    revise(lake, DAYS[0], at)
    assert market(lake).path.close.tolist() == first.close.tolist()
    later = intraday_market(lake, load_settings(), DAYS[0], DAYS[-1], known_by=at)
    assert (later.path.close[:78] == first.close[:78] + 1.0).all()


def revise(lake: Warehouse, day: date, at: datetime) -> None:
    """Give a session other bars, known from a moment on."""
    rows = lake.read("market.minute_bars_5", where="session = ?", params=(day,))
    moved = rows.with_columns(
        *[pl.col(name) + 1.0 for name in ("open", "high", "low", "close")],
        available_at=pl.lit(at).dt.cast_time_unit("us"),
    )
    lake.write(TABLES["market.minute_bars_5"], moved.drop("ingested_at"), ingested_at=at)


def test_what_is_missing_is_left_out_with_a_reason(tmp_path: Path) -> None:
    days = sessions_between(date(2017, 10, 2), date(2017, 11, 17))
    with Warehouse.open(load_settings(home=tmp_path)) as lake:
        keep_bars(lake, bars([day for day in days if day != days[3]], 5), 5)
        rows = known(days)
        gone = rows.with_columns(
            pl.when(pl.col("session") != previous_session(days[7])).then("vix").alias("vix"),
            pl.when(pl.col("session") != previous_session(days[9])).then("rate").alias("rate"),
        )
        keep_known(lake, gone)
        made = market(lake, days)
    assert made.skipped == {
        days[3]: "0 bar(s)",
        days[7]: f"no VIX of {days[6]} was known at the open",
        days[9]: f"no rate was known at the decision of {days[8]}",
    }
    assert made.path.sessions == tuple(day for day in days if day not in made.skipped)


def test_minutes_that_are_one_bar_of_five_are_left_out(tmp_path: Path) -> None:
    days = sessions_between(date(2017, 10, 2), date(2017, 11, 17))
    rest = bars(days[1:], 5)
    with Warehouse.open(load_settings(home=tmp_path)) as lake:
        keep_bars(lake, rest, 5)
        keep_bars(lake, bars(days[:1], 1).sort("bar_start").head(2), 1)
        keep_known(lake, known(days))
        made = market(lake, days)
    assert made.skipped == {days[0]: "1 bar(s)"}


def test_too_many_left_out_are_no_market(lake: Warehouse) -> None:
    with pytest.raises(DataError, match=r"12 of 12 sessions .* cannot be walked") as caught:
        market(lake)
    assert "spy walkforward --clock intraday" in str(caught.value.hint)
    keep_bars(lake, bars(DAYS[:9], 5), 5)
    with pytest.raises(DataError, match=r"3 of 12 sessions .* the first is 2017-11-27: 0 bar"):
        market(lake)
