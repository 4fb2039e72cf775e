"""The Gymnasium environment: both checkers, masks, seeds, episodes, missing observations."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium

from spy_assets.errors import ConfigError, DataError
from spy_assets.simulator.actions import HOLD
from spy_assets.simulator.environment import DailyOptionsEnv
from spy_assets.simulator.kernel import check_invariant
from spy_assets_tests.simulator.paths import path_of, random_path

pytestmark = pytest.mark.filterwarnings("error")


def play(env, seed, policy_seed=0):
    """One episode of random allowed actions; observations, rewards and infos."""
    rng = np.random.default_rng(policy_seed)
    seen, _ = env.reset(seed=seed)
    rows, done = [], False
    while not done:
        action = rng.choice(np.flatnonzero(env.action_masks()))
        following, reward, done, _, info = env.step(action)
        rows.append((seen, action, reward, info))
        seen = following
    return rows


@pytest.mark.filterwarnings("default")
def test_both_checkers_accept_it():
    from stable_baselines3.common.env_checker import check_env

    env = DailyOptionsEnv(random_path(1, 80, holes=True), episode_length=20)
    check_env(env)
    check_gymnasium(env, skip_render_check=True)
    assert env.observation_space.shape == (15,)


def test_the_same_seed_is_the_same_episode():
    env, other = (DailyOptionsEnv(random_path(2, 120), episode_length=30) for _ in range(2))
    first, again, third = play(env, 5), play(other, 5), play(env, 6)
    assert [row[2] for row in first] == [row[2] for row in again]
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0][0], third[0][0])


def test_an_episode_has_its_length_and_ends_closed():
    env = DailyOptionsEnv(random_path(3, 120), episode_length=30)
    rows = play(env, 1)
    assert len(rows) == 30
    assert env.simulator.position is None
    check_invariant(env.simulator.account)
    assert sum(row[2] for row in rows) == pytest.approx(
        100 * (env.simulator.value / 10_000 - 1), abs=1e-9
    )


def test_a_whole_path_is_one_episode():
    env = DailyOptionsEnv(random_path(4, 50), episode_length=None)
    assert len(play(env, 0)) == 49


def test_components_are_in_the_info_and_sum_to_the_reward():
    env = DailyOptionsEnv(random_path(5, 60), episode_length=40)
    for _, _, reward, info in play(env, 3):
        assert reward == sum(info["reward_components"])
        assert set(info) == {"reward_components", "trades", "events", "value"}


def test_the_policy_is_never_asked_without_a_complete_observation():
    env = DailyOptionsEnv(random_path(6, 100, holes=True), episode_length=60)
    rows = play(env, 2)
    assert len(rows) < 60
    assert all(np.isfinite(row[0]).all() for row in rows)
    assert sum(row[2] for row in rows) == pytest.approx(
        100 * (env.simulator.value / 10_000 - 1), abs=1e-9
    )


def test_an_episode_can_start_on_a_day():
    path = random_path(7, 60)
    env = DailyOptionsEnv(path, episode_length=20)
    _, info = env.reset(options={"start": path.sessions[11]})
    assert info["session"] == path.sessions[11]
    with pytest.raises(DataError, match=str(path.sessions[55])):
        env.reset(options={"start": path.sessions[55]})


def test_masks_are_those_of_the_simulator_and_respected_actions_cost_nothing():
    env = DailyOptionsEnv(path_of([200.0] * 30), episode_length=10)
    env.reset(seed=0)
    assert env.action_masks().dtype == np.bool_
    assert env.action_masks()[HOLD]
    assert env.step(HOLD)[1] == 0.0


@pytest.mark.parametrize("length", [0, 30, 31])
def test_an_episode_must_fit_the_path(length):
    with pytest.raises(ConfigError, match=f"{length} steps"):
        DailyOptionsEnv(random_path(8, 30), episode_length=length)


def test_observations_outside_the_contract_are_refused_by_name():
    seen = np.full((30, 10), 0.5)
    seen[7, 9] = 1.5
    with pytest.raises(DataError, match=r"'mom5' reaches from 0\.5 to 1\.5"):
        DailyOptionsEnv(path_of([200.0] * 30, observation=seen), episode_length=5)


def test_a_path_without_any_observation_is_refused():
    with pytest.raises(DataError, match="no session"):
        DailyOptionsEnv(
            path_of([200.0] * 30, observation=np.full((30, 10), np.nan)), episode_length=5
        )


def test_bounded_losses_bound_the_account():
    env = DailyOptionsEnv(random_path(9, 400, scale=0.03), episode_length=None, capital=600.0)
    play(env, 0)
    assert env.simulator.value >= -1e-9
