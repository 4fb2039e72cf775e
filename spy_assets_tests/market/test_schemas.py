"""The canonical schemas."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import polars as pl
import pytest

from spy_assets.errors import SchemaDrift
from spy_assets.market.schemas import (
    CANONICAL,
    DATASETS,
    KEYS,
    Dataset,
    empty,
    raw_columns,
    require_names,
    row_failures,
)
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.market.frames import bars, frame

DAY = date(2018, 2, 1)


@pytest.mark.parametrize("dataset", DATASETS)
def test_payload_and_key_are_those_of_the_table(dataset: Dataset) -> None:
    table = TABLES[f"market.{dataset}"]
    assert tuple(table.key) == KEYS[dataset]
    assert list(table.columns) == list(CANONICAL[dataset])


@pytest.mark.parametrize("dataset", DATASETS)
def test_no_rows_break_no_check(dataset: Dataset) -> None:
    assert row_failures(empty(raw_columns(dataset)), dataset).is_empty()
    assert "event_time" not in raw_columns(dataset)


def test_failures_name_row_and_reason() -> None:
    rows = bars(3)
    rows[1] |= {"volume": -1.0}
    rows[2] |= {"split": 0.0, "dividend": -0.1}
    assert row_failures(frame("daily_bars", rows), "daily_bars").rows() == [
        (1, "negative_volume"),
        (2, "bad_split"),
        (2, "negative_dividend"),
    ]


RATE = {"series": "DFF", "session": DAY, "rate": 0.05, "is_constant": False}
RATIO = {"series": "total", "session": DAY, "put_volume": 1.0, "call_volume": 1.0, "ratio": 1.0}


@pytest.mark.parametrize(
    ("dataset", "row", "reason"),
    [
        ("rates", RATE | {"series": None}, "missing_key"),
        ("rates", RATE | {"session": None}, "missing_key"),
        ("rates", RATE | {"rate": None}, "missing_rate"),
        ("rates", RATE | {"rate": -0.06}, "rate_out_of_range"),
        ("put_call", RATIO | {"ratio": None}, "missing_ratio"),
        ("put_call", RATIO | {"ratio": 0.0}, "ratio_out_of_range"),
        ("put_call", RATIO | {"put_volume": -1.0}, "negative_volume"),
        ("put_call", RATIO | {"call_volume": math.inf}, "not_finite"),
    ],
)
def test_each_check_bites(dataset: Dataset, row: dict[str, Any], reason: str) -> None:
    found = row_failures(frame(dataset, [row]), dataset)
    assert reason in found["reason"].to_list()
    assert row_failures(frame(dataset, [RATE if dataset == "rates" else RATIO]), dataset).is_empty()


@pytest.mark.fault(36)
def test_a_difference_of_names_is_shown() -> None:
    with pytest.raises(SchemaDrift, match=r"x: missing \['close'\], new \['closed'\], renamed\?"):
        require_names(["open", "closed"], ["open", "close"], "x")
    require_names(["b", "a"], ["a", "b"], "x")


def test_an_empty_frame_has_the_types() -> None:
    assert empty(CANONICAL["daily_bars"]).schema == pl.Schema(CANONICAL["daily_bars"])
