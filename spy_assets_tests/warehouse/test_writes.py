from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from spy_assets.errors import DataError, NaiveTimestamp, WarehouseError
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import TableSpec, Warehouse, record_checksums, verify
from spy_assets.warehouse.files import sha256_of
from spy_assets.warehouse.writes import prepare
from spy_assets_tests.warehouse.frames import BARS, DAY, NOW, bars


def counts(result) -> tuple[int, int, int]:
    return result.inserted, result.revised, result.unchanged


def test_absent_keys_are_inserted_as_given(warehouse: Warehouse):
    result = warehouse.write(BARS, bars(), ingested_at=NOW)
    stored = warehouse.read(BARS.name)
    assert counts(result) == (3, 0, 0)
    assert stored.drop("ingested_at").equals(bars().select(stored.drop("ingested_at").columns))
    assert stored["ingested_at"].unique().to_list() == [NOW]


def test_writing_again_adds_nothing_and_no_snapshot(warehouse: Warehouse):
    first = warehouse.write(BARS, bars(), ingested_at=NOW)
    again = warehouse.write(BARS, bars(), ingested_at=NOW + timedelta(days=1))
    assert counts(again) == (0, 0, 3)
    assert again.snapshot_id == first.snapshot_id


def test_a_change_is_a_new_version_known_from_its_ingestion(warehouse: Warehouse):
    warehouse.write(BARS, bars(), ingested_at=NOW - timedelta(days=1))
    revised = bars().with_columns(close=pl.when(pl.col("session") == DAY).then(9.0).otherwise(1.0))
    assert counts(warehouse.write(BARS, revised, ingested_at=NOW)) == (0, 1, 2)
    versions = warehouse.history(BARS.name).filter(pl.col("session") == DAY)
    assert versions["close"].to_list() == [1.0, 9.0]
    assert versions["available_at"].to_list() == [bars()["available_at"][0], NOW]


def test_going_back_to_an_old_value_is_a_version_too(warehouse: Warehouse):
    for close in (1.0, 2.0, 1.0):
        warehouse.write(BARS, bars(1, close), ingested_at=NOW)
    assert warehouse.read(BARS.name)["close"].to_list() == [1.0]
    assert warehouse.row_count(BARS.name) == 3


def test_null_equals_null_and_differs_from_a_number(warehouse: Warehouse):
    warehouse.write(BARS, bars(1, None), ingested_at=NOW)
    assert warehouse.write(BARS, bars(1, None), ingested_at=NOW).unchanged == 1
    assert warehouse.write(BARS, bars(1, 1.0), ingested_at=NOW).revised == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_refused_with_column_and_key(warehouse: Warehouse, bad: float):
    with pytest.raises(DataError, match=r"close is (nan|-?inf) for symbol=SPY, session=2020-01-02"):
        warehouse.write(BARS, bars(1, bad), ingested_at=NOW)
    assert warehouse.row_count(BARS.name) == 0


def test_many_tables_are_one_transaction(warehouse: Warehouse):
    before = warehouse.snapshot_id()
    batches = [(BARS, bars(1, start=DAY + timedelta(days=i))) for i in range(5)]
    results = warehouse.write_many(batches, ingested_at=NOW)
    assert [result.inserted for result in results] == [1] * 5
    assert {result.snapshot_id for result in results} == {before + 1}


def test_a_later_batch_sees_the_earlier_ones_of_its_transaction(warehouse: Warehouse):
    results = warehouse.write_many([(BARS, bars(1, 1.0)), (BARS, bars(1, 2.0))], ingested_at=NOW)
    assert [counts(result) for result in results] == [(1, 0, 0), (0, 1, 0)]
    assert warehouse.read(BARS.name)["close"].to_list() == [2.0]


def test_one_bad_batch_stops_all(warehouse: Warehouse):
    with pytest.raises(DataError):
        warehouse.write_many([(BARS, bars()), (BARS, bars(1, float("nan")))], ingested_at=NOW)
    assert warehouse.row_count(BARS.name) == 0


def test_rows_are_stored_in_key_order(warehouse: Warehouse):
    warehouse.write(BARS, bars(20).sample(fraction=1.0, shuffle=True, seed=1), ingested_at=NOW)
    stored = warehouse.execute("SELECT session FROM market.daily_bars")["session"]
    assert stored.is_sorted()


