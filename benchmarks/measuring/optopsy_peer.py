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

PIN = "optopsy==2.3.0"
VARIABLE = "OPTOPSY_VENV"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--peer-venv",
        type=Path,
        default=os.environ.get(VARIABLE),
        help=f"folder of optopsy's environment, made if missing (or {VARIABLE})",
    )
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


def environment_python(directory: Path, python: Path) -> Path:
    """The Python of optopsy's environment, which is made and filled if it is missing.

    Raises
    ------
    subprocess.CalledProcessError
        If the package cannot be installed.
    """
    own = directory / "bin" / "python"
    if not own.exists():
        print(f"making {directory} with {PIN}")
        subprocess.run([python, "-m", "venv", directory], check=True)
        subprocess.run([own, "-m", "pip", "install", "-q", PIN], check=True)
    return own


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
