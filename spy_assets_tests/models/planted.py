"""Markets with a rule in them that a policy can learn, and policies that do not know it yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from spy_assets import sessions
from spy_assets.models.outcomes.records import Outcomes, join
from spy_assets.models.outcomes.rollouts import outcomes_of, walk
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.weights import PolicyWeights, decode_weights, encode_weights
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.market_path import MarketPath
from spy_assets_tests.models.policies import CONTRACT, random_tensors


def planted_market(seed: int, length: int = 400, edge: float = 0.006) -> MarketPath:
    """Dimension 0 says 0.9 in a rising market and 0.1 in a falling one; each lasts 20 sessions or so.

    ``edge`` is the drift a session; the other dimensions are noise.
    """
    rng = np.random.default_rng(seed)
    rising = (np.cumsum(rng.random(length) < 1 / 20) + rng.integers(2)) % 2 == 0
    observation = rng.random((length, 10))
    observation[:, 0] = np.where(rising, 0.9, 0.1)
    drift = np.concatenate(([0.0], np.where(rising, edge, -edge)[:-1]))
    close = 200.0 * np.exp(np.cumsum(drift + rng.normal(0, 0.01, length)))
    return MarketPath.from_arrays(
        sessions.sessions_between(date(2015, 1, 2), date(2018, 12, 31))[:length],
        open=np.concatenate(([200.0], close[:-1])),
        close=close,
        iv_open=np.full(length, 0.2),
        iv_close=np.full(length, 0.2),
        rate=np.full(length, 0.01),
        observation=observation,
        factor=np.ones(length),
    )


def undecided(seed: int, activation: str = "tanh") -> PolicyWeights:
    """A policy that gives every action about the same probability everywhere."""
    tensors = random_tensors(seed)
    tensors["action_net.weight"] *= 0.1
    tensors["action_net.bias"] *= 0.0
    return decode_weights(encode_weights(tensors, CONTRACT, activation=activation))


def net_of(tensors: Mapping[str, Any], activation: str = "tanh") -> PolicyNet:
    return PolicyNet.from_weights(
        decode_weights(encode_weights(tensors, CONTRACT, activation=activation))
    )


def lived(weights: PolicyWeights, markets: Sequence[MarketPath]) -> Outcomes:
    """What came of a policy's entries on some markets."""
    net, found = net_of(weights.tensors), []
    for seed, market in enumerate(markets):
        simulator = DailySimulator(market)
        found.append(outcomes_of(walk(simulator, net.probabilities, seed=seed), simulator))
    return join(found)


def value(tensors: Mapping[str, Any], markets: Sequence[MarketPath]) -> float:
    """Mean net P&L of a policy that draws its actions, dollars a market."""
    net = net_of(tensors)
    runs = [
        walk(DailySimulator(market), net.probabilities, seed=seed)
        for seed, market in enumerate(markets)
    ]
    return float(np.mean([run.net_pnl for run in runs]))
