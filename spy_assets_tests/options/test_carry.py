"""Rate and dividend yield of a chain: from what was known, or missing with a reason."""

from __future__ import annotations

import math
from datetime import date, timedelta

import polars as pl
import pytest

from spy_assets.options.carry import known_carry, known_rate, trailing_yield

DAY = date(2018, 6, 12)
RATES = {"series": pl.String, "session": pl.Date, "rate": pl.Float64, "is_constant": pl.Boolean}


def rates(*rows: tuple[str, date, float, bool]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=RATES, orient="row")


def bars(days: int = 370, dividends: float = 4.0) -> pl.DataFrame:
    first = DAY - timedelta(days=days)
    dates = [first + timedelta(days=i) for i in range(days + 1)]
    paid = [dividends if day == DAY - timedelta(days=90) else 0.0 for day in dates]
    return pl.DataFrame({"session": dates, "close": 200.0, "dividend": paid})


def test_the_preferred_series_counts_while_it_is_recent() -> None:
    old, new = DAY - timedelta(days=11), DAY - timedelta(days=1)
    assert known_rate(rates(("DFF", new, 0.01, False), ("DGS3MO", new, 0.02, False)), DAY) == (
        math.log1p(0.02),
        "DGS3MO",
    )
    found = known_rate(rates(("DFF", new, 0.01, False), ("DGS3MO", old, 0.02, False)), DAY)
    assert found == (math.log1p(0.01), "DFF")


def test_a_rate_of_the_future_or_too_old_is_none() -> None:
    later, old = DAY + timedelta(days=1), DAY - timedelta(days=11)
    assert known_rate(rates(("DFF", later, 0.01, False)), DAY) == (None, "")
    assert known_rate(rates(("DFF", old, 0.01, False)), DAY) == (None, "")


def test_a_labelled_constant_does_not_age() -> None:
    old = date(1999, 1, 4)
    assert known_rate(rates(("CONSTANT", old, 0.02, True)), DAY) == (math.log1p(0.02), "CONSTANT")


def test_the_yield_is_the_years_dividends_over_the_last_close() -> None:
    assert trailing_yield(bars(), DAY) == pytest.approx(math.log1p(0.02))
    assert trailing_yield(bars(dividends=0.0), DAY) == 0.0


@pytest.mark.parametrize(
    "known",
    [
        bars(days=300),
        bars().filter(pl.col("session") < DAY - timedelta(days=11)),
        bars().with_columns(dividend=pl.lit(None, pl.Float64)),
        bars().clear(),
    ],
    ids=["less than a year", "bars that ended", "dividends unknown", "no bars"],
)
def test_without_a_year_of_bars_there_is_no_yield(known: pl.DataFrame) -> None:
    assert trailing_yield(known, DAY) is None


def test_what_is_missing_is_named() -> None:
    some = rates(("DFF", DAY, 0.01, False))
    assert known_carry(rates(), bars(), DAY).missing == "no_rate"
    assert known_carry(some, bars(days=30), DAY).missing == "no_dividend_yield"
    assert known_carry(some, bars(), DAY).missing is None
