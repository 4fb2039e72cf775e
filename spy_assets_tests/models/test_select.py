from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spy_assets.errors import ConfigError
from spy_assets.models.policy.config import preset
from spy_assets.models.policy.select import (
    Selection,
    as_net,
    score,
    split_for_selection,
    train_and_select,
)
from spy_assets.models.policy.train import Trading
from spy_assets_tests.models.markets import random_market, tiny_config

CONFIG = tiny_config(timesteps=256, seeds=(42, 84))


@pytest.fixture(scope="module")
def selection(tmp_path_factory: pytest.TempPathFactory) -> Selection:
    return train_and_select(
        random_market(), CONFIG, checkpoint_dir=tmp_path_factory.mktemp("checkpoints")
    )


def test_the_split_leaves_a_purge_between() -> None:
    path = random_market()
    head, tail = split_for_selection(path, CONFIG)
    assert (len(head), len(tail)) == (120 - 24 - 10, 24)
    assert path.index_of(tail.sessions[0]) - path.index_of(head.sessions[-1]) == 11
    assert tail.sessions[-1] == path.sessions[-1]


def test_a_short_window_shows_the_arithmetic() -> None:
    with pytest.raises(ConfigError, match=r"120 sessions - 24 .* - 10 .* = 86 .* has 252"):
        split_for_selection(random_market(), preset("sample"))


def test_the_best_on_the_tail_is_chosen(selection: Selection) -> None:
    assert [c.policy.seed for c in selection.candidates] == [42, 84]
    assert selection.chosen.net_pnl == max(c.net_pnl for c in selection.candidates)
    assert set(selection.chosen.metrics) == {
        "validation_net_pnl",
        "validation_trades",
        "validation_win_rate",
    }


def test_scores_are_deterministic_and_net_of_costs(selection: Selection) -> None:
    _, tail = split_for_selection(random_market(), CONFIG)
    policy = selection.chosen.policy
    again = score(policy, tail, CONFIG, Trading())
    assert again.net_pnl == selection.chosen.net_pnl


def test_the_tail_decides_the_choice_but_trains_nothing(selection: Selection) -> None:
    path = random_market()
    close = path.close.copy()
    close[-20:] *= np.linspace(1.0, 0.9, 20)
    other = train_and_select(dataclasses.replace(path, close=close), CONFIG)
    before = [c.policy.policy_hash for c in selection.candidates]
    assert [c.policy.policy_hash for c in other.candidates] == before
    assert other.chosen.net_pnl != selection.chosen.net_pnl


def test_progress_covers_all_seeds() -> None:
    seen: list[float] = []
    train_and_select(random_market(), CONFIG, progress=lambda fraction, _: seen.append(fraction))
    assert seen == [0.5, 1.0]


def test_as_net_keeps_the_hash(selection: Selection) -> None:
    policy = selection.chosen.policy
    assert as_net(policy).weights.policy_hash == policy.policy_hash
