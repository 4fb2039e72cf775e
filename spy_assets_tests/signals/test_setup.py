from __future__ import annotations

import numpy as np
import pytest

from spy_assets.signals.setup import Moment, Pricing, entry_setup, premium_levels
from spy_assets.simulator.actions import DAILY_7, ENTRIES, Opening
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.exits import DEFAULT_RULES, ExitRules, MaxHold
from spy_assets_tests.evaluation.markets import random_walk

PATH = random_walk(4, 12)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("action", ENTRIES)
def test_signal_and_simulator_ask_for_the_same_legs_and_the_same_cash(
    action: int, preset: str
) -> None:
    config, costs = DailyConfig(), PRESETS[preset]
    book = PathBook(PATH, costs, config)
    opening = DAILY_7.openings[action]
    for index, session in enumerate(PATH.sessions):
        moment = Moment(session, float(PATH.close[index]), 0.18, 0.01)
        setup = entry_setup(opening, moment, Pricing(costs))
        assert setup is not None
        legs = book.legs(index, action)
        assert [leg.occ for leg in setup.legs] == [leg.contract.occ for leg in legs]
        assert setup.requirement == pytest.approx(book.requirement[index, action], abs=1e-9)
        mids = book.mids(legs, index, at_open=False)
        assert [leg.mid for leg in setup.legs] == pytest.approx(mids, abs=1e-12)


def test_without_vix_there_is_no_setup() -> None:
    moment = Moment(PATH.sessions[0], 200.0, float("nan"), 0.01)
    assert entry_setup(Opening("long_call"), moment, Pricing(PRESETS["free"])) is None


@pytest.mark.parametrize(
    ("entry", "expected"), [(2.0, (1.4, 3.0)), (-1.0, (-2.0, -0.5)), (0.0, (0.0, 0.0))]
)
def test_levels_of_premium(entry: float, expected: tuple[float, float]) -> None:
    assert premium_levels(entry, DEFAULT_RULES) == pytest.approx(expected)


def test_without_such_rules_there_are_no_levels() -> None:
    assert premium_levels(2.0, ExitRules((MaxHold(),))) == (None, None)


def test_levels_of_the_underlying_are_the_seeds() -> None:
    moment = Moment(PATH.sessions[0], 200.0, 0.18, 0.01)

    def levels(structure: str) -> dict[str, float | None]:
        setup = entry_setup(Opening(structure), moment, Pricing(PRESETS["rltrade"]))
        assert setup is not None
        assert setup.entry is not None
        return setup.spot_levels.model_dump() | {"entry": setup.entry}

    call, put = levels("long_call"), levels("long_put")
    assert np.isclose((call["target"], call["stop"]), (202.4, 198.4)).all()
    assert np.isclose((put["target"], put["stop"]), (197.6, 201.6)).all()
    bull, bear = levels("bull_call_debit"), levels("bear_put_debit")
    assert (bull["target"], bear["target"]) == (205.0, 195.0)
    assert bull["stop"] == 200.0 - bull["entry"]
    assert bear["stop"] == 200.0 + bear["entry"]
    condor = levels("iron_condor")
    assert (condor["lower_stop"], condor["upper_stop"]) == (
        195.0 + condor["entry"],
        205.0 - condor["entry"],
    )
