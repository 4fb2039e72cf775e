"""From a source to publishable rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from spy_assets.errors import CheckFailed, ConfigError, DataError, NotProvided
from spy_assets.market.ingest import default_as_of, ingest, ingest_minutes
from spy_assets.market.schemas import CANONICAL
from spy_assets.market.sources.files import FilesSource
from spy_assets.market.sources.sample import SampleSource
from spy_assets.sessions import session_open
from spy_assets_tests.market.frames import bar, bars, frame

YEAR = {"start": date(2018, 1, 1), "end": date(2018, 12, 31)}


class Scripted(SampleSource):
    """The sample, but for its daily bars: a source that a test writes."""

    name = "scripted"

    def __init__(self, daily: pl.DataFrame, minutes: pl.DataFrame | None = None) -> None:
        self._daily = daily
        self._minutes = minutes

    def daily_bars(self, symbols: Sequence[str], start: date, end: date) -> pl.DataFrame:
        return self._daily.filter(pl.col("session").is_between(start, end))

    def minute_bars(self, symbol: str, session: date) -> pl.DataFrame:
        return self._minutes if self._minutes is not None else super().minute_bars(symbol, session)


def test_rows_have_payload_availability_and_source() -> None:
    got = ingest(SampleSource(), "daily_bars", **YEAR)
    assert got.frame.columns == [*CANONICAL["daily_bars"], "available_at", "source"]
    assert got.frame["available_at"][0] == datetime(2018, 1, 2, 21, 15, tzinfo=UTC)
    assert default_as_of(SampleSource()) == datetime(2018, 12, 31, 22, tzinfo=UTC)


def test_quarantine_and_coverage_are_stamped() -> None:
    rows = bars(20)
    rows[3]["close"] = 0.0
    got = ingest(
        Scripted(frame("daily_bars", rows)),
        "daily_bars",
        start=date(2018, 1, 2),
        end=date(2018, 1, 31),
    )
    assert (got.errors, got.warnings) == (1, 0)
    assert got.quarantined.select("source", "available_at").row(0) == (
        "scripted",
        datetime(2018, 12, 31, 22, tzinfo=UTC),
    )
    assert got.coverage.select("due", "present", "gaps").row(0) == (21, 19, 2)


def test_a_known_symbol_without_new_rows_is_missing_not_silent() -> None:
    source = Scripted(frame("daily_bars", bars(20)))
    before = ingest(source, "daily_bars", start=date(2018, 1, 2), end=date(2018, 1, 31)).frame
    got = ingest(source, "daily_bars", start=date(2018, 3, 1), end=date(2018, 3, 2), history=before)
    assert got.frame.is_empty()
    assert got.coverage.select("symbol", "due", "present").row(0) == ("SPY", 2, 0)


def test_crypto_is_due_a_day_later() -> None:
    days = [date(2018, 12, day) for day in (29, 30)]
    rows = frame("daily_bars", [bar(day, symbol="BTC-USD") for day in days])
    got = ingest(Scripted(rows), "daily_bars", start=days[0], end=date(2018, 12, 31))
    assert got.coverage.select("due", "present").row(0) == (2, 2)


@pytest.mark.fault(34)
def test_a_session_without_bars_is_an_outage() -> None:
    none = SampleSource().minute_bars("SPY", date(2018, 2, 1)).clear()
    with pytest.raises(CheckFailed, match="no usable minute bar of SPY on 2018-02-01; 0 came"):
        ingest_minutes(Scripted(none, none), "SPY", date(2018, 2, 1))


def test_minutes_are_not_kept_by_day() -> None:
    with pytest.raises(DataError, match="use ingest_minutes"):
        ingest(SampleSource(), "minute_bars", keys=["SPY"], **YEAR)


def test_five_minutes_are_a_data_set_of_their_own(tmp_path: Path) -> None:
    """A half day of 42 bars: one is missing, one begins off the grid."""
    session = date(2018, 11, 23)
    opened = session_open(session)
    starts = [opened + timedelta(minutes=5 * n) for n in range(41)] + [
        opened + timedelta(minutes=7)
    ]
    prices = {name: [260.0] * 42 for name in ("open", "high", "low", "close", "volume")}
    stamps = pl.Series("ts", starts, pl.Datetime("us", "UTC"))
    for path, rows in (
        ("daily", pl.DataFrame({"date": [session]})),
        ("5min/SPY", pl.DataFrame({"ts": stamps, **prices})),
    ):
        folder = tmp_path / "bars" / path
        folder.mkdir(parents=True)
        rows.write_parquet(folder / ("SPY.parquet" if path == "daily" else "a.parquet"))
    source = FilesSource(tmp_path)
    assert source.span("minute_bars_5") == (session, session)
    got = ingest_minutes(source, "SPY", session, minutes=5)
    assert (got.dataset, got.frame.height) == ("minute_bars_5", 41)
    assert got.frame["available_at"][0] == opened + timedelta(minutes=5)
    assert got.quarantined.select("dataset", "reason").row(0) == ("minute_bars_5", "off_grid")
    assert got.coverage.select("dataset", "due", "present").row(0) == ("minute_bars_5", 42, 41)


def test_a_source_without_five_minutes_says_how_they_are_made() -> None:
    with pytest.raises(NotProvided, match="sample has no 5-minute bars of its own") as caught:
        ingest_minutes(SampleSource(), "SPY", date(2018, 2, 1), minutes=5)
    assert "put together from market.minute_bars" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="no data set of 15-minute bars"):
        ingest_minutes(SampleSource(), "SPY", date(2018, 2, 1), minutes=15)
