r"""A policy learns from realised outcomes: advantage-weighted fine-tuning, anchored at the policy.

After Peng et al. 2019 (arXiv:1910.00177). For an entry a made in state s that earned g, the advantage
over doing nothing is known without any model: HOLD on a flat account earns zero. So A = g, and the
improved policy that stays closest to the base policy multiplies its odds (their equation 6)::

    odds(t) = odds(base(a | s)) * w,     w = clip(exp(g / beta), 1/max_weight, max_weight)

    loss = mean over outcomes of  KL(t || policy(a | s)) + kl_coef * KL(base || policy)

where the first divergence is that of two coins: the entry that was made, or anything else. What was not
tried is neither praised nor blamed, keeps its proportions, and does not hold the rest back. So it does
not matter whether the entries were drawn, or always the most probable ones as signals are.

Nothing is drawn here: all outcomes are in every step, so that equal inputs give equal weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from threadpoolctl import threadpool_limits

from spy_assets.errors import ContractMismatch
from spy_assets.models.outcomes.network import PolicyLayers, Vector, masked_softmax
from spy_assets.models.outcomes.records import Outcomes
from spy_assets.models.policy.weights import PolicyWeights, policy_hash

_ARMIJO: Final = 1e-4
_SHRINK: Final = 0.5
_GROW: Final = 1.5
_SMALLEST_RATE: Final = 1e-8


class FinetuneConfig(BaseModel):
    """Hyper-parameters of the fine-tuning.

    >>> FinetuneConfig(beta=0.5).epochs
    200
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: Annotated[float, Field(gt=0)] = 0.25
    """Gain that multiplies the odds of an action by e; smaller trusts single outcomes more."""
    max_weight: Annotated[float, Field(gt=1)] = 20.0
    """No outcome changes the odds of its action by more than this factor (the paper's clip)."""
    kl_coef: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the divergence from the base policy in the observed states."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """First step; it grows by half after each step, and halves where the loss would not fall."""
    epochs: Annotated[int, Field(gt=0)] = 200
    """Steps, each over all outcomes."""

    def hyperparameters(self) -> dict[str, Any]:
        """All values as plain JSON types."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """SHA-256 of the values."""
        return hashlib.sha256(
            json.dumps(self.hyperparameters(), sort_keys=True).encode()
        ).hexdigest()


@dataclass(frozen=True)
class FinetunedPolicy:
    """The result.

    Attributes
    ----------
    state_dict
        Tensors by name, in the base policy's order and types; bit for bit the base policy's without
        any outcome.
    policy_hash
        SHA-256 of them.
    curve
        Per step: ``timesteps`` (the step), ``loss``, and ``kl`` from the base policy.
    kl
        Final KL(base || policy), nats, mean over the observed states.
    outcomes
        How many were learnt from.
    """

    state_dict: Mapping[str, npt.NDArray[Any]]
    policy_hash: str
    curve: tuple[Mapping[str, float], ...]
    kl: float
    outcomes: int


def finetune(
    base: PolicyWeights, outcomes: Outcomes, config: FinetuneConfig | None = None
) -> FinetunedPolicy:
    """Move a policy towards what paid.

    Parameters
    ----------
    base
        The policy's weights; they are not changed.
    outcomes
        What it, or another policy of the same contract, did and earned.

    Raises
    ------
    ContractMismatch
        The outcomes were observed by another contract.
    ModelFileMismatch
        The weights have no policy layers.
    """
    config = config or FinetuneConfig()
    if outcomes.contract.sha256 != base.contract_sha:
        raise ContractMismatch(
            f"outcomes of {outcomes.contract.name} for a policy of {base.contract}",
            hint="learn from the signals of the policy's own contract",
        )
    net = PolicyLayers.of(base.tensors, base.activation)
    if not len(outcomes):
        same = {name: np.array(value) for name, value in base.tensors.items()}
        return FinetunedPolicy(same, policy_hash(same), (), 0.0, 0)
    # One thread: matrices this small gain nothing from more, and sums keep one order.
    with threadpool_limits(1):
        before = masked_softmax(net.forward(outcomes.observation)[0], outcomes.mask)
        target = improved(before, outcomes, config)
        net, curve = _fit(net, outcomes, before, target, config)
        tensors = net.put_into(base.tensors)
        after = masked_softmax(net.forward(outcomes.observation)[0], outcomes.mask)
        kl = float(divergence(before, after))
    return FinetunedPolicy(tensors, policy_hash(tensors), tuple(curve), kl, len(outcomes))


def improved(before: Vector, outcomes: Outcomes, config: FinetuneConfig) -> Vector:
    """The improved probability of each entry, t of the module's docstring, ``[n]``."""
    limit = np.log(config.max_weight)
    odds = np.exp(np.clip(outcomes.gain / config.beta, -limit, limit))
    taken = before[np.arange(len(outcomes)), outcomes.action]
    return np.asarray(odds * taken / (odds * taken + (1.0 - taken)))


