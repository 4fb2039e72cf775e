"""Other trading environments, each in a virtual environment of its own, taking turns with ours.

gym-anytrading, Gym-Trading-Env and FinRL want versions of gymnasium, pandas and NumPy of their own, and
FinRL brokers, Ray and torch beside them, which its environment does not use: it is installed without
what it depends on. Each is spoken to through a pipe.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path

import numpy as np

from measuring.vollib_peer import ONE_THREAD

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
    parser.add_argument(
        "--peer-venv",
        type=Path,
        default=os.environ.get(VARIABLE),
        help=f"folder of the other libraries' environments, made if missing (or {VARIABLE})",
    )


def environment_python(directory: Path, library: str) -> Path:
    """The Python of a peer's environment, which is made and filled if it is missing.

    Raises
    ------
    subprocess.CalledProcessError
        If the packages cannot be installed.
    """
    python = directory / library / "bin" / "python"
    if not python.exists():
        print(f"making {directory / library} with {' '.join(PINS[library][0])}")
        subprocess.run([sys.executable, "-m", "venv", directory / library], check=True)
        for wanted in PINS[library]:
            subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    return python


class Peer:
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
        worker = Path(__file__).with_name("environment_worker.py")
        self._process = subprocess.Popen(
            [environment_python(directory, library), worker, library, prices, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._files.cleanup()

    def rate(self) -> float:
        """Steps per processor second.

        Raises
        ------
        RuntimeError
            If the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peer ended with {self._process.wait()}")
        return float(answer)
