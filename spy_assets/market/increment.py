"""What to ask a source for, given what is stored: only what is missing, and a little overlap.

The overlap is what lets a late revision be seen: the last sessions before the gap are asked again,
and the warehouse keeps a changed value as a new version. Days that are missing inside a year are
asked for too, whenever the year is made; what a vendor never had costs one longer request then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from spy_assets.market.availability import days_of, is_crypto, release_session
from spy_assets.market.schemas import Dataset
from spy_assets.sessions import previous_session

#: Days before the first missing one that are asked for again; a week covers late corrections.
OVERLAP = timedelta(days=7)
_DAY = timedelta(days=1)
_A_SESSION_LATER: frozenset[Dataset] = frozenset({"rates", "put_call"})


@dataclass(frozen=True)
class Gap:
    """One request: some keys over a range of days, both ends included."""

    keys: tuple[str, ...]
    start: date
    end: date


def due_days(dataset: Dataset, key: str, start: date, end: date, last: date) -> list[date]:
    """Days from `start` to `end` of which a row can be there once the session `last` is decided.

    Of the days that :func:`days_of` names: for crypto those before `last`, because its day ends at
    midnight, after the decision; for rates and put/call volumes too, which are known a session later.

    >>> due_days("daily_bars", "BTC-USD", date(2018, 1, 5), date(2018, 12, 31), date(2018, 1, 8))
    [datetime.date(2018, 1, 5), datetime.date(2018, 1, 6), datetime.date(2018, 1, 7)]
    """
    if dataset == "daily_bars" and is_crypto(key):
        known = last - _DAY
    elif dataset in _A_SESSION_LATER:
        known = previous_session(last)
        if dataset == "rates" and release_session(known) > last:
            known = previous_session(known)
    else:
        known = last
    return days_of(dataset, key, start, min(end, known))


def gaps_to_ask(
    stored: Mapping[str, Collection[date]],
    keys: Sequence[str],
    *,
    start: date,
    end: date,
    due: date,
    dataset: Dataset = "daily_bars",
) -> list[Gap]:
    """One range a key, from its first to its last missing day; keys with the same range together.

    Parameters
    ----------
    stored
        Stored days of each key, at least those from `start` to `end`.
    keys
        Symbols, index names or series.
    start, end
        The days asked for, as the partitions say.
    due
        The last session that the source can have; nothing later is asked for.

    Examples
    --------
    >>> gaps_to_ask({}, ["SPY"], start=date(2018, 1, 1), end=date(2018, 12, 31),
    ...             due=date(2018, 3, 1))
    [Gap(keys=('SPY',), start=datetime.date(2018, 1, 1), end=datetime.date(2018, 3, 1))]
    """
    wanted: defaultdict[tuple[date, date], list[str]] = defaultdict(list)
    for key in keys:
        days = due_days(dataset, key, start, end, due)
        there = set(stored.get(key, ()))
        missing = [day for day in days if day not in there]
        if missing:
            first = _first_asked(missing[0], there, start)
            # The days after the last due one are no sessions, and rates may be early.
            last = min(end, due) if missing[-1] == days[-1] else missing[-1]
            wanted[first, last].append(key)
    return [Gap(tuple(names), *span) for span, names in sorted(wanted.items())]


def _first_asked(missing: date, stored: Collection[date], start: date) -> date:
    """A week before the last stored day of the year, or the year's first day if there is none."""
    begin = max(start, date(missing.year, 1, 1))
    before = max((day for day in stored if begin <= day < missing), default=None)
    return begin if before is None else max(begin, before - OVERLAP)
