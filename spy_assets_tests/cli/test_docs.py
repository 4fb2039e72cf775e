"""The docs say what is there: every command and option, every linked page, and code that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from spy_assets.cli import app
from spy_assets.settings import Settings, known_names
from spy_assets_tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *REPOSITORY.glob("*.md")])
EVERYWHERE = {"--help", "--json", "-h"}


def commands(group: Any, path: str = "spy") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(get_command(app)))


def options(command: Any) -> set[str]:
    return {name for param in command.params for name in param.opts if name.startswith("--")}


def sections() -> dict[str, str]:
    parts = re.split(r"^### (spy .*)$", (DOCS / "cli.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_is_documented_and_no_other():
    assert set(sections()) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_and_no_other(name: str):
    documented = set(re.findall(r"^\| `(--[a-z-]+)`", sections()[name], flags=re.MULTILINE))
    assert documented == options(COMMANDS[name]) - EVERYWHERE


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_and_help_text(name: str):
    assert "--json" in options(COMMANDS[name])
    assert COMMANDS[name].help


def test_global_options_are_documented():
    head = (DOCS / "cli.md").read_text().split("## Exit codes")[0]
    assert options(get_command(app)) - EVERYWHERE <= set(re.findall(r"--[a-z-]+", head))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_settings_in_the_docs_exist(page: Path):
    text = page.read_text()
    used = set(re.findall(r"(?:^    |`)(spy(?: db| prefs)? [a-z]+)", text, flags=re.MULTILINE))
    assert {name for name in used if name not in {*COMMANDS, "spy db", "spy prefs"}} == set()
    names = set(re.findall(r"\bSPY_[A-Z_]+[A-Z]\b", text))
    assert {
        name for name in names if not any(known.startswith(name) for known in known_names())
    } == set()


def test_docs_named_in_errors_exist():
    named = {
        page
        for source in (REPOSITORY / "spy_assets").rglob("*.py")
        for page in re.findall(r"docs/[\w/-]+\.md", source.read_text())
    }
    assert {page for page in named if not (REPOSITORY / page).is_file()} == set()


def test_the_notebook_page_runs(lake: Settings, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "notebook.md").read_text(), re.DOTALL)
    monkeypatch.setenv("SPY_HOME", str(lake.home))
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert names["bars"].height == 5
    assert names["versions"].height == 6
    assert "BUY_CALL" in capsys.readouterr().out


def test_readme_is_short_and_begins_with_the_two_commands():
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.split()) <= 650
    first_screen = "\n".join(text.splitlines()[:24])
    for words in ("make run", "make test", "SPY_SOURCE=yfinance make run", "TORCH_INDEX="):
        assert words in first_screen


def test_schedules_and_sensors_of_the_workflows_exist():
    from spy_assets.defs.schedules import SCHEDULES
    from spy_assets.defs.sensors import SENSORS

    named = re.findall(r"(schedule|sensor) `(\w+)`", (DOCS / "workflows.md").read_text())
    there = {("schedule", one.name) for one in SCHEDULES} | {
        ("sensor", one.name) for one in SENSORS
    }
    assert len(named) >= 6
    assert set(named) <= there
