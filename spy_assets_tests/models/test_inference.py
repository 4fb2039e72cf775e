from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ContractMismatch, ModelError, ModelFileMismatch
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.weights import decode_weights, encode_weights
from spy_assets_tests.models.policies import (
    ACTIONS,
    ALL,
    CONTRACT,
    MIDDLE,
    random_net,
    random_tensors,
)

masks = st.lists(st.booleans(), min_size=ACTIONS, max_size=ACTIONS).filter(any)
observations = st.lists(st.floats(-1, 2, width=32), min_size=CONTRACT.size, max_size=CONTRACT.size)


@pytest.fixture(scope="module")
def torch_policy() -> Any:
    """The network of Stable-Baselines3 itself, with weights far from their start."""
    import torch
    from gymnasium import spaces
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

    torch.manual_seed(0)
    policy = MaskableActorCriticPolicy(
        spaces.Box(-1, 2, (CONTRACT.size,), np.float32),
        spaces.Discrete(ACTIONS),
        lambda _: 3e-4,
        net_arch=[64, 64],
    )
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return policy


@pytest.fixture(scope="module")
def same_net(torch_policy: Any) -> PolicyNet:
    return PolicyNet.from_weights(
        decode_weights(encode_weights(torch_policy.state_dict(), CONTRACT))
    )


@settings(deadline=None, max_examples=50)
@given(observations, masks)
def test_equals_stable_baselines(
    torch_policy: Any, same_net: PolicyNet, observation: list[float], mask: list[bool]
) -> None:
    import torch

    batch = torch.tensor([observation], dtype=torch.float32)
    with torch.no_grad():
        theirs = torch_policy.get_distribution(batch, np.array([mask])).distribution.probs[0]
        value = torch_policy.predict_values(batch)[0, 0]
    ours = same_net.probabilities(observation, mask)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)
    np.testing.assert_allclose(same_net.value(observation), value.numpy(), atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(observations, masks)
def test_probabilities_are_a_distribution_over_allowed_actions(
    observation: list[float], mask: list[bool]
) -> None:
    net = random_net()
    probabilities = net.probabilities(observation, mask)
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert (probabilities[~np.array(mask)] == 0.0).all()
    assert mask[net.act(observation, mask)]


def test_a_batch_equals_its_rows() -> None:
    net, rng = random_net(), np.random.default_rng(1)
    rows = rng.random((20, CONTRACT.size))
    batch = net.probabilities(rows, np.tile(ALL, (20, 1)))
    np.testing.assert_allclose(batch, [net.probabilities(row, ALL) for row in rows], atol=1e-14)


def test_relu_networks_are_supported() -> None:
    data = encode_weights(random_tensors(), CONTRACT, activation="relu")
    relu = PolicyNet.from_weights(decode_weights(data))
    assert not np.allclose(relu.probabilities(MIDDLE, ALL), random_net().probabilities(MIDDLE, ALL))


@pytest.mark.parametrize("shape", [(14,), (16,), (2, 14), ()])
def test_wrong_width_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ContractMismatch, match="15 dimensions"):
        random_net().probabilities(np.zeros(shape), ALL)


def test_missing_input_is_named() -> None:
    observation = MIDDLE.copy()
    observation[CONTRACT.names.index("iv")] = np.nan
    with pytest.raises(ContractMismatch, match="no finite value for iv"):
        random_net().probabilities(observation, ALL)


def test_no_allowed_action_is_refused() -> None:
    with pytest.raises(ModelError, match="allows no action"):
        random_net().probabilities(MIDDLE, ~ALL)


def test_a_model_of_ten_dimensions_is_refused() -> None:
    """The legacy policy saw ten numbers; the daily contract has fifteen."""
    legacy = decode_weights(encode_weights(random_tensors(width=10), CONTRACT))
    with pytest.raises(ModelFileMismatch, match="takes 10 dimensions"):
        PolicyNet.from_weights(legacy)


def test_a_missing_layer_is_named() -> None:
    tensors = random_tensors()
    del tensors["value_net.bias"]
    with pytest.raises(ModelFileMismatch, match=r"value_net\.bias"):
        PolicyNet.from_weights(decode_weights(encode_weights(tensors, CONTRACT)))
