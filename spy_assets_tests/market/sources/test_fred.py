"""FRED over a real socket."""

from __future__ import annotations

import json
from datetime import date

import pytest

from spy_assets.errors import EmptyResponse, SchemaDrift, SourceUnavailable, WrongContent
from spy_assets.market.sources.fred import API_URL, GRAPH_URL, FredRates
from spy_assets.market.sources.http import Gate
from spy_assets_tests.scripted_server import Asked, Reply, ScriptedServer

START, END = date(2024, 1, 1), date(2024, 1, 5)
GRAPH = "/graph/fredgraph.csv"
API = "/fred/series/observations"


@pytest.fixture
def fred(server: ScriptedServer, gate: Gate) -> FredRates:
    return FredRates(gate, base_url=server.url)


def csv(asked: Asked) -> Reply:
    return Reply(
        f"observation_date,{asked.query['id']}\n2024-01-01,\n2024-01-02,5.46\n2024-01-03,.\n"
    )


def test_rates_are_decimals_and_gaps_stay_out(server: ScriptedServer, fred: FredRates) -> None:
    server.rule(GRAPH, csv)
    got = fred.rates(["DGS3MO", "DGS10"], START, END)
    assert got["series"].to_list() == ["DGS3MO", "DGS10"]
    assert got["session"].unique().to_list() == [date(2024, 1, 2)]
    assert got["rate"].to_list() == [pytest.approx(0.0546)] * 2
    assert not got["is_constant"].any()
    assert server.asked[0].query == {"id": "DGS3MO", "cosd": "2024-01-01", "coed": "2024-01-05"}


def test_the_api_is_used_with_a_key(server: ScriptedServer, gate: Gate) -> None:
    row = {"realtime_start": "a", "realtime_end": "b", "date": "2024-01-02", "value": "5.33"}
    server.on(
        API, Reply(json.dumps({"observations": [row, row | {"value": ".", "date": "2024-01-03"}]}))
    )
    got = FredRates(gate, base_url=server.url, api_key="k").rates(["DFF"], START, END)
    assert got.select("session", "rate").rows() == [(date(2024, 1, 2), pytest.approx(0.0533))]
    assert server.asked[0].query["api_key"] == "k"


def test_the_key_is_in_no_error(server: ScriptedServer, gate: Gate) -> None:
    server.on(API, Reply(status=400, body="api_key=s3cret is not registered"))
    with pytest.raises(SourceUnavailable) as caught:
        FredRates(gate, base_url=server.url, api_key="s3cret").rates(["DFF"], START, END)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("key", "url"), [(None, GRAPH_URL), ("k", API_URL)])
def test_hosts(gate: Gate, key: str | None, url: str) -> None:
    assert FredRates(gate, api_key=key)._base_url == url


@pytest.mark.fault(36)
def test_a_renamed_date_column_is_shown(server: ScriptedServer, fred: FredRates) -> None:
    server.on(GRAPH, Reply("DATE,DFF\n2024-01-02,5.33\n"))
    with pytest.raises(SchemaDrift, match=r"missing \['observation_date'\], new \['DATE'\]"):
        fred.rates(["DFF"], START, END)


@pytest.mark.fault(36)
@pytest.mark.parametrize(
    "body", ["{}", "[]", '{"observations": [{"date": "2024-01-02", "val": 1}]}']
)
def test_a_changed_api_is_refused(server: ScriptedServer, gate: Gate, body: str) -> None:
    server.on(API, Reply(body))
    with pytest.raises(SchemaDrift):
        FredRates(gate, base_url=server.url, api_key="k").rates(["DFF"], START, END)


@pytest.mark.parametrize("value", ["n/a", "5,33", "0x5"])
def test_a_value_that_is_no_number_is_refused(
    server: ScriptedServer, fred: FredRates, value: str
) -> None:
    server.on(GRAPH, Reply(f"observation_date,DFF\n2024-01-02,{value}\n"))
    with pytest.raises((SchemaDrift, WrongContent)):
        fred.rates(["DFF"], START, END)


@pytest.mark.fault(34)
@pytest.mark.parametrize("body", ["", "observation_date,DFF\n"])
def test_nothing_is_an_error(server: ScriptedServer, fred: FredRates, body: str) -> None:
    server.on(GRAPH, Reply(body))
    with pytest.raises(EmptyResponse, match="no answer for"):
        fred.rates(["DFF"], START, END)


@pytest.mark.fault(35)
def test_html_is_an_error(server: ScriptedServer, fred: FredRates) -> None:
    server.on(GRAPH, Reply("<!doctype html><title>Access denied</title>"))
    with pytest.raises(WrongContent, match="HTML where CSV"):
        fred.rates(["DFF"], START, END)


@pytest.mark.fault(38)
def test_only_the_failed_series_is_asked_again(server: ScriptedServer, fred: FredRates) -> None:
    failing = iter([True])
    server.rule(
        GRAPH,
        lambda asked: (
            Reply(status=404)
            if asked.query["id"] == "DGS1" and next(failing, False)
            else csv(asked)
        ),
    )
    assert fred.rates(["DFF", "DGS1"], START, END).height == 2
    assert [asked.query["id"] for asked in server.asked] == ["DFF", "DGS1", "DGS1"]


def test_no_series_gives_no_row(fred: FredRates) -> None:
    assert fred.rates([], START, END).is_empty()
