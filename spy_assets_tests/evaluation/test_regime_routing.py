from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import BacktestResult, Venue, greedy, run_policy
from spy_assets.evaluation.baselines import always, random_entries
from spy_assets.evaluation.regime_routing import compare_routing
from spy_assets.models.routing import FALLBACK, Router, path_regimes
from spy_assets.simulator.actions import HOLD
from spy_assets_tests.models.planted import planted_market

MARKET = planted_market(3, 400)
REGIMES = path_regimes(MARKET)
VENUE = Venue(MARKET)


def wants(action: int) -> Any:
    return lambda observation, mask: np.eye(len(mask))[action if mask[action] else HOLD]


def run(act: Any) -> BacktestResult:
    return run_policy(VENUE, act)


def test_routing_that_knows_what_each_regime_pays_is_better() -> None:
    router = Router(
        {"strong_uptrend": wants(0), "strong_downtrend": wants(1), FALLBACK: wants(HOLD)}
    )
    routed = run(greedy(router))
    verdict = compare_routing(routed, run(random_entries(0.5, 0.2, seed=0)), REGIMES[:-1])
    assert verdict.better
    assert "is better: +" in verdict.words
    assert verdict.routed == pytest.approx(routed.daily.net_pnl)


def test_a_policy_is_not_better_than_itself() -> None:
    same = run(always(0))
    verdict = compare_routing(same, same, REGIMES[:-1])
    assert not verdict.better
    assert (verdict.lead.low, verdict.lead.high) == (0.0, 0.0)
    assert "not better" in verdict.words


def test_a_lead_by_chance_is_not_better() -> None:
    found = [
        compare_routing(
            run(random_entries(0.3, 0.2, seed=2 * k)),
            run(random_entries(0.3, 0.2, seed=2 * k + 1)),
            REGIMES[:-1],
        ).better
        for k in range(8)
    ]
    assert sum(found) <= 1


def test_the_difference_is_told_by_regime_and_adds_up() -> None:
    verdict = compare_routing(run(always(0)), run(always(1)), REGIMES[:-1])
    assert sum(count for count, _ in verdict.by_regime.values()) == 399
    total = sum(value for _, value in verdict.by_regime.values())
    assert total == pytest.approx(verdict.routed - verdict.single)
    assert verdict.by_regime["unknown"][0] == 20


def test_runs_of_other_sessions_are_not_compared() -> None:
    one = run(always(0))
    other = replace(one, sessions=one.sessions[1:], equity=one.equity[1:])
    with pytest.raises(ConfigError, match=r"399 sessions to .* against 398"):
        compare_routing(one, other, REGIMES[:-1])
    with pytest.raises(ConfigError, match="400 regimes"):
        compare_routing(one, one, REGIMES)
