"""Alpaca: snapshots of a chain (data host) and open interest (trading host), page by page.

`GET /v1beta1/options/snapshots/{underlying}` with the headers `APCA-API-KEY-ID` and
`APCA-API-SECRET-KEY`, at most 1,000 contracts a page, `next_page_token` until it is null
(https://docs.alpaca.markets/reference/optionchain). Greeks and implied volatility are absent deep
in and out of the money. The free feed `indicative` has modified quotes and late trades; `opra` is
the real one. Open interest comes from `/v2/options/contracts` of the trading host, as text. Asked
without a last expiry, that gives "only active contracts that expire before the upcoming weekend"
(https://docs.alpaca.markets/reference/get-options-contracts); a contract that it lacks has no open
interest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal

import polars as pl

from spy_assets.market.schemas import TIMESTAMP, require_names
from spy_assets.market.sources.chains.client import VendorClient, pages
from spy_assets.market.sources.chains.protocol import SnapshotSource
from spy_assets.market.sources.chains.rows import (
    Types,
    finish,
    joined,
    known_iv,
    nested,
    never_traded,
    reading,
    require_field,
    require_rows,
    table,
    traded,
    vendor_greeks,
)
from spy_assets.market.sources.http import Gate
from spy_assets.options.chain import RawChain

NAME = "alpaca"
BASE_URL = "https://data.alpaca.markets"
TRADING_URL = "https://paper-api.alpaca.markets"
Feed = Literal["indicative", "opra"]
#: Expiries up to the end of this many years ahead are asked for; none is listed later.
LISTED_YEARS = 10

_F, _I, _S = pl.Float64(), pl.Int64(), pl.String()
_PARTS = {"latestQuote", "latestTrade", "greeks", "impliedVolatility"}
_PARTS |= {"dailyBar", "minuteBar", "prevDailyBar"}
_QUOTE: Types = {"bp": _F, "ap": _F, "bs": _F, "as": _F, "t": _S}
_TRADE: Types = {"p": _F, "t": _S}
_GREEKS: Types = dict.fromkeys(("delta", "gamma", "theta", "vega", "rho"), _F)
_DAY: Types = {"v": _F, "t": _S}
_CONTRACT: Types = {"symbol": _S, "open_interest": _S, "size": _S}
_CONTRACT_IGNORED = (
    *("close_price", "close_price_date", "expiration_date", "id", "multiplier", "name"),
    *("open_interest_date", "root_symbol", "status", "strike_price", "style", "tradable", "type"),
    *("underlying_symbol", "underlying_asset_id", "deliverables", "ppind"),
)


class AlpacaChains(SnapshotSource):
    """The snapshot of today.

    Parameters
    ----------
    gate
        Budget and retries of the run.
    key_id, secret
        The account's key.
    feed
        `opra` needs a subscription.
    base_url, trading_url
        Other hosts than Alpaca's; without `trading_url` there is no open interest.
    """

    name = NAME

    def __init__(
        self,
        gate: Gate,
        *,
        key_id: str,
        secret: str,
        feed: Feed = "indicative",
        base_url: str = BASE_URL,
        trading_url: str | None = TRADING_URL,
    ) -> None:
        self._gate = gate
        self._headers = {"APCA-API-KEY-ID": key_id, "APCA-API-SECRET-KEY": secret}
        self._feed = feed
        self._base_url = base_url
        self._trading_url = trading_url

    def _client(self, url: str) -> VendorClient:
        secrets = list(self._headers.values())
        return VendorClient(url, self._gate, headers=self._headers, secrets=secrets)

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """All pages; a page that fails is asked again alone."""
        self.require_now(symbol, session, now)
        what = f"{NAME} {symbol}"
        with self._client(self._base_url) as client:
            path = f"/v1beta1/options/snapshots/{symbol}"
            answers = _pages(client, path, {"feed": self._feed, "limit": "1000"}, what)
            stock = client.get_json(f"/v2/stocks/{symbol}/quotes/latest", {})
        found: dict[str, Any] = {}
        for page in answers:
            found |= require_field(page, "snapshots", what)
        contracts = self._contracts(symbol, session, what)
        return read_snapshots(found, contracts, stock, symbol, session, now=now)

    def _contracts(self, symbol: str, session: date, what: str) -> pl.DataFrame | None:
        if self._trading_url is None:
            return None
        query = {"underlying_symbols": symbol, "status": "active", "limit": "10000"}
        query["expiration_date_lte"] = f"{session.year + LISTED_YEARS}-12-31"
        with self._client(self._trading_url) as client:
            answers = _pages(client, "/v2/options/contracts", query, what)
        rows = [row for page in answers for row in require_field(page, "option_contracts", what)]
        return read_contracts(rows, what)


def _pages(client: VendorClient, path: str, first: dict[str, str], what: str) -> list[Any]:
    def following(page: Any) -> dict[str, str] | None:
        token = require_field(page, "next_page_token", what)
        return {**first, "page_token": str(token)} if token else None

    return pages(lambda params: client.get_json(path, params), following, first, what=what)


@reading(NAME)
def read_contracts(rows: Sequence[Mapping[str, Any]], what: str) -> pl.DataFrame:
    """`symbol, open_interest, multiplier` of the trading host's contracts.

    Raises
    ------
    SchemaDrift
        If fields are missing or new, or no numbers.
    """
    frame = table(
        require_rows(list(rows), what),
        _CONTRACT,
        what,
        optional=("open_interest",),
        ignored=_CONTRACT_IGNORED,
    )
    return frame.select(
        "symbol",
        pl.col("open_interest").cast(pl.Float64),
        pl.col("size").cast(pl.Float64).cast(pl.Int32).alias("multiplier"),
    )


@reading(NAME)
def read_snapshots(
    found: Mapping[str, Any],
    contracts: pl.DataFrame | None,
    stock: Any,
    symbol: str,
    session: date,
    *,
    now: datetime,
) -> RawChain:
    """The chain in the snapshots of all pages.

    Parameters
    ----------
    found
        Snapshots by OCC symbol.
    contracts
        See :func:`read_contracts`; None for no open interest.
    stock
        The underlying's latest quote; its middle is `spot`.

    Raises
    ------
    SchemaDrift
        If fields are missing or new.
    """
    what = f"{NAME} {symbol}"
    rows = require_rows(list(found.values()), what)
    require_names(set().union(*rows) - _PARTS, [], what)
    frame = pl.concat(
        [
            pl.DataFrame({"symbol": list(found)}),
            nested(rows, "latestQuote", _QUOTE, what, ignored=("ax", "bx", "c")),
            nested(rows, "latestTrade", _TRADE, what, ignored=("c", "s", "x")),
            nested(rows, "greeks", _GREEKS, what),
            nested(rows, "dailyBar", _DAY, what, ignored=("c", "h", "l", "n", "o", "vw")),
            pl.DataFrame(
                {"iv": pl.Series([row.get("impliedVolatility") for row in rows], dtype=_F)}
            ),
        ],
        how="horizontal",
    )
    if contracts is None:
        none = {"open_interest": pl.lit(None, _F), "multiplier": pl.lit(None, pl.Int32)}
        frame = frame.with_columns(**none)
    else:
        frame = joined(frame, contracts, ["symbol"], f"{what} contracts")
    return finish(
        _canonical(frame, session, _middle(stock, what)),
        symbol=symbol,
        session=session,
        source=NAME,
        available_at=now,
        ticker="ticker",
    )


def _middle(stock: Any, what: str) -> float | None:
    quote = require_field(stock, "quote", what)
    bid, ask = require_field(quote, "bp", what), require_field(quote, "ap", what)
    return (bid + ask) / 2 if bid and ask else None


def _moment(column: str) -> pl.Expr:
    """A moment from RFC 3339 with up to nine decimals, cut to microseconds."""
    text = pl.col(column).str.replace(r"(\.\d{6})\d+", "$1")
    return text.str.to_datetime(time_unit="us", time_zone="UTC").cast(TIMESTAMP)


def _canonical(frame: pl.DataFrame, session: date, spot: float | None) -> pl.DataFrame:
    # The daily bar is of the last day with a trade: of an earlier one, or none, today's volume is 0.
    bar = pl.col("dailyBar.t").str.slice(0, 10)
    today = bar == session.isoformat()
    quiet = ~today | never_traded(bar)
    return frame.select(
        pl.col("symbol").alias("ticker"),
        pl.col("latestQuote.bp").alias("bid"),
        pl.col("latestQuote.ap").alias("ask"),
        pl.col("latestQuote.bs").alias("bid_size"),
        pl.col("latestQuote.as").alias("ask_size"),
        _moment("latestQuote.t").alias("quoted_at"),
        traded(pl.col("latestTrade.p")).alias("last"),
        _moment("latestTrade.t").alias("last_at"),
        pl.when(today).then(pl.col("dailyBar.v")).when(quiet).then(0.0).alias("volume"),
        "open_interest",
        "multiplier",
        known_iv(pl.col("iv")).alias("vendor_iv"),
        *vendor_greeks("greeks."),
        pl.lit(spot, pl.Float64).alias("spot"),
    )
