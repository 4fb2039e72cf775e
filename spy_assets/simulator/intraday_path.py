"""Minute bars of regular sessions as arrays: the market that an intraday simulation walks through.

Bars are those of the regular session alone. A bar that should be there and is not stays missing and is
counted (``missing_before``, ``missing_after``); only a run of up to ``fill_limit`` bars may be filled
with the last close, and is marked as such. Nothing is filled before a session's first bar.

What is known of a session before it opens is the previous session's close: implied volatility and rate
are taken from there and never from the session itself.

Time to expiry
--------------
Options of the same day are priced by how much the underlying still moves, not by how many hours pass:
a session is 1/252 of a year, of which :data:`OVERNIGHT_SHARE` passes between the last close and the
open and the rest in proportion to the minutes of trading (a whole session has 390, so that a half day
counts for less). Over weeks this is the calendar's time: 30 days have 20.7 sessions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError, NaiveTimestamp
from spy_assets.options.surface import MAX_VOLATILITY
from spy_assets.sessions import (
    bars_due,
    is_session,
    next_session,
    previous_session,
    session_close,
    session_open,
    sessions_between,
)

if TYPE_CHECKING:
    import polars as pl

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Bar lengths in minutes that divide into a session's grid (inventory C-03).
BAR_MINUTES: Final = (1, 5, 15, 60)
#: Minutes of a whole session.
SESSION_MINUTES: Final = 390.0
#: Sessions of a year.
YEAR_SESSIONS: Final = 252.0
#: Share of a session's variance that passes before the open: one third. Of SPY's squared log returns
#: from 1994 to 2024, 0.33 of the mean and 0.28 of the median were overnight; since 2023 0.37 and 0.35.
OVERNIGHT_SHARE: Final = 1.0 / 3.0
#: Index points and decimals do not overlap: no volatility index has closed below 3 points.
_LEAST_VOLATILITY: Final = 0.03
#: Sessions after the path's last one that expiries may lie in.
_AHEAD: Final = 64
_PRICES: Final = ("open", "high", "low", "close")


class PathArrays(NamedTuple):
    """What the compiled kernels read of a path; see :class:`IntradayPath` for the meanings.

    ``n`` bars, ``S`` sessions of the path, ``C`` sessions of the calendar from the first one on.
    """

    open: FloatArray
    close: FloatArray
    session_of: IntArray
    missing_before: IntArray
    start_minute: FloatArray
    end_minute: FloatArray
    start_years: FloatArray
    end_years: FloatArray
    start_clock: FloatArray
    end_clock: FloatArray
    first_bar: IntArray
    missing_after: IntArray
    ordinal: IntArray
    minutes: FloatArray
    volatility: FloatArray
    rate: FloatArray
    dividend: FloatArray
    close_years: FloatArray
    close_clock: FloatArray


@dataclass(frozen=True, eq=False)
class IntradayPath:
    """Bars 0 to n-1 of one underlying in S sessions.

    Attributes
    ----------
    symbol, bar_minutes
        The underlying, and the length of a bar; the last one of a session may be shorter.
    sessions
        Session days, strictly ascending, each with at least one bar.
    start, end
        UTC seconds since 1970 of each bar, ``[n]``.
    open, high, low, close
        Dollars, ``[n]``.
    filled
        Where the bar is a carried close, ``[n]``.
    session_of
        Index of each bar's session, ``[n]``.
    first_bar
        Index of each session's first bar, and n, ``[S + 1]``.
    missing_before
        Bars due in the session that are missing directly before this one, ``[n]``.
    missing_after
        Bars due that are missing at the session's end, ``[S]``.
    volatility
        VIX as a decimal at the close of the session before, ``[S]``; NaN where missing.
    rate
        Risk-free rate, continuous, per year, known at that close, ``[S]``; NaN where missing.
    dividend
        Dollars per share that a holder of the close before gets because the session is the ex-date,
        ``[S]``; NaN where not known.
    calendar
        All sessions of the exchange from the first of the path to some way past its last.
    ordinal
        Position of each session in ``calendar``, ``[S]``.
    """

    symbol: str
    bar_minutes: int
    sessions: tuple[date, ...]
    start: IntArray
    end: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    filled: BoolArray
    session_of: IntArray
    first_bar: IntArray
    missing_before: IntArray
    missing_after: IntArray
    volatility: FloatArray
    rate: FloatArray
    dividend: FloatArray
    calendar: tuple[date, ...]
    ordinal: IntArray
    arrays: PathArrays

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def from_bars(
        cls,
        bars: pl.DataFrame,
        daily: pl.DataFrame,
        *,
        symbol: str = "SPY",
        minutes: int = 1,
        fill_limit: int = 0,
        volatility: str = "vix_close",
    ) -> IntradayPath:
        """Build a path of bars as ``market.minute_bars`` and the sources give them.

        Parameters
        ----------
        bars
            Columns ``bar_start`` (UTC, start of bar), ``open``, ``high``, ``low``, ``close``, of one
            symbol, in any order, of ``minutes`` or finer. Finer bars are put together; bars outside
            regular hours are left out.
        daily
            Columns ``session``, the one that ``volatility`` names (index points) and ``rate``
            (decimal), as they were at each session's close; null or NaN is missing. A session
            uses the row of the session before it and no other. ``dividend`` may be there: dollars per
            share by the ex-date, which is announced long before; a session uses its own row.
        minutes
            Length of the path's bars: 1, 5, 15 or 60.
        fill_limit
            Longest run of missing bars that is filled with the last close.
        volatility
            Column of the index whose value prices the options.

        Raises
        ------
        DataError
            If there is no bar in regular hours, two have the same start, or a price is no price.
        ConfigError
            If a column or the bar length is not known.
        """
        if minutes not in BAR_MINUTES:
            raise ConfigError(
                f"bars of {minutes} minutes",
                hint=f"choose of: {', '.join(map(str, BAR_MINUTES))}",
            )
        if fill_limit < 0:
            raise ConfigError(f"fill limit {fill_limit} is negative", hint="0 fills nothing")
        _require_columns(bars, ("bar_start", *_PRICES))
        _require_columns(daily, ("session", volatility, "rate"))
        days, seconds, prices = _regular(bars)
        grid = _grid(days, seconds, prices, minutes, fill_limit)
        known = _known_before(daily, grid.sessions, volatility)
        return _assemble(symbol, minutes, grid, known)

    def window(self, first: int, stop: int) -> IntradayPath:
        """Sessions ``first`` to ``stop`` - 1 as a path of their own."""
        if not 0 <= first < stop <= len(self.sessions):
            raise DataError(f"sessions {first} to {stop} of a path with {len(self.sessions)}")
        low, high = int(self.first_bar[first]), int(self.first_bar[stop])
        grid = _Grid(
            self.sessions[first:stop],
            self.start[low:high],
            self.end[low:high],
            np.column_stack([getattr(self, name)[low:high] for name in _PRICES]),
            self.filled[low:high],
            self.session_of[low:high] - first,
            self.missing_before[low:high],
            self.missing_after[first:stop],
        )
        known = _Known(*(values[first:stop] for values in self._known()))
        return _assemble(self.symbol, self.bar_minutes, grid, known)

    def _known(self) -> _Known:
        return _Known(self.volatility, self.rate, self.dividend)

    def is_last(self, bar: int) -> bool:
        """Whether the session of this bar has no later one on the path."""
        return bool(self.first_bar[self.session_of[bar] + 1] == bar + 1)

    def session(self, bar: int) -> date:
        """Session of a bar."""
        return self.sessions[int(self.session_of[bar])]

    def start_time(self, bar: int) -> datetime:
        """When the bar begins, UTC."""
        return datetime.fromtimestamp(int(self.start[bar]), UTC)

    def end_time(self, bar: int) -> datetime:
        """When the bar is complete, UTC: the moment of a decision."""
        return datetime.fromtimestamp(int(self.end[bar]), UTC)

    def ordinal_of(self, expiry: date) -> int:
        """Position of an expiry in ``calendar``.

        Raises
        ------
        DataError
            If it is no session, before the path or too far behind it.
        """
        at = bisect_left(self.calendar, expiry)
        if at == len(self.calendar) or self.calendar[at] != expiry:
            raise DataError(
                f"no option of the path expires on {expiry}",
                hint=f"an expiry is a session from {self.calendar[0]} to {self.calendar[-1]}",
            )
        return at


class _Grid(NamedTuple):
    """Bars on the grid of their sessions."""

    sessions: tuple[date, ...]
    start: IntArray
    end: IntArray
    prices: FloatArray
    filled: BoolArray
    session_of: IntArray
    missing_before: IntArray
    missing_after: IntArray


class _Known(NamedTuple):
    """What is known of each session before it opens."""

    volatility: FloatArray
    rate: FloatArray
    dividend: FloatArray


def _require_columns(frame: pl.DataFrame, needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise ConfigError(
            f"the frame lacks the columns {missing}", hint=f"it needs {', '.join(needed)}"
        )


def _regular(bars: pl.DataFrame) -> tuple[list[date], IntArray, FloatArray]:
    """Days of the bars, their starts in seconds, sorted, and their prices ``[n, 4]``."""
    import polars as pl

    kind = bars.schema["bar_start"]
    if not isinstance(kind, pl.Datetime) or kind.time_zone is None:
        raise NaiveTimestamp(
            f"bar_start is {kind}, not a timestamp with a time zone", hint="give UTC times"
        )
    rows = bars.sort("bar_start")
    starts = rows.get_column("bar_start").dt.epoch("s").to_numpy().astype(np.int64)
    twice = np.flatnonzero(np.diff(starts) == 0)
    if twice.size:
        at = datetime.fromtimestamp(int(starts[twice[0]]), UTC)
        raise DataError(f"two bars begin at {at.isoformat()}", hint="read one file, one symbol")
    prices = np.column_stack(
        [rows.get_column(name).cast(pl.Float64).to_numpy() for name in _PRICES]
    )
    local = rows.select(pl.col("bar_start").dt.convert_time_zone("America/New_York").dt.date())
    days = [day for day in local.to_series().unique(maintain_order=True) if is_session(day)]
    return days, starts, prices


def _grid(
    days: Sequence[date], starts: IntArray, prices: FloatArray, minutes: int, fill_limit: int
) -> _Grid:
    """Put bars of any finer length onto each session's grid."""
    parts = []
    for day in days:
        opened, closed = (int(at.timestamp()) for at in (session_open(day), session_close(day)))
        low, high = np.searchsorted(starts, (opened, closed))
        if low == high:
            continue
        slot = (starts[low:high] - opened) // (60 * minutes)
        where, merged = _merged(slot, prices[low:high])
        _require_prices(day, merged)
        slots, merged, filled = _filled(where, merged, bars_due(day, minutes), fill_limit)
        begin = opened + slots * 60 * minutes
        parts.append((day, begin, np.minimum(begin + 60 * minutes, closed), slots, merged, filled))
    if not parts:
        raise DataError("no bar lies within the regular hours of a session")
    sizes = [len(part[1]) for part in parts]
    due = [bars_due(part[0], minutes) for part in parts]
    return _Grid(
        tuple(part[0] for part in parts),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[4] for part in parts]),
        np.concatenate([part[5] for part in parts]),
        np.repeat(np.arange(len(parts)), sizes),
        np.concatenate([np.diff(part[3], prepend=-1) - 1 for part in parts]),
        np.array([n - 1 - int(part[3][-1]) for n, part in zip(due, parts, strict=True)]),
    )


