"""One decorator for every compiled kernel, and where their machine code is kept.

``kernel`` (and ``fused_kernel``) is :func:`numba.njit` with the choices that hold for all of them:

- ``cache=True``: the machine code is kept on disk, so that a new process loads it (well under a second)
  instead of compiling it anew (many seconds).
- ``error_model="numpy"``: a division by zero gives an infinity, as in NumPy, instead of an exception
  and the check for it.
- ``nogil=True``: threads can run kernels side by side.
- no ``fastmath``: kernels rely on NaN, on infinities and on the order of their additions.

The code goes to the directory that ``NUMBA_CACHE_DIR`` names, else to the user's cache directory, else
to a temporary one: the installed package may be read-only, and a checkout should stay clean. Below
it lies one directory per state of the sources. Numba itself only looks whether the file of the
*called* kernel has changed; one that calls a changed kernel of another module, or has a constant of one
compiled into it, would go on with old code.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

#: Where kernels are, and what is compiled into them.
KERNEL_PACKAGES = ("options", "simulator", "models/policy")

P = ParamSpec("P")
R = TypeVar("R")


def user_cache() -> Path:
    """The directory for this user's caches, as the operating system has it."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def sources_digest(*directories: Path) -> str:
    """A short name for the state of all modules in the directories.

    Of those without kernels too: their constants are part of the machine code of those that use them.
    """
    digest = hashlib.sha256()
    for path in sorted(path for directory in directories for path in directory.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def is_writable(directory: Path) -> bool:
    """Whether files can be made there; the directory is made if it is missing."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


@functools.cache
def cache_directory() -> Path | None:
    """Where the machine code of this process's kernels is kept; None if nothing can be written.

    Decided once, before the first kernel is compiled.
    """
    named = os.environ.get("NUMBA_CACHE_DIR")
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    candidates = [Path(named)] if named else []
    with contextlib.suppress(RuntimeError):  # No home directory can be determined.
        candidates.append(user_cache() / "spy-assets" / "kernels")
    candidates.append(Path(tempfile.gettempdir()) / f"spy-assets-kernels-{owner}")
    package = Path(__file__).parents[1]
    state = sources_digest(*(package / name for name in KERNEL_PACKAGES))
    return next((path / state for path in candidates if is_writable(path / state)), None)


def compiled_with(function: Callable[P, R], **options: object) -> Callable[P, R]:
    """``function`` compiled with numba at its first call, the machine code kept on disk."""
    import numba

    config: Any = numba.config
    njit: Any = numba.njit
    directory = cache_directory()
    others = config.CACHE_DIR
    # Only for this kernel: other libraries' caches stay where they are.
    config.CACHE_DIR = str(directory or others)
    try:
        compile_it = njit(cache=directory is not None, error_model="numpy", nogil=True, **options)
        return cast("Callable[P, R]", compile_it(function))
    finally:
        config.CACHE_DIR = others


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` as the module's docstring says.

    >>> @kernel
    ... def twice(x: float) -> float:
    ...     return 2.0 * x
    """
    return compiled_with(function)


def fused_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """As :func:`kernel`, and ``a * b + c`` may be rounded once instead of twice.

    For polynomials: faster and at least as accurate. Not for error-free transformations, nor where
    two machines must agree to the last bit.
    """
    return compiled_with(function, fastmath={"contract"})


def inlined_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """As :func:`fused_kernel`, and always inlined into the kernels that call it.

    For the arithmetic inside a loop: a call that is left over keeps the loop from being turned into
    vector instructions.
    """
    return compiled_with(function, fastmath={"contract"}, forceinline=True)
