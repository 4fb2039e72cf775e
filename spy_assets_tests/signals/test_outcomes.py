from __future__ import annotations

from dataclasses import replace

import pytest

from spy_assets.errors import ConfigError, DataError
from spy_assets.sessions import decision_time, next_session
from spy_assets.signals.contract import Signal
from spy_assets.signals.outcomes import (
    Settlement,
    decision_row,
    fill_rows,
    rule_label,
    settle_outcomes,
)
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.kernel import Trade
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.evaluation.markets import random_walk
from spy_assets_tests.signals import scenes

SYSTEM = {"available_at", "source"}
PATH = random_walk(4, 12)
DAY = PATH.sessions[0]


def bear_spread() -> tuple[Signal, Trade]:
    """A signal on the first session of a path, and the trade that it led to."""
    spot, vix, rate = float(PATH.close[0]), 0.18, 0.01
    market = scenes.market(session=DAY, as_of=decision_time(DAY), spot=spot, vix=vix, rate=rate)
    world = scenes.conditions(session=DAY, newest_session=DAY, model_train_end=None)
    signal = scenes.signal(3, market=market, conditions=world)
    simulator = DailySimulator.replay(PATH, {DAY: signal.action})
    return signal, simulator.trades[0]


def settled_at(session_offset: int, trade_known: bool = True, **more: object) -> Settlement:
    signal, trade = bear_spread()
    trades = [trade] if trade_known else []
    moment = decision_time(next_session(DAY, session_offset))
    return settle_outcomes([signal], trades, moment, source="test", **more)  # type: ignore[arg-type]


def test_a_closed_trade_settles_at_its_repriced_pnl() -> None:
    signal, trade = bear_spread()
    (row,) = settled_at(11).rows
    assert row["signal_id"] == signal.signal_id
    assert row["pnl"] == trade.pnl == pytest.approx(trade.gross - trade.costs)
    assert row["was_profitable"] == (trade.pnl > 0)
    assert set(row) == set(TABLES["ledger.outcomes"].columns) | SYSTEM


def test_an_outcome_says_what_its_trade_was_filled_at() -> None:
    signal, trade = bear_spread()
    moment = decision_time(next_session(DAY, 11))
    entry = tuple(replace(fill, quote_kind="chain") for fill in trade.entry_fills)
    leaving = tuple(replace(fill, quote_kind="chain") for fill in trade.exit_fills)
    kinds = [
        trade,
        replace(trade, entry_fills=entry),
        replace(trade, entry_fills=entry, exit_fills=leaving),
    ]
    told = [settle_outcomes([signal], [one], moment, source="test").rows[0] for one in kinds]
    assert [row["quote_kind"] for row in told] == ["surface", "mixed", "chain"]


def test_an_open_trade_stays_pending_until_its_exit() -> None:
    signal, trade = bear_spread()
    early = settled_at(1)
    assert (early.rows, early.pending) == ((), (signal.signal_id,))
    assert trade.exit_time <= decision_time(next_session(DAY, 11))


def test_settling_is_idempotent() -> None:
    assert settled_at(11) == settled_at(11)


def test_a_signal_of_the_future_is_not_looked_at() -> None:
    signal, trade = bear_spread()
    before = decision_time(DAY).replace(hour=20)
    assert settle_outcomes([signal], [trade], before, source="test") == Settlement((), (), ())


def test_an_order_that_did_not_fill_is_neither_open_nor_lost() -> None:
    signal, _ = bear_spread()
    assert settled_at(0, trade_known=False).pending == (signal.signal_id,)
    assert settled_at(1, trade_known=False).pending == (signal.signal_id,)
    dropped = settled_at(1, trade_known=False, open_sessions=[])
    assert (dropped.unfilled, dropped.pending) == ((signal.signal_id,), ())
    open_one = settled_at(1, trade_known=False, open_sessions=[DAY])
    assert open_one.pending == (signal.signal_id,)


def test_hold_has_no_outcome() -> None:
    hold = scenes.signal(5)
    assert settle_outcomes([hold], [], decision_time(scenes.DAY), source="t") == Settlement(
        (), (), ()
    )


def test_a_trade_of_another_structure_is_refused() -> None:
    signal, trade = bear_spread()
    other = replace(trade, structure="long_put")
    with pytest.raises(DataError, match="its trade is long_put"):
        settle_outcomes([signal], [other], decision_time(next_session(DAY, 11)), source="test")


def test_fills_have_one_row_per_leg_and_way_with_their_own_id() -> None:
    signal, trade = bear_spread()
    rows = fill_rows([signal], {DAY: trade.fills}, source="test")
    assert len(rows) == len(trade.fills) == len({row["fill_id"] for row in rows})
    assert set(rows[0]) == set(TABLES["ledger.fills"].columns) | SYSTEM
    assert all(row["quantity"] > 0 for row in rows)


def test_decisions_name_the_reason_of_hold() -> None:
    row = decision_row(scenes.signal(policy=None))
    assert (row["held"], row["hold_reason"]) == (True, "no_model_yet")
    assert set(row) == set(TABLES["ledger.decisions"].columns) | SYSTEM
    assert decision_row(scenes.signal(3))["hold_reason"] is None


@pytest.mark.parametrize(
    ("structure", "exit_price", "label"),
    [
        ("bull_call_debit", 101.0, "profitable"),
        ("bull_call_debit", 99.2, "loss"),
        ("bull_call_debit", 100.9, "undecided"),
        ("long_call", 101.0, "profitable"),
        ("bear_put_debit", 99.0, "profitable"),
        ("bear_put_debit", 100.8, "loss"),
        ("long_put", 99.21, "undecided"),
        ("iron_condor", 101.5, "profitable"),
        ("iron_condor", 98.49, "loss"),
        ("bull_put_credit", 101.0, "profitable"),
        ("short_call", 99.0, "profitable"),
        ("butterfly", 98.49, "loss"),
        ("long_straddle", 110.0, None),
    ],
)
def test_the_seeds_rule(structure: str, exit_price: float, label: str | None) -> None:
    assert rule_label(structure, 100.0, exit_price) == label


def test_an_unknown_structure_has_no_rule() -> None:
    with pytest.raises(ConfigError, match="ratio_spread"):
        rule_label("ratio_spread", 100.0, 101.0)
