from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spy_assets.errors import ContractMismatch, ModelFileMismatch
from spy_assets.features.contracts import DAILY_15_CHAIN_V1
from spy_assets.models.outcomes.finetune import FinetuneConfig, Objective, finetune, improved
from spy_assets.models.outcomes.network import PolicyLayers, masked_softmax
from spy_assets.models.outcomes.records import Outcomes
from spy_assets.models.policy.weights import PolicyWeights, policy_hash
from spy_assets.simulator.actions import HOLD
from spy_assets_tests.models.planted import lived, net_of, planted_market, undecided, value
from spy_assets_tests.models.policies import CONTRACT

SEEDS = range(6)
FLAT = [True] * 6 + [False]


def outcomes(n: int = 12, seed: int = 0, **changes: Any) -> Outcomes:
    rng = np.random.default_rng(seed)
    rows = [
        (f"s{k}", rng.random(15), FLAT, int(rng.integers(5)), float(rng.normal(0, 0.5)))
        for k in range(n)
    ]
    return Outcomes.of(rows, **changes)


def test_without_outcomes_every_bit_stays() -> None:
    base = undecided(0)
    same = finetune(base, Outcomes.of([]))
    assert same.policy_hash == base.policy_hash == policy_hash(same.state_dict)
    assert (same.outcomes, same.kl, same.curve) == (0, 0.0, ())
    for name, values in base.tensors.items():
        assert np.array_equal(same.state_dict[name], values)


def test_outcomes_that_earned_nothing_teach_nothing() -> None:
    base = undecided(0)
    known = outcomes()
    same = finetune(base, known.with_gain(np.zeros(len(known))))
    assert same.kl < 1e-12
    for name, values in base.tensors.items():
        assert same.state_dict[name] == pytest.approx(values, abs=1e-6)


def test_equal_outcomes_give_equal_weights_and_others_do_not() -> None:
    base, known = undecided(0), outcomes()
    first, again = finetune(base, known), finetune(base, known)
    assert first.policy_hash == again.policy_hash != base.policy_hash
    assert finetune(base, outcomes(seed=1)).policy_hash != first.policy_hash


def test_only_the_policy_layers_move_and_types_stay() -> None:
    base = undecided(0)
    tuned = finetune(base, outcomes()).state_dict
    assert list(tuned) == list(base.tensors)
    moved = {name for name in tuned if not np.array_equal(tuned[name], base.tensors[name])}
    assert moved == {name for name in tuned if "policy_net" in name or "action_net" in name}
    assert all(tuned[name].dtype == base.tensors[name].dtype for name in tuned)


def test_the_target_by_hand() -> None:
    """Odds of 1 times e^1 are e/(e+1); odds of 1/3 times 1/20, the least, are 1/61."""
    before = np.array([[0.5, 0.25, 0, 0, 0, 0.25, 0]] * 2)
    known = Outcomes.of(
        [("a", np.zeros(15), FLAT, 0, 0.5), ("b", np.zeros(15), FLAT, 1, -10.0)]
    )  # fmt: skip
    target = improved(before, known, FinetuneConfig(beta=0.5))
    assert target == pytest.approx([np.e / (np.e + 1), 1 / 61])


def test_much_asked_the_policy_reaches_the_target_and_the_rest_keeps_its_proportions() -> None:
    base, seen = undecided(1), np.full(15, 0.5)
    known = Outcomes.of([("a", seen, FLAT, 2, 0.25)])
    tuned = finetune(base, known, FinetuneConfig(epochs=2_000, kl_coef=0.0))
    before, after = (
        net_of(tensors).probabilities(seen, FLAT) for tensors in (base.tensors, tuned.state_dict)
    )
    odds = before[2] / (1 - before[2]) * np.e
    assert after[2] == pytest.approx(odds / (1 + odds), rel=1e-3)
    rest = [0, 1, 3, 4, 5]
    assert after[rest] / after[0] == pytest.approx(before[rest] / before[0], rel=0.05)


@pytest.mark.parametrize(("gain", "grows"), [(0.4, True), (-0.4, False)])
def test_what_paid_becomes_more_probable_and_what_lost_less(gain: float, grows: bool) -> None:
    base, seen = undecided(1), np.full(15, 0.5)
    tuned = finetune(base, Outcomes.of([("a", seen, FLAT, 2, gain)]))
    before, after = (
        net_of(tensors).probabilities(seen, FLAT) for tensors in (base.tensors, tuned.state_dict)
    )
    assert (after[2] > before[2]) == grows
    assert (after[HOLD] < before[HOLD]) == grows
    assert tuned.kl > 0
    assert tuned.curve[-1]["loss"] < tuned.curve[0]["loss"]


