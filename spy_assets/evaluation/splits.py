"""Which sessions are trained on and which are tested on: walk-forward windows, combinatorial paths.

One fold of a walk-forward, in sessions::

    |------------ train ------------|- purge -|- embargo -|------ test ------|
                                    ^                      ^
                              train_stop              test_start

**Purge.** What a decision earns is known when its trade has ended. A decision after the close of session
D fills ``fill_delay`` sessions later and is held for ``holding`` closes, so that it can still earn in
session ``D + holding + fill_delay``. That many sessions between train and test keep the outcome of the
last training decision out of the test. A smaller purge is refused.

**Embargo.** Indicators look back, so sessions that lie close together look alike beyond what trades
share. The embargo is a distance on top of the purge. In a walk-forward every training session lies
before its test, so it stands in front of the test; in combinatorial paths it follows each test,
as in López de Prado (2018), *Advances in Financial Machine Learning*, chapter 7.

**Final period.** Sessions from ``until`` on belong to no fold. They are looked at once, at the end.

A small market of twelve sessions, trained on four and tested on two:

>>> from datetime import date
>>> from spy_assets.sessions import sessions_between
>>> days = sessions_between(date(2018, 1, 2), date(2018, 1, 18))
>>> plan = SessionWindows(train=4, test=2, purge=1, embargo=0, holding=1, fill_delay=0)
>>> for fold in plan.folds(days):
...     print(fold)
fold 0: train 0:4 2018-01-02 to 2018-01-05, purge 1, embargo 0, test 5:7 2018-01-09 to 2018-01-10
fold 1: train 2:6 2018-01-04 to 2018-01-09, purge 1, embargo 0, test 7:9 2018-01-11 to 2018-01-12
fold 2: train 4:8 2018-01-08 to 2018-01-11, purge 1, embargo 0, test 9:11 2018-01-16 to 2018-01-17

An expanding window keeps all that is past, and ``partial`` keeps what is left at the end:

>>> longer = SessionWindows(
...     train=4, test=3, purge=1, embargo=1, holding=1, fill_delay=0, expanding=True, partial=True
... )
>>> for fold in longer.folds(days):
...     print(fold)
fold 0: train 0:4 2018-01-02 to 2018-01-05, purge 1, embargo 1, test 6:9 2018-01-10 to 2018-01-12
fold 1: train 0:7 2018-01-02 to 2018-01-10, purge 1, embargo 1, test 9:12 2018-01-16 to 2018-01-18

Nothing from the fifteenth on is touched where the final period begins there:

>>> [str(fold.test_last) for fold in plan.folds(days, until=date(2018, 1, 15))]
['2018-01-10', '2018-01-12']
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from spy_assets.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Positions = npt.NDArray[np.intp]

SplitName = Literal["s0", "expanding", "yearly", "yearly_expanding"]

#: Longest holding time of the daily exit rules, and the fill at the next open.
HOLDING: Final = 5
FILL_DELAY: Final = 1
#: A trading week on top of the purge.
EMBARGO: Final = 5
#: Least purge where no position crosses a night: the volatility of the close before a session prices it.
LEAST_PURGE: Final = 1


def _require_purge(purge: int, embargo: int, holding: int, fill_delay: int) -> None:
    if embargo < 0:
        raise ConfigError(f"embargo={embargo} sessions", hint="give 0 or more")
    if purge < holding + fill_delay:
        raise ConfigError(
            f"purge={purge} sessions is less than {holding} of the longest holding time + {fill_delay} "
            f"until the fill = {holding + fill_delay}: the last training trades would end in the test",
            hint=f"give a purge of at least {holding + fill_delay}",
        )


def _usable(days: Sequence[date], until: date | None) -> int:
    """How many sessions lie before the final period."""
    for before, after in pairwise(days):
        if after <= before:
            raise ConfigError(f"session {after} follows {before}", hint="sort and drop duplicates")
    count = len(days) if until is None else bisect_left(days, until)
    if not count:
        raise ConfigError(
            f"no session of {len(days)}{_before(until)}", hint="let the final period begin later"
        )
    return count


def _before(until: date | None) -> str:
    return "" if until is None else f" before {until}"


@dataclass(frozen=True)
class Fold:
    """One training window and the test that follows it.

    Positions are those of the sessions that were split, stops exclusive; the dates are the sessions
    there, so that a fold can be found again on a path that begins elsewhere.
    """

    number: int
    train_start: int
    train_stop: int
    test_start: int
    test_stop: int
    train_first: date
    train_last: date
    test_first: date
    test_last: date
    purge: int
    embargo: int

    @property
    def key(self) -> str:
        """The fold's name everywhere: the first session of its test, as an ISO date."""
        return self.test_first.isoformat()

    @property
    def train_sessions(self) -> int:
        """Sessions to train on."""
        return self.train_stop - self.train_start

    @property
    def test_sessions(self) -> int:
        """Sessions to test on."""
        return self.test_stop - self.test_start

    def __str__(self) -> str:
        return (
            f"fold {self.number}: train {self.train_start}:{self.train_stop} {self.train_first} to "
            f"{self.train_last}, purge {self.purge}, embargo {self.embargo}, "
            f"test {self.test_start}:{self.test_stop} {self.test_first} to {self.test_last}"
        )


