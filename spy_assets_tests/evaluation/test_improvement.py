from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from spy_assets.evaluation.improvement import PRIORITIES, Recommendation, recommendations
from spy_assets.evaluation.seed_spread import seed_spread
from spy_assets_tests.evaluation.trades import MONDAY, trade


def about(topic: str, found: tuple[Recommendation, ...]) -> list[Recommendation]:
    return [one for one in found if one.topic == topic]


def test_the_order_is_the_seeds() -> None:
    """Sizing before timing before filters before ensembles before assets before preferences."""
    assert PRIORITIES == (
        "risk", "entry timing", "market filters", "ensemble", "more assets", "preference learning",
    )  # fmt: skip


def everything() -> tuple[Recommendation, ...]:
    generator = np.random.default_rng(0)
    good = [trade(12.0 + x) for x in generator.normal(0, 5, 20)]
    friday = MONDAY + timedelta(days=4)
    bad = [trade(-9.0 + x, session=friday) for x in generator.normal(0, 1, 12)]
    regimes = {MONDAY: "uptrend", friday: "high_vol"}
    spread = seed_spread(generator.normal(0, 10, (4, 5)), seed=0)
    crash = [trade(-70.0, session=friday)]
    return recommendations(good + bad + crash, regimes=regimes, spread=spread, max_drawdown=0.12)


def test_steps_come_in_the_order_of_priority_with_their_numbers() -> None:
    found = everything()
    assert [one.priority for one in found] == sorted(one.priority for one in found)
    assert {one.topic for one in found} == set(PRIORITIES[:5])
    assert all(any(letter.isdigit() for letter in one.text) for one in found)


def test_a_few_disasters_call_for_smaller_size() -> None:
    trades = [trade(10.0)] * 18 + [trade(-1.0), trade(-1.0), trade(-90.0)]
    (step,) = about("risk", recommendations(trades))
    assert step.text.startswith(
        "the worst 1 of 3 losing trades made 98% of all losses ($90 of $92)"
    )


def test_exponential_losses_are_no_disaster() -> None:
    losses = -np.random.default_rng(0).exponential(10.0, 60)
    assert not about("risk", recommendations([trade(x) for x in losses]))


def test_a_deep_drawdown_calls_for_smaller_size() -> None:
    (step,) = about("risk", recommendations([trade(1.0)], max_drawdown=0.153))
    assert step.text == "the account fell 15.3% from its peak, limit 10%: trade smaller"
    assert recommendations([trade(1.0)], max_drawdown=0.09) == ()


def test_a_cluster_says_whether_it_is_proven() -> None:
    friday = MONDAY + timedelta(days=4)
    spread = np.random.default_rng(1).normal(0, 1, 8)
    sure = [trade(5.0 + x) for x in spread] + [trade(-9.0 + x, session=friday) for x in spread]
    (step,) = about("entry timing", recommendations(sure))
    assert step.proven
    assert step.text.startswith("weekday Friday: 50% of the trades (8), 100% of the losses")
    assert step.text.endswith("avoid it")


def test_a_mean_that_is_not_proven_says_how_many_trades_would() -> None:
    trades = [trade(x) for x in np.tile([21.0, -19.0], 20)]
    (step,) = about("more assets", recommendations(trades))
    # Student's half width is 2.0227 x 20.2548 / sqrt(40) = 6.478: 40 x 6.478^2 = 1,678.5.
    assert "40 trades earned $1.00" in step.text
    assert "about 1,679 would prove it" in step.text
    assert not step.proven


def test_preferences_wait_until_the_strategy_earns() -> None:
    earning = [trade(10.0 + x) for x in np.random.default_rng(0).normal(0, 5, 30)]
    assert about("preference learning", recommendations(earning))
    losing = [trade(-one.pnl) for one in earning]
    assert not about("preference learning", recommendations(losing))
    assert not about("more assets", recommendations(losing))


@pytest.mark.parametrize(("low", "count"), [(5.0, 0), (-5.0, 1)])
def test_seeds_that_disagree_should_vote(low: float, count: int) -> None:
    spread = seed_spread([[5.0, 5.0], [low, low]], seed=0)
    assert len(about("ensemble", recommendations([], spread=spread))) == count


def test_no_trades_call_for_nothing() -> None:
    assert recommendations([]) == ()
