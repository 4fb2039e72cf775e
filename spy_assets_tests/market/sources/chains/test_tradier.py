"""Tradier: one request an expiry, and lists that are not always lists."""

from __future__ import annotations

import pytest

from spy_assets.errors import EmptyResponse, SchemaDrift, SourceUnavailable
from spy_assets.market.sources.http import Gate
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.market.sources.chains.vendors import BY_NAME, KEY, body
from spy_assets_tests.scripted_server import Reply

TRADIER = BY_NAME["tradier"]
CHAINS = "/v1/markets/options/chains"


def test_greeks_are_asked_for_each_expiry(server: RecordingServer, gate: Gate) -> None:
    TRADIER.serve(server)
    TRADIER.ask(gate, server)
    asked = [a.query for a in server.asked if a.path == CHAINS]
    assert [query["expiration"] for query in asked] == ["2024-03-08", "2024-03-15"]
    assert {query["greeks"] for query in asked} == {"true"}
    assert {sent["authorization"] for sent in server.headers} == {f"Bearer {KEY}"}


def test_all_roots_are_asked_for(server: RecordingServer, gate: Gate) -> None:
    TRADIER.serve(server)
    roots = TRADIER.ask(gate, server).frame["root"].to_list()
    assert server.asked[0].query["includeAllRoots"] == "true"
    assert roots == ["SPY", "SPY", "SPY1"]


def test_a_symbol_without_options_is_no_empty_chain(server: RecordingServer, gate: Gate) -> None:
    server.on("/v1/markets/options/expirations", Reply('{"expirations": null}'))
    with pytest.raises(EmptyResponse, match="'expirations' is None"):
        TRADIER.ask(gate, server)


def test_errors_do_not_show_the_token(server: RecordingServer, gate: Gate) -> None:
    server.on("/v1", Reply(status=401, body=f"Invalid Access Token {KEY}"))
    with pytest.raises(SourceUnavailable, match=r"Invalid Access Token \*\*\*"):
        TRADIER.ask(gate, server)


@pytest.mark.fault(36)
def test_a_text_where_a_number_was_due_is_drift(server: RecordingServer, gate: Gate) -> None:
    TRADIER.serve(server)
    changed = body("tradier_20240308.json").replace('"strike": 510.0', '"strike": "510"')
    server.fail(Reply(changed), where=lambda path: path == CHAINS)
    with pytest.raises(SchemaDrift, match="'strike' is not Float64"):
        TRADIER.ask(gate, server)
