from __future__ import annotations

import numpy as np
import pytest

from spy_assets.models.outcomes.rollouts import walk
from spy_assets.models.preference.trades import FEATURES, ClosedTrade, feature_matrix
from spy_assets.signals.outcomes import outcome_row
from spy_assets.simulator.daily import DailySimulator
from spy_assets_tests.cli.ledgers import DAYS, signal
from spy_assets_tests.models.planted import net_of, planted_market, undecided
from spy_assets_tests.models.preference.raters import CAPITAL, closed_trade

TRADES = walk(
    DailySimulator(planted_market(1, 150)), net_of(undecided(0).tensors).probabilities, seed=1
).trades


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.25, 0, 0.025, 0.4, 0.02, 0, 0]),
        ({"pnl": -100.0, "exit_reason": "stop_loss"}, [0, 0.5, 0.025, 0.4, 0.02, 1, 0]),
        ({"entry_value": -80.0, "pnl": 5_000.0}, [3, 0, 0.025, 0.4, 0.02, 0, 1]),
        ({"capital_at_risk": 20_000.0}, [0.0025, 0, 0.00025, 0.4, 1, 0, 0]),
    ],
)
def test_features_by_hand(changes: dict[str, object], expected: list[float]) -> None:
    assert closed_trade(**changes).features(CAPITAL) == pytest.approx(expected)
    assert len(expected) == len(FEATURES)


def test_the_ledger_and_the_simulator_tell_the_same_of_a_trade() -> None:
    said = signal(DAYS[0], "BUY_CALL", 0)
    assert len(TRADES) > 10
    for trade in TRADES:
        row = outcome_row(said, trade, source="test")
        told = ClosedTrade.of_rows(said.to_row() | {"structure": trade.structure}, row)
        own = ClosedTrade.of_trade(trade)
        assert told.features(CAPITAL) == pytest.approx(own.features(CAPITAL))
        assert (told.trade_id, told.structure) == (said.signal_id, trade.structure)


def test_capital_at_risk_is_what_the_return_was_measured_in() -> None:
    for trade in TRADES:
        assert ClosedTrade.of_trade(trade).return_on_risk == pytest.approx(trade.pnl_pct)


def test_a_trade_without_any_return_is_measured_in_its_premium() -> None:
    said = signal(DAYS[0], "BUY_CALL", 0).to_row()
    row = {
        name: getattr(TRADES[0], name)
        for name in ClosedTrade.__annotations__
        if hasattr(TRADES[0], name)
    }
    flat = row | {"signal_id": "x", "pnl": 0.0, "pnl_pct": 0.0, "entry_value": -120.0}
    assert ClosedTrade.of_rows(said, flat).capital_at_risk == 120.0


def test_no_trades_have_no_rows() -> None:
    assert feature_matrix([], CAPITAL).shape == (0, len(FEATURES))
    assert np.isfinite(feature_matrix([closed_trade()], CAPITAL)).all()
