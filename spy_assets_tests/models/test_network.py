"""The written-down passes against PyTorch's own, for every layout of a policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.network import Network, policy_arguments
from spy_assets.models.policy.weights import decode_weights, encode_weights, exported

ROWS, WIDTH = 12, 15


def make_policy(hidden: tuple[int, ...], activation: str, shared: bool) -> Any:
    torch.manual_seed(1)
    policy = MaskableActorCriticPolicy(
        spaces.Box(0, 1, (WIDTH,)),
        spaces.Discrete(7),
        lambda _: 1e-3,
        **policy_arguments(hidden, activation, shared),
    )
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return policy


@pytest.fixture(scope="module")
def observations() -> Any:
    return np.random.default_rng(0).random((ROWS, WIDTH), dtype=np.float32)


@pytest.mark.parametrize("hidden", [(20,), (8, 32), (16, 16, 16)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("shared", [True, False])
def test_passes_equal_automatic_differentiation(
    hidden: tuple[int, ...], activation: str, shared: bool, observations: Any
) -> None:
    policy, twin = (make_policy(hidden, activation, shared) for _ in range(2))
    random = np.random.default_rng(2)
    d_logits = random.normal(size=(ROWS, 7)).astype(np.float32)
    d_values = random.normal(size=ROWS).astype(np.float32)

    features = twin.extract_features(torch.from_numpy(observations))
    latent_policy, latent_value = twin.mlp_extractor(features)
    logits, values = twin.action_net(latent_policy), twin.value_net(latent_value)[:, 0]
    torch.autograd.backward((logits, values), (torch.tensor(d_logits), torch.tensor(d_values)))

    network = Network(policy, activation)
    for _ in range(2):  # buffers are used again
        network.inputs(ROWS)[:] = observations
        output, slope = network.forward(ROWS), network.derivative(ROWS)
        np.testing.assert_allclose(output.logits, logits.detach(), atol=1e-5)
        np.testing.assert_allclose(output.values, values.detach(), atol=1e-5)
        slope.logits[:], slope.values[:] = d_logits, d_values
        network.backward(ROWS)
    for (name, ours), theirs in zip(policy.named_parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(ours.grad, theirs.grad, atol=2e-5, err_msg=name)


def test_gradients_are_clipped_as_the_library_does() -> None:
    policy = make_policy((16,), "tanh", True)
    network = Network(policy, "tanh")
    for limit in (0.5, 1e3):
        network.gradients.copy_(torch.arange(len(network.gradients)) / 1e3)
        expected = [parameter.grad.clone() for parameter in policy.parameters()]
        twin = [torch.nn.Parameter(value.clone()) for value in expected]
        for parameter, gradient in zip(twin, expected, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(twin, limit)
        network.clip_gradients(limit)
        for ours, theirs in zip(policy.parameters(), twin, strict=True):
            np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_an_exported_policy_answers_as_the_library_does(shared: bool, observations: Any) -> None:
    policy = make_policy((20, 12), "relu", shared)
    tensors = exported(policy.state_dict())
    assert len(tensors) == len(list(policy.parameters()))
    data = encode_weights(tensors, DAILY_15_PROXY_V1, activation="relu")
    net = PolicyNet.from_weights(decode_weights(data))
    mask = np.tile([True, False, True, True, False, True, False], (ROWS, 1))
    batch = torch.from_numpy(observations)
    with torch.no_grad():
        theirs = policy.get_distribution(batch, mask).distribution.probs
        values = policy.predict_values(batch)[:, 0]
    np.testing.assert_allclose(net.probabilities(observations, mask), theirs, atol=1e-6)
    np.testing.assert_allclose(net.value(observations), values, atol=1e-5)
