"""The compiled chain backtest equals its readable twin, and both what a hand works out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError
from spy_assets.options.structures import STRUCTURES
from spy_assets.simulator._chain_twin import TwinWalk
from spy_assets.simulator.chain_backtest import backtest_chain
from spy_assets.simulator.chain_strategy import (
    DTE_BUCKETS,
    ChainStrategy,
    EntryRule,
    ExpiryRule,
    legs_by_delta,
    legs_by_moneyness,
    legs_by_width,
)
from spy_assets.simulator.chain_table import ChainTable, Dividend
from spy_assets.simulator.costs import PRESETS, CostModel
from spy_assets.simulator.exits import (
    CreditStop,
    ExitRules,
    MaxHold,
    ModelExit,
    NearExpiry,
    SpotMove,
    TimeStop,
    TrailingStop,
    exit_rules,
)
from spy_assets_tests.simulator.chain_markets import (
    random_table,
    real_closes,
    real_rows,
    written,
)

OPENING = [name for name, structure in STRUCTURES.items() if structure.templates]
TABLES = {seed: random_table(seed) for seed in range(6)}
MONDAY, TUESDAY, WEDNESDAY = (date(2024, 6, day) for day in (3, 4, 5))
FRIDAY = date(2024, 6, 7)
NEVER = exit_rules(99.0, 99.0, 99, credit_stop=99.0, credit_target=99.0)

legs_of = st.sampled_from(
    [
        lambda name: legs_by_width(name, 2.0),
        lambda name: legs_by_moneyness(name, 0.02),
        lambda name: legs_by_delta(name, 0.3, width=2.0),
        lambda name: legs_by_delta(name, 0.45, wing_delta=0.2),
    ]
)
rules_of = st.sampled_from(
    [
        exit_rules(),
        exit_rules(0.1, 0.2, 2, credit_stop=0.5, credit_target=0.2),
        ExitRules((SpotMove(-0.01, 0.012), MaxHold(4)), 4),
        ExitRules((CreditStop(1.3), TrailingStop(0.05, 0.1), NearExpiry(minutes=None, sessions=1))),
        ExitRules((TimeStop(200.0), NearExpiry(minutes=300.0), ModelExit())),
        NEVER,
    ]
)


@st.composite
def strategies(draw: st.DrawFn) -> ChainStrategy:
    name = draw(st.sampled_from(OPENING))
    return ChainStrategy(
        name,
        draw(legs_of)(name),
        expiry=draw(st.sampled_from([*DTE_BUCKETS.values(), ExpiryRule(0, 9, 3)])),
        entry=EntryRule(
            every=draw(st.integers(1, 2)),
            after_open=draw(st.sampled_from([None, timedelta(hours=4)])),
            most_open=draw(st.integers(1, 4)),
            most_per_expiry=draw(st.sampled_from([None, 1])),
        ),
        rules=draw(rules_of),
        fill=draw(st.sampled_from(["next", "same"])),
        costs=draw(st.sampled_from(list(PRESETS.values()))).at_alpha(
            draw(st.sampled_from([0.0, 0.5, 1.0]))
        ),
        units=draw(st.integers(1, 3)),
        strike_miss=1.5,
        delta_miss=0.1,
        sell_at_zero_bid=draw(st.booleans()),
        allow_naked=draw(st.booleans()),
        capital=draw(st.sampled_from([100_000.0, 3_000.0])),
        close_at_end=draw(st.booleans()),
    )


def assert_equal(table: ChainTable, strategy: ChainStrategy) -> int:
    """Both walks tell the same; gives the number of trades."""
    made, twin = backtest_chain(table, strategy), TwinWalk(table, strategy).run()
    made.reconcile(1e-9)
    np.testing.assert_allclose(made.books.equity[:, :2], np.array(twin.equity), rtol=0, atol=1e-9)
    outcomes = {table.moment(at): told for at, told in twin.outcomes.items()}
    assert dict(made.entries.select("time", "outcome").iter_rows()) == {
        at: outcomes[at] for at in sorted(outcomes)
    }
    rows = made.trades.to_dicts()
    assert [row["trade_id"] for row in rows] == [trade.trade_id for trade in twin.trades]
    for row, trade in zip(rows, twin.trades, strict=True):
        for name in ("exit_reason", "entry_time", "exit_time", "exit_session", "holding_sessions"):
            assert row[name] == getattr(trade, name), name
        for name in ("pnl", "gross", "costs", "entry_value", "exit_value", "pnl_pct", "spot_exit"):
            assert row[name] == pytest.approx(getattr(trade, name), rel=0, abs=1e-9), name
        assert row["legs"] == [leg.symbol for leg in trade.legs]
        assert row["stale_marks"] == trade.stale_marks
        assert (
            row["exit_waits"] == twin.waits[trade.trade_id] or row["exit_reason"] == "end_of_data"
        )
        assert {fill.quote_kind for fill in trade.fills} == {"chain"}
    held = [one.position for one in twin.held]
    assert made.open_positions["pnl"].to_list() == pytest.approx(
        [one.pnl for one in held], abs=1e-9
    )
    return len(rows)


@given(seed=st.sampled_from(sorted(TABLES)), strategy=strategies())
@settings(deadline=None, max_examples=100)
def test_the_compiled_pass_equals_the_twin_on_random_chains(seed, strategy):
    assert_equal(TABLES[seed], strategy)


def test_random_chains_bring_out_every_kind_of_exit_and_refusal():
    reasons, outcomes = set(), set()
    for seed, table in TABLES.items():
        for name in OPENING:
            for fill, days in (("next", 3), ("same", 0), ("next", 0)):
                strategy = ChainStrategy(
                    name,
                    legs_by_width(name, 2.0),
                    expiry=ExpiryRule(0, 9, days),
                    entry=EntryRule(most_open=3, after_open=timedelta(hours=seed)),
                    fill=fill,
                    strike_miss=1.5,
                )
                made = backtest_chain(table, strategy)
                reasons |= set(made.trades["exit_reason"])
                outcomes |= set(made.entries["outcome"])
    assert reasons >= {"stop_loss", "profit_target", "expiry", "end_of_data", "assignment"}
    assert outcomes >= {
        "entered", "position_limit", "no_quote", "no_settlement", "unbounded",
        "no_next_session", "not_quoted_at_fill", "end_of_table", "expired_before_fill",
    }  # fmt: skip


@pytest.fixture(scope="module")
def real_table(shared_data):
    return ChainTable.from_frame(real_rows(shared_data), closes=real_closes(shared_data))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPENING)
def test_the_compiled_pass_equals_the_twin_on_real_chains(real_table, name):
    base = ChainStrategy(
        name,
        legs_by_delta(name, 0.3, width=5.0),
        expiry=DTE_BUCKETS["1-7"],
        entry=EntryRule(most_open=9),
        fill="same",
        allow_naked=True,
    )
    assert assert_equal(real_table, replace(base, costs=base.costs.at_alpha(0.5))) >= 2
    assert assert_equal(real_table, replace(base, fill="next")) >= 2


# ---------------------------------------------------------------- by hand

COSTS = CostModel("dollar", 1.0, 0.0, 0.0)
SPREAD = ChainStrategy(
    "bull_put_credit",
    legs_by_width("bull_put_credit", 2.0),
    costs=COSTS,
    rules=NEVER,
    fill="same",
)
#: The short put at the money and the one two dollars below.
OPENED = {"P 100": (2.00, 2.20), "P 98": (1.00, 1.10)}
CLOSED = {"P 100": (0.50, 0.60), "P 98": (0.10, 0.30)}


@dataclass(frozen=True)
class Case:
    alpha: float
    received: float
    paid_back: float


@pytest.mark.parametrize(
    "case",
    [
        # Sold at 2.00 and bought at 1.10; bought back at 0.60 and sold at 0.10.
        Case(1.0, 90.0, 50.0),
        # At mid: 2.10 less 1.05; 0.55 less 0.20.
        Case(0.0, 105.0, 35.0),
        # Half-way: 2.05 less 1.075; 0.575 less 0.15.
        Case(0.5, 97.5, 42.5),
    ],
)
def test_fills_lie_alpha_half_spreads_from_the_mid(case):
    table = written((MONDAY, 100.0, OPENED), (TUESDAY, 101.0, CLOSED), expiry=FRIDAY)
    trade = backtest_chain(table, replace(SPREAD, costs=COSTS.at_alpha(case.alpha))).trades.row(
        0, named=True
    )
    assert trade["entry_value"] == pytest.approx(-case.received)
    assert trade["exit_value"] == pytest.approx(-case.paid_back)
    assert trade["commission"] == 4.0
    assert trade["pnl"] == pytest.approx(case.received - case.paid_back - 4.0)
    assert trade["quote_kind"] == "chain"
    # Two dollars wide, less the credit, and two commissions.
    assert trade["capital_at_risk"] == pytest.approx(200.0 - case.received + 2.0)


def test_an_expiry_is_settled_at_the_close_between_the_strikes():
    chains = ((MONDAY, 100.0, OPENED), (date(2024, 6, 10), 99.0, CLOSED))
    table = written(*chains, expiry=FRIDAY, closes={FRIDAY: 99.25})
    trade = backtest_chain(table, SPREAD).trades.row(0, named=True)
    assert trade["exit_reason"] == "expiry"
    assert trade["exit_session"] == FRIDAY
    assert trade["exit_value"] == pytest.approx(-75.0)
    assert trade["pnl"] == pytest.approx(90.0 - 75.0 - 2.0)
    assert trade["exit_prices"] == [None, None]
    assert trade["holding_sessions"] == 4


def test_nothing_is_opened_that_could_not_be_settled():
    chains = ((MONDAY, 100.0, OPENED), (date(2024, 6, 10), 99.0, CLOSED))
    made = backtest_chain(written(*chains, expiry=FRIDAY), SPREAD)
    assert made.trades.is_empty()
    assert made.entries["outcome"].to_list() == ["no_settlement", "no_expiry"]
    assert made.coverage.rows() == [("no_expiry", 1), ("no_settlement", 1)]


def test_a_leg_without_a_bid_cannot_be_sold_so_that_the_exit_waits():
    worthless = CLOSED | {"P 98": (0.0, 0.05)}
    chains = ((MONDAY, 100.0, OPENED), (TUESDAY, 101.0, worthless), (WEDNESDAY, 101.0, CLOSED))
    table = written(*chains, expiry=FRIDAY)
    eager = replace(SPREAD, rules=exit_rules(max_hold=1))
    waited = backtest_chain(table, eager).trades.row(0, named=True)
    assert (waited["exit_session"], waited["exit_waits"]) == (WEDNESDAY, 1)
    given_up = backtest_chain(table, replace(eager, sell_at_zero_bid=True)).trades.row(
        0, named=True
    )
    assert given_up["exit_session"] == TUESDAY
    assert given_up["exit_prices"] == [0.60, 0.0]


@pytest.mark.parametrize("bad", [(None, 0.6), (0.5, None), (0.7, 0.6), (0.0, 0.0), (-0.1, 0.6)])
def test_a_bad_quote_carries_the_mark_and_is_counted(bad):
    chains = (
        (MONDAY, 100.0, OPENED),
        (TUESDAY, 101.0, CLOSED | {"P 100": bad}),
        (WEDNESDAY, 101.0, CLOSED),
    )
    made = backtest_chain(written(*chains, expiry=FRIDAY), SPREAD)
    assert made.equity["marks"].to_list() == pytest.approx([-105.0, -105.0, 0.0])
    assert made.equity["carried_marks"].to_list() == [0, 1, 0]
    assert made.trades["stale_marks"].to_list() == [1]


def test_an_order_fills_one_snapshot_later_than_it_is_decided():
    chains = (
        (MONDAY, 100.0, OPENED),
        (TUESDAY, 100.0, {"P 100": (3.0, 3.2), "P 98": (1.5, 1.6)}),
        (WEDNESDAY, 101.0, CLOSED),
        (date(2024, 6, 6), 101.0, {"P 100": (0.2, 0.3), "P 98": (0.1, 0.2)}),
    )
    strategy = replace(SPREAD, fill="next", rules=exit_rules())
    trade = backtest_chain(written(*chains, expiry=FRIDAY), strategy).trades.row(0, named=True)
    assert (trade["decision_session"], trade["entry_session"]) == (MONDAY, TUESDAY)
    assert trade["entry_prices"] == [3.0, 1.6]
    # The target is reached on Wednesday; the order fills on Thursday.
    assert (trade["exit_reason"], trade["exit_session"]) == ("profit_target", date(2024, 6, 6))
    assert trade["exit_prices"] == [0.3, 0.1]


def test_an_order_lapses_if_there_is_no_chain_in_the_next_session():
    chains = ((MONDAY, 100.0, OPENED), (WEDNESDAY, 100.0, OPENED))
    made = backtest_chain(written(*chains, expiry=FRIDAY), replace(SPREAD, fill="next"))
    assert made.entries["outcome"].to_list() == ["no_next_session", "end_of_table"]


def test_a_short_call_is_assigned_before_an_ex_date_that_pays_more_than_its_time_value():
    opened = {"C 100": (3.0, 3.2), "C 102": (1.8, 2.0)}
    later = {"C 100": (5.0, 5.2), "C 102": (3.2, 3.4)}
    chains = ((MONDAY, 100.0, opened), (TUESDAY, 105.0, later), (WEDNESDAY, 104.0, later))
    strategy = replace(
        SPREAD, structure="bear_call_credit", legs=legs_by_width("bear_call_credit", 2.0)
    )
    table = written(*chains, expiry=FRIDAY, dividends=[Dividend(WEDNESDAY, 0.5)])
    trade = backtest_chain(table, strategy).trades.row(0, named=True)
    assert (trade["exit_reason"], trade["exit_session"]) == ("assignment", TUESDAY)
    # The short call at intrinsic, 5.00; the long one sold at its bid.
    assert trade["exit_prices"] == [5.0, 3.2]
    small = written(*chains, expiry=FRIDAY, dividends=[Dividend(WEDNESDAY, 0.05)])
    assert backtest_chain(small, strategy).trades["exit_reason"].to_list() == ["end_of_data"]


def test_contracts_that_settle_at_the_open_are_left_out_unless_asked_for():
    third_friday = date(2024, 6, 21)
    chains = ((MONDAY, 100.0, OPENED), (TUESDAY, 101.0, CLOSED))
    table = written(*chains, expiry=third_friday, root="SPX")
    strategy = replace(SPREAD, expiry=DTE_BUCKETS["7-45"])
    assert backtest_chain(table, strategy).entries["outcome"].to_list() == ["no_expiry"] * 2
    asked = replace(strategy, expiry=replace(strategy.expiry, opening=True))
    assert backtest_chain(table, asked).entries["outcome"][0] == "entered"


def test_legs_by_delta_need_deltas():
    table = written((MONDAY, 100.0, OPENED), expiry=FRIDAY)
    strategy = replace(SPREAD, legs=legs_by_delta("bull_put_credit", 0.3))
    with pytest.raises(ConfigError, match="no deltas"):
        backtest_chain(table, strategy)


def test_a_rule_that_is_not_compiled_is_refused_by_name():
    @dataclass(frozen=True)
    class Whim:
        name: str = "whim"

        def fires(self, position, spot):
            return True

    table = written((MONDAY, 100.0, OPENED), expiry=FRIDAY)
    with pytest.raises(ConfigError, match="whim"):
        backtest_chain(table, replace(SPREAD, rules=ExitRules((Whim(),), 1)))
