"""Interest rates and dividends of a chain, from what was known; none is ever made up.

**Rates.** Each series is quoted in its own convention, and options discount continuously. With the
yield or rate y, the tenor t in years and P the price of 1 paid at t:

- ``DGS*`` (par yields on a bond-equivalent basis: U.S. Treasury, "Interest Rates: Frequently Asked
  Questions"): simple interest to half a year, ``P = 1 / (1 + y t)``, twice a year beyond,
  ``P = (1 + y / 2)^(-2 t)``. Par yields are taken for zero rates: at two years and a slope of one
  point a year that is 1 basis point.
- ``DTB*`` (bills on a discount basis: Federal Reserve, H.15): ``P = 1 - y d / 360`` over the bill's d
  days.
- ``SOFR``, ``DFF``, ``EFFR`` (overnight, simple, ACT/360: Federal Reserve Bank of New York):
  ``P = 1 / (1 + y / 360)`` over one day.
- a labelled constant: a year's effective rate, ``P = 1 / (1 + y)``.

The continuous rate is ``-ln(P) / t``. Between the tenors that are known it is interpolated linearly, and
before the first and after the last it is theirs; so each expiry has its own rate.

**Dividends.** Those of the year before are expected again a year later, on the same day as seen from the
month's third Friday (:func:`expected_dividends`): SPY goes ex on it, QQQ on the Monday after.
"""

from __future__ import annotations

import calendar
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import polars as pl

from spy_assets.sessions import is_session, next_session, previous_session

#: Series of the rate in order of preference, as in the features (dbt_project.yml).
RATE_SERIES: Final = ("DGS3MO", "DTB3", "DGS1MO", "SOFR", "DFF")
#: Tenors in years of the series that make the curve, one per tenor: those before take the place of
#: those after.
TENORS: Final[dict[str, float]] = {
    "SOFR": 1 / 365,
    "DFF": 1 / 365,
    "EFFR": 1 / 365,
    "DGS1MO": 1 / 12,
    "DGS3MO": 3 / 12,
    "DTB3": 91 / 365,
    "DGS6MO": 6 / 12,
    "DGS1": 1.0,
    "DGS2": 2.0,
    "DGS3": 3.0,
    "DGS5": 5.0,
    "DGS7": 7.0,
    "DGS10": 10.0,
    "DGS20": 20.0,
    "DGS30": 30.0,
}
_OVERNIGHT: Final = frozenset({"SOFR", "DFF", "EFFR"})
_DISCOUNT_DAYS: Final = {"DTB3": 91.0}
#: Two series nearer in tenor than this share are one tenor.
_SAME_TENOR: Final = 0.02
#: An observation that is older says nothing about the session (long weekends, late publication).
MAX_AGE_DAYS: Final = 10
#: Dividends of so many days make the yield.
TRAILING_DAYS: Final = 365
#: Dividends of so many days are expected again: a third Friday is up to a week later the next year.
EXPECTED_DAYS: Final = 380
#: Two dividends nearer than this are one, seen from two years. Monthly ones are four weeks apart.
_ONE_DIVIDEND: Final = timedelta(days=15)
#: For so many years dividends are expected.
EXPECTED_YEARS: Final = 3

#: Reasons for a missing carry, as `iv_status` of the contracts tells them.
NO_RATE: Final = "no_rate"
NO_DIVIDEND_YIELD: Final = "no_dividend_yield"


@dataclass(frozen=True, slots=True)
class Carry:
    """Continuous rate and yield, decimals per year; None where unknown, with what is told of them."""

    rate: float | None
    dividend_yield: float | None
    rate_series: str = ""
    #: Tenor in years and continuous rate, ascending.
    curve: tuple[tuple[float, float], ...] = ()
    #: Ex-date and dollars a share of each dividend expected, ascending; None where none are known.
    dividends: tuple[tuple[date, float], ...] | None = None

    @property
    def missing(self) -> str | None:
        """Why nothing can be valued, or None."""
        if self.rate is None:
            return NO_RATE
        return NO_DIVIDEND_YIELD if self.dividend_yield is None else None

    def rates(self, session: date, expiries: Iterable[date]) -> dict[date, float]:
        """The rate of each expiry, by the curve; the one rate where there is no curve."""
        if self.rate is None:
            return {}
        curve = self.curve or ((1.0, self.rate),)
        return {day: rate_at(curve, (day - session).days / 365.0) for day in expiries}


def known_carry(rates: pl.DataFrame, bars: pl.DataFrame, session: date) -> Carry:
    """The carry of a session from the rows that were known at its decision.

    Parameters
    ----------
    rates
        `series`, `session`, `rate`, `is_constant`.
    bars
        `session`, `close`, `dividend` of the underlying, raw.
    """
    rate, series = known_rate(rates, session)
    told = trailing_yield(bars, session)
    dividends = None if told is None else expected_dividends(bars, session)
    return Carry(rate, told, series, known_curve(rates, session), dividends)


def continuous_rate(series: str, quoted: float) -> float:
    """A series' rate (decimal per year, as quoted) continuously compounded; see the module's docstring.

    >>> [round(continuous_rate(name, 0.0433), 4) for name in ("DGS3MO", "DGS2", "DTB3", "SOFR")]
    [0.0431, 0.0428, 0.0441, 0.0439]
    """
    if series in _OVERNIGHT:
        return 365.0 * math.log1p(quoted / 360.0)
    if series in _DISCOUNT_DAYS:
        days = _DISCOUNT_DAYS[series]
        return -math.log1p(-quoted * days / 360.0) * 365.0 / days
    tenor = TENORS.get(series)
    if tenor is None:
        return math.log1p(quoted)
    if tenor <= 0.5:
        return math.log1p(quoted * tenor) / tenor
    return 2.0 * math.log1p(quoted / 2.0)


