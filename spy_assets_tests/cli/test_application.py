"""Global options, errors as exit codes, JSON, and that the command line loads nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from spy_assets import errors
from spy_assets.cli.application import SpyGroup
from spy_assets.cli.terminal import dumps, environment

HEAVY = ("duckdb", "polars", "numpy", "pandas", "torch", "dagster", "mlflow", "pydantic", "httpx")


def failing_app(error: BaseException) -> typer.Typer:
    app = typer.Typer(cls=SpyGroup, pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def other() -> None: ...

    return app


def test_help_loads_nothing_heavy():
    code = "import sys, spy_assets.cli; print([m for m in sys.argv[1:] if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_help_names_the_exit_codes(spy):
    ran = spy("--help")
    assert ran.code == 0
    for words in ("2 settings or usage", "3 data or source", "4 warehouse", "130 interrupted"):
        assert words in " ".join(ran.stdout.split())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SpyError("x"), 1),
        (errors.ConfigError("x"), 2),
        (errors.SourceUnavailable("x"), 3),
        (errors.CheckFailed("x"), 3),
        (errors.LockTimeout("x"), 4),
        (errors.ModelFileMismatch("x"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int):
    assert CliRunner().invoke(failing_app(error), ["fail"]).exit_code == code


def test_an_error_is_a_panel_of_what_and_mend_on_stderr():
    error = errors.LockTimeout("waited 600 s for [red]x.lock", hint="stop process 12")
    ran = CliRunner().invoke(failing_app(error), ["fail"])
    assert ran.stdout == ""
    assert "LockTimeout" in ran.stderr
    assert "waited 600 s for [red]x.lock" in ran.stderr
    assert "mend" in ran.stderr
    assert "stop process 12" in ran.stderr


def test_an_unexpected_exception_keeps_its_traceback():
    ran = CliRunner().invoke(failing_app(ZeroDivisionError("division")), ["fail"])
    assert isinstance(ran.exception, ZeroDivisionError)


def test_errors_are_json_when_json_is_asked_for(spy, tmp_path: Path):
    ran = spy("--home", tmp_path, "db", "view", "--json")
    assert ran.code == 4
    assert ran.json["error"]["type"] == "WarehouseError"
    assert ran.json["error"]["exit_code"] == 4
    assert "make run" in ran.json["error"]["mend"]
    assert ran.stderr == ""


@pytest.mark.parametrize("words", [["db", "view", "--nope"], ["nope"], ["--nope"]])
def test_wrong_usage_is_json_too(spy, words: list[str]):
    ran = spy(*words, "--json")
    assert ran.code == 2
    assert ran.json["error"]["type"] == "UsageError"
    assert ran.json["error"]["exit_code"] == 2


def test_wrong_usage_without_json_goes_to_stderr(spy):
    ran = spy("verify", "--nope")
    assert (ran.code, ran.stdout) == (2, "")
    assert "--nope" in ran.stderr


def test_a_wrong_source_names_what_is_allowed(spy):
    ran = spy("--source", "yfinace", "doctor")
    assert ran.code == 2
    assert "nearest is 'yfinance'" in " ".join(ran.stderr.split())


def test_global_options_win_over_the_environment(spy, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SPY_PROFILE", "from-outside")
    ran = spy("--home", tmp_path, "--profile", "paper", "db", "init", "--json")
    assert ran.json["root"] == str(tmp_path / ".spy" / "paper")
    assert os.environ["SPY_PROFILE"] == "from-outside"
    assert "SPY_HOME" not in os.environ


def test_environment_is_put_back_after_an_error():
    def fail() -> None:
        with environment({"SPY_SYMBOL": "QQQ"}):
            assert os.environ["SPY_SYMBOL"] == "QQQ"
            raise errors.ConfigError("x")

    with pytest.raises(errors.ConfigError):
        fail()
    assert "SPY_SYMBOL" not in os.environ


def test_version_as_text_and_json(spy):
    assert "dagster" in spy("version").stdout
    assert spy("version", "--json").json["python"].startswith("3.")


def test_json_holds_dates_and_no_nan():
    from datetime import date

    text = dumps({"day": date(2018, 1, 2), "x": float("nan"), "path": Path("/a"), "n": (1, 2.5)})
    assert json.loads(text) == {"day": "2018-01-02", "x": None, "path": "/a", "n": [1, 2.5]}


@pytest.mark.parametrize("name", ["..", "../../elsewhere", "a/b"])
def test_a_profile_stays_in_the_data_root(spy, tmp_path: Path, name: str):
    ran = spy("--home", tmp_path / "home", "--profile", name, "db", "init", "--json")
    assert (ran.code, ran.json["error"]["type"]) == (2, "ConfigError")
    assert "SPY_PROFILE" in ran.json["error"]["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("SYMBOLS", "[SPY"), ("HTTP", "x"), ("TRAIN", "{bad"), ("START_YEAR", "2030")],
)
def test_a_wrong_setting_is_told_by_doctor_too(spy, monkeypatch, name: str, value: str):
    monkeypatch.setenv(f"SPY_{name}", value)
    ran = spy("doctor", "--json")
    assert (ran.code, ran.json["error"]["exit_code"]) == (2, 2)
    assert f"SPY_{name}=" in ran.json["error"]["message"]
