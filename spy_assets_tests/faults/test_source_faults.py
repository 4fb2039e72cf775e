"""Faults of a vendor, from the socket to the warehouse: nothing wrong is published, nothing is
lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import polars as pl
import pytest

from spy_assets.errors import SourceError, SourceUnavailable
from spy_assets.market.ingest import ingest
from spy_assets.market.sources.fred import FredRates
from spy_assets.market.sources.http import Gate
from spy_assets.market.sources.sample import SampleSource
from spy_assets.settings import HttpSettings, load_settings
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.scripted_server import Asked, Reply, ScriptedServer

RATES = TABLES["market.rates"]
SERIES = ("DFF", "DGS10")
NOW = datetime(2018, 12, 31, 22, tzinfo=UTC)
GRAPH = "/graph"


class FromFred(SampleSource):
    """The sample with FRED's rates, as a vendor source has them."""

    def __init__(self, fred: FredRates) -> None:
        self._fred = fred

    def rates(self, series: tuple[str, ...], start: date, end: date) -> pl.DataFrame:  # type: ignore[override]
        return self._fred.rates(series, start, end)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def source(server: ScriptedServer) -> FromFred:
    policy = HttpSettings(timeout_s=0.5, max_attempts=2, backoff_s=0.0, max_backoff_s=5.0)
    return FromFred(FredRates(Gate(policy, sleep=lambda _: None), base_url=server.url))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """One lake for all faults; each test writes series of its own."""
    with Warehouse.open(load_settings(home=tmp_path_factory.mktemp("lake"))) as warehouse:
        warehouse.ensure(RATES)
        yield warehouse


def good(asked: Asked) -> Reply:
    return Reply(f"observation_date,{asked.query['id']}\n2018-12-27,2.40\n2018-12-28,2.41\n")


def update(source: FromFred, lake: Warehouse, series: tuple[str, ...]) -> None:
    """What the asset does: ask, clean, write in one transaction."""
    got = ingest(source, "rates", start=date(2018, 12, 27), end=date(2018, 12, 28), keys=series)
    lake.write(RATES, got.frame, ingested_at=NOW)


def stored(lake: Warehouse, series: tuple[str, ...]) -> int:
    """How many rows of these series are published."""
    return lake.read("market.rates").filter(pl.col("series").is_in(series)).height


FAULTS = [
    pytest.param(Reply(status=429), marks=pytest.mark.fault(32)),
    pytest.param(Reply(reset=True), marks=pytest.mark.fault(33)),
    pytest.param(Reply("", wait_s=0.8), marks=pytest.mark.fault(33)),
    pytest.param(Reply(""), marks=pytest.mark.fault(34)),
    pytest.param(Reply("<html>Sign in</html>"), marks=pytest.mark.fault(35)),
    pytest.param(Reply("date,DFF\n2018-12-27,2.4\n"), marks=pytest.mark.fault(36)),
    pytest.param(Reply("observation_date,DFF\n2018-12-27"), marks=pytest.mark.fault(37)),
    pytest.param(Reply(status=503), marks=pytest.mark.fault(39)),
    pytest.param(
        Reply(status=302, headers={"Location": "http://10.1.2.3/"}), marks=pytest.mark.fault(40)
    ),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_vendor_publishes_nothing_and_recovers_by_itself(
    server: ScriptedServer,
    source: FromFred,
    lake: Warehouse,
    fault: Reply,
    request: pytest.FixtureRequest,
) -> None:
    series = (f"A-{request.node.callspec.id}", f"B-{request.node.callspec.id}")
    server.on(GRAPH, fault)
    with pytest.raises(SourceError) as caught:
        update(source, lake, series)
    assert caught.value.hint
    assert stored(lake, series) == 0
    server.rule(GRAPH, good)
    update(source, lake, series)
    assert stored(lake, series) == 4


@pytest.mark.fault(38)
def test_half_an_answer_is_not_published(
    server: ScriptedServer, source: FromFred, lake: Warehouse
) -> None:
    server.rule(
        GRAPH, lambda asked: good(asked) if asked.query["id"] == "DFF" else Reply(status=404)
    )
    with pytest.raises(SourceUnavailable, match=r"no answer for \['DGS10'\] of 2 keys"):
        update(source, lake, SERIES)
    assert stored(lake, SERIES) == 0
    assert [asked.query["id"] for asked in server.asked] == ["DFF", "DGS10", "DGS10"]


@pytest.mark.fault(32)
def test_a_short_fault_is_not_noticed(
    server: ScriptedServer, source: FromFred, lake: Warehouse
) -> None:
    answers = iter([Reply(status=429), Reply(reset=True)])
    server.rule(GRAPH, lambda asked: next(answers, None) or good(asked))
    update(source, lake, ("SOFR", "DGS1"))
    assert stored(lake, ("SOFR", "DGS1")) == 4