@dataclass(frozen=True, kw_only=True)
class _Distance:
    """What lies between train and test, in sessions."""

    purge: int = HOLDING + FILL_DELAY
    """Sessions in which the last training decision can still earn; at least holding + fill_delay."""
    embargo: int = EMBARGO
    """Sessions beyond the purge."""
    holding: int = HOLDING
    """Longest time that a position is held, in closes."""
    fill_delay: int = FILL_DELAY
    """Sessions from a decision to its fill: 1 at the next open, 2 where the close fills."""

    def __post_init__(self) -> None:
        _require_purge(self.purge, self.embargo, self.holding, self.fill_delay)

    @property
    def gap(self) -> int:
        """Sessions between the last one of the training and the first one of the test."""
        return self.purge + self.embargo

    def _fold(self, days: Sequence[date], number: int, begin: int, test: tuple[int, int]) -> Fold:
        train_stop = test[0] - self.gap
        return Fold(
            number=number,
            train_start=begin,
            train_stop=train_stop,
            test_start=test[0],
            test_stop=test[1],
            train_first=days[begin],
            train_last=days[train_stop - 1],
            test_first=days[test[0]],
            test_last=days[test[1] - 1],
            purge=self.purge,
            embargo=self.embargo,
        )


@dataclass(frozen=True, kw_only=True)
class SessionWindows(_Distance):
    """Windows of a fixed number of sessions.

    With ``step`` equal to ``test`` this is skfolio's ``WalkForward(test_size=test, train_size=train,
    purged_size=purge + embargo, expand_train=expanding, reduce_test=partial)``.
    """

    train: int = 504
    """Sessions of the training window; of the first one where it expands."""
    test: int = 63
    """Sessions of each test."""
    step: int | None = None
    """Sessions from one test's start to the next one's; by default the length of the test."""
    expanding: bool = False
    """Whether the training begins with the first session of all, instead of moving along."""
    partial: bool = False
    """Whether a last test that is shorter is kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.train, self.test) < 2:
            raise ConfigError(
                f"train={self.train}, test={self.test} sessions",
                hint="give at least two sessions of each",
            )
        if self.stride < self.test:
            raise ConfigError(
                f"step={self.step} sessions is less than test={self.test}: "
                f"{self.test - self.stride} sessions of each test would be counted twice",
                hint=f"give a step of at least {self.test}",
            )

    @property
    def stride(self) -> int:
        """Sessions from one test's start to the next one's."""
        return self.test if self.step is None else self.step

    def folds(self, days: Sequence[date], *, until: date | None = None) -> tuple[Fold, ...]:
        """Cut ascending sessions into folds, oldest first.

        Parameters
        ----------
        days
            All sessions, the final period included.
        until
            First day of the final period, which belongs to no fold.

        Raises
        ------
        ConfigError
            Not one fold fits; with the arithmetic.
        """
        count = _usable(days, until)
        first = self.train + self.gap
        tests = [
            (start, min(start + self.test, count))
            for start in range(first, count - 1, self.stride)
            if self.partial or start + self.test <= count
        ]
        if not tests:
            raise ConfigError(
                f"{count} sessions{_before(until)} - {self.train} to train on - {self.purge} of purge - "
                f"{self.embargo} of embargo = {count - first} to test on, a test has {self.test}",
                hint="give more history or a shorter window",
            )
        return tuple(
            self._fold(days, k, 0 if self.expanding else start - first, (start, stop))
            for k, (start, stop) in enumerate(tests)
        )


def session_windows(
    train: int, test: int, *, embargo: int = 5, expanding: bool = False, partial: bool = False
) -> SessionWindows:
    """Windows for positions that end with their session: a purge of one session, then the embargo.

    >>> session_windows(126, 42).gap
    6
    """
    return SessionWindows(
        train=train,
        test=test,
        purge=LEAST_PURGE,
        embargo=embargo,
        holding=1,
        fill_delay=0,
        expanding=expanding,
        partial=partial,
    )


@dataclass(frozen=True, kw_only=True)
class YearWindows(_Distance):
    """Tests of a calendar year each, after training on the years before it.

    A test begins with the first session of its year; purge and embargo shorten the training.
    """

    train: int = 4
    """Years of the training window; the least where it expands."""
    expanding: bool = False
    """Whether the training begins with the first session of all, instead of moving along."""
    partial: bool = False
    """Whether a last year that is not complete is kept as a test."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train < 1:
            raise ConfigError(f"train={self.train} years", hint="give at least one year")

    def folds(self, days: Sequence[date], *, until: date | None = None) -> tuple[Fold, ...]:
        """Cut ascending sessions into folds, oldest first; see :meth:`SessionWindows.folds`.

        A first year that begins after its seventh of January is incomplete: it counts as no year,
        though an expanding window begins with it.

        Raises
        ------
        ConfigError
            Not one fold fits; with the arithmetic.
        """
        count = _usable(days, until)
        last = days[count - 1]
        first_year = days[0].year + (days[0] > date(days[0].year, 1, 7))
        last_year = last.year - (not self.partial and last < date(last.year, 12, 24))
        years = list(range(first_year, last_year + 2))
        starts = {year: bisect_left(days, date(year, 1, 1), 0, count) for year in years}
        tested = years[self.train : -1]
        if not tested:
            raise ConfigError(
                f"{len(years) - 1} whole years{_before(until)} - {self.train} to train on = "
                f"{len(years) - 1 - self.train} to test on",
                hint="give more history or fewer years to train on",
            )
        return tuple(
            self._fold(
                days,
                k,
                0 if self.expanding else starts[year - self.train],
                (starts[year], starts[year + 1]),
            )
            for k, year in enumerate(tested)
        )


