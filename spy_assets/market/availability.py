"""When a row could first be known: nominal publication times.

    daily bar            close of the session + 15 minutes
    crypto daily bar     end of the UTC day + 15 minutes
    volatility index     close of the session + 30 minutes (VIX is calculated until 16:15 New York)
    put/call volumes     open of the next session (published in the night)
    interest rate        16:15 New York on the next session that is no bond holiday (the H.15 release)
    minute bar           end of the bar

A value that is revised later gets its ingest time instead; the warehouse sees to that.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from spy_assets.errors import DataError
from spy_assets.market.schemas import BAR_MINUTES, TIMESTAMP, Dataset
from spy_assets.sessions import (
    NEW_YORK,
    is_session,
    next_session,
    session_close,
    session_open,
    sessions_between,
)

DAILY_BAR_LAG = timedelta(minutes=15)
VOLATILITY_LAG = timedelta(minutes=30)
#: Time in New York of the Federal Reserve's daily H.15 release.
RATE_RELEASE = time(16, 15)


def is_crypto(symbol: str) -> bool:
    """Whether the symbol trades round the clock, so that its session is a UTC day.

    >>> is_crypto("BTC-USD"), is_crypto("SPY")
    (True, False)
    """
    return symbol.endswith("-USD")


def is_bond_holiday(day: date) -> bool:
    """Whether the bond market rests on a day on which stocks trade, so that no rate is published.

    Columbus Day (second Monday of October), Veterans Day (11 November, or the Monday after a Sunday),
    and Martin Luther King Day (third Monday of January) before the exchange began to close on it in
    1998. The Treasury's yields of 1993-2024 lack exactly these sessions.

    >>> is_bond_holiday(date(2024, 10, 14)), is_bond_holiday(date(2018, 11, 12))
    (True, True)
    """
    monday = day.weekday() == 0
    if day.month == 10:
        return monday and 8 <= day.day <= 14
    if day.month == 11:
        return day.day == 11 or (monday and day.day == 12)
    return day.month == 1 and monday and 15 <= day.day <= 21


def release_session(day: date) -> date:
    """The session on which the rate of `day` is published: the next one with a bond market.

    >>> release_session(date(2018, 10, 5))    # Monday the 8th was Columbus Day
    datetime.date(2018, 10, 9)
    """
    following = next_session(day)
    while is_bond_holiday(following):
        following = next_session(following)
    return following


def days_of(dataset: Dataset, key: str, start: date, end: date) -> list[date]:
    """Days from `start` to `end`, both included, for which a row of `key` exists in the end.

    Sessions; every day for crypto; sessions but for bond holidays for rates.
    """
    if start > end:
        return []
    if dataset == "daily_bars" and is_crypto(key):
        return [start + timedelta(days=n) for n in range((end - start).days + 1)]
    days = sessions_between(start, end)
    if dataset == "rates":
        return [day for day in days if not is_bond_holiday(day)]
    return days


def utc_day_end(day: date) -> datetime:
    """The end of a UTC day, which is the event time of a daily crypto bar."""
    return datetime.combine(day + timedelta(days=1), time(0), UTC)


def _observation_end(day: date) -> datetime:
    if is_session(day):
        return session_close(day)
    return datetime.combine(day, time(16), NEW_YORK).astimezone(UTC)


def event_time(dataset: Dataset, day: date, symbol: str = "") -> datetime:
    """The moment that the row of `day` describes, UTC; for minute bars use the bar's end.

    Raises
    ------
    ConfigError
        If the data set has one row per session and `day` is not a session.
    """
    if dataset == "daily_bars" and is_crypto(symbol):
        return utc_day_end(day)
    if dataset == "rates":
        return _observation_end(day)
    return session_close(day)


def available_at(dataset: Dataset, day: date, symbol: str = "") -> datetime:
    """The moment from which the row of `day` could be known, UTC; not for minute bars.

    >>> available_at("daily_bars", date(2018, 11, 23)).isoformat()
    '2018-11-23T18:15:00+00:00'
    """
    if dataset == "daily_bars":
        return event_time(dataset, day, symbol) + DAILY_BAR_LAG
    if dataset == "volatility":
        return session_close(day) + VOLATILITY_LAG
    if dataset == "put_call":
        return session_open(next_session(day))
    if dataset == "rates":
        return datetime.combine(release_session(day), RATE_RELEASE, NEW_YORK).astimezone(UTC)
    raise DataError(
        f"{dataset} rows have no availability by day ({day})",
        hint="a minute bar is available at its end: use with_availability",
    )


_DayTime = Callable[[Dataset, date, str], datetime]


def _by_day(frame: pl.DataFrame, dataset: Dataset, column: str, moment: _DayTime) -> pl.DataFrame:
    """Add a column that depends on the session and on whether the symbol is crypto."""
    crypto = pl.lit(False)
    if dataset == "daily_bars":
        crypto = pl.col("symbol").str.ends_with("-USD")
    keyed = frame.with_columns(crypto.alias("_crypto"))
    days = keyed.select("session", "_crypto").unique()
    moments = [moment(dataset, day, "-USD" if coin else "") for day, coin in days.iter_rows()]
    stamps = days.with_columns(pl.Series(column, moments, dtype=TIMESTAMP))
    joined = keyed.join(stamps, on=["session", "_crypto"], how="left", maintain_order="left")
    return joined.drop("_crypto")


def with_event_time(frame: pl.DataFrame, dataset: Dataset, *, minutes: int = 1) -> pl.DataFrame:
    """Add `event_time`; every session in the frame must be one. Bars last `minutes`."""
    if dataset in BAR_MINUTES:
        end = (pl.col("bar_start") + pl.duration(minutes=minutes)).cast(TIMESTAMP)
        return frame.with_columns(end.alias("event_time"))
    return _by_day(frame, dataset, "event_time", event_time)


def with_availability(frame: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """Add `available_at` to a frame that has `session` and `event_time`."""
    if dataset in BAR_MINUTES:
        return frame.with_columns(pl.col("event_time").alias("available_at"))
    return _by_day(frame, dataset, "available_at", available_at)
