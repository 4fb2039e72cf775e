"""yfinance's own client over a real socket."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from spy_assets import clock
from spy_assets.errors import (
    BudgetExceeded,
    EmptyResponse,
    ForbiddenRedirect,
    NotProvided,
    SourceUnavailable,
    WrongContent,
)
from spy_assets.market.ingest import ingest, ingest_minutes
from spy_assets.market.schemas import raw_columns
from spy_assets.market.sources.fred import FredRates
from spy_assets.market.sources.http import Gate, RequestBudget
from spy_assets.market.sources.yahoo import YahooSource
from spy_assets.sessions import session_open
from spy_assets.settings import HttpSettings
from spy_assets_tests.scripted_server import Asked, Reply, ScriptedServer

CHART = "/v8/finance/chart"
AS_OF = datetime(2024, 12, 31, 22, tzinfo=UTC)
Body = dict[str, Any]


def chart(
    symbol: str,
    opened: list[datetime],
    close: list[float | None],
    *,
    events: Body | None = None,
    interval: str = "1d",
) -> Body:
    """The chart JSON of bars whose open, high, low and close are equal."""
    stamps = [int(moment.timestamp()) for moment in opened]
    periods = [
        [{"timezone": "EST", "start": s, "end": s + 23_400, "gmtoffset": -18_000}] for s in stamps
    ]
    meta = {
        "currency": "USD",
        "symbol": symbol,
        "instrumentType": "EQUITY",
        "exchangeTimezoneName": "America/New_York",
        "timezone": "EST",
        "gmtoffset": -18_000,
        "firstTradeDate": 728_317_800,
        "dataGranularity": interval,
        "range": "",
        "validRanges": ["1d", "max"],
        "priceHint": 2,
        "currentTradingPeriod": {
            name: {
                "timezone": "EST",
                "start": stamps[0],
                "end": stamps[0] + 23_400,
                "gmtoffset": -18_000,
            }
            for name in ("pre", "regular", "post")
        },
        "tradingPeriods": periods[:1],
    }
    quote = dict.fromkeys(("open", "high", "low", "close"), close)
    quote |= {"volume": [1000 if c is not None else None for c in close]}
    result = {
        "meta": meta,
        "timestamp": stamps,
        "events": events or {},
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": close}]},
    }
    return {"chart": {"result": [result], "error": None}}


@pytest.fixture(autouse=True)
def _fresh_client() -> Iterator[None]:
    """yfinance keeps one client per process; forget what it remembers of other servers."""
    from yfinance.cache import _TzCacheManager
    from yfinance.data import YfData

    YfData.cache_get.cache_clear()
    _TzCacheManager._tz_cache = None
    yield
    YfData.cache_get.cache_clear()
    _TzCacheManager._tz_cache = None


@pytest.fixture
def yahoo(server: ScriptedServer, gate: Gate, tmp_path: Path) -> YahooSource:
    fred = FredRates(gate, base_url=server.url)
    return YahooSource(
        gate, fred, symbols=("SPY",), base_url=server.url, cache_dir=tmp_path / "yfinance"
    )


def test_what_yfinance_says_itself_is_not_in_the_terminal(
    server: ScriptedServer,
    yahoo: YahooSource,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    server.on("/", Reply(status=503))
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceUnavailable):
        yahoo.daily_bars(["SPY"], date(2024, 1, 2), date(2024, 1, 5))
    assert [one.getMessage() for one in caplog.records if one.name.startswith("yfinance")] == []
    days = [session_open(date(2024, 1, day)) for day in (2, 3)]
    server.on(f"{CHART}/SPY", Reply(json.dumps(chart("SPY", days, [470.0, 471.0]))))
    assert yahoo.daily_bars(["SPY"], date(2024, 1, 2), date(2024, 1, 5)).height == 2
    assert [one for one in recwarn if "yfinance" in one.filename] == []


@pytest.fixture
def spy_2024(shared_data: Path, server: ScriptedServer) -> pl.DataFrame:
    """Serve the real bars of 2024, and return what they should be read as."""
    body = (shared_data / "fixtures/derived/yahoo_v8_chart_SPY_1d_2024.json").read_text()
    server.on(f"{CHART}/SPY", Reply(body))
    bars = pl.read_parquet(shared_data / "bars/daily/SPY.parquet")
    return bars.filter(pl.col("date").dt.year() == 2024)


def test_a_year_of_real_bars(yahoo: YahooSource, spy_2024: pl.DataFrame) -> None:
    got = ingest(yahoo, "daily_bars", start=date(2024, 1, 1), end=date(2024, 12, 31), as_of=AS_OF)
    assert got.frame.height == spy_2024.height == 252
    assert got.quarantined.is_empty()
    for name in ("open", "high", "low", "close", "dividend"):
        off = (got.frame[name].round(4) - spy_2024[name].round(4)).abs().max()
        assert float(str(off)) < 1e-3, name
    assert got.frame["source"].unique().to_list() == ["yfinance"]
    assert got.coverage.select("due", "present").row(0) == (252, 252)


def test_a_range_is_cut_to_what_was_asked(yahoo: YahooSource, spy_2024: pl.DataFrame) -> None:
    got = yahoo.daily_bars(["SPY"], date(2024, 3, 1), date(2024, 3, 8))
    assert got["session"].to_list()[0] == date(2024, 3, 1)
    assert got.height == 6
    assert got.schema == pl.Schema(raw_columns("daily_bars"))


def test_splits_are_undone(server: ScriptedServer, yahoo: YahooSource) -> None:
    days = [datetime(2024, 6, day, 13, 30, tzinfo=UTC) for day in (6, 7, 10, 11)]
    at = int(days[2].timestamp())
    split = {"date": at, "numerator": 10.0, "denominator": 1.0, "splitRatio": "10:1"}
    paid = int(days[0].timestamp())
    events = {"splits": {str(at): split}, "dividends": {str(paid): {"amount": 0.5, "date": paid}}}
    server.on(
        f"{CHART}/NVDA",
        Reply(json.dumps(chart("NVDA", days, [120.0, 121, 122, 123], events=events))),
    )
    got = yahoo.daily_bars(["NVDA"], date(2024, 6, 6), date(2024, 6, 10))
    assert got["close"].to_list() == [1200.0, 1210.0, 122.0]
    assert got["volume"].to_list() == [100.0, 100.0, 1000.0]
    assert got["split"].to_list() == [1.0, 1.0, 10.0]
    assert got["dividend"].to_list() == [5.0, 0.0, 0.0]


def test_volatility_names_are_mapped(server: ScriptedServer, yahoo: YahooSource) -> None:
    days = [datetime(2020, 3, 16, 13, 30, tzinfo=UTC)]
    body = json.dumps(chart("^VIX", days, [82.69]))
    server.on(CHART, Reply(body))
    got = yahoo.volatility(["VIX", "no such index"], date(2020, 3, 16), date(2020, 3, 16))
    assert got.select("name", "session", "close").rows() == [("VIX", date(2020, 3, 16), 82.69)]
    assert {asked.path for asked in server.asked if asked.path.startswith(CHART)} == {
        f"{CHART}/%5EVIX"
    }


def test_minutes(server: ScriptedServer, yahoo: YahooSource) -> None:
    session = yahoo.last_session()
    first = session_open(session)
    moments = [first + timedelta(minutes=n) for n in (0, 1, 2)]
    server.on(CHART, Reply(json.dumps(chart("SPY", moments, [1.0, None, 3.0], interval="1m"))))
    got = ingest_minutes(yahoo, "SPY", session)
    assert got.frame["bar_start"].to_list() == [moments[0], moments[2]]
    assert got.coverage["gaps"].item() == 2
    assert got.quarantined.is_empty()


def test_old_minutes_are_not_provided(yahoo: YahooSource) -> None:
    with pytest.raises(NotProvided, match="2020-03-16"):
        yahoo.minute_bars("SPY", date(2020, 3, 16))


def test_put_call_is_not_provided(yahoo: YahooSource) -> None:
    with pytest.raises(NotProvided, match="'yfinance' has no put_call"):
        yahoo.put_call(date(2024, 1, 1), date(2024, 1, 2))
    assert yahoo.span("put_call") is None


def test_rates_come_from_fred(server: ScriptedServer, yahoo: YahooSource) -> None:
    server.on("/graph", Reply("observation_date,DFF\n2024-01-02,5.33\n"))
    got = yahoo.rates(["DFF"], date(2024, 1, 1), date(2024, 1, 5))
    assert got["rate"].to_list() == [pytest.approx(0.0533)]


def ask(yahoo: YahooSource) -> pl.DataFrame:
    return yahoo.daily_bars(["SPY"], date(2024, 1, 2), date(2024, 1, 2))


ONE_DAY = json.dumps(chart("SPY", [datetime(2024, 1, 2, 14, 30, tzinfo=UTC)], [472.65]))


@pytest.mark.fault(32)
def test_429_goes_through_the_gate(
    server: ScriptedServer, yahoo: YahooSource, pauses: list[float]
) -> None:
    server.on(CHART, Reply(status=429, headers={"Retry-After": "9"}), Reply(ONE_DAY))
    assert ask(yahoo)["close"].to_list() == [472.65]
    assert pauses == [9.0]


@pytest.mark.fault(33)
@pytest.mark.parametrize("fault", [Reply(reset=True), Reply(ONE_DAY, wait_s=1.0)])
def test_resets_and_time_outs_go_through_the_gate(
    server: ScriptedServer, yahoo: YahooSource, fault: Reply
) -> None:
    server.on(CHART, fault, Reply(ONE_DAY))
    assert ask(yahoo).height == 1


@pytest.mark.fault(34)
def test_an_empty_body_is_an_error(server: ScriptedServer, yahoo: YahooSource) -> None:
    server.on(CHART, Reply(""))
    with pytest.raises(EmptyResponse, match="empty body"):
        ask(yahoo)


@pytest.mark.fault(34)
def test_a_chart_without_result_is_an_error(server: ScriptedServer, yahoo: YahooSource) -> None:
    none = {
        "chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}
    }
    server.rule(CHART, lambda a: Reply(json.dumps(none) if "period1" in a.query else ONE_DAY))
    with pytest.raises(EmptyResponse, match="No data found"):
        ask(yahoo)


@pytest.mark.fault(35)
def test_html_is_an_error(server: ScriptedServer, yahoo: YahooSource) -> None:
    server.on(CHART, Reply("<html>consent</html>"))
    with pytest.raises(WrongContent, match="HTML where JSON was due"):
        ask(yahoo)


@pytest.mark.fault(36)
def test_a_renamed_field_is_an_error(server: ScriptedServer, yahoo: YahooSource) -> None:
    server.on(CHART, Reply(ONE_DAY.replace('"quote"', '"quotes"')))
    with pytest.raises(SourceUnavailable, match="cannot read Yahoo's answer"):
        ask(yahoo)


@pytest.mark.fault(37)
def test_truncated_json_goes_through_the_gate(server: ScriptedServer, yahoo: YahooSource) -> None:
    server.on(CHART, Reply(ONE_DAY[:200]), Reply(ONE_DAY))
    assert ask(yahoo).height == 1


@pytest.mark.fault(38)
def test_one_symbol_failing_is_asked_again_alone(
    server: ScriptedServer, yahoo: YahooSource
) -> None:
    failures = iter([True])

    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/QQQ") and next(failures, False):
            return Reply(status=404, body="gone")
        return Reply(ONE_DAY)

    server.rule(CHART, answer)
    got = yahoo.daily_bars(["SPY", "QQQ"], date(2024, 1, 2), date(2024, 1, 2))
    assert got["symbol"].to_list() == ["SPY", "QQQ"]
    assert server.count(f"{CHART}/SPY") == 2  # time zone and history, asked once each


@pytest.mark.fault(40)
def test_a_redirect_to_a_private_address_is_refused(
    server: ScriptedServer, yahoo: YahooSource
) -> None:
    server.on(CHART, Reply(status=302, headers={"Location": "http://169.254.169.254/latest"}))
    with pytest.raises(ForbiddenRedirect, match=r"169\.254\.169\.254"):
        ask(yahoo)


@pytest.mark.fault(32)
def test_the_budget_covers_yahoo(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(CHART, Reply(ONE_DAY))
    gate = Gate(HttpSettings(budget=99), RequestBudget(1), sleep=lambda _: None)
    source = YahooSource(gate, FredRates(gate), base_url=server.url, cache_dir=tmp_path)
    with pytest.raises(BudgetExceeded, match="budget of 1 requests"):
        ask(source)


def test_the_last_session_is_a_closed_one(yahoo: YahooSource) -> None:
    assert session_open(yahoo.last_session()) < clock.utc_now()
    span = yahoo.span("daily_bars")
    assert span is not None
    assert span[0] == date(1993, 1, 29)
