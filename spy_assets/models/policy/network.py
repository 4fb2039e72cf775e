"""The network while it is trained: forward and backward passes without automatic differentiation.

At 64 units and a thousand rows, what PyTorch spends on recording and replaying operations is as
much as the arithmetic itself, and its hyperbolic tangent takes ten times NumPy's. The passes are short
enough to write down: matrix products by PyTorch into buffers that are made once, the rest by NumPy
on the same memory. Weights and gradients stay those of the PyTorch policy, whose optimizer uses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from spy_assets.models.policy.kernels import through_relu, through_tanh

Floats = npt.NDArray[np.float32]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class SharedTrunk(BaseFeaturesExtractor):
    """Hidden layers that policy and value have in common; its activation follows each."""

    def __init__(self, observation_space: Any, hidden: tuple[int, ...], activation: str) -> None:
        super().__init__(observation_space, hidden[-1])
        widths = (observation_space.shape[0], *hidden)
        pairs = zip(widths, hidden, strict=False)
        layers = [[nn.Linear(*pair), _ACTIVATIONS[activation]()] for pair in pairs]
        self.net = nn.Sequential(*(module for layer in layers for module in layer))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Features ``[n, hidden[-1]]`` of observations ``[n, d]``."""
        features: torch.Tensor = self.net(observations)
        return features


def policy_arguments(hidden: tuple[int, ...], activation: str, shared: bool) -> dict[str, Any]:
    """Arguments of Stable-Baselines3's ``MlpPolicy`` for a network of ours, with fused Adam.

    ``shared`` puts the hidden layers into one trunk instead of one stack each for policy and value.
    """
    arguments: dict[str, Any] = {
        "activation_fn": _ACTIVATIONS[activation],
        "optimizer_kwargs": {"eps": 1e-5, "fused": True},
    }
    if not shared:
        return arguments | {"net_arch": list(hidden)}
    trunk = {"hidden": hidden, "activation": activation}
    return arguments | {
        "net_arch": [],
        "features_extractor_class": SharedTrunk,
        "features_extractor_kwargs": trunk,
    }


class Output(NamedTuple):
    """One number per action and the state's value; NumPy views, valid until the next pass."""

    logits: Floats
    values: Floats


class _Linear:
    """One layer's weights and gradients, as views that need no derivative."""

    def __init__(self, layer: Any, gradients: torch.Tensor) -> None:
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()
        size = self.weight.numel()
        self.d_weight = gradients[:size].view(self.weight.shape)
        self.d_bias = gradients[size:]
        layer.weight.grad, layer.bias.grad = self.d_weight, self.d_bias
        self.by_input = self.weight.t()
        # Products whose second factor is narrow take thrice as long: they are turned around.
        units, inputs = self.weight.shape
        self.turned = torch.zeros(inputs, units) if inputs < units else None

    def forward(self, inputs: torch.Tensor, out: torch.Tensor) -> None:
        torch.addmm(self.bias, inputs, self.by_input, out=out)

    def backward(self, d_out: torch.Tensor, inputs: torch.Tensor) -> None:
        if self.turned is None:
            torch.mm(d_out.t(), inputs, out=self.d_weight)
        else:
            torch.mm(inputs.t(), d_out, out=self.turned)
            self.d_weight.copy_(self.turned.t())
        torch.sum(d_out, 0, out=self.d_bias)


class _Hidden:
    """Layers that follow each other, the activation after each."""

    def __init__(self, layers: Sequence[_Linear], activation: str) -> None:
        self.layers, self.activation = layers, activation

    def buffers(self, rows: int) -> list[_Buffer]:
        return [_Buffer(rows, layer.bias.numel()) for layer in self.layers]

    def forward(self, inputs: torch.Tensor, buffers: Sequence[_Buffer]) -> torch.Tensor:
        for layer, buffer in zip(self.layers, buffers, strict=True):
            layer.forward(inputs, buffer.output)
            if self.activation == "tanh":
                np.tanh(buffer.view, out=buffer.view)
            else:
                np.maximum(buffer.view, np.float32(0.0), out=buffer.view)
            inputs = buffer.output
        return inputs

    def backward(
        self, inputs: torch.Tensor, buffers: Sequence[_Buffer], d_inputs: torch.Tensor | None
    ) -> None:
        """Go from the last buffer's ``d_output`` back; add to ``d_inputs`` if somebody needs it."""
        for number in reversed(range(len(self.layers))):
            layer, buffer = self.layers[number], buffers[number]
            self._through_activation(buffer)
            before = buffers[number - 1].output if number else inputs
            layer.backward(buffer.d_output, before)
            if number:
                torch.mm(buffer.d_output, layer.weight, out=buffers[number - 1].d_output)
            elif d_inputs is not None:
                d_inputs.addmm_(buffer.d_output, layer.weight)

    def _through_activation(self, buffer: _Buffer) -> None:
        backward = through_tanh if self.activation == "tanh" else through_relu
        backward(buffer.view.reshape(-1), buffer.d_view.reshape(-1))


