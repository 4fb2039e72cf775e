"""Numbers as HTML, the same on every page: two decimals, no negative zero, a tone for the sign.

What cannot be known is a dash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Container, Iterable, Sequence
from datetime import timedelta
from html import escape
from typing import Final

from spy_assets.evaluation.statistics import Interval

DASH: Final = "–"


def dollars(value: float) -> str:
    """Two decimals, and no negative zero.

    >>> dollars(-0.001), dollars(1234.5)
    ('0.00', '1,234.50')
    """
    return f"{round(value, 2) + 0.0:,.2f}"


def number(value: float | None, digits: int = 2) -> str:
    """A plain number, and no negative zero.

    >>> number(1234.567, 1), number(None)
    ('1,234.6', '–')
    """
    return DASH if value is None else f"{round(value, digits) + 0.0:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A decimal as per cent, and no negative zero.

    >>> percent(-0.0001), percent(0.1234), percent(None)
    ('0.0%', '12.3%', '–')
    """
    return DASH if value is None else f"{round(100 * value, digits) + 0.0:,.{digits}f}%"


def tone(value: float, text: str) -> str:
    """CSS class of a number that is shown as ``text``: good, bad, or soft where it shows as zero."""
    if not text.strip("0.,%"):
        return "soft"
    return "bad" if value < 0 else "good"


def signed(value: float, text: str | None = None) -> str:
    """A number in the tone of its sign; dollars where no other ``text`` is given."""
    shown = dollars(value) if text is None else text
    return f'<span class="{tone(value, shown)}">{shown}</span>'


def days(value: timedelta | None) -> str:
    """A time in days."""
    return DASH if value is None else f"{value / timedelta(days=1):,.1f} days"


def rate(interval: Interval | None) -> str:
    """A share with its bounds, in per cent."""
    if interval is None:
        return DASH
    return f"{interval.estimate:.0%} ({interval.low:.0%} to {interval.high:.0%})"


def shown_interval(interval: Interval | None) -> str:
    """An estimate with its bounds, in a tone only where the whole interval has one sign."""
    if interval is None:
        return DASH
    kind = "good" if interval.above_zero else "bad" if interval.below_zero else "soft"
    return (
        f'<span class="{kind}">{interval.estimate:,.2f} ({interval.low:,.2f} to '
        f"{interval.high:,.2f})</span>"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], text: Container[int] = (0,)) -> str:
    """Lay out cells, the columns in ``text`` to the left and numbers to the right."""
    marks = [" class=text" if column in text else "" for column in range(len(heads))]
    head = "".join(f"<th{m}>{escape(name)}</th>" for m, name in zip(marks, heads, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{m}>{c}</td>" for m, c in zip(marks, row, strict=True)) + "</tr>\n"
        for row in rows
    )
    laid_out = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f"<div class=wide>{laid_out}</div>"


def content_hash(text: str) -> str:
    """What a Content-Security-Policy knows an inline style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
