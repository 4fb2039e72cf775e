"""Faults of market data that need the warehouse: repeats, revisions, quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from spy_assets.market.adjustment import forward_adjust
from spy_assets.market.cleaning import clean_daily_bars
from spy_assets.market.ingest import Ingested, ingest
from spy_assets.market.sources.sample import SampleSource
from spy_assets.sessions import decision_time
from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES

DAILY, QUARANTINE = TABLES["market.daily_bars"], TABLES["quarantine.rows"]
REVISED = date(2018, 3, 14)
FIRST = datetime(2018, 4, 2, 22, tzinfo=UTC)
LATER = FIRST + timedelta(days=9)


@pytest.fixture
def lake(settings: Settings) -> Iterator[Warehouse]:
    with Warehouse.open(settings) as warehouse:
        warehouse.ensure(DAILY)
        warehouse.ensure(QUARANTINE)
        yield warehouse


@pytest.fixture
def march() -> Ingested:
    return ingest(SampleSource(), "daily_bars", start=date(2018, 3, 1), end=date(2018, 3, 29))


def revise(frame: pl.DataFrame, **values: float) -> pl.DataFrame:
    changed = [
        pl.when(pl.col("session") == REVISED)
        .then(pl.lit(value))
        .otherwise(pl.col(name))
        .alias(name)
        for name, value in values.items()
    ]
    return frame.with_columns(changed)


@pytest.mark.fault(11)
def test_the_same_bars_twice_change_nothing(lake: Warehouse, march: Ingested) -> None:
    lake.write(DAILY, march.frame, ingested_at=FIRST)
    again = lake.write(DAILY, march.frame, ingested_at=LATER)
    assert (again.inserted, again.revised, again.unchanged) == (0, 0, 21)
    assert lake.row_count("market.daily_bars") == 21


@pytest.mark.fault(20)
def test_a_late_revision_is_a_new_version_and_the_old_one_can_be_read(
    lake: Warehouse, march: Ingested
) -> None:
    lake.write(DAILY, march.frame, ingested_at=FIRST)
    result = lake.write(DAILY, revise(march.frame, close=275.0), ingested_at=LATER)
    assert (result.revised, result.unchanged) == (1, 20)
    closes = [
        lake.read("market.daily_bars", as_of=moment).filter(session=REVISED)["close"].item()
        for moment in (decision_time(REVISED), LATER - timedelta(seconds=1), LATER, None)
    ]
    assert closes == [274.95, 274.95, 275.0, 275.0]
    assert lake.history("market.daily_bars").filter(session=REVISED).height == 2


@pytest.mark.fault(7)
def test_a_late_dividend_leaves_adjusted_bars_before_it_alone(
    lake: Warehouse, march: Ingested
) -> None:
    lake.write(DAILY, march.frame, ingested_at=FIRST)
    before = forward_adjust(lake.read("market.daily_bars"))
    lake.write(DAILY, revise(march.frame, dividend=1.1), ingested_at=LATER)
    after = forward_adjust(lake.read("market.daily_bars"))
    past = pl.col("session") < REVISED
    assert after.filter(past).equals(before.filter(past))
    assert after["factor"][-1] > before["factor"][-1] == 1.0


@pytest.mark.fault(12)
def test_quarantine_keeps_a_bad_row_once(lake: Warehouse, march: Ingested) -> None:
    raw = march.frame.drop("event_time", "available_at", "source")
    bad = pl.concat([raw, revise(raw, close=270.5, low=270.0).filter(session=REVISED)])
    told = clean_daily_bars(bad, as_of=FIRST).quarantined.with_columns(
        available_at=pl.lit(FIRST), source=pl.lit("sample")
    )
    lake.write(QUARANTINE, told, ingested_at=FIRST)
    lake.write(QUARANTINE, told, ingested_at=LATER)
    stored = lake.read("quarantine.rows")
    assert (
        stored.select("symbol", "session", "reason").rows()
        == [("SPY", REVISED, "duplicate_key")] * 2
    )
