"""How old a model may be before it must not open positions."""

from __future__ import annotations

from datetime import date

from spy_assets import sessions


def model_age(train_end: date, session: date) -> int:
    """Sessions after the last training session up to and with ``session``.

    >>> model_age(date(2018, 12, 21), date(2018, 12, 26))
    2
    """
    return sessions.sessions_apart(train_end, session)


def stale_reason(train_end: date, session: date, max_age_sessions: int) -> str | None:
    """Why a model trained up to ``train_end`` is too old for ``session``; None if it is not.

    >>> stale_reason(date(2018, 10, 1), date(2018, 10, 5), 3)
    'stale_model: trained up to 2018-10-01, 4 sessions before 2018-10-05; at most 3 are allowed'
    """
    age = model_age(train_end, session)
    if age <= max_age_sessions:
        return None
    return (
        f"stale_model: trained up to {train_end}, {age} sessions before {session}; "
        f"at most {max_age_sessions} are allowed"
    )
