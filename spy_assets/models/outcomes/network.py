"""The part of a policy that is fine-tuned: observation to logits, with its gradient, in NumPy.

A few hundred outcomes and a network of some thousand weights need no tensor library: one pass over
them takes a millisecond, in float64, with the same result in every process. The layers are those of
:mod:`spy_assets.models.policy.inference`, whatever the algorithm; layers of the value alone are not
touched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ModelFileMismatch

Vector = npt.NDArray[np.float64]
Layer = tuple[Vector, Vector]

#: Layers that lead to the action, in order: those shared with the value, then the policy's own.
_STACKS: Final = ("features_extractor.net", "mlp_extractor.policy_net")
_HIDDEN: Final = re.compile(r"^(.+)\.(\d+)\.weight$")


@dataclass(frozen=True)
class PolicyLayers:
    """Weights ``[out, in]`` and biases ``[out]`` of each layer, float64, in order.

    Attributes
    ----------
    names
        Name of each layer in the state dict.
    layers
        Their numbers.
    activation
        ``tanh`` or ``relu``, after every layer but the last.
    """

    names: tuple[str, ...]
    layers: tuple[Layer, ...]
    activation: str

    @classmethod
    def of(cls, tensors: Mapping[str, Any], activation: str) -> PolicyLayers:
        """Take the policy's layers out of a state dict.

        Raises
        ------
        ModelFileMismatch
            It has no hidden layer, or none that gives the action.
        """
        found = [match for name in tensors if (match := _HIDDEN.match(name))]
        hidden = sorted(
            (_STACKS.index(match[1]), int(match[2])) for match in found if match[1] in _STACKS
        )
        names = (*(f"{_STACKS[stack]}.{number}" for stack, number in hidden), "action_net")
        if not hidden or "action_net.weight" not in tensors:
            raise ModelFileMismatch(
                f"the weights have no policy layers; they have {', '.join(tensors)}",
                hint="fine-tune a policy that this program exported",
            )
        layers = tuple(
            (
                np.asarray(tensors[f"{name}.weight"], dtype=np.float64),
                np.asarray(tensors[f"{name}.bias"], dtype=np.float64),
            )
            for name in names
        )
        return cls(names, layers, activation)

    def put_into(self, tensors: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """The state dict with these layers, each in the type it had there; the rest is copied."""
        result = {name: np.array(value) for name, value in tensors.items()}
        for name, (weight, bias) in zip(self.names, self.layers, strict=True):
            for key, value in ((f"{name}.weight", weight), (f"{name}.bias", bias)):
                result[key] = value.astype(result[key].dtype)
        return result

    def forward(self, observation: Vector) -> tuple[Vector, list[Vector]]:
        """Logits ``[n, actions]``, and the input of each layer, for :meth:`backward`."""
        inputs, values = [], observation
        for weight, bias in self.layers[:-1]:
            inputs.append(values)
            values = values @ weight.T + bias
            values = np.tanh(values) if self.activation == "tanh" else np.maximum(values, 0.0)
        inputs.append(values)
        weight, bias = self.layers[-1]
        return values @ weight.T + bias, inputs

    def backward(self, inputs: list[Vector], slope: Vector) -> list[Layer]:
        """Gradient of each layer from that of the logits, ``[n, actions]``."""
        gradients: list[Layer] = []
        for number in reversed(range(len(self.layers))):
            gradients.append((slope.T @ inputs[number], slope.sum(axis=0)))
            if number:
                out = inputs[number]
                bend = 1.0 - out * out if self.activation == "tanh" else (out > 0.0)
                slope = (slope @ self.layers[number][0]) * bend
        return gradients[::-1]

    def stepped(self, gradients: list[Layer], rate: float) -> PolicyLayers:
        """The layers after a step of ``rate`` down the gradients."""
        layers = tuple(
            (weight - rate * of_weight, bias - rate * of_bias)
            for (weight, bias), (of_weight, of_bias) in zip(self.layers, gradients, strict=True)
        )
        return replace(self, layers=layers)


def masked_softmax(logits: Vector, mask: npt.NDArray[np.bool_]) -> Vector:
    """Probabilities over the allowed actions, ``[n, actions]``; the others get exactly 0."""
    peak = np.where(mask, logits, -np.inf).max(axis=1, keepdims=True)
    odds = np.where(mask, np.exp(np.where(mask, logits - peak, 0.0)), 0.0)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
