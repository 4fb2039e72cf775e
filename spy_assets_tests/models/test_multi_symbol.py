"""One daily policy for several symbols: what it is trained on, and what chooses among its seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spy_assets.errors import ConfigError, DataError
from spy_assets.features.contracts import DAILY_15_CHAIN_V1
from spy_assets.models.policy.multi_symbol import (
    MultiSymbolTask,
    SymbolMarket,
    train_and_select_symbols,
)
from spy_assets.models.policy.select import score, split_for_selection
from spy_assets.models.policy.train import Trading, train_task
from spy_assets.simulator.book import DailyConfig
from spy_assets_tests.models.markets import random_market, tiny_config

CONFIG = tiny_config(seeds=(42, 84))


def market(seed: int, root: str, length: int = 200) -> SymbolMarket:
    return SymbolMarket(random_market(length, seed), Trading(simulation=DailyConfig(root=root)))


SPY, QQQ = market(1, "SPY"), market(2, "QQQ")
BOTH = {"SPY": SPY, "QQQ": QQQ}


def test_a_seed_is_judged_by_the_sum_over_the_symbols_own_tails() -> None:
    found = train_and_select_symbols(BOTH, CONFIG)
    cut = {name: split_for_selection(one.path, CONFIG) for name, one in BOTH.items()}
    heads = {name: SymbolMarket(cut[name][0], one.trading) for name, one in BOTH.items()}
    for candidate in found.candidates:
        alone = train_task(MultiSymbolTask(heads), CONFIG, candidate.policy.seed)
        assert alone.policy_hash == candidate.policy.policy_hash
        parts = [score(alone, cut[n][1], CONFIG, one.trading) for n, one in BOTH.items()]
        assert candidate.net_pnl == sum(part.net_pnl for part in parts)
        assert candidate.trades == sum(part.trades for part in parts)
    assert found.chosen.net_pnl == max(one.net_pnl for one in found.candidates)
    assert (found.train_sessions, found.validation_sessions) == (2 * 150, 2 * 40)


def test_no_session_of_a_tail_is_trained_on_by_any_symbol() -> None:
    """Other prices from the first head's end on: the same weights."""
    moved = {}
    for name, one in BOTH.items():
        head, _ = split_for_selection(one.path, CONFIG)
        close, opened = one.path.close.copy(), one.path.open.copy()
        close[len(head) :] *= 1.1
        opened[len(head) :] *= 1.1
        moved[name] = replace(one, path=replace(one.path, close=close, open=opened))
    before, after = (train_and_select_symbols(m, CONFIG).candidates for m in (BOTH, moved))
    assert [c.policy.policy_hash for c in before] == [c.policy.policy_hash for c in after]


def test_both_symbols_are_learned_from() -> None:
    other = {"SPY": SPY, "QQQ": market(3, "QQQ")}
    digests = {MultiSymbolTask(one).dataset_digest for one in (BOTH, other)}
    digests.add(MultiSymbolTask({"QQQ": QQQ, "SPY": SPY}).dataset_digest)
    hashes = {train_task(MultiSymbolTask(one), CONFIG, 42).policy_hash for one in (BOTH, other)}
    assert (len(digests), len(hashes)) == (3, 2)
    assert "QQQ" in MultiSymbolTask(BOTH).account


def test_symbols_are_drawn_evenly() -> None:
    env = MultiSymbolTask({"SPY": market(1, "SPY", 60), "QQQ": QQQ}).copies(400, 20)
    assert 150 < (env.accounts.index >= 60).sum() < 250


@pytest.mark.parametrize(
    ("markets", "error", "words"),
    [
        ({"SPY": SPY}, ConfigError, "a policy of several symbols over SPY"),
        (
            {"SPY": SPY, "QQQ": replace(QQQ, path=QQQ.path.window(0, 190))},
            DataError,
            "end on different sessions: SPY 2015-10-16, QQQ 2015-10-02",
        ),
        (
            {"SPY": SPY, "QQQ": replace(QQQ, path=QQQ.path.window(100, 200))},
            DataError,
            "another one's seeds are compared from 2015-08-21 on",
        ),
        (
            {"SPY": SPY, "QQQ": replace(QQQ, path=replace(QQQ.path, contract=DAILY_15_CHAIN_V1))},
            DataError,
            "observed by 2 contracts",
        ),
    ],
)
def test_windows_that_do_not_fit_are_refused(markets: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        train_and_select_symbols(markets, CONFIG)
