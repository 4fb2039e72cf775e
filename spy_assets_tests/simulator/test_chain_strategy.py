"""Rules for legs, expiries and entries: what they are by the registry, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from spy_assets.errors import ConfigError
from spy_assets.options.structures import STRUCTURES
from spy_assets.simulator.chain_backtest import due_entries
from spy_assets.simulator.chain_strategy import (
    ChainStrategy,
    EntryRule,
    ExpiryRule,
    LegRule,
    legs_by_delta,
    legs_by_moneyness,
    legs_by_width,
)
from spy_assets_tests.simulator.chain_markets import random_table

OPENING = [name for name, structure in STRUCTURES.items() if structure.templates]


@pytest.mark.parametrize("name", OPENING)
def test_each_structure_has_a_rule_for_each_leg(name):
    for rules in (legs_by_width(name), legs_by_moneyness(name, 0.01), legs_by_delta(name, 0.3)):
        assert len(rules) == len(STRUCTURES[name].templates)
        assert sorted(ChainStrategy(name, rules).leg_order()) == list(range(len(rules)))


def test_the_inner_legs_are_found_by_delta_and_the_others_from_them():
    assert legs_by_delta("bull_put_credit", 0.16, width=10.0) == (
        LegRule("delta", 0.16),
        LegRule("leg", -10.0, other=0),
    )
    assert legs_by_delta("long_straddle", 0.5) == (LegRule("delta", 0.5), LegRule("leg", other=0))
    assert legs_by_delta("butterfly", 0.5, width=4.0) == (
        LegRule("leg", -4.0, other=1),
        LegRule("delta", 0.5),
        LegRule("leg", 4.0, other=1),
    )


def test_wings_can_be_found_by_delta_too():
    rules = legs_by_delta("iron_condor", 0.16, wing_delta=0.05)
    assert [rule.value for rule in rules] == [0.05, 0.16, 0.16, 0.05]
    assert {rule.how for rule in rules} == {"delta"}


def test_a_width_can_be_a_share_of_the_spot():
    assert [rule.share for rule in legs_by_moneyness("long_strangle", 0.02)] == [-0.02, 0.02]


CONDOR = ChainStrategy("iron_condor", legs_by_width("iron_condor"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: legs_by_width("hold"), "hold opens nothing"),
        (lambda: legs_by_width("long_call", 0.0), "width 0.0"),
        (lambda: legs_by_moneyness("long_call", -0.1), "-0.1"),
        (lambda: legs_by_delta("long_call", 1.0), "delta 1.0"),
        (lambda: ExpiryRule(5, 3), "from 5 to 3"),
        (lambda: EntryRule(every=0), "every 0"),
        (lambda: replace(CONDOR, legs=()), "4 legs, 0 rules"),
        (lambda: replace(CONDOR, fill="open"), "fill 'open'"),
        (lambda: replace(CONDOR, units=0), "0 units"),
        (lambda: replace(CONDOR, capital=0.0), "capital 0.0"),
        (
            lambda: replace(
                CONDOR,
                legs=(LegRule("leg", 1.0, other=1), *CONDOR.legs[1:3], LegRule("leg", other=9)),
            ),
            "cannot be",
        ),
    ],
)
def test_what_cannot_be_traded_is_refused_with_its_value(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_entries_are_due_at_the_last_snapshot_or_the_first_after_a_time():
    table = random_table(0)
    days = sorted(set(table.sessions))
    last = due_entries(table, EntryRule())
    assert [table.sessions[at] for at in last.nonzero()[0]] == days
    assert all(table.chain.last[last])
    every = due_entries(table, EntryRule(every=3, after_open=timedelta(0)))
    assert [table.sessions[at] for at in every.nonzero()[0]] == days[::3]
    assert not due_entries(table, EntryRule(after_open=timedelta(hours=9))).any()
