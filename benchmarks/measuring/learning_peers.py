"""FinRL and JAX in environments of their own, each as a process that learns when it is told to."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from argparse import ArgumentParser
from pathlib import Path

PINS = {
    # Its own requirements are old and many; its environment needs none but pandas and gymnasium, so
    # that both sides learn with the same Stable-Baselines3 and PyTorch: ours.
    "finrl": ("--no-deps", "finrl==0.3.7"),
    "jax": ("jax==0.10.0",),
}
WORKERS = {"finrl": "finrl_worker.py", "jax": "jax_ppo.py"}
VARIABLE = "LEARNING_VENV"


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--peer-venv",
        type=Path,
        default=os.environ.get(VARIABLE),
        help=f"folder of the peers' environments, made if missing (or {VARIABLE})",
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")


def environment_python(directory: Path, peer: str) -> Path:
    """The Python of a peer's environment, which is made and filled if it is missing.

    Raises
    ------
    subprocess.CalledProcessError
        If the packages cannot be installed.
    """
    python = directory / peer / "bin" / "python"
    if not python.exists():
        print(f"making {directory / peer} with {' '.join(PINS[peer])}")
        subprocess.run([sys.executable, "-m", "venv", directory / peer], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PINS[peer]], check=True)
        if peer == "finrl":
            packages = next((directory / peer / "lib").glob("python*/site-packages"))
            (packages / "of_this_project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


class Learner:
    """A peer's process; :meth:`seconds` gives the processor seconds that it learns for."""

    def __init__(self, directory: Path, peer: str, *arguments: str) -> None:
        worker = Path(__file__).with_name(WORKERS[peer])
        self.peer = peer
        self._process = subprocess.Popen(
            [environment_python(directory, peer), worker, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> Learner:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def seconds(self, amount: int) -> float:
        """Processor seconds of learning ``amount`` (steps, or rollouts for JAX).

        Raises
        ------
        RuntimeError
            If the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{amount}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.peer} ended with {self._process.wait()}")
        return float(answer)
