"""The commands that run assets: their options, their loop, what they print."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from spy_assets.cli.loop import _facts, _repeat, _summary_json, _summary_text
from spy_assets.cli.terminal import Terminal
from spy_assets.errors import DataError, SourceUnavailable


@dataclass
class Summary:
    """As `plan.RunSummary`, but that nothing was run."""

    rendered: str = ">>> SPY* OPTIONS SIGNAL <<<"
    report_path: str | None = "/reports/latest.html"
    materialized: int = 3
    skipped: int = 40
    seconds: float = 1.25
    signal: dict[str, Any] | None = None
    steps: list[Any] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"signal": self.signal, "materialized": self.materialized}


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
    shown = text_of(_summary_text(Summary()))  # type: ignore[arg-type]
    assert ">>> SPY* OPTIONS SIGNAL <<<" in shown
    assert "3 materialized, 40 up to date, 1.2 s" in shown
    assert "/reports/latest.html" in shown


def test_summary_as_json():
    assert _summary_json(Summary()) == {"signal": None, "materialized": 3}  # type: ignore[arg-type]


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


def test_once_raises_what_went_wrong(tmp_path):
    def fail() -> None:
        raise SourceUnavailable("vendor away")

    with pytest.raises(SourceUnavailable):
        _repeat(Terminal(), fail, None)


def test_the_loop_outlives_an_outage_but_no_other_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SPY_HOME", str(tmp_path))
    monkeypatch.setenv("SPY_SOURCE", "yfinance")
    errors = iter([SourceUnavailable("vendor away"), DataError("bad data")])

    def fail() -> None:
        raise next(errors)

    with pytest.raises(DataError):
        _repeat(Terminal(), fail, 0.01)
    assert "vendor away" in capsys.readouterr().err


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
