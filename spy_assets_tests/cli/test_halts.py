"""`spy resume` on an account that bought calls into a falling market."""

from __future__ import annotations

import getpass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from spy_assets.defs.account import cleared_halts
from spy_assets.defs.settling import DrawdownHalt, drawdown_halt
from spy_assets.sessions import next_session
from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse
from spy_assets_tests.cli.ledgers import signal
from spy_assets_tests.graph.courts import CALLS, Court
from spy_assets_tests.graph.worlds import write

#: Sessions after the first decision at which the calls have lost most of what they cost.
FALLEN = 5


@pytest.fixture
def court(tmp_path: Path) -> Court:
    """A live profile; ten calls are bought on the first session, and the market falls."""
    court = Court.sit(tmp_path, drift=-0.01, source="yfinance")
    bought = signal(court.days[0], "BUY_CALL", CALLS).model_copy(update={"size": 10})
    write(court.settings, "ledger.signals", [bought.to_row()])
    return court


def halt_after(settings: Settings, day: date) -> DrawdownHalt:
    with Warehouse.open(settings, read_only=True) as lake:
        return drawdown_halt(lake, settings, day)


@pytest.fixture
def resume(spy: Any, court: Court, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `spy resume` after a session."""

    def run(day: date, *words: str, reason: str = "the loss is understood") -> Any:
        monkeypatch.setenv("SPY_AS_OF", str(day))
        home = court.settings.home
        return spy("--home", home, "--source", "yfinance", "resume", "--reason", reason, *words)

    return run


def test_resume_shows_the_halt_and_ends_it(resume: Any, court: Court) -> None:
    day = court.days[FALLEN]
    told = halt_after(court.settings, day)
    assert (told.holds, told.from_session) == (True, day)
    ran = resume(day, reason="  the loss\nis understood ")
    assert ran.code == 0
    assert "halted until a person clears it" in ran.stdout
    line = f"{day} {getpass.getuser()}: the loss is understood"
    assert court.settings.resume_file.read_text() == f"{line}\n"
    assert cleared_halts(court.settings) == (day,)
    assert not halt_after(court.settings, court.days[FALLEN + 1]).holds


def test_a_session_that_is_decided_stays_as_it_is(resume: Any, court: Court) -> None:
    day = court.days[FALLEN]
    write(court.settings, "ledger.signals", [signal(day, "HOLD", 5).to_row()])
    court.settings.resume_file.write_text("2010-01-04 anna: an older one")
    ran = resume(day, "--json").json
    assert ran["resumed"].startswith(f"{next_session(day)} ")
    assert cleared_halts(court.settings) == (date(2010, 1, 4), next_session(day))
    again = resume(day)
    assert (again.code, f"cleared from {next_session(day)}" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("latched", "told"), [(False, "drawdown 0.00%, limit 10.00%"), (True, "KILL")]
)
def test_without_a_halt_nothing_is_written(
    resume: Any, court: Court, latched: bool, told: str
) -> None:
    if latched:
        court.settings.kill_file.touch()
    ran = resume(court.days[0], "--json")
    assert ran.code == ran.json["error"]["exit_code"] == 1
    assert told in ran.json["error"]["message"]
    assert not court.settings.resume_file.exists()


def test_a_profile_without_features_has_no_halt(spy: Any, lake: Settings) -> None:
    ran = spy("--home", lake.home, "resume", "--reason", "x", "--json")
    assert (ran.code, "no drawdown halt" in ran.json["error"]["message"]) == (1, True)


def test_a_reason_must_be_given(resume: Any, court: Court) -> None:
    assert resume(court.days[FALLEN], reason=" ").code == 2
