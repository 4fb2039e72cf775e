"""ThetaData: the JSON of its terminal, a program that runs on the user's own machine.

Three requests, joined by contract: the quotes at one moment of the session
(`/v3/option/at_time/quote`), the day's trades (`/v3/option/history/eod`) and the open interest
(`/v3/option/history/open_interest`). Versions of the terminal differ in their JSON, and all three
forms are read: columns (`{"bid": [...], ...}`), rows (`{"header": {"format": [...]},
"response": [[...], ...]}`), and objects by contract (`{"response": [{"contract": {...},
"data": [{...}]}]}`). Times are New York's wall clock. Where there was no quote the terminal writes 0
for prices and sizes; where there was no trade, 0 for prices. `symbol` is an option root here: of an
index only the contracts of the root that is asked for come (SPX without SPXW).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import polars as pl

from spy_assets.errors import EmptyResponse, NotProvided, SchemaDrift
from spy_assets.market.schemas import TIMESTAMP, require_names
from spy_assets.market.sources.chains.client import VendorClient, gather_all
from spy_assets.market.sources.chains.protocol import open_session
from spy_assets.market.sources.chains.rows import (
    Types,
    finish,
    joined,
    new_york,
    reading,
    require_field,
    require_rows,
    traded,
    unread,
)
from spy_assets.market.sources.http import Gate
from spy_assets.options.chain import RawChain
from spy_assets.sessions import NEW_YORK, session_close, sessions_between

NAME = "thetadata"
BASE_URL = "http://127.0.0.1:25503"
#: First day of the vendor's option quotes.
FIRST = date(2012, 6, 1)

_F, _S = pl.Float64(), pl.String()
_KEY = ("symbol", "expiration", "strike", "right")
_CONTRACT: Types = {"symbol": _S, "expiration": _S, "strike": _F, "right": _S}
_QUOTES: Types = {
    **_CONTRACT,
    **dict.fromkeys(("bid", "ask", "bid_size", "ask_size"), _F),
    "timestamp": _S,
}
_EOD: Types = {**_CONTRACT, "volume": _F, "close": _F, "last_trade": _S}
_INTEREST: Types = {**_CONTRACT, "open_interest": _F}
_IGNORED = {
    *("ask_condition", "ask_exchange", "bid_condition", "bid_exchange", "created", "count"),
    *("high", "low", "open", "vwap", "bid", "ask", "bid_size", "ask_size", "timestamp"),
}
#: New York time by which the vendor's report of the day (made at 17:15) is out.
_REPORT = time(17, 30)


def report_out(session: date) -> datetime:
    """When the day's report of a session is out, UTC."""
    return datetime.combine(session, _REPORT, NEW_YORK).astimezone(UTC)


class ThetaDataChains:
    """Chains of any session since 2012, at its close.

    Parameters
    ----------
    gate
        Budget and retries of the run.
    base_url
        Where the terminal listens.
    """

    name = NAME

    def __init__(self, gate: Gate, *, base_url: str = BASE_URL) -> None:
        self._gate = gate
        self._base_url = base_url

    def sessions(self, symbol: str, *, now: datetime) -> Sequence[date]:  # noqa: ARG002
        """All that have closed since June 2012."""
        current = open_session(now)
        return [day for day in sessions_between(FIRST, current) if session_close(day) <= now]

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """Quotes at the close, trades and open interest of the day.

        Raises
        ------
        NotProvided
            If the session has not closed, or is before the vendor's first.
        """
        if not session >= FIRST or session_close(session) > now:
            raise NotProvided(
                f"{NAME} has chains from {FIRST} to the last session that closed, not {session}",
                hint="ask for another session",
            )
        day = {"symbol": symbol, "expiration": "*", "format": "json"}
        day |= dict.fromkeys(("start_date", "end_date"), f"{session:%Y%m%d}")
        closed = session_close(session).astimezone(NEW_YORK)
        asked = {
            "at_time/quote": day | {"time_of_day": f"{closed:%H:%M:%S}.000"},
            "history/eod": day,
            "history/open_interest": {n: v for n, v in day.items() if not n.endswith("_date")}
            | {"date": f"{session:%Y%m%d}"},
        }
        with VendorClient(self._base_url, self._gate) as client:
            bodies = gather_all(
                list(asked),
                lambda name: client.get_json(f"/v3/option/{name}", asked[name]),
                what=f"{NAME} {symbol}",
            )
        return read_session(*bodies.values(), symbol=symbol, session=session, now=now)


