from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from spy_assets.errors import ConfigError
from spy_assets.evaluation import breakdown as split
from spy_assets.evaluation.backtest import Venue, run_policy
from spy_assets.evaluation.baselines import random_entries
from spy_assets.options.structures import STRUCTURES
from spy_assets_tests.evaluation.markets import random_walk
from spy_assets_tests.evaluation.trades import MONDAY, trade

RUN = run_policy(Venue(random_walk(2, 200)), random_entries(0.8, 0.4, seed=1)).trades


@pytest.mark.parametrize("dimension", [d for d in split.DIMENSIONS if d != "regime"])
def test_every_trade_is_in_one_group(dimension: split.Dimension) -> None:
    groups = split.breakdown(RUN, dimension)
    assert sum(group.trades for group in groups) == len(RUN) > 50
    total = sum(group.net_pnl for group in groups)
    assert total == pytest.approx(sum(one.pnl for one in RUN))


def test_weekdays_and_regimes_are_those_of_the_decision() -> None:
    friday = MONDAY + timedelta(days=4)
    trades = [trade(5.0, session=friday), trade(-3.0), trade(1.0, session=date(2016, 1, 6))]
    days = split.breakdown(trades, "weekday")
    assert [group.value for group in days] == ["Monday", "Wednesday", "Friday"]
    regimes = {friday: "uptrend", MONDAY: None}
    found = split.breakdown(trades, "regime", regimes=regimes)
    assert {group.value: group.trades for group in found} == {"uptrend": 1, "unknown": 2}


def test_hours_are_new_yorks_in_winter_and_in_summer() -> None:
    moments = [datetime(2016, 1, 5, 14, 30, tzinfo=UTC), datetime(2016, 7, 5, 13, 30, tzinfo=UTC)]
    groups = split.breakdown([trade(1.0, entry_time=at) for at in moments], "hour")
    assert [(group.value, group.trades) for group in groups] == [("09:00-09:59", 2)]


def test_premium_units_and_holding_times_have_names() -> None:
    trades = [
        trade(1.0, structure="iron_condor", quantity=3, holding_sessions=0),
        trade(1.0, quantity=1, holding_sessions=1),
        trade(1.0, quantity=1, holding_sessions=3),
        trade(1.0, quantity=10, holding_sessions=25),
    ]
    names = {
        dimension: [group.value for group in split.breakdown(trades, dimension)]
        for dimension in ("premium", "units", "holding")
    }
    assert names == {
        "premium": ["long premium", "short premium"],
        "units": ["1 unit", "3 units", "10 units"],
        "holding": ["0 closes", "1 close", "2-3 closes", "11+ closes"],
    }


def test_payoffs_say_which_structures_receive_a_credit() -> None:
    found = [name for name in STRUCTURES if split.receives_credit(name)]
    assert found == [
        "short_call",
        "short_put",
        "bull_put_credit",
        "bear_call_credit",
        "iron_condor",
    ]


def test_the_interval_is_the_one_of_students_test() -> None:
    values = np.random.default_rng(0).normal(3.0, 20.0, 12)
    ours = split.mean_interval(values.tolist(), level=0.9)
    theirs = ttest_1samp(values, 0.0).confidence_interval(0.9)
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert split.mean_interval([1.0]) is None


def test_only_dimensions_that_split_are_shown() -> None:
    found = split.breakdowns([trade(1.0), trade(-1.0, structure="butterfly")])
    assert list(found) == ["structure"]


def losing_on_fridays(count: int = 12) -> list:  # type: ignore[type-arg]
    noise = np.random.default_rng(0).normal(0, 4.0, (2, count))
    friday = MONDAY + timedelta(days=4)
    good = [trade(10.0 + noise[0, k]) for k in range(count)]
    return good + [trade(-20.0 + noise[1, k], session=friday) for k in range(count)]


def test_a_planted_cluster_of_losses_is_found_and_proven() -> None:
    (cluster,) = split.loss_clusters(losing_on_fridays())
    assert (cluster.group.dimension, cluster.group.value) == ("weekday", "Friday")
    assert cluster.proven
    assert (cluster.share_of_losses, cluster.share_of_trades) == (1.0, 0.5)
    assert cluster.excess == pytest.approx(cluster.lost / 2)
    assert cluster.group.mean is not None
    assert cluster.group.mean.level == pytest.approx(1 - 0.05 / 2)


def test_how_a_trade_ended_is_no_cluster() -> None:
    stopped = [trade(-9.0 - k, exit_reason="stop_loss", holding_sessions=1) for k in range(9)]
    others = [trade(9.0 + k, exit_reason="profit_target", holding_sessions=4) for k in range(9)]
    assert split.loss_clusters(stopped + others) == ()


def test_few_trades_and_no_losses_are_no_cluster() -> None:
    assert split.loss_clusters(losing_on_fridays(4)) == ()
    assert split.loss_clusters([trade(1.0), trade(2.0)]) == ()


def test_noise_is_rarely_called_a_proven_cluster() -> None:
    """Trades without any edge over five weekdays and four structures."""
    kinds = ("long_call", "long_put", "iron_condor", "butterfly")
    proven = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        trades = [
            trade(
                float(generator.normal(0, 30.0)),
                session=MONDAY + timedelta(days=int(generator.integers(5))),
                structure=kinds[generator.integers(4)],
            )
            for _ in range(80)
        ]
        proven += any(cluster.proven for cluster in split.loss_clusters(trades))
    assert proven <= 6


def test_a_dimension_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="'moon'"):
        split.breakdown(RUN, "moon")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no regimes"):
        split.breakdown(RUN, "regime")
