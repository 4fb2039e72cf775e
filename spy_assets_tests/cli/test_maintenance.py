"""`spy verify`, `backup`, `restore`, `maintain`, `repair`, `reset` on real lakes."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest

from spy_assets import warehouse
from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse, WriteLock
from spy_assets.warehouse.locking import lock_path
from spy_assets_tests.warehouse.frames import flip_a_bit


def a_data_file(settings: Settings) -> Path:
    return max((Path(settings.lake_dir) / "market" / "daily_bars").glob("*.parquet"))


def hints(path: Path) -> list[str]:
    """What the errors of a module tell a person to do."""
    found = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.keyword)
    ]
    values = [ast.walk(node.value) for node in found if node.arg == "hint"]
    return [
        part.value
        for value in values
        for part in value
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def rows(spy, home: Path) -> int:
    query = "SELECT count(*) AS n FROM market.daily_bars"
    return spy("--home", home, "sql", "--json", query).json["rows"][0]["n"]


def test_verify_finds_all_as_written(spy, lake: Settings):
    ran = spy("--home", lake.home, "verify", "--json")
    assert (ran.code, ran.json["ok"], ran.json["corrupt"]) == (0, True, [])
    assert ran.json["checked"] >= 4


@pytest.mark.fault(50)
def test_verify_names_a_flipped_bit(spy, own_lake: Settings):
    flip_a_bit(a_data_file(own_lake))
    ran = spy("--home", own_lake.home, "verify")
    assert ran.code == 4
    assert "market.daily_bars" in ran.stderr
    assert "`spy repair --forget`" in ran.stderr
    assert spy("--home", own_lake.home, "verify", "--json").json["ok"] is False


@pytest.mark.fault(50)
@pytest.mark.parametrize("command", ["maintain", "backup"])
def test_damage_is_neither_merged_away_nor_backed_up(
    spy, own_lake: Settings, tmp_path: Path, command: str
):
    flip_a_bit(a_data_file(own_lake))
    words = [command] if command == "maintain" else [command, tmp_path / "copy"]
    ran = spy("--home", own_lake.home, *words)
    assert ran.code == 4
    assert "`spy repair --forget`" in ran.stderr
    assert spy("--home", own_lake.home, "verify").code == 4
    assert not (tmp_path / "copy").exists()


@pytest.mark.fault(51)
def test_every_command_names_the_way_back_to_a_catalogue(spy, own_lake: Settings):
    own_lake.catalogue_path.write_bytes(b"not a database, " * 4096)
    for command in (["verify"], ["db", "view"], ["doctor"]):
        ran = spy("--home", own_lake.home, *command)
        assert "`spy repair`" in " ".join((ran.stdout + ran.stderr).split())


def test_no_hint_asks_a_person_to_call_python():
    package = Path(warehouse.__file__).parent
    texts = [text for path in package.glob("*.py") for text in hints(path)]
    assert len(texts) > 20
    assert [text for text in texts if "settings" in text or "force=" in text] == []


def test_backup_then_restore_elsewhere(spy, lake: Settings, tmp_path: Path):
    made = spy("--home", lake.home, "backup", tmp_path / "copy", "--json")
    done = spy("--home", tmp_path / "new", "restore", tmp_path / "copy", "--json")
    assert done.json["snapshot"] == made.json["snapshot"]
    assert rows(spy, tmp_path / "new") == rows(spy, lake.home) == 6


def test_backup_does_not_write_over_anything(spy, lake: Settings, tmp_path: Path):
    (tmp_path / "mine").write_text("keep")
    ran = spy("--home", lake.home, "backup", tmp_path)
    assert ran.code == 4
    assert (tmp_path / "mine").read_text() == "keep"


def test_restore_over_a_lake_needs_force(spy, own_lake: Settings, tmp_path: Path):
    spy("--home", own_lake.home, "backup", tmp_path / "copy")
    assert spy("--home", own_lake.home, "restore", tmp_path / "copy").code == 4
    assert spy("--home", own_lake.home, "restore", tmp_path / "copy", "--force").code == 0
    assert rows(spy, own_lake.home) == 6


def test_maintain_keeps_every_version(spy, own_lake: Settings):
    ran = spy("--home", own_lake.home, "maintain", "--json")
    assert ran.code == 0
    assert ran.json["kept_for_reference"] == 1
    assert rows(spy, own_lake.home) == 6


def test_repair_of_a_sound_lake_changes_nothing(spy, own_lake: Settings):
    ran = spy("--home", own_lake.home, "repair", "--json")
    assert ran.json["catalogue_restored_to"] is None
    assert ran.json["files"] == []


@pytest.mark.fault(44)
def test_repair_records_what_a_killed_writer_left(spy, own_lake: Settings):
    with Warehouse.open(own_lake) as lake:
        lake._connection.execute("INSERT INTO lake.market.rates (series) VALUES ('killed')")
    refused = spy("--home", own_lake.home, "verify")
    assert refused.code == 4
    assert "`spy repair`" in refused.stderr
    assert spy("--home", own_lake.home, "repair", "--json").json["recorded"] == 1
    assert spy("--home", own_lake.home, "verify").code == 0


@pytest.mark.fault(50)
def test_repair_takes_a_damaged_file_from_a_backup(spy, own_lake: Settings, tmp_path: Path):
    spy("--home", own_lake.home, "backup", tmp_path / "copy")
    flip_a_bit(a_data_file(own_lake))
    refused = spy("--home", own_lake.home, "repair")
    assert refused.code == 4
    assert "--backup" in refused.stderr
    ran = spy("--home", own_lake.home, "repair", "--backup", tmp_path / "copy", "--json")
    assert ran.json["files"][0]["mended_from"].endswith(".parquet")
    assert rows(spy, own_lake.home) == 6


@pytest.mark.fault(50)
def test_repair_can_forget_a_damaged_file(spy, own_lake: Settings):
    flip_a_bit(a_data_file(own_lake))
    ran = spy("--home", own_lake.home, "repair", "--forget", "--json")
    assert ran.json["files"][0]["table"] == "market.daily_bars"
    assert rows(spy, own_lake.home) == 6 - ran.json["files"][0]["rows"]


@pytest.mark.fault(51)
def test_repair_brings_the_catalogue_back(spy, own_lake: Settings):
    own_lake.catalogue_path.write_bytes(b"not a database, " * 4096)
    assert spy("--home", own_lake.home, "db", "view").code == 4
    assert spy("--home", own_lake.home, "repair").code == 0
    assert rows(spy, own_lake.home) == 6


def test_reset_asks_unless_told(spy, own_lake: Settings):
    refused = spy("--home", own_lake.home, "reset")
    assert refused.code == 2
    assert "--yes" in refused.stderr
    assert own_lake.root.is_dir()


def test_reset_removes_the_profile_only(spy, own_lake: Settings):
    (own_lake.home / "mlruns").mkdir(exist_ok=True)
    assert spy("--home", own_lake.home, "reset", "--yes", "--json").json["removed"] is True
    assert not own_lake.root.exists()
    assert (own_lake.home / "mlruns").is_dir()
    assert spy("--home", own_lake.home, "reset", "--yes", "--json").json["removed"] is False


def test_reset_says_that_a_halt_ends_by_it(spy, own_lake: Settings):
    own_lake.kill_file.touch()
    assert "halt (KILL) is gone" in " ".join(
        spy("--home", own_lake.home, "reset", "--yes").stdout.split()
    )
    assert not own_lake.kill_file.exists()


def test_reset_waits_for_no_writer_and_removes_nothing_under_one(spy, own_lake: Settings):
    held, done = threading.Event(), threading.Event()

    def write() -> None:
        with WriteLock(lock_path(own_lake)):
            held.set()
            done.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    held.wait(20)
    ran = spy("--home", own_lake.home, "reset", "--yes")
    done.set()
    writer.join()
    assert ran.code == 4
    assert own_lake.catalogue_path.exists()
