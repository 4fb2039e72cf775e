"""Settings: names, errors that tell all at once, paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from spy_assets.errors import ConfigError
from spy_assets.settings import Settings, known_names, load_settings


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
    settings = load_settings(alert_webhook="https://example.org/hook?key=123")
    assert "123" not in repr(settings)


def test_env_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    env = tmp_path / ".env"
    env.write_text("SPY_RISK__CAPITAL=5000\n")
    monkeypatch.setenv("SPY_ENV_FILE", str(env))
    assert load_settings().risk.capital == 5000


def test_every_setting_is_described_and_in_the_example_file():
    example = (Path(__file__).parent.parent / ".env.example").read_text()
    for name, description in known_names().items():
        assert description, name
        assert name in example, f"{name} is missing from .env.example"


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().source = "files"  # type: ignore[misc]
