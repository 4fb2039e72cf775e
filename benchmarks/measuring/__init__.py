"""What every benchmark here needs: processor time, figures with targets, a table and JSON.

Processor time is user time, of this process or of its finished children. It hardly depends on what
else the machine does, while elapsed time on a busy machine says little.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Took:
    """Seconds: user and system time of this process and its finished children, and elapsed."""

    user: float
    system: float
    wall: float

    @property
    def processor(self) -> float:
        """User and system time."""
        return self.user + self.system


@dataclass(frozen=True)
class Figure:
    """One number beside what it may be at most; ``None`` where there is no target."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    details: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        return None if self.at_most is None else self.value <= self.at_most


def timed(work: Callable[[], object]) -> Took:
    """Run ``work`` and measure it, its child processes included."""
    before = os.times()
    work()
    after = os.times()
    return Took(
        user=after.user - before.user + after.children_user - before.children_user,
        system=after.system - before.system + after.children_system - before.children_system,
        wall=after.elapsed - before.elapsed,
    )


def timed_process(command: Sequence[str], environment: dict[str, str] | None = None) -> Took:
    """Run a process to its end and measure it and its children.

    Raises
    ------
    RuntimeError
        If it fails; with the end of its output.
    """

    def run() -> None:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stderr[-3000:]}")

    return timed(run)


def clean_environment() -> dict[str, str]:
    """Switch off what the caller's environment sets of ours, for processes of a benchmark."""
    for name in [name for name in os.environ if name.startswith(("SPY_", "DAGSTER_HOME"))]:
        del os.environ[name]
    return {}


def report(script: str, title: str, figures: Sequence[Figure], note: str = "") -> None:
    """Print the figures as a table and write them to ``benchmarks/results/<script>.json``."""
    table = Table(title=title, title_justify="left")
    for heading, justify in (("figure", "left"), ("measured", "right"), ("at most", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    table.add_column("")
    for one in figures:
        wanted = "" if one.at_most is None else f"{one.at_most:g} {one.unit}"
        mark = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[one.met]
        table.add_row(one.name, f"{one.value:.2f} {one.unit}", wanted, mark)
    console = Console()
    console.print(table)
    if note:
        console.print(note)
    write(script, figures, note)


def skip(script: str, reason: str) -> None:
    """Say why a benchmark cannot run here."""
    Console().print(f"[yellow]skipped[/]: {reason}")
    write(script, [], f"skipped: {reason}")


def write(script: str, figures: Sequence[Figure], note: str) -> None:
    """Write the figures with the machine and its load as JSON."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {
        "script": script,
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "note": note,
        "figures": [asdict(one) | {"met": one.met} for one in figures],
    }
    (RESULTS / f"{script}.json").write_text(json.dumps(content, indent=1) + "\n")
