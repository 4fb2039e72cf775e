"""What to ask a source for, given what is stored: only what is missing, and a little overlap.

The overlap is what lets a late revision be seen: the last sessions before the gap are asked again,
and the warehouse keeps a changed value as a new version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

#: Days before the first missing one that are asked for again; a week covers late corrections.
OVERLAP = timedelta(days=7)


@dataclass(frozen=True)
class Gap:
    """One request: some keys over a range of days, both ends included."""

    keys: tuple[str, ...]
    start: date
    end: date


def gaps_to_ask(
    last_stored: Mapping[tuple[str, int], date],
    keys: Sequence[str],
    *,
    start: date,
    end: date,
    due: date,
) -> list[Gap]:
    """Ranges that are not stored yet, keys with the same range together.

    Parameters
    ----------
    last_stored
        Last stored session of each (key, calendar year).
    keys
        Symbols, index names or series.
    start, end
        The days asked for, as the partitions say.
    due
        The last session that the source can have; nothing later is asked for.

    Examples
    --------
    >>> gaps_to_ask({("SPY", 2017): date(2017, 12, 29)}, ["SPY"], start=date(2017, 1, 1),
    ...             end=date(2018, 12, 31), due=date(2018, 3, 1))
    [Gap(keys=('SPY',), start=datetime.date(2018, 1, 1), end=datetime.date(2018, 3, 1))]
    """
    last = min(end, due)
    wanted: defaultdict[tuple[date, date], list[str]] = defaultdict(list)
    for key in keys:
        missing = [
            _missing_in_year(last_stored.get((key, year)), year, start, last)
            for year in range(start.year, last.year + 1)
        ]
        ranges = [span for span in missing if span is not None]
        if ranges:
            wanted[min(a for a, _ in ranges), max(b for _, b in ranges)].append(key)
    return [Gap(tuple(names), *span) for span, names in sorted(wanted.items())]


def _missing_in_year(
    stored: date | None, year: int, start: date, last: date
) -> tuple[date, date] | None:
    first, final = max(start, date(year, 1, 1)), min(last, date(year, 12, 31))
    if first > final:
        return None
    if stored is None:
        return first, final
    # A year may end with a weekend and a holiday: four days without a session at most.
    if stored >= final - timedelta(days=4) and final < last:
        return None
    return None if stored >= final else (max(first, stored - OVERLAP), final)
