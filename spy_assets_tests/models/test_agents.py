"""All three algorithms: what they learn, and that none of it is lost or left to chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spy_assets.models.policy.agents import make_agent, packed, unpacked
from spy_assets.models.policy.config import DQNConfig, preset
from spy_assets.models.policy.dqn import MaskedDQN, ReplayMemory
from spy_assets.models.policy.network import Network
from spy_assets.models.policy.select import as_net, score
from spy_assets.models.policy.train import (
    Trading,
    TrainedPolicy,
    TrainingStopped,
    _Trainer,
    train_policy,
)
from spy_assets.models.policy.undo import mark_learnt
from spy_assets.models.policy.weights import exported
from spy_assets_tests.models.markets import (
    earned,
    planted_market,
    planted_rule,
    random_market,
    tiny_agent,
)

ALGORITHMS = ("ppo", "a2c", "dqn")
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


@pytest.fixture(scope="module")
def trained() -> dict[str, TrainedPolicy]:
    return {name: train_policy(random_market(), tiny_agent(name), 42) for name in ALGORITHMS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "timesteps"), [("fast", 600_000), ("a2c", 800_000), ("dqn", 200_000)]
)
def test_a_planted_rule_is_found(name: str, timesteps: int) -> None:
    """On another market of the same rule: at least half of what the rule earns there."""
    policy = train_policy(planted_market(), preset(name, timesteps=timesteps), 42)
    other = planted_market(seed=99)
    assert earned(other, as_net(policy).act) > 0.5 * earned(other, planted_rule)


def test_the_planted_rule_cannot_be_seen_in_one_dimension() -> None:
    path = planted_market()
    rises = np.diff(path.close) > 0.0
    for dimension in range(10):
        high = path.observation[:-1, dimension] > 0.5
        assert 0.42 < (high == rises).mean() < 0.58
    found = (path.observation[:-1, 2] > 0.5) != (path.observation[:-1, 5] > 0.5)
    assert (found == rises).all()


@each_algorithm
def test_a_stopped_training_ends_with_the_same_weights(
    trained: dict[str, TrainedPolicy], algorithm: str, tmp_path: Path
) -> None:
    asked = iter(range(10_000))
    config = tiny_agent(algorithm)
    with pytest.raises(TrainingStopped):
        train_policy(
            random_market(), config, 42, checkpoint_dir=tmp_path, stop=lambda: next(asked) == 40
        )
    again = train_policy(random_market(), config, 42, checkpoint_dir=tmp_path)
    assert again.resumed_at == 256
    assert again.policy_hash == trained[algorithm].policy_hash
    assert again.curve == trained[algorithm].curve


@each_algorithm
def test_every_algorithm_gives_a_policy_that_can_be_asked(
    trained: dict[str, TrainedPolicy], algorithm: str
) -> None:
    policy, config = trained[algorithm], tiny_agent(algorithm)
    assert policy.timesteps == 512
    assert [row["timesteps"] for row in policy.curve] == [128.0, 256.0, 384.0, 512.0]
    candidate = score(policy, random_market(seed=1), config, Trading())
    assert np.isfinite(candidate.net_pnl)


def make_dqn(**changes: Any) -> MaskedDQN:
    config = tiny_agent("dqn", **changes)
    assert isinstance(config, DQNConfig)
    trading = Trading()
    copies = trading.copies(trading.book(random_market()), config.n_envs, config.episode_length)
    return MaskedDQN(copies, config, seed=1, total=512)


def test_dqn_takes_allowed_actions_only_and_remembers_what_follows() -> None:
    agent = make_dqn(timesteps=1_024)
    for _ in range(3):
        assert agent.rollout(lambda: False) is not None
    memory, rows = agent.memory, np.arange(agent.memory.filled)
    row = (memory.now - 1 - rows) % memory.rows
    copies = np.arange(memory.copies)
    assert memory.masks[row[:, None], copies, memory.actions[row]].all()
    ended = memory.ended[row]
    assert (memory.starts[(row + 1) % memory.rows] == ended).all()
    age = memory.observations[..., 14]  # sessions held: a fresh account holds nothing
    assert (age[(row + 1) % memory.rows][ended] == 0.0).all()


def test_draws_are_complete_rows_and_their_followers() -> None:
    memory = ReplayMemory(rows=5, copies=3, width=1, actions=2)
    for steps, expected in ((2, {0, 1}), (4, {0, 1, 2, 3}), (7, {3, 4, 0, 1})):
        memory.steps = steps
        np.random.seed(0)  # noqa: NPY002
        index, following = memory.draw(500)
        assert set(index // 3) == expected
        assert (following == (index // 3 + 1) % 5 * 3 + index % 3).all()


def test_exploration_falls_to_its_final_value() -> None:
    agent = make_dqn(exploration_fraction=0.5, exploration_final=0.1)
    values = []
    for agent.num_timesteps in (0, 128, 256, 512):
        values.append(agent.exploration)
    assert values == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_dqn_is_exported_as_a_softmax_of_q_over_temperature() -> None:
    agent = make_dqn(temperature=0.5)
    observations = np.random.default_rng(0).random((9, 15), dtype=np.float32)
    masks = np.tile([True, False, True, True, False, True, True], (9, 1))
    agent.network.inputs(9)[:] = observations
    q = agent.network.forward(9).logits.astype(np.float64)  # up to a number per state
    odds = np.where(masks, np.exp(q / 0.5), 0.0)
    policy = TrainedPolicy(1, exported(agent.learned()), "", (), 0)
    net = as_net(policy)
    ours = net.probabilities(observations, masks)
    np.testing.assert_allclose(ours, odds / odds.sum(axis=1, keepdims=True), atol=1e-6)
    assert (ours.argmax(axis=1) == np.where(masks, q, -np.inf).argmax(axis=1)).all()


def test_a_checkpoint_of_records_is_read_back_to_the_byte() -> None:
    records = np.array([(1.5, 2**63 + 1)], dtype=[("cash", "f8"), ("stream", "u8")])
    state = {"records": records, "flags": np.array([True, False])}
    stored = packed(state)
    assert all(isinstance(value, torch.Tensor) for value in stored.values())
    records["cash"] = 0.0  # the copy does not follow
    back = unpacked(stored, like=state)
    assert back["records"].tolist() == [(1.5, 2**63 + 1)]
    assert back["flags"].tolist() == [True, False]


def test_weights_of_an_agent_are_named_once() -> None:
    trading, config = Trading(), tiny_agent("ppo", shared_trunk=True)
    copies = trading.copies(trading.book(random_market()), config.n_envs, config.episode_length)
    names = list(exported(make_agent(copies, config, 1).learned()))
    assert names[:2] == ["features_extractor.net.0.weight", "features_extractor.net.0.bias"]
    assert len(names) == 8


@each_algorithm
def test_an_update_that_is_interrupted_is_taken_back(
    trained: dict[str, TrainedPolicy],
    algorithm: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the midst of the third rollout, where some weights, or some of the memory, are new."""
    steps, clip = iter(range({"ppo": 20, "a2c": 2, "dqn": 30}[algorithm])), Network.clip_gradients

    def interrupted(self: Network, norm: float) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        clip(self, norm)

    config = tiny_agent(algorithm, checkpoint_every=100)
    with monkeypatch.context() as patch:
        patch.setattr(Network, "clip_gradients", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_policy(random_market(), config, 42, checkpoint_dir=tmp_path)
    again = train_policy(random_market(), config, 42, checkpoint_dir=tmp_path)
    assert (again.resumed_at, again.policy_hash) == (256, trained[algorithm].policy_hash)


@each_algorithm
def test_state_is_made_where_it_is_written_only(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    config = tiny_agent(algorithm, checkpoint_every=2)
    whole = _Trainer.state

    def counted(self: _Trainer) -> dict[str, Any]:
        made.append(self.done)
        return whole(self)

    monkeypatch.setattr(_Trainer, "state", counted)
    train_policy(random_market(), config, 42, checkpoint_dir=tmp_path)
    assert made == [2, 4]


def test_what_the_first_step_of_an_optimizer_makes_is_taken_back() -> None:
    layer = torch.nn.Linear(2, 1)
    adam = torch.optim.Adam(layer.parameters())
    before, undo = layer.weight.detach().clone(), mark_learnt(adam, layer)
    layer(torch.ones(1, 2)).sum().backward()
    adam.step()
    assert not torch.equal(layer.weight, before)
    undo()
    assert torch.equal(layer.weight, before)
    assert not adam.state


def test_steps_are_taken_back_from_a_ring_that_is_full() -> None:
    agent = make_dqn()
    while agent.memory.steps < 2 * agent.memory.rows - 3:
        agent._step()
    before, undo = packed(agent.state()), agent.mark()
    agent.rollout(lambda: False)
    undo()
    after = agent.state()
    assert after["memory_steps"] == before["memory_steps"]
    for name, values in after["memory"].items():
        np.testing.assert_array_equal(values, before["memory"][name].numpy())
