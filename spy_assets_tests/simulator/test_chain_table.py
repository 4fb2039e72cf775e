"""The chain table is the same whatever the order of its rows, copies nothing, and hides nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from spy_assets.errors import ConfigError, DataError, NaiveTimestamp
from spy_assets.simulator.chain_table import ChainTable, QuoteCounts
from spy_assets_tests.simulator.chain_markets import MONDAY, random_rows, real_closes, real_rows

FRIDAY = date(2024, 6, 7)
KEY = ("snapshot_at", "expiry", "root", "right", "strike")


def one_chain(**columns: object) -> pl.DataFrame:
    """Two calls and two puts of one expiry, with other or further columns."""
    rows = pl.DataFrame(
        {
            "session": [MONDAY] * 4,
            "root": ["SPY"] * 4,
            "expiry": [FRIDAY] * 4,
            "right": ["C", "C", "P", "P"],
            "strike": [99.0, 100.0, 99.0, 100.0],
            "bid": [2.0, 1.5, 0.5, 1.0],
            "ask": [2.1, 1.6, 0.6, 1.1],
        }
    )
    return rows.with_columns(
        **{
            name: pl.Series(value) if isinstance(value, list) else pl.lit(value)
            for name, value in columns.items()
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_rows_in_any_order_give_the_sorted_table(seed):
    rows = random_rows(seed)
    table, wanted = ChainTable.from_frame(rows), rows.sort(KEY)
    for name in ("strike", "bid", "ask", "delta"):
        np.testing.assert_array_equal(getattr(table.chain, name), wanted[name].to_numpy())
    segments = wanted.select(pl.struct(KEY[:4]).rle_id().max() + 1).item()
    assert table.chain.segment_series.size == segments
    starts = wanted.select(pl.struct(KEY[:4]).rle()).unnest(KEY[0])["len"].cum_sum()
    assert table.chain.segment_row[1:].tolist() == starts.to_list()


@pytest.mark.parametrize("seed", range(5))
def test_each_segment_is_of_the_series_of_its_rows(seed):
    rows = random_rows(seed)
    table, wanted = ChainTable.from_frame(rows), rows.sort(KEY)
    first = table.chain.segment_row[:-1]
    for at, series in zip(first.tolist(), table.chain.segment_series.tolist(), strict=True):
        row = wanted.row(at, named=True)
        assert table.terms[series // 2] == (row["root"], row["expiry"])
        assert series % 2 == (row["right"] == "P")


def test_columns_that_come_in_order_are_not_copied():
    rows = random_rows(1).sort(KEY).rechunk()
    table = ChainTable.from_frame(rows)
    for name in ("strike", "bid", "ask", "delta"):
        assert np.shares_memory(getattr(table.chain, name), rows[name].to_numpy())


def test_nothing_can_be_written_to_the_arrays():
    table = ChainTable.from_frame(one_chain())
    with pytest.raises(ValueError, match="read-only"):
        table.chain.bid[0] = 9.0


def test_quotes_are_counted_by_what_they_are_good_for():
    quotes = {"bid": [0.0, 2.0, None, -1.0], "ask": [0.1, 1.5, 0.6, 1.0]}
    counts = ChainTable.from_frame(one_chain(**quotes)).counts
    assert counts == QuoteCounts(missing=1, crossed=1, negative=1, zero_bid=1, usable=1)


def test_model_prices_and_adjusted_contracts_are_left_out_and_counted():
    kinds = ["chain", "surface", "chain", "chain"]
    rows = one_chain(quote_kind=kinds, is_adjusted=[False, False, True, False])
    table = ChainTable.from_frame(rows)
    assert (table.counts.model_prices, table.counts.adjusted, len(table)) == (1, 1, 2)


def test_a_chain_of_model_prices_alone_is_none():
    with pytest.raises(DataError, match="no rows"):
        ChainTable.from_frame(one_chain(quote_kind="surface"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"strike": [99.0, 99.0, 99.0, 100.0]}, "2024-06-03 SPY 2024-06-07 C 99.0 comes twice"),
        (
            {"strike": [99.0, float("nan"), 99.0, 100.0]},
            "comes twice in its snapshot, or its strike",
        ),
        ({"right": ["C", "C", "P", "X"]}, "right 'X' is neither"),
        ({"strike": [99.0, None, 99.0, 100.0]}, r"\['strike'\] have nulls"),
        ({"expiry": date(2024, 6, 8)}, "no contract expires on 2024-06-08"),
    ],
)
def test_rows_that_cannot_be_right_are_named(columns, message):
    with pytest.raises(DataError, match=message):
        ChainTable.from_frame(one_chain(**columns))


def test_missing_columns_are_named():
    with pytest.raises(DataError, match=r"lacks the columns \['bid'\]"):
        ChainTable.from_frame(one_chain().drop("bid"))


def test_chains_of_two_underlyings_are_two_tables():
    with pytest.raises(DataError, match=r"the chain is of \['QQQ', 'SPY'\]"):
        ChainTable.from_frame(one_chain(symbol=["SPY", "SPY", "QQQ", "QQQ"]))


@pytest.mark.parametrize("name", ["snapshot_at", "quoted_at"])
def test_a_moment_without_a_time_zone_is_refused(name):
    with pytest.raises(NaiveTimestamp, match=f"column {name} has no time zone"):
        ChainTable.from_frame(one_chain(**{name: datetime(2024, 6, 3, 20, 15)}))  # noqa: DTZ001


def test_a_session_is_one_snapshot_at_its_newest_quote_or_the_end_of_trading():
    early = datetime(2024, 6, 3, 19, 45, tzinfo=UTC)
    table = ChainTable.from_frame(one_chain(quoted_at=[early, None, None, None]))
    assert table.moment(0) == early
    assert ChainTable.from_frame(one_chain()).moment(0) == datetime(2024, 6, 3, 20, 15, tzinfo=UTC)


def test_the_spot_is_that_of_the_quotes_before_the_vendors():
    rows = one_chain(spot=101.0, spot_used=[None, 99.5, 99.5, 99.5])
    assert ChainTable.from_frame(rows).chain.spot.tolist() == [99.5]
    assert np.isnan(ChainTable.from_frame(one_chain()).chain.spot).all()


def test_deltas_are_our_own_before_the_vendors():
    rows = one_chain(delta=[0.1, 0.2, 0.3, 0.4], vendor_delta=[0.5, 0.6, 0.7, 0.8])
    assert ChainTable.from_frame(rows).delta_source == "delta"
    asked = ChainTable.from_frame(rows, delta="vendor_delta")
    assert asked.chain.delta.tolist() == [0.5, 0.6, 0.7, 0.8]
    assert ChainTable.from_frame(one_chain()).delta_source is None
    with pytest.raises(ConfigError, match="no column of deltas 'gamma'"):
        ChainTable.from_frame(rows, delta="gamma")


def test_old_saturday_symbols_end_on_their_friday():
    rows = one_chain(session=date(2012, 1, 18), expiry=date(2012, 1, 21))
    table = ChainTable.from_frame(rows, closes={date(2012, 1, 20): 131.5})
    assert table.last_day(0) == date(2012, 1, 20)
    assert table.chain.settlement.tolist() == [131.5]
    assert table.contract(0, True, 99.0).occ == "SPY   120121P00099000"


def test_a_lazy_frame_and_parquet_give_the_same_table(tmp_path):
    rows = random_rows(2)
    rows.write_parquet(tmp_path / "chains.parquet")
    tables = [
        ChainTable.from_frame(rows.lazy()),
        ChainTable.from_parquet(tmp_path / "*.parquet"),
    ]
    for table in tables:
        np.testing.assert_array_equal(table.chain.ask, ChainTable.from_frame(rows).chain.ask)
    assert tables[0].term_of("SPY", tables[0].terms[3].expiry) == 3
    assert tables[0].term_of("QQQ", FRIDAY) is None


def test_real_chains_fit_in_a_third_of_their_rows(shared_data):
    rows = real_rows(shared_data)
    table = ChainTable.from_frame(rows, closes=real_closes(shared_data))
    assert len(table) == rows.height == 98_100
    assert table.counts.usable == 98_100
    assert table.nbytes < rows.estimated_size() / 3
    assert np.isfinite(table.chain.settlement).sum() == 7
