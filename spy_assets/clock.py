"""The only place that reads the wall clock, and how far it is off.

Domain code takes time as an argument; surfaces ask :func:`utc_now` once and pass it on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from spy_assets.errors import SourceUnavailable


def utc_now() -> datetime:
    """The present moment, timezone-aware UTC."""
    return datetime.now(tz=UTC)


def clock_skew_s(url: str, *, timeout_s: float = 5.0) -> float:
    """Seconds by which this machine's clock is ahead of the HTTP ``Date`` of a server.

    The header has a resolution of one second and names the moment of the answer, so half of the
    round trip and half a second are taken off.

    Raises
    ------
    SourceUnavailable
        If the server does not answer or sends no ``Date``.
    """
    import httpx

    before = utc_now()
    try:
        response = httpx.head(url, timeout=timeout_s)
    except httpx.HTTPError as error:
        raise SourceUnavailable(
            f"the clock server {url!r} does not answer: {error}",
            hint="set SPY_LIVE__CLOCK_URL to a server that does, or unset it",
        ) from error
    after = utc_now()
    header = response.headers.get("date")
    if header is None:
        raise SourceUnavailable(
            f"the clock server {url!r} sends no Date header",
            hint="set SPY_LIVE__CLOCK_URL to another",
        )
    middle = before + (after - before) / 2
    skew: float = (middle - parsedate_to_datetime(header)).total_seconds()
    return skew - 0.5
