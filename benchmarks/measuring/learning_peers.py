"""FinRL and JAX in environments of their own, each as a process that learns when it is told to."""

from __future__ import annotations

import sysconfig
from argparse import ArgumentParser
from pathlib import Path

from measuring.peers import Worker, add_peer_option, environment_python

PINS = {
    # Its own requirements are old and many; its environment needs none but pandas and gymnasium, so
    # that both sides learn with the same Stable-Baselines3 and PyTorch: ours.
    "finrl": ("--no-deps", "finrl==0.3.7"),
    "jax": ("jax==0.10.0",),
}
WORKERS = {"finrl": "finrl_worker.py", "jax": "jax_ppo.py"}
VARIABLE = "LEARNING_VENV"


def add_options(parser: ArgumentParser) -> None:
    add_peer_option(parser, VARIABLE, "the peers' environments")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")


def learner_python(folder: Path, peer: str) -> Path:
    """The Python of a peer's environment; FinRL's sees the packages of this project's beside its own."""
    is_new = not folder.exists()
    python = environment_python(folder, [PINS[peer]])
    if is_new and peer == "finrl":
        packages = next((folder / "lib").glob("python*/site-packages"))
        (packages / "of_this_project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


class Learner(Worker):
    """A peer's process; :meth:`seconds` gives the processor seconds that it learns for."""

    def __init__(self, directory: Path, peer: str, *arguments: str) -> None:
        super().__init__(learner_python(directory / peer, peer), WORKERS[peer], *arguments)

    def seconds(self, amount: int) -> float:
        """Processor seconds of learning ``amount``: steps, rollouts for JAX. Errors as :meth:`ask`."""
        return self.ask(str(amount))
