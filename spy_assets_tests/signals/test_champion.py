from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, NaiveTimestamp
from spy_assets.sessions import decision_time, next_session, sessions_between
from spy_assets.signals.champion import (
    accepted_promotions,
    champion_effective_at,
    first_session_allowed,
)

DAY = date(2018, 12, 21)
EARLY = datetime(2018, 1, 1, tzinfo=UTC)


def promotion(version: str, **changes: Any) -> dict[str, Any]:
    """An accepted champion trained long ago."""
    return {
        "model": "ppo_daily",
        "alias": "champion",
        "version": version,
        "effective_from": EARLY,
        "accepted": True,
        "basis": "gate",
        "reason": "",
        "train_end": date(2017, 12, 1),
    } | changes


def version_at(rows: list[dict[str, Any]], purge: int = 6) -> str | None:
    champion = champion_effective_at(rows, decision_time(DAY), purge)
    return champion.version if champion else None


def test_without_promotions_there_is_no_champion() -> None:
    assert version_at([]) is None


def test_the_latest_effective_promotion_wins() -> None:
    later = promotion("2", effective_from=datetime(2018, 6, 1, tzinfo=UTC))
    assert version_at([later, promotion("1")]) == "2"


def test_a_promotion_of_the_future_does_not_count() -> None:
    future = promotion("2", effective_from=datetime(2018, 12, 22, tzinfo=UTC))
    assert version_at([promotion("1"), future]) == "1"


def test_a_refused_promotion_does_not_count() -> None:
    assert version_at([promotion("1", accepted=False, basis="refused")]) is None


def test_a_challenger_is_no_champion() -> None:
    assert version_at([promotion("1", alias="challenger")]) is None


def test_a_model_trained_through_the_session_is_refused_for_it() -> None:
    planted = promotion("9", train_end=DAY, effective_from=EARLY)
    assert version_at([planted]) is None
    assert version_at([promotion("1"), planted]) == "1"


def test_the_purge_is_counted_in_sessions() -> None:
    # 2018-12-12 is seven sessions before 2018-12-21: six lie between them.
    between = sessions_between(date(2018, 12, 13), date(2018, 12, 20))
    assert len(between) == 6
    assert version_at([promotion("1", train_end=date(2018, 12, 12))]) == "1"
    assert version_at([promotion("1", train_end=date(2018, 12, 13))]) is None


@given(st.integers(0, 40), st.integers(0, 10))
@settings(deadline=None, max_examples=50)
def test_no_champion_ever_saw_the_purge_or_the_session(back: int, purge: int) -> None:
    train_end = sessions_between(date(2018, 10, 1), DAY)[-1 - back]
    found = version_at([promotion("1", train_end=train_end)], purge)
    assert (found is not None) == (back > purge)


def test_a_train_end_on_a_weekend_counts_from_the_session_before() -> None:
    assert first_session_allowed(date(2018, 12, 9), 0) == next_session(date(2018, 12, 7))


def test_versions_are_numbers_when_times_are_equal() -> None:
    assert version_at([promotion("9"), promotion("10")]) == "10"


def test_what_was_not_known_yet_does_not_count() -> None:
    hindsight = promotion("2", effective_from=EARLY, available_at=decision_time(next_session(DAY)))
    assert version_at([hindsight]) is None
    assert version_at([promotion("1"), hindsight]) == "1"


def test_a_refusal_of_the_same_moment_dethrones_nobody() -> None:
    refused = promotion("2", accepted=False, basis="refused")
    assert version_at([promotion("1"), refused]) == "1"


def test_a_promotion_that_was_taken_back_later_stood_until_then() -> None:
    later = decision_time(next_session(DAY))
    taken_back = promotion("1", accepted=False, available_at=later)
    rows = [promotion("1"), taken_back]
    assert version_at(rows) == "1"
    assert champion_effective_at(rows, later, 6) is None
    assert accepted_promotions(rows) == []


def test_of_the_same_moment_the_one_that_was_known_last_counts() -> None:
    noon = datetime(2018, 6, 1, 12, tzinfo=UTC)
    known = [promotion("9", available_at=noon), promotion("10", available_at=EARLY)]
    assert version_at(known) == "9"
    written = [promotion("9", ingested_at=noon), promotion("10", ingested_at=EARLY)]
    assert version_at(written) == "9"


def test_bootstrap_is_not_proof() -> None:
    champion = champion_effective_at(
        [promotion("1", basis="bootstrap", reason="first")], decision_time(DAY), 6
    )
    assert champion is not None
    assert not champion.is_proven


def test_naive_times_and_negative_purges_are_refused() -> None:
    with pytest.raises(NaiveTimestamp, match="2018-12-21"):
        champion_effective_at([], datetime(2018, 12, 21), 6)  # noqa: DTZ001
    with pytest.raises(ConfigError, match="purge_sessions=-1"):
        champion_effective_at([], decision_time(DAY), -1)
