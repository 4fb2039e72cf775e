"""Two sources against each other."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from spy_assets.errors import DataError
from spy_assets.market.cleaning import Cleaned, clean_daily_bars, clean_put_call
from spy_assets.market.crosscheck import compare, hold_against, judge_jumps
from spy_assets_tests.market.frames import AS_OF, bars, frame

KEY = ["symbol", "session"]


def jumping() -> list[dict[str, Any]]:
    rows = bars(60)
    rows[50] |= {"close": 120.0, "high": 121.0}
    return rows


def cleaned() -> Cleaned:
    return clean_daily_bars(frame("daily_bars", jumping()), as_of=AS_OF)


def second(close: float) -> pl.DataFrame:
    rows = jumping()
    rows[50] |= {"close": close}
    return frame("daily_bars", rows)


def test_equal_sources_agree() -> None:
    raw = frame("daily_bars", bars())
    assert compare(raw, raw, key=KEY, columns=["close", "volume"], rtol=0.0).is_empty()


def test_differences_beyond_the_tolerance_come_worst_first() -> None:
    left, right = bars(3), bars(3)
    right[0]["close"], right[2]["close"] = left[0]["close"] * 1.1, left[2]["close"] * 1.001
    right[1]["close"] *= 1.3
    got = compare(
        frame("daily_bars", left), frame("daily_bars", right), key=KEY, columns=["close"], rtol=0.01
    )
    assert got["session"].to_list() == [left[1]["session"], left[0]["session"]]
    assert got["column"].unique().to_list() == ["close"]


def test_keys_of_one_side_are_not_compared() -> None:
    got = compare(
        frame("daily_bars", bars(5)),
        frame("daily_bars", bars(2)),
        key=KEY,
        columns=["close"],
        rtol=0.0,
    )
    assert got.is_empty()


def test_unclean_frames_are_refused() -> None:
    twice = frame("daily_bars", bars(2) + bars(1))
    with pytest.raises(DataError, match="the right source has two rows"):
        compare(frame("daily_bars", bars(2)), twice, key=KEY, columns=["close"], rtol=0.0)


@pytest.mark.fault(19)
@pytest.mark.parametrize(
    ("close", "verdict"), [(120.2, "confirmed"), (100.2, "contradicted"), (None, "unconfirmed")]
)
def test_a_second_source_judges_jumps(close: float | None, verdict: str) -> None:
    other = second(close or 1.0)
    if close is None:
        other = other.head(50)
    got = judge_jumps(cleaned().frame, other)
    assert got["verdict"][0] == verdict


@pytest.mark.fault(19)
def test_a_contradicted_jump_is_withheld() -> None:
    got = hold_against(cleaned(), second(100.2), "daily_bars")
    day = jumping()[50]["session"]
    assert day not in got.frame["session"].to_list()
    assert got.frame.height == 59
    told = got.quarantined.filter(pl.col("reason") == "jump_contradicted")
    assert told.select("session", "severity").rows() == [(day, "error")]


@pytest.mark.fault(19)
def test_a_confirmed_jump_is_published() -> None:
    got = hold_against(cleaned(), second(120.0), "daily_bars")
    assert got.frame.height == 60
    assert got.notes == ()


def test_other_disagreements_are_warnings() -> None:
    row = {"series": "total", "session": date(2018, 2, 1), "put_volume": None, "call_volume": None}
    mine = clean_put_call(frame("put_call", [row | {"ratio": 1.15}]), as_of=AS_OF)
    got = hold_against(mine, frame("put_call", [row | {"ratio": 1.0}]), "put_call")
    assert got.frame["ratio"].to_list() == [1.15]
    assert got.quarantined.select("symbol", "reason", "severity").rows() == [
        ("total", "sources_disagree", "warn")
    ]
    assert got.notes == ("1 rows differ from the second source",)
