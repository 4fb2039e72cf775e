"""The embedded sample."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from spy_assets.errors import EmptyResponse, NotProvided
from spy_assets.market.ingest import ingest, ingest_minutes
from spy_assets.market.schemas import raw_columns
from spy_assets.market.sources import Source, open_source
from spy_assets.market.sources.sample import END, START, SampleSource, bridge
from spy_assets.sessions import sessions_between
from spy_assets.settings import Settings

SAMPLE = SampleSource()
_OHLCV = ("open", "high", "low", "close", "volume")


def test_settings_open_it(settings: Settings) -> None:
    source = open_source(settings)
    assert isinstance(source, Source)
    assert (source.name, source.historical, source.last_session()) == ("sample", True, END)
    assert source.symbols() == ("SPY",)
    assert source.display_symbol("SPY") == "SPY*"


def test_daily_bars_are_whole_and_clean() -> None:
    got = ingest(SAMPLE, "daily_bars", start=date(1990, 1, 1), end=date(2020, 1, 1))
    assert got.frame["session"].to_list() == sessions_between(START, END)
    assert got.frame.height == 5031
    assert got.quarantined.is_empty()
    assert got.frame.select("dividend", "split").unique().rows() == [(0.0, 1.0)]


@pytest.mark.parametrize(
    ("day", "close"), [(date(2008, 10, 10), 89.92), (date(1999, 1, 4), 122.81), (END, 250.69)]
)
def test_prices_are_a_tenth_of_the_index(day: date, close: float) -> None:
    # S&P 500 closes: 899.22, 1228.10 and 2506.85.
    assert SAMPLE.daily_bars(["SPY"], day, day)["close"].item() == close


def test_prices_are_whole_cents() -> None:
    bars = SAMPLE.daily_bars(["SPY"], START, END).select("open", "high", "low", "close").to_numpy()
    assert np.array_equal(bars, np.round(bars, 2))


def test_vix_has_closes_alone() -> None:
    got = ingest(SAMPLE, "volatility", start=START, end=END)
    assert got.frame.height == len(sessions_between(date(2014, 1, 3), END)) == 1257
    assert got.frame["open"].null_count() == 1257
    assert got.quarantined.select("reason", "session").rows() == [("jump", date(2018, 2, 5))]
    assert got.frame.filter(session=date(2018, 2, 5))["close"].item() == 37.32


def test_rates_are_a_labelled_constant() -> None:
    got = ingest(SAMPLE, "rates", start=date(1990, 1, 1), end=END)
    assert got.frame.select("series", "rate", "is_constant").unique().rows() == [
        ("SAMPLE_CONST", 0.02, True)
    ]
    assert got.frame["session"][0] == date(1998, 12, 31)
    assert SAMPLE.rates([], date(2020, 1, 1), date(2020, 2, 1)).is_empty()


def test_put_call_is_not_provided() -> None:
    assert SAMPLE.span("put_call") is None
    with pytest.raises(NotProvided, match="'sample' has no put_call"):
        SAMPLE.put_call(START, END)


def test_other_symbols_have_no_rows() -> None:
    assert SAMPLE.daily_bars(["QQQ"], START, END).is_empty()
    assert SAMPLE.volatility(["SKEW"], START, END).is_empty()


@pytest.mark.parametrize("year", range(1999, 2019))
def test_minutes_meet_the_day_exactly(year: int) -> None:
    for session in sessions_between(date(year, 3, 1), date(year, 3, 5)):
        day = SAMPLE.daily_bars(["SPY"], session, session).row(0, named=True)
        got = SAMPLE.minute_bars("SPY", session)
        ends = (got["open"][0], got["high"].max(), got["low"].min(), got["close"][-1])
        assert (*ends, got["volume"].sum()) == tuple(day[name] for name in _OHLCV)


def test_minutes_pass_cleaning_and_cover_the_session() -> None:
    got = ingest_minutes(SAMPLE, "SPY", date(2018, 11, 23))
    assert got.quarantined.is_empty()
    assert got.coverage.select("due", "present", "gaps").row(0) == (210, 210, 0)
    assert got.frame["synthetic"].all()
    assert got.frame["available_at"].equals(got.frame["event_time"].rename("available_at"))


def test_minutes_are_continuous_whole_cents_and_deterministic() -> None:
    got = SAMPLE.minute_bars("SPY", date(2018, 2, 5))
    assert got.equals(SampleSource().minute_bars("SPY", date(2018, 2, 5)))
    assert got["open"][1:].to_list() == got["close"][:-1].to_list()
    prices = got.select("open", "high", "low", "close").to_numpy()
    assert np.array_equal(prices, np.round(prices, 2))
    assert got.schema == pl.Schema(raw_columns("minute_bars"))


def test_volume_and_volatility_are_u_shaped() -> None:
    days = sessions_between(date(2018, 1, 2), date(2018, 2, 28))
    frames = [SAMPLE.minute_bars("SPY", day).with_row_index("n") for day in days]
    ranges = (pl.col("high") - pl.col("low")).mean().alias("range")
    by_minute = pl.concat(frames).group_by("n").agg(pl.col("volume").mean(), ranges).sort("n")
    for name in ("volume", "range"):
        ends = by_minute[name][:30].mean(), by_minute[name][-30:].mean()
        middle = by_minute[name][180:210].mean()
        assert all(float(str(end)) > 1.3 * float(str(middle)) for end in ends), name


@pytest.mark.parametrize("day", [date(2018, 12, 5), date(2019, 1, 2)])
def test_days_without_a_bar_have_no_minutes(day: date) -> None:
    with pytest.raises(NotProvided, match=str(day)):
        SAMPLE.minute_bars("SPY", day)


@pytest.mark.parametrize(
    ("opened", "high", "low", "closed"),
    [
        (10.0, 10.0, 10.0, 10.0),
        (10.0, 12.0, 10.0, 12.0),
        (12.0, 12.0, 10.0, 10.0),
        (10.0, 10.01, 9.99, 10.0),
    ],
)
def test_degenerate_days_are_bridged(opened: float, high: float, low: float, closed: float) -> None:
    day = {"open": opened, "high": high, "low": low, "close": closed, "volume": 12_345.0}
    got = bridge(day, date(2018, 2, 1))
    ends = (got["open"][0], got["high"].max(), got["low"].min(), got["close"][-1])
    assert ends == (opened, high, low, closed)
    assert got["volume"].sum() == 12_345.0


def test_an_incomplete_day_is_not_bridged() -> None:
    day: dict[str, float] = dict.fromkeys(_OHLCV, 1.0) | {"high": None}  # type: ignore[dict-item]
    with pytest.raises(EmptyResponse, match="2018-02-01 is incomplete"):
        bridge(day, date(2018, 2, 1))
