"""The position table: each amount is what the readable kernel books for one unit, or for many."""

from __future__ import annotations

import numpy as np
import pytest

from spy_assets.simulator.actions import DAILY_ACTIONS, ENTRIES
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.kernel import Account, close_position, mark, open_structure
from spy_assets.simulator.position_table import CLOSEOUT, EXIT, MARK, UNPRICED, PositionTable
from spy_assets_tests.simulator.paths import path_of, random_path

pytestmark = pytest.mark.filterwarnings("error")
#: Session of the decision: a Wednesday whose entries expire on Friday of the next week.
DAY = 2


def opened(book, column, units, at_open):
    """An account of the readable kernel that has just filled an entry."""
    account = Account(1e6)
    structure = DAILY_ACTIONS[column].structure
    legs = book.legs(DAY, column)
    position = open_structure(
        account,
        structure,
        legs,
        book.quotes(legs, DAY + 1, at_open),
        quantity=units,
        costs=book.costs,
        moment=book.moment(DAY + 1, at_open),
        decision_session=book.path.sessions[DAY],
    )
    return account, position


@pytest.mark.parametrize("column", ENTRIES)
@pytest.mark.parametrize("costs", PRESETS)
@pytest.mark.parametrize("fill", ["next_open", "next_close"])
def test_amounts_are_those_of_the_kernel_for_any_number_of_units(column, costs, fill):
    book = PathBook(random_path(3, 20), PRESETS[costs], DailyConfig(fill=fill))
    table, at_open = PositionTable.of(book), fill == "next_open"
    account, position = opened(book, column, 7, at_open)
    at = DAY, column
    assert account.cash == pytest.approx(1e6 - 7 * table.cost[at], abs=1e-8)
    assert position.entry_value == pytest.approx(7 * table.entry_value[at], abs=1e-8)
    assert position.margin == pytest.approx(7 * table.margin[at], abs=1e-8)
    assert position.capital_at_risk == pytest.approx(7 * table.risk[at], abs=1e-8)
    mids = book.mids(position.legs, DAY + 3, False)
    mark(account, position, mids, book.path.sessions[DAY + 3])
    assert position.mark == pytest.approx(7 * table.values[column][DAY, 2, MARK], abs=1e-8)
    quotes = book.quotes(position.legs, DAY + 3, at_open)
    before = account.cash
    close_position(
        account, position, quotes, costs=book.costs, moment=book.moment(DAY + 3, at_open), reason=""
    )
    assert account.cash - before == pytest.approx(7 * table.values[column][DAY, 2, EXIT], abs=1e-8)


def test_settlement_is_the_payoff_at_the_expiry():
    path = path_of([200.0] * 9 + [207.0, 207.0], rate=0.0)
    table = PositionTable.of(PathBook(path))
    # Decided on Friday the 8th, settled on Friday the 15th, five sessions later.
    assert table.settle_age[4].tolist() == [5] * 5
    assert table.payoff[4].tolist() == [700.0, 0.0, 500.0, 0.0, -200.0]
    assert not table.missed.any()


def test_what_cannot_be_priced_waits_keeps_its_mark_and_is_worth_intrinsic_at_the_end():
    iv = [0.2] * 5 + [np.nan] + [0.2] * 5
    table = PositionTable.of(PathBook(path_of([200.0] * 4 + [204.0] * 7, iv=iv)))
    held, gap = table.values[0][DAY], 5 - DAY - 1
    assert held[gap, MARK] == held[gap - 1, MARK]
    # The volatility at the open of the sixth session is the close of the fifth; the next is missing.
    # The eighth age would be after the expiry.
    assert np.isnan(held[:, EXIT]).tolist() == [False] * 3 + [True] + [False] * 3 + [True]
    assert (held[gap, CLOSEOUT], held[gap, UNPRICED]) == (400.0, 1.0)
    assert held[gap + 1, UNPRICED] == 0.0


def test_an_entry_that_cannot_be_priced_at_its_fill_has_no_cost():
    iv = [0.2, np.nan, 0.2, 0.2]
    path = path_of([200.0] * 4, iv=iv, iv_open=[0.2, np.nan, np.nan, 0.2])
    table = PositionTable.of(PathBook(path))
    # The open of the second session takes the close of the first; that of the third has none.
    assert np.isnan(table.cost[:, 0]).tolist() == [False, True, False, True]


def test_strikes_below_zero_are_no_positions():
    table = PositionTable.of(PathBook(path_of([4.0] * 8), config=DailyConfig(width=5.0)))
    assert np.isnan(table.cost[:, 4]).all()
