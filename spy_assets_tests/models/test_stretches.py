"""Training on a market with gaps: where episodes lie, and that nothing in a gap is learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError
from spy_assets.models.policy.stretches import StretchesTask
from spy_assets.models.policy.train import Trading, train_task
from spy_assets.simulator.episodes import Episodes
from spy_assets_tests.models.markets import random_market, tiny_config

MARKET = random_market(160)
BOUNDS = [(0, 50), (70, 115), (130, 160)]
CONFIG = tiny_config(timesteps=512, episode_length=20)


def task_on(market: object = MARKET) -> StretchesTask:
    return StretchesTask.of(market, BOUNDS, Trading())  # type: ignore[arg-type]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(8, 30), min_size=1, max_size=4), st.integers(1, 7))
def test_no_episode_crosses_a_gap(lengths: list[int], length: int) -> None:
    """Every start that fits is there once, and ends on the stretch that it begins on."""
    edges = np.cumsum([0, *lengths])
    books = [Trading().book(MARKET.window(0, size)) for size in lengths]
    found = Episodes.over(books, length, pooled=True)
    where = np.searchsorted(edges, found.sessions, side="right")
    assert (where[:, 0] == where[:, 1]).all()
    assert (np.diff(found.sessions, axis=1) == length).all()
    assert len(np.unique(found.sessions[:, 0])) == sum(size - length for size in lengths)
    assert found.groups.tolist() == [0, len(found.sessions)]
    apart = Episodes.over(books, length)
    assert np.array_equal(apart.sessions, found.sessions)
    assert np.diff(apart.groups).tolist() == [size - length for size in lengths]


def test_what_lies_in_a_gap_changes_nothing() -> None:
    gap = np.ones(len(MARKET), dtype=bool)
    for start, stop in BOUNDS:
        gap[start:stop] = False
    other = replace(
        MARKET,
        close=np.where(gap, 3.0 * MARKET.close, MARKET.close),
        open=np.where(gap, 3.0 * MARKET.open, MARKET.open),
        observation=np.where(gap[:, None], 0.5, MARKET.observation),
    )
    first, second = (train_task(task_on(one), CONFIG, 42) for one in (MARKET, other))
    assert first.policy_hash == second.policy_hash
    assert task_on().dataset_digest == task_on(other).dataset_digest


def test_the_digest_sees_every_stretch_and_where_it_ends() -> None:
    observation = MARKET.observation.copy()
    observation[80] += 0.01
    moved = StretchesTask.of(MARKET, [(0, 50), (70, 114), (130, 160)], Trading())
    seen = {task_on().dataset_digest, moved.dataset_digest}
    seen.add(task_on(replace(MARKET, observation=observation)).dataset_digest)
    assert len(seen) == 3


def test_stretches_that_no_episode_fits_on_are_left_out() -> None:
    assert [len(one) for one in task_on().usable(44)] == [50, 45]
    with pytest.raises(ConfigError, match="60 steps fits on stretches of 50, 45, 30 sessions"):
        task_on().usable(60)
    with pytest.raises(ConfigError, match="no stretch"):
        StretchesTask(())
