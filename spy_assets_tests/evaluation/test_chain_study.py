"""The study has a row for each structure, bucket and alpha, with the trades that it is of."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pytest

from spy_assets.evaluation.chain_study import (
    STUDY_SCHEMA,
    TRADED,
    break_even_of_chain,
    study_structures,
    usual_legs,
)
from spy_assets.simulator.chain_backtest import backtest_chain
from spy_assets.simulator.chain_strategy import LegRule
from spy_assets.simulator.chain_table import ChainTable
from spy_assets_tests.simulator.chain_markets import (
    random_table,
    real_closes,
    real_rows,
    written,
)
from spy_assets_tests.simulator.test_chain_backtest import (
    CLOSED,
    COSTS,
    FRIDAY,
    MONDAY,
    OPENED,
    SPREAD,
    TUESDAY,
)


@pytest.fixture(scope="module")
def study():
    return study_structures(random_table(3), buckets=("1-7",))


def test_each_structure_has_a_row_for_each_alpha(study):
    rows, runs = study
    assert rows.schema == STUDY_SCHEMA
    assert rows.select("structure", "alpha").rows() == [
        (name, alpha) for name in TRADED for alpha in (0.0, 0.5, 1.0)
    ]
    assert set(runs) == {(name, "1-7", alpha) for name in TRADED for alpha in (0.0, 0.5, 1.0)}


def test_rows_add_up_to_their_trades_and_are_of_real_quotes(study):
    rows, runs = study
    assert rows["quote_kind"].unique().to_list() == ["chain"]
    for row in rows.iter_rows(named=True):
        trades = runs[row["structure"], row["bucket"], row["alpha"]].trades
        net = row["gross"] - row["spread"] - row["slippage"] - row["commission"]
        assert row["pnl"] == pytest.approx(trades["pnl"].sum()) == pytest.approx(net)
        assert row["trades"] == trades.height == sum(json.loads(row["exits"]).values())
        assert sum(json.loads(row["outcomes"]).values()) == row["sessions"]


def test_at_mid_nothing_is_paid_for_the_spread(study):
    rows, _ = study
    by_alpha = rows.group_by("alpha").agg(pl.col("spread").sum()).sort("alpha")
    assert by_alpha["spread"][0] == pytest.approx(0.0, abs=1e-9)
    assert by_alpha["spread"].is_sorted()


def test_at_the_break_even_alpha_the_same_trades_make_nothing():
    costly = replace(SPREAD, costs=replace(COSTS, commission=15.0))
    table = written((MONDAY, 100.0, OPENED), (TUESDAY, 101.0, CLOSED), expiry=FRIDAY)
    found = break_even_of_chain(backtest_chain(table, costly))
    # 70 dollars at mid, 60 of commission, and half-spreads of 10 + 5 + 5 + 10 dollars.
    assert found.alpha == pytest.approx((70.0 - 60.0) / 30.0)
    assert backtest_chain(
        table, replace(costly, costs=costly.costs.at_alpha(found.alpha))
    ).pnl == pytest.approx(0.0)


def test_without_trades_there_is_no_break_even_alpha():
    made = backtest_chain(written((MONDAY, 100.0, OPENED), expiry=FRIDAY), SPREAD)
    assert break_even_of_chain(made).alpha is None


def test_condors_are_placed_by_delta_where_there_is_one():
    assert usual_legs("iron_condor")[1] == LegRule("delta", 0.16)
    assert usual_legs("iron_condor", with_delta=False)[1] == LegRule("middle", -5.0)


@pytest.mark.slow
def test_real_chains_are_entered_each_session_and_the_reasons_told(shared_data):
    table = ChainTable.from_frame(real_rows(shared_data), closes=real_closes(shared_data))
    rows, _ = study_structures(table, buckets=("7-45",), fill="same")
    assert rows["entries"].unique().to_list() == [6]
    assert rows["sessions"].unique().to_list() == [7]
    assert json.loads(rows["outcomes"][0]) == {"end_of_table": 1, "entered": 6}
