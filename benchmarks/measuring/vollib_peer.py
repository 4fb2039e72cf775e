"""Chains like SPY's, and the vollib libraries in their own environments, taking turns with ours.

py_vollib_vectorized 0.1.1 runs only with py_lets_be_rational 1.0.1 and py_vollib 1.0.1, which today's
vollib overwrites; so each lives in its own virtual environment and is spoken to through a pipe.
"""

from __future__ import annotations

import json
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np

from measuring.peers import Worker, add_peer_option, environment_python
from spy_assets.options.black_scholes import AllGreeks, all_greeks

PINS = {
    "vectorized": (
        "py_vollib_vectorized==0.1.1",
        "py_lets_be_rational==1.0.1",
        "py_vollib==1.0.1",
        "numba==0.68.1",
    ),
    "loop": ("vollib==1.0.11",),
}
VARIABLE = "VOLLIB_VENV"
Chain = dict[str, np.ndarray]


def chain(contracts: int) -> Chain:
    """Contracts like SPY's at 688.12: 1 day to 2 years, a skew, calls and puts on both sides.

    Prices are exact to the last bits; strikes without time value in float64 are left out.
    """
    chance = np.random.default_rng(7)
    count = 2 * contracts
    spot = 688.12
    days = chance.choice([1, 2, 5, 7, 14, 30, 60, 90, 180, 365, 730], count)
    width = 0.2 * np.sqrt(days / 365.0)
    strike = np.round(spot * np.exp(width * chance.normal(0.0, 1.2, count)))
    market = {
        "spot": np.full(count, spot),
        "strike": strike,
        "years": days / 365.0,
        "rate": np.full(count, 0.0433),
        "dividend_yield": np.full(count, 0.0125),
        "sigma": np.clip(0.16 - 0.5 * np.log(strike / spot), 0.08, 1.5),
    }
    sign = np.where(chance.random(count) < 0.5, 1.0, -1.0)
    values = all_greeks(*market.values(), sign)
    known = (values.vega > 1e-6) & (values.price > 1e-4)
    columns = {**market, "sign": sign, "price": values.price}
    return {name: values[known][:contracts] for name, values in columns.items()}


def our_greeks(c: Chain, right: np.ndarray) -> AllGreeks:
    return all_greeks(
        c["spot"], c["strike"], c["years"], c["rate"], c["dividend_yield"], c["sigma"], right
    )


def rights(c: Chain) -> np.ndarray:
    return np.where(c["sign"] > 0.0, "C", "P")


def repeats(size: int) -> int:
    """How often a chain is computed in one turn, so that a turn is long beside the clock's ticks."""
    return max(1, 100_000 // size)


def seconds_of(work: Callable[[], object], times: int) -> float:
    """Processor seconds of one run, from ``times`` of them."""
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times


def add_options(parser: ArgumentParser) -> None:
    add_peer_option(parser, VARIABLE, "the vollib libraries' environments")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")


class Peer(Worker):
    """A process with one of the libraries; :meth:`run` gives the processor seconds of one job."""

    def __init__(self, directory: Path, library: str) -> None:
        self._files = tempfile.TemporaryDirectory()
        self._chains: dict[int, Path] = {}
        python = environment_python(directory / library, [PINS[library]])
        super().__init__(python, "vollib_worker.py")

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._files.cleanup()

    def run(self, job: str, c: Chain, times: int) -> float:
        """Processor seconds of one run of ``iv``, ``loop`` or ``greeks``, from ``times`` of them.

        An error as :meth:`ask`.
        """
        if id(c) not in self._chains:
            self._chains[id(c)] = Path(self._files.name) / f"{len(self._chains)}.npz"
            np.savez(self._chains[id(c)], **c)
        return self.ask(json.dumps([job, str(self._chains[id(c)]), times]))
