"""Signals of a whole profile when models, data, clocks and operators are wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from spy_assets.alerts import alerter
from spy_assets.sessions import decision_time, previous_session, sessions_between
from spy_assets.settings import Settings
from spy_assets.signals.contract import Signal
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.connection import connect
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.graph.worlds import (
    BEFORE,
    FIRST,
    LAST,
    SIGNALS,
    World,
    latest_check,
    make,
    read,
    runner,
    signals,
    write,
)

pytestmark = pytest.mark.slow


def checked(settings: Settings, name: str) -> tuple[str, Any]:
    with runner(settings) as made:
        return latest_check(made.instance, "signals/daily_signal", name)


def stored(settings: Settings) -> dict[str, str]:
    rows = read(settings, "ledger.signals")
    return {
        row["signal_id"]: Signal.from_row(row).decision_digest()
        for row in rows.iter_rows(named=True)
    }


@pytest.mark.fault(63)
def test_signals_decided_again_are_the_same_rows(world: World, tmp_path: Path) -> None:
    settings = world.copy(tmp_path)
    before = stored(settings)
    days = [str(day) for day in sessions_between(FIRST, LAST)]
    for wanted in (days, days[-1:]):
        make(settings, "daily_signal_job", wanted)
        assert checked(settings, "replays_equal")[0] == "SUCCEEDED"
    assert stored(settings) == before
    with Warehouse.open(settings, read_only=True) as lake:
        assert lake.row_count("ledger.signals") == lake.row_count("ledger.decisions") == SIGNALS


def test_forty_sessions_are_one_run(world: World, tmp_path: Path) -> None:
    settings = world.copy(tmp_path)
    days = [str(day) for day in sessions_between(previous_session(BEFORE, 39), BEFORE)]
    step = make(settings, "daily_signal_job", days)
    assert (len(days), step.materialized) == (40, 40)
    with runner(settings) as made:
        from dagster import AssetKey

        done = made.instance.get_materialized_partitions(AssetKey(["signals", "daily_signal"]))
        newest = made.instance.get_runs(limit=1)[0]
        assert set(days) <= done
        assert len(done) == 40 + SIGNALS
        assert newest.tags["dagster/asset_partition_range_start"] == days[0]
    assert read(settings, "ledger.signals").height == 40 + SIGNALS


@pytest.mark.parametrize(
    ("train_end", "speaks"),
    [
        pytest.param(date(2018, 9, 4), False, id="trained through the session"),
        pytest.param(date(2018, 8, 28), False, id="ended within the purge"),
        pytest.param(date(2018, 8, 1), True, id="ended before it"),
    ],
)
def test_a_planted_model_that_saw_the_session_is_refused(
    world: World, tmp_path: Path, train_end: date, speaks: bool
) -> None:
    """Before the world's own promotion, so that the planted one is the only candidate."""
    settings, day = world.copy(tmp_path), date(2018, 9, 4)
    known = decision_time(date(2018, 9, 3) - timedelta(days=3))
    planted = {
        "model": "ppo_daily", "alias": "champion", "effective_from": known, "version": "1",
        "accepted": True, "basis": "gate", "reason": "planted", "train_end": train_end,
        "available_at": known, "source": "sample",
    }  # fmt: skip
    write(settings, "models.promotions", [planted])
    (row,) = signals(settings, day)
    assert row["model_version"] == ("1" if speaks else "none")
    assert ("no_model_yet" in row["reasons"]) == (not speaks)
    assert (row["action_name"] == "HOLD") or speaks
    assert checked(settings, "decided")[0] == ("SUCCEEDED" if speaks else "FAILED")


def forget(settings: Settings, table: str, session: date) -> None:
    """As if the source had not delivered: the session's rows are gone."""
    lake = connect(settings, read_only=False)
    lake.execute(f"DELETE FROM lake.{table} WHERE session = ?", [session])
    lake.close()


@pytest.mark.fault(39)
def test_without_the_sessions_features_it_holds_with_one_alert(
    world: World, tmp_path: Path
) -> None:
    settings = world.copy(tmp_path)
    days = sessions_between(previous_session(BEFORE), BEFORE)
    for day in days:
        forget(settings, "features.daily_15", day)
    for incident in alerter(settings).open_incidents():
        alerter(settings).resolve(incident["key"])
    for day in days:
        (row,) = signals(settings, day)
        assert row["action_name"] == "HOLD"
        assert json.loads(row["reasons"])[0].startswith("missing_input: no row of daily_15")
    alerts = alerter(settings).open_incidents()
    assert [one["key"] for one in alerts if one["key"].startswith("missing_input")] == [
        "missing_input:SPY"
    ]
    assert str(days[0]) in alerts[0]["detail"]  # the first of the two, not a second alert