class _Buffer:
    """A layer's output and its derivative, for one number of rows; each as tensor and as array."""

    def __init__(self, rows: int, units: int) -> None:
        self.output, self.d_output = torch.zeros(rows, units), torch.zeros(rows, units)
        self.view, self.d_view = self.output.numpy(), self.d_output.numpy()


class _Pass:
    """All buffers of a pass over one number of rows."""

    def __init__(self, network: Network, rows: int) -> None:
        self.inputs = torch.zeros(rows, network.width)
        self.input_view: Floats = self.inputs.numpy()
        self.trunk = network.trunk.buffers(rows)
        self.policy = network.policy.buffers(rows)
        self.value = network.value.buffers(rows)
        self.logits = _Buffer(rows, network.action_head.bias.numel())
        self.values = _Buffer(rows, 1)
        self.output = Output(self.logits.view, self.values.view[:, 0])
        self.derivative = Output(self.logits.d_view, self.values.d_view[:, 0])


class Network:
    """Passes over the weights of a Stable-Baselines3 actor-critic policy.

    Observations go through the shared trunk, if there is one, then through the layers of policy and
    value and their output layers::

        observation -> features_extractor -> mlp_extractor.policy_net -> action_net -> logits
                                          -> mlp_extractor.value_net  -> value_net  -> value

    Parameters
    ----------
    policy
        A ``MaskableActorCriticPolicy`` on the CPU; its parameters' gradients become views of
        :attr:`gradients`.
    activation
        ``tanh`` or ``relu``, after each hidden layer.

    Attributes
    ----------
    gradients
        All gradients, end to end, in the order of ``policy.parameters()``.
    """

    def __init__(self, policy: Any, activation: str) -> None:
        count = sum(parameter.numel() for parameter in policy.parameters())
        self.gradients = torch.zeros(count)
        self._used = 0

        def linears(module: Any) -> list[_Linear]:
            return [
                self._linear(layer) for layer in module.modules() if isinstance(layer, nn.Linear)
            ]

        self.trunk = _Hidden(linears(policy.features_extractor), activation)
        self.policy = _Hidden(linears(policy.mlp_extractor.policy_net), activation)
        self.value = _Hidden(linears(policy.mlp_extractor.value_net), activation)
        self.action_head = self._linear(policy.action_net)
        self.value_head = self._linear(policy.value_net)
        assert self._used == count
        self.width = int(policy.observation_space.shape[0])
        self._passes: dict[int, _Pass] = {}

    def _linear(self, layer: Any) -> _Linear:
        size = layer.weight.numel() + layer.bias.numel()
        self._used += size
        return _Linear(layer, self.gradients[self._used - size : self._used])

    def inputs(self, rows: int) -> Floats:
        """Give the array ``[rows, d]`` to write a batch of observations into, float32."""
        return self._pass(rows).input_view

    def derivative(self, rows: int) -> Output:
        """Give the arrays to write the loss's derivatives into, before :meth:`backward`."""
        return self._pass(rows).derivative

    def _pass(self, rows: int) -> _Pass:
        if rows not in self._passes:
            self._passes[rows] = _Pass(self, rows)
        return self._passes[rows]

    def forward(self, rows: int) -> Output:
        """Evaluate the observations in :meth:`inputs`."""
        p = self._pass(rows)
        shared = self.trunk.forward(p.inputs, p.trunk)
        self.action_head.forward(self.policy.forward(shared, p.policy), p.logits.output)
        self.value_head.forward(self.value.forward(shared, p.value), p.values.output)
        return p.output

    def backward(self, rows: int) -> None:
        """Fill :attr:`gradients` from :meth:`derivative`, after :meth:`forward` of the same rows."""
        p = self._pass(rows)
        shared = p.trunk[-1].output if p.trunk else p.inputs
        d_shared = p.trunk[-1].d_output if p.trunk else None
        if d_shared is not None:
            d_shared.zero_()
        branches = (
            (self.policy, p.policy, self.action_head, p.logits),
            (self.value, p.value, self.value_head, p.values),
        )
        for hidden, buffers, head, buffer in branches:
            if buffers:
                torch.mm(buffer.d_output, head.weight, out=buffers[-1].d_output)
            elif d_shared is not None:
                d_shared.addmm_(buffer.d_output, head.weight)
            head.backward(buffer.d_output, buffers[-1].output if buffers else shared)
            hidden.backward(shared, buffers, d_shared)
        self.trunk.backward(p.inputs, p.trunk, None)

    def clip_gradients(self, limit: float) -> None:
        """Scale all gradients so that their norm is at most ``limit``."""
        norm = float(self.gradients.norm())
        if norm > limit:
            self.gradients.mul_(limit / (norm + 1e-6))
