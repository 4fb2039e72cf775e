from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from spy_assets.errors import ConfigError, NonFiniteOutput
from spy_assets.evaluation import backtest
from spy_assets.evaluation.baselines import (
    always,
    buy_and_hold,
    every_structure,
    random_entries,
    run_baselines,
    short_premium,
)
from spy_assets.market.adjustment import forward_adjust
from spy_assets.simulator.actions import CLOSE, HOLD
from spy_assets.simulator.daily import DailySimulator
from spy_assets.simulator.market_path import MarketPath
from spy_assets_tests.evaluation.markets import random_walk

VENUE = backtest.Venue(random_walk(1))
ALL = np.ones(7, dtype=bool)


def test_equity_is_capital_plus_the_pnl_of_all_trades() -> None:
    result = backtest.run_policy(VENUE, random_entries(0.5, 0.2, seed=3))
    assert result.trade_count > 5
    assert result.equity[0] == VENUE.capital
    assert result.daily.net_pnl == pytest.approx(sum(trade.pnl for trade in result.trades))
    assert result.costs == pytest.approx(sum(trade.costs for trade in result.trades))


def test_one_decision_and_one_point_per_session() -> None:
    result = backtest.run_policy(VENUE, always(HOLD))
    assert len(result.sessions) == len(VENUE.path) - 1 == len(result.decisions)
    assert len(result.equity) == len(VENUE.path)
    assert result.daily.net_pnl == 0


def test_a_run_repeats_exactly() -> None:
    runs = [backtest.run_policy(VENUE, random_entries(0.5, 0.2, seed=3)) for _ in range(2)]
    assert np.array_equal(runs[0].equity, runs[1].equity)
    assert runs[0].trades == runs[1].trades


def test_a_window_starts_afresh() -> None:
    venue = backtest.Venue(VENUE.path, start=30, stop=50)
    result = backtest.run_policy(venue, always(0))
    assert result.sessions == VENUE.path.sessions[31:50]
    assert all(trade.entry_session in result.sessions for trade in result.trades)


def test_a_window_without_sessions_is_refused() -> None:
    with pytest.raises(ConfigError, match="30 to 31"):
        backtest.run_policy(backtest.Venue(VENUE.path, start=30, stop=31), always(0))


def test_the_policy_is_not_asked_where_an_input_is_missing() -> None:
    path = random_walk(1)
    seen = path.observation.copy()
    seen[10:20, 3] = np.nan
    hole = type(path).from_arrays(
        path.sessions, open=path.open, close=path.close, iv_open=path.iv_open,
        iv_close=path.iv_close, rate=path.rate, observation=seen,
    )  # fmt: skip

    def act(observation: backtest.Observation, mask: backtest.Mask) -> int:
        assert np.isfinite(observation).all()
        return 0 if mask[0] else HOLD

    result = backtest.run_policy(backtest.Venue(hole), act)
    assert {decision.action for decision in result.decisions[10:20]} == {HOLD}


def test_an_entry_filter_blocks_entries_and_never_exits() -> None:
    asked: list[int] = []

    def refuse_after_first(simulator: DailySimulator, action: int, peak: float) -> bool:
        asked.append(action)
        return len(asked) == 1

    act = random_entries(1.0, 1.0, seed=0)
    result = backtest.run_policy(VENUE, act, entry_filter=refuse_after_first)
    assert result.trade_count == 1
    assert CLOSE not in asked
    assert CLOSE in {decision.action for decision in result.decisions}


def test_rates_count_only_real_chances() -> None:
    result = backtest.run_policy(VENUE, random_entries(1.0, 1.0, seed=0))
    assert backtest.entry_rate(result) == 1.0
    assert backtest.close_rate(result) == 1.0


def test_the_most_probable_allowed_action_wins_and_ties_go_to_the_lowest() -> None:
    mask = np.array([False, True, True, False, False, True, False])
    even = mask / 3
    assert backtest.choose_action(even, mask) == 1
    assert backtest.choose_action(np.array([0, 0.2, 0.3, 0, 0, 0.5, 0]), mask) == HOLD


@pytest.mark.fault(58)
@pytest.mark.parametrize(
    "values",
    [np.full(7, np.nan), np.full(7, 0.5), np.array([np.inf, 0, 0, 0, 0, 0, 0]), np.zeros(7)],
)
def test_output_that_is_no_distribution_is_refused(values: np.ndarray) -> None:
    with pytest.raises(NonFiniteOutput, match="gave"):
        backtest.choose_action(values, ALL)


def test_probability_on_a_masked_action_is_refused() -> None:
    mask = ALL.copy()
    mask[0] = False
    with pytest.raises(NonFiniteOutput, match="under mask"):
        backtest.choose_action(np.full(7, 1 / 7), mask)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one allowed"):
        backtest.choose_action(np.full(7, 1 / 7), np.zeros(7, dtype=bool))


def test_greedy_takes_the_probabilities_at_their_word() -> None:
    act = backtest.greedy(lambda observation, mask: np.eye(7)[CLOSE])
    assert act(np.zeros(15, np.float32), ALL) == CLOSE


def test_an_entry_below_the_confidence_floor_is_held_and_an_exit_is_not() -> None:
    seen = np.zeros(15, np.float32)
    for action, chosen in ((0, HOLD), (CLOSE, CLOSE)):
        unsure = np.where(np.arange(7) == action, 0.4, 0.1)
        assert backtest.greedy(lambda *_, p=unsure: p, min_confidence=0.5)(seen, ALL) == chosen
        assert backtest.greedy(lambda *_, p=unsure: p, min_confidence=0.4)(seen, ALL) == action


