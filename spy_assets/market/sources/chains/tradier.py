"""Tradier: one request per expiry, with Greeks by ORATS.

`GET /v1/markets/options/expirations`, then `/v1/markets/options/chains?greeks=true` for each, with
`Authorization: Bearer TOKEN` (https://docs.tradier.com/reference/brokerage-api-markets-get-options-chains).
A list of one element comes as the element, an empty one as null. Times are milliseconds, 0 where
there is none. Greeks are updated hourly: they may be older than the quote.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from spy_assets.errors import EmptyResponse
from spy_assets.market.sources.chains.client import VendorClient, gather_all
from spy_assets.market.sources.chains.protocol import SnapshotSource
from spy_assets.market.sources.chains.rows import (
    Types,
    epoch,
    finish,
    known_iv,
    nested,
    reading,
    require_field,
    require_rows,
    table,
    traded,
    vendor_greeks,
)
from spy_assets.market.sources.http import Gate
from spy_assets.options.chain import RawChain

NAME = "tradier"
BASE_URL = "https://api.tradier.com"

_F, _I, _S = pl.Float64(), pl.Int64(), pl.String()
_TYPES: Types = {
    "symbol": _S,
    "strike": _F,
    "expiration_date": _S,
    "option_type": _S,
    "contract_size": _F,
    **dict.fromkeys(("bid", "ask", "bidsize", "asksize", "last", "volume", "open_interest"), _F),
    **dict.fromkeys(("bid_date", "ask_date", "trade_date"), _I),
}
_IGNORED = (
    *("description", "exch", "type", "change", "open", "high", "low", "close", "underlying"),
    *("change_percentage", "average_volume", "last_volume", "prevclose", "week_52_high"),
    *("week_52_low", "bidexch", "askexch", "expiration_type", "root_symbol", "greeks"),
)
_GREEKS: Types = dict.fromkeys(("delta", "gamma", "theta", "vega", "rho", "mid_iv"), _F)
_GREEKS_IGNORED = ("phi", "bid_iv", "ask_iv", "smv_vol", "updated_at")


class TradierChains(SnapshotSource):
    """The chain of today.

    Parameters
    ----------
    gate
        Budget and retries of the run.
    token
        The account's token.
    base_url
        Another host: `https://sandbox.tradier.com` has delayed quotes.
    """

    name = NAME

    def __init__(self, gate: Gate, *, token: str, base_url: str = BASE_URL) -> None:
        self._gate = gate
        self._token = token
        self._base_url = base_url

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """All expiries; after a partial failure only the failed ones are asked again."""
        self.require_now(symbol, session, now)
        with VendorClient.bearer(self._base_url, self._gate, self._token) as client:
            expiries = _expiries(client, symbol)
            answers = gather_all(
                expiries, lambda day: _options(client, symbol, day), what=f"{NAME} {symbol}"
            )
            quotes = client.get_json("/v1/markets/quotes", {"symbols": symbol})
        rows = [row for part in answers.values() for row in part]
        return read_options(rows, quotes, symbol, session, now=now)


def _listed(body: Any, outer: str, inner: str, what: str) -> list[Any]:
    """A list in Tradier's JSON, whose elements come bare if there is one, and null if none."""
    holder = require_field(body, outer, what)
    if not holder:
        raise EmptyResponse(f"{what}: {outer!r} is {holder!r}", hint="check the symbol")
    found = require_field(holder, inner, what)
    return found if isinstance(found, list) else [found]


def _expiries(client: VendorClient, symbol: str) -> list[str]:
    query = {"symbol": symbol, "includeAllRoots": "true"}
    body = client.get_json("/v1/markets/options/expirations", query)
    return [str(day) for day in _listed(body, "expirations", "date", f"{NAME} {symbol}")]


def _options(client: VendorClient, symbol: str, day: str) -> list[Any]:
    query = {"symbol": symbol, "expiration": day, "greeks": "true"}
    body = client.get_json("/v1/markets/options/chains", query)
    return _listed(body, "options", "option", f"{NAME} {symbol} {day}")


@reading(NAME)
def read_options(
    rows: Sequence[dict[str, Any]], quotes: Any, symbol: str, session: date, *, now: datetime
) -> RawChain:
    """The chain in the options of all expiries.

    Parameters
    ----------
    rows
        Elements of `option`.
    quotes
        The body of the underlying's quote; its `last` is `spot`.

    Raises
    ------
    SchemaDrift
        If fields are missing or new.
    """
    what = f"{NAME} {symbol}"
    options = require_rows(list(rows), what)
    frame = pl.concat(
        [
            table(options, _TYPES, what, ignored=_IGNORED),
            nested(options, "greeks", _GREEKS, what, ignored=_GREEKS_IGNORED),
        ],
        how="horizontal",
    )
    underlying = _listed(quotes, "quotes", "quote", what)[0]
    spot = require_field(underlying, "last", what)
    return finish(
        _canonical(frame, spot),
        symbol=symbol,
        session=session,
        source=NAME,
        available_at=now,
        ticker="ticker",
    )


def _canonical(frame: pl.DataFrame, spot: float | None) -> pl.DataFrame:
    iv = known_iv(pl.col("greeks.mid_iv"))
    quoted_at = pl.max_horizontal("bid_date", "ask_date")
    return frame.select(
        pl.col("symbol").alias("ticker"),
        pl.col("expiration_date").str.to_date().alias("expiry"),
        pl.col("option_type")
        .replace_strict({"call": "C", "put": "P"}, default=None)
        .alias("right"),
        "strike",
        pl.col("contract_size").cast(pl.Int32).alias("multiplier"),
        "bid",
        "ask",
        pl.col("bidsize").alias("bid_size"),
        pl.col("asksize").alias("ask_size"),
        epoch(quoted_at, "ms").alias("quoted_at"),
        traded(pl.col("last")).alias("last"),
        epoch(pl.col("trade_date"), "ms").alias("last_at"),
        "volume",
        "open_interest",
        iv.alias("vendor_iv"),
        *vendor_greeks("greeks.", known=iv.is_not_null()),
        pl.lit(spot, pl.Float64).alias("spot"),
    )
