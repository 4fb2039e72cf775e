"""Settings: names, errors that tell all at once, paths."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spy_assets.errors import ConfigError
from spy_assets.settings import (
    PROJECT_ROOT,
    SECRETS,
    Settings,
    example_env,
    known_names,
    load_settings,
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
    assert {"alert_webhook", "fred_api_key", "catalogue"} == SECRETS
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


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().source = "files"  # type: ignore[misc]