def test_the_anchor_holds_the_policy_near_the_base() -> None:
    base, known = undecided(0), outcomes()
    loose, tight = (finetune(base, known, FinetuneConfig(kl_coef=k)).kl for k in (0.0, 10.0))
    assert tight < loose / 5


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_gradient_is_that_of_a_tensor_library(activation: str) -> None:
    import torch

    known, net = outcomes(), PolicyLayers.of(undecided(3, activation).tensors, activation)
    before = np.roll(masked_softmax(net.forward(known.observation)[0], known.mask), 1, axis=0)
    target = improved(before, known, FinetuneConfig())
    ours = Objective(known, before, target, 0.3).at(net)

    bend = {"tanh": torch.tanh, "relu": torch.relu}[activation]
    parts = [[torch.tensor(x, requires_grad=True) for x in layer] for layer in net.layers]
    values = torch.tensor(known.observation)
    for weight, bias in parts[:-1]:
        values = bend(values @ weight.T + bias)
    logits = values @ parts[-1][0].T + parts[-1][1]
    policy = torch.softmax(logits.masked_fill(~torch.tensor(known.mask), -torch.inf), dim=1)
    taken, wanted = policy[np.arange(len(known)), known.action], torch.tensor(target)
    coin = wanted * (wanted / taken).log() + (1 - wanted) * ((1 - wanted) / (1 - taken)).log()
    anchor = torch.tensor(before)
    kl = (anchor * (anchor.clamp(min=1e-300) / policy.clamp(min=1e-300)).log()).sum(dim=1)
    loss = (coin + 0.3 * kl).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    assert ours.loss == pytest.approx(float(loss.detach()))
    for layer, tensors in zip(net.backward(ours.inputs, ours.slope), parts, strict=True):
        for slope, tensor in zip(layer, tensors, strict=True):
            assert tensor.grad is not None
            assert slope == pytest.approx(tensor.grad.numpy(), abs=1e-12)


def test_layers_shared_with_the_value_come_first() -> None:
    tensors = {
        name.replace("mlp_extractor.policy_net", "features_extractor.net"): values
        for name, values in undecided(0).tensors.items()
        if "value_net.0" not in name and "value_net.2" not in name
    }
    net = PolicyLayers.of(tensors, "tanh")
    assert net.names == ("features_extractor.net.0", "features_extractor.net.2", "action_net")
    seen = outcomes().observation
    plain = PolicyLayers.of(undecided(0).tensors, "tanh").forward(seen)[0]
    assert np.array_equal(net.forward(seen)[0], plain)


def test_another_contract_is_refused() -> None:
    with pytest.raises(ContractMismatch, match="daily_15_chain_v1 for a policy of daily_15_proxy"):
        finetune(undecided(0), outcomes(contract=DAILY_15_CHAIN_V1))


def test_weights_without_a_policy_are_refused() -> None:
    base = undecided(0)
    values = {name: array for name, array in base.tensors.items() if "policy_net" not in name}
    valued = PolicyWeights(
        values, CONTRACT.name, CONTRACT.sha256, CONTRACT.names, "tanh", {}
    )  # fmt: skip
    with pytest.raises(ModelFileMismatch, match="no policy layers"):
        finetune(valued, outcomes())


def improvements(seed: int) -> tuple[float, float]:
    """How much more the fine-tuned policy earns on markets that it never saw, dollars.

    By what its entries earned, and by the same earnings dealt out at random.
    """
    base = undecided(seed)
    known = lived(base, [planted_market(100 + 10 * seed + k) for k in range(2)])
    shuffled = known.with_gain(np.random.default_rng(seed).permutation(known.gain))
    unseen = [planted_market(5_000 + 10 * seed + k) for k in range(2)]
    before = value(base.tensors, unseen)
    true, dealt = (
        value(finetune(base, one).state_dict, unseen) - before for one in (known, shuffled)
    )
    return true, dealt


def t_statistic(values: np.ndarray[Any, Any]) -> float:
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))


@pytest.mark.slow
def test_true_outcomes_help_and_shuffled_ones_do_not() -> None:
    """The bound is 2.57, the 97.5 % quantile of Student's t with five degrees of freedom."""
    true, shuffled = np.array([improvements(seed) for seed in SEEDS]).T
    assert t_statistic(true) > 2.57
    assert t_statistic(shuffled) < 2.57
    assert shuffled.mean() < true.mean() / 4
    assert t_statistic(true - shuffled) > 2.57
