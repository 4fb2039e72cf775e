"""Splits: what belongs to train and test, what the purge keeps apart, and a peer's own splits."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skfolio.model_selection import CombinatorialPurgedCV
from skfolio.model_selection import WalkForward as PeerWalkForward

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import Venue, run_policy
from spy_assets.evaluation.baselines import always
from spy_assets.evaluation.splits import (
    PRESETS,
    Fold,
    SessionWindows,
    Windows,
    YearWindows,
    combinatorial_purged,
    preset,
)
from spy_assets.sessions import sessions_between
from spy_assets.simulator.actions import ENTRIES
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.exits import ExitRules, MaxHold
from spy_assets_tests.evaluation.markets import random_walk

DAYS = sessions_between(date(2008, 1, 1), date(2017, 12, 31))


@st.composite
def session_plans(draw: st.DrawFn) -> tuple[SessionWindows, list[date]]:
    holding, delay = draw(st.integers(0, 8)), draw(st.integers(0, 2))
    test = draw(st.integers(2, 40))
    plan = SessionWindows(
        train=draw(st.integers(2, 60)),
        test=test,
        step=draw(st.one_of(st.none(), st.integers(test, test + 10))),
        purge=holding + delay + draw(st.integers(0, 3)),
        embargo=draw(st.integers(0, 6)),
        holding=holding,
        fill_delay=delay,
        expanding=draw(st.booleans()),
        partial=draw(st.booleans()),
    )
    least = plan.train + plan.gap + plan.test
    return plan, DAYS[: draw(st.integers(least, least + 400))]


def train_and_test(fold: Fold) -> tuple[range, range]:
    return range(fold.train_start, fold.train_stop), range(fold.test_start, fold.test_stop)


@given(session_plans())
def test_training_ends_purge_and_embargo_before_its_test(
    made: tuple[SessionWindows, list[date]],
) -> None:
    plan, days = made
    for fold in plan.folds(days):
        train, test = train_and_test(fold)
        assert min(len(train), len(test)) >= 2
        assert test[0] - train[-1] == plan.purge + plan.embargo + 1
        assert (days[train[0]], days[train[-1]]) == (fold.train_first, fold.train_last)
        assert (days[test[0]], days[test[-1]]) == (fold.test_first, fold.test_last)


@given(session_plans())
def test_tests_follow_each_other_and_none_is_counted_twice(
    made: tuple[SessionWindows, list[date]],
) -> None:
    plan, days = made
    folds = plan.folds(days)
    tested = [k for fold in folds for k in train_and_test(fold)[1]]
    assert tested == sorted(set(tested))
    if plan.stride == plan.test:
        assert tested == list(range(tested[0], tested[-1] + 1))
    assert len(days) - tested[-1] - 1 < plan.stride + (0 if plan.partial else plan.test)


@given(session_plans())
def test_equal_to_skfolio_where_tests_follow_without_a_pause(
    made: tuple[SessionWindows, list[date]],
) -> None:
    plan, days = made
    if plan.stride != plan.test:
        return
    peer = PeerWalkForward(
        test_size=plan.test,
        train_size=plan.train,
        purged_size=plan.gap,
        expand_train=plan.expanding,
        reduce_test=plan.partial,
    )
    ours = [(list(a), list(b)) for a, b in map(train_and_test, plan.folds(days))]
    theirs = [(a.tolist(), b.tolist()) for a, b in peer.split(np.zeros((len(days), 1)))]
    # A test of one session has no return to measure a deviation of: the peer keeps it, we do not.
    assert ours == [(a, b) for a, b in theirs if len(b) > 1]


@pytest.mark.parametrize("expanding", [False, True])
@pytest.mark.parametrize("train", [1, 3])
def test_years_equal_to_skfolio(train: int, expanding: bool) -> None:
    import pandas as pd

    days = [date(2007, 12, 31), *DAYS]  # the peer takes a year that begins after the first session
    table = pd.DataFrame(np.zeros((len(days), 1)), index=pd.DatetimeIndex(days))
    plan = YearWindows(train=train, expanding=expanding)
    peer = PeerWalkForward(
        test_size=1, train_size=train, freq="YS", purged_size=plan.gap, expand_train=expanding
    )
    theirs = [(a.tolist(), b.tolist()) for a, b in peer.split(table)]
    ours = [(list(a), list(b)) for a, b in map(train_and_test, plan.folds(days))]
    assert ours[:-1] == theirs  # the peer needs the session after a year to know that it is over
    assert ours[-1][1][-1] == len(days) - 1


@pytest.mark.parametrize("plan", PRESETS.values(), ids=PRESETS)
def test_the_final_period_is_in_no_fold(plan: Windows) -> None:
    until = date(2016, 7, 1)
    folds = plan.folds(DAYS, until=until)
    assert folds[-1].test_last < until
    assert folds == plan.folds([day for day in DAYS if day < until])


def test_the_daily_baselines_windows_on_three_years() -> None:
    folds = preset("s0").folds(DAYS[: 3 * 252])
    assert [fold.test_sessions for fold in folds] == [63, 63, 63]
    assert {fold.train_sessions for fold in folds} == {504}
    assert [b.test_start - a.test_start for a, b in pairwise(folds)] == [63, 63]


@pytest.mark.parametrize(("fill", "delay"), [("next_open", 1), ("next_close", 2)])
@pytest.mark.parametrize("holding", [1, 5])
def test_no_trade_outlasts_holding_time_and_fill_delay(fill: str, delay: int, holding: int) -> None:
    config = DailyConfig(fill=fill, dte=30)  # type: ignore[arg-type]
    path = random_walk(0, 120)
    venue = Venue(path, rules=ExitRules((MaxHold(holding),), holding), config=config)
    trades = run_policy(venue, always(ENTRIES[0])).trades
    lasted = [
        path.index_of(trade.exit_session) - path.index_of(trade.decision_session)
        for trade in trades
    ]
    assert max(lasted) == holding + delay


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SessionWindows(purge=5), "purge=5 sessions is less than 5 .* \\+ 1"),
        (lambda: YearWindows(purge=6, fill_delay=2), "purge=6 sessions is less than 5 .* = 7"),
        (lambda: combinatorial_purged(600, purge=3), "purge=3 sessions is less than 5"),
        (lambda: SessionWindows(embargo=-1), "embargo=-1"),
        (
            lambda: SessionWindows(test=63, step=60),
            "3 sessions of each test would be counted twice",
        ),
        (lambda: SessionWindows(train=1), "train=1"),
        (lambda: YearWindows(train=0), "train=0 years"),
        (lambda: SessionWindows().folds(DAYS[:520]), "520 sessions - 504 .* = 5 to test on"),
        (
            lambda: YearWindows().folds(DAYS, until=date(2012, 1, 1)),
            "4 whole years before 2012-01-01 - 4 to train on = 0",
        ),
        (lambda: SessionWindows().folds(DAYS, until=date(2000, 1, 1)), "no session of 2518"),
        (lambda: SessionWindows().folds(DAYS[::-1]), "2017-12-28 follows 2017-12-29"),
        (lambda: combinatorial_purged(72, groups=6), "72 sessions / 6 groups = 12 .* = 11"),
        (lambda: combinatorial_purged(600, groups=3, test_groups=3), "test_groups=3 of groups=3"),
        (lambda: preset("weekly"), "no preset 'weekly'"),
        (lambda: preset("yearly", test=5), "preset 'yearly' has no test"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_arithmetic(make, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=words):
        make()


@given(st.integers(3, 8), st.data(), st.integers(1, 9), st.integers(0, 5), st.integers(0, 40))
def test_combinatorial_training_keeps_its_distance(
    groups: int, data: st.DataObject, purge: int, embargo: int, extra: int
) -> None:
    tested = data.draw(st.integers(2, groups - 1))
    count = groups * (purge + embargo + 2) + extra
    paths = combinatorial_purged(
        count,
        groups=groups,
        test_groups=tested,
        purge=purge,
        embargo=embargo,
        holding=1,
        fill_delay=0,
    )
    for split in paths.splits:
        test = np.concatenate(split.tests)
        apart = split.train[:, None] - test[None, :]  # positive: after the test
        assert (apart[apart > 0] > purge + embargo).all()
        assert (apart[apart < 0] < -purge).all()
        assert (apart != 0).all()


@given(st.integers(3, 7), st.data(), st.integers(0, 30))
def test_each_path_walks_every_session_once_in_order(
    groups: int, data: st.DataObject, extra: int
) -> None:
    tested = data.draw(st.integers(2, groups - 1))
    count = groups * 13 + extra
    paths = combinatorial_purged(count, groups=groups, test_groups=tested)
    for number in range(paths.path_count):
        walked = np.concatenate([test for _, test in paths.path(number)])
        assert walked.tolist() == list(range(count))


def test_combinatorial_splits_are_skfolios() -> None:
    paths = combinatorial_purged(400, groups=6, test_groups=2)
    peer = CombinatorialPurgedCV(6, 2, purged_size=6, embargo_size=5)
    theirs = list(peer.split(np.zeros((400, 1))))
    assert [split.train.tolist() for split in paths.splits] == [a.tolist() for a, _ in theirs]
    assert paths.path_count == peer.n_test_paths == 5
    assert np.array_equal([split.paths for split in paths.splits], peer.get_path_ids())


def test_stretches_are_the_contiguous_parts_of_a_training() -> None:
    for split in combinatorial_purged(400).splits:
        found = np.concatenate([np.arange(start, stop) for start, stop in split.stretches])
        assert np.array_equal(found, split.train)
        assert all(b[0] > a[1] for a, b in pairwise(split.stretches))
