"""Several positions, every structure, margins of uncovered shorts, and partial spreads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spy_assets.errors import ConfigError
from spy_assets.options.contracts import MULTIPLIER
from spy_assets.options.spread_model import SPY_SPREADS, SpreadModel
from spy_assets.simulator.actions import ALL_STRUCTURES, TYPE_CODES, DailyAction
from spy_assets.simulator.book import DailyConfig, PathBook
from spy_assets.simulator.costs import PRESETS, CostModel
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.environment import DailyOptionsEnv
from spy_assets.simulator.exits import ExitRules
from spy_assets.simulator.kernel import check_invariant
from spy_assets_tests.simulator.paths import path_of, random_path
from spy_assets_tests.simulator.test_environment import play

pytestmark = pytest.mark.filterwarnings("error")
NO_RULES = ExitRules(())
EVERYTHING = DailyConfig(actions=ALL_STRUCTURES, allow_naked=True)
NUMBERS = {one.structure: number for number, one in enumerate(ALL_STRUCTURES.openings)}
CALL, PUT = DailyAction.BUY_CALL, DailyAction.BUY_PUT


def several(limit=3, **options):
    return DailySimulator(
        path_of([200.0] * 12), rules=NO_RULES, config=DailyConfig(max_positions=limit), **options
    )


# ---------------------------------------------------------------- several positions


def test_positions_open_up_to_the_limit():
    simulator = several(2)
    simulator.step(CALL)
    assert simulator.mask().all()
    simulator.step(PUT)
    assert np.flatnonzero(simulator.mask()).tolist() == [5, 6]
    assert [position.structure for position in simulator.positions] == ["long_call", "long_put"]
    assert simulator.step(CALL).events == ("invalid_action",)


def test_close_closes_all_oldest_first():
    simulator = several()
    for action in (CALL, PUT, DailyAction.IRON_CONDOR):
        simulator.step(action)
    result = simulator.step(DailyAction.CLOSE)
    assert [trade.structure for trade in result.trades] == ["long_call", "long_put", "iron_condor"]
    assert {trade.exit_reason for trade in result.trades} == {"action_close"}
    assert simulator.positions == ()
    check_invariant(simulator.account)


def test_an_exit_and_an_entry_fill_at_the_same_open():
    simulator = several(2)
    simulator.step(CALL)
    simulator.pending_exits[simulator.position.trade_id] = "stop_loss"
    simulator.step(PUT)
    assert [trade.exit_reason for trade in simulator.trades] == ["stop_loss"]
    assert [position.structure for position in simulator.positions] == ["long_put"]


def test_the_observation_sums_risk_and_shows_the_oldest():
    simulator = several()
    simulator.step(PUT)
    simulator.step(CALL)
    put, call = simulator.positions
    seen = simulator.portfolio()
    assert (seen["has_position"], seen["position_type"]) == (1.0, 0.4)
    assert seen["holding_time"] == pytest.approx(2 / 5)
    share = (put.pnl + call.pnl) / (put.capital_at_risk + call.capital_at_risk)
    assert seen["unrealized_pnl"] == pytest.approx(0.5 + share)


def test_margin_of_one_position_is_not_free_for_the_next():
    simulator = several(capital=1_300.0)
    for _ in range(2):
        simulator.step(DailyAction.IRON_CONDOR)
    # Two condors set 1,000 dollars aside: a third has not enough, a call has.
    assert simulator.account.available < 500.0 < simulator.account.cash
    assert simulator.mask()[[CALL, DailyAction.IRON_CONDOR]].tolist() == [True, False]


def test_no_positions_at_all_are_refused():
    with pytest.raises(ConfigError, match="max_positions 0"):
        DailyConfig(max_positions=0)


# ---------------------------------------------------------------- every structure


@pytest.mark.parametrize("structure", NUMBERS)
@pytest.mark.parametrize("seed", range(3))
def test_every_structure_reconciles(structure, seed):
    path = random_path(seed, 40, holes=True, dividends=True)
    simulator = DailySimulator(path, config=EVERYTHING, capital=100_000.0)
    total = 0.0
    while not simulator.done:
        total += simulator.step(NUMBERS[structure]).reward
        check_invariant(simulator.account)
    assert {trade.structure for trade in simulator.trades} == {structure}
    assert simulator.value == pytest.approx(
        100_000.0 * (1 + (total + 0.1 * simulator.invalid_actions) / 100)
    )


@pytest.mark.parametrize("structure", NUMBERS)
def test_the_requirement_covers_what_a_fill_at_the_same_price_takes(structure):
    # The next open is the close; a day less to expiry makes what is bought cheaper.
    book = PathBook(path_of([200.0] * 8, rate=0.0), PRESETS["free"], EVERYTHING)
    simulator = DailySimulator(book.path, book=book, capital=100_000.0)
    simulator.step(NUMBERS[structure])
    position = simulator.position
    needed = position.entry_value + position.margin
    assert book.requirement[0, NUMBERS[structure]] == pytest.approx(needed, rel=0.35)
    assert simulator.observe()[12] == pytest.approx(TYPE_CODES[structure])


def test_margins_of_uncovered_shorts():
    simulator = DailySimulator(path_of([200.0] * 8), rules=NO_RULES, config=EVERYTHING, capital=1e5)
    simulator.step(NUMBERS["short_call"])
    (fill,) = simulator.position.entry_fills
    # Reg-T at the money: the premium and 20 % of the underlying.
    assert simulator.position.margin == pytest.approx(MULTIPLIER * (fill.mid + 40.0))
    assert simulator.position.capital_at_risk == simulator.position.margin
    simulator.step(simulator.actions.close)
    simulator.step(NUMBERS["short_put"])
    # Its loss has a bound, the strike, which is set aside.
    assert simulator.position.margin == 20_000.0


def test_a_margin_account_does_not_set_the_strike_of_a_put_aside():
    path, config = path_of([200.0] * 8), replace(EVERYTHING, short_puts="reg_t")
    book = PathBook(path, PRESETS["free"], config)
    simulator = DailySimulator(path, rules=NO_RULES, capital=1e4, book=book)
    needed = book.requirement[0, NUMBERS["short_put"]]
    simulator.step(NUMBERS["short_put"])
    (fill,) = simulator.position.entry_fills
    assert simulator.position.margin == pytest.approx(MULTIPLIER * (fill.mid + 40.0))
    # The premium that came in pays the premium's part of it; what can be lost is the strike still.
    assert needed == pytest.approx(MULTIPLIER * 40.0)
    assert simulator.position.capital_at_risk == pytest.approx(20_000.0 - MULTIPLIER * fill.mid)


def test_a_setting_that_came_later_changes_no_digest_of_an_account():
    assert "short_puts" not in repr(DailyConfig())
    assert repr(DailyConfig(short_puts="reg_t")).endswith("spreads=None, short_puts='reg_t')")
    with pytest.raises(ConfigError, match="short_puts 'half'"):
        DailyConfig(short_puts="half")


def test_a_bucket_of_the_same_day_expires_on_the_day_of_its_fill():
    from spy_assets.simulator.actions import SAME_DAY, ActionMap, Opening

    actions = ActionMap("intraday", 1, (Opening("long_call", SAME_DAY),))
    path = path_of([200.0, 203.0, 203.0], open=[200.0, 200.0, 203.0], rate=0.0)
    simulator = DailySimulator(path, config=DailyConfig(actions=actions))
    (trade,) = simulator.step(0).trades
    assert (trade.exit_reason, trade.exit_value, trade.holding_sessions) == ("expiry", 300.0, 1)


@pytest.mark.filterwarnings("default")
def test_the_environment_has_the_actions_of_the_map():
    from stable_baselines3.common.env_checker import check_env

    path = random_path(2, 60, dividends=True)
    env = DailyOptionsEnv(path, episode_length=20, config=replace(EVERYTHING, max_positions=2))
    check_env(env)
    assert env.action_space.n == 14
    assert len(play(env, 1)) == 20


# ---------------------------------------------------------------- spreads


@pytest.mark.parametrize(("alpha", "paid"), [(0.0, 1.02), (0.5, 1.045), (1.0, 1.07)])
def test_alpha_is_the_part_of_the_half_spread_that_is_paid(alpha, paid):
    costs = replace(PRESETS["rltrade"], alpha=alpha)
    bought, sold = costs.fill(1.0, 1), costs.fill(1.0, -1)
    assert bought.price == pytest.approx(paid)
    assert sold.price == pytest.approx(2.0 - paid)
    assert (bought.spread, bought.slippage) == (pytest.approx(0.05 * alpha), 0.02)


def test_fills_say_how_they_were_priced():
    costs, path = PRESETS["rltrade"].at_alpha(0.4), path_of([200.0] * 6)
    assert costs.name == "rltrade at alpha 0.4"
    assert costs.at_alpha(1.0) == PRESETS["rltrade"]
    assert (
        PathBook(path, costs).fill_label
        == "rltrade at alpha 0.4: surface mid +- 0.4 x 0.05 dollars"
    )
    config = DailyConfig(spreads=SPY_SPREADS)
    assert PathBook(path, config=config).fill_label.endswith("1 x the spread model's half")


def test_alpha_works_on_real_quotes_too():
    costs = CostModel("half", 0.65, 0.0, 0.05, alpha=0.5)
    assert costs.fill(1.0, 1, bid=0.9, ask=1.3).price == pytest.approx(1.15)
    assert costs.fill(1.0, -1, bid=0.9, ask=1.3).price == pytest.approx(0.95)
    with pytest.raises(ConfigError, match="alpha"):
        replace(costs, alpha=-0.1)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_many_fills_are_priced_as_one(side, alpha):
    costs = replace(PRESETS["rltrade"], alpha=alpha)
    mids = np.array([0.0, 0.01, 0.05, 0.06, 1.0, 250.0])
    found = costs.fill_prices(mids, side)
    assert found.tolist() == [costs.fill(float(mid), side).price for mid in mids]


def test_the_spread_model_sets_the_quotes():
    config = DailyConfig(spreads=SPY_SPREADS)
    simulator = DailySimulator(path_of([200.0] * 6), PRESETS["free"], rules=NO_RULES, config=config)
    simulator.step(CALL)
    (fill,) = simulator.position.entry_fills
    spread = 2 * fill.spread / MULTIPLIER
    # Whole cents, wider than the tick at the open, and labelled as a model's.
    assert spread == pytest.approx(round(spread, 2), abs=1e-9)
    assert 0.01 < spread < 0.20
    assert fill.quote_kind == "spread_model"


def test_a_wider_model_costs_more_and_needs_more():
    wide = SpreadModel(scale=5 * SPY_SPREADS.scale)
    books = [
        PathBook(path_of([200.0] * 6), PRESETS["free"], DailyConfig(spreads=model))
        for model in (None, SPY_SPREADS, wide)
    ]
    needed = np.stack([book.requirement[0] for book in books])
    assert (np.diff(needed, axis=0) > 0.0).all()
