"""Other trading environments, each in a virtual environment of its own, taking turns with ours.

gym-anytrading, Gym-Trading-Env and FinRL want versions of gymnasium, pandas and NumPy of their own, and
FinRL brokers, Ray and torch beside them, which its environment does not use: it is installed without
what it depends on. Each is spoken to through a pipe.
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser
from pathlib import Path

import numpy as np

from measuring.peers import Worker, add_peer_option, environment_python

#: Commands of pip, one after the other.
PINS: dict[str, tuple[tuple[str, ...], ...]] = {
    "gym-anytrading": (
        ("gym-anytrading==2.0.0", "gymnasium==1.4.0", "numpy==2.4.6", "pandas==3.1.1"),
    ),
    "gym-trading-env": (
        ("gym-trading-env==0.3.5", "gymnasium==1.4.0", "numpy==2.4.6", "pandas==3.1.1"),
    ),
    "finrl": (
        ("--no-deps", "finrl==0.3.7"),
        ("gymnasium==1.4.0", "numpy==2.4.6", "pandas==3.1.1", "matplotlib==3.11.2"),
    ),
}
VARIABLE = "ENVIRONMENT_VENV"


def add_options(parser: ArgumentParser) -> None:
    add_peer_option(parser, VARIABLE, "the other libraries' environments")


class Peer(Worker):
    """A process with one of the libraries; :meth:`rate` gives the steps per processor second of a turn.

    Parameters
    ----------
    directory, library
        Where its environment is or will be, and which one.
    closes
        The prices that it walks over, from the first to the last and again.
    seconds
        Least length of a turn.
    """

    def __init__(
        self, directory: Path, library: str, closes: np.ndarray, seconds: float = 1.0
    ) -> None:
        self._files = tempfile.TemporaryDirectory()
        prices = Path(self._files.name) / "closes.npy"
        np.save(prices, closes)
        python = environment_python(directory / library, PINS[library])
        super().__init__(python, "environment_worker.py", library, prices, str(seconds), quiet=True)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._files.cleanup()

    def rate(self) -> float:
        """Steps per processor second; an error as :meth:`ask`."""
        return self.ask("")
