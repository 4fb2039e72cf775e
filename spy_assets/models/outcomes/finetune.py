r"""A policy learns from realised outcomes: advantage-weighted fine-tuning, anchored at the policy.

After Peng et al. 2019 (arXiv:1910.00177). For an entry a made in state s that earned g, the advantage
over doing nothing is known without any model: HOLD on a flat account earns zero. So A = g, and the
improved policy that stays closest to the base policy has a closed form (their equation 6)::

    target(b | s)  ~  base(b | s) * w(b),    w(a) = clip(exp(g / beta), 1/max_weight, max_weight),
                                             w(b) = 1 for every action that was not tried

    loss = mean over outcomes of  CE(target, policy) + kl_coef * KL(base || policy)

An entry that paid gains probability at the expense of all others, one that lost gives it back to them,
in the proportion in which the policy had them. What was not tried is neither praised nor blamed.
Nothing is drawn: all outcomes are in every step, so that equal inputs give equal weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from spy_assets.errors import ContractMismatch
from spy_assets.models.outcomes.network import Layer, PolicyLayers, Vector, masked_softmax
from spy_assets.models.outcomes.records import Outcomes
from spy_assets.models.policy.weights import PolicyWeights, policy_hash

_FIRST, _SECOND, _SMALL = 0.9, 0.999, 1e-8  # Adam's own, arXiv:1412.6980


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
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Step size of Adam."""
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
        Per step: ``timesteps`` (the step), ``loss`` above its minimum, ``kl`` from the base policy.
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
        The weights are of no actor-critic policy.
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
    before = masked_softmax(net.forward(outcomes.observation)[0], outcomes.mask)
    target = improved(before, outcomes, config)
    net, curve = _fit(net, outcomes, before, target, config)
    tensors = net.put_into(base.tensors)
    after = masked_softmax(net.forward(outcomes.observation)[0], outcomes.mask)
    kl = float(_divergence(before, after))
    return FinetunedPolicy(tensors, policy_hash(tensors), tuple(curve), kl, len(outcomes))


def improved(before: Vector, outcomes: Outcomes, config: FinetuneConfig) -> Vector:
    """The target of the module's docstring, ``[n, actions]``."""
    limit = np.log(config.max_weight)
    factor = np.ones_like(before)
    rows = np.arange(len(outcomes))
    factor[rows, outcomes.action] = np.exp(np.clip(outcomes.gain / config.beta, -limit, limit))
    weighted = before * factor
    return np.asarray(weighted / weighted.sum(axis=1, keepdims=True))


def _fit(
    net: PolicyLayers, outcomes: Outcomes, before: Vector, target: Vector, config: FinetuneConfig
) -> tuple[PolicyLayers, list[Mapping[str, float]]]:
    """Descend by Adam; gives the layers and the curve."""
    moments = [(np.zeros((2, *w.shape)), np.zeros((2, *b.shape))) for w, b in net.layers]
    curve: list[Mapping[str, float]] = []
    for step in range(1, config.epochs + 1):
        logits, inputs = net.forward(outcomes.observation)
        policy = masked_softmax(logits, outcomes.mask)
        kl = _divergence(before, policy)
        loss = _divergence(target, policy) + config.kl_coef * kl
        curve.append({"timesteps": float(step), "loss": float(loss), "kl": float(kl)})
        slope = (policy - target) + config.kl_coef * (policy - before)
        gradients = net.backward(inputs, slope / len(outcomes))
        layers = tuple(
            _adam(layer, gradient, moment, step, config.learning_rate)
            for layer, gradient, moment in zip(net.layers, gradients, moments, strict=True)
        )
        net = PolicyLayers(net.names, layers, net.activation)
    return net, curve


def _adam(
    layer: Layer, gradient: Layer, moments: tuple[Vector, Vector], step: int, rate: float
) -> Layer:
    """One step of Adam; ``moments`` are changed in place."""
    moved = []
    for value, slope, held in zip(layer, gradient, moments, strict=True):
        held[0] = _FIRST * held[0] + (1 - _FIRST) * slope
        held[1] = _SECOND * held[1] + (1 - _SECOND) * slope**2
        mean, square = held[0] / (1 - _FIRST**step), held[1] / (1 - _SECOND**step)
        moved.append(value - rate * mean / (np.sqrt(square) + _SMALL))
    return moved[0], moved[1]


def _divergence(left: Vector, right: Vector) -> np.float64:
    """KL(left || right), nats, mean over the rows; actions of no probability on the left count 0."""
    ratio = np.where(left > 0, left, 1.0) / np.where(left > 0, np.maximum(right, 1e-300), 1.0)
    return np.float64((left * np.log(ratio)).sum(axis=1).mean())
