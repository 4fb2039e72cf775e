"""Ending a training cleanly when the process is told to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """Give a function that turns true once SIGTERM has arrived, for ``train_policy(stop=...)``.

    The previous handler is put back afterwards. Outside the main thread, where Python cannot handle
    signals, the function is always false.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def remember(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    before = signal.signal(signal.SIGTERM, remember)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
