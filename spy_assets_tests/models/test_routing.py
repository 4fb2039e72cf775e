from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spy_assets.errors import ConfigError, DataError
from spy_assets.evaluation.backtest import Venue, greedy, run_policy
from spy_assets.features.regime import REGIMES, rule_regime
from spy_assets.models.policy.select import as_net
from spy_assets.models.policy.train import train_policy
from spy_assets.models.routing import (
    FALLBACK,
    GIVEN_UP,
    SEEN_AS,
    Router,
    enough,
    path_of_regime,
    path_regimes,
    path_seeing_regime,
    session_counts,
    train_regimes,
)
from spy_assets.simulator.actions import HOLD
from spy_assets.simulator.market_path import MarketPath
from spy_assets_tests.evaluation.markets import random_walk
from spy_assets_tests.models.markets import tiny_config
from spy_assets_tests.models.planted import planted_market

MARKET = planted_market(3, 300)
KNOWN = path_regimes(MARKET)


def wants(action: int) -> Any:
    """A policy that takes one action wherever it may."""

    def probabilities(observation: Any, mask: Any) -> Any:
        chosen = action if mask[action] else HOLD
        return np.eye(len(mask))[chosen]

    return probabilities


def shaken(seed: int = 0) -> MarketPath:
    """A walk whose VIX jumps about 25."""
    path = random_walk(seed, 120)
    iv = np.random.default_rng(seed).choice([0.15, 0.249, 0.25, 0.26, np.nan], len(path))
    return replace(path, iv_close=iv)


def test_regimes_follow_the_rule_session_by_session() -> None:
    path = shaken()
    found = path_regimes(path)
    for at, regime in enumerate(found):
        vix = None if np.isnan(path.iv_close[at]) else 100 * path.iv_close[at]
        trend = path.close[at] / path.close[at - 20] - 1 if at >= 20 else None
        assert regime == rule_regime(vix, trend)
    assert {"high_volatility", "neutral", None} <= set(found)
    assert set(KNOWN) >= {"strong_uptrend", "strong_downtrend", None}


def test_regimes_do_not_know_the_future() -> None:
    for cut in (15, 21, 100, 299):
        assert path_regimes(MARKET.window(0, cut)) == KNOWN[:cut]


def test_without_adjusted_prices_there_is_no_trend() -> None:
    blind = replace(MARKET, factor=np.full(len(MARKET), np.nan))
    assert set(path_regimes(blind)) == {None}
    assert path_regimes(blind.window(0, 5)) == (None,) * 5


def test_a_dividend_is_no_downtrend() -> None:
    flat = replace(random_walk(0, 60), close=np.full(60, 100.0), factor=np.ones(60))
    paid = replace(
        flat,
        close=np.where(np.arange(60) < 30, 100.0, 97.0),
        factor=np.where(np.arange(60) < 30, 1.0, 100 / 97),
    )
    assert path_regimes(paid) == path_regimes(flat)


def test_a_regime_s_policy_is_asked_in_its_sessions_only() -> None:
    path = path_of_regime(MARKET, KNOWN, "strong_uptrend")
    inside = np.array([one == "strong_uptrend" for one in KNOWN])
    assert np.array_equal(path.valid, inside & MARKET.valid)
    assert np.array_equal(path.observation[inside], MARKET.observation[inside])
    result = run_policy(Venue(path), greedy(wants(0)))
    entered = {one.session for one in result.decisions if one.action == 0}
    assert entered
    assert entered <= {day for day, is_in in zip(path.sessions, inside, strict=True) if is_in}


def test_one_policy_may_see_the_regime() -> None:
    path = path_seeing_regime(MARKET, KNOWN)
    assert path.contract.market_names[GIVEN_UP] == "regime"
    assert path.contract.name == "daily_15_proxy_v1_regime"
    assert path.contract.sha256 != MARKET.contract.sha256
    for at, regime in enumerate(KNOWN):
        seen = path.observation[at, GIVEN_UP]
        assert np.isnan(seen) if regime is None else seen == SEEN_AS[regime]
    others = [k for k in range(10) if k != GIVEN_UP]
    assert np.array_equal(path.observation[:, others], MARKET.observation[:, others])
    assert not path.valid[:20].any()


def test_regimes_with_few_sessions_have_no_policy() -> None:
    counts = session_counts(MARKET, KNOWN)
    assert sum(counts.values()) == 280
    assert counts["high_volatility"] == 0
    assert enough(counts, least=50) == tuple(
        one for one in REGIMES if one == FALLBACK or counts[one] >= 50
    )
    assert enough(dict.fromkeys(REGIMES, 0)) == (FALLBACK,)


@pytest.mark.parametrize(("least", "whole"), [(50, True), (0, False)])
def test_the_fallback_learns_from_all_if_it_speaks_for_others(least: int, whole: bool) -> None:
    seen: dict[str, MarketPath] = {}

    def train(path: MarketPath, regime: str) -> Any:
        seen[regime] = path
        return wants(0)

    router = train_regimes(MARKET, KNOWN, train, least=least)
    assert set(router.policies) == set(seen) == set(enough(router.sessions, least))
    assert (seen[FALLBACK] is MARKET) == whole
    assert int(seen["strong_uptrend"].valid.sum()) == router.sessions["strong_uptrend"]


def test_the_router_asks_the_policy_of_the_session_s_regime() -> None:
    router = Router(
        {"strong_uptrend": wants(0), "strong_downtrend": wants(1), FALLBACK: wants(HOLD)}
    )
    assert [router.asked_in(one) for one in ("strong_uptrend", "high_volatility", None)] == [
        "strong_uptrend", FALLBACK, FALLBACK,
    ]  # fmt: skip
    result = run_policy(Venue(MARKET), greedy(router))
    for decision, regime in zip(result.decisions, KNOWN, strict=False):
        expected = {"strong_uptrend": 0, "strong_downtrend": 1}.get(regime or "", HOLD)
        assert decision.action == (expected if expected in decision.allowed else HOLD)
    assert result.trade_count > 10


@pytest.mark.slow
def test_policies_are_trained_by_regime() -> None:
    config = tiny_config(timesteps=256, episode_length=20)
    asked: list[str] = []

    def train(path: MarketPath, regime: str) -> Any:
        asked.append(regime)
        return as_net(train_policy(path, config, 1)).probabilities

    router = train_regimes(MARKET, KNOWN, train, least=50)
    assert len(asked) >= 2
    routed = run_policy(Venue(MARKET), greedy(router))
    assert len(routed.sessions) == len(MARKET) - 1


def test_what_cannot_be_routed_is_refused() -> None:
    with pytest.raises(ConfigError, match="neutral is always needed"):
        Router({"strong_uptrend": wants(0)})
    with pytest.raises(ConfigError, match="calm"):
        Router({FALLBACK: wants(0), "calm": wants(0)})
    with pytest.raises(DataError, match="2 regimes for 300 sessions"):
        session_counts(MARKET, KNOWN[:2])
