"""Listed option contracts: OCC symbols, weekly expiries, the strike grid, time to expiry.

The expiry calendar here is the model's convention: one expiry a week, on Friday, or on the session
before if the exchange is closed that Friday. SPY weeklies have been listed since 2010; on earlier
dates the calendar is an assumption, as every price on a model surface is. What the exchange really
lists on a day is in :mod:`spy_assets.options.expiries`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

from spy_assets.errors import DataError
from spy_assets.sessions import (
    is_session,
    next_session,
    previous_session,
    require_aware,
    session_close,
)

Right = Literal["C", "P"]
Settlement = Literal["AM", "PM"]

#: Shares that one standard contract delivers.
MULTIPLIER = 100
#: Seconds of an ACT/365 year.
YEAR_SECONDS = 365.0 * 86_400.0
#: Distance between listed strikes near the money, in dollars.
STRIKE_STEP = 1.0

#: Roots of index options that settle on the opening prices of their expiry day (Cboe contract
#: specifications: SPX, NDX, RUT, DJX and VIX are AM-settled, their weekly roots SPXW, NDXP and RUTW
#: PM-settled, VIXW AM-settled).
AM_ROOTS: Final = frozenset({"SPX", "NDX", "RUT", "DJX", "VIX", "VIXW"})
#: An OCC symbol as a regular expression (Python and Rust): padded, unpadded, or with the prefix
#: ``O:`` of Polygon and Massive.
OCC_PATTERN: Final = (
    r"(?:O:)?(?P<root>[A-Z]{1,5}[0-9]?) *(?P<day>[0-9]{6})(?P<right>[CP])(?P<strike>[0-9]{8})"
)

_FRIDAY = 4
_OCC = re.compile(OCC_PATTERN)
_ROOT = re.compile(r"[A-Z]{1,5}[0-9]?")


@dataclass(frozen=True, slots=True, order=True)
class OptionContract:
    """One listed option.

    Attributes
    ----------
    root
        Option root, one to six characters; a digit at the end marks an adjusted contract.
    expiry
        Last trading day.
    right
        ``"C"`` or ``"P"``.
    strike
        Dollars, in steps of a tenth of a cent.
    multiplier
        Shares that one contract delivers; the symbol does not carry it.

    Raises
    ------
    DataError
        If a field cannot be written as an OCC symbol.

    >>> OptionContract("SPY", date(2018, 12, 28), "C", 250.0).occ
    'SPY   181228C00250000'
    """

    root: str
    expiry: date
    right: Right
    strike: float
    multiplier: int = field(default=MULTIPLIER, kw_only=True)

    def __post_init__(self) -> None:
        if not _ROOT.fullmatch(self.root):
            raise DataError(f"option root {self.root!r} is not 1-5 capitals and at most one digit")
        if self.right not in ("C", "P"):
            raise DataError(f"option right {self.right!r} is neither 'C' nor 'P'")
        if self.multiplier <= 0:
            raise DataError(f"multiplier {self.multiplier!r} is not a number of shares above 0")
        mills = self.strike * 1000.0
        if not (0.5 < mills < 1e8 and abs(mills - round(mills)) < 1e-6):
            raise DataError(
                f"strike {self.strike!r} cannot be written in an OCC symbol",
                hint="a strike is between 0.001 and 99999.999 in steps of 0.001",
            )

    @property
    def occ(self) -> str:
        """The 21 characters of the OCC symbol, root padded with blanks."""
        mills = round(self.strike * 1000.0)
        return f"{self.root:<6}{self.expiry:%y%m%d}{self.right}{mills:08d}"

    @property
    def compact(self) -> str:
        """The OCC symbol without blanks: ``SPY181228C00250000``."""
        return self.occ.replace(" ", "")

    @property
    def polygon(self) -> str:
        """The symbol as Polygon and Massive write it: ``O:SPY181228C00250000``."""
        return f"O:{self.compact}"

    @property
    def display(self) -> str:
        """The contract as people read it: ``SPY 181228 C 250``."""
        return f"{self.root} {self.expiry:%y%m%d} {self.right} {self.strike:g}"

    @property
    def is_adjusted(self) -> bool:
        """Whether the deliverable is not the standard one.

        A corporate action gave the root a digit at its end, or the multiplier is not 100.
        """
        return self.root[-1].isdigit() or self.multiplier != MULTIPLIER

    @property
    def settlement(self) -> Settlement:
        """``"AM"`` if the contract settles on opening prices, else ``"PM"``."""
        return "AM" if self.root in AM_ROOTS else "PM"


def parse_occ(symbol: str) -> OptionContract:
    """Read an OCC symbol.

    Padded (``SPY   181228C00250000``), not padded (``SPY181228C00250000``), or with the prefix of
    Polygon and Massive (``O:SPY181228C00250000``).

    Raises
    ------
    DataError
        If the text is no OCC symbol or its date does not exist.
    """
    match = _OCC.fullmatch(symbol)
    if match is None:
        raise DataError(
            f"{symbol!r} is not an OCC option symbol",
            hint="the form is root, yymmdd, C or P, and the strike in mills as eight digits",
        )
    day = match["day"]
    try:
        expiry = date(2000 + int(day[:2]), int(day[2:4]), int(day[4:]))
    except ValueError as error:
        raise DataError(f"OCC symbol {symbol!r} has the impossible date {day!r}") from error
    right: Right = "C" if match["right"] == "C" else "P"
    return OptionContract(match["root"], expiry, right, int(match["strike"]) / 1000.0)


@lru_cache(maxsize=32_768)
def weekly_expiry(day: date) -> date:
    """Give the expiry of the week of ``day``: Friday, or the session before a closed Friday.

    >>> weekly_expiry(date(2018, 3, 27))    # Good Friday was 30 March
    datetime.date(2018, 3, 29)
    """
    friday = day + timedelta(days=_FRIDAY - day.weekday())
    return friday if is_session(friday) else previous_session(friday)


def nearest_expiry(session: date, dte: int = 7, *, min_sessions: int = 1) -> date:
    """Give the weekly expiry nearest to ``session`` + ``dte`` calendar days; the later on a tie.

    Parameters
    ----------
    session
        Session of the decision.
    dte
        Days to expiry wanted, calendar days, at least 0.
    min_sessions
        The expiry is at least this many sessions after ``session``.

    Raises
    ------
    DataError
        If ``dte`` is negative.

    >>> nearest_expiry(date(2018, 12, 10)), nearest_expiry(date(2018, 12, 12))
    (datetime.date(2018, 12, 14), datetime.date(2018, 12, 21))
    """
    if dte < 0:
        raise DataError(f"days to expiry {dte} is negative", hint="give 0 or more calendar days")
    target = session + timedelta(days=dte)
    earliest = next_session(session, min_sessions) if min_sessions > 0 else session
    listed = {weekly_expiry(target + timedelta(weeks=week)) for week in range(-1, 2)}
    listed |= {weekly_expiry(earliest), weekly_expiry(earliest + timedelta(weeks=1))}
    return min(
        (expiry for expiry in listed if expiry >= earliest),
        key=lambda expiry: (abs((expiry - target).days), -expiry.toordinal()),
    )


def nearest_strike(spot: float, step: float = STRIKE_STEP) -> float:
    """Give the strike on the grid nearest to ``spot``; half-way goes up.

    >>> nearest_strike(250.49), nearest_strike(250.5)
    (250.0, 251.0)
    """
    if not (math.isfinite(spot) and spot > 0.0 and step > 0.0):
        raise DataError(f"no strike is nearest to spot {spot!r} on a grid of {step!r}")
    return max(step, math.floor(spot / step + 0.5) * step)


def years_to_expiry(at: datetime, expiry: date) -> float:
    """Years (ACT/365, by seconds) from a UTC instant to the close of ``expiry``; 0 once passed."""
    left = session_close(expiry) - require_aware(at)
    return max(0.0, left.total_seconds() / YEAR_SECONDS)
