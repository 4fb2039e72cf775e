"""Two trades side by side, as a trader reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from spy_assets.options.structures import Leg

_BARS: Final = "▁▂▃▄▅▆▇█"
#: Sessions of prices shown before the entry.
LEAD: Final = 10
#: How far from the entry's price the payoff is drawn, and in how many steps.
_REACH, _STEPS = 0.05, 24

Shown = tuple[Mapping[str, Any], Mapping[str, Any]]


def side_by_side(left: Shown, right: Shown, closes: Mapping[date, float]) -> RenderableType:
    """Both trades: contract, dates, P&L, and the lines of price and payoff.

    Parameters
    ----------
    left, right
        Each a row of ``ledger.signals`` and its row of ``ledger.outcomes``.
    closes
        Closes of the underlying by session, for the price line; sessions may be missing.
    """
    from rich.columns import Columns
    from rich.panel import Panel

    panels = [
        Panel(_trade(*shown, closes), title=f"[bold]{key}[/bold]", width=58, padding=(1, 2))
        for key, shown in (("1", left), ("2", right))
    ]
    return Columns(panels)


def _trade(
    signal: Mapping[str, Any], outcome: Mapping[str, Any], closes: Mapping[date, float]
) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    name = signal["display_symbol"] or str(signal["structure"]).replace("_", " ")
    grid.add_row("trade", Text(name, style="bold"))
    grid.add_row("held", Text(_held(outcome)))
    grid.add_row("premium", Text(_premium(outcome)))
    grid.add_row("P&L", _pnl(outcome))
    grid.add_row("exit", Text(str(outcome["exit_reason"]).replace("_", " ")))
    grid.add_row("seen", Text(_seen(signal)))
    grid.add_row("price", _price(outcome, closes))
    grid.add_row("payoff", _payoff(signal, outcome))
    return grid


def _held(outcome: Mapping[str, Any]) -> str:
    count = outcome["holding_sessions"]
    plural = "" if count == 1 else "s"
    return f"{outcome['entry_session']} to {outcome['exit_session']}, {count} session{plural}"


def _premium(outcome: Mapping[str, Any]) -> str:
    entry, leave = outcome["entry_value"], outcome["exit_value"]
    if entry < 0:
        return f"received ${-entry:,.2f}, closed for ${-leave:,.2f}"
    return f"paid ${entry:,.2f}, closed for ${leave:,.2f}"


def _pnl(outcome: Mapping[str, Any]) -> Text:
    from rich.text import Text

    pnl, share = outcome["pnl"], outcome["pnl_pct"]
    sign = "-" if pnl < 0 else "+"
    words = f"{sign}${abs(pnl):,.2f} ({share:+.0%} of risk), costs ${outcome['costs']:,.2f}"
    return Text(words, style="bold red" if pnl < 0 else "bold green")


def _seen(signal: Mapping[str, Any]) -> str:
    """What stood in the signal: the market's regime and how sure the model was."""
    parts = [str(signal["regime"] or "regime unknown").replace("_", " ")]
    if signal["confidence"] is not None:
        parts.append(f"confidence {signal['confidence']:.0%}")
    return ", ".join(parts)


def _price(outcome: Mapping[str, Any], closes: Mapping[date, float]) -> Text:
    """Closes from before the entry to the exit; those before it are dim."""
    from rich.text import Text

    entry, leave = outcome["entry_session"], outcome["exit_session"]
    before = sorted(day for day in closes if day < entry)[-LEAD:]
    during = sorted(day for day in closes if entry <= day <= leave)
    line = sparkline([closes[day] for day in (*before, *during)])
    move = outcome["spot_exit"] / outcome["spot_entry"] - 1.0
    words = f"  {outcome['spot_entry']:,.2f} to {outcome['spot_exit']:,.2f} ({move:+.1%})"
    return Text.assemble((line[: len(before)], "dim"), (line[len(before) :], "bold"), words)


def _payoff(signal: Mapping[str, Any], outcome: Mapping[str, Any]) -> Text:
    """Profit at expiry over prices around the entry: red where it is a loss."""
    from rich.text import Text

    from spy_assets.options.structures import payoff_at_expiry

    legs, size = legs_of(signal), max(int(signal["size"] or 1), 1)
    if not legs:
        return Text("not recorded", style="dim")
    spot = outcome["spot_entry"]
    spots = [spot * (1 + _REACH * (2 * k / _STEPS - 1)) for k in range(_STEPS + 1)]
    profits = [size * payoff_at_expiry(legs, one) - outcome["entry_value"] for one in spots]
    text = Text()
    for bar, profit in zip(sparkline(profits), profits, strict=True):
        text.append(bar, style="red" if profit < 0 else "green")
    return text.append(f"  {spots[0]:,.0f} to {spots[-1]:,.0f}")


def legs_of(signal: Mapping[str, Any]) -> tuple[Leg, ...]:
    """Legs of one unit, as the signal recorded them; empty if it recorded none."""
    from spy_assets.options.contracts import parse_occ
    from spy_assets.options.structures import Leg

    return tuple(
        Leg(parse_occ(leg["occ"]), leg["ratio"] if leg["side"] == "buy" else -leg["ratio"])
        for leg in json.loads(signal["legs"] or "[]")
    )


def sparkline(values: Sequence[float]) -> str:
    """One character per value, from the lowest to the highest.

    >>> sparkline([1.0, 2.0, 8.0])
    '▁▂█'
    >>> sparkline([3.0, 3.0])
    '▄▄'
    """
    if not values:
        return ""
    low, span = min(values), max(values) - min(values)
    if span <= 0:
        return _BARS[3] * len(values)
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in values)
