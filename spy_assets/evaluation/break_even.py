r"""At which fill price a strategy stops earning: the break-even share of the half-spread.

Fills are at ``mid ± alpha x half-spread``: 0 fills at mid, 1 at the quote, above 1 worse than quoted.
The break-even is the ``alpha`` at which net P&L is zero. One above 1 leaves room for worse fills than
were simulated; one near 0 means that the profit is the assumption about fills.

Where the trades stay the same whatever the fills cost, the P&L is a straight line and the answer exact:

.. math:: \alpha^* = \frac{gross - other\ costs}{spread\ at\ \alpha = 1}

The line is a little too low where a sale is worth less than the half-spread, because no fill is below
zero. Where exits or sizes depend on the P&L so far, the strategy is run again for each ``alpha``
(:func:`break_even_alpha`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from spy_assets.errors import ConfigError
from spy_assets.simulator.kernel import LedgerEntry, Trade

#: Fills worse than this many half-spreads are not searched.
DEFAULT_LIMIT: Final = 8.0


@dataclass(frozen=True)
class BreakEven:
    """The answer, or why there is none.

    ``alpha`` is in half-spreads. ``at_mid`` and ``at_quote`` are the net P&L in dollars at 0 and at 1.
    ``reason`` is set exactly where ``alpha`` is ``None``.
    """

    alpha: float | None
    at_mid: float
    at_quote: float
    reason: str | None = None


def break_even_of_trades(trades: Iterable[Trade], *, booked_alpha: float = 1.0) -> BreakEven:
    """Solve exactly for fixed trades.

    Parameters
    ----------
    trades
        Closed trades with their fills.
    booked_alpha
        Share of the half-spread that their ``spread`` was booked at: ``CostModel.alpha`` of the run.

    Raises
    ------
    ConfigError
        If ``booked_alpha`` is not above zero: fills at mid show no spread.
    """
    done = list(trades)
    gross = math.fsum(trade.gross for trade in done)
    fills = [fill for trade in done for fill in trade.fills]
    spread = math.fsum(fill.spread for fill in fills)
    other = math.fsum(fill.slippage + fill.commission for fill in fills)
    return solve_line(gross, spread, other, booked_alpha=booked_alpha)


def break_even_of_ledger(entries: Iterable[LedgerEntry], *, booked_alpha: float = 1.0) -> BreakEven:
    """Solve exactly from a ledger; what is still open counts at its mark.

    Raises
    ------
    ConfigError
        If ``booked_alpha`` is not above zero.
    """
    gross = spread = other = 0.0
    for entry in entries:
        if entry.kind == "spread":
            spread -= entry.amount
        elif entry.kind in ("slippage", "commission"):
            other -= entry.amount
        else:
            gross += entry.amount
    return solve_line(gross, spread, other, booked_alpha=booked_alpha)


def solve_line(
    gross: float, spread: float, other: float, *, booked_alpha: float = 1.0
) -> BreakEven:
    """Solve ``gross - alpha x spread / booked_alpha - other = 0``; all in dollars, costs positive."""
    if not 0 < booked_alpha < math.inf:
        raise ConfigError(
            f"booked_alpha {booked_alpha}", hint="give the share of the half-spread, above zero"
        )
    full, at_mid = spread / booked_alpha, gross - other
    at_quote = at_mid - full
    if at_mid <= 0:
        return BreakEven(None, at_mid, at_quote, _never(at_mid))
    if full <= 0:
        return BreakEven(None, at_mid, at_quote, "no spread was paid, so that fills decide nothing")
    return BreakEven(at_mid / full, at_mid, at_quote)


def break_even_alpha(
    net_pnl: Callable[[float], float],
    *,
    limit: float = DEFAULT_LIMIT,
    tolerance: float = 1e-4,
) -> BreakEven:
    """Find the first ``alpha`` at which a strategy's net P&L falls to zero.

    From 0 on, steps that double (0.25, 0.5, 1, 2, ...) look for the first loss, and bisection narrows it
    down. Where the P&L is not monotone, what is found is one crossing, below the first losing step.

    Parameters
    ----------
    net_pnl
        Runs the strategy with that share of the half-spread; dollars.
    limit
        Largest ``alpha`` to try.
    tolerance
        Width of the last bracket.

    Raises
    ------
    ConfigError
        If ``net_pnl`` gives something that is not finite, or ``limit`` or ``tolerance`` is not above
        zero.
    """
    if not (0 < tolerance < limit < math.inf):
        raise ConfigError(
            f"tolerance {tolerance}, limit {limit}", hint="give 0 < tolerance < limit"
        )
    at_mid, at_quote = _dollars(net_pnl, 0.0), _dollars(net_pnl, 1.0)
    if at_mid <= 0:
        return BreakEven(None, at_mid, at_quote, _never(at_mid))
    low, high = 0.0, min(0.25, limit)
    while _dollars(net_pnl, high) > 0:
        if high >= limit:
            return BreakEven(None, at_mid, at_quote, f"still profitable at {limit:g} half-spreads")
        low, high = high, min(2 * high, limit)
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (middle, high) if _dollars(net_pnl, middle) > 0 else (low, middle)
    return BreakEven((low + high) / 2, at_mid, at_quote)


def _never(at_mid: float) -> str:
    return f"not profitable even when filled at mid: ${at_mid:,.2f}"


def _dollars(net_pnl: Callable[[float], float], alpha: float) -> float:
    value = float(net_pnl(alpha))
    if not math.isfinite(value):
        raise ConfigError(f"net P&L {value} at alpha {alpha}", hint="give finite dollars")
    return value
