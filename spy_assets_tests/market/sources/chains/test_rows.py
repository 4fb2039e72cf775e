"""From rows to columns: fields, times, zeros; and which session a moment belongs to."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from spy_assets.errors import EmptyResponse, ForbiddenRedirect, SchemaDrift
from spy_assets.market.sources.chains.client import masked, next_query
from spy_assets.market.sources.chains.protocol import (
    SnapshotSource,
    files_out,
    open_session,
    opened_by,
    snapshot_at,
)
from spy_assets.market.sources.chains.rows import (
    epoch,
    finish,
    index_prefix,
    is_of,
    nested,
    new_york,
    require_rows,
    table,
)

BID = {"bid": pl.Float64()}


@pytest.mark.parametrize(
    ("rows", "difference"),
    [
        ([{"bdi": 1.0}], r"missing \['bid'\], new \['bdi'\], renamed\? \['bid -> bdi'\]"),
        ([{"bid": 1.0, "mid": 2.0}], r"new \['mid'\]"),
        ([{"bid": 1.0}, {}], r"missing \['bid'\] in 1 of 2 rows"),
        ([{"bid": "1.0"}], "'bid' is not Float64"),
        ([{"bid": [1.0]}], "'bid' is not Float64"),
    ],
)
@pytest.mark.fault(36)
def test_other_fields_are_drift(rows: list[dict[str, object]], difference: str) -> None:
    with pytest.raises(SchemaDrift, match=difference):
        table(rows, BID, "x")


def test_optional_fields_are_null_and_known_ones_left_out() -> None:
    rows = [{"bid": 1, "note": "a"}, {"note": "b"}]
    frame = table(rows, BID, "x", optional=["bid"], ignored=["note"])
    assert frame.to_dict(as_series=False) == {"bid": [1.0, None]}


def test_an_absent_object_is_null_in_all_its_fields() -> None:
    rows = [{"quote": {"bid": 1.0}}, {"quote": None}, {}, {"quote": {}}]
    assert nested(rows, "quote", BID, "x")["quote.bid"].to_list() == [1.0, None, None, None]


@pytest.mark.fault(34)
@pytest.mark.parametrize(
    ("rows", "error"), [([], EmptyResponse), ({}, SchemaDrift), ([1], SchemaDrift)]
)
def test_no_rows_are_an_error(rows: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        require_rows(rows, "x")


@pytest.mark.parametrize(
    ("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)]
)
def test_a_time_of_zero_is_none(unit: str, factor: int) -> None:
    frame = pl.DataFrame({"t": [1_709_845_200 * factor, 0, None]})
    moments = frame.select(epoch(pl.col("t"), unit))["t"].to_list()
    assert moments == [datetime(2024, 3, 7, 21, tzinfo=UTC), None, None]


def test_new_yorks_clock_knows_its_changes() -> None:
    text = ["2024-03-10 02:30:00", "2024-11-03 01:30:00", "2024-07-01 16:00:00"]
    moments = pl.DataFrame({"t": text}).select(new_york(pl.col("t"), "%Y-%m-%d %H:%M:%S"))["t"]
    assert moments.to_list() == [
        None,
        datetime(2024, 11, 3, 5, 30, tzinfo=UTC),
        datetime(2024, 7, 1, 20, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("symbol", "roots"),
    [("SPY", ["SPY", "SPY1"]), ("SPX", ["SPX", "SPXW"]), ("XSP", ["XSP"]), ("SP", [])],
)
def test_roots_belong_to_their_underlying(symbol: str, roots: list[str]) -> None:
    frame = pl.DataFrame({"root": ["SPY", "SPY1", "SPYG", "SPX", "SPXW", "XSPY", "XSP", None]})
    assert frame.filter(is_of(symbol, pl.col("root")))["root"].to_list() == roots


@pytest.mark.parametrize("index", ["SPX", "XSP", "NDX", "XND", "RUT", "MRUT", "VIX", "DJX", "OEX"])
def test_only_indices_get_a_prefix(index: str) -> None:
    assert (index_prefix(index, "I:"), index_prefix("SPY", "I:")) == (f"I:{index}", "SPY")


def test_the_vendors_own_fields_stay_beside_its_symbol() -> None:
    frame = pl.DataFrame({"ticker": ["SPY240308C00510000"], "strike": [511.0]})
    moment = datetime(2024, 3, 7, 21, tzinfo=UTC)
    chain = finish(
        frame,
        symbol="SPY",
        session=date(2024, 3, 7),
        source="x",
        available_at=moment,
        ticker="ticker",
    )
    assert chain.frame.select("occ", "strike").row(0) == ("SPY   240308C00510000", 511.0)


@pytest.mark.parametrize(
    ("moment", "session"),
    [
        ("2024-03-07T14:29:59Z", "2024-03-06"),
        ("2024-03-07T14:30:00Z", "2024-03-07"),
        ("2024-03-08T01:00:00Z", "2024-03-07"),
        ("2024-03-09T15:00:00Z", "2024-03-08"),
        ("2024-03-29T15:00:00Z", "2024-03-28"),
    ],
)
def test_a_session_lasts_until_the_next_opens(moment: str, session: str) -> None:
    assert open_session(datetime.fromisoformat(moment)) == date.fromisoformat(session)


def test_quotes_are_never_later_than_the_end_of_trading() -> None:
    half_day = datetime(2024, 11, 29, 23, tzinfo=UTC)
    assert snapshot_at("SPY", half_day) == datetime(2024, 11, 29, 18, 15, tzinfo=UTC)
    noon = datetime(2024, 3, 7, 17, tzinfo=UTC)
    assert snapshot_at("SPY", noon) == noon


def test_files_are_out_at_eleven_in_new_york() -> None:
    assert files_out(date(2024, 3, 8)) == datetime(2024, 3, 9, 16, tzinfo=UTC)
    assert files_out(date(2024, 3, 10)) == datetime(2024, 3, 11, 15, tzinfo=UTC)


def test_days_to_come_are_left_out() -> None:
    now = datetime(2024, 3, 8, 2, tzinfo=UTC)  # the evening of the 7th in New York
    days = [date(2024, 3, 8), date(2024, 3, 7), date(2024, 3, 7)]
    assert opened_by(days, now) == [date(2024, 3, 7)]


def test_a_delay_moves_the_first_snapshot_of_a_session() -> None:
    class Late(SnapshotSource):
        name = "late"
        delay = timedelta(minutes=15)

    moment = datetime(2024, 3, 7, 14, 40, tzinfo=UTC)
    assert Late().sessions("SPY", now=moment) == [date(2024, 3, 6)]
    assert SnapshotSource().sessions("SPY", now=moment) == [date(2024, 3, 7)]


def test_secrets_are_masked_and_nothing_is_where_there_is_none() -> None:
    assert masked("a k3y b", ["k3y", ""]) == "a *** b"


@pytest.mark.fault(40)
def test_a_next_page_elsewhere_is_refused() -> None:
    assert next_query("https://evil.example/v3/x?cursor=1&apiKey=k", "/v3/x", "w") == {
        "cursor": "1"
    }
    with pytest.raises(ForbiddenRedirect, match="/v4/x"):
        next_query("https://api.massive.com/v4/x?cursor=1", "/v3/x", "w")
