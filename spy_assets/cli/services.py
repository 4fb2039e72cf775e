"""Child processes of ``spy up``: started with a log each, watched, and stopped without orphans."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from spy_assets.errors import SpyError

#: Politeness before force: SIGTERM to each leader, then to all descendants, then SIGKILL. Together
#: they stay under the ten seconds within which `spy up` must be gone.
TERM_S, GROUP_S, KILL_S = 5.0, 2.0, 1.0
LOG_TAIL_LINES = 12


class ServiceFailed(SpyError):
    """A service did not start, or ended by itself."""


@dataclass
class Service:
    """One program of ``spy up``.

    Parameters
    ----------
    name
        As shown.
    command
        Program and arguments.
    log
        File that gets its output.
    ready_url
        Address that answers 2xx once it is up; None for a program without one.
    url
        Address for people.
    """

    name: str
    command: Sequence[str]
    log: Path
    ready_url: str | None = None
    url: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _stream: IO[bytes] | None = field(default=None, repr=False)

    def start(self, environment: dict[str, str]) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches it only through us."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.log.open("wb")
        self.process = subprocess.Popen(  # noqa: S603  # our own programs, no shell
            list(self.command),
            stdin=subprocess.DEVNULL,
            stdout=self._stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )

    def check(self) -> None:
        """Raise ``ServiceFailed`` with the end of its log if it has ended."""
        if self.process is None or self.process.poll() is None:
            return
        raise ServiceFailed(
            f"{self.name} ended with code {self.process.returncode}:\n{self.tail()}",
            hint=f"the whole log is {self.log}",
        )

    def tail(self) -> str:
        """The last lines of the log."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            return "\n".join(lines[-LOG_TAIL_LINES:])
        return ""

    def answers(self) -> bool:
        """Whether it answers on its address; true at once for a program without one."""
        if self.ready_url is None:
            return True
        import httpx

        try:
            return httpx.get(self.ready_url, timeout=2.0, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Close the log."""
        if self._stream is not None:
            self._stream.close()


def program(module: str, *arguments: str) -> list[str]:
    """A module run by this interpreter, so that no PATH is needed."""
    return [sys.executable, "-m", module, *arguments]


def stop_all(
    services: Iterable[Service], *, term_s: float = TERM_S, group_s: float = GROUP_S
) -> list[int]:
    """Stop all programs and everything that they started; returns the pids that had to be killed.

    Descendants are listed before anything is asked to stop, because those of a dead parent can no
    longer be found through it.
    """
    started = [service for service in services if service.process is not None]
    everyone = _family(service.process.pid for service in started if service.process)
    for service in started:
        if service.process is not None and service.process.poll() is None:
            service.process.send_signal(signal.SIGTERM)
    left = _wait(started, everyone, term_s)
    left = _merge(left, _family(process.pid for process in left))
    _signal(left, signal.SIGTERM)
    left = _wait(started, left, group_s)
    killed = [process.pid for process in left]
    _signal(left, signal.SIGKILL)
    _wait(started, left, KILL_S)
    for service in started:
        service.close()
    return killed


def _family(pids: Iterable[int]) -> list[psutil.Process]:
    """The processes and all their descendants."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(pid)
            found.update({process.pid: process for process in leader.children(recursive=True)})
            found[pid] = leader
    return list(found.values())


def _merge(first: list[psutil.Process], second: list[psutil.Process]) -> list[psutil.Process]:
    return list({process.pid: process for process in (*first, *second)}.values())


def _wait(
    services: Sequence[Service], processes: list[psutil.Process], timeout_s: float
) -> list[psutil.Process]:
    """Those that still run after ``timeout_s``. Our own children are reaped on the way."""
    deadline = time.monotonic() + timeout_s
    while True:
        for service in services:
            if service.process is not None:
                service.process.poll()
        processes = [process for process in processes if runs(process)]
        if not processes or time.monotonic() > deadline:
            return processes
        time.sleep(0.05)


def runs(process: psutil.Process) -> bool:
    """Whether it still does anything; where nobody reaps orphans, dead ones stay as zombies."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def child_environment(extra: dict[str, str]) -> dict[str, str]:
    """Our environment with ``extra``; output is not buffered, so that logs are current."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **extra}