def _merged(slot: IntArray, prices: FloatArray) -> tuple[IntArray, FloatArray]:
    """One row a slot: first open, highest high, lowest low, last close."""
    first = np.flatnonzero(np.diff(slot, prepend=-1))
    last = np.append(first[1:], len(slot)) - 1
    return slot[first], np.column_stack(
        [
            prices[first, 0],
            np.maximum.reduceat(prices[:, 1], first),
            np.minimum.reduceat(prices[:, 2], first),
            prices[last, 3],
        ]
    )


def _filled(
    slots: IntArray, prices: FloatArray, due: int, limit: int
) -> tuple[IntArray, FloatArray, BoolArray]:
    """Fill runs of up to ``limit`` missing slots with the last close."""
    gaps = np.diff(np.append(slots, due)) - 1
    fill = np.where((gaps > 0) & (gaps <= limit), gaps, 0)
    source = np.repeat(np.arange(len(slots)), fill + 1)
    real = np.flatnonzero(np.diff(source, prepend=-1))
    filled = np.ones(len(source), dtype=np.bool_)
    filled[real] = False
    placed = slots[source] + (np.arange(len(source)) - real[source])
    values = prices[source].copy()
    values[filled] = values[filled][:, [3, 3, 3, 3]]
    return placed, values, filled


