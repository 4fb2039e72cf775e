from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import Venue, run_policy
from spy_assets.evaluation.baselines import random_entries
from spy_assets.settings import RiskSettings
from spy_assets.signals.risk import (
    RULES,
    AccountState,
    Conditions,
    Proposal,
    RiskLimits,
    RiskSizing,
    Watermark,
    assess,
    risk_filter,
)
from spy_assets.simulator.actions import ENTRIES
from spy_assets_tests.evaluation.markets import random_walk

DAY = date(2018, 12, 21)
GOOD = Conditions(DAY, DAY, date(2018, 11, 30))
RICH = AccountState(10_000.0, 10_000.0, 10_000.0)
ENTRY = Proposal("BUY_CALL", confidence=0.5, requirement=150.0)

anything = st.floats(allow_nan=True, allow_infinity=True)
days = st.dates(date(2015, 1, 1), date(2020, 1, 1))
worlds = st.builds(
    Conditions,
    session=days,
    newest_session=st.none() | days,
    model_train_end=st.none() | days,
    kill_switch=st.none() | st.text(),
    clock_skew_s=st.none() | anything,
    outage=st.none() | st.text(),
    quality_flags=st.lists(st.text()).map(tuple),
    minutes_since_open=st.none() | st.floats(-100, 1000),
    minutes_to_close=st.none() | st.floats(-100, 1000),
)
money = st.floats(-1e6, 1e6)
accounts = st.builds(AccountState, money, money, money, st.integers(0, 9))


@given(worlds, accounts)
@settings(deadline=None, max_examples=50)
def test_exits_pass_whatever_the_world(world: Conditions, account: AccountState) -> None:
    verdict = assess(Proposal("CLOSE"), account, world, RiskLimits(blocking_flags=("iv",)))
    assert verdict.allowed
    assert verdict.blocked_by == ()
    assert [rule.rule for rule in verdict.rules] == list(RULES)


@given(worlds, accounts)
@settings(deadline=None, max_examples=50)
def test_a_blocked_entry_has_no_size_and_an_allowed_one_is_affordable(
    world: Conditions, account: AccountState
) -> None:
    verdict = assess(ENTRY, account, world, RiskLimits())
    assert verdict.allowed == (not verdict.blocked_by) == (verdict.size > 0)
    if verdict.allowed:
        assert verdict.size * 150.0 <= account.cash


def test_all_rules_pass_on_a_good_day() -> None:
    verdict = assess(ENTRY, RICH, GOOD, RiskLimits())
    assert verdict.allowed
    assert verdict.size == 1
    assert [rule.rule for rule in verdict.rules] == list(RULES)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("kill_switch", {"kill_switch": "drawdown 2018-12-20"}),
        pytest.param("clock_skew", {"clock_skew_s": 2.1}, marks=pytest.mark.fault(41)),
        ("clock_skew", {"clock_skew_s": float("nan")}),
        pytest.param("source_outage", {"outage": "down for 3 h"}, marks=pytest.mark.fault(39)),
        ("stale_data", {"newest_session": date(2018, 12, 19)}),
        ("stale_data", {"newest_session": None}),
        pytest.param(
            "stale_model", {"model_train_end": date(2018, 1, 2)}, marks=pytest.mark.fault(59)
        ),
        ("session_window", {"minutes_since_open": 29.0, "minutes_to_close": 361.0}),
        ("session_window", {"minutes_since_open": 361.0, "minutes_to_close": 29.0}),
    ],
)
def test_the_world_blocks_entries(rule: str, change: dict[str, object]) -> None:
    verdict = assess(ENTRY, RICH, replace(GOOD, **change), RiskLimits())  # type: ignore[arg-type]
    assert verdict.blocked_by == (rule,)


@pytest.mark.parametrize(
    "change",
    [
        {"clock_skew_s": 2.0},
        {"newest_session": date(2018, 12, 20)},
        {"minutes_since_open": 30.0, "minutes_to_close": 360.0},
        {"quality_flags": ("pcr:no_volume",)},
    ],
)
def test_limits_themselves_are_allowed(change: dict[str, object]) -> None:
    assert assess(ENTRY, RICH, replace(GOOD, **change), RiskLimits()).allowed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "account"),
    [
        ("drawdown_halt", AccountState(8_900.0, 8_900.0, 10_000.0)),
        ("max_positions", AccountState(10_000.0, 10_000.0, 10_000.0, open_positions=1)),
        ("affordability", AccountState(149.0, 10_000.0, 10_000.0)),
    ],
)
def test_the_account_blocks_entries(rule: str, account: AccountState) -> None:
    assert assess(ENTRY, account, GOOD, RiskLimits()).blocked_by == (rule,)


