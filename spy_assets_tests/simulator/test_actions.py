"""Action maps: numbers that never change, identities, and what they refuse."""

from __future__ import annotations

from datetime import date
from typing import get_args

import pytest

from spy_assets.errors import ConfigError
from spy_assets.options.structures import STRUCTURES
from spy_assets.settings import ActionsName
from spy_assets.simulator.actions import (
    ACTION_MAPS,
    ALL_STRUCTURES,
    ALL_STRUCTURES_BY_DTE,
    DAILY_7,
    DAILY_ACTIONS,
    DAYS_1_TO_7,
    DAYS_7_TO_45,
    SAME_DAY,
    TYPE_CODES,
    ActionMap,
    DailyAction,
    Opening,
    action_map,
)
from spy_assets.simulator.book import DailyConfig
from spy_assets_tests.simulator.paths import random_path


def test_the_daily_map_keeps_its_numbers():
    assert DAILY_7.names == tuple(action.name for action in DailyAction)
    assert [one.structure for one in DAILY_7.openings] == [
        spec.structure for spec in DAILY_ACTIONS.values() if spec.is_entry
    ]
    assert (DAILY_7.hold, DAILY_7.close, len(DAILY_7)) == (5, 6, 7)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("daily_7", "9e91f18696bb008d"),
        ("all_structures", "d9a037e9110083ae"),
        ("all_structures_by_dte", "460092d0e7e3fdcc"),
    ],
)
def test_what_a_stored_number_means_has_an_identity(name, digest):
    # If this fails, a number of a stored version has changed its meaning: give the map a new version.
    assert action_map(name).sha256[:16] == digest


def test_every_structure_that_opens_something_is_in_the_wide_maps():
    opening = [name for name, structure in STRUCTURES.items() if structure.templates]
    assert [one.structure for one in ALL_STRUCTURES.openings] == opening
    assert len(ALL_STRUCTURES_BY_DTE) == 3 * 12 + 2
    assert set(TYPE_CODES) == set(opening)
    assert len(set(TYPE_CODES.values())) == 12


def test_maps_of_other_content_have_other_identities():
    one = ActionMap("mine", 1, (Opening("long_call"),))
    others = [
        ActionMap("mine", 2, (Opening("long_call"),)),
        ActionMap("mine", 1, (Opening("long_put"),)),
        ActionMap("mine", 1, (Opening("long_call", SAME_DAY),)),
    ]
    assert len({one.sha256, *(other.sha256 for other in others)}) == 4


def test_buckets_reach_what_their_names_say():
    for session in random_path(0, 260).sessions:
        assert 1 <= (SAME_DAY.expiry(session, 1) - session).days <= 4
        # A week without a Friday ends on the Thursday, from which the next is eight days away.
        assert 1 <= (DAYS_1_TO_7.expiry(session, 1) - session).days <= 8
        assert 7 <= (DAYS_7_TO_45.expiry(session, 1) - session).days <= 45
    # The session after the decision, in which the order is filled.
    assert SAME_DAY.expiry(date(2016, 1, 5), 1) == date(2016, 1, 6)


def test_uncovered_shorts_need_the_flag():
    with pytest.raises(ConfigError, match="uncovered short_"):
        DailyConfig(actions=ALL_STRUCTURES)
    assert DailyConfig(actions=ALL_STRUCTURES, allow_naked=True).actions is ALL_STRUCTURES


@pytest.mark.parametrize(
    ("openings", "message"),
    [
        ((), "opens nothing"),
        ((Opening("hold"),), "hold"),
        ((Opening("long_put"), Opening("long_put")), "twice"),
    ],
)
def test_maps_that_make_no_sense_are_refused(openings, message):
    with pytest.raises(ConfigError, match=message):
        ActionMap("mine", 1, openings)


def test_an_unknown_map_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="daily_7"):
        action_map("seven")
    assert set(ACTION_MAPS) == set(get_args(ActionsName))  # what the settings offer
