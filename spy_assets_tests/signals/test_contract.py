from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from spy_assets.errors import NaiveTimestamp
from spy_assets.signals.contract import Signal, SignalLeg, keep_first, make_signal_id
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.signals import scenes

AS_OF = datetime(2018, 12, 21, 22, tzinfo=UTC)
GOLDEN_ID = "57a3f24693ecb2d0"


@pytest.mark.parametrize("action", scenes.ACTIONS)
def test_json_round_trip_is_exact(action: int) -> None:
    signal = scenes.signal(action)
    again = Signal.from_json(signal.to_json())
    assert again == signal
    assert again.to_json() == signal.to_json()


@pytest.mark.parametrize("action", scenes.ACTIONS)
def test_row_round_trip_is_exact(action: int) -> None:
    signal = scenes.signal(action)
    assert Signal.from_row(signal.to_row()) == signal


def test_the_row_has_the_columns_of_the_ledger() -> None:
    row = scenes.signal().to_row()
    assert set(row) == set(TABLES["ledger.signals"].columns) | {"available_at", "source"}
    assert json.loads(row["legs"])[0]["occ"] == "SPY   181228P00242000"
    assert row["risk_verdict"] == "allowed"


def test_the_id_depends_on_what_makes_a_signal_and_on_nothing_else() -> None:
    base = ("SPY", AS_OF, "ppo_daily", "3", "daily_15_proxy_v1")
    ids = {make_signal_id(*base)}
    for place, other in enumerate(("QQQ", AS_OF + timedelta(days=1), "a2c", "4", "chain_v1")):
        changed = [*base]
        changed[place] = other  # type: ignore[call-overload]
        ids.add(make_signal_id(*changed))  # type: ignore[arg-type]
    assert len(ids) == 6
    assert all(len(name) == 16 for name in ids)


def test_the_id_is_of_the_instant_not_of_its_zone() -> None:
    east = AS_OF.astimezone(timezone(timedelta(hours=9)))
    assert make_signal_id("SPY", east, "m", "1", "c") == make_signal_id("SPY", AS_OF, "m", "1", "c")


def test_the_id_never_changes_between_versions_of_the_program() -> None:
    assert make_signal_id("SPY", AS_OF, "ppo_daily", "3", "daily_15_proxy_v1") == GOLDEN_ID


def test_a_naive_time_has_no_id() -> None:
    with pytest.raises(NaiveTimestamp, match="2018-12-21T22:00:00"):
        make_signal_id("SPY", AS_OF.replace(tzinfo=None), "m", "1", "c")


@given(st.sampled_from(["symbol", "model_version", "as_of", "model"]))
@settings(deadline=None, max_examples=4)
def test_an_edited_payload_is_refused(field: str) -> None:
    body = json.loads(scenes.signal().to_json())
    body[field] = "2018-12-20T22:00:00Z" if field == "as_of" else "other"
    with pytest.raises(ValidationError, match="not the hash"):
        Signal.from_json(json.dumps(body))


@pytest.mark.parametrize(
    ("field", "value"),
    [("confidence", 1.2), ("size", -1), ("entry", float("nan")), ("surprise", 1)],
)
def test_impossible_fields_are_refused(field: str, value: float) -> None:
    body = json.loads(scenes.signal().to_json()) | {field: value}
    with pytest.raises(ValidationError, match=field):
        Signal.from_json(json.dumps(body))


def test_a_signal_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        scenes.signal().size = 3


def test_a_crossed_leg_is_refused() -> None:
    leg = scenes.signal().legs[0]
    with pytest.raises(ValidationError, match="bid 9"):
        SignalLeg(**(leg.model_dump() | {"bid": 9.0, "ask": 8.0}))


def test_a_size_needs_legs() -> None:
    body = json.loads(scenes.signal().to_json()) | {"legs": []}
    with pytest.raises(ValidationError, match="without legs"):
        Signal.from_json(json.dumps(body))


@pytest.mark.fault(63)
def test_a_replay_on_a_later_snapshot_is_the_same_signal() -> None:
    first, replayed = scenes.signal(lake_snapshot=42), scenes.signal(lake_snapshot=99)
    assert first.signal_id == replayed.signal_id
    assert keep_first(first, replayed) is first
    assert keep_first(None, replayed) is replayed


def test_another_decision_under_the_same_id_is_a_new_version() -> None:
    first, other = scenes.signal(3), scenes.signal(0)
    assert first.signal_id == other.signal_id
    assert keep_first(first, other) is other
