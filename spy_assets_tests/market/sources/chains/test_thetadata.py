"""ThetaData's terminal: both forms of its JSON, zeros that mean nothing, three requests."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from spy_assets.errors import EmptyResponse, NotProvided, SchemaDrift
from spy_assets.market.sources.chains.thetadata import ThetaDataChains, read_session, read_table
from spy_assets.market.sources.http import Gate
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.market.sources.chains.vendors import BY_NAME, NOW, SESSION, body

THETADATA = BY_NAME["thetadata"]
OHLC: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "expiration": pl.String(),
    "strike": pl.Float64(),
    "right": pl.String(),
    "volume": pl.Float64(),
    "close": pl.Float64(),
}


def test_the_three_requests(server: RecordingServer, gate: Gate) -> None:
    THETADATA.serve(server)
    THETADATA.ask(gate, server)
    quotes, trades, interest = (asked.query for asked in server.asked)
    assert (quotes["time_of_day"], quotes["expiration"]) == ("16:00:00.000", "*")
    assert trades["start_date"] == trades["end_date"] == interest["date"] == "20240307"


def test_a_half_day_is_asked_at_its_close(server: RecordingServer, gate: Gate) -> None:
    THETADATA.serve(server)
    source = ThetaDataChains(gate, base_url=server.url)
    source.chain("SPY", date(2023, 11, 24), now=NOW)
    assert server.asked[0].query["time_of_day"] == "13:00:00.000"


def test_it_has_every_closed_session_since_2012(server: RecordingServer, gate: Gate) -> None:
    source = ThetaDataChains(gate, base_url=server.url)
    noon = datetime(2024, 3, 7, 17, tzinfo=UTC)
    assert source.sessions("SPY", now=noon)[-1] == date(2024, 3, 6)
    with pytest.raises(NotProvided, match="from 2012-06-01"):
        source.chain("SPY", date(2012, 5, 31), now=NOW)
    with pytest.raises(NotProvided, match="not 2024-03-07"):
        source.chain("SPY", SESSION, now=noon)


def test_a_short_row_is_drift() -> None:
    with pytest.raises(SchemaDrift, match="does not have the 2 fields"):
        read_table({"header": {"format": ["symbol", "strike"]}, "response": [["SPY"]]}, OHLC, "x")


def test_no_row_is_an_outage() -> None:
    empty = {name: [] for name in OHLC}
    with pytest.raises(EmptyResponse, match="not one row"):
        read_table(empty, OHLC, "x")


def test_an_answer_that_is_no_table_is_drift() -> None:
    with pytest.raises(SchemaDrift, match="neither columns nor rows"):
        read_table({"error": "no permission"}, OHLC, "x")


def test_the_real_bodies_are_read(shared_data: Path) -> None:
    folder = shared_data / "fixtures/thetadata"
    rows = read_table(json.loads((folder / "option_history_ohlc.json").read_text()), OHLC, "ohlc")
    assert rows["volume"].to_list() == [58, 171, 122, 13, 15, 0]
    quotes = json.loads((folder / "option_history_quote.json").read_text())
    chain = read_session(
        quotes,
        json.loads(body("thetadata_eod.json")),
        json.loads(body("thetadata_interest.json")),
        symbol="TSLA",
        session=date(2024, 11, 15),
        now=datetime(2024, 11, 16, tzinfo=UTC),
    ).frame
    assert chain["bid"].to_list() == [None, 2.97, 3.6]
    assert chain["occ"].unique().to_list() == ["TSLA  241122C00340000"]
