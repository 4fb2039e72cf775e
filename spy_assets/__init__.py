"""SPY options research and live signals as a graph of data and model assets.

``spy_assets.open()`` gives a notebook the lake; everything else is behind ``spy``, the command
line, and ``spy_assets.definitions``, the Dagster code location. Importing this package loads
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spy_assets.notebook import Lake as Lake
    from spy_assets.notebook import open_lake as open  # noqa: A004  # read as spy_assets.open

__version__ = "0.1.0"
__all__ = ["Lake", "__version__", "open"]


def __getattr__(name: str) -> Any:
    if name in {"Lake", "open"}:
        from spy_assets import notebook

        return notebook.Lake if name == "Lake" else notebook.open_lake
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
