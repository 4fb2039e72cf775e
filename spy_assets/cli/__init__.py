"""``spy``, the command line: one module per group of commands, each thin.

Importing this package must stay light (`spy --help` answers in a blink), so commands import what
they run inside their bodies.
"""

from __future__ import annotations

from spy_assets.cli.application import app, main

__all__ = ["app", "main"]
