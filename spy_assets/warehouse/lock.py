"""The write lock: one writer at a time per profile, across processes and threads.

The operating system holds the lock (``flock``), so a killed holder leaves none behind. Beside the
lock file lies ``<name>.holder``, a line of JSON that names the holder to those who wait.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from spy_assets.clock import utc_now
from spy_assets.errors import LockTimeout

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 600.0
_LOGGED_AFTER_S = 1.0
_POLL_S = 0.005


@dataclass
class _Held:
    """The process's state of one lock file; shared by all ``WriteLock`` on it."""

    condition: threading.Condition = field(default_factory=threading.Condition)
    owner: int | None = None
    depth: int = 0
    descriptor: int | None = None


_held: dict[Path, _Held] = {}
_held_guard = threading.Lock()


def _forget_after_fork() -> None:
    """A forked child shares its parent's descriptors: close them, or the lock would outlive it."""
    for held in _held.values():
        if held.descriptor is not None:
            os.close(held.descriptor)
        held.condition = threading.Condition()
        held.owner, held.depth, held.descriptor = None, 0, None


os.register_at_fork(after_in_child=_forget_after_fork)


class WriteLock:
    """A named, re-entrant lock on a file, as a context manager.

    Re-entrant within a thread; other threads of the process queue like other processes do.
    ``release`` may be called from any thread (dbt closes from another one than it opens from).

    Parameters
    ----------
    path
        Lock file; its folder is made if missing.
    timeout_s
        Longest wait in seconds before ``LockTimeout`` names the holder.
    """

    def __init__(self, path: Path, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.path = Path(path).absolute()
        self.timeout_s = timeout_s
        with _held_guard:
            self._held = _held.setdefault(self.path, _Held())

    def acquire(self) -> None:
        """Take the lock; waits at most ``timeout_s``.

        Raises
        ------
        LockTimeout
            Naming the holder's process, command and since when it holds.
        """
        held, me = self._held, threading.get_ident()
        deadline = time.monotonic() + self.timeout_s
        with held.condition:
            if held.depth and held.owner != me:
                free = held.condition.wait_for(lambda: held.depth == 0, _LOGGED_AFTER_S)
                if not free:
                    self._log_wait()
                    remaining = max(0.0, deadline - time.monotonic())
                    free = held.condition.wait_for(lambda: held.depth == 0, remaining)
                if not free:
                    raise self._timeout()
            if held.depth == 0:
                held.descriptor = self._flock(deadline)
                held.owner = me
                self._announce()
            held.depth += 1

    def release(self) -> None:
        """Give the lock back; the last of nested releases frees it."""
        held = self._held
        with held.condition:
            if held.depth == 0 or held.descriptor is None:
                raise RuntimeError(f"{self.path} is not held by this process")
            held.depth -= 1
            if held.depth == 0:
                self.holder_path.unlink(missing_ok=True)
                os.close(held.descriptor)
                held.descriptor, held.owner = None, None
                held.condition.notify()

    @property
    def holder_path(self) -> Path:
        """The file that names the holder."""
        return self.path.with_name(f"{self.path.name}.holder")

    def holder(self) -> str:
        """Who holds the lock, in words; ``"nobody"`` if it is free or its holder is gone."""
        try:
            told = json.loads(self.holder_path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return "nobody"
        return f"process {told['pid']} ({told['command']}) since {told['since']}"

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _flock(self, deadline: float) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._poll(descriptor, deadline)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _poll(self, descriptor: int, deadline: float) -> None:
        log_at: float | None = time.monotonic() + _LOGGED_AFTER_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            now = time.monotonic()
            if now >= deadline:
                raise self._timeout()
            if log_at is not None and now >= log_at:
                self._log_wait()
                log_at = None
            time.sleep(_POLL_S)

    def _announce(self) -> None:
        command = " ".join([Path(sys.argv[0] or sys.executable).name, *sys.argv[1:]])[:200]
        told = {
            "pid": os.getpid(),
            "command": command,
            "since": utc_now().isoformat("T", "seconds"),
        }
        with contextlib.suppress(OSError):  # a full disk must not stop those who free it
            self.holder_path.write_text(json.dumps(told))

    def _log_wait(self) -> None:
        logger.warning("waiting for the write lock %s, held by %s", self.path, self.holder())

    def _timeout(self) -> LockTimeout:
        return LockTimeout(
            f"waited {self.timeout_s:g} s for {self.path}, held by {self.holder()}",
            hint="wait for that process to finish or stop it; SPY_LOCK_TIMEOUT_S sets the wait",
        )