Windows = SessionWindows | YearWindows

PRESETS: Final[dict[SplitName, Windows]] = {
    # Two years, a quarter, a quarter: `python -m src.walk_forward` of the daily baseline.
    "s0": SessionWindows(train=504, test=63),
    "expanding": SessionWindows(train=504, test=63, expanding=True),
    "yearly": YearWindows(train=4),
    "yearly_expanding": YearWindows(train=4, expanding=True),
}
"""The named ways to walk forward."""


def preset(name: str, **changes: Any) -> Windows:
    """Give the preset ``name`` with some values changed, checked again.

    Raises
    ------
    ConfigError
        The name is not a preset, or it has no such value.

    >>> preset("s0", embargo=0).gap
    6
    """
    for key, windows in PRESETS.items():
        if key == name:
            known = {field.name for field in fields(windows)}
            unknown = sorted(set(changes) - known)
            if unknown:
                raise ConfigError(
                    f"preset {name!r} has no {', '.join(unknown)}",
                    hint=f"it has {', '.join(sorted(known))}",
                )
            return replace(windows, **changes)
    raise ConfigError(f"no preset {name!r}", hint=f"choose one of {', '.join(PRESETS)}")


@dataclass(frozen=True, eq=False)
class CombinatorialSplit:
    """One training of combinatorial purged cross-validation.

    Attributes
    ----------
    number
        Position among the splits.
    train
        Positions to train on, ascending; they are not contiguous.
    tests
        Positions of each tested group, ascending.
    paths
        The path that each tested group belongs to.
    """

    number: int
    train: Positions
    tests: tuple[Positions, ...]
    paths: tuple[int, ...]

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """The runs of contiguous training sessions, stops exclusive: nothing is held across them."""
        cuts = [k + 1 for k, (a, b) in enumerate(pairwise(self.train.tolist())) if b != a + 1]
        bounds = list(pairwise([0, *cuts, len(self.train)]))
        return [(int(self.train[a]), int(self.train[b - 1]) + 1) for a, b in bounds if b > a]


