"""Settings: names, errors that tell all at once, paths."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from spy_assets import clock, sessions
from spy_assets.errors import ConfigError
from spy_assets.settings import (
    CHAIN_SECRETS,
    PROJECT_ROOT,
    SECRETS,
    Settings,
    example_env,
    known_names,
    load_settings,
    require_past,
)


def test_profile_is_named_after_the_source(tmp_path: Path):
    settings = load_settings(home=tmp_path, source="yfinance")
    assert settings.root == tmp_path / ".spy" / "yfinance"
    assert load_settings(home=tmp_path, profile="paper").root == tmp_path / ".spy" / "paper"


def test_all_wrong_settings_are_told_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPY_SOURCE", "yfinace")
    monkeypatch.setenv("SPY_HTTP__TIMEOUT", "3")
    monkeypatch.setenv("SPY_RISK__CAPITAL", "-5")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    text = str(caught.value)
    assert "'yfinace'" in text
    assert "nearest is 'yfinance'" in text
    assert "nearest is SPY_HTTP__TIMEOUT_S" in text
    assert "SPY_RISK__CAPITAL='-5'" in text
    assert caught.value.exit_code == 2


def test_files_source_needs_its_folder():
    with pytest.raises(ConfigError, match="SPY_FILES_DIR"):
        load_settings(source="files")


def test_secrets_are_masked():
    settings = load_settings(
        alert_webhook="https://example.org/hook?key=123",
        fred_api_key="123",
        catalogue="postgresql://me:123@host/db",
    )
    chains = {name for names in CHAIN_SECRETS.values() for name in names}
    assert {"alert_webhook", "fred_api_key", "catalogue"} | chains == SECRETS
    assert "123" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.catalogue_dsn == "postgresql://me:123@host/db"


def test_env_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    env = tmp_path / ".env"
    env.write_text("SPY_RISK__CAPITAL=5000\n")
    monkeypatch.setenv("SPY_ENV_FILE", str(env))
    assert load_settings().risk.capital == 5000


def test_every_setting_is_described():
    assert [name for name, description in known_names().items() if not description] == []


def test_the_example_file_is_what_the_settings_say():
    mend = "run `python -m spy_assets.settings > .env.example`"
    assert (PROJECT_ROOT / ".env.example").read_text() == example_env(), mend


def test_the_example_file_s_defaults_are_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lines = [line.removeprefix("# ") for line in example_env().splitlines()]
    env = tmp_path / ".env"
    env.write_text("\n".join(line for line in lines if re.match(r"SPY_\w+=.", line)))
    monkeypatch.setenv("SPY_ENV_FILE", str(env))
    assert load_settings() == Settings(_env_file=None)


def test_a_wrong_name_in_the_env_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    env = tmp_path / ".env"
    env.write_text("SPY_RISK__CAPITOL=5000\nexport SPY_SYMBL=QQQ\nOTHER=1\n")
    monkeypatch.setenv("SPY_ENV_FILE", str(env))
    with pytest.raises(ConfigError, match=r"2 setting\(s\) are wrong") as caught:
        load_settings()
    assert "SPY_RISK__CAPITOL='5000': no such setting; nearest is SPY_RISK__CAPITAL" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "name",
    [
        "FRED_APIKEY",
        "ALERT_WEBHOOKS",
        "CATALOG",
        "CATALOGUE_URL",
        "PG_PASSWORD",
        "BOT_TOKEN",
        "DSN",
    ],
)
def test_a_secret_under_a_wrong_name_is_not_shown(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"SPY_{name}", "postgresql://me:hunter2@host/db")
    with pytest.raises(ConfigError, match=f"SPY_{name}") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_a_group_with_a_wrong_key_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPY_HTTP", '{"timeout": 3}')
    with pytest.raises(ConfigError, match="SPY_HTTP__TIMEOUT=3"):
        load_settings()


@pytest.mark.parametrize("text", ["SPY,QQQ", " SPY , QQQ,", '["SPY", "QQQ"]'])
def test_a_list_is_by_commas_or_json(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPY_SYMBOLS", text)
    assert load_settings().symbols == ("SPY", "QQQ")
    env = tmp_path / ".env"
    env.write_text(f"SPY_SYMBOLS={text}\n")
    monkeypatch.delenv("SPY_SYMBOLS")
    monkeypatch.setenv("SPY_ENV_FILE", str(env))
    assert load_settings().symbols == ("SPY", "QQQ")


@pytest.mark.parametrize(
    ("text", "symbols"),
    [("SPY,QQQ", ("SPY", "QQQ")), ('["QQQ"]', ("QQQ",)), ("SPY, SPY", ("SPY",)), ("", ("IWM",))],
)
def test_chains_are_of_the_symbols_named_or_the_traded_one(
    text: str, symbols: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SPY_CHAINS__SYMBOLS", text)
    assert load_settings(symbol="IWM").chain_symbols == symbols


@pytest.mark.parametrize("name", ["all_structures", "all_structures_by_dte"])
def test_uncovered_options_need_leave(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPY_TRAIN__ACTIONS", name)
    with pytest.raises(
        ConfigError, match="uncovered short_call, short_put, which need SPY_RISK__A"
    ):
        load_settings()
    monkeypatch.setenv("SPY_RISK__ALLOW_NAKED", "true")
    assert load_settings().train.actions == name


def test_a_symbol_that_is_no_key_of_a_partition_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPY_CHAINS__SYMBOLS", "SPY|QQQ")
    with pytest.raises(ConfigError, match=r"names without \| \[ \] or a comma; not 'SPY\|QQQ'"):
        load_settings()


def test_a_model_of_chains_needs_those_of_its_own_symbol():
    own = {"observation": "daily_15_chain_v1", "chains": {"symbols": ("QQQ",)}}
    with pytest.raises(ConfigError, match="SPY_CHAINS__SYMBOLS=QQQ: lacks SPY_SYMBOL='SPY'"):
        load_settings(**own)
    assert load_settings(symbol="QQQ", **own).chain_symbols == ("QQQ",)


def test_values_that_are_no_json_are_told_with_all_the_rest(monkeypatch: pytest.MonkeyPatch):
    wrong = {"HTTP": "x", "TRAIN": "{bad", "SYMBOLS": '{"SPY": 1}', "FILL": "never", "RISKS": "1"}
    for name, value in wrong.items():
        monkeypatch.setenv(f"SPY_{name}", value)
    with pytest.raises(ConfigError, match=r"5 setting\(s\) are wrong") as caught:
        load_settings()
    for told in (
        "SPY_HTTP='x': allowed: a JSON object; or set one by one: SPY_HTTP__TIMEOUT_S,",
        "SPY_TRAIN='{bad': allowed: a JSON object; or set one by one: SPY_TRAIN__PRESET,",
        "SPY_SYMBOLS={'SPY': 1}: allowed: names separated by commas, or a JSON list",
        "SPY_FILL='never': allowed: 'next_open' or 'next_close'",
        "SPY_RISKS='1': no such setting; nearest is SPY_RISK",
    ):
        assert told in str(caught.value)


def test_a_list_that_is_nearly_json_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPY_SYMBOLS", "[SPY, QQQ]")
    with pytest.raises(ConfigError, match=r"SPY_SYMBOLS='\[SPY, QQQ\]': no JSON list"):
        load_settings()


def test_a_group_as_json_and_one_by_one_are_one_group(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPY_HTTP", '{"budget": 3, "timeout_s": 9}')
    monkeypatch.setenv("SPY_HTTP__TIMEOUT_S", "4")
    http = load_settings().http
    assert (http.budget, http.timeout_s) == (3, 4.0)


@pytest.mark.parametrize("name", ["..", "../other", "a/b", ".hidden", "-x", "a b", "", "a\n"])
def test_a_profile_is_a_plain_name(name: str):
    with pytest.raises(ConfigError, match="letters, digits, _ and -, the first a letter or digit"):
        load_settings(profile=name)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"as_of": "2018-12-25"}, "a Tuesday on which XNYS is closed; nearest are 2018-12-24 and"),
        ({"as_of": "2018-12-22"}, "a Saturday on which XNYS is closed"),
        ({"as_of": "2035-01-03"}, "allowed: sessions from 1999-01-01 to 2018-12-31"),
        ({"as_of": "2016-01-04", "start_year": 2017}, "allowed: sessions from 2017-01-01"),
        ({"start_year": 2030}, "SPY_START_YEAR=2030: allowed: 1990 to 2018"),
        ({"as_of": "2046-01-04", "source": "yfinance"}, "2045-12-31 (the calendar ends)"),
    ],
)
def test_what_the_source_or_the_calendar_lacks_is_told(given: dict[str, Any], told: str):
    with pytest.raises(ConfigError, match="1 setting") as caught:
        load_settings(**given)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"start_year": 2027}, "SPY_START_YEAR=2027: allowed: 1990 to 2026"),
        ({"as_of": "2026-11-25"}, "sessions from 2010-01-01 to 2026-11-24 (the last decided"),
    ],
)
def test_a_live_source_has_no_days_to_come(given: dict[str, Any], told: str):
    settings = load_settings(source="yfinance", **given)
    with pytest.raises(ConfigError) as caught:
        require_past(settings, datetime(2026, 11, 25, 21, 59, tzinfo=UTC))
    assert told in str(caught.value)


def in_a_process(code: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Code in a process of its own, with settings from its environment."""
    own = os.environ | given
    return subprocess.run(
        [sys.executable, "-c", code], env=own, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_code_location_refuses_a_year_to_come():
    coming = clock.utc_now().year + 1
    done = in_a_process(
        "import spy_assets.definitions", SPY_SOURCE="yfinance", SPY_START_YEAR=str(coming)
    )
    assert done.returncode == 1
    assert f"SPY_START_YEAR={coming}: allowed: 1990 to {coming - 1}" in done.stderr


def test_the_tests_own_variable_is_no_setting(tmp_path: Path):
    code = "from spy_assets_tests.conftest import SHARED, load_settings; load_settings(); print(SHARED)"
    done = in_a_process(code, SPY_TEST_SHARED=str(tmp_path))
    assert done.stdout.strip() == str(tmp_path), done.stderr


def test_days_that_are_decided_are_past():
    settings = load_settings(source="yfinance", start_year=2026, as_of="2026-11-25")
    require_past(settings, datetime(2026, 11, 25, 22, 0, tzinfo=UTC))
    require_past(load_settings(as_of="2018-12-31"), datetime(2001, 1, 1, tzinfo=UTC))
    assert settings.first_year == 2026


@pytest.fixture
def closures(tmp_path: Path) -> Iterator[Path]:
    table = tmp_path / "closures.csv"
    table.write_text("date,close\n2018-12-20,\n")
    yield table
    sessions.install_overrides({})


@pytest.mark.fault(5)
def test_the_settings_set_the_calendar(closures: Path):
    load_settings(calendar_overrides=closures)
    assert not sessions.is_session(date(2018, 12, 20))
    with pytest.raises(ConfigError, match="nearest are 2018-12-19 and 2018-12-21"):
        load_settings(calendar_overrides=closures, as_of="2018-12-20")
    load_settings()
    assert sessions.is_session(date(2018, 12, 20))


def test_closures_that_cannot_be_read_are_told_with_the_rest(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"2 setting\(s\) are wrong") as caught:
        load_settings(calendar_overrides=tmp_path / "none.csv", start_year=2030)
    assert "none.csv' cannot be read" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "server"),
    [
        ({}, None),
        ({"source": "yfinance"}, "https://fred.stlouisfed.org"),
        ({"live": {"clock_url": "https://example.org"}}, "https://example.org"),
    ],
)
def test_the_clock_is_held_against_one_server(given: dict[str, Any], server: str | None):
    assert load_settings(**given).clock_server == server


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().source = "files"  # type: ignore[misc]


def test_chains_come_from_the_folder_of_files_where_it_has_some(tmp_path: Path):
    assert load_settings().chain_source is None
    assert load_settings(source="files", files_dir=tmp_path).chain_source is None
    (tmp_path / "chains").mkdir()
    assert load_settings(source="files", files_dir=tmp_path).chain_source == "files"
    none = load_settings(source="files", files_dir=tmp_path, chains={"source": "none"})
    assert none.chain_source is None


def test_a_source_of_chains_needs_its_key():
    with pytest.raises(ConfigError, match="SPY_TRADIER_TOKEN is not set"):
        load_settings(chains={"source": "tradier"})
    assert load_settings(chains={"source": "tradier"}, tradier_token="1").chain_source == "tradier"
    with pytest.raises(ConfigError, match="nearest is 'polygon'"):
        load_settings(chains={"source": "poligon"})
