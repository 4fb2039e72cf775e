"""optopsy in an environment of its own: it needs Python 3.12, and is measured, never imported.

Its licence is the AGPL, so that nothing of it may come near the project.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from measuring.peers import ONE_THREAD, add_peer_option, environment_python

PIN = "optopsy==2.3.0"
VARIABLE = "OPTOPSY_VENV"


def add_options(parser: ArgumentParser) -> None:
    add_peer_option(parser, VARIABLE, "optopsy's environment")
    parser.add_argument(
        "--peer-python", type=Path, help="a Python of 3.12 or later; else one is looked for"
    )


def newer_python() -> Path | None:
    """A Python 3.12 on the path or of pyenv, None if there is none."""
    found = [*Path.home().glob(".pyenv/versions/3.12.*/bin/python")]
    found += [Path(one) for one in [shutil.which("python3.12")] if one]
    for one in found:
        said = subprocess.run([one, "--version"], capture_output=True, text=True, check=False)
        if said.stdout.startswith("Python 3.12"):
            return one
    return None


def optopsy_python(directory: Path, python: Path) -> Path:
    """The Python of optopsy's environment, which is made and filled if it is missing."""
    return environment_python(directory, [[PIN]], python)


def write_rows(rows: pl.DataFrame, path: Path) -> None:
    """The same quotes in a file that it can read."""
    numbers = {name: rows[name].to_numpy() for name in ("strike", "bid", "ask", "delta", "spot")}
    days = {name: rows[name].to_numpy() for name in ("session", "expiry")}
    np.savez(path, put=(rows["right"] == "P").to_numpy(), **numbers, **days)


def measure(python: Path, file: Path, rounds: int) -> dict[str, Any]:
    """What its worker tells: seconds, rows, bytes of the frame and beyond it, trades.

    Raises
    ------
    RuntimeError
        If it fails, with the end of what it said.
    """
    done = subprocess.run(
        [python, Path(__file__).with_name("optopsy_worker.py"), file, str(rounds)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **ONE_THREAD},
    )
    if done.returncode:
        raise RuntimeError(f"optopsy ended with {done.returncode}:\n{done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
