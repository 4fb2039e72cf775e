"""Equity curves as one inline SVG, drawn by hand: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from spy_assets.evaluation.backtest import BacktestResult

_WIDTH: Final = 1100
_HEIGHT: Final = 400
_LEFT: Final = 70
#: Room for the names at the ends of the curves.
_RIGHT: Final = 215
_TOP: Final = 15
_BOTTOM: Final = 30
_GRID_LINES: Final = 8
_MAX_POINTS: Final = 600
#: Least distance between two names, in user units of the picture.
_NAME_STEP: Final = 15.0

#: Strategy -> CSS colour, width, dash; the others are thin and grey.
_LOOKS: Final = {
    "buy_and_hold": ("var(--hold)", 1.6, ""),
    "buy_and_hold_price_only": ("var(--hold)", 1.6, ""),
    "random_same_rate": ("var(--random)", 1.6, "6 3"),
    "cash": ("var(--cash)", 1.2, "2 3"),
}
_POLICY_LOOK: Final = ("var(--policy)", 2.6, "")
_OTHER_LOOK: Final = ("var(--soft)", 1.1, "1 2")


def equity_chart(results: Sequence[BacktestResult]) -> str:
    """Draw the curves of several results over the same sessions; the first is the policy.

    Each curve carries its name and last value at its end.
    """
    low, high = _range(results)
    lines = [_curve(result, low, high, first=index == 0) for index, result in enumerate(results)]
    sessions = results[0].sessions
    return (
        f'<figure style="margin:0"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Equity in dollars of {len(results)} strategies">'
        f"{_grid(low, high)}{''.join(reversed(lines))}{_names(results, low, high)}"
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{sessions[0]}</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{sessions[-1]}</text>'
        f"</svg></figure>"
    )


def _range(results: Sequence[BacktestResult]) -> tuple[float, float]:
    low = float(min(result.equity.min() for result in results))
    high = float(max(result.equity.max() for result in results))
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _look(result: BacktestResult, *, first: bool) -> tuple[str, float, str]:
    return _POLICY_LOOK if first else _LOOKS.get(result.name, _OTHER_LOOK)


def _curve(result: BacktestResult, low: float, high: float, *, first: bool) -> str:
    equity = result.equity
    chosen = np.unique(np.linspace(0, len(equity) - 1, min(len(equity), _MAX_POINTS)).astype(int))
    x = _LEFT + chosen / max(1, len(equity) - 1) * (_WIDTH - _LEFT - _RIGHT)
    points = " ".join(
        f"{a:.1f},{_y(b, low, high):.1f}" for a, b in zip(x, equity[chosen], strict=True)
    )
    colour, width, dash = _look(result, first=first)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}>'
        f"<title>{escape(result.name)}: ${equity[-1]:,.2f}</title></polyline>"
    )


def _grid(low: float, high: float) -> str:
    lines = []
    for value in _ticks(low, high):
        y = _y(value, low, high)
        lines.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="var(--line)" stroke-width="0.5"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">${value:,.0f}</text>'
        )
    return "".join(lines)


def _ticks(low: float, high: float) -> list[float]:
    """Round values in the range: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _GRID_LINES
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = int(np.ceil(low / step)), int(np.floor(high / step))
    return [float(step * k) for k in range(first, last + 1)]


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _names(results: Sequence[BacktestResult], low: float, high: float) -> str:
    order = sorted(range(len(results)), key=lambda k: -float(results[k].equity[-1]))
    wanted = [_y(float(results[k].equity[-1]), low, high) for k in order]
    labels = []
    for k, y, end in zip(order, _spread(wanted), wanted, strict=True):
        colour, _, _ = _look(results[k], first=k == 0)
        weight = ' font-weight="700"' if k == 0 else ""
        x = _WIDTH - _RIGHT
        labels.append(
            f'<line x1="{x}" x2="{x + 12}" y1="{end:.1f}" y2="{y:.1f}" stroke="{colour}" '
            f'stroke-width="0.7"/><text x="{x + 16}" y="{y + 4:.1f}" style="fill:{colour}"{weight}>'
            f"{escape(results[k].name)} ${results[k].equity[-1]:,.0f}</text>"
        )
    return "".join(labels)


def _spread(wanted: Sequence[float]) -> list[float]:
    """Heights of labels, top down, as near to the wanted ones as their distance allows."""
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + _NAME_STEP) if placed else y)
    floor = _HEIGHT - _BOTTOM - 4.0
    for k in reversed(range(len(placed))):
        placed[k] = min(placed[k], floor)
        floor = placed[k] - _NAME_STEP
    return placed
