"""A small real lake with prices, signals and outcomes, for the tests of the command line."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from spy_assets import sessions
from spy_assets.settings import Settings, load_settings
from spy_assets.signals.contract import Signal, make_signal_id
from spy_assets.warehouse import TABLES, Warehouse

DAYS = sessions.sessions_between(date(2018, 6, 25), date(2018, 6, 29))
WRITTEN = datetime(2018, 7, 2, 12, tzinfo=UTC)
#: On this session the close of 27 June was corrected.
REVISED = datetime(2018, 7, 3, 12, tzinfo=UTC)
CLOSES = (271.0, 272.0, 269.0, 271.5, 271.28)


def make_lake(home: Path) -> Settings:
    """A `sample` profile under ``home`` with five sessions of prices, two signals, one outcome."""
    settings = load_settings(home=home, source="sample", profile="sample")
    with Warehouse.open(settings) as warehouse:
        warehouse.write(TABLES["market.daily_bars"], bars(CLOSES), ingested_at=WRITTEN)
        revised = bars((271.0, 272.0, 269.4, 271.5, 271.28))
        warehouse.write(TABLES["market.daily_bars"], revised, ingested_at=REVISED)
        issued = [signal(DAYS[0], "BUY_CALL", 0), signal(DAYS[1], "HOLD", 5)]
        rows = frame("ledger.signals", [one.to_row() for one in issued])
        warehouse.write(TABLES["ledger.signals"], rows, ingested_at=WRITTEN)
        settled = frame("ledger.outcomes", [outcome(issued[0])])
        warehouse.write(TABLES["ledger.outcomes"], settled, ingested_at=WRITTEN)
    return settings


def bars(closes: tuple[float, ...]) -> pl.DataFrame:
    rows = [
        {
            "symbol": "SPY", "session": day, "event_time": sessions.session_close(day),
            "open": close - 1, "high": close + 2, "low": close - 2, "close": close, "volume": 1e8,
            "dividend": 0.0, "split": 1.0, "source": "sample",
            "available_at": sessions.session_close(day),
        }
        for day, close in zip(DAYS, closes, strict=True)
    ]  # fmt: skip
    return frame("market.daily_bars", rows)


def signal(day: date, action_name: str, action: int) -> Signal:
    as_of = sessions.decision_time(day)
    return Signal(
        signal_id=make_signal_id("SPY", as_of, "ppo", "1", "daily_15_proxy_v1"),
        as_of=as_of, available_at=as_of, symbol="SPY", display_name="SPY*", session=day,
        source="sample", model="ppo", model_version="1", observation_contract="daily_15_proxy_v1",
        action=action, action_name=action_name, structure="hold", confidence=0.6,
        reasons=("no edge",), lake_snapshot=1,
    )  # fmt: skip


def outcome(of: Signal) -> dict[str, Any]:
    return {
        "signal_id": of.signal_id, "symbol": "SPY", "session": of.session, "entry_session": DAYS[1],
        "exit_session": DAYS[3], "exit_reason": "target", "entry_value": 200.0, "exit_value": 300.0,
        "pnl": 98.7, "pnl_pct": 0.4935, "costs": 1.3, "holding_sessions": 2, "was_profitable": True,
        "rule_label": "profitable", "spot_entry": 271.0, "spot_exit": 274.0, "source": "sample",
        "available_at": sessions.decision_time(DAYS[3]),
    }  # fmt: skip


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    wanted = [*TABLES[table].columns, "available_at", "source"]
    return pl.DataFrame([{name: row.get(name) for name in wanted} for row in rows])
