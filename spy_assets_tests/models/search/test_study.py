from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spy_assets.errors import ConfigError
from spy_assets.models.policy.config import A2CConfig, DQNConfig, PPOConfig
from spy_assets.models.policy.train import Trading, TrainedPolicy, TrainingStopped, train_policy
from spy_assets.models.search.spaces import SPACES, Choice, changed, space_of
from spy_assets.models.search.study import (
    SearchBusy,
    SearchPlan,
    SearchResult,
    study_fingerprint,
)
from spy_assets_tests.models.search.search_process import MARKET, PLAN, base, run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search that nobody interrupted."""
    return run(tmp_path_factory.mktemp("search"))


def test_a_search_finishes_its_trials_and_keeps_the_best(whole: SearchResult) -> None:
    assert whole.complete + whole.pruned == PLAN.trials
    assert whole.trials == PLAN.trials + 1
    assert whole.failed == 0
    assert whole.best_pnl >= whole.base_pnl
    assert whole.improved == (whole.best_pnl > whole.base_pnl)
    assert whole.best == changed(base(), whole.best_params)


def test_configurations_worse_than_the_median_are_given_up(tmp_path: Path) -> None:
    """All seeds of a configuration are trained to a rung before it is judged there."""
    steps: list[int] = []

    def counting(path: Any, config: Any, seed: int, **how: Any) -> TrainedPolicy:
        steps.append(config.timesteps)
        return train_policy(path, config, seed, **how)

    found = run(tmp_path, replace(PLAN, trials=8), train=counting)
    assert found.pruned > 0
    assert steps.count(256) == 8
    assert steps.count(512) == 1 + found.complete == 9 - found.pruned


@pytest.mark.slow
def test_a_killed_search_ends_as_one_that_was_not(whole: SearchResult, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spy_assets_tests.models.search.search_process", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(3)]
    process.kill()
    process.wait()
    assert [line.split()[1] for line in told] == ["the", "trial", "trial"]
    lines: list[str] = []
    found = run(tmp_path, progress=lambda _done, text: lines.append(text))
    assert len(lines) <= 4  # what was finished is not done again
    assert replace(found, failed=0) == whole


def test_more_trials_go_on_where_the_search_ended(whole: SearchResult, tmp_path: Path) -> None:
    run(tmp_path, replace(PLAN, trials=2))
    fractions: list[float] = []
    found = run(tmp_path, progress=lambda done, _text: fractions.append(done))
    assert fractions == pytest.approx([3 / 6, 4 / 6, 5 / 6, 1.0])
    assert found == whole
    assert run(tmp_path, progress=lambda *_: pytest.fail("nothing is left to do")) == whole


def test_a_stopped_trial_is_failed_and_tried_again(whole: SearchResult, tmp_path: Path) -> None:
    asked = iter(range(10_000))
    with pytest.raises(TrainingStopped):
        run(tmp_path, stop=lambda: next(asked) > 250)
    found = run(tmp_path)
    assert found.failed <= 1
    assert replace(found, failed=0) == whole
    assert not list(tmp_path.glob("*.checkpoints"))


def test_a_line_torn_by_a_kill_is_dropped(whole: SearchResult, tmp_path: Path) -> None:
    run(tmp_path, replace(PLAN, trials=2))
    (journal,) = tmp_path.glob("*.journal")
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "work')
    assert run(tmp_path) == whole


def test_two_processes_are_never_at_one_study(tmp_path: Path) -> None:
    from filelock import FileLock

    name = study_fingerprint(MARKET, base(), PLAN, Trading())
    with FileLock(tmp_path / f"{name}.lock"), pytest.raises(SearchBusy, match="another process"):
        run(tmp_path)


def test_other_data_seeds_and_spaces_are_other_studies() -> None:
    other = replace(MARKET, close=MARKET.close * 1.01)
    names = {
        study_fingerprint(MARKET, base(), PLAN, Trading()),
        study_fingerprint(other, base(), PLAN, Trading()),
        study_fingerprint(MARKET, changed(base(), {"gamma": 0.5}), PLAN, Trading()),
        study_fingerprint(MARKET, base(), replace(PLAN, seed=4), Trading()),
        study_fingerprint(MARKET, base(), replace(PLAN, space=None), Trading()),
        study_fingerprint(MARKET, base(), PLAN, Trading(capital=1.0)),
    }
    assert len(names) == 6
    more = replace(PLAN, trials=99)
    assert study_fingerprint(MARKET, base(), more, Trading()) in names


def test_the_reported_window_is_never_seen(tmp_path: Path) -> None:
    """Head and tail together are the window without its purge."""
    seen: list[int] = []

    def watching(path: Any, config: Any, seed: int, **how: Any) -> TrainedPolicy:
        seen.append(len(path))
        return train_policy(path, config, seed, **how)

    run(tmp_path, replace(PLAN, trials=1), train=watching)
    assert set(seen) == {160 - 32 - 10}


@pytest.mark.parametrize("config", [PPOConfig(), A2CConfig(), DQNConfig()])
def test_every_algorithm_has_a_space_of_its_own_parameters(config: Any) -> None:
    space = space_of(config)
    assert set(space) <= set(type(config).model_fields)
    for name, one in space.items():
        values = (
            [value for _, value in one.values] if isinstance(one, Choice) else [one.low, one.high]
        )
        for value in values:
            assert getattr(changed(config, {name: value}), name) == value
    assert set(SPACES) == {"ppo", "a2c", "dqn"}


@pytest.mark.parametrize(
    "wrong", [{"trials": 0}, {"rungs": (1.0, 0.5)}, {"rungs": (0.5,)}, {"rungs": (0.0, 1.0)}]
)
def test_impossible_plans_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SearchPlan(**wrong)


def test_a_choice_is_stored_by_its_label() -> None:
    assert Choice.of(0.9, (64, 64)).values == (("0.9", 0.9), ("64x64", (64, 64)))
    assert np.isfinite(Choice.of(1).values[0][1])