def read_table(body: Any, types: Types, what: str) -> pl.DataFrame:
    """A table in any form of the terminal's JSON.

    Raises
    ------
    SchemaDrift
        If columns are missing or new, or of another type.
    EmptyResponse
        If there is no row.
    """
    columns = _columns(body, what)
    known = _IGNORED - {*types}
    require_names([name for name in columns if name not in known], types, what)
    try:
        frame = pl.DataFrame({name: pl.Series(columns[name], dtype=types[name]) for name in types})
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise SchemaDrift(
            f"{what}: {error}", hint="the vendor changed its format; adapt the source"
        ) from error
    if frame.is_empty():
        raise EmptyResponse(f"{what}: not one row", hint="check the symbol and the session")
    return frame


def _columns(body: Any, what: str) -> Mapping[str, Sequence[Any]]:
    if isinstance(body, dict) and "header" in body:
        names = require_field(body["header"], "format", what)
        rows = require_field(body, "response", what)
        if any(len(row) != len(names) for row in rows):
            raise SchemaDrift(
                f"{what}: a row does not have the {len(names)} fields of {names}",
                hint="the vendor changed its format; adapt the source",
            )
        return {name: [row[n] for row in rows] for n, name in enumerate(names)}
    if isinstance(body, dict) and [*body] == ["response"]:
        return _of_contracts(require_rows(body["response"], what), what)
    if isinstance(body, dict) and all(isinstance(values, list) for values in body.values()):
        return body
    raise SchemaDrift(
        f"{what}: neither columns nor rows in {type(body).__name__}",
        hint="the vendor changed its format; adapt the source",
    )


def _of_contracts(contracts: list[dict[str, Any]], what: str) -> Mapping[str, Sequence[Any]]:
    """Columns of objects by contract."""
    rows = [
        {**require_field(one, "contract", what), **row}
        for one in contracts
        for row in require_field(one, "data", what)
    ]
    names = [*require_rows(rows, what)[0]]
    if any(row.keys() != {*names} for row in rows):
        raise SchemaDrift(
            f"{what}: rows with other fields than {names}",
            hint="the vendor changed its format; adapt the source",
        )
    return {name: [row[name] for row in rows] for name in names}


@reading(NAME)
def read_session(
    quotes: Any, trades: Any, interest: Any, *, symbol: str, session: date, now: datetime
) -> RawChain:
    """The chain in the bodies of the three requests; a contract is listed if it has a quote.

    Raises
    ------
    SchemaDrift
        If columns are missing or new, or of another type.
    """
    what = f"{NAME} {symbol}"
    frame = read_table(quotes, _QUOTES, f"{what} quotes")
    for body, types, part in ((trades, _EOD, "trades"), (interest, _INTEREST, "open interest")):
        other = read_table(body, types, f"{what} {part}").unique(_KEY, keep="last")
        frame = joined(frame, other, _KEY, f"{what} {part}")
    return finish(
        _canonical(frame),
        symbol=symbol,
        session=session,
        source=NAME,
        available_at=min(report_out(session), now),
    )


def _canonical(frame: pl.DataFrame) -> pl.DataFrame:
    silent = unread("bid_size", "bid") & unread("ask_size", "ask")
    sides = [
        pl.when(~silent).then(pl.col(name)).alias(name)
        for name in ("bid", "ask", "bid_size", "ask_size")
    ]
    has_traded = pl.col("volume") > 0
    return frame.select(
        pl.col("symbol").alias("root"),
        pl.col("expiration").str.to_date().alias("expiry"),
        pl.col("right").str.slice(0, 1).str.to_uppercase().alias("right"),
        "strike",
        *sides,
        new_york(_iso("timestamp")).cast(TIMESTAMP).alias("quoted_at"),
        traded(pl.col("close"), where=has_traded).alias("last"),
        pl.when(has_traded).then(new_york(_iso("last_trade"))).cast(TIMESTAMP).alias("last_at"),
        "volume",
        "open_interest",
    )


def _iso(name: str) -> pl.Expr:
    """Naive text, with or without a fraction of a second."""
    return (
        pl.col(name)
        .str.replace(r"\.\d+$", "")
        .str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    )
