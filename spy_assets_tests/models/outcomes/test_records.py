from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from spy_assets.errors import DataError
from spy_assets.features.contracts import DAILY_15_CHAIN_V1
from spy_assets.models.outcomes.records import Outcomes, join, outcomes_from_rows
from spy_assets.simulator.actions import ALL_STRUCTURES, DAILY_7, DAILY_ACTIONS, DEFINED_RISK

SEEN = [k / 20 for k in range(15)]
PROBABILITIES = {spec.action.name: 1 / 6 for spec in DAILY_ACTIONS.values()} | {"CLOSE": 0.0}


def signal(name: str = "a", action: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "signal_id": name,
        "action_name": DAILY_7.names[action],
        "contract": "daily_15_proxy_v1",
        "state_vector": json.dumps(SEEN),
        "probabilities": json.dumps(PROBABILITIES),
    } | changes


def outcome(name: str = "a", pnl_pct: float | None = 0.25) -> dict[str, Any]:
    return {"signal_id": name, "pnl_pct": pnl_pct, "pnl": 10.0}


def test_rows_become_what_was_seen_done_and_earned() -> None:
    found = outcomes_from_rows([signal("a", 2), signal("b", 5)], [outcome("a")])
    assert found.ids == ("a",)
    assert found.observation.tolist() == [SEEN]
    assert found.mask.tolist() == [[True] * 6 + [False]]
    assert (found.action.tolist(), found.gain.tolist()) == ([2], [0.25])
    assert not found.left_out


@pytest.mark.parametrize(
    ("changes", "pnl_pct", "reason"),
    [
        ({"contract": "daily_15_chain_v1"}, 0.1, "contract daily_15_chain_v1"),
        ({"state_vector": json.dumps([None, *SEEN[1:]])}, 0.1, "incomplete observation"),
        ({"state_vector": None}, 0.1, "incomplete observation"),
        ({"probabilities": "{}"}, 0.1, "no probability recorded"),
        ({}, None, "no reward"),
    ],
)
def test_what_cannot_be_learnt_from_is_left_out_and_counted(
    changes: dict[str, Any], pnl_pct: float | None, reason: str
) -> None:
    found = outcomes_from_rows([signal(**changes)], [outcome(pnl_pct=pnl_pct)])
    assert (len(found), found.left_out) == (0, {reason: 1})


@pytest.mark.parametrize("wider", [False, True])
def test_signals_of_another_map_teach_nothing_though_their_names_are_known(wider: bool) -> None:
    ours, theirs = (ALL_STRUCTURES, DEFINED_RISK)[:: -1 if wider else 1]
    name = DEFINED_RISK.names[3]
    assert name in ours.names
    said = json.dumps(dict.fromkeys(theirs.names, 1 / len(theirs)))
    row = signal(probabilities=said, action_name=name, action=theirs.names.index(name))
    found = outcomes_from_rows([row], [outcome()], actions=ours)
    assert (len(found), found.left_out) == (0, {"another action map": 1})


def test_an_action_is_read_by_its_name_not_by_its_number() -> None:
    found = outcomes_from_rows([signal(action=2) | {"action": 1}], [outcome()])
    assert found.action.tolist() == [2]


def test_another_reward_may_be_learnt_from() -> None:
    found = outcomes_from_rows([signal()], [outcome()], gain=lambda row, what: what["pnl"] / 100)
    assert found.gain.tolist() == [0.1]
    assert found.with_gain([2.0]).gain.tolist() == [2.0]


def test_sets_of_one_contract_are_joined() -> None:
    one = outcomes_from_rows([signal("a", contract="other")], [outcome("a")])
    two = outcomes_from_rows([signal("b"), signal("c", 1)], [outcome("b"), outcome("c")])
    both = join([one, two])
    assert both.ids == ("b", "c")
    assert (both.observation.shape, both.left_out) == ((2, 15), {"contract other": 1})
    with pytest.raises(DataError, match="2 contracts"):
        join([two, Outcomes.of([], DAILY_15_CHAIN_V1)])


@pytest.mark.parametrize(
    ("seen", "mask", "gain", "told"),
    [
        (np.full(15, np.nan), [True] * 7, 0.0, "no finite observation"),
        (np.zeros(15), [False] * 7, 0.0, "a took action 0"),
    ],
)
def test_impossible_outcomes_are_refused(seen: Any, mask: Any, gain: float, told: str) -> None:
    with pytest.raises(DataError, match=told):
        Outcomes.of([("a", seen, mask, 0, gain)])


def test_arrays_that_do_not_fit_are_refused() -> None:
    good = Outcomes.of([("a", np.zeros(15), [True] * 7, 0, 0.0)])
    with pytest.raises(DataError, match="have shapes"):
        good.with_gain([1.0, 2.0])
