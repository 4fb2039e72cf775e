"""Columns of signals and trades for people: short cells."""

from __future__ import annotations

from typing import Final

from spy_assets.cli.columns import Column, dollars, percent


def _words(value: str) -> str:
    return value.replace("_", " ")


def _short(value: str) -> str:
    return value[:8]


SIGNALS: Final = (
    Column("session", "session"),
    Column("action_name", "action"),
    Column("confidence", "conf", percent, "right", leaves=2),
    Column("display_symbol", "contract", least=16),
    Column("entry", "entry", dollars, "right", leaves=1),
    Column("size", "size", str, "right", leaves=3),
    Column("risk_verdict", "risk"),
    Column("signal_id", "id", _short, leaves=4),
)
TRADES: Final = (
    Column("session", "signal"),
    Column("entry_session", "entry", leaves=3),
    Column("exit_session", "exit"),
    Column("exit_reason", "reason", _words, leaves=2),
    Column("pnl", "P&L", dollars, "right"),
    Column("pnl_pct", "of risk", percent, "right", leaves=1),
    Column("rule_label", "rule", leaves=4),
    Column("signal_id", "id", _short, leaves=5),
)
