"""What became of signals: the repriced P&L of closed trades, beside the seed's spot-move rule.

``pnl`` and ``was_profitable`` come from the simulator's trade: every leg repriced at entry and
exit, after all costs. The seed judged by the move of the underlying alone (S0-52, S0-53); that rule
stays as a second column, ``rule_label``, so that the two can be compared. A position that is still
open has no outcome: it is pending, and is never finalised at its first check.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal

from spy_assets.errors import DataError
from spy_assets.options.structures import structure_named
from spy_assets.sessions import next_session, require_aware, session_close
from spy_assets.signals.contract import Signal
from spy_assets.simulator.chain_fills import quote_kind_of
from spy_assets.simulator.kernel import Fill, Trade

RuleLabel = Literal["profitable", "loss", "undecided"]

#: The seed's thresholds, fractions of the underlying's move in the trade's own direction.
RULE_PROFIT: Final = 0.01
RULE_LOSS: Final = -0.008
RULE_CONDOR: Final = 0.015
_DIRECTION: Final = {"bullish": 1, "bearish": -1}


@dataclass(frozen=True)
class Settlement:
    """Rows of ``ledger.outcomes`` that are due, and the signal ids that have none.

    ``pending`` waits for a fill or an exit; ``unfilled`` were dropped at the fill (no price, or not
    enough cash after the gap) and will never have an outcome.
    """

    rows: tuple[dict[str, Any], ...]
    pending: tuple[str, ...]
    unfilled: tuple[str, ...]


def settle_outcomes(
    signals: Iterable[Signal],
    trades: Sequence[Trade],
    moment: datetime,
    *,
    source: str,
    open_sessions: Collection[date] | None = None,
) -> Settlement:
    """Match entry signals with the trades that they led to and settle what closed by ``moment``.

    Parameters
    ----------
    signals
        Signals of one symbol; only entries can have an outcome.
    trades
        The simulator's closed trades; each belongs to the signal of its decision session.
    moment
        Only trades closed at or before it are settled, so that a replay cannot use the future.
    source
        Source of the rows.
    open_sessions
        Decision sessions of the positions that are open at ``moment``; with ``None`` they are not
        known, and every signal without a trade is pending.

    Raises
    ------
    DataError
        If a trade is not of the structure that its signal asked for.
    """
    instant = require_aware(moment)
    by_session = {trade.decision_session: trade for trade in trades}
    rows, pending, unfilled = [], [], []
    for signal in signals:
        if not signal.is_entry or signal.as_of > instant:
            continue
        trade = by_session.get(signal.session)
        if trade is None and _was_dropped(signal, open_sessions, instant):
            unfilled.append(signal.signal_id)
            continue
        if trade is None or trade.exit_time > instant:
            pending.append(signal.signal_id)
            continue
        _require_same(signal, trade)
        rows.append(outcome_row(signal, trade, source=source))
    return Settlement(tuple(rows), tuple(pending), tuple(unfilled))


def outcome_row(signal: Signal, trade: Trade, *, source: str) -> dict[str, Any]:
    """Give the row of ``ledger.outcomes``; ``available_at`` is the time of the exit."""
    return {
        "signal_id": signal.signal_id,
        "symbol": signal.symbol,
        "session": signal.session,
        "entry_session": trade.entry_session,
        "exit_session": trade.exit_session,
        "exit_reason": trade.exit_reason,
        "entry_value": trade.entry_value,
        "exit_value": trade.exit_value,
        "pnl": trade.pnl,
        "pnl_pct": trade.pnl_pct,
        "costs": trade.costs,
        "quote_kind": quote_kind_of(trade.fills),
        "holding_sessions": trade.holding_sessions,
        "was_profitable": trade.pnl > 0,
        "rule_label": rule_label(trade.structure, trade.spot_entry, trade.spot_exit),
        "spot_entry": trade.spot_entry,
        "spot_exit": trade.spot_exit,
        "available_at": trade.exit_time,
        "source": source,
    }


def rule_label(structure: str, spot_entry: float, spot_exit: float) -> RuleLabel | None:
    """Judge by the move of the underlying alone, as the seed did.

    Bullish structures: +1 % or more is profitable, -0.8 % or less a loss; bearish ones mirrored; a
    condor, or another neutral one, is profitable within 1.5 % and a loss outside. All between is
    undecided. The seed had no rule for what is bought for a large move either way: None.

    >>> rule_label("bull_call_debit", 100.0, 101.0), rule_label("bear_put_debit", 100.0, 100.8)
    ('profitable', 'loss')

    Raises
    ------
    ConfigError
        If there is no such structure.
    """
    view = structure_named(structure).direction
    move = round(spot_exit / spot_entry - 1.0, 12)  # 101/100 - 1 must count as the full 1 %
    if view == "neutral":
        return "profitable" if abs(move) <= RULE_CONDOR else "loss"
    if view not in _DIRECTION:
        return None
    signed = move * _DIRECTION[view]
    if signed >= RULE_PROFIT:
        return "profitable"
    return "loss" if signed <= RULE_LOSS else "undecided"


def decision_row(signal: Signal) -> dict[str, Any]:
    """Give the row of ``ledger.decisions``: what was done about a signal."""
    held = signal.action_name == "HOLD"
    return {
        "decision_id": signal.decision_digest()[:16],
        "signal_id": signal.signal_id,
        "session": signal.session,
        "symbol": signal.symbol,
        "action": signal.action,
        "action_name": signal.action_name,
        "held": held,
        "hold_reason": signal.reasons[0] if held and signal.reasons else None,
        "available_at": signal.available_at,
        "source": signal.source,
    }


def fill_rows(
    signals: Iterable[Signal], fills_by_decision: Mapping[date, Sequence[Fill]], *, source: str
) -> list[dict[str, Any]]:
    """Give the rows of ``ledger.fills`` for entries and exits.

    Parameters
    ----------
    signals
        The signals; those without fills are left out.
    fills_by_decision
        Decision session to the fills of its position, entry and exit.
    source
        Source of the rows.
    """
    return [
        _fill_row(signal, fill, source)
        for signal in signals
        for fill in fills_by_decision.get(signal.session, ())
        if signal.is_entry
    ]


def _fill_row(signal: Signal, fill: Fill, source: str) -> dict[str, Any]:
    leg = fill.leg.contract.occ
    return {
        "fill_id": f"{signal.signal_id}-{fill.session:%Y%m%d}-{fill.side}-{leg.replace(' ', '')}",
        "signal_id": signal.signal_id,
        "session": fill.session,
        "event_time": fill.event_time,
        "leg_symbol": leg,
        "side": fill.side,
        "quantity": abs(fill.quantity),
        "price": fill.price,
        "mid": fill.mid,
        "commission": fill.commission,
        "slippage": fill.spread + fill.slippage,
        "quote_kind": fill.quote_kind,
        "available_at": fill.event_time,
        "source": source,
    }


def _was_dropped(signal: Signal, open_sessions: Collection[date] | None, moment: datetime) -> bool:
    """Whether the session in which the order fills has ended without a position."""
    if open_sessions is None or signal.session in open_sessions:
        return False
    return session_close(next_session(signal.session)) <= moment


def _require_same(signal: Signal, trade: Trade) -> None:
    wanted = sorted((leg.occ, leg.side) for leg in signal.legs)
    traded = sorted((f.leg.contract.occ, f.side) for f in trade.entry_fills)
    if signal.structure != trade.structure or wanted != traded:
        raise DataError(
            f"signal {signal.signal_id} of {signal.session} asked for {signal.structure} {wanted}, "
            f"its trade is {trade.structure} {traded}",
            hint="replay the account from the recorded signals with their own configuration",
        )
