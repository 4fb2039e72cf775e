"""The accounting kernel on every structure: it reconciles, losses are bounded, nothing is free."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.options.black_scholes import price_scalar
from spy_assets.options.contracts import years_to_expiry
from spy_assets.options.structures import STRUCTURES, legs_for
from spy_assets.sessions import next_session, session_close
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.kernel import (
    Account,
    InvariantBroken,
    Moment,
    OrderRejected,
    Quote,
    check_invariant,
    close_position,
    margin_required,
    mark,
    open_structure,
    settle_expiry,
    uncovered_margin,
)

DAY = date(2018, 12, 14)
EXPIRY = date(2018, 12, 21)
OPENING = [name for name, structure in STRUCTURES.items() if structure.templates]
COVERED = [name for name in OPENING if not STRUCTURES[name].naked]


def quotes_for(legs, day, spot, sigma=0.2):
    years = years_to_expiry(session_close(day), EXPIRY)
    return [
        Quote(
            price_scalar(
                spot, leg.contract.strike, years, 0.02, 0.0, sigma, leg.contract.right == "C"
            )
        )
        for leg in legs
    ]


def opened(name, *, capital=100_000.0, quantity=1, costs="rltrade", spot=200.0):
    account, legs = Account(capital), legs_for(name, 200.0, EXPIRY)
    position = open_structure(
        account,
        name,
        legs,
        quotes_for(legs, DAY, spot),
        quantity=quantity,
        costs=PRESETS[costs],
        moment=Moment(DAY, session_close(DAY), spot),
        decision_session=DAY - timedelta(days=1),
        allow_naked=True,
    )
    return account, position


@given(
    name=st.sampled_from(OPENING),
    costs=st.sampled_from(list(PRESETS)),
    seed=st.integers(0, 2**32 - 1),
    quantity=st.integers(1, 4),
    held=st.integers(0, 5),
)
@settings(deadline=None, max_examples=50)
def test_cash_marks_trades_and_ledger_reconcile_at_every_moment(name, costs, seed, quantity, held):
    rng = np.random.default_rng(seed)
    account, position = opened(name, costs=costs, quantity=quantity)
    check_invariant(account)
    day, spot = DAY, 200.0
    for _ in range(held):
        day, spot = next_session(day), spot * float(np.exp(rng.standard_t(3) * 0.02))
        mids = [quote.mid for quote in quotes_for(position.legs, day, spot, rng.uniform(0.05, 1.0))]
        mark(account, position, mids, day)
        check_invariant(account)
    moment = Moment(day, session_close(day), spot)
    if held == 5:
        trade = settle_expiry(account, position, moment)
    else:
        legs = position.legs
        quotes = quotes_for(legs, day, spot)
        trade = close_position(
            account, position, quotes, costs=PRESETS[costs], moment=moment, reason="test"
        )
    check_invariant(account)
    assert account.marks == 0.0
    assert account.value - account.initial == pytest.approx(trade.pnl, abs=1e-9)
    assert trade.pnl == pytest.approx(trade.gross - trade.costs, abs=1e-9)


@given(st.sampled_from(COVERED), st.floats(1.0, 1000.0))
@settings(deadline=None, max_examples=50)
def test_held_to_expiry_the_loss_is_bounded_by_the_stated_maximum(name, spot):
    account, position = opened(name)
    risk = position.risk
    trade = settle_expiry(account, position, Moment(EXPIRY, session_close(EXPIRY), spot))
    assert -risk.max_loss - 1e-9 <= trade.pnl <= risk.max_profit + 1e-9


@pytest.mark.parametrize("name", OPENING)
def test_opening_costs_exactly_the_costs(name):
    account, position = opened(name)
    costs = math.fsum(fill.costs for fill in position.entry_fills)
    assert costs > 0.0
    assert account.value == pytest.approx(account.initial - costs, abs=1e-9)
    assert position.pnl == pytest.approx(-costs, abs=1e-9)


@pytest.mark.parametrize("name", COVERED)
def test_margin_of_a_covered_structure_is_its_worst_payoff(name):
    _, position = opened(name)
    expected = 500.0 if name in ("iron_condor", "bull_put_credit", "bear_call_credit") else 0.0
    assert position.margin == expected


def test_a_naked_short_needs_the_flag_and_reg_t_margin():
    legs = legs_for("short_call", 200.0, EXPIRY)
    with pytest.raises(OrderRejected, match="no bound"):
        margin_required(legs, [Quote(1.5)], 200.0)
    assert margin_required(legs, [Quote(1.5)], 200.0, allow_naked=True) == 100 * (1.5 + 40.0)
    # 15 dollars out of the money: 20 % less 15, still above the floor of 10 %.
    assert margin_required(legs, [Quote(0.1)], 185.0, allow_naked=True) == pytest.approx(2210.0)


@pytest.mark.parametrize(
    ("name", "mid", "spot", "per_share"),
    [
        # Worked by hand after Cboe Rule 10.3: premium + 20 % of spot - out of the money, or + 10 %.
        ("short_put", 1.5, 510.0, 1.5 + 102.0 - 10.0),
        ("short_put", 0.1, 600.0, 0.1 + 50.0),  # the floor is of the strike,
        ("short_call", 0.1, 400.0, 0.1 + 40.0),  # for a call of the underlying
    ],
)
def test_reg_t_margin_is_the_exchanges(name, mid, spot, per_share):
    (leg,) = legs_for(name, 500.0, EXPIRY)
    assert uncovered_margin(leg, mid, spot) == pytest.approx(100 * per_share)
    margin = margin_required((leg,), [Quote(mid)], spot, allow_naked=True, short_puts="reg_t")
    assert margin == uncovered_margin(leg, mid, spot)


def test_a_cash_account_secures_a_put_with_its_strike():
    legs = legs_for("short_put", 500.0, EXPIRY)
    assert margin_required(legs, [Quote(1.5)], 510.0) == 50_000.0
    with pytest.raises(OrderRejected, match="uncovered"):
        margin_required(legs, [Quote(1.5)], 510.0, short_puts="reg_t")


def test_an_order_beyond_the_cash_is_rejected_and_books_nothing():
    account, legs = Account(100.0), legs_for("long_call", 200.0, EXPIRY)
    with pytest.raises(OrderRejected, match=r"100\.00 are available"):
        open_structure(
            account,
            "long_call",
            legs,
            [Quote(2.0)],
            quantity=1,
            costs=PRESETS["rltrade"],
            moment=Moment(DAY, session_close(DAY), 200.0),
            decision_session=DAY,
        )
    assert (account.cash, account.ledger, account.positions) == (100.0, [], {})


def test_margin_is_not_spendable():
    account, position = opened("iron_condor", capital=1000.0)
    assert account.available == pytest.approx(account.cash - 500.0)
    settle_expiry(account, position, Moment(EXPIRY, session_close(EXPIRY), 200.0))
    assert account.available == account.cash


@pytest.mark.parametrize("quantity", [0, -1])
def test_nothing_cannot_be_opened(quantity):
    with pytest.raises(OrderRejected, match="nothing to open"):
        opened("long_call", quantity=quantity)


@pytest.mark.parametrize("capital", [0.0, -1.0, float("nan")])
def test_an_account_starts_with_money(capital):
    with pytest.raises(DataError, match="capital"):
        Account(capital)


def test_the_invariant_notices_a_cent_that_no_entry_explains():
    account, _ = opened("iron_condor")
    account.cash += 0.01
    with pytest.raises(InvariantBroken, match="cash and marks"):
        check_invariant(account)


def test_quotes_with_bid_and_ask_are_kept_in_the_fill():
    account, legs = Account(10_000.0), legs_for("long_call", 200.0, EXPIRY)
    position = open_structure(
        account,
        "long_call",
        legs,
        [Quote(2.0, 1.97, 2.03, "chain")],
        quantity=2,
        costs=PRESETS["rltrade"],
        moment=Moment(DAY, session_close(DAY), 200.0),
        decision_session=DAY,
    )
    fill = position.entry_fills[0]
    assert (fill.side, fill.quantity, fill.quote_kind) == ("buy", 2, "chain")
    assert (fill.price, fill.spread, fill.slippage) == pytest.approx((2.07, 6.0, 8.0))
    assert fill.commission == pytest.approx(1.3)
    check_invariant(account)