@pytest.mark.fault(64)
def test_a_halt_stays_when_equity_recovers() -> None:
    recovered = AccountState(9_900.0, 9_900.0, 10_000.0, worst_drawdown=0.12)
    verdict = assess(ENTRY, recovered, GOOD, RiskLimits())
    assert verdict.blocked_by == ("drawdown_halt",)
    (detail,) = [rule.detail for rule in verdict.rules if not rule.passed]
    assert detail.startswith("drawdown 1.00%, at worst 12.00%, limit 10.00%; halted")


def test_a_watermark_remembers_the_deepest_fall_not_the_last() -> None:
    mark = Watermark.of([100.0, 88.0, 130.0, 120.0])
    assert (mark.peak, mark.worst) == (130.0, pytest.approx(0.12))


def test_ten_percent_under_the_peak_is_still_allowed() -> None:
    assert assess(ENTRY, AccountState(9_000.0, 9_000.0, 10_000.0), GOOD, RiskLimits()).allowed


def test_named_quality_flags_block() -> None:
    flagged = replace(GOOD, quality_flags=("revised:close", "late"))
    verdict = assess(ENTRY, RICH, flagged, RiskLimits(blocking_flags=("revised",)))
    assert verdict.blocked_by == ("data_quality",)


def test_a_confidence_floor_blocks_and_is_off_by_default() -> None:
    unsure = replace(ENTRY, confidence=None)
    assert assess(unsure, RICH, GOOD, RiskLimits()).allowed
    floor = RiskLimits(min_confidence=0.6)
    assert assess(unsure, RICH, GOOD, floor).blocked_by == ("min_confidence",)
    assert assess(ENTRY, RICH, GOOD, floor).blocked_by == ("min_confidence",)


def test_an_unbounded_loss_cannot_be_sized() -> None:
    naked = replace(ENTRY, requirement=float("inf"))
    blocked = assess(naked, RICH, GOOD, RiskLimits()).blocked_by
    assert blocked == ("sizing", "affordability")


@pytest.mark.parametrize(
    ("loss", "cash", "expected"),
    [(50.0, 10_000.0, 4), (19.0, 10_000.0, 10), (50.0, 120.0, 2), (450.0, 10_000.0, 1)],
)
def test_size_is_the_strictest_rule(loss: float, cash: float, expected: int) -> None:
    sizing = RiskSizing(RiskLimits())
    assert sizing(value=10_000.0, available=cash, max_loss=loss) == expected


def test_the_floor_can_be_taken_away() -> None:
    sizing = RiskSizing(RiskLimits(min_contracts=0))
    assert sizing(value=10_000.0, available=10_000.0, max_loss=450.0) == 0


def test_the_floor_is_named_in_the_verdict() -> None:
    verdict = assess(replace(ENTRY, requirement=450.0), RICH, GOOD, RiskLimits())
    detail = next(rule.detail for rule in verdict.rules if rule.rule == "sizing")
    assert "floor applies" in detail


@pytest.mark.parametrize(
    "wrong",
    [{"max_drawdown": 1.5}, {"risk_fraction": -0.1}, {"min_contracts": 3, "max_contracts": 2}],
)
def test_impossible_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RiskLimits(**wrong)  # type: ignore[arg-type]


def test_limits_have_the_names_and_defaults_of_the_settings() -> None:
    given = RiskSettings().model_dump(exclude={"capital", "allow_naked", "short_puts"})
    limits = RiskLimits(**given)
    assert limits == RiskLimits()


def test_a_backtest_obeys_the_drawdown_halt() -> None:
    venue = Venue(random_walk(8, 200), capital=2_000.0)
    act = random_entries(1.0, 0.3, seed=1)
    free = run_policy(venue, act)
    held = run_policy(
        venue, random_entries(1.0, 0.3, seed=1), entry_filter=risk_filter(RiskLimits())
    )
    assert free.daily.max_drawdown > 0.3
    assert held.trade_count < free.trade_count
    blocked = [d for d in held.decisions if d.requested in ENTRIES and d.action != d.requested]
    assert blocked
    first = held.decisions.index(blocked[0])
    assert not [d for d in held.decisions[first:] if d.action in ENTRIES]


def test_a_backtest_cannot_check_confidence() -> None:
    with pytest.raises(ConfigError, match=r"min_confidence=0\.5"):
        risk_filter(RiskLimits(min_confidence=0.5))
