"""A policy learns what a person likes: advantage-weighted fine-tuning with the learnt reward.

The policy is walked over its training window, drawing its actions; the reward model scores every trade
that comes of it, and :mod:`spy_assets.models.outcomes.finetune` takes the scores as gains. With
``beta = 1`` the odds of an entry are multiplied by the odds that the person would rather have had the
trade than none, which is the closed form of reinforcement learning from preferences with a penalty on
the divergence from the base policy (Rafailov et al. 2023, arXiv:2305.18290, equation 4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spy_assets.errors import ConfigError
from spy_assets.models.outcomes.finetune import FinetuneConfig, FinetunedPolicy, finetune
from spy_assets.models.outcomes.records import Outcomes, join
from spy_assets.models.outcomes.rollouts import outcomes_of, walk
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.weights import PolicyWeights
from spy_assets.models.preference.reward_model import RewardModel
from spy_assets.models.preference.trades import ClosedTrade
from spy_assets.simulator.daily import DailySimulator

#: Scores are log odds, which need no other scale.
PREFERENCE_CONFIG: Final = FinetuneConfig(beta=1.0)


def simulated_preferences(
    base: PolicyWeights,
    simulator: Callable[[], DailySimulator],
    model: RewardModel,
    *,
    walks: int = 4,
    seed: int = 0,
) -> Outcomes:
    """What the policy's own trades are worth to the person.

    Parameters
    ----------
    base
        The policy.
    simulator
        Makes a fresh account over the training window, and nothing after it.
    model
        The reward.
    walks
        How often the window is walked, each time with other draws.
    seed
        Of the draws.

    Raises
    ------
    ConfigError
        No walk is asked for.
    """
    if walks < 1:
        raise ConfigError(f"walks={walks}", hint="walk the window at least once")
    net = PolicyNet.from_weights(base)
    found = []
    for number in range(walks):
        account = simulator()
        rollout = walk(account, net.probabilities, seed=seed * walks + number)
        found.append(
            outcomes_of(rollout, account, lambda one: model.reward(ClosedTrade.of_trade(one)))
        )
    return join(found)


def finetune_by_preference(
    base: PolicyWeights,
    simulator: Callable[[], DailySimulator],
    model: RewardModel,
    *,
    walks: int = 4,
    seed: int = 0,
    config: FinetuneConfig = PREFERENCE_CONFIG,
) -> FinetunedPolicy:
    """Move a policy towards trades that the person prefers; see :func:`simulated_preferences`."""
    return finetune(
        base, simulated_preferences(base, simulator, model, walks=walks, seed=seed), config
    )
