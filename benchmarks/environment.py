"""Environment steps alone: the batched engine with many accounts, beside other libraries, one thread.

python benchmarks/environment.py --peer-venv ~/.cache/environments [--accounts 1024] [--rounds 5]

The accounts walk random episodes of 252 sessions over a synthetic path of 6,000 and take random allowed
actions, chosen beforehand so that only stepping is measured: observations, masks and rewards included.
That trades at nine steps of ten; a policy that holds more is faster.

The others walk the same closes, one account each, with random actions chosen beforehand, in turns with
ours; a turn of ours is three million steps, so that what another process left in the caches does not
count. Targets: at most 1/100 of gym-anytrading's time for a step (aim 1/150) and 1/8,000 of FinRL's.
They have virtual environments of their own below the folder that ``--peer-venv`` or
``ENVIRONMENT_VENV`` names, made if they are missing; without either, only our own figures are measured.
Their steps trade shares, ours options of up to four legs, which they do not have.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from measuring import Figure, clean_environment, report
from measuring.environment_peers import PINS, Peer, add_options

from spy_assets.sessions import next_session, sessions_between
from spy_assets.simulator.batch import BatchedAccounts
from spy_assets.simulator.book import PathBook
from spy_assets.simulator.episodes import Episodes
from spy_assets.simulator.market_path import MarketPath

SESSIONS, EPISODE, STEPS = 6_000, 252, 3_000
#: Of a peer's time for a step.
AT_MOST = {"gym-anytrading": 1 / 100, "finrl": 1 / 8_000}
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


class Accounts:
    """Our accounts and the actions that they take in each turn."""

    def __init__(self, n_accounts: int, dtype: type = np.float32) -> None:
        book = PathBook(market())
        episodes = Episodes.over([book], EPISODE)
        self.accounts = BatchedAccounts(
            book, n_accounts, dtype=dtype, hold_through=True, episodes=episodes
        )
        self.actions = _allowed_actions(self.accounts)

    def rate(self) -> float:
        """Steps per second of processor time of one turn."""
        _begin(self.accounts)
        before = time.process_time()
        for row in self.actions:
            self.accounts.step(row)
        return self.actions.size / (time.process_time() - before)


def ours(n_accounts: int, rounds: int = 5, dtype: type = np.float32) -> float:
    """Steps per second of processor time, the median of ``rounds``."""
    accounts = Accounts(n_accounts, dtype)
    return statistics.median(accounts.rate() for _ in range(rounds))


def beside(directory: Path, library: str, accounts: Accounts, rounds: int) -> tuple[float, float]:
    """Medians of our rate and the library's."""
    with Peer(directory, library, market().close) as peer:
        rates = [(accounts.rate(), peer.rate()) for _ in range(rounds)]
    own, theirs = zip(*rates, strict=True)
    return statistics.median(own), statistics.median(theirs)


def beside_peers(directory: Path, n_accounts: int, rounds: int) -> list[Figure]:
    """The other libraries' rates, and our time for a step as a share of theirs."""
    accounts, figures = Accounts(n_accounts), []
    for library in PINS:
        own, theirs = beside(directory, library, accounts, rounds)
        figures += [
            Figure(library, theirs / 1e3, "k steps/s"),
            Figure(
                f"share of {library}'s time (1/{own / theirs:,.0f})",
                theirs / own,
                "x",
                AT_MOST.get(library),
            ),
        ]
    return figures


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
    add_options(parser)
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
    if arguments.peer_venv:
        figures += beside_peers(arguments.peer_venv, arguments.accounts, arguments.rounds)
    report(
        "environment",
        "Environment steps (processor time, medians)",
        figures,
        "" if arguments.peer_venv else "without the peers: no --peer-venv and no ENVIRONMENT_VENV",
    )


if __name__ == "__main__":
    main()
