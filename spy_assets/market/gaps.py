"""Coverage: which bars were due, which came, and how long the gaps are.

Gaps are measured, never papered over: :func:`regular_grid` fills a short gap with the last close,
marked and up to a limit, and leaves the rest of a longer one null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from spy_assets.market.availability import days_of
from spy_assets.market.schemas import COVERAGE, TIMESTAMP, Dataset, bars_of
from spy_assets.sessions import bars_due, session_open, sessions_between

#: Longest gap, in bars, that a price may be carried over.
FILL_LIMIT = 5


@dataclass(frozen=True)
class Coverage:
    """Rows due and present for one symbol, over a session or a range of sessions."""

    dataset: str
    symbol: str
    session: date
    due: int
    present: int
    #: Number of runs of missing rows.
    gaps: int
    #: Length of the longest run, in rows.
    longest: int
    note: str = ""

    @property
    def missing(self) -> int:
        """Rows that were due and did not come."""
        return self.due - self.present

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.missing == 0


def coverage_frame(coverages: Sequence[Coverage]) -> pl.DataFrame:
    """The columns of `market.coverage`; a longest gap goes into the note."""
    rows = [(c.dataset, c.symbol, c.session, c.due, c.present, c.gaps, _note(c)) for c in coverages]
    return pl.DataFrame(rows, schema=COVERAGE, orient="row")


def _note(coverage: Coverage) -> str:
    longest = f"longest gap {coverage.longest}" if coverage.gaps else ""
    return "; ".join(part for part in (longest, coverage.note) if part)


def _runs(missing: Sequence[bool]) -> tuple[int, int]:
    """Number of runs of True, and the length of the longest.

    >>> _runs([False, True, True, False, True])
    (2, 2)
    """
    runs = longest = current = 0
    for gone in missing:
        current = current + 1 if gone else 0
        runs += current == 1
        longest = max(longest, current)
    return runs, longest


def _due_starts(session: date, minutes: int) -> pl.Series:
    opened = session_open(session)
    offsets = pl.DataFrame({"n": range(bars_due(session, minutes))}).select(
        (pl.lit(opened).cast(TIMESTAMP) + pl.duration(minutes=pl.col("n") * minutes)).alias(
            "bar_start"
        )
    )
    return offsets.get_column("bar_start").cast(TIMESTAMP)


def minute_coverage(
    frame: pl.DataFrame, *, symbol: str, session: date, minutes: int = 1, note: str = ""
) -> Coverage:
    """Coverage of one session by clean bars of `minutes`.

    390 one-minute bars are due on a full day and 210 on a half day.
    """
    due = _due_starts(session, minutes)
    there = due.is_in(frame.get_column("bar_start").implode())
    runs, longest = _runs((~there).to_list())
    return Coverage(
        bars_of(minutes), symbol, session, due.len(), int(there.sum()), runs, longest, note
    )


def daily_coverage(
    frame: pl.DataFrame,
    *,
    dataset: Dataset,
    symbol: str,
    start: date,
    end: date,
    key: str = "symbol",
    note: str = "",
) -> Coverage:
    """Coverage of the days from `start` to `end`, both included, that :func:`days_of` names."""
    due = days_of(dataset, symbol, start, end)
    there = set(frame.filter(pl.col(key) == symbol).get_column("session"))
    missing = [day not in there for day in due]
    runs, longest = _runs(missing)
    last = due[-1] if due else end
    return Coverage(dataset, symbol, last, len(due), len(due) - sum(missing), runs, longest, note)


def missing_sessions(
    frame: pl.DataFrame, *, start: date, end: date, session: str = "session"
) -> list[date]:
    """The sessions from `start` to `end` that have no row in `frame`."""
    there = set(frame.get_column(session))
    return [day for day in sessions_between(start, end) if day not in there]


def regular_grid(
    frame: pl.DataFrame, *, session: date, minutes: int = 1, limit: int = FILL_LIMIT
) -> pl.DataFrame:
    """One row per bar due, with the last close carried over gaps of up to `limit` bars.

    Returns
    -------
    pl.DataFrame
        `bar_start`, `close` (null in the part of a gap beyond `limit`, and before the first bar),
        `volume` (null where there is no bar) and `filled` (True where the close is carried over).
    """
    grid = pl.DataFrame({"bar_start": _due_starts(session, minutes)})
    joined = grid.join(
        frame.select("bar_start", "close", "volume"),
        on="bar_start",
        how="left",
        maintain_order="left",
    )
    carried = pl.col("close").forward_fill(limit=limit)
    return joined.with_columns(
        carried.alias("close"),
        (pl.col("close").is_null() & carried.is_not_null()).alias("filled"),
    )
