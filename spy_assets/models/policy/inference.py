"""The policy at work: a forward pass in NumPy, deterministic, without PyTorch.

The network is that of Stable-Baselines3's ``MlpPolicy``: hidden layers that policy and value share,
or separate ones, or both in this order::

    h0 = observation
    h_i = activation(W_i h_{i-1} + b_i)          features_extractor.net.{0,2,...}
    h_i = activation(W_i h_{i-1} + b_i)          mlp_extractor.policy_net.{0,2,...}
    logits = A h_n + a                           action_net
    p(action) = softmax(logits over the allowed actions)

Weights are float32 as trained; sums run in float64, within 1e-6 of PyTorch's float32.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ContractMismatch, ModelError, ModelFileMismatch, NonFiniteOutput
from spy_assets.features.contracts import ObservationContract
from spy_assets.models.policy.weights import FileIdentity, PolicyWeights, load_weights

Vector = npt.NDArray[np.float64]
Layer = tuple[Vector, Vector]

_HIDDEN = re.compile(r"^(features_extractor\.net|mlp_extractor\.\w+_net)\.(\d+)\.weight$")


def _layer(tensors: Mapping[str, npt.NDArray[Any]], name: str) -> Layer:
    try:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    except KeyError as error:
        raise ModelFileMismatch(
            f"the weights have no {error}; they have {', '.join(tensors)}",
            hint="export the policy again with save_weights",
        ) from error
    return weight.astype(np.float64).T, bias.astype(np.float64)


def _hidden(tensors: Mapping[str, npt.NDArray[Any]], stack: str) -> tuple[Layer, ...]:
    found = [match for name in tensors if (match := _HIDDEN.match(name))]
    numbers = sorted(int(match[2]) for match in found if match[1] == stack)
    return tuple(_layer(tensors, f"{stack}.{number}") for number in numbers)


@dataclass(frozen=True)
class PolicyNet:
    """A policy that can be asked, made from its weights."""

    weights: PolicyWeights
    _policy: tuple[Layer, ...]
    _value: tuple[Layer, ...]

    @classmethod
    def from_weights(cls, weights: PolicyWeights) -> PolicyNet:
        """Build the two networks.

        Raises
        ------
        ModelFileMismatch
            A layer is missing, or the first one does not take the contract's dimensions.
        """
        tensors = weights.tensors
        shared = _hidden(tensors, "features_extractor.net")
        own = (_hidden(tensors, f"mlp_extractor.{branch}_net") for branch in ("policy", "value"))
        net = cls(
            weights,
            (*shared, *next(own), _layer(tensors, "action_net")),
            (*shared, *next(own), _layer(tensors, "value_net")),
        )
        width = len(weights.observation)
        for branch in (net._policy, net._value):
            taken = branch[0][0].shape[0]
            if taken != width:
                raise ModelFileMismatch(
                    f"the network takes {taken} dimensions, its contract "
                    f"{weights.contract} has {width}",
                    hint="this is a model of another observation; train one for this contract",
                )
        return net

    @classmethod
    def load(cls, path: Path, expected: FileIdentity, contract: ObservationContract) -> PolicyNet:
        """Read, check and build; see :func:`~spy_assets.models.policy.weights.load_weights`."""
        return cls.from_weights(load_weights(path, expected, contract))

    @property
    def actions(self) -> int:
        """Number of actions."""
        return int(self._policy[-1][1].shape[0])

    def probabilities(self, observation: npt.ArrayLike, mask: npt.ArrayLike) -> Vector:
        """Probability of each action.

        Parameters
        ----------
        observation
            Shape ``[d]`` or ``[n, d]``, in the contract's order.
        mask
            Shape ``[actions]`` or ``[n, actions]``; False actions get exactly 0.

        Raises
        ------
        ContractMismatch
            Wrong shape, or a missing value (its dimension is named).
        NonFiniteOutput
            The network gave NaN or infinity.
        """
        logits = self._forward(self._policy, self._checked(observation), "logits")
        allowed = np.asarray(mask, dtype=bool)
        if allowed.shape != logits.shape or not allowed.any(axis=-1).all():
            raise ModelError(
                f"mask {allowed.tolist()} does not fit {logits.shape} or allows no action",
                hint="pass one flag per action, with at least one true; HOLD is always allowed",
            )
        peak = np.where(allowed, logits, -np.inf).max(axis=-1, keepdims=True)
        odds = np.where(allowed, np.exp(np.where(allowed, logits - peak, 0.0)), 0.0)
        return np.asarray(odds / odds.sum(axis=-1, keepdims=True), dtype=np.float64)

    def act(self, observation: npt.ArrayLike, mask: npt.ArrayLike) -> int:
        """Give the most probable allowed action, never a sample; the lower number wins a tie."""
        return int(np.argmax(self.probabilities(observation, mask)))

    def value(self, observation: npt.ArrayLike) -> Vector:
        """Estimate the discounted reward, shape ``[]`` or ``[n]``."""
        return self._forward(self._value, self._checked(observation), "value")[..., 0]

    def _checked(self, observation: npt.ArrayLike) -> Vector:
        names = self.weights.observation
        values = np.asarray(observation, dtype=np.float64)
        if values.ndim not in (1, 2) or values.shape[-1] != len(names):
            raise ContractMismatch(
                f"observation of shape {values.shape}, {self.weights.contract} has {len(names)} "
                f"dimensions",
                hint="build it with the contract's own function",
            )
        bad = np.any(~np.isfinite(values).reshape(-1, len(names)), axis=0)
        if bad.any():
            missing = [name for name, is_bad in zip(names, bad.tolist(), strict=True) if is_bad]
            raise ContractMismatch(
                f"observation has no finite value for {', '.join(missing)}",
                hint="hold: a missing input is never replaced",
            )
        return values

    def _forward(self, layers: tuple[Layer, ...], values: Vector, what: str) -> Vector:
        *hidden, (weight, bias) = layers
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused below
            for inner_weight, inner_bias in hidden:
                values = values @ inner_weight + inner_bias
                values = np.tanh(values) if self.weights.activation == "tanh" else values.clip(0.0)
            output = np.asarray(values @ weight + bias, dtype=np.float64)
        if not np.isfinite(output).all():
            raise NonFiniteOutput(
                f"policy {self.weights.policy_hash[:12]} gave {what} {output.tolist()}",
                hint="hold, and promote an earlier version: these weights cannot be used",
            )
        return output