def test_the_same_write_gives_the_same_bytes(settings: Settings, tmp_path):
    sums = []
    for home in ("a", "b"):
        place = load_settings(home=tmp_path / home)
        with Warehouse.open(place) as lake:
            lake.write(BARS, bars(500), ingested_at=NOW)
        sums.append([sha256_of(p) for p in (place.root / "lake/market/daily_bars").iterdir()])
    assert sums[0] == sums[1]
    assert len(sums[0]) == 1


def test_a_table_with_new_columns_grows(warehouse: Warehouse):
    narrow = TableSpec("features.x", ("symbol",), {"symbol": "VARCHAR", "a": "DOUBLE"})
    wide = TableSpec("features.x", ("symbol",), {**narrow.columns, "b": "DOUBLE"})
    system = {"available_at": NOW, "source": "t"}
    warehouse.write(narrow, pl.DataFrame([{"symbol": "A", "a": 1.0, **system}]), ingested_at=NOW)
    row = {"symbol": "B", "a": 1.0, "b": 2.0, **system}
    warehouse.write(wide, pl.DataFrame([row]), ingested_at=NOW)
    assert warehouse.read("features.x")["b"].to_list() == [None, 2.0]


def test_a_table_that_replaces_keeps_one_version(warehouse: Warehouse, settings: Settings):
    spec = TableSpec(
        "features.y", ("symbol",), {"symbol": "VARCHAR", "v": "DOUBLE"}, append_only=False
    )
    for value in (1.0, 2.0):
        row = {"symbol": "A", "v": value, "available_at": NOW, "source": "t"}
        result = warehouse.write(spec, pl.DataFrame([row]), ingested_at=NOW)
    assert warehouse.history("features.y")["v"].to_list() == [2.0]
    assert warehouse.read("features.y", snapshot=result.snapshot_id - 1)["v"].to_list() == [1.0]
    assert verify(settings).ok


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (bars().drop("close"), "missing \\['close'\\]"),
        (bars().with_columns(x=1), "unknown \\['x'\\]"),
        (bars().with_columns(symbol=pl.lit(None, pl.String)), "symbol is null"),
        (pl.concat([bars(1, 1.0), bars(1, 2.0)]), "two different rows for symbol=SPY"),
    ],
)
def test_frames_that_do_not_fit_are_refused(frame: pl.DataFrame, words: str):
    with pytest.raises(DataError, match=words):
        prepare(BARS, frame)


def test_the_same_row_twice_is_one_row():
    assert prepare(BARS, pl.concat([bars(), bars()])).height == 3


def test_naive_timestamps_are_refused(warehouse: Warehouse):
    naive = bars().with_columns(pl.col("event_time").dt.replace_time_zone(None))
    with pytest.raises(NaiveTimestamp, match="event_time"):
        warehouse.write(BARS, naive, ingested_at=NOW)
    with pytest.raises(NaiveTimestamp, match="ingested_at"):
        warehouse.write(BARS, bars(), ingested_at=NOW.replace(tzinfo=None))


def test_a_read_only_warehouse_refuses_to_write(settings: Settings):
    with (
        Warehouse.open(settings, read_only=True) as lake,
        pytest.raises(WarehouseError, match=r"market\.daily_bars .*read-only"),
    ):
        lake.write(BARS, bars(), ingested_at=NOW)


def test_each_new_file_has_a_checksum(warehouse: Warehouse, settings: Settings):
    warehouse.write(BARS, bars(), ingested_at=NOW)
    assert verify(settings).ok
    assert record_checksums(settings) == 0


@pytest.fixture(scope="module")
def shared_lake(tmp_path_factory):
    with Warehouse.open(load_settings(home=tmp_path_factory.mktemp("lake"))) as lake:
        yield lake


@hypothesis_settings(deadline=None, max_examples=15)
@given(closes=st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=1, max_size=5))
def test_the_last_value_written_is_read_and_all_changes_are_kept(shared_lake, closes):
    number = shared_lake.row_count(BARS.name)
    symbol = f"S{number}"
    for close in closes:
        shared_lake.write(BARS, bars(1, close, symbol=symbol), ingested_at=NOW)
    changes = 1 + sum(a != b for a, b in pairwise(closes))
    assert shared_lake.row_count(BARS.name) == number + changes
    stored = shared_lake.read(BARS.name, where="symbol = ?", params=[symbol])
    assert stored["close"].to_list() == [closes[-1]]
    assert stored["session"].to_list() == [date(2020, 1, 2)]
