"""`spy prefs` on a ledger with a few closed trades."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from spy_assets import clock
from spy_assets.cli.preference_view import side_by_side
from spy_assets.defs import learning
from spy_assets.models.preference.pairs import Preference
from spy_assets.sessions import decision_time, next_session
from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import Warehouse
from spy_assets_tests.cli.ledgers import CLOSES, DAYS, WRITTEN, bars, frame, outcome, signal

CALL = {"occ": "SPY   180629C00271000", "side": "buy", "ratio": 1}
#: Profits of the closed trades, one a session.
PNL = (98.7, -120.0, 40.0)


def closed(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A signal of a session, and what became of it."""
    issued = signal(DAYS[number], "BUY_CALL", 0)
    row = issued.to_row() | {"structure": "long_call", "size": 1, "display_symbol": "SPY* 271 C"}
    row |= {"legs": f"[{_json(CALL)}]", "regime": "neutral"}
    settled = outcome(issued) | {"pnl": PNL[number], "pnl_pct": PNL[number] / 200}
    return row, settled | {"exit_reason": "stop_loss" if PNL[number] < 0 else "profit_target"}


def _json(value: Any) -> str:
    import json

    return json.dumps(value)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Three closed trades, which tests copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPY_ENV_FILE", "/nonexistent/.env")
        home = tmp_path_factory.mktemp("prefs")
        settings = load_settings(home=home, source="sample", profile="sample")
    known = [closed(number) for number in range(3)]
    with Warehouse.open(settings) as lake:
        for table, rows in zip(
            ("ledger.signals", "ledger.outcomes"), zip(*known, strict=True), strict=True
        ):
            lake.write(learning_table(table), frame(table, list(rows)), ingested_at=WRITTEN)
        lake.write(learning_table("market.daily_bars"), bars(CLOSES), ingested_at=WRITTEN)
    return settings


@pytest.fixture
def profile(made: Settings, tmp_path: Path) -> Settings:
    shutil.copytree(made.root, tmp_path / ".spy" / "sample")
    return load_settings(home=tmp_path, source="sample", profile="sample")


def learning_table(name: str) -> Any:
    from spy_assets.warehouse import TABLES

    return TABLES[name]


@pytest.fixture
def prefs(spy: Callable[..., Any], profile: Settings) -> Callable[..., Any]:
    def run(*words: object, keys: str = "") -> Any:
        typed = "".join(f"{key}\n" for key in keys)
        return spy("--home", profile.home, "prefs", *words, stdin=typed)

    return run


def stored(settings: Settings) -> list[Preference]:
    with Warehouse.open(settings, read_only=True) as lake:
        return learning.preferences(lake, settings)


def test_answers_are_stored_as_they_are_given(prefs: Callable[..., Any], profile: Settings) -> None:
    ran = prefs("collect", "--rater", "anna", keys="1sq")
    assert ran.code == 0
    assert ran.stdout.count("Which trade was better?") == 3
    assert "2 answers stored, 1 of them skipped" in ran.stdout
    said = stored(profile)
    assert [(one.preferred, one.rater) for one in said] == [("1", "anna"), ("skip", "anna")]
    assert len({frozenset((one.first, one.second)) for one in said}) == 2


def test_a_pair_is_shown_once_to_each_person(prefs: Callable[..., Any], profile: Settings) -> None:
    first = prefs("collect", "--rater", "anna", "--json", keys="12").json
    assert (first["answered"], first["rater"]) == (2, "anna")
    rest = prefs("collect", "--rater", "anna", "--json", keys="1111").json
    assert rest["answered"] == 1
    assert prefs("collect", "--rater", "bob", "--json", keys="111").json["answered"] == 3
    assert "every pair has an answer" in prefs("collect", "--rater", "bob").stdout
    assert len(stored(profile)) == 6


def test_other_keys_are_not_answers_and_count_limits(
    prefs: Callable[..., Any], profile: Settings
) -> None:
    ran = prefs("collect", "--count", 1, keys="x72")
    assert (ran.code, len(stored(profile))) == (0, 1)
    assert stored(profile)[0].preferred == "2"


