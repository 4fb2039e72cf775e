r"""What a person likes about trades: a Bradley-Terry model over their features.

Bradley & Terry (1952, Biometrika 39), with a linear score as in Christiano et al. (2017,
arXiv:1706.03741), the only difference being that trades have seven features and not a thousand pixels::

    P(left better than right) = 1 / (1 + exp(-(score(left) - score(right))))
    score(trade) = w . features(trade) / scale

    w = argmin  sum of -log P(answer) + l2/2 |w|^2

There is no intercept: a score is only ever compared, and doing nothing, whose features are all zero,
scores exactly zero. So a positive score says that the person would rather have had the trade than none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError, ModelFileMismatch
from spy_assets.models.preference.pairs import ComparedPairs
from spy_assets.models.preference.trades import FEATURES, ClosedTrade, Vector, feature_matrix

FORMAT: Final = "spy-reward-1"
_STEPS: Final = 100
_TOLERANCE: Final = 1e-12


@dataclass(frozen=True, eq=False)
class RewardModel:
    """A fitted score.

    Attributes
    ----------
    weights
        ``[k]``, log odds per ``scale`` of each feature.
    scale
        ``[k]``, root mean square of each feature's difference in the pairs.
    capital
        Initial capital of the account, dollars, by which the feature ``risk`` was scaled.
    l2
        The penalty.
    pairs
        Answers that it was fitted to.
    """

    weights: Vector
    scale: Vector
    capital: float
    l2: float
    pairs: int

    def score(self, features: Vector) -> Vector:
        """Scores, ``[n]``, of features ``[n, k]``; log odds against doing nothing."""
        return np.asarray(features @ (self.weights / self.scale), dtype=np.float64)

    def reward(self, trade: ClosedTrade) -> float:
        """Score of one trade."""
        return float(self.score(feature_matrix([trade], self.capital))[0])

    def probability(self, left: Vector, right: Vector) -> Vector:
        """Probability that each left trade is preferred to the right one, ``[n]``."""
        return _logistic(self.score(left - right))

    def per_feature(self) -> dict[str, float]:
        """Log odds that one unit of each feature adds."""
        return dict(zip(FEATURES, (self.weights / self.scale).tolist(), strict=True))

    def to_json(self) -> str:
        """Numbers only, with sorted keys: same model, same bytes."""
        body: dict[str, Any] = {
            "format": FORMAT,
            "features": list(FEATURES),
            "weights": self.weights.tolist(),
            "scale": self.scale.tolist(),
            "capital": self.capital,
            "l2": self.l2,
            "pairs": self.pairs,
        }
        return json.dumps(body, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RewardModel:
        """Read a model.

        Raises
        ------
        ModelFileMismatch
            It is of another format, or of other features.
        """
        body = json.loads(text)
        stated = (body.get("format"), body.get("features"))
        if stated != (FORMAT, list(FEATURES)):
            raise ModelFileMismatch(
                f"the reward model says {stated}, expected {(FORMAT, list(FEATURES))}",
                hint="fit it again: spy prefs collect keeps every answer",
            )
        return cls(
            np.array(body["weights"], dtype=np.float64),
            np.array(body["scale"], dtype=np.float64),
            body["capital"],
            body["l2"],
            body["pairs"],
        )


def fit_reward_model(pairs: ComparedPairs, *, capital: float, l2: float = 1.0) -> RewardModel:
    """Fit by Newton's method; the loss is strictly convex, so the answer is the one minimum.

    Parameters
    ----------
    pairs
        Answers; at least one.
    capital
        As for :func:`~spy_assets.models.preference.trades.feature_matrix`.
    l2
        Penalty; larger says less for the same answers.

    Raises
    ------
    DataError
        There is no answer.
    ConfigError
        The penalty is not positive: separable answers would then have no minimum.
    """
    if not len(pairs):
        raise DataError("no preference to learn from", hint="answer some: spy prefs collect")
    if not l2 > 0:
        raise ConfigError(f"l2={l2} is not positive", hint="give a penalty such as 1")
    difference = np.where(pairs.left_preferred, 1.0, -1.0)[:, None] * (pairs.left - pairs.right)
    spread = np.sqrt((difference**2).mean(axis=0))
    scale = np.where(spread > 0, spread, 1.0)
    scaled = difference / scale
    weights = np.zeros(scaled.shape[1])
    for _ in range(_STEPS):
        odds = _logistic(-scaled @ weights)
        slope = l2 * weights - scaled.T @ odds
        bend = (scaled.T * (odds * (1 - odds))) @ scaled + l2 * np.eye(len(weights))
        step = np.linalg.solve(bend, slope)
        weights = weights - step * min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-300))
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    return RewardModel(weights, scale, capital, l2, len(pairs))


@dataclass(frozen=True)
class HeldOut:
    """How often the model foretold answers that it was not fitted to; a tie counts as wrong."""

    correct: int
    total: int

    @property
    def accuracy(self) -> float | None:
        """Share, 0 to 1; None without any."""
        return self.correct / self.total if self.total else None


def held_out_accuracy(
    pairs: ComparedPairs, *, capital: float, l2: float = 1.0, folds: int = 5, seed: int = 0
) -> HeldOut:
    """Cross-validate: each answer is foretold by a model of the other folds.

    Fewer answers than folds say nothing: then nothing is held out. Pairs that share a trade may fall
    into different folds; with seven weights a model cannot remember trades.

    Raises
    ------
    ConfigError
        Fewer than two folds.
    """
    if folds < 2:
        raise ConfigError(f"folds={folds}", hint="give at least two")
    if len(pairs) < folds:
        return HeldOut(0, 0)
    order = np.random.default_rng(seed).permutation(len(pairs))
    correct = 0
    for held in np.array_split(order, folds):
        kept = np.setdiff1d(order, held)
        model = fit_reward_model(_subset(pairs, kept), capital=capital, l2=l2)
        lead = model.score(pairs.left[held] - pairs.right[held])
        correct += int(np.sum(np.where(pairs.left_preferred[held], lead > 0, lead < 0)))
    return HeldOut(correct, len(pairs))


def _subset(pairs: ComparedPairs, rows: npt.NDArray[np.intp]) -> ComparedPairs:
    return ComparedPairs(pairs.left[rows], pairs.right[rows], pairs.left_preferred[rows])


def _logistic(values: Vector) -> Vector:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1.0, small) / (1.0 + small))
