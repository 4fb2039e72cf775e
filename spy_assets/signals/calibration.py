"""Calibrated confidence: how often trades that the policy gave such a probability made a profit.

A policy's probability says how sure it is to act, not how often it is right. Platt's method (Platt
1999, "Probabilistic outputs for support vector machines"; targets smoothed as there) maps one to the
other with two parameters, which is as much as some dozens of trades can carry. It is fitted on what
had closed before the decision, on the same account that the decision is made for, so that a replay
fits the same curve.

Fewer than :data:`MIN_TRADES` closed trades give no curve: the raw probability is shown and called so.
The trades of all versions of the model count together; no version lives long enough to have its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

#: The 95 % interval of a hit rate over 50 trades is 14 points to each side: below, no curve means much.
MIN_TRADES: Final = 50
_ROUNDS: Final = 50
#: Keeps the curvature of the likelihood positive where all probabilities are one and the same.
_RIDGE: Final = 1e-6
#: A probability of one has no logit.
_EDGE: Final = 1e-6

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Profit's probability as ``1 / (1 + exp(-(slope * logit(p) + intercept)))``."""

    slope: float
    intercept: float
    trades: int

    def __call__(self, probability: float) -> float:
        """Give the probability of a profit for the policy's own probability of the entry."""
        score = self.slope * float(_logit(np.array([probability]))[0]) + self.intercept
        return float(1.0 / (1.0 + np.exp(-score)))


def calibrate(pairs: Sequence[tuple[float, bool]], *, min_trades: int) -> Calibration | None:
    """Fit the curve on the policy's probability and whether the trade made a profit.

    A slope below zero would make the less certain entry the better one. That is noise or a wrong
    label, never a reason to trust doubt, so it becomes zero: every entry gets the hit rate.

    Returns
    -------
    Calibration or None
        None with fewer than ``min_trades`` pairs.
    """
    if len(pairs) < min_trades:
        return None
    scores = _logit(np.array([probability for probability, _ in pairs], dtype=np.float64))
    won = np.array([profit for _, profit in pairs], dtype=np.bool_)
    wins, losses = int(won.sum()), int((~won).sum())
    targets = np.where(won, (wins + 1.0) / (wins + 2.0), 1.0 / (losses + 2.0))
    slope, intercept = _fit(scores, targets)
    if slope < 0.0:
        slope, intercept = 0.0, float(_logit(np.array([targets.mean()]))[0])
    return Calibration(slope, intercept, len(pairs))


def _fit(scores: Floats, targets: Floats) -> tuple[float, float]:
    """Maximise the likelihood by Newton's method from the hit rate, halving steps that overshoot."""
    design = np.column_stack([scores - scores.mean(), np.ones(len(scores))])
    weights = np.array([0.0, float(_logit(np.array([targets.mean()]))[0])])
    loss = _loss(design, targets, weights)
    for _ in range(_ROUNDS):
        fitted = 1.0 / (1.0 + np.exp(-design @ weights))
        gradient = design.T @ (fitted - targets) + _RIDGE * weights
        curvature = (design.T * (fitted * (1.0 - fitted))) @ design + _RIDGE * np.eye(2)
        step, before = np.linalg.solve(curvature, gradient), loss
        for _ in range(_ROUNDS):
            loss = _loss(design, targets, weights - step)
            if loss <= before:
                break
            step = step / 2.0
        weights = weights - step
        if before - loss <= 1e-12 * max(1.0, before):
            break
    slope, level = float(weights[0]), float(weights[1])
    return slope, level - slope * float(scores.mean())


def _loss(design: Floats, targets: Floats, weights: Floats) -> float:
    scores = design @ weights
    likelihood = np.logaddexp(0.0, scores) - targets * scores
    return float(likelihood.sum() + 0.5 * _RIDGE * float(weights @ weights))


def _logit(probability: Floats) -> Floats:
    inside = np.clip(probability, _EDGE, 1.0 - _EDGE)
    return np.asarray(np.log(inside / (1.0 - inside)))
