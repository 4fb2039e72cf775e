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
CONTRACTS = "/v2/options/contracts"


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


def contracts(*symbols: str, **fields: str) -> str:
    """The small list of contracts under other symbols, one a page."""
    one = json.loads(body("alpaca_contracts.json"))["option_contracts"][0] | fields
    found = [one | {"symbol": symbol} for symbol in symbols]
    return json.dumps({"option_contracts": found, "next_page_token": None})


def test_contracts_of_all_expiries_are_asked_for_page_by_page(
    server: RecordingServer, gate: Gate
) -> None:
    ALPACA.serve(server)
    pages = {
        None: contracts("SPY240308C00510000").replace("null", '"bmV4dA=="'),
        "bmV4dA==": contracts("SPY240315C00517500", open_interest="9"),
    }
    server.rule(CONTRACTS, lambda asked: Reply(pages[asked.query.get("page_token")]))
    frame = ALPACA.ask(gate, server).frame
    assert dict(zip(frame["occ"], frame["open_interest"], strict=True)) == {
        "SPY   240308C00510000": 1500,
        "SPY   240308P00450000": None,
        "SPY   240315C00517500": 9,
    }
    first = {"underlying_symbols": "SPY", "status": "active", "limit": "10000"}
    first |= {"expiration_date_lte": "2034-12-31"}
    asked = [a.query for a in server.asked if a.path == CONTRACTS]
    assert asked == [first, first | {"page_token": "bmV4dA=="}]


def test_what_the_list_lacks_is_unknown_beyond_a_standard_contracts_shares(
    server: RecordingServer, gate: Gate
) -> None:
    ALPACA.serve(server)
    adjusted = body("alpaca_page2.json").replace("SPY240308P", "SPY1240308P")
    pages = {None: body("alpaca_page1.json"), "U1BZMg==": adjusted}
    server.rule(f"{SNAPSHOTS}/SPY", lambda asked: Reply(pages[asked.query.get("page_token")]))
    server.on(CONTRACTS, Reply(contracts("SPY240308C00510000")))
    frame = ALPACA.ask(gate, server).frame
    assert frame.select("root", "open_interest", "multiplier", "is_adjusted").rows() == [
        ("SPY", 1500, 100, False),
        ("SPY1", None, None, True),
        ("SPY", None, 100, False),
    ]


@pytest.mark.fault(36)
def test_contracts_of_which_none_is_in_the_chain_are_drift(
    server: RecordingServer, gate: Gate
) -> None:
    ALPACA.serve(server)
    server.on(CONTRACTS, Reply(contracts("SPY   240308C00510000")))
    with pytest.raises(SchemaDrift, match="none of its 1 contracts is one of the quotes'"):
        ALPACA.ask(gate, server)


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


def test_the_real_snapshots_are_read_and_joined(
    shared_data: Path, server: RecordingServer, gate: Gate
) -> None:
    """The page after the recorded one quotes the recorded contract, in the recorded snapshot's form."""
    folder = shared_data / "fixtures/alpaca"
    page = json.loads((folder / "option_snapshots_SPY_page1.json").read_text())
    (snapshot,) = page["snapshots"].values()
    last = {"next_page_token": None, "snapshots": {"SPY260831C00760000": snapshot}}
    pages = {None: page, "U1BZMjYwOTA0QzAwNzUxMDAw": last}
    server.rule(
        f"{SNAPSHOTS}/SPY", lambda asked: Reply(json.dumps(pages[asked.query.get("page_token")]))
    )
    server.on("/v2/stocks", Reply((folder / "stock_latest_quote_SPY.json").read_text()))
    server.on(CONTRACTS, Reply((folder / "option_contracts_SPY_0dte.json").read_text()))
    now = datetime(2026, 8, 28, 20, 30, tzinfo=UTC)
    source = AlpacaChains(
        gate, key_id=KEY, secret=SECRET, base_url=server.url, trading_url=server.url
    )
    frame = source.chain("SPY", date(2026, 8, 28), now=now).frame
    row = frame.row(0, named=True)
    assert (row["bid"], row["ask"], row["bid_size"], row["volume"]) == (75.19, 79.24, 1, 16)
    assert frame.select("strike", "open_interest").rows() == [(692.0, None), (760.0, 2746)]
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
