"""Which expiries an exchange lists on a day, how they settle, and when their trading ends.

Each :class:`ListedExpiry` says why it is listed (its ``kind``) and whether a complete chain of that
day must have it (``certain``); the others may be there. The rules, and how sure they are:

*Announced*: SPXW Wednesday expiries on 2016-02-23 and Monday ones on 2016-08-15 (Cboe's blog of
2016-02-22 and of 2016-08-17), Tuesday ones on 2022-04-18 and Thursday ones on 2022-05-11 (Cboe, in
Traders Magazine); SPY Monday ones on 2018-02-16 (the same).

*Known* (as commonly cited; the months are sure, the days were not checked against the exchanges'
notices): SPY options trade since 2005-01-10. SPY Wednesday expiries start on 2016-08-30 (another
exchange began on 2016-09-07), Tuesday and Thursday ones on 2022-11-14, so that from then on an expiry
falls on every session. SPXW: Fridays since 2005-10-28; month ends since 2014-07-07. SPX (third
Fridays) settles on opening prices, SPXW on closing prices. Until 2015-01 the OCC symbol of a monthly
carries the Saturday after its last trading day.

*Observed* in 16 real SPY chains of January, February and July 2026, and tested against them and
against Massive's list of SPY's contracts of 2025-08-30 where they are present: an expiry on every
session to the end of the next week; five Fridays beside the monthlies; six month ends; four quarter
ends; the third Fridays of the next months and of four quarter cycles; the next two Januaries.
Series of the days 10 sessions ahead appear irregularly, so they are listed but not certain. SPY
options trade for 15 minutes after the stock exchange closes, on their last day too (last trades at
16:14:59 on eight expiry days).

*Assumed*: SPY weeklies start on 2010-06-04 with one series ahead, and have five from 2012-09-01; SPY
quarter ends start on 2006-07-10 and month ends on 2023-01-01; series of Mondays and Wednesdays
before 2022 reach two weeks ahead; an expiry whose weekday is closed moves to the session before
(Monday: after); one on a day that was closed at short notice ends on the session before. For other
roots only the third Fridays are certain.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from spy_assets.errors import DataError
from spy_assets.options.contracts import AM_ROOTS, Settlement
from spy_assets.sessions import (
    CALENDAR_START,
    is_session,
    next_session,
    previous_session,
    session_close,
    session_open,
    sessions_between,
)

Kind = Literal["daily", "weekly", "monthly", "month_end", "quarterly", "leaps"]

_MONDAY, _THURSDAY, _FRIDAY, _SATURDAY = 0, 3, 4, 5
#: How long options on funds and indices trade after the stock exchange's bell (Cboe hours: 16:15).
LATE_CLOSE: Final = timedelta(minutes=15)
#: Roots that trade until 16:15: broad index options and the funds of Cboe's list.
LATE_CLOSE_ROOTS: Final = frozenset(
    {"SPY", "QQQ", "IWM", "DIA", "SPX", "SPXW", "XSP", "NDX", "NDXP", "RUT", "RUTW", "DJX", "VIX"}
    | {"VIXW", "EEM", "EFA", "GLD", "KRE", "SLV", "UNG", "USO", "UVXY", "VXX", "XHB", "XLB", "XLE"}
    | {"XLF", "XLI", "XLK", "XLP", "XLU", "XLV", "XLY", "XME", "XOP", "XRT"}
)
#: Roots that may be exercised at expiry only: options on indices (OEX is the exception, and absent).
EUROPEAN_ROOTS: Final = frozenset(
    {"SPX", "SPXW", "XSP", "NDX", "NDXP", "XND", "RUT", "RUTW", "MRUT", "DJX", "VIX", "VIXW"}
)
#: Roots whose expiring series stop at 16:00 on their last day (Cboe: PM-settled index weeklies).
STOPS_AT_BELL: Final = frozenset({"SPXW", "XSP", "NDXP", "RUTW"})
#: From this day the OCC symbol of a monthly carries the Friday; before, the Saturday after it.
FRIDAY_SYMBOLS_SINCE: Final = date(2015, 2, 1)
#: Days of mourning on which contracts that were already listed would have expired: in 2018 a
#: Wednesday weekly, in 2025 a daily. A test holds them against exchange_calendars.
CLOSED_AT_SHORT_NOTICE: Final = frozenset({date(2018, 12, 5), date(2025, 1, 9)})


class ListedExpiry(NamedTuple):
    """One expiry of a listing."""

    #: Last day on which the series trades (PM) or on whose opening prices it settles (AM).
    day: date
    kind: Kind
    #: Whether a complete chain of the day must have it.
    certain: bool


class ExpirySettlement(NamedTuple):
    """How and when one expiry ends."""

    style: Settlement
    #: The moment of the prices that it settles on, UTC: the open (AM) or the close (PM).
    settles_at: datetime
    #: End of its trading, UTC; for AM the evening before.
    trades_until: datetime


@dataclass(frozen=True, slots=True)
class _Rules:
    """When which kind of expiry of a root was first listed; None is never."""

    monthly: date
    weekly: date | None = None
    #: First day of each further weekday: Monday, Tuesday, Wednesday, Thursday.
    weekdays: tuple[date | None, date | None, date | None, date | None] = (None,) * 4
    quarterly: date | None = None
    month_end: date | None = None
    #: From this day five weeklies are listed ahead; before, one.
    five_weeklies: date = date.max


_RULES: Final[dict[str, _Rules]] = {
    "SPY": _Rules(
        monthly=date(2005, 1, 10),
        weekly=date(2010, 6, 4),
        weekdays=(date(2018, 2, 16), date(2022, 11, 14), date(2016, 8, 30), date(2022, 11, 14)),
        quarterly=date(2006, 7, 10),
        month_end=date(2023, 1, 1),
        five_weeklies=date(2012, 9, 1),
    ),
    "SPX": _Rules(monthly=date(1983, 7, 1)),
    "SPXW": _Rules(
        monthly=date(2011, 10, 4),
        weekly=date(2005, 10, 28),
        weekdays=(date(2016, 8, 15), date(2022, 4, 18), date(2016, 2, 23), date(2022, 5, 11)),
        quarterly=date(2006, 7, 10),
        month_end=date(2014, 7, 7),
        five_weeklies=date(2012, 9, 1),
    ),
}
_ANY: Final = _Rules(monthly=date(1973, 4, 26))


def third_friday(year: int, month: int) -> date:
    """The day of a monthly expiry: the third Friday, or the session before if that is closed.

    >>> third_friday(2026, 7), third_friday(2027, 6), third_friday(2019, 4)
    (datetime.date(2026, 7, 17), datetime.date(2027, 6, 17), datetime.date(2019, 4, 18))
    """
    first = date(year, month, 1)
    friday = first + timedelta(days=(_FRIDAY - first.weekday()) % 7 + 14)
    return friday if is_session(friday) else previous_session(friday)


def month_end(year: int, month: int) -> date:
    """The last session of a month.

    >>> month_end(2027, 1)
    datetime.date(2027, 1, 29)
    """
    last = date(year, month, monthrange(year, month)[1])
    return last if is_session(last) else previous_session(last)


def _months(on: date, count: int) -> Iterator[tuple[int, int]]:
    first = on.year * 12 + on.month - 1
    yield from (divmod(first + ahead, 12) for ahead in range(count))


def _friday(on: date, weeks: int = 0) -> date:
    friday = on + timedelta(days=(_FRIDAY - on.weekday()) + 7 * weeks)
    return friday if is_session(friday) else previous_session(friday)


def _dailies(rules: _Rules, on: date) -> Iterator[ListedExpiry]:
    every_day = all(since is not None and since <= on for since in rules.weekdays)
    next_friday = _friday(on, 1)
    for weekday, since in enumerate(rules.weekdays):
        if since is None or since > on:
            continue
        for week in range(3):
            day = on + timedelta(days=weekday - on.weekday() + 7 * week)
            if not is_session(day):
                if every_day:
                    continue
                day = next_session(day) if weekday == _MONDAY else previous_session(day)
            if since <= day <= on + timedelta(days=14):
                yield ListedExpiry(day, "daily", every_day and day <= next_friday)


def _weeklies(rules: _Rules, on: date) -> Iterator[ListedExpiry]:
    if rules.weekly is None or rules.weekly > on:
        return
    certain, possible = (4, 6) if rules.five_weeklies <= on else (0, 1)
    for week in range(possible + 1):
        yield ListedExpiry(_friday(on, week), "weekly", week <= certain)


def _monthlies(on: date) -> Iterator[ListedExpiry]:
    for ahead, (year, month) in enumerate(_months(on, 37)):
        cycle = month % 3 == 2  # March, June, September, December, counted from 0
        january = month == 0
        certain = ahead <= 2 or (cycle and ahead <= 12) or (january and ahead <= 24)
        kind: Kind = "leaps" if ahead > 12 else "monthly"
        if certain or ahead <= 8 or cycle or january:
            yield ListedExpiry(third_friday(year, month + 1), kind, certain)


def _period_ends(rules: _Rules, on: date) -> Iterator[ListedExpiry]:
    ends = [month_end(year, month + 1) for year, month in _months(on, 16)]
    if rules.month_end is not None and rules.month_end <= on:
        ahead = [day for day in ends if day >= on]
        yield from (ListedExpiry(day, "month_end", n < 6) for n, day in enumerate(ahead[:7]))
    if rules.quarterly is not None and rules.quarterly <= on:
        quarters = [day for day in ends if day >= on and day.month % 3 == 0]
        yield from (ListedExpiry(day, "quarterly", n < 4) for n, day in enumerate(quarters[:5]))


@lru_cache(maxsize=1024)
def expiries_listed(root: str, on: date) -> tuple[ListedExpiry, ...]:
    """The expiries of `root` that are listed on a day, nearest first, `on` itself included.

    One entry a day: of two kinds on one day the rarer one is named (a monthly that falls on a Friday
    is a monthly), and it is certain if one of them is.

    Parameters
    ----------
    root
        Option root. SPY, SPX and SPXW have rules of their own; every other root has monthlies.
    on
        Any day.

    Raises
    ------
    DataError
        If the root had no options yet on that day.

    >>> [str(e.day) for e in expiries_listed("SPY", date(2019, 4, 16))[:4]]
    ['2019-04-17', '2019-04-18', '2019-04-22', '2019-04-24']
    """
    rules = _RULES.get(root, _ANY)
    if on < rules.monthly and (rules.weekly is None or on < rules.weekly):
        raise DataError(
            f"{root} had no listed options on {on}", hint=f"they start on {rules.monthly}"
        )
    found: dict[date, ListedExpiry] = {}
    monthlies = _monthlies(on) if rules.monthly <= on else iter(())
    for group in (_dailies(rules, on), _weeklies(rules, on), _period_ends(rules, on), monthlies):
        for expiry in group:
            before = found.get(expiry.day)
            certain = expiry.certain or (before is not None and before.certain)
            found[expiry.day] = expiry._replace(certain=certain)
    return tuple(found[day] for day in sorted(found) if day >= on)


def is_0dte_available(root: str, on: date) -> bool:
    """Whether a contract of `root` expires on the session `on`.

    >>> is_0dte_available("SPY", date(2016, 1, 6)), is_0dte_available("SPY", date(2026, 7, 21))
    (False, True)
    """
    return is_session(on) and expiries_listed(root, on)[0].day == on


def is_expiry(day: date) -> bool:
    """Whether a contract may carry that day: a session, an old Saturday, a closure at short notice.

    >>> is_expiry(date(2014, 11, 22)), is_expiry(date(2026, 8, 22)), is_expiry(date(2024, 12, 25))
    (True, False, False)
    """
    old_saturday = day.weekday() == _SATURDAY and CALENDAR_START < day < FRIDAY_SYMBOLS_SINCE
    return is_session(day) or old_saturday or day in CLOSED_AT_SHORT_NOTICE


def trading_day(expiry: date) -> date:
    """The session on which an expiry ends: itself, or the one before for old Saturday symbols.

    Raises
    ------
    DataError
        If no contract can carry that day.
    """
    if is_session(expiry):
        return expiry
    if not is_expiry(expiry):
        raise DataError(
            f"no contract expires on {expiry} ({expiry:%A}), which is no session",
            hint=f"symbols carry Saturdays until {FRIDAY_SYMBOLS_SINCE} only; check the date",
        )
    return previous_session(expiry)


@lru_cache(maxsize=4096)
def settlement(root: str, expiry: date) -> ExpirySettlement:
    """How and when the series of `root` with that expiry end.

    AM-settled series (SPX, third Fridays) trade until the session before and settle on the opening
    prices of the expiry day; all others settle on the close (13:00 on half days). A Saturday, as in
    symbols before February 2015, stands for the Friday before it.

    Raises
    ------
    DataError
        If no contract can expire on that day.
    """
    day = trading_day(expiry)
    if root in AM_ROOTS:
        evening = options_close(previous_session(day), root)
        return ExpirySettlement("AM", session_open(day), evening)
    until = session_close(day) if root in STOPS_AT_BELL else options_close(day, root)
    return ExpirySettlement("PM", session_close(day), until)


def options_close(session: date, root: str = "SPY") -> datetime:
    """The moment at which quotes of `root` stop moving on a session, UTC.

    >>> options_close(date(2026, 7, 22)).isoformat()
    '2026-07-22T20:15:00+00:00'
    """
    close = session_close(session)
    return close + LATE_CLOSE if root in LATE_CLOSE_ROOTS else close


def missing_expiries(root: str, on: date, present: frozenset[date]) -> list[date]:
    """Certain expiries of the day that a chain lacks.

    >>> missing_expiries("SPY", date(2026, 7, 22), frozenset())[:2]
    [datetime.date(2026, 7, 22), datetime.date(2026, 7, 23)]
    """
    days = {trading_day(expiry) for expiry in present if is_expiry(expiry)}
    listed = expiries_listed(root, on)
    return [expiry.day for expiry in listed if expiry.certain and expiry.day not in days]


def sessions_to(expiry: date, on: date) -> int:
    """Sessions after `on` up to and with the expiry."""
    return len(sessions_between(on + timedelta(days=1), expiry))
