"""The vectorised environment: the episodes of the Gymnasium one, and what stable-baselines3 asks for."""

from __future__ import annotations

import numpy as np
import pytest

from spy_assets.errors import ConfigError
from spy_assets.simulator.actions import ALL_STRUCTURES_BY_DTE, HOLD
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.environment import DailyOptionsEnv
from spy_assets_tests.simulator.paths import random_path

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def env_class():
    """Importing it brings torch, which no other test of the simulator needs."""
    from spy_assets.simulator.vector_env import DailyVecEnv

    return DailyVecEnv


@pytest.fixture(scope="module")
def book():
    return PathBook(random_path(6, 120, holes=True))


def random_actions(env, rng):
    return np.array([rng.choice(np.flatnonzero(mask)) for mask in env.action_masks()])


def test_an_episode_is_that_of_the_gymnasium_environment(env_class, book):
    env = env_class(book, 3, episode_length=60, dtype=np.float64)
    seen, rng = env.reset(), np.random.default_rng(0)
    twin = DailyOptionsEnv(book.path, episode_length=60, book=book)
    twin.reset(options={"start": book.path.sessions[env.accounts.index[0]]})
    done = False
    while not done:
        actions = random_actions(env, rng)
        seen, rewards, dones, infos = env.step(actions)
        expected, reward, done, _, _ = twin.step(actions[0])
        assert dones[0] == done
        assert rewards[0] == pytest.approx(reward, abs=1e-5)
        got = infos[0]["terminal_observation"] if done else seen[0]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
        if not done:
            assert env.action_masks()[0].tolist() == twin.action_masks().tolist()


def test_ended_episodes_are_told_and_nothing_else(env_class, book):
    env = env_class(book, 4, episode_length=10)
    total, rng = np.zeros(4), np.random.default_rng(1)
    ended = 0
    for _ in range(30):
        _, rewards, dones, infos = env.step(random_actions(env, rng))
        total += rewards
        for i in np.flatnonzero(dones):
            assert infos[i]["episode"]["r"] == pytest.approx(total[i], abs=1e-4)
            assert 1 <= infos[i]["episode"]["l"] <= 10
            total[i] = 0.0
        assert all(infos[i] == {} for i in np.flatnonzero(~dones))
        assert len(env.episode_returns) == len(env.episode_lengths) == dones.sum()
        ended += dones.sum()
    assert ended >= 8


def test_observations_are_of_the_space_and_fresh_at_each_step(env_class, book):
    env = env_class(book, 5, episode_length=30)
    before = env.reset()
    kept = before.copy()
    rng = np.random.default_rng(2)
    for _ in range(80):
        seen, rewards, _, _ = env.step(random_actions(env, rng))
        assert all(env.observation_space.contains(row) for row in seen)
        assert rewards.dtype == np.float32
    assert np.array_equal(before, kept)


def test_the_same_seed_is_the_same_start_and_accounts_differ(env_class, book):
    one, two, other = (env_class(book, 32, episode_length=30, seed=seed) for seed in (4, 4, 5))
    first = one.reset()
    assert np.array_equal(first, two.reset())
    assert not np.array_equal(first, other.reset())
    one.seed(9)
    again = one.reset()
    assert not np.array_equal(again, first)
    two.seed(9)
    assert np.array_equal(again, two.reset())
    assert len({row.tobytes() for row in first}) > 10


def test_a_checkpoint_goes_on_bit_by_bit(env_class, book):
    env, resumed = (env_class(book, 8, episode_length=15, seed=seed) for seed in (1, 2))
    actions = np.random.default_rng(3).integers(0, 7, (60, 8))
    for row in actions[:25]:
        env.step(row)
    resumed.restore(env.state())
    for row in actions[25:]:
        for left, right in zip(env.step(row)[:3], resumed.step(row)[:3], strict=True):
            assert left.tobytes() == right.tobytes()


def test_masks_reach_maskable_ppo(env_class, book):
    from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

    env = env_class(book, 4, episode_length=30)
    assert is_masking_supported(env)
    assert np.array_equal(get_action_masks(env), env.action_masks())
    assert env.env_method("action_masks", indices=2)[0].tolist() == env.action_masks()[2].tolist()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_agents_of_both_kinds_learn_in_it(env_class, book):
    from sb3_contrib import MaskablePPO
    from stable_baselines3 import DQN

    env = env_class(book, 8, episode_length=20)
    MaskablePPO("MlpPolicy", env, n_steps=16, batch_size=64, n_epochs=1, seed=0).learn(256)
    model = DQN("MlpPolicy", env, learning_starts=64, buffer_size=500, seed=0).learn(256)
    assert model.num_timesteps >= 256
    assert len(model.ep_info_buffer) > 0


def test_attributes_are_those_of_all_accounts(env_class, book):
    env = env_class(book, 3, episode_length=30)
    assert env.get_attr("num_envs", [0, 2]) == [3, 3]
    assert not env.has_attr("no_such_thing")
    with pytest.raises(ConfigError, match="some accounts"):
        env.set_attr("render_mode", None, indices=[1])


def test_a_wide_map_has_its_own_actions_and_several_positions(env_class):
    config = DailyConfig(actions=ALL_STRUCTURES_BY_DTE, allow_naked=True, max_positions=4)
    env = env_class(
        PathBook(random_path(3, 90, dividends=True), config=config),
        16,
        episode_length=40,
        capital=100_000.0,
    )
    rng = np.random.default_rng(0)
    assert env.action_space.n == 38
    for _ in range(60):
        seen, *_ = env.step(random_actions(env, rng))
        assert all(env.observation_space.contains(row) for row in seen)


def test_several_symbols_share_one_environment():
    from spy_assets.simulator.vector_env import MultiSymbolVecEnv

    books = [PathBook(random_path(seed, n)) for seed, n in ((1, 60), (2, 200))]
    env = MultiSymbolVecEnv(books, 400, episode_length=20)
    second = env.accounts.index >= 60
    # Symbols are drawn evenly, however long their paths are.
    assert 150 < second.sum() < 250
    for _ in range(25):
        env.step(np.full(400, HOLD))
    assert (env.accounts.index < 260).all()
