"""Where episodes of the daily environments may begin and where they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import ConfigError, DataError
from spy_assets.simulator.book import PathBook
from spy_assets.simulator.market_path import MarketPath


class Episodes(NamedTuple):
    """Episodes to draw from: a group at random, then one of its episodes.

    Attributes
    ----------
    sessions
        First and last session of each episode, ``[m, 2]``, as positions on the paths laid end to end.
    groups
        Group g (a symbol) is ``sessions[groups[g]:groups[g + 1]]``.
    """

    sessions: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]

    @classmethod
    def over(
        cls, books: Sequence[PathBook], length: int | None, *, pooled: bool = False
    ) -> Episodes:
        """All episodes of ``length`` steps (None: one whole path each) over the paths of some books.

        Each path is a group, unless they are ``pooled`` as stretches of one market: then every episode
        is as likely as any other, on a long stretch and on a short one. None crosses from one path to
        the next either way.

        Raises
        ------
        DataError, ConfigError
            As for :func:`episode_starts`.
        """
        spans, offset = [], 0
        for book in books:
            first = episode_starts(book, length) + offset
            end = offset + len(book.path) - 1
            last = np.full_like(first, end) if length is None else first + length
            spans.append(np.column_stack((first, last)))
            offset += len(book.path)
        sizes = [len(span) for span in spans]
        groups = np.cumsum([0, sum(sizes)] if pooled else [0, *sizes])
        return cls(np.concatenate(spans), groups)


def episode_starts(book: PathBook, length: int | None) -> npt.NDArray[np.int64]:
    """Sessions with a complete observation from which an episode of ``length`` steps fits the path.

    Parameters
    ----------
    length
        Steps in sessions; None for one episode from the first complete observation to the end.

    Raises
    ------
    DataError
        If no session has a complete observation, or one lies outside 0..1.
    ConfigError
        If the episode is longer than the path.
    """
    path = book.path
    if length is not None and not 1 <= length < len(path):
        raise ConfigError(
            f"an episode of {length} steps on a path of {len(path)} sessions",
            hint="a path needs at least one session more than an episode has steps",
        )
    _require_range(path)
    last = len(path) - 1 - (length or 1)
    starts = np.flatnonzero(path.valid[: last + 1])
    if starts.size == 0:
        raise DataError(f"no complete observation among the first {last + 1} sessions")
    return starts[:1] if length is None else starts


def _require_range(path: MarketPath) -> None:
    """Check that what a policy sees lies where its contract says."""
    seen = path.observation[path.valid]
    if seen.size == 0:
        raise DataError("no session of the path has a complete observation")
    if seen.min() < 0.0 or seen.max() > 1.0:
        at = int(np.argmax((seen < 0.0).any(axis=0) | (seen > 1.0).any(axis=0)))
        raise DataError(
            f"observation {path.contract.market_names[at]!r} reaches from {seen[:, at].min()} to "
            f"{seen[:, at].max()}",
            hint="the observation contract bounds every dimension to 0..1",
        )