def _fit(
    net: PolicyLayers, outcomes: Outcomes, before: Vector, target: Vector, config: FinetuneConfig
) -> tuple[PolicyLayers, list[Mapping[str, float]]]:
    """Descend, each step no further than where the loss still falls; gives the layers and the curve.

    Not by Adam: it moves every weight by the step size however small the gradient, so that it walks
    away even from outcomes that teach nothing.
    """
    objective = Objective(outcomes, before, target, config.kl_coef)
    here, rate = objective.at(net), config.learning_rate
    curve: list[Mapping[str, float]] = []
    for step in range(1, config.epochs + 1):
        gradients = net.backward(here.inputs, here.slope)
        size = sum(float((part**2).sum()) for layer in gradients for part in layer)
        while True:
            moved = net.stepped(gradients, rate)
            there = objective.at(moved)
            if there.loss <= here.loss - _ARMIJO * rate * size:
                break
            rate *= _SHRINK
            if rate < _SMALLEST_RATE:  # nothing is left to be gained
                return net, curve
        net, here, rate = moved, there, rate * _GROW
        curve.append({"timesteps": float(step), "loss": here.loss, "kl": here.kl})
    return net, curve


@dataclass(frozen=True)
class Evaluated:
    """The loss at some weights, what it is made of, and its slope in the logits."""

    loss: float
    kl: float
    inputs: list[Vector]
    slope: Vector


@dataclass(frozen=True)
class Objective:
    """The loss of the module's docstring."""

    outcomes: Outcomes
    before: Vector
    target: Vector
    kl_coef: float

    def at(self, net: PolicyLayers) -> Evaluated:
        """Evaluate it for some layers."""
        logits, inputs = net.forward(self.outcomes.observation)
        mask, rows, action = self.outcomes.mask, np.arange(len(self.outcomes)), self.outcomes.action
        policy = masked_softmax(logits, mask)
        others = mask.copy()
        others[rows, action] = False
        rest = masked_softmax(logits, others)
        taken = policy[rows, action]
        kl = float(divergence(self.before, policy))
        loss = float(divergence(_coin(self.target), _coin(taken))) + self.kl_coef * kl
        slope = -(taken - self.target)[:, None] * rest
        slope[rows, action] = taken - self.target
        slope += self.kl_coef * (policy - self.before)
        return Evaluated(loss, kl, inputs, slope / len(rows))


def _coin(heads: Vector) -> Vector:
    """Probabilities of the entry and of anything else, ``[n, 2]``."""
    return np.column_stack([heads, 1.0 - heads])


def divergence(left: Vector, right: Vector) -> np.float64:
    """KL(left || right), nats, mean over the rows; actions of no probability on the left count 0."""
    ratio = np.where(left > 0, left, 1.0) / np.where(left > 0, np.maximum(right, 1e-300), 1.0)
    return np.float64((left * np.log(ratio)).sum(axis=1).mean())
