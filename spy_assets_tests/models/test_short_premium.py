"""Agents on the short-premium plan: the same trainer, its guarantees, and whether they learn."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spy_assets.errors import ConfigError, ContractMismatch
from spy_assets.features.contracts import DAILY_15_PROXY_V1, INTRADAY_8_V1, get_contract
from spy_assets.models.policy.inference import PolicyNet
from spy_assets.models.policy.select import as_net
from spy_assets.models.policy.short_premium import (
    ShortPremiumTask,
    ShortPremiumTrading,
    intraday_digest,
)
from spy_assets.models.policy.train import (
    DailyTask,
    Trading,
    TrainedPolicy,
    TrainingStopped,
    path_digest,
    task_fingerprint,
    train_policy,
    train_task,
    training_fingerprint,
)
from spy_assets.models.policy.weights import save_weights
from spy_assets.simulator.short_premium_plan import ORIGINAL_RISK, ShortPremiumPlan
from spy_assets_tests.models.markets import random_market, tiny_agent, tiny_config
from spy_assets_tests.simulator.intraday_paths import random_path

ALGORITHMS = ("ppo", "a2c", "dqn")


@pytest.fixture(scope="module")
def task() -> ShortPremiumTask:
    return ShortPremiumTask((random_path(1, 8, minutes=15),))


def tiny(algorithm: str = "ppo", **changes: object):
    return tiny_agent(algorithm, **({"episode_length": 1} | changes))


@pytest.fixture(scope="module")
def trained(task: ShortPremiumTask) -> dict[str, TrainedPolicy]:
    return {name: train_task(task, tiny(name), 42) for name in ALGORITHMS}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_trains_on_it(trained, algorithm: str) -> None:
    policy = trained[algorithm]
    assert policy.timesteps == 512
    net = as_net(policy, "tanh", INTRADAY_8_V1)
    odds = net.probabilities(np.zeros(8), [True, True, False, True, False])
    assert (odds > 0).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_stopped_training_continues_to_the_same_weights(
    task: ShortPremiumTask, trained, tmp_path: Path, algorithm: str
) -> None:
    calls = iter(range(10_000))
    with pytest.raises(TrainingStopped):
        train_task(
            task, tiny(algorithm), 42, checkpoint_dir=tmp_path, stop=lambda: 8 * next(calls) >= 300
        )
    again = train_task(task, tiny(algorithm), 42, checkpoint_dir=tmp_path)
    assert again.resumed_at == 256
    assert again.policy_hash == trained[algorithm].policy_hash
    assert again.curve == trained[algorithm].curve


def test_weights_carry_the_intraday_contract(trained, tmp_path: Path) -> None:
    file = tmp_path / "policy.npz"
    identity = save_weights(file, trained["ppo"].state_dict, INTRADAY_8_V1)
    net = PolicyNet.load(file, identity, get_contract("intraday_8_v1"))
    assert net.weights.policy_hash == trained["ppo"].policy_hash
    assert net.weights.observation == INTRADAY_8_V1.names
    with pytest.raises(ContractMismatch, match="8 dimensions against 15"):
        PolicyNet.load(file, identity, DAILY_15_PROXY_V1)


def test_the_seed_decides_and_nothing_is_left_to_chance(task: ShortPremiumTask, trained) -> None:
    assert train_task(task, tiny(), 42).policy_hash == trained["ppo"].policy_hash
    assert train_task(task, tiny(), 84).policy_hash != trained["ppo"].policy_hash


def test_everything_that_matters_is_in_the_fingerprint(task: ShortPremiumTask) -> None:
    path, trading = task.paths[0], task.trading
    moved = path.close.copy()
    moved[40] += 0.01
    price = replace(path, arrays=path.arrays._replace(close=moved))
    plans = [ShortPremiumPlan(actions=3), ShortPremiumPlan(risk=ORIGINAL_RISK)]
    tasks = [
        task,
        ShortPremiumTask((price,)),
        ShortPremiumTask((replace(path, symbol="QQQ"),)),
        ShortPremiumTask((path, path)),
        ShortPremiumTask((path,), replace(trading, costs=replace(trading.costs, commission=1.0))),
        *(ShortPremiumTask((path,), ShortPremiumTrading(plan)) for plan in plans),
    ]
    marks = {task_fingerprint(one, tiny(), 42) for one in tasks}
    assert len(marks | {task_fingerprint(task, tiny(), 84)}) == len(tasks) + 1
    again = random_path(1, 8, minutes=15)
    assert task.dataset_digest == intraday_digest(again) != intraday_digest(path.window(0, 7))


def test_the_daily_training_is_the_one_it_was() -> None:
    """The fingerprint of before the trainer took other tasks: checkpoints stay good."""
    path = random_market()
    mark = training_fingerprint(path, tiny_config(), 42, Trading())
    parts = (path_digest(path), tiny_config().digest(), "42", repr(Trading()))
    assert mark == hashlib.sha256("|".join(parts).encode()).hexdigest()
    assert mark == task_fingerprint(DailyTask(path), tiny_config(), 42)
    daily, same = train_policy(path, tiny_agent("a2c"), 42), DailyTask(path)
    assert train_task(same, tiny_agent("a2c"), 42).policy_hash == daily.policy_hash
    assert same.contract is path.contract


def test_a_task_needs_a_path() -> None:
    with pytest.raises(ConfigError, match="no path"):
        ShortPremiumTask(())
