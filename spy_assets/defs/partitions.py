"""Partitions: years for history of small rows, sessions for minutes, signals, models.

Chains have two dimensions, session and symbol, as in ``2018-12-31|SPY``.

A session key D appears at 22:00 UTC of D (17:00 EST, 18:00 EDT), which is when its decision falls due:
the days of a zone two hours east of UTC end then. Its window is the 24 hours before. Weekends and
holidays are excluded, so the last key is always the last session that closed: early on half days,
on Saturdays, and never the coming one. New York time would list a session only on the next day,
and ``end_offset=1`` would list the coming session on closed days, which is a look-ahead.

Years use the same zone, so that every session window lies in exactly one year.

A walk-forward has a partition a fold, which is no time window of a fixed length: training, purge and
embargo lie before its key, the test begins with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import dagster as dg

from spy_assets import clock, sessions
from spy_assets.defs import walk_windows
from spy_assets.features.contracts import get_contract
from spy_assets.settings import Settings, load_settings, require_past

#: POSIX sign: two hours EAST of UTC.
PARTITION_ZONE = "Etc/GMT-2"
WEEKENDS = "0 0 * * 6,0"
#: Dagster's sign between the dimensions of a key.
_BETWEEN = "|"
#: Sessions to the next partition that the same run still makes.
_BRIDGED = 5


def year_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """One partition a calendar year; the running year is listed while it runs."""
    end = settings.last_day
    return dg.TimeWindowPartitionsDefinition(
        start=datetime(settings.first_year, 1, 1),
        end=None if end is None else datetime(end.year + 1, 1, 1),
        cron_schedule="0 0 1 1 *",
        timezone=PARTITION_ZONE,
        fmt="%Y",
        end_offset=1 if end is None else 0,
    )


def _closed_weekdays(first: date, last: date) -> tuple[datetime, ...]:
    zone = ZoneInfo(PARTITION_ZONE)
    opened = frozenset(sessions.sessions_between(first, last))
    days = (first + timedelta(days=i) for i in range((last - first).days + 1))
    return tuple(
        datetime(day.year, day.month, day.day, tzinfo=zone)
        for day in days
        if day.weekday() < 5 and day not in opened
    )


def session_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """One partition an XNYS session, listed from its decision time on."""
    end = settings.last_day
    first = date(settings.first_year, 1, 1)
    return dg.TimeWindowPartitionsDefinition(
        start=datetime(first.year, 1, 1),
        end=None if end is None else datetime(end.year + 1, 1, 1),
        cron_schedule="0 0 * * *",
        timezone=PARTITION_ZONE,
        fmt="%Y-%m-%d",
        exclusions=[WEEKENDS, *_closed_weekdays(first, end or sessions.CALENDAR_END)],
    )


def chain_partitions(settings: Settings) -> dg.MultiPartitionsDefinition:
    """One partition a session and underlying, sessions first."""
    return dg.MultiPartitionsDefinition(
        {
            "session": session_partitions(settings),
            "symbol": dg.StaticPartitionsDefinition(list(settings.chain_symbols)),
        }
    )


class ChainPart(NamedTuple):
    """What a partition of chains is of."""

    session: date
    symbol: str

    @classmethod
    def of(cls, key: str) -> ChainPart:
        """The reading of a key.

        >>> ChainPart.of("2018-12-31|SPY")
        ChainPart(session=datetime.date(2018, 12, 31), symbol='SPY')
        """
        session, symbol = key.split(_BETWEEN)
        return cls(date.fromisoformat(session), symbol)

    @staticmethod
    def is_key(key: str) -> bool:
        """Whether a partition's key is of chains."""
        return _BETWEEN in key

    @property
    def key(self) -> str:
        """The partition's key."""
        return f"{self.session}{_BETWEEN}{self.symbol}"

    def __str__(self) -> str:
        return f"{self.symbol} {self.session}"


def span_of(key: str) -> str:
    """The year or session of any key.

    >>> span_of("2018"), span_of("2018-12-31|SPY")
    ('2018', '2018-12-31')
    """
    return key.partition(_BETWEEN)[0]


def chain_ranges(keys: Iterable[str]) -> list[tuple[str, str]]:
    """First and last key of the runs that make some partitions of chains: sessions of one symbol.

    Sessions in between are asked for again where they are few, because a run costs more.
    """
    parts = sorted(map(ChainPart.of, keys), key=lambda part: (part.symbol, part.session))
    ranges: list[tuple[ChainPart, ChainPart]] = []
    for part in parts:
        if ranges and _near(ranges[-1][1], part):
            ranges[-1] = (ranges[-1][0], part)
        else:
            ranges.append((part, part))
    return [(first.key, last.key) for first, last in ranges]


def _near(last: ChainPart, part: ChainPart) -> bool:
    far = sessions.next_session(last.session, _BRIDGED)
    return last.symbol == part.symbol and part.session <= far


def window_partitions(settings: Settings, now: datetime) -> dg.StaticPartitionsDefinition:
    """One partition a fold of the walk-forward, by the first session of its test.

    Folds end before the final period. On a live source those are listed whose test was over when the
    code location was loaded: a new one comes with the next reload, once a quarter.
    """
    return dg.StaticPartitionsDefinition(
        [fold.key for fold in walk_windows.folds_of(settings, now)]
    )


def years_of(first: date, last: date) -> list[str]:
    """Keys of the year partitions that hold the days from ``first`` to ``last``."""
    return [str(year) for year in range(first.year, last.year + 1)]


def bounds_of_years(keys: list[str]) -> tuple[date, date]:
    """First and last day of a run of year keys."""
    return date(int(min(keys)), 1, 1), date(int(max(keys)), 12, 31)


#: Reading the settings also closes the days of SPY_CALENDAR_OVERRIDES, which then have no partition.
_SETTINGS = load_settings()
require_past(_SETTINGS, clock.utc_now())  # else a daemon would have no partition, and say nothing
HISTORICAL = _SETTINGS.historical
CHAIN_SOURCE = _SETTINGS.chain_source
#: Whether models are trained on, and signals made from, option chains.
OBSERVES_CHAINS = get_contract(_SETTINGS.observation).needs_chain

YEARS = year_partitions(_SETTINGS)
SESSIONS = session_partitions(_SETTINGS)
CHAINS = chain_partitions(_SETTINGS)
#: What models and signals are of.
SYMBOL = _SETTINGS.symbol
WINDOWS = window_partitions(_SETTINGS, clock.utc_now())


def trained_version(base: str, settings: Settings = _SETTINGS) -> str:
    """Code version of what is trained: another observation or mandate is another model."""
    own = (settings.train.actions, settings.risk.max_positions)
    chain = "-chain" if get_contract(settings.observation).needs_chain else ""
    return base + chain + ("" if own == ("daily_7", 1) else f"-{own[0]}-{own[1]}")
