"""The XNYS calendar: sessions, half days, bars due, trading-time arithmetic, decision times.

Two committed tables, ``xnys_holidays.csv`` and ``xnys_early_closes.csv``, hold every weekday on which
the New York Stock Exchange does not open, and every session that closes early, 1990 to 2045. They are
written from the `exchange_calendars` package by ``python -m spy_assets.sessions`` and a test holds
them equal to it. Reading two small files instead of importing that package (and pandas with it)
keeps the Dagster code location light.

Unscheduled closures that the package does not know yet are added with :func:`install_overrides`, which
reading the settings does.

All times are timezone-aware UTC; rules are New York time. Nothing here reads a clock.
"""

from __future__ import annotations

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from spy_assets.errors import ConfigError, NaiveTimestamp

NEW_YORK = ZoneInfo("America/New_York")
CALENDAR_START = date(1990, 1, 1)
CALENDAR_END = date(2045, 12, 31)
OPEN = time(9, 30)
CLOSE = time(16, 0)
#: Hour (UTC) at which a session's decision falls due: 17:00 in winter and 18:00 in summer in New
#: York, after every half or full day has closed. Equal to the moment at which Dagster lists the
#: partition of the session (see ``defs/partitions.py``).
DECISION_HOUR_UTC = 22
#: The width of one override: ``None`` closes the day, a time closes it early.
Override = time | None

_HERE = Path(__file__).parent


def _read_tables() -> tuple[frozenset[date], dict[date, time]]:
    with (_HERE / "xnys_holidays.csv").open() as file:
        holidays = frozenset(date.fromisoformat(row["date"]) for row in csv.DictReader(file))
    with (_HERE / "xnys_early_closes.csv").open() as file:
        early = {
            date.fromisoformat(row["date"]): time.fromisoformat(row["close"])
            for row in csv.DictReader(file)
        }
    return holidays, early


class _Calendar:
    """Sorted session days with their closing times."""

    def __init__(self, holidays: frozenset[date], early: Mapping[date, time]) -> None:
        self.early = dict(early)
        days = (CALENDAR_END - CALENDAR_START).days + 1
        first = CALENDAR_START.toordinal()
        self.days = [
            day
            for day in map(date.fromordinal, range(first, first + days))
            if day.weekday() < 5 and day not in holidays
        ]
        self.known = frozenset(self.days)


_HOLIDAYS, _EARLY = _read_tables()
_overrides: dict[date, Override] = {}
_calendar = _Calendar(_HOLIDAYS, _EARLY)


def install_overrides(overrides: Mapping[date, Override]) -> None:
    """Replace the set of unscheduled closures (``None``) and early closes (a New York time).

    Earlier overrides are dropped, so that the call is idempotent. ``load_settings`` calls it with the
    table that ``SPY_CALENDAR_OVERRIDES`` names.
    """
    global _calendar, _overrides
    if overrides == _overrides:
        return
    _overrides = dict(overrides)
    closed = {day for day, close in overrides.items() if close is None}
    early = {day: close for day, close in overrides.items() if close is not None}
    _calendar = _Calendar(_HOLIDAYS | closed, _EARLY | early)
    for cached in (session_open, session_close):
        cached.cache_clear()


def read_overrides(path: Path) -> dict[date, Override]:
    """Read a table of overrides: CSV with the columns ``date`` and ``close`` (HH:MM or empty).

    Raises
    ------
    ConfigError
        If the file cannot be read or a row is not of that form; the row is named.
    """
    try:
        with path.open() as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError(
            f"calendar overrides {str(path)!r} cannot be read: {error.strerror}",
            hint="point SPY_CALENDAR_OVERRIDES at a CSV file with the columns date,close",
        ) from error
    overrides: dict[date, Override] = {}
    for row in rows:
        try:
            close = (row.get("close") or "").strip()
            overrides[date.fromisoformat(row["date"])] = (
                time.fromisoformat(close) if close else None
            )
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"calendar overrides {str(path)!r}: bad row {row}",
                hint="each row is date,close; close is HH:MM, or empty for a closed day",
            ) from error
    return overrides


def _require_range(day: date) -> None:
    if not CALENDAR_START <= day <= CALENDAR_END:
        raise ConfigError(
            f"{day} is outside the calendar, which covers {CALENDAR_START} to {CALENDAR_END}",
            hint="ask for a day in that range",
        )


def _require_session(day: date) -> None:
    _require_range(day)
    if day not in _calendar.known:
        raise ConfigError(
            f"{day} ({day:%A}) is not a session of XNYS",
            hint=f"the next one is {next_session(day)}",
        )


def require_aware(moment: datetime) -> datetime:
    """Return ``moment`` in UTC; a naive one is refused with :class:`NaiveTimestamp`."""
    if moment.tzinfo is None:
        raise NaiveTimestamp(
            f"{moment.isoformat()} has no time zone",
            hint="give every timestamp a zone, for instance datetime(..., tzinfo=UTC)",
        )
    return moment.astimezone(UTC)


def is_session(day: date) -> bool:
    """Whether XNYS opens on ``day``."""
    return day in _calendar.known


def sessions_between(start: date, end: date) -> list[date]:
    """All sessions from ``start`` to ``end``, both included, in order.

    >>> sessions_between(date(2018, 11, 21), date(2018, 11, 26))
    [datetime.date(2018, 11, 21), datetime.date(2018, 11, 23), datetime.date(2018, 11, 26)]
    """
    days = _calendar.days
    return days[bisect_left(days, start) : bisect_right(days, end)]


