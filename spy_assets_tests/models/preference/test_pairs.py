from __future__ import annotations

from dataclasses import replace

import pytest

from spy_assets.errors import DataError
from spy_assets.models.preference.pairs import Preference, compared_pairs, next_pair
from spy_assets_tests.models.preference.raters import CAPITAL, WHEN, random_trades

TRADES = random_trades(6)
ANSWER = Preference("t000", "t001", "1", "anna", WHEN)


def test_every_pair_is_shown_once_and_then_none() -> None:
    answered: set[frozenset[str]] = set()
    while (pair := next_pair(TRADES, answered, seed=1)) is not None:
        left, right = pair
        assert left.trade_id != right.trade_id
        names = frozenset((left.trade_id, right.trade_id))
        assert names not in answered
        answered.add(names)
    assert len(answered) == 15


def test_the_order_of_the_trades_does_not_matter_and_the_seed_does() -> None:
    first = next_pair(TRADES, set(), seed=1)
    assert next_pair(TRADES[::-1], set(), seed=1) == first
    assert {next_pair(TRADES, set(), seed=seed) for seed in range(5)} != {first}


def test_answers_about_other_trades_leave_the_pairs_open() -> None:
    gone = {frozenset(("x", "y")), frozenset(("x", "t000"))}
    assert next_pair(TRADES[:2], gone, seed=0) is not None
    assert next_pair(TRADES[:1], set(), seed=0) is None


def test_an_answer_survives_the_ledger() -> None:
    row = ANSWER.to_row("SPY", "sample")
    assert row["available_at"] == WHEN
    assert Preference.from_row(row) == ANSWER
    with pytest.raises(DataError, match="'maybe'"):
        Preference.from_row(row | {"preferred": "maybe"})


def test_the_same_pair_has_one_id_for_each_person() -> None:
    turned = replace(ANSWER, first="t001", second="t000", preferred="2")
    assert turned.preference_id == ANSWER.preference_id
    assert replace(ANSWER, rater="bob").preference_id != ANSWER.preference_id


def test_what_says_nothing_is_counted() -> None:
    said = [
        ANSWER,
        replace(ANSWER, second="t002", preferred="2"),
        replace(ANSWER, second="t003", preferred="skip"),
        replace(ANSWER, second="gone"),
    ]
    pairs = compared_pairs(said, TRADES, CAPITAL)
    assert pairs.left_preferred.tolist() == [True, False]
    assert (pairs.left.shape, pairs.skipped, pairs.lost) == ((2, 7), 1, 1)