@dataclass(frozen=True, eq=False)
class CombinatorialPaths:
    """All trainings, and how their tests make up whole paths through the sessions."""

    splits: tuple[CombinatorialSplit, ...]
    path_count: int

    def path(self, number: int) -> list[tuple[int, Positions]]:
        """Split and tested positions of each group along a path; together they are all sessions."""
        parts = [
            (split.number, test)
            for split in self.splits
            for test, path in zip(split.tests, split.paths, strict=True)
            if path == number
        ]
        return sorted(parts, key=lambda part: int(part[1][0]))


def combinatorial_purged(
    count: int,
    *,
    groups: int = 6,
    test_groups: int = 2,
    purge: int = HOLDING + FILL_DELAY,
    embargo: int = EMBARGO,
    holding: int = HOLDING,
    fill_delay: int = FILL_DELAY,
) -> CombinatorialPaths:
    """Combinatorial purged cross-validation by skfolio's ``CombinatorialPurgedCV``.

    The sessions are cut into ``groups``; every choice of ``test_groups`` of them is tested once, by a
    model that was trained on the rest. Training sessions within ``purge`` of a test on either side, and
    within ``embargo`` more after it, are left out. Each session is tested as often as there are
    paths: ``test_groups / groups`` times the number of splits.

    Parameters
    ----------
    count
        Number of sessions, the final period not included.

    Raises
    ------
    ConfigError
        The purge is too small, or the groups are too short for it; with the arithmetic.

    Examples
    --------
    >>> paths = combinatorial_purged(
    ...     12, groups=3, test_groups=2, purge=1, embargo=0, holding=1, fill_delay=0
    ... )
    >>> for split in paths.splits:
    ...     print(split.number, split.train, [test.tolist() for test in split.tests], split.paths)
    0 [ 9 10 11] [[0, 1, 2, 3], [4, 5, 6, 7]] (0, 0)
    1 [5 6] [[0, 1, 2, 3], [8, 9, 10, 11]] (1, 0)
    2 [0 1 2] [[4, 5, 6, 7], [8, 9, 10, 11]] (1, 1)
    >>> [number for number, _ in paths.path(0)]
    [0, 0, 1]
    """
    import numpy as np
    from skfolio.model_selection import CombinatorialPurgedCV

    _require_purge(purge, embargo, holding, fill_delay)
    if not 2 <= test_groups < groups:
        raise ConfigError(
            f"test_groups={test_groups} of groups={groups}",
            hint="test at least two groups, and leave one to train on",
        )
    size = count // groups
    if purge + embargo >= size - 1:
        raise ConfigError(
            f"{count} sessions / {groups} groups = {size} a group, of which {purge} of purge + "
            f"{embargo} of embargo = {purge + embargo} may be left out, and two must remain",
            hint="use fewer groups or more history",
        )
    cv = CombinatorialPurgedCV(groups, test_groups, purged_size=purge, embargo_size=embargo)
    ids = cv.get_path_ids().tolist()
    splits = [
        CombinatorialSplit(
            number=k,
            train=np.asarray(train, dtype=np.intp),
            tests=tuple(np.asarray(test, dtype=np.intp) for test in tests),
            paths=tuple(ids[k]),
        )
        for k, (train, tests) in enumerate(cv.split(np.zeros((count, 1))))
    ]
    return CombinatorialPaths(tuple(splits), int(cv.n_test_paths))
