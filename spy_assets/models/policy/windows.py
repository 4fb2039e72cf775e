"""Which sessions a model may learn from, and which are kept to judge it.

For a training window that ends with session T::

    |--- training (its tail compares seeds) ---|-- purge --|--- validation, ends with T ---|

The purge is at least the longest holding time, so that no trade of the training reaches into the
validation. ``train_end`` of the model is the last session before the purge.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from spy_assets.errors import DataError
from spy_assets.simulator.market_path import MarketPath


@dataclass(frozen=True)
class Windows:
    """Training and validation as parts of one path.

    ``validation`` holds the sessions that are judged and starts at the first decision; it is the
    slice ``path[validation_start:]``, kept with its path so that indices stay comparable.
    """

    path: MarketPath
    train_start: int
    train_stop: int
    validation_start: int

    @property
    def training(self) -> MarketPath:
        """The training window."""
        return self.path.window(self.train_start, self.train_stop)

    @property
    def train_end(self) -> date:
        """Last session that any part of the training sees."""
        return self.path.sessions[self.train_stop - 1]


def split_windows(
    path: MarketPath, *, validation_sessions: int, purge_sessions: int, least: int = 252
) -> Windows:
    """Cut a path that ends with session T.

    Sessions before the first complete observation are left out; later incomplete ones stay, as the
    policy holds on them.

    Raises
    ------
    DataError
        If fewer than ``least`` sessions are left to train on; with the arithmetic.
    """
    complete = np.flatnonzero(path.valid)
    first = int(complete[0]) if complete.size else len(path)
    validation = len(path) - validation_sessions
    stop = validation - purge_sessions
    if stop - first < least:
        raise DataError(
            f"{len(path)} sessions to {path.sessions[-1]} - {first} before the first complete "
            f"observation - {validation_sessions} validation - {purge_sessions} purge = "
            f"{stop - first} to train on, at least {least} are needed",
            hint="train to a later session, or shorten the validation window"
            + (
                "; SPY_OBSERVATION=daily_15_proxy_v1 needs no option chains"
                * path.contract.needs_chain
            ),
        )
    return Windows(path, first, stop, validation)
