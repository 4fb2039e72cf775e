"""What a decision may see of the lake, and what it does when the champion or its settings are gone."""

from __future__ import annotations

import json
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spy_assets.alerts import alerter
from spy_assets.defs import account, deciding
from spy_assets.defs.ingestion import Outcome, store
from spy_assets.defs.resources import SpyResource
from spy_assets.market.ingest import ingest_minutes
from spy_assets.market.sources.files import FilesSource
from spy_assets.sessions import decision_time, previous_session, session_close, sessions_between
from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES
from spy_assets_tests.graph.worlds import (
    BEFORE,
    FIRST,
    LAST,
    SIGNALS,
    SMALL,
    World,
    latest_check,
    make,
    read,
    runner,
    signals,
    write,
)
from spy_assets_tests.market.sources.test_files import daily, minutes
from spy_assets_tests.market.sources.test_files import write as write_file

DAY = date(2018, 11, 14)
CLOSE = session_close(DAY)
KNOWN = decision_time(DAY)


def count(note: str, present: int) -> dict[str, Any]:
    """A session's minutes as they were counted."""
    return {
        "dataset": "minute_bars", "symbol": "SPY", "session": DAY, "due": 390, "present": present,
        "gaps": int(present < 390), "note": note, "available_at": CLOSE, "source": "test",
    }  # fmt: skip


def withheld(reason: str) -> dict[str, Any]:
    return {
        "dataset": "daily_bars", "row_id": reason, "symbol": "SPY", "session": DAY, "reason": reason,
        "severity": "error", "available_at": CLOSE, "source": "test",
    }  # fmt: skip


def bar() -> dict[str, Any]:
    prices = dict.fromkeys(("open", "high", "low", "close"), 270.0)
    return {"symbol": "SPY", "session": DAY, **prices, "available_at": CLOSE, "source": "test"}


def flags(settings: Settings) -> tuple[str, ...]:
    """The session's flags as the present lake has them."""
    with Warehouse.open(settings) as lake:
        for name in (
            "market.daily_bars",
            "market.volatility",
            "market.coverage",
            "quarantine.rows",
        ):
            lake.ensure(TABLES[name])
        found = deciding.quality_flags(lake, "SPY", [DAY], lake.snapshot_id())
    return found.get(DAY, ())


@pytest.mark.fault(13)
@pytest.mark.parametrize(
    ("mended", "flagged"),
    [
        pytest.param(KNOWN - timedelta(minutes=5), False, id="before the decision"),
        pytest.param(KNOWN + timedelta(minutes=5), True, id="after the decision"),
    ],
)
def test_the_last_count_of_minutes_known_at_the_decision_is_the_one(
    settings: Settings, mended: datetime, flagged: bool
) -> None:
    write(settings, "market.coverage", [count("longest gap 60; from a.parquet", 330)], CLOSE)
    assert flags(settings) == ("minute_gaps:60",)
    write(settings, "market.coverage", [count("", 390)], mended)
    assert flags(settings) == (("minute_gaps:60",) if flagged else ())


def test_a_hole_that_came_with_a_later_count_is_seen(settings: Settings) -> None:
    write(settings, "market.coverage", [count("", 390)], CLOSE)
    write(settings, "market.coverage", [count("longest gap 7", 383)], KNOWN)
    assert flags(settings) == ("minute_gaps:7",)


def test_short_gaps_are_no_flag(settings: Settings) -> None:
    write(settings, "market.coverage", [count("longest gap 5", 380)], CLOSE)
    assert flags(settings) == ()


def test_a_count_of_another_data_set_is_no_flag(settings: Settings) -> None:
    chain = count("longest gap 60; no chain", 0) | {"dataset": "option_chain", "due": 1}
    write(settings, "market.coverage", [chain], CLOSE)
    assert flags(settings) == ()


def test_a_withheld_row_is_a_flag_until_a_good_one_came(settings: Settings) -> None:
    write(settings, "market.daily_bars", [bar()], CLOSE)
    write(settings, "quarantine.rows", [withheld("high_below_low")], CLOSE)
    assert flags(settings) == ("quarantined:high_below_low",)
    write(settings, "market.daily_bars", [bar() | {"close": 269.0}], KNOWN)
    assert flags(settings) == ()


