"""Run by the Python of a peer's environment: steps per processor second of one trading environment.

python environment_worker.py NAME CLOSES.npy SECONDS; each line of input is a turn, whose rate is the
line of output. Knows nothing of this project. Actions are drawn before they are taken, so that only
steps are on the clock, and the resets between episodes, which go over all prices given.
"""

import contextlib
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
#: Drawn once; longer runs take them again.
ACTIONS = 4096
DATES = "1996-01-02"


def gym_anytrading(closes, chance):
    """``stocks-v0`` with the window of ten prices of its examples."""
    import pandas as pd
    from gym_anytrading.envs import StocksEnv

    frame = pd.DataFrame({"Close": closes})
    environment = StocksEnv(df=frame, window_size=10, frame_bound=(10, len(frame)))
    return environment, list(chance.integers(0, 2, ACTIONS))


def gym_trading_env(closes, chance):
    """The positions, fees and features of its README."""
    import pandas as pd
    from gym_trading_env.environments import TradingEnv

    frame = pd.DataFrame(
        {"open": closes, "high": closes, "low": closes, "close": closes, "volume": 1.0},
        index=pd.date_range(DATES, periods=len(closes), freq="B"),
    )
    frame["feature_close"] = frame["close"].pct_change().fillna(0.0)
    environment = TradingEnv(
        df=frame,
        positions=[-1, 0, 1],
        trading_fees=0.01 / 100,
        borrow_interest_rate=0.0003 / 100,
        verbose=0,
    )
    return environment, list(chance.integers(0, 3, ACTIONS))


def finrl(closes, chance):
    """One stock, with indicators by chance."""
    from finrl_market import environment

    made = environment(closes, lambda: chance.random(len(closes)), DATES)
    return made, list(chance.uniform(-1.0, 1.0, (ACTIONS, 1)).astype(np.float32))


PEERS = {"gym-anytrading": gym_anytrading, "gym-trading-env": gym_trading_env, "finrl": finrl}


def walk(environment, actions, least):
    """Steps per processor second, over at least so many seconds."""
    steps = 0
    environment.reset()
    before = time.process_time()
    while True:
        for action in actions:
            _, _, terminated, truncated, _ = environment.step(action)
            steps += 1
            if terminated or truncated:
                environment.reset()
        taken = time.process_time() - before
        if taken >= least:
            return steps / taken


def main():
    name, path, seconds = sys.argv[1:]
    chance = np.random.default_rng(0)
    # What the libraries print is no answer.
    with contextlib.redirect_stdout(sys.stderr):
        environment, actions = PEERS[name](np.load(path), chance)
        walk(environment, actions, 0.0)
    for _ in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            rate = walk(environment, actions, float(seconds))
        print(rate, flush=True)


if __name__ == "__main__":
    main()