def test_an_incident_ends_with_the_first_good_signal(world: World, tmp_path: Path) -> None:
    settings = world.copy(tmp_path)
    earlier = previous_session(BEFORE)
    forget(settings, "features.daily_15", earlier)
    signals(settings, earlier)
    assert "missing_input:SPY" in [one["key"] for one in alerter(settings).open_incidents()]
    signals(settings, BEFORE)
    assert "missing_input:SPY" not in [one["key"] for one in alerter(settings).open_incidents()]


@contextmanager
def clock_server(ahead: timedelta) -> Iterator[str]:
    """A real server whose clock is off."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(datetime.now(tz=UTC) + ahead, usegmt=True)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.fault(41)
@pytest.mark.parametrize("ahead", [timedelta(seconds=60), timedelta(seconds=-60), timedelta(0)])
def test_a_clock_that_is_off_holds_entries(world: World, tmp_path: Path, ahead: timedelta) -> None:
    with clock_server(ahead) as url:
        settings = world.copy(tmp_path, live={"clock_url": url})
        (row,) = signals(settings, BEFORE)
    blocked = {rule["rule"] for rule in json.loads(row["risk_rules"]) if not rule["passed"]}
    assert ("clock_skew" in blocked) == (ahead != timedelta(0))
    if ahead:
        assert (row["action_name"], row["size"]) == ("HOLD", 0)
        assert any(reason.startswith("clock_skew: ") for reason in json.loads(row["reasons"]))


@pytest.mark.fault(64)
def test_the_kill_file_halts_and_still_does_in_the_next_process(
    world: World, tmp_path: Path
) -> None:
    settings = world.copy(tmp_path)
    settings.kill_file.write_text("operator: rates look wrong\n")
    days = sessions_between(previous_session(BEFORE), BEFORE)
    for day in days:
        (row,) = signals(settings, day)
        assert row["action_name"] == "HOLD"
        assert "kill_switch: set: operator: rates look wrong" in json.loads(row["reasons"])


@pytest.mark.fault(20)
def test_a_late_revision_makes_new_versions_and_leaves_the_old_signals(
    world: World, tmp_path: Path
) -> None:
    settings, day = world.copy(tmp_path), date(2018, 12, 20)
    before, known = stored(settings), {"as_of": decision_time(day)}
    (old,) = read(settings, "ledger.signals", where="session = ?", params=(day,)).iter_rows(
        named=True
    )
    seen = read(settings, "features.daily_15", **known)
    _revise_close(settings, day, factor=0.97)
    features = [["features", name] for name in ("adjusted_bars", "indicators", "daily_15")]
    stage = [
        ["features_stg", f"stg_{name}"] for name in ("adjusted_bars", "indicators", "daily_bars")
    ]
    make(settings, "refresh_history", ["2018"], keys=features + stage)

    # Old knowledge reads back as it was, by time and by snapshot; the present shows the revision.
    assert read(settings, "features.daily_15", **known).equals(seen)
    at_then = read(settings, "features.daily_15", snapshot=old["lake_snapshot"])
    assert at_then.filter(pl.col("session") <= day).equals(seen.filter(pl.col("session") <= day))
    now = read(settings, "features.daily_15")
    assert _close(now, day) == pytest.approx(0.97 * _close(seen, day), abs=0.01)
    with Warehouse.open(settings, read_only=True) as lake:
        versions = lake.history("features.daily_15").filter(session=day)
        assert versions.height == 2
        assert versions["available_at"].is_sorted()

    # And the signals of that time are decided as they were.
    make(settings, "daily_signal_job", [str(d) for d in sessions_between(FIRST, LAST)])
    assert checked(settings, "replays_equal")[0] == "SUCCEEDED"
    assert stored(settings) == before


def _close(rows: pl.DataFrame, day: date) -> float:
    return float(rows.filter(session=day)["close"][0])


def _revise_close(settings: Settings, day: date, factor: float) -> None:
    spec = TABLES["market.daily_bars"]
    with Warehouse.open(settings) as lake:
        bar = lake.read(spec.name, where="session = ?", params=(day,)).drop("ingested_at")
        close = (bar["close"] * factor).round(2)
        bar = bar.with_columns(close=close, low=close - 1.0)
        result = lake.write(spec, bar, ingested_at=datetime.now(tz=UTC))
    assert result.revised == 1