def test_halts_are_cleared_by_dated_lines_only(settings: Settings) -> None:
    settings.root.mkdir(parents=True)
    assert account.paper_setup(settings).cleared == ()
    text = "2018-11-14 anna: the loss is understood\n\nplease go on\n2018-10-26\n"
    settings.resume_file.write_text(text)
    assert account.paper_setup(settings).cleared == (date(2018, 10, 26), DAY)


def ingest_with_hole(settings: Settings, folder: Path, day: date) -> None:
    """A minute file that lacks the session's second hour, ingested as the asset does it."""
    write_file(folder, "bars/daily/SPY.parquet", daily([day], [250.0]))
    there = [*range(60), *range(120, 390)]
    write_file(folder, "bars/1min/SPY/a.parquet", minutes(day, there, 250.0))  # type: ignore[arg-type]
    outcome = Outcome(parts=[ingest_minutes(FilesSource(folder), "SPY", day)])
    with Warehouse.open(settings) as lake:
        spy = SpyResource(now=session_close(day).isoformat())
        store(lake, "minute_bars", outcome, spy)


@pytest.mark.slow
@pytest.mark.fault(13)
def test_a_session_with_an_hour_missing_is_held(world: World, tmp_path: Path) -> None:
    settings = world.copy(tmp_path / "home")
    ingest_with_hole(settings, tmp_path / "files", BEFORE)
    (row,) = signals(settings, BEFORE)
    assert (row["action_name"], row["size"]) == ("HOLD", 0)
    reason = "data_quality: blocking flags: minute_gaps:60"
    assert reason in json.loads(row["reasons"])
    (earlier,) = signals(settings, previous_session(BEFORE))
    assert reason not in json.loads(earlier["reasons"])


def lose_the_champion(settings: Settings) -> None:
    """Its weights are gone where MLflow has them and where the profile keeps its copy."""
    for file in settings.mlruns_dir.rglob("*.npz"):
        file.unlink()
    shutil.rmtree(settings.root / "models")


@pytest.mark.slow
def test_a_champion_whose_file_is_lost_holds_with_an_alert_and_comes_back(
    world: World, tmp_path: Path
) -> None:
    settings = world.copy(tmp_path)
    kept = tmp_path / "kept"
    shutil.copytree(settings.root / "models", kept)
    before = read(settings, "ledger.signals")
    lose_the_champion(settings)
    days = [str(day) for day in sessions_between(BEFORE, LAST)]
    make(settings, "daily_signal_job", days)

    (row,) = read(
        settings, "ledger.signals", where="session = ?", params=(BEFORE,)
    ).iter_rows(named=True)  # fmt: skip
    assert (row["action_name"], row["model_version"]) == ("HOLD", "1")
    assert json.loads(row["reasons"])[0].startswith("model_error: ")
    assert "is gone" in json.loads(row["reasons"])[0]
    assert "model_error:SPY:ppo_daily:1" in [
        one["key"] for one in alerter(settings).open_incidents()
    ]
    later = read(settings, "ledger.signals", where="session >= ?", params=(FIRST,))
    assert later.equals(before)  # what stands, stands
    assert replayed(settings) == "SUCCEEDED"  # what cannot be asked is not called wrong

    shutil.copytree(kept, settings.root / "models")
    make(settings, "daily_signal_job", days[-1:])
    assert replayed(settings) == "SUCCEEDED"
    assert not [
        one for one in alerter(settings).open_incidents() if one["key"].startswith("model_error")
    ]


def replayed(settings: Settings) -> str:
    with runner(settings) as made:
        return latest_check(made.instance, "signals/daily_signal", "replays_equal")[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{"costs": "alpaca"}, {"risk": {"capital": 50_000.0}}, {"risk": {"max_contracts": 1}}]
)
def test_signals_of_other_settings_are_named_and_not_called_different(
    world: World, tmp_path: Path, change: dict[str, Any]
) -> None:
    days, settings = sessions_between(FIRST, LAST), world.copy(tmp_path)
    own = SMALL | {"home": str(tmp_path)}
    for overrides, expected in ((own, 0), (own | change, SIGNALS)):
        spy = SpyResource(overrides=overrides)
        with Warehouse.open(settings) as lake:
            recorded = deciding.load_signals(lake, "SPY")
            assert deciding.decided_differently(lake, spy, recorded, days) == []
        assert len(deciding.of_other_settings(recorded, spy.settings, days)) == expected
