"""The short-premium environments: both checkers, episodes, symbols, masks, and going on after a stop."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium

from spy_assets.errors import ConfigError, DataError
from spy_assets.simulator.short_premium import ShortPremiumSimulator
from spy_assets.simulator.short_premium_batch import ShortPremiumAccounts, episode_starts
from spy_assets.simulator.short_premium_env import MultiAssetOptionsEnv, ShortPremiumEnv
from spy_assets.simulator.short_premium_plan import ShortPremiumPlan
from spy_assets_tests.simulator.intraday_paths import flat_path, random_path


@pytest.fixture(scope="module")
def path():
    return random_path(1, 8, minutes=15)


@pytest.fixture(scope="module")
def other():
    """Another symbol, at a third of the price."""
    made = random_path(2, 5, minutes=15)
    prices = {name: getattr(made, name) * 0.3 for name in ("open", "high", "low", "close")}
    arrays = made.arrays._replace(open=prices["open"], close=prices["close"])
    return type(made)(**{**made.__dict__, **prices, "symbol": "QQQ", "arrays": arrays})


def vector(paths, n=4, **options):
    from spy_assets.simulator.short_premium_vector import ShortPremiumVecEnv

    return ShortPremiumVecEnv(paths, n, **options)


def allowed(masks, rng):
    return (rng.random(masks.shape) * masks).argmax(axis=-1)


@pytest.mark.parametrize("actions", [3, 5])
def test_both_checkers_accept_it(path, actions):
    from stable_baselines3.common.env_checker import check_env

    env = ShortPremiumEnv(path, ShortPremiumPlan(actions=actions))
    check_env(env)
    check_gymnasium(env, skip_render_check=True)
    assert env.action_space.n == actions


def test_both_checkers_accept_several_symbols(path, other):
    from stable_baselines3.common.env_checker import check_env

    env = MultiAssetOptionsEnv({"SPY": path, "QQQ": other})
    check_env(env)
    check_gymnasium(env, skip_render_check=True)


def test_an_episode_is_a_session_and_ends_with_nothing_open(path):
    env, rng = ShortPremiumEnv(path), np.random.default_rng(0)
    _, info = env.reset(seed=3)
    steps, done, rewards = 0, False, 0.0
    while not done:
        _, reward, done, truncated, step = env.step(allowed(env.action_masks(), rng))
        steps, rewards = steps + 1, rewards + reward
        assert not truncated
        assert step["quote_kind"] == "surface"
    session = path.sessions.index(info["session"])
    assert steps == path.first_bar[session + 1] - path.first_bar[session] - 1
    assert not env.simulator.simulator.account.positions
    assert rewards == pytest.approx(100 * (step["value"] / 125_000.0 - 1.0), abs=1e-9)


def test_a_reset_can_choose_session_and_symbol(path, other):
    env = MultiAssetOptionsEnv({"SPY": path, "QQQ": other})
    seen, info = env.reset(options={"symbol": "QQQ", "start": other.sessions[2]})
    assert (info["symbol"], info["session"]) == ("QQQ", other.sessions[2])
    assert seen[1] == pytest.approx(other.close[other.first_bar[2]] / 500.0)
    with pytest.raises(ConfigError, match="'IWM'"):
        env.reset(options={"symbol": "IWM"})
    with pytest.raises(DataError, match="2020-01-02"):
        ShortPremiumEnv(path).reset(options={"start": np.datetime64("2020-01-02").item()})


def test_s1_25_each_reset_takes_a_random_symbol(path, other):
    env = MultiAssetOptionsEnv({"SPY": path, "QQQ": other})
    env.reset(seed=0)
    symbols = [env.reset()[1]["symbol"] for _ in range(60)]
    assert 15 < symbols.count("QQQ") < 45
    env.reset(seed=0)
    assert symbols == [env.reset()[1]["symbol"] for _ in range(60)]


def test_d16_an_environment_sees_its_window_alone(path):
    train = path.window(0, 4)
    env = ShortPremiumEnv(train)
    seen = {env.reset(seed=seed)[1]["session"] for seed in range(40)}
    assert seen == set(path.sessions[:4])
    with pytest.raises(DataError, match=str(path.sessions[5])):
        env.reset(options={"start": path.sessions[5]})


def test_only_sessions_that_can_be_traded_begin_an_episode():
    holes = random_path(3, 8, minutes=15, holes=True)
    starts = episode_starts(holes, 2)
    known = ~np.isnan(holes.volatility)
    assert starts.tolist() == [k for k in range(len(known) - 1) if known[k] and known[k + 1]]
    with pytest.raises(DataError, match="no episode of 9 sessions"):
        episode_starts(holes, 9)
    with pytest.raises(ConfigError, match="0 sessions"):
        episode_starts(holes, 0)


def test_the_vectorised_environment_runs_whole_episodes(path):
    env, rng = vector(path, 3), np.random.default_rng(1)
    seen, ended = env.reset(), []
    for _ in range(80):
        assert env.observation_space.contains(seen[0])
        seen, rewards, dones, infos = env.step(allowed(env.action_masks(), rng))
        ended += [info["episode"] for info in infos if "episode" in info]
        assert (dones == [bool(info) for info in infos]).all()
    assert rewards.dtype == seen.dtype == np.float32
    assert {episode["l"] for episode in ended} <= {25, 13}
    assert len(ended) >= 9


def test_several_symbols_are_each_their_own_path(path, other):
    accounts = ShortPremiumAccounts((path, other), 2)
    rng = np.random.default_rng(2)
    accounts.restart([3, len(path.sessions) + 4])
    twins = [ShortPremiumSimulator(path, first=3, sessions=1)]
    twins.append(ShortPremiumSimulator(other, first=4, sessions=1))
    for _ in range(12):
        actions = allowed(accounts.masks, rng)
        rewards, _ = accounts.step(actions)
        for twin, action, reward in zip(twins, actions, rewards, strict=True):
            assert twin.step(int(action)).reward == pytest.approx(reward, abs=1e-9)
    drawn = accounts.draw(400)
    assert 150 < (drawn < len(path.sessions)).sum() < 250


def test_a_restored_run_goes_on_bit_by_bit(path):
    rng = np.random.default_rng(4)
    env = vector(path, 5, sessions=2, seed=7)
    env.reset()
    for _ in range(30):
        env.step(allowed(env.action_masks(), rng))
    state, actions = env.state(), []
    first = []
    for _ in range(60):
        actions.append(allowed(env.action_masks(), rng))
        first.append(env.step(actions[-1])[:3])
    again = vector(path, 5, sessions=2, seed=99)
    again.restore(state)
    for taken, before in zip(actions, first, strict=True):
        for one, two in zip(again.step(taken)[:3], before, strict=True):
            np.testing.assert_array_equal(one, two)
    with pytest.raises(DataError, match=r"cash of shape \(4,\)"):
        vector(path, 4, sessions=2).restore(state)


def test_a_seed_is_a_run(path):
    env = vector(path, 4)
    env.seed(5)
    first = env.reset()
    env.seed(5)
    assert np.array_equal(first, env.reset())


@pytest.mark.slow
def test_a_masked_policy_can_be_trained_on_it(path):
    from sb3_contrib import MaskablePPO

    env = vector(path, 8)
    model = MaskablePPO("MlpPolicy", env, n_steps=32, batch_size=64, n_epochs=1, device="cpu")
    model.learn(512)
    assert model.num_timesteps == 512
    assert env.accounts.desks.invalid.sum() == 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: ShortPremiumAccounts((), 1), "1 accounts over 0 paths"),
        (lambda p: ShortPremiumAccounts((p, flat_path()), 1), r"\[5, 15\]"),
        (lambda p: ShortPremiumAccounts(p, 2).step([0]), r"shape \(1,\)"),
        (lambda p: ShortPremiumAccounts(p, 1).step([5]), "0 to 4"),
        (lambda p: MultiAssetOptionsEnv({}), "no symbol"),
        (lambda p: vector(p).set_attr("x", 1, indices=[0]), "some accounts only"),
        (lambda p: ShortPremiumPlan(width=0.0), "width 0.0"),
        (lambda p: ShortPremiumPlan(kelly_share=0.0), "kelly_share"),
    ],
)
def test_what_cannot_be_is_refused(path, make, says):
    with pytest.raises(ConfigError, match=says):
        make(path)
