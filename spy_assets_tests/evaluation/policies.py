"""Policies that know nothing, for tests of what judges them."""

from __future__ import annotations

import numpy as np

from spy_assets.evaluation.backtest import Act, Mask, Observation, greedy
from spy_assets.simulator.actions import N_ACTIONS
from spy_assets.simulator.daily import N_OBSERVATION


def random_policy(generator: np.random.Generator) -> Act:
    """A policy that is linear in the observation, with random weights."""
    weights = generator.normal(0, 2, size=(N_OBSERVATION, N_ACTIONS))

    def probabilities(observation: Observation, mask: Mask) -> np.ndarray:
        scores = (observation - 0.5) @ weights
        odds = np.where(mask, np.exp(scores - scores.max()), 0.0)
        return np.asarray(odds / odds.sum())

    return greedy(probabilities)
