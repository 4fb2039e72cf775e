"""Trade statistics against what backtesting.py said of the same runs; it is AGPL and stays outside."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from spy_assets.errors import ConfigError
from spy_assets.evaluation import trade_metrics as metrics
from spy_assets.evaluation.backtest import Venue, run_policy
from spy_assets.evaluation.baselines import random_entries, random_same_rate
from spy_assets_tests.evaluation.markets import random_walk

#: Ours, theirs, and the factor that makes percent of ours.
TRADES = {
    "trades": ("# Trades", 1),
    "win_rate": ("Win Rate [%]", 100),
    "best": ("Best Trade [%]", 100),
    "worst": ("Worst Trade [%]", 100),
    "average": ("Avg. Trade [%]", 100),
    "expectancy": ("Expectancy [%]", 100),
    "profit_factor_of_returns": ("Profit Factor", 1),
    "sqn": ("SQN", 1),
    "kelly": ("Kelly Criterion", 1),
}
EQUITY = {
    "exposure": ("Exposure Time [%]", 100),
    "max_drawdown": ("Max. Drawdown [%]", -100),
    "average_drawdown": ("Avg. Drawdown [%]", -100),
}
RUNS = json.loads(Path(__file__).with_name("backtesting_runs.json").read_text())["runs"]


@pytest.fixture(params=RUNS)
def theirs(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Trades and equity of a run, and what backtesting.py says of it."""
    run: dict[str, Any] = RUNS[request.param]
    return run


def columns(theirs: dict[str, Any]) -> tuple[list[float], list[float], list[timedelta]]:
    return theirs["pnl"], theirs["returns"], [timedelta(seconds=s) for s in theirs["seconds"]]


def number(value: Any) -> float:
    return float(getattr(value, "estimate", value))


@pytest.mark.parametrize("name", TRADES)
def test_trades_agree_with_backtesting(theirs: dict[str, Any], name: str) -> None:
    label, factor = TRADES[name]
    found = metrics.metrics_of(*columns(theirs))
    assert found.trades > 20
    assert number(getattr(found, name)) * factor == pytest.approx(
        theirs["expected"][label], rel=1e-10
    )


def equity_of(theirs: dict[str, Any]) -> metrics.EquityMetrics:
    first, step = datetime.fromisoformat(theirs["start"]), timedelta(seconds=theirs["step_seconds"])
    times = [first + step * number for number in range(len(theirs["equity"]))]
    return metrics.equity_metrics(theirs["equity"], times, theirs["held"])


@pytest.mark.parametrize("name", EQUITY)
def test_equity_agrees_with_backtesting(theirs: dict[str, Any], name: str) -> None:
    label, factor = EQUITY[name]
    assert getattr(equity_of(theirs), name) * factor == pytest.approx(
        theirs["expected"][label], rel=1e-10
    )


def test_durations_agree_with_backtesting(theirs: dict[str, Any]) -> None:
    """They round up to the period of the bars."""
    trades, equity = metrics.metrics_of(*columns(theirs)), equity_of(theirs)
    for ours, label in (
        (trades.longest, "Max. Trade Duration"),
        (trades.mean_duration, "Avg. Trade Duration"),
        (equity.longest_drawdown, "Max. Drawdown Duration"),
        (equity.mean_drawdown_duration, "Avg. Drawdown Duration"),
    ):
        due = theirs["expected_seconds"][label]
        assert pd.Timedelta(ours).ceil(theirs["period"]).total_seconds() == due, label


def test_dollars_by_hand() -> None:
    day = timedelta(days=1)
    found = metrics.metrics_of([30.0, -10.0, 20.0, -15.0], [0.3, -0.1, 0.2, -0.3], [day] * 4)
    assert (found.trades, found.wins, found.net_pnl) == (4, 2, 25.0)
    assert (found.average_win, found.average_loss, found.risk_reward) == (25.0, -12.5, 2.0)
    assert (found.profit_factor, found.profit_factor_of_returns) == (2.0, pytest.approx(1.25))
    assert found.kelly == pytest.approx(0.5 - 0.5 / 2.0)
    assert found.sqn == pytest.approx(2 * 6.25 / np.std([30, -10, 20, -15], ddof=1))


def test_no_trades_say_nothing() -> None:
    found = metrics.metrics_of([], [], [])
    assert (found.trades, found.net_pnl) == (0, 0.0)
    assert {found.win_rate, found.best, found.sqn, found.kelly, found.longest} == {None}


def test_what_one_sided_records_cannot_say_is_none() -> None:
    """backtesting.py has NaN, infinity or 0 here."""
    day = timedelta(days=1)
    wins = metrics.metrics_of([1.0, 2.0], [0.1, 0.2], [day] * 2)
    assert (wins.kelly, wins.profit_factor, wins.risk_reward) == (None, None, None)
    ruined = metrics.metrics_of([1.0, -2.0], [0.1, -1.2], [day] * 2)
    assert ruined.average is None
    assert ruined.expectancy == pytest.approx(-0.55)


def test_a_lone_trade_has_no_spread() -> None:
    found = metrics.metrics_of([5.0], [0.1], [timedelta(hours=3)])
    assert (found.average_pnl, found.sqn) == (None, None)
    assert found.win_rate is not None
    assert found.win_rate.low < 0.21  # one win of one: Wilson says 21 % to 100 %


def test_drawdowns_by_hand() -> None:
    days = [date(2024, 1, k) for k in (2, 3, 4, 5, 8, 9, 10)]
    found = metrics.equity_metrics([100.0, 90, 95, 100, 110, 99, 104.5], days, [(1, 2), (2, 3)])
    assert found.max_drawdown == pytest.approx(0.10)
    assert found.average_drawdown == pytest.approx(0.10)
    assert found.longest_drawdown == timedelta(days=3)
    assert found.mean_drawdown_duration == timedelta(days=2.5)
    assert found.exposure == pytest.approx(3 / 7)


def test_a_backtest_is_measured_from_its_own_trades() -> None:
    venue = Venue(random_walk(1))
    result = run_policy(venue, random_entries(0.5, 0.2, seed=3))
    found = metrics.trade_metrics(result.trades)
    assert found.net_pnl == pytest.approx(result.daily.net_pnl)
    groups = metrics.metrics_by(metrics.by_structure(result.trades))
    assert list(groups) == sorted({trade.structure for trade in result.trades})
    assert sum(one.net_pnl for one in groups.values()) == pytest.approx(found.net_pnl)
    exposure = metrics.equity_metrics_of(result).exposure
    assert exposure is not None
    assert 0 < exposure < 1
    assert metrics.equity_metrics_of(random_same_rate(venue, result, seeds=(0, 1))).exposure is None


def test_metrics_are_json() -> None:
    found = metrics.trade_metrics(run_policy(Venue(random_walk(1)), random_entries(1, 1, 0)).trades)
    values = json.loads(json.dumps(found.as_dict()))
    assert values["mean_duration"] >= 0
    assert values["win_rate"]["level"] == 0.95


def test_broken_columns_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 P&Ls, 2 returns"):
        metrics.metrics_of([1.0], [0.1, 0.2], [timedelta(1)])
    with pytest.raises(ConfigError, match="not finite"):
        metrics.metrics_of([math.nan], [0.1], [timedelta(1)])
    with pytest.raises(ConfigError, match="2 points of equity at 1 times"):
        metrics.equity_metrics([1.0, 2.0], [date(2024, 1, 2)])
