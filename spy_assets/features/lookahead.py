"""The look-ahead audit: no feature may depend on what was not yet known.

For each cut, a session, everything that was published after its decision time is raised at random,
then lowered, then taken away. Every feature row up to the cut must be what it was, nulls included.
Both directions, because a maximum over the whole history does not notice a lower future. The audit
works on any function from input tables to feature tables, so it covers Polars and SQL alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spy_assets.errors import CheckFailed, DataError
from spy_assets.sessions import decision_time, is_session

Tables = Mapping[str, pl.DataFrame]
Compute = Callable[[Tables], Tables]

MINIMUM_CUTS: Final = 6
#: Fewer days a cut leave too little before and after it.
_DAYS_PER_CUT: Final = 4
#: A perturbed number is multiplied or divided by exp(2 + |N(0, 0.5)|), i.e. by 7 to about 30.
_LEAST_LOG_CHANGE: Final = 2.0
_LOG_CHANGE_SPREAD: Final = 0.5
#: What is done to the future: multiply, divide, remove.
TESTS: Final = ("raise", "lower", "truncate")
_SHARED: Final = ("open", "high", "low", "close", "dividend")
#: Below this, relative differences are rounding.
_ATOL: Final = 1e-12
#: Columns that say when a row was written, not what it says.
_NOT_FEATURES: Final = frozenset({"ingested_at"})


@dataclass(frozen=True)
class Leak:
    """A column that changed before the cut.

    Attributes
    ----------
    table, column
        Where; the column ``(rows)`` means that rows came or went.
    first_session
        Earliest session whose value changed.
    cut
        Last session that was left as it was.
    test
        One of :data:`TESTS`.
    """

    table: str
    column: str
    first_session: date
    cut: date
    test: str


@dataclass(frozen=True)
class AuditReport:
    """What was audited and what leaks; empty ``leaks`` is a pass."""

    columns: int
    cuts: tuple[date, ...]
    leaks: tuple[Leak, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether no column leaks."""
        return not self.leaks

    @property
    def leaking_columns(self) -> dict[str, date]:
        """``table.column`` to the earliest session that changed."""
        first: dict[str, date] = {}
        for leak in self.leaks:
            name = f"{leak.table}.{leak.column}"
            first[name] = min(first.get(name, leak.first_session), leak.first_session)
        return first

    def require_passed(self) -> None:
        """Raise if a column leaks.

        Raises
        ------
        CheckFailed
            With every leaking column and the first session that changed.
        """
        if self.leaks:
            listing = ", ".join(
                f"{name} (from {day})" for name, day in self.leaking_columns.items()
            )
            raise CheckFailed(
                f"{len(self.leaking_columns)} column(s) see the future: {listing}",
                hint="use only windows that end at the session itself",
            )


def default_cuts(sessions: Sequence[date], count: int = MINIMUM_CUTS) -> tuple[date, ...]:
    """Cuts spread over the second half of the history, the last one before the very end.

    The second half, because there every window is full and every column has values to leak.
    """
    days = sorted(set(sessions))
    if len(days) < _DAYS_PER_CUT * count:
        raise DataError(
            f"{len(days)} sessions are too few for {count} cuts",
            hint=f"audit at least {_DAYS_PER_CUT * count} sessions; windows of 252 need about 600",
        )
    half = len(days) // 2
    positions = np.linspace(half, len(days) - 3, count).round().astype(int)
    return tuple(days[position] for position in positions)


def shared_sessions(inputs: Tables) -> list[date]:
    """Sessions of the time that all inputs cover, so that each has a past and a future at a cut.

    Inputs with too few days to be cut (an empty table, a labelled constant) do not count.
    """
    covered = [set(frame["session"].to_list()) for frame in inputs.values()]
    counted = [days for days in covered if len(days) >= _DAYS_PER_CUT * MINIMUM_CUTS]
    if not counted:
        return []
    first, last = max(map(min, counted)), min(map(max, counted))
    return sorted(day for day in set().union(*counted) if first <= day <= last and is_session(day))