def test_every_baseline_is_there() -> None:
    challenger = backtest.run_policy(VENUE, random_entries(0.5, 0.2, seed=3))
    names = set(run_baselines(VENUE, challenger))
    assert names == {
        "cash", "buy_and_hold", "random_same_rate", "always_long_call", "always_long_put",
        "always_short_call", "always_short_put", "always_bull_call_debit", "always_bear_put_debit",
        "always_bull_put_credit", "always_bear_call_credit", "always_iron_condor",
        "always_long_straddle", "always_long_strangle", "always_butterfly",
    }  # fmt: skip


def test_a_structure_of_the_policy_s_map_is_the_same_in_the_wider_one() -> None:
    wide = run_baselines(VENUE)
    for action, opening in enumerate(VENUE.actions.openings):
        narrow = backtest.run_policy(VENUE, always(action))
        assert np.array_equal(wide[f"always_{opening.structure}"].equity, narrow.equity)


def test_every_always_baseline_trades_its_structure_and_nothing_else() -> None:
    """A put of 200 sets 20,000 dollars aside, twice what the account has; the eleven others trade."""
    results = run_baselines(VENUE)
    runs = {name: run for name, run in results.items() if name.startswith("always_")}
    for name, run in runs.items():
        assert {trade.structure for trade in run.trades} <= {name.removeprefix("always_")}
    assert [name for name, run in runs.items() if not run.trades] == ["always_short_put"]


def test_the_short_premium_baselines_are_those_that_receive_a_credit() -> None:
    sold = short_premium(run_baselines(VENUE))
    assert set(sold) == {
        "always_short_call", "always_short_put", "always_bull_put_credit",
        "always_bear_call_credit", "always_iron_condor",
    }  # fmt: skip
    earned = [run.daily.net_pnl for run in sold.values()]
    assert earned == sorted(earned, reverse=True)


def test_a_policy_with_another_map_is_filtered_and_counted_by_it() -> None:
    wide = every_structure(VENUE)
    butterfly, hold = 11, 12
    asked: list[int] = []

    def refuse(simulator: DailySimulator, action: int, equity: object) -> bool:
        asked.append(action)
        return len(asked) > 1

    result = backtest.run_policy(wide, always(butterfly), entry_filter=refuse)
    assert (result.decisions[0].requested, result.decisions[0].action) == (butterfly, hold)
    assert set(asked) == {butterfly}
    assert {trade.structure for trade in result.trades} == {"butterfly"}
    assert 0.9 < backtest.entry_rate(result) < 1.0
    assert backtest.close_rate(result) == 0.0


def test_buy_and_hold_earns_the_market_less_the_spread() -> None:
    held = run_baselines(VENUE)["buy_and_hold"]
    path = VENUE.path
    shares = 10_000 // (path.open[1] + 0.005)
    assert held.daily.net_pnl == pytest.approx(shares * (path.close[-1] - path.open[1] - 0.01))
    assert held.costs == pytest.approx(shares * 0.01)


def test_buy_and_hold_receives_dividends_and_survives_a_split() -> None:
    """2 dollars on 200 going ex in session 5, two for one in session 8: by hand, the shares held."""
    sessions = VENUE.path.sessions[:10]
    flat = [200.0] * 5 + [198.0] * 3 + [99.0] * 2
    bars = pl.DataFrame(
        {
            "symbol": ["SPY"] * 10, "session": sessions, "event_time": sessions,
            "open": flat, "high": flat, "low": flat, "close": flat, "volume": [1.0] * 10,
            "dividend": [0.0] * 5 + [2.0] + [0.0] * 4, "split": [1.0] * 8 + [2.0, 1.0],
        }
    )  # fmt: skip
    given = {
        "open": flat, "close": flat, "iv_open": [0.2] * 10, "iv_close": [0.2] * 10,
        "rate": [0.01] * 10, "observation": np.full((10, 10), 0.5),
    }  # fmt: skip
    path = MarketPath.from_arrays(sessions, **given, factor=forward_adjust(bars)["factor"])
    held = buy_and_hold(backtest.Venue(path))
    shares = 10_000 // 200.005
    grown = shares * 200.0 / 198.0 * 2.0
    cash = 10_000 - shares * 200.005
    assert held.name == "buy_and_hold"
    assert held.equity[-1] == pytest.approx(cash + grown * (99.0 - 0.005))

    blind = buy_and_hold(backtest.Venue(MarketPath.from_arrays(sessions, **given)))
    assert blind.name == "buy_and_hold_price_only"
    assert blind.equity[-1] == pytest.approx(cash + shares * (99.0 - 0.005))


def test_the_random_baseline_trades_as_often_as_the_challenger() -> None:
    challenger = backtest.run_policy(VENUE, random_entries(0.3, 0.2, seed=3))
    rival = run_baselines(VENUE, challenger)["random_same_rate"]
    assert rival.runs == 5
    assert rival.trade_count == pytest.approx(challenger.trade_count, rel=0.4)


def test_the_random_baseline_adds_positions_where_the_account_has_room() -> None:
    """Both rates at once: 30 % of the free decisions enter, 20 % of those with a position close."""
    act, both = random_entries(0.3, 0.2, seed=1), np.array([True] * 5 + [True, True])
    drawn = np.array([act(np.zeros(15, np.float32), both) for _ in range(4_000)])
    assert np.mean(drawn == CLOSE) == pytest.approx(0.2, abs=0.02)
    assert np.mean(drawn < HOLD) == pytest.approx(0.3, abs=0.02)
    assert set(drawn[drawn < HOLD]) == set(range(5))


def test_cash_never_moves() -> None:
    result = run_baselines(VENUE)["cash"]
    assert not result.daily_pnl.any()
    assert result.trade_count == 0
