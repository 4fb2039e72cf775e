"""Run by the Python of FinRL's environment: Stable-Baselines3's PPO, all defaults, on StockTradingEnv.

One line of input per turn (steps to learn), its processor seconds out. Knows nothing of this project.
One stock and FinRL's eight indicators over five years of sessions: more stocks only make it slower.
"""

import contextlib
import importlib.util
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")

INDICATORS = [
    "macd", "boll_ub", "boll_lb", "rsi_30", "cci_30", "dx_30", "close_30_sma", "close_60_sma",
]  # fmt: skip
SESSIONS = 1_260


def prices():
    random = np.random.default_rng(0)
    close = 200 * np.exp(np.cumsum(random.normal(0.0003, 0.01, SESSIONS)))
    days = pd.bdate_range("2014-01-02", periods=SESSIONS).strftime("%Y-%m-%d")
    frame = pd.DataFrame({"date": days, "tic": "SPY", "close": close})
    for name in INDICATORS:
        frame[name] = random.normal(0, 1, SESSIONS)
    return frame


def environment():
    # The package's own __init__ imports brokers' clients; the environment's file needs none of them.
    package = Path(importlib.util.find_spec("finrl").submodule_search_locations[0])
    path = package / "meta" / "env_stock_trading" / "env_stocktrading.py"
    spec = importlib.util.spec_from_file_location("env_stocktrading", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.StockTradingEnv(
        df=prices(),
        stock_dim=1,
        hmax=100,
        initial_amount=1_000_000,
        num_stock_shares=[0],
        buy_cost_pct=[0.001],
        sell_cost_pct=[0.001],
        reward_scaling=1e-4,
        state_space=1 + 2 + len(INDICATORS),
        action_space=1,
        tech_indicator_list=INDICATORS,
        print_verbosity=10**9,
    )


def main():
    import torch
    from stable_baselines3 import PPO

    torch.set_num_threads(1)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # noqa: PTH123
        model = PPO("MlpPolicy", environment(), device="cpu", seed=0)
        model.learn(2_048)
    for line in sys.stdin:
        steps = int(line)
        before = time.process_time()
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # noqa: PTH123
            model.learn(steps)
        print(time.process_time() - before, flush=True)


if __name__ == "__main__":
    main()
