"""Time to quality: processor seconds until a policy earns 80 % of what a planted rule does.

python benchmarks/ppo_quality.py [--seeds 10] [--preset fast]

The rule can be seen in two dimensions of the observation together and in none alone. Each seed learns on
a market of its own; what it earns is measured on another one, by its most probable actions, each time
a checkpoint is due. Target: 80 % within 20 processor seconds for all seeds, the time of measuring not
counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import torch
from measuring import Figure, clean_environment, report

from spy_assets.models.policy.config import PRESETS, AgentConfig, preset, seeds
from spy_assets.models.policy.select import as_net
from spy_assets.models.policy.train import train_policy
from spy_assets_tests.models.markets import earned, planted_market, planted_rule

SHARE, SECONDS = 0.8, 20.0
#: Parts of the preset's training after which a seed is judged.
PARTS = (0.1, 0.2, 0.4, 0.7, 1.0)


def learn(config: AgentConfig, seed: int, best: float) -> tuple[float, float]:
    """Processor seconds of the shortest training that suffices, and the share of the full one.

    Infinite seconds if none suffices. A training of a part of the steps is one of its own for DQN,
    whose exploration depends on the length; the others are the same one, shorter.
    """
    market, other = planted_market(seed=seed), planted_market(seed=1_000)
    reached, share = float("inf"), 0.0
    for part in PARTS:
        shorter = config.model_copy(update={"timesteps": round(part * config.timesteps)})
        before = time.process_time()
        policy = train_policy(market, shorter, seed)
        took = time.process_time() - before
        share = earned(other, as_net(policy, config.activation).act) / best
        if share >= SHARE:
            reached = min(reached, took)
    return reached, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="fast")
    arguments = parser.parse_args()
    clean_environment()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    config = preset(arguments.preset)
    best = earned(planted_market(seed=1_000), planted_rule)
    train_policy(planted_market(), config.model_copy(update={"timesteps": 1}), 1)  # loads kernels
    results = {seed: learn(config, seed, best) for seed in seeds(arguments.seeds)}
    figures = [
        Figure(f"seed {seed}: to 80 % (in the end {share:.0%})", seconds, "s", SECONDS)
        for seed, (seconds, share) in results.items()
    ]
    middle = statistics.median(seconds for seconds, _ in results.values())
    figures.append(Figure("median", middle, "s", SECONDS))
    report(
        f"ppo_quality_{arguments.preset}",
        f"{arguments.preset} on a planted market whose rule earns {best:.0f} % of the capital",
        figures,
    )


if __name__ == "__main__":
    main()
