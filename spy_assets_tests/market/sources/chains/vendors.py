"""The vendors that are asked over HTTP: how each is served from the bodies, and opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from spy_assets.market.sources.chains.alpaca import AlpacaChains
from spy_assets.market.sources.chains.cboe import CboeChains
from spy_assets.market.sources.chains.polygon import PolygonChains
from spy_assets.market.sources.chains.protocol import ChainSource
from spy_assets.market.sources.chains.thetadata import ThetaDataChains
from spy_assets.market.sources.chains.tradier import TradierChains
from spy_assets.market.sources.chains.yahoo import YahooChains
from spy_assets.market.sources.http import Gate
from spy_assets.options.chain import RawChain
from spy_assets_tests.market.sources.chains.servers import RecordingServer
from spy_assets_tests.scripted_server import Asked, Reply

BODIES = Path(__file__).parent / "bodies"
SESSION = date(2024, 3, 7)
#: After the options' close (21:15 UTC) of the session.
NOW = datetime(2024, 3, 7, 22, 0, tzinfo=UTC)
KEY = "k3y-of-the-test"
SECRET = "s3cret-of-the-test"


def body(name: str) -> str:
    return (BODIES / name).read_text()


def delayed_quotes(rows: pl.DataFrame, moment: datetime) -> str:
    """CBOE's JSON of rows as its files have them, made at a moment (UTC)."""
    ignored = ("theo", "change", "open", "high", "low", "percent_change", "prev_day_close", "tick")
    options = rows.with_columns(
        pl.col("last_trade_time").dt.strftime("%Y-%m-%dT%H:%M:%S"),
        *(pl.lit(0.0).alias(name) for name in ignored),
    )
    spot = {"symbol": "SPY", "current_price": 279.0, "close": 279.0}
    data = spot | {"options": options.to_dicts()}
    return json.dumps({"timestamp": f"{moment:%Y-%m-%d %H:%M:%S}", "data": data})


@dataclass(frozen=True)
class Vendor:
    """One vendor: `pages` are the paths of its chain, `field` one that it needs."""

    name: str
    open: Callable[[Gate, str], ChainSource]
    serve: Callable[[RecordingServer], None]
    pages: str
    field: str
    empty: str

    def ask(self, gate: Gate, server: RecordingServer) -> RawChain:
        return self.open(gate, server.url).chain("SPY", SESSION, now=NOW)


def _by(name: str, **answers: str) -> Callable[[Asked], Reply]:
    """The body that the value of a query parameter picks; `first` without one."""
    return lambda asked: Reply(body(answers[asked.query.get(name, "first").replace("-", "_")]))


def _serve_cboe(server: RecordingServer) -> None:
    server.on("/api/global/delayed_quotes/options/SPY.json", Reply(body("cboe.json")))


def _serve_yahoo(server: RecordingServer) -> None:
    dates = {"first": "yahoo_20240308.json", "1710460800": "yahoo_20240315.json"}
    server.rule("/v7/finance/options/SPY", _by("date", **dates))


def _serve_polygon(server: RecordingServer) -> None:
    cursors = {"first": "polygon_page1.json", "cGFnZS0y": "polygon_page2.json"}
    server.rule("/v3/snapshot/options/SPY", _by("cursor", **cursors))


def _serve_alpaca(server: RecordingServer) -> None:
    tokens = {"first": "alpaca_page1.json", "U1BZMg==": "alpaca_page2.json"}
    server.rule("/v1beta1/options/snapshots/SPY", _by("page_token", **tokens))
    server.on("/v2/options/contracts", Reply(body("alpaca_contracts.json")))
    server.on("/v2/stocks/SPY/quotes/latest", Reply(body("alpaca_stock.json")))


def _serve_tradier(server: RecordingServer) -> None:
    dates = {"2024_03_08": "tradier_20240308.json", "2024_03_15": "tradier_20240315.json"}
    server.rule("/v1/markets/options/chains", _by("expiration", **dates))
    server.on("/v1/markets/options/expirations", Reply(body("tradier_expirations.json")))
    server.on("/v1/markets/quotes", Reply(body("tradier_quotes.json")))


def _serve_thetadata(server: RecordingServer) -> None:
    server.on("/v3/option/at_time/quote", Reply(body("thetadata_quote.json")))
    server.on("/v3/option/history/eod", Reply(body("thetadata_eod.json")))
    server.on("/v3/option/history/open_interest", Reply(body("thetadata_interest.json")))


def _alpaca(gate: Gate, url: str) -> AlpacaChains:
    return AlpacaChains(gate, key_id=KEY, secret=SECRET, base_url=url, trading_url=url)


VENDORS = (
    Vendor(
        "cboe",
        lambda gate, url: CboeChains(gate, base_url=url),
        _serve_cboe,
        "/api/global/",
        '"bid_size"',
        '{"timestamp": "2024-03-07 21:40:12", "data": {"symbol": "SPY", "options": [], '
        '"current_price": 1.0, "close": 1.0}}',
    ),
    Vendor(
        "yfinance",
        lambda gate, url: YahooChains(gate, base_url=url),
        _serve_yahoo,
        "/v7/finance/options/",
        '"impliedVolatility"',
        '{"optionChain": {"result": [], "error": null}}',
    ),
    Vendor(
        "polygon",
        lambda gate, url: PolygonChains(gate, api_key=KEY, base_url=url),
        _serve_polygon,
        "/v3/snapshot/options/",
        '"strike_price"',
        '{"status": "OK", "results": []}',
    ),
    Vendor(
        "alpaca",
        _alpaca,
        _serve_alpaca,
        "/v1beta1/options/",
        '"latestQuote"',
        '{"snapshots": {}, "next_page_token": null}',
    ),
    Vendor(
        "tradier",
        lambda gate, url: TradierChains(gate, token=KEY, base_url=url),
        _serve_tradier,
        "/v1/markets/options/chains",
        '"bidsize"',
        '{"options": null}',
    ),
    Vendor(
        "thetadata",
        lambda gate, url: ThetaDataChains(gate, base_url=url),
        _serve_thetadata,
        "/v3/option/at_time/",
        '"bid_size"',
        '{"symbol": [], "expiration": [], "strike": [], "right": [], "timestamp": [], '
        '"bid": [], "ask": [], "bid_size": [], "ask_size": []}',
    ),
)
BY_NAME = {vendor.name: vendor for vendor in VENDORS}
