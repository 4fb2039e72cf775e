"""Accounts, trades and fills as JSON types, and back, exactly.

Floats survive JSON bit by bit (``repr`` round-trips); dates and times are ISO text; an unbounded
profit or loss is null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from spy_assets.options.contracts import parse_occ
from spy_assets.options.structures import Leg, RiskProfile
from spy_assets.simulator.kernel import Account, Fill, LedgerEntry, Position, Trade

Record = dict[str, Any]


def leg_record(leg: Leg) -> Record:
    """OCC symbol and signed quantity per unit."""
    return {"symbol": leg.symbol, "quantity": leg.quantity}


def fill_record(fill: Fill) -> Record:
    """One execution; ``quantity`` is signed, ``side`` says the same in words."""
    return {
        "symbol": fill.leg.symbol,
        "leg_quantity": fill.leg.quantity,
        "side": fill.side,
        "quantity": fill.quantity,
        "price": fill.price,
        "mid": fill.mid,
        "spread": fill.spread,
        "slippage": fill.slippage,
        "commission": fill.commission,
        "session": fill.session.isoformat(),
        "event_time": fill.event_time.isoformat(),
        "quote_kind": fill.quote_kind,
    }


def risk_record(risk: RiskProfile) -> Record:
    """Dollars per unit; null means without bound."""
    return {
        "max_profit": risk.max_profit if math.isfinite(risk.max_profit) else None,
        "max_loss": risk.max_loss if math.isfinite(risk.max_loss) else None,
        "breakevens": list(risk.breakevens),
    }


def trade_record(trade: Trade) -> Record:
    """Write a closed trade with all its fills."""
    return {
        **{name: getattr(trade, name) for name in _TRADE_PLAIN},
        **{name: getattr(trade, name).isoformat() for name in _TRADE_DAYS + _TRADE_TIMES},
        "legs": [leg_record(leg) for leg in trade.legs],
        "entry_fills": [fill_record(fill) for fill in trade.entry_fills],
        "exit_fills": [fill_record(fill) for fill in trade.exit_fills],
        "risk": risk_record(trade.risk),
    }


def position_record(position: Position) -> Record:
    """Write an open position with its entry fills."""
    return {
        **{name: getattr(position, name) for name in _POSITION_PLAIN},
        **{name: getattr(position, name).isoformat() for name in _POSITION_DAYS},
        "entry_time": position.entry_time.isoformat(),
        "legs": [leg_record(leg) for leg in position.legs],
        "entry_fills": [fill_record(fill) for fill in position.entry_fills],
        "risk": risk_record(position.risk),
    }


def account_state(account: Account) -> Record:
    """Write the whole account."""
    return {
        "initial": account.initial,
        "cash": account.cash,
        "cash_carry": account.cash_carry,
        "next_trade_id": account.next_trade_id,
        "positions": [position_record(position) for position in account.positions.values()],
        "trades": [trade_record(trade) for trade in account.trades],
        "ledger": [
            [entry.session.isoformat(), entry.trade_id, entry.kind, entry.amount, entry.leg]
            for entry in account.ledger
        ],
    }


def account_from_state(state: Mapping[str, Any]) -> Account:
    """Read the account that :func:`account_state` wrote."""
    account = Account(state["initial"])
    account.cash = state["cash"]
    account.cash_carry = state["cash_carry"]
    account.next_trade_id = state["next_trade_id"]
    for record in state["positions"]:
        position = position_from_record(record)
        account.positions[position.trade_id] = position
    account.trades = [trade_from_record(record) for record in state["trades"]]
    account.ledger = [
        LedgerEntry(date.fromisoformat(day), trade_id, kind, amount, leg)
        for day, trade_id, kind, amount, leg in state["ledger"]
    ]
    return account


def trade_from_record(record: Mapping[str, Any]) -> Trade:
    """Read the trade that :func:`trade_record` wrote."""
    return Trade(
        **_plain(record, _TRADE_PLAIN, _TRADE_DAYS, _TRADE_TIMES),
        **_parts(record),
        exit_fills=tuple(_fill(fill) for fill in record["exit_fills"]),
    )


def position_from_record(record: Mapping[str, Any]) -> Position:
    """Read the position that :func:`position_record` wrote."""
    return Position(
        **_plain(record, _POSITION_PLAIN, _POSITION_DAYS, ("entry_time",)), **_parts(record)
    )


def _plain(
    record: Mapping[str, Any],
    plain: tuple[str, ...],
    days: tuple[str, ...],
    times: tuple[str, ...],
) -> Record:
    fields: Record = {name: record[name] for name in plain}
    fields.update({name: date.fromisoformat(record[name]) for name in days})
    fields.update({name: datetime.fromisoformat(record[name]) for name in times})
    return fields


def _parts(record: Mapping[str, Any]) -> Record:
    return {
        "legs": tuple(_leg(leg["symbol"], leg["quantity"]) for leg in record["legs"]),
        "entry_fills": tuple(_fill(fill) for fill in record["entry_fills"]),
        "risk": _risk(record["risk"]),
    }


def _leg(symbol: str, quantity: int) -> Leg:
    return Leg(parse_occ(symbol), quantity)


def _fill(record: Mapping[str, Any]) -> Fill:
    fields = _plain(record, _FILL_PLAIN, ("session",), ("event_time",))
    return Fill(leg=_leg(record["symbol"], record["leg_quantity"]), **fields)


def _risk(record: Mapping[str, Any]) -> RiskProfile:
    profit, loss = record["max_profit"], record["max_loss"]
    return RiskProfile(
        math.inf if profit is None else profit,
        math.inf if loss is None else loss,
        tuple(record["breakevens"]),
    )


_TRADE_DAYS = ("decision_session", "entry_session", "exit_session")
_TRADE_TIMES = ("entry_time", "exit_time")
_TRADE_PLAIN = (
    "trade_id",
    "structure",
    "quantity",
    "exit_reason",
    "entry_value",
    "exit_value",
    "gross",
    "costs",
    "pnl",
    "pnl_pct",
    "holding_sessions",
    "spot_entry",
    "spot_exit",
    "stale_marks",
)
_POSITION_DAYS = ("decision_session", "entry_session", "expiry")
_POSITION_PLAIN = (
    "trade_id",
    "structure",
    "quantity",
    "spot_entry",
    "entry_value",
    "margin",
    "premium",
    "cash_flow",
    "mark",
    "closes_held",
    "stale_marks",
)
_FILL_PLAIN = ("quantity", "price", "mid", "spread", "slippage", "commission", "quote_kind")