def as_first_published(versions: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The last value of each key, dated as if it had been so from its first publication on.

    The audit is of formulas. A revision that became known years later would else count as the future
    of every cut before, and a formula that uses the revised bar would be blamed for it.

    Parameters
    ----------
    versions
        All versions of a raw table, from the oldest to the newest of each key.
    key
        The columns that name one fact.
    """
    first = pl.col("available_at").min().over(key)
    return versions.with_columns(first).unique(key, keep="last", maintain_order=True)


def _split(frame: pl.DataFrame, cut: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    known = pl.col("available_at") <= decision_time(cut)
    return frame.filter(known), frame.filter(~known)


def truncate(tables: Tables, cut: date) -> dict[str, pl.DataFrame]:
    """Return the tables as they were known at the decision time of ``cut``."""
    return {name: _split(frame, cut)[0] for name, frame in tables.items()}


def perturb(
    tables: Tables, cut: date, *, seed: int, upwards: bool = True
) -> dict[str, pl.DataFrame]:
    """Multiply, or divide, every number that was published after ``cut``.

    All prices of a row get the same factor, so that low <= open, close <= high still holds; nulls
    and splits stay, since 14 shares for one would be another fault.
    """
    generator = np.random.default_rng(seed)
    sign = 1.0 if upwards else -1.0

    def factors(rows: int) -> pl.Series:
        spread = _LOG_CHANGE_SPREAD * np.abs(generator.standard_normal(rows))
        return pl.Series(np.exp(sign * (_LEAST_LOG_CHANGE + spread)))

    changed = {}
    for name, frame in sorted(tables.items()):
        known, later = _split(frame, cut)
        shared = factors(later.height)
        numbers = [c for c, kind in frame.schema.items() if kind.is_float() and c != "split"]
        later = later.with_columns(
            pl.col(column) * (shared if column in _SHARED else factors(later.height))
            for column in numbers
        )
        changed[name] = pl.concat([known, later])
    return changed


def _variants(tables: Tables, cut: date, seed: int) -> Iterator[tuple[str, Tables]]:
    yield "raise", perturb(tables, cut, seed=seed, upwards=True)
    yield "lower", perturb(tables, cut, seed=seed, upwards=False)
    yield "truncate", truncate(tables, cut)


def _changed(before: pl.Series, after: pl.Series, rtol: float) -> NDArray[np.bool_]:
    differs = before.is_null() != after.is_null()
    both = before.is_not_null() & after.is_not_null()
    if before.dtype.is_float():
        larger = pl.select(pl.max_horizontal(before.abs(), after.abs())).to_series()
        # NaN compares as equal to NaN and greater than any number, which flags a new NaN.
        unequal = (before - after).abs() > (rtol * larger + _ATOL)
        unequal = unequal & ~(before.is_nan() & after.is_nan()).fill_null(False)
    else:
        unequal = before != after
    return (differs | (both & unequal.fill_null(False))).to_numpy()


def _usable(frame: pl.DataFrame, key: Sequence[str], cut: date) -> pl.DataFrame:
    """Keys of the rows that a decision at the cut could use (crypto days end after it)."""
    return frame.filter(pl.col("available_at") <= decision_time(cut)).select(key)


def _compare(before: pl.DataFrame, after: pl.DataFrame, cut: date, rtol: float) -> dict[str, date]:
    """Columns that differ among the rows usable in either frame, with the first such session."""
    key = [name for name in ("symbol", "session") if name in before.columns]
    usable = pl.concat([_usable(frame, key, cut) for frame in (before, after)]).unique()
    before, after = (frame.join(usable, on=key, how="semi").sort(key) for frame in (before, after))
    found: dict[str, date] = {}
    odd = pl.concat(
        [before.join(after, on=key, how="anti"), after.join(before, on=key, how="anti")]
    )
    if odd.height:
        found["(rows)"] = _earliest(odd["session"])
    before, after = before.join(after, on=key, how="semi"), after.join(before, on=key, how="semi")
    for column in before.columns:
        if column in _NOT_FEATURES or column in key:
            continue
        changed = _changed(before[column], after[column], rtol)
        if changed.any():
            found[column] = _earliest(before["session"].filter(pl.Series(changed)))
    return found


def _earliest(days: pl.Series) -> date:
    listed: list[date] = days.to_list()
    return min(listed)


def audit(
    compute: Compute, inputs: Tables, cuts: Sequence[date] | None = None, rtol: float = 1e-9
) -> AuditReport:
    """Perturb and truncate the inputs after each cut and compare all features up to it.

    Parameters
    ----------
    compute
        Function from input tables to feature tables; every feature table has ``session``.
    inputs
        Raw tables with ``session`` and ``available_at``.
    cuts
        Sessions; by default six in the second half of the time that all inputs cover.
    rtol
        Relative tolerance, float64.

    Returns
    -------
    AuditReport
        Every leaking column with the first session that changed.

    Raises
    ------
    DataError
        If there are fewer than six cuts or no feature row to compare.
    """
    if cuts is None:
        cuts = default_cuts(shared_sessions(inputs))
    if len(cuts) < MINIMUM_CUTS:
        raise DataError(f"{len(cuts)} cuts are too few", hint=f"give at least {MINIMUM_CUTS}")
    baseline = compute(inputs)
    if not any(frame.height for frame in baseline.values()):
        raise DataError("there is no feature row to audit", hint="give inputs with history")
    leaks = []
    for number, cut in enumerate(cuts):
        for test, tables in _variants(inputs, cut, seed=number):
            features = compute(tables)
            for name, before in baseline.items():
                found = _compare(before, features[name], cut, rtol)
                leaks += [Leak(name, column, day, cut, test) for column, day in found.items()]
    columns = sum(len(set(frame.columns) - _NOT_FEATURES) for frame in baseline.values())
    return AuditReport(columns=columns, cuts=tuple(cuts), leaks=tuple(leaks))
