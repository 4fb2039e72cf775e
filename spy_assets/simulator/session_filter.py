"""When in a session nothing new is opened: one rule with parameters, in backtest, paper and live.

It blocks entries and is never asked about exits: a filter that skipped the loop's body in the last
half hour kept losing positions open to the close (D-30). Minutes are of the session itself, so that a
half day's last thirty minutes begin at 12:30 in New York.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from spy_assets.errors import ConfigError
from spy_assets.sessions import require_aware, session_close, session_open, trading_minutes_between


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Edges of a session, and of an option's life, in which entries are blocked.

    Attributes
    ----------
    first_minutes, last_minutes
        Fewer minutes than these after the open, or before the close, and nothing is opened; a moment
        exactly that far from the edge is free. 0 turns an edge off.
    expiry_minutes
        The same before the close of the expiry session, in minutes of trading.
    """

    first_minutes: float = 30.0
    last_minutes: float = 30.0
    expiry_minutes: float = 0.0

    def __post_init__(self) -> None:
        for name in ("first_minutes", "last_minutes", "expiry_minutes"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise ConfigError(
                    f"session filter with {name}={value}", hint="give minutes, 0 for none"
                )

    def blocks(
        self, since_open: float, to_close: float, to_expiry: float | None = None
    ) -> str | None:
        """Why an entry is blocked at so many minutes from the edges, or None if it is not.

        ``to_expiry`` is None where no contract is chosen yet.
        """
        if since_open < self.first_minutes:
            return "first_minutes"
        if to_close < self.last_minutes:
            return "last_minutes"
        if to_expiry is not None and to_expiry < self.expiry_minutes:
            return "near_expiry"
        return None

    def blocks_at(self, at: datetime, session: date, expiry: date | None = None) -> str | None:
        """As :meth:`blocks`, at a moment; outside the session it is ``"closed"``."""
        at, opened, closed = require_aware(at), session_open(session), session_close(session)
        if not opened <= at < closed:
            return "closed"
        to_expiry = None if expiry is None else trading_minutes_between(at, session_close(expiry))
        return self.blocks(
            (at - opened).total_seconds() / 60.0, (closed - at).total_seconds() / 60.0, to_expiry
        )


#: Nothing is blocked.
OPEN_ALL_DAY: Final = SessionFilter(0.0, 0.0)
#: Session filters of the projects that this one grew out of (inventory C-08).
FILTERS: Final[dict[str, SessionFilter]] = {
    # Plan of the short-premium system: "Don't trade first/last 30 minutes".
    "short_premium": SessionFilter(30.0, 30.0),
    # Notes of the spymaster project: no trades in the last 30 minutes; its backtest runner leaves out
    # the first and last 15.
    "spymaster": SessionFilter(0.0, 30.0),
    "spymaster_runner": SessionFilter(15.0, 15.0),
    # Exit layer of the gaussian system: nothing within 30 minutes of expiry.
    "gaussian": SessionFilter(0.0, 0.0, 30.0),
}
