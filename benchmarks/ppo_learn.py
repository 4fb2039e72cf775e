"""PPO.learn: steps per second of processor time, beside FinRL's environment and a PPO all in JAX.

python benchmarks/ppo_learn.py --peer-venv ~/.cache/learning [--rounds 3]

All sides run on one core and take turns; figures are medians of the rounds. Targets: at least 130 times
Stable-Baselines3's defaults on FinRL's StockTradingEnv, and 0.7 times (aim: once) a masked PPO of equal
hyper-parameters that is one JAX program with its environment, the limit of what this machine can do.
Between the defaults and ours the ladder shows what each part brings. The peers have their own virtual
environments below the folder that ``--peer-venv`` or ``LEARNING_VENV`` names, made if they are missing;
without either, only the ladder is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from measuring import Figure, clean_environment, report
from measuring.learning_peers import Learner, add_options
from measuring.learning_rungs import COMPILED, fast, rungs

OURS = "and our update: ours"
FINRL = "SB3's defaults on FinRL's StockTradingEnv"
JAX = "all in JAX"
#: Rollouts of a turn: long beside the clock's ticks, the slow ones short.
ROLLOUTS = {OURS: 40, JAX: 40, COMPILED: 20, "SB3's defaults, one account of ours": 1}
FINRL_STEPS = 2_048


def on_one_core() -> None:
    """Bind this process, and with it the peers, to one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def speed_of(model: object, rollouts: int) -> Callable[[], float]:
    """Steps per second of one turn of learning; the first turn warms up and counts nothing."""
    steps = rollouts * model.n_steps * model.n_envs  # type: ignore[attr-defined]

    def turn() -> float:
        before = time.process_time()
        model.learn(steps)  # type: ignore[attr-defined]
        return steps / (time.process_time() - before)

    turn()
    return turn


def sides(stack: ExitStack, directory: Path | None) -> dict[str, Callable[[], float]]:
    """All that are measured, by name: each gives the steps per second of one turn."""
    turns = {name: speed_of(model, ROLLOUTS.get(name, 5)) for name, model in rungs().items()}
    if directory is None:
        return turns
    parameters = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "fast.json"
    parameters.write_text(json.dumps(fast().hyperparameters()))
    finrl = stack.enter_context(Learner(directory, "finrl"))
    jax = stack.enter_context(Learner(directory, "jax", str(parameters)))
    steps = ROLLOUTS[JAX] * fast().rollout_steps
    return {
        FINRL: lambda: FINRL_STEPS / finrl.seconds(FINRL_STEPS),
        **turns,
        JAX: lambda: steps / jax.seconds(ROLLOUTS[JAX]),
    }


def figures_of(speeds: dict[str, float]) -> list[Figure]:
    figures = [Figure(name, speed / 1e3, "thousand steps/s") for name, speed in speeds.items()]
    # A target says what a figure may be at most, so these are times per step.
    if FINRL in speeds:
        ratio = speeds[OURS] / speeds[FINRL]
        name = f"ours beside FinRL with defaults: 1/{ratio:.0f} of its time"
        figures.append(Figure(name, 1e3 / ratio, "thousandths", 1e3 / 130))
    if JAX in speeds:
        ratio = speeds[OURS] / speeds[JAX]
        name = f"ours beside all in JAX: {ratio:.2f} times its speed, of its time"
        figures.append(Figure(name, 1 / ratio, "x", 1 / 0.7))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    arguments = parser.parse_args()
    clean_environment()
    on_one_core()
    with ExitStack() as stack:
        turns = sides(stack, arguments.peer_venv)
        rounds = [{name: turn() for name, turn in turns.items()} for _ in range(arguments.rounds)]
    speeds = {name: statistics.median(one[name] for one in rounds) for name in turns}
    notes = []
    if COMPILED not in speeds:
        notes.append("no C++ compiler: without torch.compile, which ours does not need")
    if arguments.peer_venv is None:
        notes.append(
            "without the peers: --peer-venv or LEARNING_VENV names no environment for them"
        )
    report("ppo_learn", "PPO.learn (processor time, medians)", figures_of(speeds), "\n".join(notes))


if __name__ == "__main__":
    main()