def test_two_trades_stand_side_by_side(prefs: Callable[..., Any]) -> None:
    shown = prefs("collect", keys="q").stdout
    line = next(line for line in shown.splitlines() if "trade" in line)
    assert line.count("SPY* 271 C") == 2
    told = ("+$98.70 (+49% of risk)", "-$120.00 (-60% of risk)", "+$40.00 (+20% of risk)")
    assert sum(words in shown for words in told) == 2
    assert "paid $200.00, closed for $300.00" in shown
    assert "271.00 to 274.00 (+1.1%)" in shown


def test_the_lines_of_price_and_payoff_by_hand() -> None:
    """Closes 271, 272, 269, 271.5 of which the first is before the entry; a call that cost $200."""
    closes = dict(zip(DAYS, CLOSES, strict=True))
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    row, settled = closed(0)
    console.print(side_by_side((row, settled), (row | {"legs": "[]"}, settled), closes))
    told = console.export_text()
    assert "▆█▁▇  271.00 to 274.00" in told
    assert "not recorded" in told
    payoff = next(line for line in told.splitlines() if "payoff" in line)
    assert payoff.count("▁") == 13  # spots up to the strike, which is the entry's spot
    assert "257 to 285" in payoff


def test_too_few_trades_are_told(spy: Callable[..., Any], tmp_path: Path) -> None:
    spy("--home", tmp_path, "db", "init")
    ran = spy("--home", tmp_path, "prefs", "collect", "--json")
    assert ran.code == 3
    assert "0 trades have closed" in ran.json["error"]["message"]


def test_stats_without_answers_and_with_a_few(prefs: Callable[..., Any]) -> None:
    assert prefs("stats", "--json").json == {
        "answers": 0, "skipped": 0, "lost": 0, "raters": {},
        "accuracy": None, "interval": None, "held_out": 0, "likes": {},
    }  # fmt: skip
    prefs("collect", "--rater", "anna", keys="12s")
    told = prefs("stats", "--json").json
    assert (told["answers"], told["skipped"], told["raters"]) == (3, 1, {"anna": 3})
    assert set(told["likes"]) == {
        "gain", "loss", "costs", "holding", "risk", "stopped", "credit"
    }  # fmt: skip
    shown = prefs("stats").stdout
    assert "too few answers to hold any out" in shown
    assert "mostly noise" in shown


def test_stats_tell_the_held_out_accuracy_with_its_interval(
    prefs: Callable[..., Any], profile: Settings
) -> None:
    ids = [closed(number)[1]["signal_id"] for number in range(3)]
    with Warehouse.open(profile) as lake:
        rows = [
            Preference(ids[0], ids[1], "1", f"rater {number}", clock.utc_now()).to_row(
                "SPY", "sample"
            )
            for number in range(10)
        ]
        table = "ledger.preferences"
        lake.write(learning_table(table), frame(table, rows), ingested_at=clock.utc_now())
    told = prefs("stats", "--json").json
    assert (told["accuracy"], told["held_out"]) == (1.0, 10)
    assert told["interval"] == pytest.approx([0.7225, 1.0], abs=1e-4)
    assert "100% of 10" in prefs("stats").stdout


def test_a_live_profile_knows_only_answers_given_by_then(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, source="yfinance", profile="live")
    day: date = DAYS[0]
    late = decision_time(next_session(day))
    with Warehouse.open(settings) as lake:
        row = Preference("a", "b", "1", "anna", late).to_row("SPY", "yfinance")
        table = "ledger.preferences"
        lake.write(learning_table(table), frame(table, [row]), ingested_at=late)
        assert not learning.preferences(lake, settings, decision_time(day))
        assert len(learning.preferences(lake, settings, late)) == 1


@pytest.mark.slow
def test_at_a_terminal_one_key_is_an_answer(profile: Settings) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "spy_assets.cli", "--home", str(profile.home)]
    process = subprocess.Popen(
        [*command, "prefs", "collect", "--rater", "anna"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    told, keys = b"", {b"better?": b"1", b"better? 1": b"q"}
    while process.poll() is None:
        ready, _, _ = select.select([ours], [], [], 1.0)
        if ready:
            told += _read(ours)
        elif waiting := [key for words, key in keys.items() if words in told]:
            os.write(ours, waiting[-1])  # again, as what is typed before it is asked for is dropped
    os.close(ours)
    assert process.wait() == 0
    said = [one.preferred for one in stored(profile)]
    assert said == ["1"] * len(said) != []


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end has gone
        return b""
