"""Sessions and minutes of trading between closes, looked up: what time rules are asked with."""

from __future__ import annotations

from datetime import date
from itertools import accumulate

from spy_assets.sessions import session_close, session_open, sessions_between


class TradingTime:
    """The exchange's sessions of a range of days, counted, with their minutes added up."""

    def __init__(self, first: date, last: date) -> None:
        days = sessions_between(first, last)
        lengths = [(session_close(day) - session_open(day)).total_seconds() / 60.0 for day in days]
        self._number = {day: number for number, day in enumerate(days)}
        self._length = dict(zip(days, lengths, strict=True))
        self._closed = dict(zip(days, accumulate(lengths), strict=True))

    def sessions(self, start: date, end: date) -> int:
        """Closes from that of ``start`` to that of ``end``."""
        return self._number[end] - self._number[start]

    def minutes(self, start: date, end: date, *, from_open: bool = False) -> float:
        """Minutes of trading from the close of ``start``, or its open, to the close of ``end``."""
        before = self._length[start] if from_open else 0.0
        return self._closed[end] - self._closed[start] + before
