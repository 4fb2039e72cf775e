"""What a source of option chains must offer, and when a live snapshot stands for a session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol, runtime_checkable

from spy_assets.errors import NotProvided
from spy_assets.options.chain import RawChain
from spy_assets.options.expiries import options_close
from spy_assets.sessions import (
    NEW_YORK,
    is_session,
    previous_session,
    require_aware,
    session_open,
)

#: When files of a session's trading are out at the latest: vendors promise the next morning, 11:00
#: New York (https://massive.com/docs/flat-files/quickstart: "by approximately 11 AM ET").
_FILES_OUT = time(11)


@runtime_checkable
class ChainSource(Protocol):
    """A vendor's option chains in `options.chain.CHAIN_SCHEMA`; nothing is cleaned here.

    A number that the vendor does not give is null, never 0. A bid of zero stays 0: nobody bids.
    Vendor Greeks come in the schema's units (theta per year, vega and rho per 1.00).
    """

    #: Value of the column `source`.
    name: str

    def sessions(self, symbol: str, *, now: datetime) -> Sequence[date]:
        """Sessions that :meth:`chain` can give, oldest first.

        A vendor of snapshots has one: the session in progress, or the last one that opened.
        """
        ...

    def chain(self, symbol: str, session: date, *, now: datetime) -> RawChain:
        """The chain of `symbol` in `session`.

        Parameters
        ----------
        symbol
            The underlying, as traded: `SPY`, `SPX`.
        session
            Which session's chain.
        now
            The present moment, UTC: what a live answer is dated by.

        Raises
        ------
        NotProvided
            If the vendor cannot give that session.
        SourceError
            As `sources.http`.
        """
        ...


def open_session(now: datetime, *, delay: timedelta = timedelta(0)) -> date:
    """The last session whose open, plus the vendor's delay, is not after `now`.

    >>> open_session(datetime(2026, 7, 23, 1, 15, tzinfo=UTC))
    datetime.date(2026, 7, 22)
    """
    moment = require_aware(now) - delay
    day = moment.astimezone(NEW_YORK).date()
    if is_session(day) and session_open(day) <= moment:
        return day
    return previous_session(day)


def snapshot_at(symbol: str, moment: datetime) -> datetime:
    """The moment that quotes seen at `moment` are from: it, or the last end of options trading.

    >>> snapshot_at("SPY", datetime(2026, 7, 23, 1, 15, tzinfo=UTC))
    datetime.datetime(2026, 7, 22, 20, 15, tzinfo=datetime.timezone.utc)
    """
    return min(moment, options_close(open_session(moment), symbol))


def files_out(session: date) -> datetime:
    """When a vendor's file of that session is out: 11:00 New York on the next day, UTC."""
    morning = datetime.combine(session + timedelta(days=1), _FILES_OUT, NEW_YORK)
    return morning.astimezone(UTC)


class SnapshotSource:
    """A vendor that gives the chain of this moment only; the base of such adapters."""

    name: str
    #: How late the vendor's quotes are.
    delay: timedelta = timedelta(0)

    def sessions(self, symbol: str, *, now: datetime) -> Sequence[date]:  # noqa: ARG002
        """The session in progress (once the vendor's delay is over), or the last one."""
        return [open_session(now, delay=self.delay)]

    def require_now(self, symbol: str, session: date, now: datetime) -> None:
        """Refuse every session but the one that a snapshot taken now belongs to.

        Raises
        ------
        NotProvided
            Naming the one session that there is.
        """
        (current,) = self.sessions(symbol, now=now)
        if session != current:
            raise NotProvided(
                f"{self.name} gives snapshots only: at {now:%Y-%m-%d %H:%M} UTC that is the "
                f"session {current}, not {session}",
                hint="ask for that session, or take a source with history (docs/chains.md)",
            )


def opened_by(days: Iterable[date], now: datetime) -> list[date]:
    """Days, sorted, without those that had not begun by `now`."""
    today = require_aware(now).astimezone(NEW_YORK).date()
    return sorted(day for day in set(days) if day <= today)
