"""Environment steps alone: the batched engine with many accounts, one thread.

python benchmarks/environment.py [--accounts 1024] [--rounds 5]

The accounts walk random episodes of 252 sessions over a synthetic path of 6,000 and take random allowed
actions, chosen beforehand so that only stepping is measured: observations, masks and rewards included.
That trades at nine steps of ten; a policy that holds more is faster.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from measuring import Figure, clean_environment, report

from spy_assets.sessions import next_session, sessions_between
from spy_assets.simulator.batch import BatchedAccounts
from spy_assets.simulator.book import PathBook
from spy_assets.simulator.episodes import Episodes
from spy_assets.simulator.market_path import MarketPath

SESSIONS, EPISODE, STEPS = 6_000, 252, 300
#: XNYS sessions of the synthetic path begin here.
FIRST = "1996-01-02"


def market(sessions: int = SESSIONS, seed: int = 0) -> MarketPath:
    """A random walk with a volatility of its own and uniform observations."""
    rng = np.random.default_rng(seed)
    first = np.datetime64(FIRST).astype(object)
    close = 100.0 * np.exp(np.cumsum(rng.standard_t(4, sessions) * 0.006))
    iv = np.clip(0.16 * np.exp(np.cumsum(rng.normal(0.0, 0.06, sessions)) * 0.2), 0.08, 0.8)
    return MarketPath.from_arrays(
        sessions_between(first, next_session(first, sessions - 1)),
        open=np.concatenate(([100.0], close[:-1])) * np.exp(rng.normal(0.0, 0.003, sessions)),
        close=close,
        iv_open=iv,
        iv_close=iv,
        rate=np.full(sessions, 0.03),
        observation=rng.uniform(0.0, 1.0, (sessions, 10)),
    )


def ours(n_accounts: int, rounds: int = 5, dtype: type = np.float32) -> float:
    """Steps per second of processor time, the median of ``rounds``."""
    book = PathBook(market())
    accounts = BatchedAccounts(
        book, n_accounts, dtype=dtype, hold_through=True, episodes=Episodes.over([book], EPISODE)
    )
    actions = _allowed_actions(accounts)
    taken = []
    for _ in range(rounds):
        _begin(accounts)
        before = time.process_time()
        for row in actions:
            accounts.step(row)
        taken.append(time.process_time() - before)
    return n_accounts * len(actions) / statistics.median(taken)


def _begin(accounts: BatchedAccounts) -> None:
    accounts.seed(1)
    accounts.draw()


def _allowed_actions(accounts: BatchedAccounts) -> np.ndarray:
    """Random actions within the masks of one run from the beginning."""
    rng = np.random.default_rng(0)
    _begin(accounts)
    rows = []
    for _ in range(STEPS):
        wish = rng.random(accounts.masks.shape)
        rows.append(np.where(accounts.masks, wish, -1.0).argmax(axis=1))
        accounts.step(rows[-1])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    clean_environment()
    figures = [
        Figure(
            f"{arguments.accounts} accounts, {dtype.__name__}",
            ours(arguments.accounts, arguments.rounds, dtype) / 1e6,
            "M steps/s",
        )
        for dtype in (np.float32, np.float64)
    ]
    report("environment", "Environment steps (processor time, medians)", figures)


if __name__ == "__main__":
    main()
