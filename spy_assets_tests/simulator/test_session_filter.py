"""The session filter: edges, half days, expiry, and the same answer in the live risk layer."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from spy_assets.errors import ConfigError, NaiveTimestamp
from spy_assets.sessions import session_close, session_open
from spy_assets.signals.risk import AccountState, Conditions, Proposal, RiskLimits, assess
from spy_assets.simulator.session_filter import FILTERS, OPEN_ALL_DAY, SessionFilter

WHOLE = date(2024, 7, 2)
HALF = date(2024, 7, 3)


@pytest.mark.parametrize(
    ("since", "to_close", "reason"),
    [
        (29.0, 361.0, "first_minutes"),
        (30.0, 360.0, None),
        (360.0, 30.0, None),
        (361.0, 29.0, "last_minutes"),
    ],
)
def test_the_edges_themselves_are_free(since, to_close, reason):
    assert FILTERS["short_premium"].blocks(since, to_close) == reason


@pytest.mark.parametrize(
    ("day", "hour_utc", "minute", "reason"),
    [
        (WHOLE, 19, 30, None),  # 15:30 in New York
        (WHOLE, 19, 31, "last_minutes"),
        (HALF, 16, 30, None),  # 12:30, half an hour before an early close
        (HALF, 16, 31, "last_minutes"),
        (HALF, 17, 0, "closed"),
        (WHOLE, 13, 29, "closed"),
        (WHOLE, 13, 30, "first_minutes"),
    ],
)
def test_half_days_have_their_own_last_minutes(day, hour_utc, minute, reason):
    at = session_open(day).replace(hour=hour_utc, minute=minute)
    assert FILTERS["short_premium"].blocks_at(at, day) == reason


def test_expiry_is_counted_in_minutes_of_trading():
    rule = SessionFilter(0.0, 0.0, expiry_minutes=240.0)
    at = session_close(WHOLE) - timedelta(minutes=30)
    # 30 minutes of this session and 210 of the half day.
    assert rule.blocks_at(at, WHOLE, HALF) is None
    assert rule.blocks_at(at + timedelta(minutes=1), WHOLE, HALF) == "near_expiry"
    assert rule.blocks_at(at, WHOLE) is None


def test_a_filter_of_zeros_blocks_nothing_in_the_session():
    assert OPEN_ALL_DAY.blocks(0.0, 390.0) is OPEN_ALL_DAY.blocks(389.0, 1.0) is None


@pytest.mark.parametrize("minute", range(0, 391, 10))
def test_the_live_risk_layer_answers_the_same(minute):
    conditions = Conditions(
        WHOLE, WHOLE, minutes_since_open=float(minute), minutes_to_close=float(390 - minute)
    )
    account = AccountState(10_000.0, 10_000.0, 10_000.0)
    verdict = assess(Proposal("BUY_CALL", None, 100.0), account, conditions, RiskLimits())
    assert verdict.allowed is (FILTERS["short_premium"].blocks(minute, 390.0 - minute) is None)
    assert assess(Proposal("CLOSE"), account, conditions, RiskLimits()).allowed


def test_senseless_minutes_and_naive_moments_are_refused():
    with pytest.raises(ConfigError, match="last_minutes=-1"):
        SessionFilter(0.0, -1.0)
    with pytest.raises(NaiveTimestamp):
        OPEN_ALL_DAY.blocks_at(session_open(WHOLE).replace(tzinfo=None), WHOLE)
