"""The folds of the settings: which sessions a walk-forward trains on, tests, and never sees."""

from __future__ import annotations

from datetime import date, datetime
from math import comb

from spy_assets import sessions
from spy_assets.errors import ConfigError, DataError
from spy_assets.evaluation.splits import (
    HOLDING,
    Fold,
    SessionWindows,
    Windows,
    preset,
    session_windows,
)
from spy_assets.settings import Settings

#: Sessions from a decision to its fill.
FILL_DELAY = {"next_open": 1, "next_close": 2}
#: Sessions of a year, as `--years` counts them.
YEAR = 252


def windows_of(settings: Settings) -> Windows:
    """Give the preset of the settings with their purge and embargo.

    Raises
    ------
    ConfigError
        The purge is less than the longest holding time and the fill delay.
    """
    delay = FILL_DELAY[settings.fill]
    purge = settings.walk.purge_sessions
    return preset(
        settings.walk.preset,
        purge=HOLDING + delay if purge is None else purge,
        embargo=settings.walk.embargo_sessions,
        fill_delay=delay,
    )


def final_from(settings: Settings, now: datetime) -> date:
    """First day of the final period: set, or the source's last year; live, the running one."""
    if settings.walk.final_from is not None:
        return settings.walk.final_from
    return date((settings.last_day or now.date()).year, 1, 1)


def walk_sessions(settings: Settings, now: datetime) -> list[date]:
    """All sessions from the first training session on, the final period included."""
    last = settings.last_day or sessions.last_decided_session(now)
    return sessions.sessions_between(settings.walk_start, last)


def folds_of(settings: Settings, now: datetime) -> tuple[Fold, ...]:
    """Give all folds of the settings, oldest first; none where history is too short for one.

    Raises
    ------
    ConfigError
        The purge is too small.
    """
    windows = windows_of(settings)
    days = walk_sessions(settings, now)
    try:
        return windows.folds(days, until=final_from(settings, now))
    except ConfigError:  # the purge was judged before: it is the history that is short
        return ()


def intraday_sessions(settings: Settings, now: datetime) -> list[date]:
    """All sessions of the walk-forward over minute bars; none where nobody said where it begins."""
    first, last = settings.minute_span
    decided = sessions.last_decided_session(now)
    return [] if first is None else sessions.sessions_between(first, min(last or decided, decided))


def intraday_windows(settings: Settings, now: datetime) -> SessionWindows:
    """Give the windows of the walk-forward over minute bars.

    A last test that is shorter is kept where no later session can make it longer.
    """
    own, last = settings.intraday, settings.minute_span[1]
    ends = last is not None and last <= sessions.last_decided_session(now)
    return session_windows(
        own.train_sessions, own.test_sessions, embargo=own.embargo_sessions, partial=ends
    )


def intraday_folds(settings: Settings, now: datetime) -> tuple[Fold, ...]:
    """Give all folds over minute bars, oldest first; none where there are too few sessions for one."""
    days = intraday_sessions(settings, now)
    try:
        return intraday_windows(settings, now).folds(days)
    except ConfigError:
        return ()


def last_intraday_folds(
    settings: Settings, now: datetime, years: float | None = None
) -> tuple[Fold, ...]:
    """Give as many of the last folds over minute bars as so many years have; all of them by default.

    Raises
    ------
    ConfigError
        There is no fold, or so many years do not have one; with the arithmetic.
    """
    days, windows = intraday_sessions(settings, now), intraday_windows(settings, now)
    if not days:
        raise ConfigError(
            f"source {settings.source!r} does not say where its minute bars begin",
            hint="set SPY_INTRADAY__START to the first session that you have minute bars of",
        )
    folds = windows.folds(days)
    if years is None:
        return folds
    return folds[-len(windows.folds(days[-round(years * YEAR) :])) :]


def last_folds(settings: Settings, now: datetime, years: float | None = None) -> tuple[Fold, ...]:
    """Give as many of the last folds as a history of so many years has; all of them by default.

    Three years of 252 sessions have three folds of two years and a quarter (S0-72).

    Raises
    ------
    ConfigError
        So many years do not have one fold; with the arithmetic.
    """
    folds = folds_of(settings, now)
    windows, days = windows_of(settings), walk_sessions(settings, now)
    if not folds:
        windows.folds(days, until=final_from(settings, now))  # raises, and says why
    if years is None:
        return folds
    before = [day for day in days if day < final_from(settings, now)]
    count = len(windows.folds(before[-round(years * YEAR) :]))
    return folds[-count:]


def final_fold(settings: Settings, now: datetime) -> Fold:
    """Give the fold whose test is the final period, trained on as much as the last fold before it.

    Raises
    ------
    ConfigError
        There is no fold before it, or no session in it.
    """
    folds, days = last_folds(settings, now), walk_sessions(settings, now)
    windows, until = windows_of(settings), final_from(settings, now)
    start = sum(day < until for day in days)
    if len(days) - start < 2:
        raise ConfigError(
            f"the final period has {len(days) - start} session(s) from {until} to {days[-1]}",
            hint="set an earlier SPY_WALK__FINAL_FROM, or wait",
        )
    stop = start - windows.gap
    begin = 0 if windows.expanding else stop - folds[-1].train_sessions
    return Fold(
        number=len(folds),
        train_start=begin,
        train_stop=stop,
        test_start=start,
        test_stop=len(days),
        train_first=days[begin],
        train_last=days[stop - 1],
        test_first=days[start],
        test_last=days[-1],
        purge=windows.purge,
        embargo=windows.embargo,
    )


def fold_named(settings: Settings, key: str, now: datetime) -> Fold:
    """Give the fold whose test begins with a session.

    Raises
    ------
    DataError
        The settings have no such fold.
    """
    return _named(folds_of(settings, now), key, f"preset {settings.walk.preset!r}")


def intraday_fold_named(settings: Settings, key: str, now: datetime) -> Fold:
    """Give the fold over minute bars whose test begins with a session.

    Raises
    ------
    DataError
        The settings have no such fold.
    """
    return _named(intraday_folds(settings, now), key, f"{settings.intraday.minutes}-minute bars")


def _named(folds: tuple[Fold, ...], key: str, whose: str) -> Fold:
    for fold in folds:
        if fold.key == key:
            return fold
    span = f"{len(folds)} from {folds[0].key} to {folds[-1].key}" if folds else "none"
    raise DataError(
        f"{whose} has no fold whose test begins on {key}; it has {span}",
        hint="reload the code location: its partitions are those of the settings it was loaded with",
    )


def split_keys(settings: Settings) -> list[str]:
    """Keys of the splits of the combinatorial cross-validation, such as ``split_007``."""
    return split_keys_of(settings.walk.groups, settings.walk.test_groups)


def split_keys_of(groups: int, test_groups: int) -> list[str]:
    """Keys of the choices of ``test_groups`` among ``groups``."""
    return [split_key(number) for number in range(comb(groups, test_groups))]


def split_key(number: int) -> str:
    """Key of the split of a number."""
    return f"split_{number:03d}"


def split_number(key: str) -> int:
    """Number of the split of a key.

    >>> split_number("split_007")
    7
    """
    return int(key.rpartition("_")[2])
