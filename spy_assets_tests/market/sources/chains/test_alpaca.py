"""Alpaca: pages by token, two hosts, headers, and what is missing in the wings."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from spy_assets.errors import ForbiddenRedirect, SchemaDrift, SourceUnavailable
from spy_assets.market.sources.chains.alpaca import AlpacaChains, read_contracts
from spy_assets.market.sources.http import Gate
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.market.sources.chains.vendors import (
    BY_NAME,
    KEY,
    NOW,
    SECRET,
    SESSION,
    body,
)
from spy_assets_tests.scripted_server import Reply

ALPACA = BY_NAME["alpaca"]
SNAPSHOTS = "/v1beta1/options/snapshots"


def test_pages_follow_the_token_with_both_keys_in_headers(
    server: RecordingServer, gate: Gate
) -> None:
    ALPACA.serve(server)
    ALPACA.ask(gate, server)
    asked = [a.query for a in server.asked if a.path.startswith(SNAPSHOTS)]
    assert [query.get("page_token") for query in asked] == [None, "U1BZMg=="]
    assert {query["feed"] for query in asked} == {"indicative"}
    sent = {(s["apca-api-key-id"], s["apca-api-secret-key"]) for s in server.headers}
    assert sent == {(KEY, SECRET)}


def test_open_interest_is_optional(server: RecordingServer, gate: Gate) -> None:
    ALPACA.serve(server)
    source = AlpacaChains(gate, key_id=KEY, secret=SECRET, base_url=server.url, trading_url=None)
    frame = source.chain("SPY", SESSION, now=NOW).frame
    assert frame["open_interest"].is_null().all()
    assert server.count("/v2/options/contracts") == 0


def test_a_stock_without_both_sides_gives_no_spot(server: RecordingServer, gate: Gate) -> None:
    ALPACA.serve(server)
    server.on(
        "/v2/stocks/SPY/quotes/latest", Reply(body("alpaca_stock.json").replace("514.98", "0"))
    )
    assert ALPACA.ask(gate, server).frame["spot"].is_null().all()


def test_errors_show_neither_key(server: RecordingServer, gate: Gate) -> None:
    server.on(SNAPSHOTS, Reply(status=401, body=f"{KEY}:{SECRET} unknown"))
    with pytest.raises(SourceUnavailable, match=r"\*\*\*:\*\*\* unknown"):
        ALPACA.ask(gate, server)


@pytest.mark.fault(40)
def test_keys_are_not_sent_to_another_host(server: RecordingServer, gate: Gate) -> None:
    away = server.url.replace("127.0.0.1", "localhost")
    server.on(SNAPSHOTS, Reply(status=307, headers={"Location": f"{away}/stolen"}))
    with pytest.raises(ForbiddenRedirect, match="the key is not sent there"):
        ALPACA.ask(gate, server)
    assert server.count("/stolen") == 0


@pytest.mark.fault(36)
def test_an_unknown_part_is_drift(server: RecordingServer, gate: Gate) -> None:
    ALPACA.serve(server)
    server.fail(Reply(body("alpaca_page1.json").replace("impliedVolatility", "iv")))
    with pytest.raises(SchemaDrift, match=r"new \['iv'\]"):
        ALPACA.ask(gate, server)


def test_the_real_snapshots_are_read(
    shared_data: Path, server: RecordingServer, gate: Gate
) -> None:
    folder = shared_data / "fixtures/alpaca"
    page = json.loads((folder / "option_snapshots_SPY_page1.json").read_text())
    server.on(f"{SNAPSHOTS}/SPY", Reply(json.dumps({**page, "next_page_token": None})))
    server.on("/v2/stocks", Reply((folder / "stock_latest_quote_SPY.json").read_text()))
    server.on("/v2/options", Reply((folder / "option_contracts_SPY_0dte.json").read_text()))
    now = datetime(2026, 8, 28, 20, 30, tzinfo=UTC)
    source = AlpacaChains(
        gate, key_id=KEY, secret=SECRET, base_url=server.url, trading_url=server.url
    )
    row = source.chain("SPY", date(2026, 8, 28), now=now).frame.row(0, named=True)
    assert (row["bid"], row["ask"], row["bid_size"], row["volume"]) == (75.19, 79.24, 1, 16)
    assert (row["strike"], row["vendor_iv"]) == (692.0, None)


def test_the_real_greeks_are_read(shared_data: Path, server: RecordingServer, gate: Gate) -> None:
    folder = shared_data / "fixtures/alpaca"
    server.on(SNAPSHOTS, Reply((folder / "option_snapshots_AAPL_with_greeks.json").read_text()))
    server.on("/v2/stocks", Reply((folder / "stock_latest_quote_SPY.json").read_text()))
    now = datetime(2026, 4, 2, 20, 30, tzinfo=UTC)
    source = AlpacaChains(gate, key_id=KEY, secret=SECRET, base_url=server.url, trading_url=None)
    row = source.chain("AAPL", date(2026, 4, 2), now=now).frame.row(0, named=True)
    assert (row["vendor_iv"], row["vendor_delta"]) == (0.2006, 0.0232)
    assert row["vendor_theta"] == pytest.approx(-0.043 * 365)


def test_open_interest_that_is_no_number_is_refused() -> None:
    rows = json.loads(body("alpaca_contracts.json"))["option_contracts"]
    rows[0]["open_interest"] = "many"
    with pytest.raises(SchemaDrift, match="many"):
        read_contracts(rows, "alpaca SPY")
