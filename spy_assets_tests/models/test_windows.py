"""What is trained on, what is left between, what is judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.models.policy.windows import split_windows
from spy_assets.sessions import sessions_between
from spy_assets_tests.models.markets import random_market

PATH = random_market(400)


def test_training_purge_and_validation_meet_without_overlap() -> None:
    cut = split_windows(PATH, validation_sessions=63, purge_sessions=6)
    assert (cut.train_start, cut.train_stop, cut.validation_start) == (0, 331, 337)
    assert cut.train_end == PATH.sessions[330] == cut.training.sessions[-1]
    assert len(cut.path) - cut.validation_start == 63
    between = sessions_between(cut.train_end, PATH.sessions[cut.validation_start])
    assert len(between) - 2 == 6


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 120), st.integers(0, 20))
def test_every_session_is_in_one_part(validation: int, purge: int) -> None:
    cut = split_windows(PATH, validation_sessions=validation, purge_sessions=purge)
    assert len(cut.training) + purge + validation == len(PATH)
    assert cut.train_end < PATH.sessions[cut.validation_start]


def test_sessions_before_the_first_complete_observation_are_left_out() -> None:
    valid = np.array([False] * 50 + [True] * 350)
    cut = split_windows(replace(PATH, valid=valid), validation_sessions=63, purge_sessions=6)
    assert (cut.train_start, cut.training.sessions[0]) == (50, PATH.sessions[50])


def test_later_holes_stay() -> None:
    valid = np.ones(400, dtype=bool)
    valid[100:110] = False
    cut = split_windows(replace(PATH, valid=valid), validation_sessions=63, purge_sessions=6)
    assert len(cut.training) == 331


@pytest.mark.parametrize(("length", "enough"), [(321, True), (320, False)])
def test_a_year_is_the_least(length: int, enough: bool) -> None:
    path = PATH.window(0, length)
    if enough:
        assert len(split_windows(path, validation_sessions=63, purge_sessions=6).training) == 252
        return
    with pytest.raises(DataError, match=r"320 sessions .* - 63 validation - 6 purge = 251 to"):
        split_windows(path, validation_sessions=63, purge_sessions=6)


def test_a_market_without_one_complete_observation_is_refused() -> None:
    empty = replace(PATH, valid=np.zeros(400, dtype=bool))
    with pytest.raises(DataError, match="400 before the first complete observation"):
        split_windows(empty, validation_sessions=63, purge_sessions=6)
