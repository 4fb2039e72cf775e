"""Of each session the newest version, whatever the order of the rows."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from spy_assets.features.versions import last_of_each_session, oldest_first

DAYS = [date(2018, 6, 13), date(2018, 6, 12), date(2018, 6, 12)]
KNOWN = [datetime(2018, 6, day, tzinfo=UTC) for day in (13, 20, 12)]
ROWS = pl.DataFrame({"session": DAYS, "available_at": KNOWN, "value": [3, 2, 1]})


def test_the_newest_of_each_session_counts() -> None:
    assert last_of_each_session(ROWS)["value"].to_list() == [2, 3]


def test_of_versions_known_at_once_the_one_written_last_counts() -> None:
    at_once = ROWS.with_columns(available_at=pl.lit(KNOWN[0]), ingested_at=pl.Series(KNOWN))
    assert oldest_first(at_once)["value"].to_list() == [1, 2, 3]
    assert last_of_each_session(at_once.reverse())["value"].to_list() == [2, 3]
