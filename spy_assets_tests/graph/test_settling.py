"""Outcomes and replays of a whole profile when signals double, features come late, operators halt."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from spy_assets import plan
from spy_assets.alerts import alerter
from spy_assets.defs.deciding import REFRESH_INCIDENT, load_signals
from spy_assets.sessions import previous_session, sessions_between
from spy_assets.settings import Settings
from spy_assets.signals.contract import NO_MODEL, Signal, make_signal_id
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.connection import connect
from spy_assets_tests.graph.worlds import (
    FIRST,
    LAST,
    World,
    latest_check,
    make,
    read,
    runner,
    signals,
    write,
)

pytestmark = pytest.mark.slow
DAYS = [str(day) for day in sessions_between(FIRST, LAST)]


def all_signals(settings: Settings) -> list[Signal]:
    with Warehouse.open(settings, read_only=True) as lake:
        return load_signals(lake, "SPY")


def exits(settings: Settings) -> list[date]:
    return read(settings, "ledger.outcomes")["exit_session"].sort().to_list()


def test_two_models_that_decide_alike_are_one_trade(world: World, tmp_path: Path) -> None:
    settings = world.copy(tmp_path)
    entry = next(one for one in all_signals(settings) if one.is_entry)
    twin_id = make_signal_id("SPY", entry.as_of, entry.model, "2", entry.observation_contract)
    twin = entry.model_copy(update={"model_version": "2", "signal_id": twin_id})
    write(settings, "ledger.signals", [twin.to_row()])
    before = read(settings, "ledger.outcomes")["pnl"].sum()
    make(settings, "track_outcomes", DAYS)
    outcomes = read(settings, "ledger.outcomes")
    assert outcomes["pnl"].sum() == before
    assert twin_id not in outcomes["signal_id"].to_list()


def test_a_trade_whose_session_came_late_is_settled_later(world: World, tmp_path: Path) -> None:
    settings = world.copy(tmp_path)
    before = exits(settings)
    missed = before[0]
    lake = connect(settings, read_only=False)
    lake.execute("DELETE FROM lake.ledger.outcomes")
    lake.execute("DELETE FROM lake.ledger.fills")
    lake.close()
    later = [day for day in DAYS if day > str(missed)]
    make(settings, "track_outcomes", later)
    assert exits(settings) == before


def test_without_the_markets_row_nothing_is_settled_and_the_run_says_so(
    world: World, tmp_path: Path
) -> None:
    settings = world.copy(tmp_path)
    lake = connect(settings, read_only=False)
    lake.execute("DELETE FROM lake.features.daily_15 WHERE session = ?", [LAST])
    lake.close()
    with pytest.raises(plan.RunFailed, match=rf"no priced row of {LAST}"):
        make(settings, "track_outcomes", [str(LAST)])


def test_a_halt_today_does_not_make_old_signals_wrong(world: World, tmp_path: Path) -> None:
    settings = world.copy(tmp_path)
    settings.kill_file.write_text("operator")
    before = {one.signal_id for one in all_signals(settings)}
    make(settings, "daily_signal_job", DAYS)
    with runner(settings) as made:
        assert (
            latest_check(made.instance, "signals/daily_signal", "replays_equal")[0] == "SUCCEEDED"
        )
    assert {one.signal_id for one in all_signals(settings)} == before


def test_an_open_incident_of_the_refresh_is_an_outage(world: World, tmp_path: Path) -> None:
    settings, day = world.copy(tmp_path), previous_session(FIRST)
    now = datetime(2018, 12, 1, tzinfo=UTC)
    alerter(settings).send(key=REFRESH_INCIDENT, title="refresh failed", text="away", now=now)
    (row,) = signals(settings, day)
    assert row["action_name"] == "HOLD"
    if row["model_version"] != NO_MODEL:
        assert "source_outage: refresh failed since" in row["reasons"]
