"""The pages at the root say what is there, and nothing that must stay out is in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from spy_assets_tests.conftest import REPOSITORY

ARCHITECTURE = (REPOSITORY / "ARCHITECTURE.md").read_text()
README = (REPOSITORY / "README.md").read_text()
#: What ARCHITECTURE.md names in backquotes and that looks like a file, a folder or a module.
NAMED = sorted(
    set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|md|csv|toml|yaml))`", ARCHITECTURE))
)
SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    r"|\bsk-[A-Za-z0-9]{32,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|(?i:(?:api|secret)_?key|password|token)\s*[:=]\s*['\"][A-Za-z0-9/+_-]{20,}['\"]"
)
FORBIDDEN = {".pkl", ".pickle", ".pem", ".key", ".p12", ".joblib", ".zip"}


def tracked() -> list[Path]:
    """The files of the repository, as git lists them; new ones that are not ignored count."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no git here to list the files: {error}")
    return [path for line in listed.splitlines() if (path := REPOSITORY / line).is_file()]


def test_no_tracked_file_holds_a_secret() -> None:
    for path in tracked():
        assert path.name != ".env"
        assert path.suffix not in FORBIDDEN, path
        assert not (found := SECRETS.search(path.read_text(errors="replace"))), (path, found)


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "api_key = " + "'0123456789abcdef0123'",
        "ghp_" + "a" * 36,
    ],
)
def test_a_planted_secret_is_found(text: str) -> None:
    assert SECRETS.search(text)


@pytest.mark.parametrize("name", NAMED)
def test_everything_that_architecture_names_exists(name: str) -> None:
    package = REPOSITORY / "spy_assets"
    places = (REPOSITORY, package, package / "defs")
    generated = (".spy/", "mlruns/", "dagster.yaml")
    assert name.startswith(generated) or any((place / name).exists() for place in places)


def test_architecture_names_every_package() -> None:
    package = REPOSITORY / "spy_assets"
    parts = {path.parent.name for path in package.glob("*/__init__.py")}
    parts |= {path.stem for path in package.glob("*.py")} - {"__init__"}
    named = set(re.findall(r"\w+", ARCHITECTURE))
    assert parts <= named, parts - named


def test_architecture_names_every_definition_module() -> None:
    modules = {path.name for path in (REPOSITORY / "spy_assets" / "defs").glob("[a-z]*.py")}
    assert {name for name in modules if f"`{name}`" not in ARCHITECTURE} == set()


@pytest.mark.parametrize(
    "page",
    [
        "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE",
        ".env.example",
    ],
)  # fmt: skip
def test_pages_of_the_repository_exist(page: str) -> None:
    assert len((REPOSITORY / page).read_text()) > 200


def test_the_licence_is_mit() -> None:
    assert (REPOSITORY / "LICENSE").read_text().startswith("MIT License")


def test_the_readme_warns() -> None:
    assert "substantial risk of loss" in README
    assert "no investment advice" in README


def test_the_readme_shows_the_graph() -> None:
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+\.svg)\)", README)
    assert (REPOSITORY / picture).is_file()


def test_the_make_verbs_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", README)) <= targets
    assert {"run", "test", "up"} <= targets


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_reset_removes_the_data_of_spy_home_only(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "a home"
    for folder in (project, home):
        (folder / ".spy" / "sample").mkdir(parents=True)
        (folder / "mlruns").mkdir()
        (folder / "mlruns" / "mlflow.db").touch()
        (folder / "mlruns" / "README.md").touch()
    shutil.copy(REPOSITORY / "Makefile", project)
    environment = {"PATH": os.environ["PATH"], "SPY_HOME": str(home)}
    subprocess.run(["make", "reset"], cwd=project, env=environment, check=True, capture_output=True)
    assert {path.relative_to(home).as_posix() for path in home.rglob("*")} == {
        "mlruns", "mlruns/README.md",
    }  # fmt: skip
    assert (project / ".spy" / "sample").is_dir()
    assert (project / "mlruns" / "mlflow.db").is_file()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_the_ci_script_is_sound_bash() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_every_module_of_the_market_is_under_the_import_contracts() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    modules = (REPOSITORY / "spy_assets" / "market").glob("[a-z]*.py")
    assert [one.stem for one in modules if f'"spy_assets.market.{one.stem}"' not in text] == []


def test_the_changelog_keeps_its_form() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog")
    assert "keepachangelog.com" in text
    version = re.search(r'^version = "([^"]+)"', (REPOSITORY / "pyproject.toml").read_text(), re.M)
    assert version is not None
    assert f"## [{version[1]}]" in text
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= {
        "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security",
    }  # fmt: skip
