"""A training in a process of its own gives the policy that it gives in this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from spy_assets.defs.models import isolated
from spy_assets.models.policy.select import train_and_select
from spy_assets_tests.models.markets import random_market, tiny_config


@pytest.mark.slow
def test_an_isolated_training_gives_the_same_policy(tmp_path: Path) -> None:
    path, config = random_market(200), tiny_config(timesteps=256)
    told: list[tuple[float, str]] = []
    alone = train_and_select(
        path,
        config,
        checkpoint_dir=tmp_path,
        progress=lambda done, text: told.append((done, text)),
        train=isolated(8_192),
    )
    here = train_and_select(path, config)
    assert alone.chosen.policy.policy_hash == here.chosen.policy.policy_hash
    assert told == [(1.0, "seed 42: trained in a process of its own")]
    assert any(tmp_path.rglob("*"))
