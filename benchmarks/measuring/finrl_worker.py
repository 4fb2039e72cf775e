"""Run by the Python of FinRL's environment: Stable-Baselines3's PPO, all defaults, on StockTradingEnv.

One line of input per turn (steps to learn), its processor seconds out. Knows nothing of this project.
One stock and FinRL's eight indicators over five years of sessions: more stocks only make it slower.
"""

import contextlib
import os
import sys
import time
import warnings

import numpy as np
from finrl_market import environment

warnings.filterwarnings("ignore")

SESSIONS = 1_260


def market():
    random = np.random.default_rng(0)
    close = 200 * np.exp(np.cumsum(random.normal(0.0003, 0.01, SESSIONS)))
    return environment(close, lambda: random.normal(0, 1, SESSIONS), "2014-01-02")


def main():
    import torch
    from stable_baselines3 import PPO

    torch.set_num_threads(1)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # noqa: PTH123
        model = PPO("MlpPolicy", market(), device="cpu", seed=0)
        model.learn(2_048)
    for line in sys.stdin:
        steps = int(line)
        before = time.process_time()
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # noqa: PTH123
            model.learn(steps)
        print(time.process_time() - before, flush=True)


if __name__ == "__main__":
    main()
