"""The compiled clock equals the readable one on random runs of every structure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, DataError
from spy_assets.options.structures import STRUCTURES
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.exits import (
    CHAINS,
    CreditStop,
    ExitRules,
    MaxHold,
    NearExpiry,
    ProfitTarget,
    SpotMove,
    StopLoss,
    TrailingStop,
)
from spy_assets.simulator.intraday import IntradaySimulator, Order
from spy_assets.simulator.intraday_batch import (
    NOT_REACHED,
    OUTCOMES,
    EntryRule,
    backtest,
    order_table,
    rule_table,
    timed_entries,
)
from spy_assets.simulator.intraday_book import (
    BID_ASK_COSTS,
    IntradayBook,
    IntradayConfig,
    expiry_for,
)
from spy_assets.simulator.kernel import check_invariant
from spy_assets.simulator.session_filter import SessionFilter
from spy_assets_tests.simulator.intraday_paths import flat_path, random_path

OPENING = [name for name, structure in STRUCTURES.items() if structure.templates]
RULES = (
    ExitRules((CreditStop(3.0), ProfitTarget(0.5, 0.5))),
    *CHAINS.values(),
    ExitRules((SpotMove(-0.004, 0.004), MaxHold(2))),
    ExitRules((StopLoss(0.5, 2.0), TrailingStop(0.05, 0.03), NearExpiry(None, sessions=0))),
)


def random_orders(path, book, rng, count):
    """Entries at random bars: any structure, 0 to 30 days, one to three units, any chain."""
    bars = np.sort(rng.integers(0, len(path) - 1, count))
    orders = []
    for bar in bars.tolist():
        name = str(rng.choice(OPENING))
        expiry = expiry_for(path.session(bar), int(rng.choice([0, 0, 3, 7, 30])))
        legs = book.legs(name, bar, expiry, width=float(rng.integers(1, 6)))
        rules = RULES[int(rng.integers(len(RULES)))]
        orders.append((bar, Order(name, legs, int(rng.integers(1, 4)), rules)))
    return orders


def walk(path, orders, costs, config, capital=125_000.0):
    """The readable simulator on the same orders, its invariant checked at every bar."""
    simulator = IntradaySimulator(path, costs, capital=capital, config=config)
    waiting, events, equity = list(orders), [], np.full(len(path.sessions), np.nan)
    while not simulator.done:
        while waiting and waiting[0][0] == simulator.bar:
            simulator.enter(waiting.pop(0)[1])
        events += simulator.step().events
        check_invariant(simulator.account)
        equity[path.session_of[simulator.bar]] = simulator.value
    return simulator, events, equity


@given(
    seed=st.integers(0, 2**32 - 1), holes=st.booleans(), out=st.sampled_from(["settle", "trade"])
)
@settings(deadline=None, max_examples=25)
def test_the_compiled_clock_equals_the_readable_one(seed, holes, out):
    rng = np.random.default_rng(seed)
    path = random_path(seed, 6, minutes=15, holes=holes, scale=float(rng.uniform(0.3, 3.0)))
    config = IntradayConfig(max_positions=3, close_out=out, allow_naked=True)
    costs = [BID_ASK_COSTS, *PRESETS.values()][int(rng.integers(len(PRESETS) + 1))]
    costs = replace(costs, alpha=float(rng.choice([0.0, 0.4, 1.0])))
    orders = random_orders(path, IntradayBook(path, config), rng, 14)
    capital = float(rng.choice([20_000.0, 125_000.0]))
    simulator, events, equity = walk(path, orders, costs, config, capital)
    run = backtest(path, orders, chains=RULES, costs=costs, config=config, capital=capital)
    trades = simulator.account.trades
    assert run.cash == pytest.approx(simulator.account.cash, abs=1e-9)
    assert run.marks == pytest.approx(simulator.account.marks, abs=1e-9)
    np.testing.assert_allclose(run.equity, equity, rtol=0, atol=1e-9)
    frame = run.trades()
    assert sorted(frame["pnl"].to_list()) == pytest.approx(
        sorted(trade.pnl for trade in trades), abs=1e-9
    )
    assert sorted(frame["reason"]) == sorted(trade.exit_reason for trade in trades)
    assert sorted(frame["exit_time"]) == sorted(trade.exit_time for trade in trades)
    assert sorted(frame["costs"].to_list()) == pytest.approx(
        sorted(trade.costs for trade in trades), abs=1e-9
    )
    refused = [OUTCOMES[code] for code in run.outcome if code > 0]
    assert sorted(refused) == sorted(event for event in events if event.startswith("entry"))


def test_what_is_closed_and_what_is_open_is_the_change_of_value():
    path = random_path(5, 6, minutes=15)
    config = IntradayConfig(allow_naked=True, max_positions=5)
    orders = random_orders(path, IntradayBook(path, config), np.random.default_rng(5), 12)
    run = backtest(path, orders, chains=RULES, config=config)
    assert run.marks != 0.0
    open_flow = run.cash - run.capital - run.pnl.sum()
    assert run.equity[-1] - run.capital == pytest.approx(
        run.pnl.sum() + open_flow + run.marks, abs=1e-9
    )


@pytest.mark.parametrize("bar", [40, 57, 90])
def test_no_bar_knows_a_later_one(bar):
    path = random_path(11, 5, minutes=15)
    changed = path.close.copy()
    changed[bar + 1 :] *= 1.1
    other = replace(path, close=changed, arrays=path.arrays._replace(close=changed))
    config = IntradayConfig(allow_naked=True)
    orders = random_orders(path, IntradayBook(path, config), np.random.default_rng(bar), 20)
    orders = [(decided, order) for decided, order in orders if decided < bar]
    one, two = (
        backtest(which, orders, chains=RULES, config=config, stop=bar + 1)
        for which in (path, other)
    )
    assert (one.cash, one.marks) == (two.cash, two.marks)
    np.testing.assert_array_equal(one.result, two.result)


@pytest.mark.parametrize("right", ["P", "C"])
@pytest.mark.parametrize("dte", [0, 7])
def test_timed_entries_sell_the_strike_that_the_readable_book_finds(right, dte):
    path = random_path(3, 5, minutes=5)
    config = IntradayConfig(filter=SessionFilter(30.0, 30.0))
    table = timed_entries(path, EntryRule(right, minute=45.0, dte=dte, width=2.0), config)
    book = IntradayBook(path, config)
    assert len(table.decided) == 5
    for bar, strike in zip(table.decided.tolist(), table.strike[:, 0], strict=True):
        assert path.arrays.end_minute[bar] == 45.0
        expected = book.strike_for_delta(bar, right, 0.15, expiry_for(path.session(bar), dte))
        assert strike == expected


def test_the_filter_leaves_out_what_it_blocks():
    path = flat_path(3)  # the third session is a half day
    config = IntradayConfig(filter=SessionFilter(30.0, 30.0))
    early = timed_entries(path, EntryRule(minute=5.0), config)
    late = timed_entries(path, EntryRule(minute=200.0), config)
    assert (len(early.decided), len(late.decided)) == (0, 2)


def test_a_range_of_bars_is_walked_alone():
    path = random_path(9, 4, minutes=15)
    config = IntradayConfig(allow_naked=True)
    table = timed_entries(path, EntryRule(), config)
    stop = int(path.first_bar[2])
    run = backtest(path, table, config=config, start=int(path.first_bar[1]), stop=stop)
    assert run.outcome.tolist() == [NOT_REACHED, 0, NOT_REACHED, NOT_REACHED]
    assert np.isnan(run.equity[[0, 2, 3]]).all()
    assert len(run.pnl) == 1


def test_naked_options_need_the_flag():
    path = flat_path()
    table = timed_entries(path, EntryRule(), IntradayConfig())
    with pytest.raises(ConfigError, match="nothing covers"):
        backtest(path, table)


class Whim:
    """A rule that nobody taught the kernel."""

    name = "whim"

    def fires(self, position, spot, state=None):
        return False


def test_what_cannot_be_run_is_refused():
    path = flat_path()
    order = Order("long_call", IntradayBook(path).legs("long_call", 3, path.sessions[0]))
    with pytest.raises(ConfigError, match="Whim"):
        rule_table([ExitRules((Whim(),))])
    with pytest.raises(DataError, match="bar 2 follows one of bar 3"):
        order_table(path, [(3, order), (2, order)], RULES)
    with pytest.raises(DataError, match="bars 80 to 77"):
        backtest(path, [(3, order)], start=80)
    with pytest.raises(DataError, match="has 0 legs"):
        order_table(path, [(3, order._replace(legs=()))], RULES)
