from __future__ import annotations

from datetime import date

import pytest

from spy_assets.models.policy.staleness import model_age, stale_reason


@pytest.mark.parametrize(
    ("train_end", "session", "age"),
    [
        (date(2018, 9, 28), date(2018, 9, 28), 0),
        (date(2018, 11, 21), date(2018, 11, 23), 1),  # Thanksgiving lies between
        (date(2018, 9, 28), date(2018, 10, 5), 5),
    ],
)
def test_age_counts_sessions(train_end: date, session: date, age: int) -> None:
    assert model_age(train_end, session) == age


def test_a_model_at_the_limit_is_not_stale() -> None:
    assert stale_reason(date(2018, 9, 28), date(2018, 10, 5), 5) is None
