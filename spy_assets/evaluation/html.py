"""Tables and cells of the report: escaped text to the left, numbers to the right, no negative zero."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from datetime import timedelta
from html import escape
from typing import Final

from spy_assets.evaluation.statistics import Interval

#: What cannot be known.
DASH: Final = "–"


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


def interval_cell(interval: Interval | None) -> str:
    """Dollars with their interval, in the colour of what it shows; a dash where there is none."""
    if interval is None:
        return DASH
    tone = "good" if interval.above_zero else "bad" if interval.below_zero else "soft"
    return (
        f'<span class="{tone}">{dollars(interval.estimate)} ({dollars(interval.low)} to '
        f"{dollars(interval.high)})</span>"
    )


def rate_cell(interval: Interval | None) -> str:
    """A share with its interval, in percent."""
    if interval is None:
        return DASH
    return f"{interval.estimate:.0%} ({interval.low:.0%} to {interval.high:.0%})"


def signed(value: float) -> str:
    """Dollars in the colour of their sign."""
    return toned(value, dollars(value))


def toned(value: float, text: str) -> str:
    """Give a text the colour of a value's sign; what is shown as zero has none."""
    shown = any(letter in "123456789" for letter in text)
    tone = "soft" if not shown else "bad" if value < 0 else "good"
    return f'<span class="{tone}">{text}</span>'


def dollars(value: float) -> str:
    """Two decimals, and no negative zero."""
    return f"{round(value, 2) + 0.0:,.2f}"


def number(value: float | None, decimals: int = 2) -> str:
    """A plain number, or a dash."""
    return DASH if value is None else f"{round(value, decimals) + 0.0:,.{decimals}f}"


def percent(value: float | None, decimals: int = 1) -> str:
    """A decimal as percent, or a dash."""
    return DASH if value is None else f"{round(100 * value, decimals) + 0.0:,.{decimals}f}%"


def days(value: timedelta | None) -> str:
    """A time in days, or a dash."""
    return DASH if value is None else f"{value / timedelta(days=1):,.1f} days"
