"""Processes that a step starts must not outlive it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

#: dbt rolls back and gives the write lock back well within this; a run told to end has ten seconds.
STOP_S = 6.0


@contextmanager
def no_child_left(stop_s: float = STOP_S) -> Iterator[None]:
    """End what was started inside and still runs when the body is left, however it is left.

    Dagster tells its dbt to stop only if the interrupt comes while it reads dbt's output; one that comes
    while dbt is being started or an event is stored leaves it running. Children get SIGINT, as from
    Ctrl-C, and after ``stop_s`` seconds SIGKILL.
    """
    import psutil

    own = psutil.Process()
    before = set(own.children(recursive=True))
    try:
        yield
    finally:
        left = [child for child in own.children(recursive=True) if child not in before]
        for child in left:
            _send(child, signal.SIGINT)
        for child in psutil.wait_procs(left, timeout=stop_s)[1]:
            _send(child, signal.SIGKILL)
        psutil.wait_procs(left, timeout=stop_s)


def _send(child: "psutil.Process", number: signal.Signals) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        child.send_signal(number)
