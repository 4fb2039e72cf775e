"""A search in its own process, for tests that kill it: ``python -m ... FOLDER``; a line per trial."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from spy_assets.models.policy.config import AgentConfig
from spy_assets.models.search.spaces import Choice, Uniform
from spy_assets.models.search.study import SearchPlan, SearchResult, search
from spy_assets_tests.models.markets import tiny_config
from spy_assets_tests.models.planted import planted_market

PLAN = SearchPlan(
    trials=6,
    space={"learning_rate": Uniform(1e-4, 1e-2, log=True), "gamma": Choice.of(0.9, 0.99)},
    rungs=(0.5, 1.0),
    seed=3,
    startup=2,
)
MARKET = planted_market(5, 160)


def base() -> AgentConfig:
    return tiny_config(timesteps=512, episode_length=20)


def run(folder: Path, plan: SearchPlan = PLAN, **how: Any) -> SearchResult:
    return search(MARKET, base(), plan, folder, **how)


if __name__ == "__main__":
    run(Path(sys.argv[1]), progress=lambda done, text: print(f"{done:.3f} {text}", flush=True))