def _usable(rates: pl.DataFrame, session: date) -> pl.DataFrame:
    """Observations that count: none of the future, and old ones only of labelled constants."""
    oldest = session - timedelta(days=MAX_AGE_DAYS)
    return rates.filter(
        (pl.col("session") <= session)
        & (pl.col("is_constant").fill_null(False) | (pl.col("session") >= oldest))
        & pl.col("rate").is_not_null()
    ).sort("session")


def known_rate(
    rates: pl.DataFrame, session: date, series: Sequence[str] = RATE_SERIES
) -> tuple[float | None, str]:
    """The last rate of the preferred series, continuous, and the series' name.

    A labelled constant does not age; an observation counts for :data:`MAX_AGE_DAYS`.
    """
    usable = _usable(rates, session)
    others = sorted(set(usable.filter("is_constant")["series"]) - set(series))
    for name in (*series, *others):
        found = usable.filter(pl.col("series") == name)["rate"]
        if len(found):
            return continuous_rate(name, float(found[-1])), name
    return None, ""


def known_curve(rates: pl.DataFrame, session: date) -> tuple[tuple[float, float], ...]:
    """Tenors in years and continuous rates, ascending; empty where no tenor is known.

    The series are those of :data:`TENORS`, the last observation of each, as in :func:`known_rate`.
    """
    last = dict(
        _usable(rates, session)
        .filter(~pl.col("is_constant").fill_null(False))
        .select("series", "rate")
        .iter_rows()
    )
    curve: dict[float, float] = {}
    for name, tenor in TENORS.items():
        taken = any(abs(tenor / other - 1.0) < _SAME_TENOR for other in curve)
        if name in last and not taken:
            curve[tenor] = continuous_rate(name, float(last[name]))
    return tuple(sorted(curve.items()))


def rate_at(curve: Sequence[tuple[float, float]], years: float) -> float:
    """The rate for a time, linear between the tenors and flat beyond them.

    >>> rate_at([(0.25, 0.04), (0.75, 0.05)], 0.5)
    0.045
    """
    for (early, low), (late, high) in itertools.pairwise(curve):
        if years < late:
            return low + (high - low) * max(years - early, 0.0) / (late - early)
    return curve[-1][1]


def trailing_yield(bars: pl.DataFrame, session: date) -> float | None:
    """Dividends of the year before, over the last close; None without a year of bars.

    A dividend that goes ex on the session itself counts: it was announced long before.
    """
    start = session - timedelta(days=TRAILING_DAYS)
    known = bars.filter(pl.col("session") <= session).sort("session")
    recent = known.filter(pl.col("session") > start)
    if recent.is_empty() or recent["dividend"].null_count() or recent["close"].null_count():
        return None
    first, last = known["session"][0], known["session"][-1]
    slack = timedelta(days=MAX_AGE_DAYS)
    close = float(recent["close"][-1])
    if first > start + slack or last < session - slack or not close > 0:
        return None
    return math.log1p(float(recent["dividend"].sum()) / close)


def expected_dividends(bars: pl.DataFrame, session: date) -> tuple[tuple[date, float], ...]:
    """Ex-dates after the session and dollars a share: the last year's again, :data:`EXPECTED_YEARS` on.

    ``bars`` (`session`, `dividend`) are those known at the decision. A dividend that has been paid in
    this year is not expected a second time. Amounts are as they were: no growth is guessed.
    """
    since = session - timedelta(days=EXPECTED_DAYS)
    paid = (
        bars.filter(pl.col("session").is_between(since, session, closed="right"))
        .filter(pl.col("dividend") > 0)
        .select("session", "dividend")
        .sort("session", descending=True)
        .rows()
    )
    taken = [day for day, _ in paid]
    found = []
    # The latest first: where two of the past stand for one of the future, the newer counts.
    for day, cash in paid:
        for later in range(1, EXPECTED_YEARS + 1):
            again = a_year_later(day, later)
            if again > session and all(abs(again - other) > _ONE_DIVIDEND for other in taken):
                taken.append(again)
                found.append((again, float(cash)))
    return tuple(sorted(found))


def a_year_later(ex_date: date, years: int = 1) -> date:
    """The session as far from its month's third Friday, ``years`` later.

    An ex-date that a holiday moved is counted from where it would have been; one that meets a holiday
    moves toward the third Friday's week: on or before the Friday to the session before, else on.

    >>> a_year_later(date(2025, 9, 19)), a_year_later(date(2023, 9, 18)), a_year_later(date(2026, 6, 18))
    (datetime.date(2026, 9, 18), datetime.date(2024, 9, 23), datetime.date(2027, 6, 17))
    """
    away = (_meant(ex_date) - _third_friday(ex_date.year, ex_date.month)).days
    day = _third_friday(ex_date.year + years, ex_date.month) + timedelta(days=away)
    if is_session(day):
        return day
    return previous_session(day) if away <= 0 else next_session(day)


def _third_friday(year: int, month: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(calendar.FRIDAY - first.weekday()) % 7 + 14)


def _meant(ex_date: date) -> date:
    """The day that an ex-date would have been without a holiday right beside it."""
    toward = 1 if ex_date < _third_friday(ex_date.year, ex_date.month) else -1
    beside = ex_date + timedelta(days=toward)
    closed = beside.weekday() < calendar.SATURDAY and not is_session(beside)
    return beside if closed else ex_date
