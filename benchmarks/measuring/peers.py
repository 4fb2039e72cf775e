"""Other libraries, each in a virtual environment of its own, spoken to through a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

ONE_THREAD = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


def add_peer_option(parser: ArgumentParser, variable: str, whose: str) -> None:
    """``--peer-venv``, or else the environment variable."""
    parser.add_argument(
        "--peer-venv",
        type=Path,
        default=os.environ.get(variable),
        help=f"folder of {whose}, made if missing (or {variable})",
    )


def environment_python(
    folder: Path, installs: Sequence[Sequence[str]], python: str | Path = sys.executable
) -> Path:
    """The Python of a virtual environment, which is made and filled if it is missing.

    ``installs`` are arguments of pip, one command after the other.

    Raises
    ------
    subprocess.CalledProcessError
        If the packages cannot be installed.
    """
    own = folder / "bin" / "python"
    if not own.exists():
        print(f"making {folder} with {' '.join(installs[0])}", flush=True)
        subprocess.run([python, "-m", "venv", folder], check=True)
        for wanted in installs:
            subprocess.run([own, "-m", "pip", "install", "-q", *wanted], check=True)
    return own


class Worker:
    """A process that answers each line of input with a number."""

    def __init__(
        self, python: Path, script: str, *arguments: str | Path, quiet: bool = False
    ) -> None:
        self._name = script
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, line: str) -> float:
        """The answer to a line.

        Raises
        ------
        RuntimeError
            If the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._name} ended with {self._process.wait()} at {line!r}")
        return float(answer)