def _require_prices(day: date, prices: FloatArray) -> None:
    bad = np.flatnonzero(~(np.isfinite(prices) & (prices > 0.0)).all(axis=1))
    if bad.size:
        raise DataError(
            f"a bar of {day} has the prices {prices[bad[0]].tolist()!r} ({bad.size} such bars)",
            hint="leave bars without prices out; they are then counted as missing",
        )


def _known_before(daily: pl.DataFrame, sessions: Sequence[date], volatility: str) -> _Known:
    """Volatility (decimal) and rate of the session before each, and its own dividend."""

    def column(name: str, days: Sequence[date]) -> FloatArray:
        if name not in daily.columns:
            return np.full(len(days), np.nan)
        rows = dict(daily.select("session", name).iter_rows())
        found = [rows.get(day) for day in days]
        return np.array([np.nan if x is None else float(x) for x in found], dtype=np.float64)

    before = [previous_session(day) for day in sessions]
    iv = column(volatility, before) / 100.0
    bad = np.flatnonzero(~np.isnan(iv) & ~((iv > _LEAST_VOLATILITY) & (iv < MAX_VOLATILITY)))
    if bad.size:
        at = int(bad[0])
        raise DataError(
            f"{volatility} before {sessions[at]} is {100.0 * iv[at]!r}, not index points",
            hint="18 points are 18.0; leave missing values missing",
        )
    dividend = column("dividend", sessions)
    if np.any(dividend < 0.0):
        at = int(np.flatnonzero(dividend < 0.0)[0])
        raise DataError(f"dividend of {sessions[at]} is {dividend[at]!r}, not an amount of cash")
    return _Known(iv, column("rate", before), dividend)


