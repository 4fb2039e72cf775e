"""Interest rate and dividend yield of a chain, from what was known; none is ever made up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import polars as pl

#: Series of the rate in order of preference, as in the features (dbt_project.yml).
RATE_SERIES: Final = ("DGS3MO", "DTB3", "DGS1MO", "SOFR", "DFF")
#: An observation that is older says nothing about the session (long weekends, late publication).
MAX_AGE_DAYS: Final = 10
#: Dividends of so many days make the yield.
TRAILING_DAYS: Final = 365

#: Reasons for a missing carry, as `iv_status` of the contracts tells them.
NO_RATE: Final = "no_rate"
NO_DIVIDEND_YIELD: Final = "no_dividend_yield"


@dataclass(frozen=True, slots=True)
class Carry:
    """Continuous rate and yield, decimals per year; None where unknown, with what is told of them."""

    rate: float | None
    dividend_yield: float | None
    rate_series: str = ""

    @property
    def missing(self) -> str | None:
        """Why nothing can be valued, or None."""
        if self.rate is None:
            return NO_RATE
        return NO_DIVIDEND_YIELD if self.dividend_yield is None else None


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
    return Carry(rate, trailing_yield(bars, session), series)


def known_rate(
    rates: pl.DataFrame, session: date, series: Sequence[str] = RATE_SERIES
) -> tuple[float | None, str]:
    """The last rate of the preferred series, continuous, and the series' name.

    A labelled constant does not age; an observation counts for :data:`MAX_AGE_DAYS`.
    """
    oldest = session - timedelta(days=MAX_AGE_DAYS)
    usable = rates.filter(
        (pl.col("session") <= session)
        & (pl.col("is_constant").fill_null(False) | (pl.col("session") >= oldest))
        & pl.col("rate").is_not_null()
    ).sort("session")
    others = sorted(set(usable.filter("is_constant")["series"]) - set(series))
    for name in (*series, *others):
        found = usable.filter(pl.col("series") == name)["rate"]
        if len(found):
            return math.log1p(float(found[-1])), name
    return None, ""


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
