"""ThetaData's terminal: both forms of its JSON, zeros that mean nothing, three requests."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from spy_assets.errors import EmptyResponse, NotProvided, SchemaDrift
from spy_assets.market.sources.chains.thetadata import ThetaDataChains, read_session, read_table
from spy_assets.market.sources.http import Gate
from spy_assets_tests.market.sources.chains.golden_files import check_golden
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.market.sources.chains.vendors import BY_NAME, NOW, SESSION, body
from spy_assets_tests.scripted_server import Reply

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


def by_contract(name: str) -> dict[str, Any]:
    """A body as newer terminals send it: objects by contract."""
    told = json.loads(body(name))
    if "header" in told:
        rows = [dict(zip(told["header"]["format"], row, strict=True)) for row in told["response"]]
    else:
        rows = pl.DataFrame(told).to_dicts()
    own = {"symbol", "expiration", "strike", "right"}
    parts = [({n: row.pop(n) for n in own}, row) for row in rows]
    return {"response": [{"contract": contract, "data": [row]} for contract, row in parts]}


def test_objects_by_contract_are_the_same_chain() -> None:
    names = ("thetadata_quote.json", "thetadata_eod.json", "thetadata_interest.json")
    chain = read_session(*map(by_contract, names), symbol="SPY", session=SESSION, now=NOW)
    check_golden("thetadata", chain)


@pytest.mark.fault(36)
def test_objects_whose_fields_differ_are_drift() -> None:
    told = by_contract("thetadata_interest.json")
    told["response"][1]["data"][0]["new"] = 1
    with pytest.raises(SchemaDrift, match="rows with other fields"):
        read_table(told, OHLC, "x")


@pytest.mark.fault(34)
@pytest.mark.parametrize("rows", [[], [{"contract": {"symbol": "SPY"}, "data": []}]])
def test_contracts_without_a_row_are_an_outage(rows: list[object]) -> None:
    with pytest.raises(EmptyResponse, match="not one contract"):
        read_table({"response": rows}, OHLC, "x")


def test_no_row_is_an_outage() -> None:
    empty = {name: [] for name in OHLC}
    with pytest.raises(EmptyResponse, match="not one row"):
        read_table(empty, OHLC, "x")


def test_an_answer_that_is_no_table_is_drift() -> None:
    with pytest.raises(SchemaDrift, match="neither columns nor rows"):
        read_table({"error": "no permission"}, OHLC, "x")


def test_the_real_rows_are_read(shared_data: Path) -> None:
    path = shared_data / "fixtures/thetadata/option_history_ohlc.json"
    rows = read_table(json.loads(path.read_text()), OHLC, "ohlc")
    assert rows["volume"].to_list() == [58, 171, 122, 13, 15, 0]


def test_the_real_bodies_are_joined(shared_data: Path, server: RecordingServer, gate: Gate) -> None:
    """Quotes and the report's columns as recorded; its numbers, and the interest, by hand."""
    folder = shared_data / "fixtures/thetadata"
    report = json.loads((folder / "stock_history_eod.json").read_text())
    names, row = report["header"]["format"], report["response"][0]
    told = dict(zip(names, row, strict=True))
    told |= {"last_trade": "2024-11-15T15:59:02.004", "volume": 4120, "close": 3.7}
    own = {"symbol": "TSLA", "expiration": "2024-11-22", "strike": 340.0, "right": "CALL"}
    other = {**own, "right": "PUT"}
    rows = [[*key.values(), *told.values()] for key in (other, own)]
    eod = {"header": {"format": [*own, *names]}, "response": rows}
    counts = zip((other, own), (7, 8123), strict=True)
    stamp = {"timestamp": "2024-11-15T06:30:02"}
    interest = {
        "response": [
            {"contract": key, "data": [stamp | {"open_interest": count}]} for key, count in counts
        ]
    }
    server.on("/v3/option/at_time", Reply((folder / "option_history_quote.json").read_text()))
    server.on("/v3/option/history/eod", Reply(json.dumps(eod)))
    server.on("/v3/option/history/open_interest", Reply(json.dumps(interest)))
    source = ThetaDataChains(gate, base_url=server.url)
    frame = source.chain("TSLA", date(2024, 11, 15), now=datetime(2024, 11, 16, tzinfo=UTC)).frame
    assert frame["occ"].unique().to_list() == ["TSLA  241122C00340000"]
    assert frame.select("bid", "last", "volume", "open_interest").rows() == [
        (None, 3.7, 4120, 8123),
        (2.97, 3.7, 4120, 8123),
        (3.6, 3.7, 4120, 8123),
    ]
    assert frame["last_at"][0] == datetime(2024, 11, 15, 20, 59, 2, tzinfo=UTC)


@pytest.mark.fault(36)
@pytest.mark.parametrize("answer", ["eod", "interest"])
def test_answers_that_spell_contracts_differently_are_drift(
    server: RecordingServer, gate: Gate, answer: str
) -> None:
    THETADATA.serve(server)
    path = {"eod": "eod", "interest": "open_interest"}[answer]
    changed = body(f"thetadata_{answer}.json").replace("2024-03-08", "20240308")
    server.on(f"/v3/option/history/{path}", Reply(changed))
    with pytest.raises(SchemaDrift, match=r"none of its 2 contracts.*20240308"):
        THETADATA.ask(gate, server)
