"""Which two trades are shown next, and what was answered."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError
from spy_assets.models.preference.trades import ClosedTrade, Vector, feature_matrix
from spy_assets.sessions import require_aware

Answer = Literal["1", "2", "skip"]
ANSWERS: Final = ("1", "2", "skip")


@dataclass(frozen=True)
class Preference:
    """One answer of one person about one pair.

    Attributes
    ----------
    first, second
        Ids of the trades as they were shown, left and right.
    preferred
        ``1`` the left one, ``2`` the right one, ``skip`` neither.
    rater
        Who answered.
    answered_at
        When, UTC.
    """

    first: str
    second: str
    preferred: Answer
    rater: str
    answered_at: datetime

    @property
    def preference_id(self) -> str:
        """Hash of the pair, whichever was left, and the person: an answer given again replaces it."""
        pair = "\x1f".join((*sorted((self.first, self.second)), self.rater))
        return hashlib.sha256(pair.encode()).hexdigest()[:16]

    def to_row(self, symbol: str, source: str) -> dict[str, Any]:
        """Give the row of ``ledger.preferences``."""
        return {
            "preference_id": self.preference_id,
            "symbol": symbol,
            "first_trade": self.first,
            "second_trade": self.second,
            "preferred": self.preferred,
            "rater": self.rater,
            "event_time": self.answered_at,
            "available_at": require_aware(self.answered_at),
            "source": source,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Preference:
        """Read a row of ``ledger.preferences``.

        Raises
        ------
        DataError
            The answer is none of the three.
        """
        if row["preferred"] not in ANSWERS:
            raise DataError(
                f"preference {row['preference_id']} is {row['preferred']!r}",
                hint=f"an answer is one of {', '.join(ANSWERS)}",
            )
        return cls(
            row["first_trade"],
            row["second_trade"],
            row["preferred"],
            row["rater"],
            row["event_time"],
        )


def next_pair(
    trades: Sequence[ClosedTrade],
    answered: Collection[frozenset[str]],
    *,
    seed: int,
) -> tuple[ClosedTrade, ClosedTrade] | None:
    """Draw two trades that were not compared yet, left and right by chance; None if all were.

    Parameters
    ----------
    trades
        What can be shown, in any order.
    answered
        Pairs of ids that have an answer, or were skipped.
    seed
        The same seed, trades and answers give the same pair.
    """
    ordered = sorted(trades, key=lambda trade: trade.trade_id)
    generator = np.random.default_rng([seed, len(answered)])
    known = {trade.trade_id for trade in ordered}
    done = sum(pair <= known for pair in answered)
    left = len(ordered) * (len(ordered) - 1) // 2 - done
    if left < 1:
        return None
    while True:  # a pair is open with probability left / all, so that few draws are needed
        first, second = generator.choice(len(ordered), size=2, replace=False).tolist()
        if frozenset((ordered[first].trade_id, ordered[second].trade_id)) not in answered:
            return ordered[first], ordered[second]


@dataclass(frozen=True)
class ComparedPairs:
    """Answers with the features of what was compared.

    Attributes
    ----------
    left, right
        Features, ``[n, k]``.
    left_preferred
        ``[n]``.
    skipped, lost
        Answers that say nothing: skipped, or about a trade that is not there (any more).
    """

    left: Vector
    right: Vector
    left_preferred: npt.NDArray[np.bool_]
    skipped: int = 0
    lost: int = 0

    def __len__(self) -> int:
        return len(self.left_preferred)


def compared_pairs(
    preferences: Iterable[Preference], trades: Iterable[ClosedTrade], capital: float
) -> ComparedPairs:
    """Put answers and trades together."""
    known = {trade.trade_id: trade for trade in trades}
    asked = list(preferences)
    said = [one for one in asked if one.preferred != "skip"]
    kept = [one for one in said if one.first in known and one.second in known]
    return ComparedPairs(
        left=feature_matrix([known[one.first] for one in kept], capital),
        right=feature_matrix([known[one.second] for one in kept], capital),
        left_preferred=np.array([one.preferred == "1" for one in kept], dtype=np.bool_),
        skipped=len(asked) - len(said),
        lost=len(said) - len(kept),
    )
