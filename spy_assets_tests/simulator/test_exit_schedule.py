"""Exit rules on whole tables: the first age is that at which the rule itself fires."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from spy_assets.errors import ConfigError
from spy_assets.simulator.book import PathBook
from spy_assets.simulator.exit_schedule import exit_schedule
from spy_assets.simulator.exits import ExitRules, MaxHold, SpotMove, exit_rules
from spy_assets.simulator.position_table import NEVER, PositionTable
from spy_assets_tests.simulator.paths import path_of

pytestmark = pytest.mark.filterwarnings("error")


def schedule_of(closes, rules):
    book = PathBook(path_of(closes))
    return exit_schedule(PositionTable.of(book), rules, book)


def test_the_first_rule_of_the_chain_names_the_exit():
    closes = [200.0, 200.0, 200.0, 190.0, 190.0, 190.0, 190.0, 190.0, 190.0, 190.0]
    found = schedule_of(closes, exit_rules(max_hold=1))
    # Decided at the third close, filled at the fourth open: the call's stop, then only the time.
    assert (found.age[2, 0], found.names[found.rule[2, 0]]) == (1, "stop_loss")
    assert (found.age[2, 1], found.names[found.rule[2, 1]]) == (1, "profit_target")
    assert (found.age[4, 0], found.names[found.rule[4, 0]]) == (1, "max_hold")


def test_the_band_of_the_underlying_is_measured_from_the_fill():
    closes = [200.0, 200.0, 200.0, 201.0, 202.5, 202.5, 200.0, 200.0, 200.0, 200.0]
    found = schedule_of(closes, ExitRules((SpotMove(-0.01, 0.012),)))
    assert found.age[2].tolist() == [2] * 5


def test_nothing_fires_from_the_expiry_on():
    found = schedule_of([200.0] * 11, ExitRules((MaxHold(5),)))
    assert found.age[4].tolist() == [NEVER] * 5  # settled at its fifth close
    assert found.age[2].tolist() == [5] * 5


def test_a_rule_of_ones_own_is_refused_by_name():
    @dataclass(frozen=True)
    class FullMoon:
        name: str = "full_moon"

        def fires(self, position, spot):
            return True

    with pytest.raises(ConfigError, match=r"'full_moon' \(FullMoon\) is not compiled"):
        schedule_of(np.full(8, 200.0), ExitRules((FullMoon(),)))
