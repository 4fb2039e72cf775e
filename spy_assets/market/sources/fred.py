"""Interest rates from FRED, the Federal Reserve Bank of St. Louis.

Without a key the download of the graph page is read (CSV, one series a request); with a key the API
(https://fred.stlouisfed.org/docs/api/fred/series_observations.html). FRED gives percent per year,
and `.` or nothing on days without a value. A value's date is the observation date, not the release
date.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from spy_assets.errors import EmptyResponse, SchemaDrift
from spy_assets.market.schemas import raw_columns, require_names
from spy_assets.market.sources.http import Gate, HttpClient, gather, one_by_one

GRAPH_URL = "https://fred.stlouisfed.org"
API_URL = "https://api.stlouisfed.org"
_MISSING = ("", ".")
#: FRED's page size; no daily series is longer.
_API_LIMIT = 100_000


class FredRates:
    """The rates provider that stands next to vendors of prices.

    Parameters
    ----------
    gate
        Budget and retries of the run.
    base_url
        Another host than FRED's, for tests and proxies.
    api_key
        Uses the API instead of the graph page's download.
    """

    name = "fred"

    def __init__(
        self, gate: Gate, *, base_url: str = GRAPH_URL, api_key: str | None = None
    ) -> None:
        self._gate = gate
        self._api_key = api_key
        self._base_url = API_URL if api_key and base_url == GRAPH_URL else base_url

    def rates(self, series: Sequence[str], start: date, end: date) -> pl.DataFrame:
        """Rates as decimals per year by observation date; days without a value are left out.

        Raises
        ------
        SourceError
            As :mod:`.http`; after a partial failure only the failed series are asked again.
        """
        with HttpClient(self._base_url, self._gate) as client:

            def fetch(name: str) -> pl.DataFrame:
                if self._api_key:
                    return _from_api(client, name, start, end, self._api_key)
                return _from_graph(client, name, start, end)

            frames = gather(list(series), one_by_one(fetch), what="FRED")
        if not frames:
            return pl.DataFrame(schema=raw_columns("rates"))
        return pl.concat(frames.values())


def _from_graph(client: HttpClient, name: str, start: date, end: date) -> pl.DataFrame:
    params = {"id": name, "cosd": start.isoformat(), "coed": end.isoformat()}
    table = client.get_csv("/graph/fredgraph.csv", params, ["observation_date", name])
    return _canonical(name, table.rename({"observation_date": "date", name: "value"}))


def _from_api(client: HttpClient, name: str, start: date, end: date, key: str) -> pl.DataFrame:
    params = {
        "series_id": name,
        "observation_start": start.isoformat(),
        "observation_end": end.isoformat(),
        "file_type": "json",
        "limit": str(_API_LIMIT),
        "api_key": key,
    }
    body = client.get_json("/fred/series/observations", params)
    if not isinstance(body, dict) or "observations" not in body:
        found = sorted(body) if isinstance(body, dict) else [type(body).__name__]
        raise SchemaDrift(
            f"FRED {name}: no 'observations' in {found}", hint="the API changed; adapt the source"
        )
    rows = body["observations"]
    for row in rows[:1]:
        require_names(row, ["realtime_start", "realtime_end", "date", "value"], f"FRED {name}")
    table = pl.DataFrame(rows, schema={"date": pl.String, "value": pl.String})
    return _canonical(name, table)


def _canonical(name: str, table: pl.DataFrame) -> pl.DataFrame:
    """Percent strings by date -> decimals; a value that is no number is an error, not a gap."""
    known = table.filter(pl.col("value").is_not_null() & ~pl.col("value").is_in(_MISSING))
    try:
        rows = known.select(
            pl.lit(name).alias("series"),
            pl.col("date").str.to_date().alias("session"),
            (pl.col("value").cast(pl.Float64) / 100).alias("rate"),
            pl.lit(False).alias("is_constant"),
        )
    except pl.exceptions.InvalidOperationError as error:
        raise SchemaDrift(
            f"FRED {name}: a value is not a number, or a date not a date: {error}",
            hint="the vendor changed its format; adapt the source",
        ) from error
    if table.is_empty():
        raise EmptyResponse(
            f"FRED {name}: not one observation, not even an empty one",
            hint="check the name of the series and the range",
        )
    return rows
