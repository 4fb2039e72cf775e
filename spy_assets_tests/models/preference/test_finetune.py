"""A policy learns the taste of a person who likes condors, or who does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from spy_assets.errors import ConfigError
from spy_assets.models.outcomes.rollouts import walk
from spy_assets.models.preference.finetune import finetune_by_preference, simulated_preferences
from spy_assets.models.preference.reward_env import PreferenceReward
from spy_assets.models.preference.reward_model import RewardModel, fit_reward_model
from spy_assets.models.preference.trades import FEATURES, ClosedTrade
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.environment import DailyOptionsEnv
from spy_assets_tests.models.planted import net_of, planted_market, undecided
from spy_assets_tests.models.preference.raters import CAPITAL, answers

MARKET = planted_market(1, 200)


def account() -> DailySimulator:
    return DailySimulator(MARKET)


def taste(**weights: float) -> RewardModel:
    values = np.array([weights.get(name, 0.0) for name in FEATURES])
    return RewardModel(values, np.ones(len(FEATURES)), CAPITAL, 1.0, 1)


def condor_share(tensors: object) -> float:
    """Probability of an iron condor where everything but CLOSE is allowed."""
    seen = np.column_stack([MARKET.observation, np.tile([0.5, 0, 0, 0.5, 0], (len(MARKET), 1))])
    mask = np.tile([True] * 6 + [False], (len(MARKET), 1))
    return float(net_of(tensors).probabilities(seen, mask)[:, 4].mean())  # type: ignore[arg-type]


@pytest.mark.parametrize(("liking", "grows"), [(3.0, True), (-3.0, False)])
def test_the_policy_follows_the_taste(liking: float, grows: bool) -> None:
    base = undecided(0)
    tuned = finetune_by_preference(base, account, taste(credit=liking), walks=2)
    assert (condor_share(tuned.state_dict) > 1.2 * condor_share(base.tensors)) == grows
    assert (condor_share(tuned.state_dict) < condor_share(base.tensors) / 1.2) == (not grows)


def test_a_fitted_taste_for_profit_earns_a_better_judgement() -> None:
    base, model = undecided(2), fit_reward_model(answers(300), capital=CAPITAL)
    tuned = finetune_by_preference(base, account, model, walks=4)
    unseen = planted_market(77, 300)

    def judged(tensors: object) -> float:
        trades = walk(DailySimulator(unseen), net_of(tensors).probabilities, seed=3).trades  # type: ignore[arg-type]
        return float(np.sum([model.reward(ClosedTrade.of_trade(trade)) for trade in trades]))

    assert judged(tuned.state_dict) > judged(base.tensors)


def test_equal_seeds_give_equal_policies_and_no_walk_is_refused() -> None:
    base, model = undecided(0), taste(gain=1.0)
    hashes = [
        finetune_by_preference(base, account, model, walks=1, seed=seed).policy_hash
        for seed in (1, 1, 2)
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    with pytest.raises(ConfigError, match="walks=0"):
        simulated_preferences(base, account, model, walks=0)


# ---------------------------------------------------------------- the reward as an environment


def test_a_step_is_rewarded_with_what_its_trades_are_worth() -> None:
    model = taste(gain=1.0, loss=-2.0)
    env = PreferenceReward(DailyOptionsEnv(MARKET, episode_length=None), model, share=0.25)
    rng, done, rewards, liked, earned = np.random.default_rng(0), False, 0.0, 0.0, 0.0
    env.reset(seed=0)
    while not done:
        action = rng.choice(np.flatnonzero(env.action_masks()))
        _, reward, done, _, info = env.step(action)
        rewards += reward
        liked += info["preference_reward"]
        earned += info["simulator_reward"]
    trades = env.env.simulator.trades  # type: ignore[attr-defined]
    assert liked == pytest.approx(sum(model.reward(ClosedTrade.of_trade(one)) for one in trades))
    assert rewards == pytest.approx(0.75 * earned + 0.25 * liked)
    assert len(trades) > 20


@pytest.fixture
def one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_stable_baselines_learns_from_the_wrapped_reward() -> None:
    from sb3_contrib import MaskablePPO

    env = PreferenceReward(DailyOptionsEnv(MARKET, episode_length=30), taste(credit=3.0))
    model = MaskablePPO("MlpPolicy", env, n_steps=256, batch_size=64, seed=1, device="cpu")
    model.learn(1_024)
    tensors = {name: value.numpy() for name, value in model.policy.state_dict().items()}
    assert condor_share(tensors) > 0.25


def test_an_impossible_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="share=2"):
        PreferenceReward(DailyOptionsEnv(MARKET, episode_length=30), taste(), share=2.0)
