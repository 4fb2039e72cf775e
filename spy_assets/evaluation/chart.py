"""Equity curves as one inline SVG, drawn by hand: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from spy_assets.evaluation.backtest import BacktestResult

_WIDTH: Final = 960
_HEIGHT: Final = 360
_LEFT: Final = 70
_RIGHT: Final = 15
_TOP: Final = 15
_BOTTOM: Final = 30
_GRID_LINES: Final = 5
_MAX_POINTS: Final = 600

#: Strategy -> CSS colour, width, dash; the others are thin and grey, named by their tooltips.
_LOOKS: Final = {
    "buy_and_hold": ("var(--hold)", 1.6, ""),
    "random_same_rate": ("var(--random)", 1.6, "6 3"),
    "cash": ("var(--cash)", 1.2, "2 3"),
}
_POLICY_LOOK: Final = ("var(--policy)", 2.6, "")
_OTHER_LOOK: Final = ("var(--soft)", 0.9, "1 2")


def equity_chart(results: Sequence[BacktestResult]) -> str:
    """Draw the curves of several results over the same sessions; the first is the policy."""
    curves = [result.equity for result in results]
    low, high = _range(curves)
    lines = [_curve(result, low, high, first=index == 0) for index, result in enumerate(results)]
    sessions = results[0].sessions
    return (
        f'<figure style="margin:0"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Equity in dollars of {len(results)} strategies">'
        f"{_grid(low, high)}{''.join(reversed(lines))}"
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{sessions[0]}</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{sessions[-1]}</text>'
        f"</svg><figcaption class=soft>{_legend(results)}</figcaption></figure>"
    )


def _range(
    curves: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
) -> tuple[float, float]:
    low = float(min(curve.min() for curve in curves))
    high = float(max(curve.max() for curve in curves))
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
    for value in np.linspace(low, high, _GRID_LINES):
        y = _y(float(value), low, high)
        lines.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="var(--line)" stroke-width="0.5"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">${value:,.0f}</text>'
        )
    return "".join(lines)


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _legend(results: Sequence[BacktestResult]) -> str:
    names = []
    for index, result in enumerate(results):
        colour, _, _ = _look(result, first=index == 0)
        names.append(
            f'<span style="white-space:nowrap"><b style="color:{colour}">━</b> '
            f"{escape(result.name)} ${result.equity[-1]:,.0f}</span>"
        )
    return " &nbsp; ".join(names)
