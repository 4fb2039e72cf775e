"""Chains like SPY's, and the vollib libraries in their own environments, taking turns with ours.

py_vollib_vectorized 0.1.1 runs only with py_lets_be_rational 1.0.1 and py_vollib 1.0.1, which today's
vollib overwrites; so each lives in its own virtual environment and is spoken to through a pipe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np

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
ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
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
    parser.add_argument(
        "--peer-venv",
        type=Path,
        default=os.environ.get(VARIABLE),
        help=f"folder of the vollib libraries' environments, made if missing (or {VARIABLE})",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")


def environment_python(directory: Path, library: str) -> Path:
    """The Python of a peer's environment, which is made and filled if it is missing.

    Raises
    ------
    subprocess.CalledProcessError
        If the packages cannot be installed.
    """
    python = directory / library / "bin" / "python"
    if not python.exists():
        print(f"making {directory / library} with {', '.join(PINS[library])}")
        subprocess.run([sys.executable, "-m", "venv", directory / library], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PINS[library]], check=True)
    return python


class Peer:
    """A process with one of the libraries; :meth:`run` gives the processor seconds of one job."""

    def __init__(self, directory: Path, library: str) -> None:
        self._files = tempfile.TemporaryDirectory()
        self._chains: dict[int, Path] = {}
        self._process = subprocess.Popen(
            [environment_python(directory, library), Path(__file__).with_name("vollib_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._files.cleanup()

    def run(self, job: str, c: Chain, times: int) -> float:
        """Processor seconds of one run of ``iv``, ``loop`` or ``greeks``, from ``times`` of them.

        Raises
        ------
        RuntimeError
            If the process has ended.
        """
        if id(c) not in self._chains:
            self._chains[id(c)] = Path(self._files.name) / f"{len(self._chains)}.npz"
            np.savez(self._chains[id(c)], **c)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = [job, str(self._chains[id(c)]), times]
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peer ended with {self._process.wait()} at {job!r}")
        return float(answer)
