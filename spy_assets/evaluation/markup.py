"""Numbers as HTML, the same on every page: two decimals, no negative zero, a tone for the sign."""

from __future__ import annotations

from spy_assets.evaluation.statistics import Interval


def dollars(value: float) -> str:
    """Two decimals, and no negative zero.

    >>> dollars(-0.001), dollars(1234.5)
    ('0.00', '1,234.50')
    """
    return f"{round(value, 2) + 0.0:,.2f}"


def percent(value: float, digits: int = 1) -> str:
    """A decimal as per cent, and no negative zero.

    >>> percent(-0.0001), percent(0.1234)
    ('0.0%', '12.3%')
    """
    return f"{round(100 * value, digits) + 0.0:,.{digits}f}%"


def tone(value: float, text: str) -> str:
    """CSS class of a number that is shown as ``text``: good, bad, or soft where it shows as zero."""
    if not text.strip("0.,%"):
        return "soft"
    return "bad" if value < 0 else "good"


def signed(value: float, text: str | None = None) -> str:
    """A number in the tone of its sign; dollars where no other ``text`` is given."""
    shown = dollars(value) if text is None else text
    return f'<span class="{tone(value, shown)}">{shown}</span>'


def shown_interval(interval: Interval) -> str:
    """An estimate with its bounds, in a tone only where the whole interval has one sign."""
    kind = "good" if interval.above_zero else "bad" if interval.below_zero else "soft"
    return (
        f'<span class="{kind}">{interval.estimate:,.2f} ({interval.low:,.2f} to '
        f"{interval.high:,.2f})</span>"
    )
