"""Massive (formerly Polygon): snapshots of a chain over REST, page by page.

`GET /v3/snapshot/options/{underlying}` with `Authorization: Bearer KEY`, at most 250 contracts a
page (https://massive.com/docs/rest/options/snapshots/option-chain-snapshot). The key is never sent
to another host: of `next_url` only the query is used. What a plan does not include (quotes, trades,
Greeks) is missing from the rows, and null here. Times are nanoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from spy_assets.errors import SourceUnavailable
from spy_assets.market.schemas import require_names
from spy_assets.market.sources.chains.client import VendorClient, next_query, pages
from spy_assets.market.sources.chains.protocol import SnapshotSource, snapshot_at
from spy_assets.market.sources.chains.rows import (
    Types,
    epoch,
    finish,
    index_prefix,
    known_iv,
    nested,
    never_traded,
    reading,
    require_field,
    require_rows,
    traded,
    vendor_greeks,
)
from spy_assets.market.sources.http import Gate
from spy_assets.options.chain import RawChain

NAME = "polygon"
BASE_URL = "https://api.massive.com"
PAGE = "250"

_F, _I, _S = pl.Float64(), pl.Int64(), pl.String()
_ROW = {"details"}
_ROW_OPTIONAL = {"day", "greeks", "last_quote", "last_trade", "underlying_asset", "fmv"}
_ROW_OPTIONAL |= {"implied_volatility", "open_interest", "break_even_price", "fmv_last_updated"}
_DETAILS: Types = {
    "ticker": _S,
    "contract_type": _S,
    "expiration_date": _S,
    "strike_price": _F,
    "shares_per_contract": _F,
}
_QUOTE: Types = {"bid": _F, "ask": _F, "bid_size": _F, "ask_size": _F, "last_updated": _I}
_TRADE: Types = {"price": _F, "sip_timestamp": _I}
_GREEKS: Types = dict.fromkeys(("delta", "gamma", "theta", "vega"), _F)
_DAY: Types = {"volume": _F, "close": _F, "last_updated": _I}
_ASSET: Types = {"price": _F, "value": _F, "last_updated": _I}


class PolygonChains(SnapshotSource):
    """The snapshot of today.

    Parameters
    ----------
    gate
        Budget and retries of the run. A SPY chain is some 60 pages.
    api_key
        The key of the account.
    base_url
        Another host than Massive's.
    """

    name = NAME

    def __init__(self, gate: Gate, *, api_key: str, base_url: str = BASE_URL) -> None:
        self._gate = gate
        self._key = api_key
        self._base_url = base_url

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """All pages; a page that fails is asked again alone."""
        self.require_now(symbol, session, now)
        path = f"/v3/snapshot/options/{index_prefix(symbol, 'I:')}"
        rows = self._rows(path, {"limit": PAGE, "order": "asc", "sort": "ticker"}, symbol)
        return read_snapshot(rows, symbol, session, now=now)

    def contracts(self, symbol: str, session: date) -> pl.DataFrame:
        """The contracts that were listed on a session, by the reference pages.

        Returns
        -------
        polars.DataFrame
            `ticker, expiry, right, strike, multiplier`.
        """
        path = "/v3/reference/options/contracts"
        first = {"underlying_ticker": symbol, "as_of": session.isoformat(), "limit": "1000"}
        rows = self._rows(path, first, symbol)
        return read_contracts(rows, f"{NAME} {symbol}")

    def _rows(self, path: str, first: dict[str, str], symbol: str) -> list[dict[str, Any]]:
        what = f"{NAME} {symbol}"
        with VendorClient.bearer(self._base_url, self._gate, self._key) as client:

            def fetch(params: dict[str, str]) -> Any:
                return _checked(client.get_json(path, params), what)

            def following(page: Any) -> dict[str, str] | None:
                url = page.get("next_url")
                return next_query(str(url), path, what) if url else None

            answers = pages(fetch, following, first, what=what)
        rows = [row for page in answers for row in require_field(page, "results", what)]
        return require_rows(rows, what)


def _checked(body: Any, what: str) -> Any:
    status = require_field(body, "status", what)
    if status not in {"OK", "DELAYED"}:
        said = body.get("error") or body.get("message")
        raise SourceUnavailable(f"{what}: status {status!r}: {said!r}", hint="check the plan")
    return body


@reading(NAME)
def read_contracts(rows: Sequence[dict[str, Any]], what: str) -> pl.DataFrame:
    """Reference contracts as a frame.

    Raises
    ------
    SchemaDrift
        If fields are missing.
    """
    wrapped = [{"contract": row} for row in rows]
    known = ("cfi", "exercise_style", "primary_exchange", "underlying_ticker", "correction")
    ignored = (*known, "additional_underlyings")
    frame = nested(wrapped, "contract", _DETAILS, what, ignored=ignored)
    return frame.select(
        pl.col("contract.ticker").alias("ticker"), *_contract_fields(prefix="contract.")
    )


def _contract_fields(prefix: str) -> list[pl.Expr]:
    kind = pl.col(f"{prefix}contract_type")
    return [
        pl.col(f"{prefix}expiration_date").str.to_date().alias("expiry"),
        kind.replace_strict({"call": "C", "put": "P"}, default=None).alias("right"),
        pl.col(f"{prefix}strike_price").alias("strike"),
        pl.col(f"{prefix}shares_per_contract").cast(pl.Int32).alias("multiplier"),
    ]


@reading(NAME)
def read_snapshot(
    rows: Sequence[dict[str, Any]], symbol: str, session: date, *, now: datetime
) -> RawChain:
    """The chain in the rows of snapshot pages.

    Raises
    ------
    SchemaDrift
        If fields are missing or new.
    """
    what = f"{NAME} {symbol}"
    found = set().union(*rows)
    require_names(found - _ROW_OPTIONAL, _ROW, what)
    frame = pl.concat(
        [
            nested(
                rows, "details", _DETAILS, what, ignored=("exercise_style", "underlying_ticker")
            ),
            nested(rows, "last_quote", _QUOTE, what, ignored=_KNOWN["last_quote"]),
            nested(rows, "last_trade", _TRADE, what, ignored=_KNOWN["last_trade"]),
            nested(rows, "greeks", _GREEKS, what),
            nested(
                rows, "day", _DAY, what, optional=("close", "last_updated"), ignored=_KNOWN["day"]
            ),
            nested(
                rows,
                "underlying_asset",
                _ASSET,
                what,
                optional=("price", "value", "last_updated"),
                ignored=_KNOWN["underlying_asset"],
            ),
            pl.DataFrame(
                {
                    "iv": pl.Series([row.get("implied_volatility") for row in rows], dtype=_F),
                    "oi": pl.Series([row.get("open_interest") for row in rows], dtype=_F),
                }
            ),
        ],
        how="horizontal",
    )
    return finish(
        _canonical(frame, session, snapshot_at(symbol, now)),
        symbol=symbol,
        session=session,
        source=NAME,
        available_at=now,
        ticker="ticker",
    )


#: Fields that are known and not read.
_KNOWN = {
    "last_quote": ("midpoint", "timeframe", "bid_exchange", "ask_exchange"),
    "last_trade": ("size", "conditions", "exchange", "timeframe", "decimal_size"),
    "day": ("change", "change_percent", "high", "low", "open", "previous_close", "vwap"),
    "underlying_asset": ("change_to_break_even", "ticker", "timeframe"),
}


def _canonical(frame: pl.DataFrame, session: date, snapshot: datetime) -> pl.DataFrame:
    """A quote has its own time; a contract without one is dated by the snapshot."""
    iv = known_iv(pl.col("iv"))
    # The bar is of the last day with a trade: if that is an earlier one, or none, today's volume is 0.
    bar = epoch(pl.col("day.last_updated"), "ns").dt.convert_time_zone("America/New_York").dt.date()
    quiet = (bar < session) | never_traded(bar)
    volume = pl.when(bar == session).then(pl.col("day.volume")).when(quiet).then(0.0)
    return frame.with_columns(pl.lit(None, pl.Float64).alias("greeks.rho")).select(
        pl.col("details.ticker").alias("ticker"),
        *_contract_fields(prefix="details."),
        pl.col("last_quote.bid").alias("bid"),
        pl.col("last_quote.ask").alias("ask"),
        pl.col("last_quote.bid_size").alias("bid_size"),
        pl.col("last_quote.ask_size").alias("ask_size"),
        pl.coalesce(
            epoch(pl.col("last_quote.last_updated"), "ns"), pl.lit(snapshot).dt.cast_time_unit("us")
        ).alias("quoted_at"),
        traded(pl.coalesce("last_trade.price", "day.close")).alias("last"),
        epoch(pl.col("last_trade.sip_timestamp"), "ns").alias("last_at"),
        volume.alias("volume"),
        pl.col("oi").alias("open_interest"),
        iv.alias("vendor_iv"),
        *vendor_greeks("greeks."),
        traded(pl.coalesce("underlying_asset.price", "underlying_asset.value")).alias("spot"),
    )
