from __future__ import annotations

import pytest
from pydantic import ValidationError

from spy_assets.errors import ConfigError
from spy_assets.models.policy.config import PRESETS, PPOConfig, preset
from spy_assets_tests.models.markets import tiny_agent


def test_seed_preset_is_the_published_baseline() -> None:
    config = preset("seed")
    assert config.hidden == (64, 64)
    assert (config.learning_rate, config.n_steps, config.batch_size) == (3e-4, 1024, 64)
    assert (config.n_epochs, config.ent_coef, config.clip_range, config.n_envs) == (
        10,
        0.05,
        0.2,
        4,
    )


@pytest.mark.parametrize(
    ("name", "timesteps", "seeds"),
    [("quick", 50_000, (42,)), ("full", 500_000, (42, 84, 126))],
)
def test_training_lengths(name: str, timesteps: int, seeds: tuple[int, ...]) -> None:
    assert (preset(name).timesteps, preset(name).seeds) == (timesteps, seeds)


def test_fast_has_many_copies_and_one_trunk() -> None:
    config = preset("fast")
    assert (config.n_envs, config.n_steps, config.batch_size, config.n_epochs) == (256, 32, 1024, 4)
    assert config.shared_trunk


def test_sample_is_fast_with_a_softer_policy() -> None:
    sample, fast = preset("sample"), preset("fast")
    assert sample.model_copy(update={"ent_coef": 0.05}) == fast
    assert sample.hyperparameters()["ent_coef"] == 0.2


def test_the_algorithm_is_part_of_the_digest() -> None:
    configs = [tiny_agent(algorithm) for algorithm in ("ppo", "a2c", "dqn")]
    assert [config.algorithm for config in configs] == ["ppo", "a2c", "dqn"]
    assert len({config.digest() for config in configs}) == 3


def test_full_writes_a_checkpoint_every_50k_steps_or_less() -> None:
    config = PRESETS["full"]
    assert config.checkpoint_every * config.rollout_steps <= 50_000


def test_rollouts_round_up() -> None:
    assert PPOConfig(timesteps=4_097).rollouts == 2


def test_digest_ignores_what_does_not_change_one_seed() -> None:
    assert preset("quick", seeds=(7,), checkpoint_every=9).digest() == preset("quick").digest()
    assert preset("quick", ent_coef=0.0).digest() != preset("quick").digest()


@pytest.mark.parametrize(
    "changes", [{"batch_size": 100}, {"seeds": ()}, {"seeds": (1, 1)}, {"hidden": ()}]
)
def test_bad_combinations_name_the_value(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(changes)))):
        preset("seed", **changes)


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"'best'[\s\S]*seed, quick, full, "):
        preset("best")


def test_config_is_frozen_and_refuses_unknown_names() -> None:
    with pytest.raises(ValidationError):
        preset("seed", learningrate=1)
    with pytest.raises(ValidationError):
        preset("seed").gamma = 1.0  # type: ignore[misc]
