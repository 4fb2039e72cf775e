"""One training in a process of its own, so that running out of memory ends that training only."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar, cast

from spy_assets.errors import ModelError

Result = TypeVar("Result")


class WorkerFailed(ModelError):
    """The process that trained died or ran out of memory; other processes go on."""


def run_isolated(
    function: Callable[..., Result], *args: Any, memory_bytes: int | None = None, **kwargs: Any
) -> Result:
    """Call ``function`` in a new process with at most ``memory_bytes`` of address space.

    Parameters
    ----------
    function
        Importable by name, with picklable arguments and result.
    memory_bytes
        Limit of the address space (``RLIMIT_AS``); PyTorch alone maps about 2 GB. None: no limit.
        macOS does not enforce it.

    Raises
    ------
    WorkerFailed
        It raised, ran out of memory, or was killed; the message says which.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, memory_bytes, function, args, kwargs))
    process.start()
    sender.close()
    answer: tuple[bool, Any] | None = None
    try:
        answer = receiver.recv()
    except EOFError:
        answer = (False, None)
    finally:
        if answer is None:  # this process is being interrupted: do not wait for the other one
            process.terminate()
        process.join()
    succeeded, value = answer
    if succeeded:
        return cast(Result, value)
    limit = "no memory limit" if memory_bytes is None else f"{memory_bytes:,} bytes of memory"
    raise WorkerFailed(
        f"{function.__name__} failed in its process (exit code {process.exitcode}, {limit}): "
        f"{value or 'the process died without a word'}",
        hint="give it more memory or a smaller n_steps * n_envs; other trainings are not affected",
    )


def _work(
    sender: Connection,
    memory_bytes: int | None,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    if memory_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, hard))
    try:
        answer = (True, function(*args, **kwargs))
    except Exception as error:  # noqa: BLE001 - the parent raises it again, whatever it is
        answer = (False, f"{type(error).__name__}: {error}")
    sender.send(answer)
    sender.close()
