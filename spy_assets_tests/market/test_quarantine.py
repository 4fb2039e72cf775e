"""The quarantine's rows: stable ids, joined reasons, and values that JSON lacks."""

from __future__ import annotations

import json
import math
from datetime import date

import polars as pl

from spy_assets.market.quarantine import flag, number_rows, payloads_of, quarantined_rows
from spy_assets.market.schemas import QUARANTINE

ROWS = number_rows(
    pl.DataFrame(
        {
            "symbol": ["SPY", "SPY", "QQQ"],
            "session": [date(2024, 1, 3), date(2024, 1, 2), date(2024, 1, 2)],
            "close": [math.nan, -1.0, 2.0],
        }
    )
)
BAD = pl.concat(
    [
        flag(ROWS, pl.col("close") < 0, "negative_price", "error"),
        flag(ROWS, pl.col("symbol") == "SPY", "odd", "warn"),
        flag(ROWS, pl.lit(None, pl.Boolean), "unknown", "error"),
    ]
)
#: By session.
IDS = ["8120654166a31836a7550d5a610e565f", "e9dc8f8b6b7a06b00718dca17adde7f0"]


def test_reasons_are_joined_and_the_severest_counts():
    found = quarantined_rows(ROWS, BAD, "daily_bars")
    assert dict(found.schema) == QUARANTINE
    assert found.select("session", "reason", "severity").rows() == [
        (date(2024, 1, 2), "negative_price,odd", "error"),
        (date(2024, 1, 3), "odd", "warn"),
    ]


def test_the_id_is_of_the_data_set_and_the_values():
    """The ids of rows in lakes that exist: a row refused again must not come twice."""
    found = quarantined_rows(ROWS, BAD, "daily_bars")
    assert found["row_id"].to_list() == IDS
    assert not set(quarantined_rows(ROWS, BAD, "volatility")["row_id"]) & set(IDS)


def test_only_the_named_columns_make_the_row():
    text = payloads_of(ROWS, ["session", "close"])[0]
    assert json.loads(text) == {"session": "2024-01-03", "close": "nan"}


def test_nothing_flagged_is_an_empty_quarantine():
    assert dict(quarantined_rows(ROWS, BAD.clear(), "daily_bars").schema) == QUARANTINE
