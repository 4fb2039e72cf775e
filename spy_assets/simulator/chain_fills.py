"""Real quotes for the daily clock: fills and marks at a stored chain's bid and ask, where it has one.

The daily clock fills at an open or a close. A stored chain counts for that moment if its snapshot is
within :data:`~spy_assets.options.chain.STALE_AFTER` of it: the chain of an evening, quoted at 16:15, for
the close, and never for the open. Where no chain is of the moment, the surface prices the legs as
before; where one is, it has the say: a leg that it does not quote cannot be priced, so that an entry is
dropped, an exit waits and a mark is carried. A leg that is sold where nobody bids is given up for
nothing.

Each fill says which it was (``Fill.quote_kind``), and so does the trade (:func:`quote_kind_of`): real
fills are never pooled with those of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

import polars as pl

from spy_assets.options.chain import STALE_AFTER
from spy_assets.options.expiries import options_close
from spy_assets.options.structures import Leg
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.kernel import Fill, Quote
from spy_assets.simulator.market_path import MarketPath

TradeKind = Literal["surface", "spread_model", "chain", "mixed"]
#: Columns of the rows that :class:`ChainFills` reads.
COLUMNS = ("occ", "quoted_at", "bid", "ask", "quote_kind")


class _Snapshot(NamedTuple):
    """A session's chain: when it was taken, and bid and ask by contract."""

    at: datetime
    quotes: dict[str, tuple[float | None, float | None]]


class ChainFills:
    """The stored chains of one underlying, each read when a fill first asks for its session.

    Parameters
    ----------
    sessions
        Those that have a real chain; no other is asked for.
    read
        Gives the rows of a session that were known in time: :data:`COLUMNS`.
    root
        Option root, by which the end of options trading is known.
    tolerance
        How far a snapshot may be from the moment of a fill.
    """

    def __init__(
        self,
        sessions: Collection[date],
        read: Callable[[date], pl.DataFrame],
        *,
        root: str = "SPY",
        tolerance: timedelta = STALE_AFTER,
    ) -> None:
        self._sessions = frozenset(sessions)
        self._read = read
        self._root = root
        self._tolerance = tolerance
        self._snapshots: dict[date, _Snapshot | None] = {}

    def covers(self, session: date, moment: datetime) -> bool:
        """Whether a chain of that moment is known."""
        snapshot = self._snapshot(session)
        return snapshot is not None and abs(snapshot.at - moment) <= self._tolerance

    def quotes(self, legs: Sequence[Leg], session: date) -> list[Quote] | None:
        """Bid, ask and mid of each leg in the session's chain; None if one has no market there."""
        snapshot = self._snapshot(session)
        if snapshot is None:
            return None
        found = []
        for leg in legs:
            bid, ask = snapshot.quotes.get(leg.symbol, (None, None))
            if bid is None or ask is None or not (0.0 <= bid <= ask and ask > 0.0):
                return None
            found.append(Quote((bid + ask) / 2.0, bid, ask, "chain"))
        return found

    def _snapshot(self, session: date) -> _Snapshot | None:
        if session not in self._sessions:
            return None
        if session not in self._snapshots:
            self._snapshots[session] = self._taken(session)
        return self._snapshots[session]

    def _taken(self, session: date) -> _Snapshot | None:
        rows = self._read(session).filter(pl.col("quote_kind") == "chain")
        if rows.is_empty():
            return None
        newest, still = rows["quoted_at"].max(), options_close(session, self._root)
        at = min(newest, still) if isinstance(newest, datetime) else still
        quotes = {occ: (bid, ask) for occ, bid, ask in rows.select("occ", "bid", "ask").iter_rows()}
        return _Snapshot(at, quotes)


class QuotedBook(PathBook):
    """A path's book that fills and marks at real quotes where a chain of the moment is known."""

    def __init__(
        self, path: MarketPath, costs: CostModel, config: DailyConfig, fills: ChainFills
    ) -> None:
        super().__init__(path, costs, config)
        self.fills = fills

    def _is_covered(self, index: int, at_open: bool) -> bool:
        moment = self.moment(index, at_open)
        return self.fills.covers(moment.session, moment.time)

    def mids(self, legs: Sequence[Leg], index: int, at_open: bool) -> list[float] | None:
        """Mid of each leg, dollars per share; None where it cannot be priced."""
        if not self._is_covered(index, at_open):
            return super().mids(legs, index, at_open)
        quotes = self.fills.quotes(legs, self.path.sessions[index])
        return None if quotes is None else [quote.mid for quote in quotes]

    def quotes(self, legs: Sequence[Leg], index: int, at_open: bool) -> list[Quote] | None:
        """Quotes of the legs, of the chain or of the surface; None where they cannot be priced."""
        if not self._is_covered(index, at_open):
            return super().quotes(legs, index, at_open)
        return self.fills.quotes(legs, self.path.sessions[index])


def quote_kind_of(fills: Iterable[Fill]) -> TradeKind:
    """What a trade was filled at: all at quotes of one kind, or some at another."""
    kinds = {fill.quote_kind for fill in fills}
    return kinds.pop() if len(kinds) == 1 else "mixed"