def _assemble(symbol: str, minutes: int, grid: _Grid, known: _Known) -> IntradayPath:
    count = np.bincount(grid.session_of, minlength=len(grid.sessions))
    first_bar = np.concatenate(([0], np.cumsum(count))).astype(np.int64)
    calendar = sessions_between(grid.sessions[0], next_session(grid.sessions[-1], _AHEAD))
    days = np.array(calendar, "datetime64[D]")
    ordinal = np.searchsorted(days, np.array(grid.sessions, "datetime64[D]")).astype(np.int64)
    prices = [np.ascontiguousarray(column) for column in grid.prices.T]
    arrays = _arrays(grid, calendar, first_bar, ordinal, known, (prices[0], prices[3]))
    for array in (*arrays, grid.start, grid.end, grid.filled, prices[1], prices[2]):
        array.flags.writeable = False
    return IntradayPath(
        symbol=symbol,
        bar_minutes=minutes,
        sessions=grid.sessions,
        start=grid.start,
        end=grid.end,
        open=prices[0],
        high=prices[1],
        low=prices[2],
        close=prices[3],
        filled=grid.filled,
        session_of=arrays.session_of,
        first_bar=first_bar,
        missing_before=arrays.missing_before,
        missing_after=arrays.missing_after,
        volatility=arrays.volatility,
        rate=arrays.rate,
        dividend=arrays.dividend,
        calendar=tuple(calendar),
        ordinal=ordinal,
        arrays=arrays,
    )


def _arrays(
    grid: _Grid,
    calendar: Sequence[date],
    first_bar: IntArray,
    ordinal: IntArray,
    known: _Known,
    prices: tuple[FloatArray, FloatArray],
) -> PathArrays:
    opened = np.array([int(session_open(day).timestamp()) for day in grid.sessions])
    length = np.array(
        [(session_close(day) - session_open(day)) / timedelta(minutes=1) for day in calendar]
    )
    # Clock: minutes of trading since the first open. Years: variance time since the close before it.
    clock = np.concatenate(([0.0], np.cumsum(length)[:-1]))
    night = OVERNIGHT_SHARE / YEAR_SESSIONS
    per_minute = (1.0 - OVERNIGHT_SHARE) / (YEAR_SESSIONS * SESSION_MINUTES)
    base = night * np.arange(1, len(calendar) + 1) + per_minute * clock
    at = ordinal[grid.session_of]
    begin = (grid.start - opened[grid.session_of]) / 60.0
    finish = (grid.end - opened[grid.session_of]) / 60.0
    return PathArrays(
        open=prices[0],
        close=prices[1],
        session_of=grid.session_of.astype(np.int64),
        missing_before=grid.missing_before.astype(np.int64),
        start_minute=begin,
        end_minute=finish,
        start_years=base[at] + per_minute * begin,
        end_years=base[at] + per_minute * finish,
        start_clock=clock[at] + begin,
        end_clock=clock[at] + finish,
        first_bar=first_bar,
        missing_after=grid.missing_after.astype(np.int64),
        ordinal=ordinal,
        minutes=length[ordinal],
        volatility=known.volatility,
        rate=known.rate,
        dividend=known.dividend,
        close_years=base + per_minute * length,
        close_clock=clock + length,
    )