def next_session(day: date, n: int = 1) -> date:
    """The ``n``-th session after ``day``, which need not be a session itself.

    >>> next_session(date(2018, 12, 24))
    datetime.date(2018, 12, 26)
    """
    return _offset(bisect_right(_calendar.days, day) + n - 1, day)


def previous_session(day: date, n: int = 1) -> date:
    """The ``n``-th session before ``day``, which need not be a session itself."""
    return _offset(bisect_left(_calendar.days, day) - n, day)


def _offset(index: int, day: date) -> date:
    if not 0 <= index < len(_calendar.days):
        raise ConfigError(
            f"the session counted from {day} is outside {CALENDAR_START} to {CALENDAR_END}",
            hint="ask for a day in that range",
        )
    return _calendar.days[index]


def sessions_apart(start: date, end: date) -> int:
    """How many sessions lie after ``start`` up to and with ``end``; negative if ``end`` is earlier."""
    return bisect_right(_calendar.days, end) - bisect_right(_calendar.days, start)


def is_half_day(day: date) -> bool:
    """Whether the session closes before 16:00 New York time."""
    _require_session(day)
    return day in _calendar.early


@lru_cache(maxsize=32_768)
def session_open(day: date) -> datetime:
    """The opening bell of a session, UTC."""
    _require_session(day)
    return datetime.combine(day, OPEN, NEW_YORK).astimezone(UTC)


@lru_cache(maxsize=32_768)
def session_close(day: date) -> datetime:
    """The closing bell of a session, UTC; early on half days."""
    _require_session(day)
    return datetime.combine(day, _calendar.early.get(day, CLOSE), NEW_YORK).astimezone(UTC)


def bars_due(day: date, minutes: int = 1) -> int:
    """How many bars of ``minutes`` a complete session has.

    >>> bars_due(date(2018, 11, 21)), bars_due(date(2018, 11, 23))
    (390, 210)
    """
    length = session_close(day) - session_open(day)
    return -(-int(length.total_seconds()) // (60 * minutes))


def last_closed_session(now: datetime) -> date:
    """The last session whose closing bell is not after ``now``."""
    now = require_aware(now)
    day = now.astimezone(NEW_YORK).date()
    if is_session(day) and session_close(day) <= now:
        return day
    return previous_session(day)


def last_decided_session(now: datetime) -> date:
    """The last session whose decision time is not after ``now``."""
    now = require_aware(now)
    day = now.date()
    if is_session(day) and decision_time(day) <= now:
        return day
    return previous_session(day)


def decision_time(day: date) -> datetime:
    """The moment from which the signal of session ``day`` may be computed, UTC.

    The signal sees exactly the rows with ``available_at`` not after it, and is filled on the next
    session.
    """
    _require_session(day)
    return datetime.combine(day, time(DECISION_HOUR_UTC), UTC)


def trading_minutes_between(start: datetime, end: datetime) -> float:
    """Minutes of regular trading from ``start`` to ``end``; 0 if ``end`` is not later.

    >>> trading_minutes_between(session_open(date(2018, 11, 21)), session_close(date(2018, 11, 23)))
    600.0
    """
    start, end = require_aware(start), require_aware(end)
    first, last = (moment.astimezone(NEW_YORK).date() for moment in (start, end))
    seconds = 0.0
    for day in sessions_between(first, last):
        opened, closed = max(start, session_open(day)), min(end, session_close(day))
        seconds += max(0.0, (closed - opened).total_seconds())
    return seconds / 60.0


def add_trading_minutes(start: datetime, minutes: float) -> datetime:
    """The first moment at which ``minutes`` of regular trading have passed since ``start``.

    24 hours of market time are 1,440 minutes, that is 96 fifteen-minute bars and not quite four
    sessions; "24 h" by the clock is one session, 26 such bars. Say which one is meant.
    """
    if minutes < 0:
        raise ConfigError(f"{minutes} trading minutes is negative", hint="give 0 or more")
    start = require_aware(start)
    day = start.astimezone(NEW_YORK).date()
    if not is_session(day) or session_close(day) <= start:
        day = next_session(day)
    left = timedelta(minutes=minutes)
    at = max(start, session_open(day))
    while session_close(day) - at < left:
        left -= session_close(day) - at
        day = next_session(day)
        at = session_open(day)
    return at + left


def _write_tables() -> None:
    """Write the two tables from `exchange_calendars`; run by hand when that package is updated."""
    import exchange_calendars

    calendar = exchange_calendars.get_calendar(
        "XNYS", start=CALENDAR_START.isoformat(), end=CALENDAR_END.isoformat()
    )
    open_days = {stamp.date() for stamp in calendar.sessions}
    total = (CALENDAR_END - CALENDAR_START).days + 1
    weekdays = [
        day
        for day in (CALENDAR_START + timedelta(days=i) for i in range(total))
        if day.weekday() < 5
    ]
    closes = {s.date(): t.tz_convert(NEW_YORK).time() for s, t in calendar.closes.items()}
    holidays = "".join(f"{day}\n" for day in weekdays if day not in open_days)
    early = "".join(f"{day},{at:%H:%M}\n" for day, at in closes.items() if at != CLOSE)
    (_HERE / "xnys_holidays.csv").write_text("date\n" + holidays)
    (_HERE / "xnys_early_closes.csv").write_text("date,close\n" + early)


if __name__ == "__main__":
    _write_tables()
