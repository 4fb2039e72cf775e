"""Trades to compare, and a person who answers by a rule that the tests know."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np

from spy_assets.models.preference.pairs import ComparedPairs, Preference, compared_pairs
from spy_assets.models.preference.trades import FEATURES, ClosedTrade, Vector, feature_matrix

CAPITAL = 10_000.0
WHEN = datetime(2018, 7, 2, 12, tzinfo=UTC)
#: This person wants profits, fears losses twice as much, and dislikes being stopped.
TASTE = np.array([2.0, -4.0, 0.0, 0.0, 0.0, -1.0, 0.0])


def closed_trade(name: str = "a", **changes: object) -> ClosedTrade:
    values: dict[str, object] = {
        "trade_id": name,
        "structure": "long_call",
        "entry_session": date(2018, 6, 26),
        "exit_session": date(2018, 6, 28),
        "exit_reason": "profit_target",
        "holding_sessions": 2,
        "pnl": 50.0,
        "costs": 5.0,
        "capital_at_risk": 200.0,
        "entry_value": 200.0,
        "spot_entry": 271.0,
        "spot_exit": 274.0,
    }
    return ClosedTrade(**(values | changes))  # type: ignore[arg-type]


def random_trades(count: int, seed: int = 0) -> list[ClosedTrade]:
    rng = np.random.default_rng(seed)
    return [
        closed_trade(
            f"t{number:03d}",
            pnl=float(rng.normal(0, 150)),
            costs=float(rng.uniform(1, 20)),
            capital_at_risk=float(rng.uniform(100, 500)),
            holding_sessions=int(rng.integers(1, 6)),
            exit_reason=str(rng.choice(["stop_loss", "profit_target", "max_hold"])),
            entry_value=float(rng.choice([-80.0, 200.0])),
        )
        for number in range(count)
    ]


def answers(count: int, *, taste: Vector = TASTE, seed: int = 0) -> ComparedPairs:
    """Answers of a person whose log odds are ``taste`` times the features."""
    rng = np.random.default_rng(seed)
    trades = random_trades(60, seed)
    known = feature_matrix(trades, CAPITAL)
    said = []
    for number in range(count):
        left, right = rng.choice(len(trades), size=2, replace=False)
        odds = 1 / (1 + np.exp(-(known[left] - known[right]) @ taste))
        answer = "1" if rng.random() < odds else "2"
        names = (trades[left].trade_id, trades[right].trade_id)
        said.append(Preference(*names, answer, "anna", WHEN + timedelta(seconds=number)))  # type: ignore[arg-type]
    return compared_pairs(said, trades, CAPITAL)


def feature(name: str) -> int:
    return list(FEATURES).index(name)
