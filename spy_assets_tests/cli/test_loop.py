"""The commands that run assets: their options, their loop, what they print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import typer

from spy_assets import plan
from spy_assets.cli.loop import _facts, _repeat, _summary_json, _summary_text, _tell
from spy_assets.cli.terminal import Terminal
from spy_assets.errors import DataError, LockTimeout, SourceUnavailable


def summary(failure: plan.RunFailed | None = None) -> plan.RunSummary:
    """Of a run that made three things in 1.25 s."""
    steps = [plan.Step("market", materialized=3, skipped=40)]
    return plan.RunSummary(
        rendered=">>> SPY* OPTIONS SIGNAL <<<", report_path="/reports/latest.html",
        failure=failure, steps=steps, seconds=1.25,
    )  # fmt: skip


OUTAGE = plan.RunFailed("bars failed: away", origin=SourceUnavailable("away", hint="wait"))


def text_of(renderable: Any) -> str:
    from rich.console import Console

    console = Console(width=100)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


@pytest.mark.parametrize(
    "words",
    [
        ["signal", "--once", "--interval", "60"],
        ["signal", "--interval", "0"],
        ["track", "--interval", "5"],
        ["track", "--hours", "-1"],
        ["train", "--timesteps", "0"],
        ["train", "--preset", "huge"],
        ["retrain", "--timesteps", "many"],
    ],
)
def test_wrong_options_are_refused_before_anything_runs(spy, words: list[str]):
    ran = spy(*words)
    assert ran.code == 2
    assert ran.stdout == ""


def test_summary_shows_signal_counts_and_report():
    shown = text_of(_summary_text(summary()))
    assert ">>> SPY* OPTIONS SIGNAL <<<" in shown
    assert "3 materialized, 40 up to date, 1.2 s" in shown
    assert "/reports/latest.html" in shown


def test_summary_as_json():
    body = _summary_json(summary())
    assert (body["signal"], body["materialized"], body["skipped"]) == (None, 3, 40)
    assert "error" not in body


def test_what_held_the_signal_is_in_the_one_document(capsys):
    assert _tell(Terminal(as_json=True), summary(OUTAGE)) is OUTAGE
    body = json.loads(capsys.readouterr().out)
    assert body["materialized"] == 3
    assert (body["error"]["type"], body["error"]["exit_code"]) == ("SourceUnavailable", 3)


def test_what_held_the_signal_is_told_after_it(capsys):
    assert _tell(Terminal(), summary(OUTAGE)) is OUTAGE
    told = capsys.readouterr()
    assert ">>> SPY* OPTIONS SIGNAL <<<" in told.out
    assert "SourceUnavailable" in told.err
    assert "bars failed: away" in told.err


def test_lines_are_broken_once_and_paths_never(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    path = "/a/" + "long/" * 20 + "report.html"
    Terminal().emit({}, lambda: _summary_text(replace(summary(), report_path=path)))
    assert f"report {path}" in capsys.readouterr().out.splitlines()


def test_facts_show_nested_numbers():
    shown = text_of(_facts("training", {"net_pnl": 12.5, "seeds": [1, 2], "gate": {"ok": True}}))
    for words in ("training", "net pnl", "12.5", "ok: True"):
        assert words in shown


def test_a_historical_source_gets_one_turn(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SPY_HOME", str(tmp_path))
    turns: list[int] = []
    _repeat(Terminal(), lambda: turns.append(1), 300.0)
    assert turns == [1]
    assert "ends in the past" in capsys.readouterr().err


def test_once_ends_with_the_code_of_what_was_told():
    with pytest.raises(typer.Exit) as ended:
        _repeat(Terminal(), lambda: OUTAGE, None)
    assert ended.value.exit_code == 3


def test_once_raises_what_went_wrong(tmp_path):
    def fail() -> None:
        raise SourceUnavailable("vendor away")

    with pytest.raises(SourceUnavailable):
        _repeat(Terminal(), fail, None)


def test_the_loop_outlives_an_outage_but_no_other_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SPY_HOME", str(tmp_path))
    monkeypatch.setenv("SPY_SOURCE", "yfinance")
    locked = plan.RunFailed("bars failed: locked", origin=LockTimeout("locked"))
    broken = plan.RunFailed("bars failed: bad data", origin=DataError("bad data"))
    errors = iter([SourceUnavailable("vendor away"), OUTAGE, locked, broken])

    def fail() -> None:
        raise next(errors)

    with pytest.raises(plan.RunFailed, match="bad data"):
        _repeat(Terminal(), fail, 0.01)
    told = capsys.readouterr().err
    for words in ("vendor away", "bars failed: away", "bars failed: locked", "LockTimeout"):
        assert words in told


@pytest.mark.fault(53)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_waiting_loop_with_130_even_in_the_background(number):
    code = (
        "import signal, sys, typer; from spy_assets.cli import application as a, loop\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a script's background job starts\n"
        "a.listen()\n"
        "app = typer.Typer(cls=a.SpyGroup)\n"
        "@app.command()\n"
        "def wait(): loop._repeat(a.Terminal(), lambda: print('turn', flush=True), 600.0)\n"
        "@app.command()\n"
        "def other(): ...\n"
        "sys.argv = ['spy', 'wait']; app()"
    )
    environment = {**os.environ, "SPY_SOURCE": "yfinance"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "turn\n"
        threading.Timer(0.2, process.send_signal, [number]).start()
        started = time.monotonic()
        assert process.wait(20) == 130
        assert time.monotonic() - started < 10
