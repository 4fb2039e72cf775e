"""Massive's snapshots: pages, the key, and what a plan leaves out."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from spy_assets.errors import (
    ForbiddenRedirect,
    SchemaDrift,
    SourceUnavailable,
    WrongContent,
)
from spy_assets.market.sources.chains.polygon import PolygonChains
from spy_assets.market.sources.http import Gate
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.market.sources.chains.vendors import (
    BY_NAME,
    KEY,
    NOW,
    SESSION,
    body,
)
from spy_assets_tests.scripted_server import Reply

POLYGON = BY_NAME["polygon"]
PATH = "/v3/snapshot/options/SPY"


@pytest.fixture
def elsewhere() -> Iterator[RecordingServer]:
    other = RecordingServer()
    yield other
    other.close()


def test_pages_follow_next_url_with_the_key_in_the_header(
    server: RecordingServer, gate: Gate
) -> None:
    POLYGON.serve(server)
    POLYGON.ask(gate, server)
    assert [asked.query.get("cursor") for asked in server.asked] == [None, "cGFnZS0y"]
    assert {sent["authorization"] for sent in server.headers} == {f"Bearer {KEY}"}
    assert not any(KEY in str(asked.query) for asked in server.asked)


def test_next_url_of_another_host_is_asked_at_the_vendors_own(
    server: RecordingServer, elsewhere: RecordingServer, gate: Gate
) -> None:
    POLYGON.serve(server)
    first = body("polygon_page1.json").replace("https://api.polygon.io", elsewhere.url)
    server.fail(Reply(first))
    assert POLYGON.ask(gate, server).frame.height == 3
    assert elsewhere.asked == []


def test_next_url_to_another_path_is_refused(server: RecordingServer, gate: Gate) -> None:
    server.on(PATH, Reply(body("polygon_page1.json").replace("/v3/snapshot", "/v3/elsewhere")))
    with pytest.raises(ForbiddenRedirect, match="/v3/elsewhere/options/SPY"):
        POLYGON.ask(gate, server)


def test_pages_that_go_in_a_circle_end(server: RecordingServer, gate: Gate) -> None:
    server.on(PATH, Reply(body("polygon_page1.json")))
    with pytest.raises(WrongContent, match="page 3 is the same as page 2"):
        POLYGON.ask(gate, server)


def test_a_key_in_next_url_is_not_sent_on(server: RecordingServer, gate: Gate) -> None:
    POLYGON.serve(server)
    first = body("polygon_page1.json").replace("&limit=250", f"&limit=250&apiKey={KEY}")
    server.fail(Reply(first))
    POLYGON.ask(gate, server)
    assert set(server.asked[1].query) == {"cursor", "limit"}


def test_the_vendors_refusal_is_told_without_the_key(server: RecordingServer, gate: Gate) -> None:
    server.on(PATH, Reply(status=403, body=f"key {KEY} has no options plan"))
    with pytest.raises(SourceUnavailable, match=r"key \*\*\* has no options plan") as told:
        POLYGON.ask(gate, server)
    assert KEY not in repr(told.value)
    assert KEY not in str(told.value)


def test_a_status_that_is_not_ok_is_no_chain(server: RecordingServer, gate: Gate) -> None:
    server.on(PATH, Reply('{"status": "NOT_AUTHORIZED", "message": "upgrade"}'))
    with pytest.raises(SourceUnavailable, match=r"NOT_AUTHORIZED.*upgrade"):
        POLYGON.ask(gate, server)


def test_a_plan_without_quotes_gives_nulls(server: RecordingServer, gate: Gate) -> None:
    page = json.loads(body("polygon_page2.json"))
    page["results"] = [
        {name: value for name, value in row.items() if name != "last_quote"}
        for row in page["results"]
    ]
    server.on(PATH, Reply(json.dumps(page)))
    frame = POLYGON.ask(gate, server).frame
    assert frame["bid"].is_null().all()
    assert frame["quoted_at"].unique().to_list() == [datetime(2024, 3, 7, 21, 15, tzinfo=UTC)]


@pytest.mark.fault(36)
def test_a_new_field_within_a_quote_is_drift(server: RecordingServer, gate: Gate) -> None:
    server.on(PATH, Reply(body("polygon_page2.json").replace('"midpoint"', '"middle"')))
    with pytest.raises(SchemaDrift, match=r"last_quote: missing \[\], new \['middle'\]"):
        POLYGON.ask(gate, server)


def test_the_real_snapshot_is_read(shared_data: Path, server: RecordingServer, gate: Gate) -> None:
    server.on(
        "/v3/snapshot/options/AAPL",
        Reply((shared_data / "fixtures/polygon/v3/snapshot/options/AAPL.json").read_text()),
    )
    now = datetime(2022, 4, 29, 20, 30, tzinfo=UTC)
    source = PolygonChains(gate, api_key=KEY, base_url=server.url)
    row = source.chain("AAPL", date(2022, 4, 29), now=now).frame.row(0, named=True)
    assert (row["bid"], row["ask"], row["volume"]) == (28.9, 29.25, 8)
    assert row["quoted_at"] == datetime(2022, 4, 29, 17, 44, 20, 800059, tzinfo=UTC)
    assert (row["expiry"], row["strike"]) == (date(2023, 6, 16), 150.0)


def test_the_real_reference_pages_are_read(
    shared_data: Path, server: RecordingServer, gate: Gate
) -> None:
    folder = shared_data / "fixtures/polygon/v3/reference/options"
    path = "/v3/reference/options/contracts"
    cursor = "YXA9JTdCJTIySUQlMjIlM0ElMjIy"
    pages = {
        None: (folder / "contracts.json").read_text(),
        cursor: (folder / f"contracts_cursor_{cursor}.json").read_text(),
    }
    server.rule(path, lambda asked: Reply(pages[asked.query.get("cursor")]))
    source = PolygonChains(gate, api_key=KEY, base_url=server.url)
    contracts = source.contracts("A", date(2022, 5, 2))
    assert contracts.columns == ["ticker", "expiry", "right", "strike", "multiplier"]
    assert contracts.height > 10


def test_the_real_reference_contracts_are_read(
    shared_data: Path, server: RecordingServer, gate: Gate
) -> None:
    name = "v3_reference_options_contracts_SPY_2025-08-30.json.gz"
    rows = json.loads(
        gzip.decompress((shared_data / "fixtures/polygon_real_2025" / name).read_bytes())
    )
    server.on("/v3", Reply(json.dumps({"status": "OK", "results": rows})))
    source = PolygonChains(gate, api_key=KEY, base_url=server.url)
    contracts = source.contracts("SPY", date(2025, 8, 29))
    assert contracts.height == len(rows)
    assert contracts["right"].null_count() == 0


def test_the_query_names_the_session(server: RecordingServer, gate: Gate) -> None:
    server.on("/v3", Reply('{"status": "OK", "results": []}'))
    source = PolygonChains(gate, api_key=KEY, base_url=server.url)
    with pytest.raises(Exception, match="not one contract"):
        source.contracts("SPY", SESSION)
    assert server.asked[0].query["as_of"] == "2024-03-07"
    assert NOW.date() == SESSION
