"""Rate and dividend yield of a chain: from what was known, or missing with a reason."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from spy_assets.options.carry import (
    a_year_later,
    continuous_rate,
    expected_dividends,
    known_carry,
    known_curve,
    known_rate,
    trailing_yield,
)

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
        4.0 * math.log1p(0.005),
        "DGS3MO",
    )
    found = known_rate(rates(("DFF", new, 0.01, False), ("DGS3MO", old, 0.02, False)), DAY)
    assert found == (365.0 * math.log1p(0.01 / 360.0), "DFF")


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


@pytest.mark.parametrize(
    ("series", "quoted", "continuous"),
    [
        # 100 in 91 days for 98.905472 today, and so on: -ln(price) over the time.
        ("DTB3", 0.0433, 0.044144),
        ("DGS3MO", 0.0433, 0.043068),
        ("DGS6MO", 0.0433, 0.042838),
        ("DGS2", 0.0433, 0.042838),
        ("SOFR", 0.0433, 0.043899),
        ("DFF", 0.0433, 0.043899),
        ("CONSTANT", 0.02, 0.019803),
    ],
)
def test_each_series_is_compounded_by_its_own_convention(
    series: str, quoted: float, continuous: float
) -> None:
    assert continuous_rate(series, quoted) == pytest.approx(continuous, abs=2e-6)


def test_each_expiry_has_the_rate_of_its_tenor() -> None:
    names = {"SOFR": 0.043, "DGS1MO": 0.042, "DGS3MO": 0.041, "DGS1": 0.038, "DGS2": 0.036}
    known = rates(*((name, DAY, rate, False) for name, rate in names.items()))
    carry = known_carry(known, bars(), DAY)
    days = (1, 30, 91, 228, 365, 730, 2000)
    found = carry.rates(DAY, [DAY + timedelta(days=n) for n in days])
    got = dict(zip(days, found.values(), strict=True))
    assert list(got.values()) == sorted(got.values(), reverse=True)
    assert got[1] == continuous_rate("SOFR", 0.043)
    assert got[365] == continuous_rate("DGS1", 0.038)
    assert got[2000] == continuous_rate("DGS2", 0.036)
    middle = (continuous_rate("DGS3MO", 0.041) + continuous_rate("DGS1", 0.038)) / 2.0
    assert got[228] == pytest.approx(middle, abs=1e-5)


def test_a_tenor_has_one_series_and_no_old_one() -> None:
    known = rates(
        ("DTB3", DAY, 0.04, False), ("DGS3MO", DAY, 0.041, False), ("DFF", DAY, 0.042, False),
        ("DGS1", DAY - timedelta(days=11), 0.05, False),
        ("DGS2", DAY + timedelta(days=1), 0.05, False),
    )  # fmt: skip
    assert known_curve(known, DAY) == (
        (1 / 365, continuous_rate("DFF", 0.042)),
        (0.25, continuous_rate("DGS3MO", 0.041)),
    )


def test_one_rate_serves_every_expiry() -> None:
    carry = known_carry(rates(("CONSTANT", date(1999, 1, 4), 0.02, True)), bars(), DAY)
    days = [DAY + timedelta(days=n) for n in (1, 400)]
    assert carry.rates(DAY, days) == dict.fromkeys(days, math.log1p(0.02))
    assert known_carry(rates(), bars(), DAY).rates(DAY, days) == {}


def paid(*dividends: tuple[date, float]) -> pl.DataFrame:
    return pl.DataFrame(
        dividends, schema={"session": pl.Date, "dividend": pl.Float64}, orient="row"
    )


QUARTERS = paid(
    (date(2023, 9, 15), 1.583), (date(2023, 12, 15), 1.906), (date(2024, 3, 15), 1.595),
    (date(2024, 6, 21), 1.759),
)  # fmt: skip


def test_the_years_dividends_are_expected_again() -> None:
    # Four days before, the third Friday of a year ago is more than a year away.
    found = expected_dividends(QUARTERS, date(2024, 9, 16))
    assert found[:5] == (
        (date(2024, 9, 20), 1.583), (date(2024, 12, 20), 1.906), (date(2025, 3, 21), 1.595),
        (date(2025, 6, 20), 1.759), (date(2025, 9, 19), 1.583),
    )  # fmt: skip
    assert len(found) == 12


@pytest.mark.parametrize("late", [date(2024, 9, 20), date(2024, 9, 19), date(2024, 9, 24)])
def test_what_is_paid_is_not_expected_again(late: date) -> None:
    known = pl.concat([QUARTERS, paid((late, 1.746))])
    found = dict(expected_dividends(known, max(late, date(2024, 9, 20))))
    assert min(found) == date(2024, 12, 20)
    assert found[a_year_later(late)] == 1.746
    assert len(found) == 12


def test_the_future_tells_no_dividends() -> None:
    later = paid((date(2024, 9, 20), 9.9))
    session = date(2024, 9, 16)
    assert expected_dividends(pl.concat([QUARTERS, later]), session) == expected_dividends(
        QUARTERS, session
    )


def test_ex_dates_follow_the_third_friday() -> None:
    assert a_year_later(date(2025, 9, 19)) == date(2026, 9, 18)
    assert a_year_later(date(2007, 3, 16)) == date(2008, 3, 20)  # Good Friday
    assert a_year_later(date(2008, 3, 20)) == date(2009, 3, 20)
    assert a_year_later(date(2022, 6, 21)) == date(2023, 6, 20)  # QQQ, after Juneteenth
    assert a_year_later(date(2023, 9, 18)) == date(2024, 9, 23)


def test_real_ex_dates_were_expected(shared_data: Path) -> None:
    told = pl.read_parquet(shared_data / "dividends" / "SPY.parquet")["ex_date"].to_list()
    quarterly = [day for day in told if day.year >= 2005]
    missed = [day for day in quarterly if day.year < 2024 and a_year_later(day) not in told]
    assert missed == []


def test_without_a_yield_no_dividends_are_expected() -> None:
    some = rates(("DFF", DAY, 0.01, False))
    assert known_carry(some, bars(days=30), DAY).dividends is None
    assert known_carry(some, bars(dividends=0.0), DAY).dividends == ()
    assert known_carry(some, bars(), DAY).dividends
