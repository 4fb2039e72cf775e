"""`spy doctor`: each thing that can be wrong is made wrong, and the line must name the way out."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from spy_assets.cli import checks
from spy_assets.errors import SpyError
from spy_assets.settings import PROJECT_ROOT, Settings, load_settings


def lines(found: Iterator[checks.Check]) -> dict[str, checks.Check]:
    return {check.name: check for check in found}


def test_report_as_json_lists_every_group(spy, lake: Settings):
    ran = spy("--home", lake.home, "doctor", "--json")
    names = {check["name"] for check in ran.json["checks"]}
    assert {
        "python", "dagster", "duckdb", "torch", "mlflow", "dbt-core", "DuckDB extension ducklake",
        "settings", "calendar", "disk", "clock", "write lock", "numba cache", "warehouse",
        "catalogue", "dbt manifest", "DAGSTER_HOME", "port 3000", "port 5000",
    } <= names  # fmt: skip
    assert ran.code == (1 if ran.json["failed"] else 0)


def test_every_failing_line_names_its_fix(spy, lake: Settings, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nothing/here")
    report = spy("--home", lake.home, "doctor", "--json").json
    failing = [check for check in report["checks"] if check["status"] == "fail"]
    assert "numba cache" in {check["name"] for check in failing}
    assert all(check["fix"] for check in failing)


def test_report_for_people_has_marks_and_mends(spy, lake: Settings, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nothing/here")
    ran = spy("--home", lake.home, "doctor")
    assert ran.code == 1
    assert "✗" in ran.stdout
    assert "mend: set NUMBA_CACHE_DIR" in ran.stdout


def test_doctor_changes_nothing(spy, tmp_path: Path):
    spy("--home", tmp_path, "doctor")
    assert list(tmp_path.iterdir()) == []


def test_no_warehouse_yet_is_no_failure(settings: Settings):
    found = lines(checks.check_warehouse(settings))
    assert found["warehouse"].status == "warn"
    assert "make run" in (found["warehouse"].fix or "")


def test_a_sound_warehouse_shows_schema_and_stamp(lake: Settings):
    found = lines(checks.check_warehouse(lake))
    assert "source sample" in found["warehouse"].detail
    assert found["catalogue"].status == "ok"


@pytest.mark.fault(51)
def test_a_corrupt_catalogue_is_a_failed_line(own_lake: Settings):
    own_lake.catalogue_path.write_bytes(b"garbage!" * 1000)
    found = [check for check in checks.all_checks(own_lake) if check.status == "fail"]
    assert any("damaged" in check.detail and check.fix for check in found)


def test_the_holder_of_the_lock_is_named(own_lake: Settings):
    code = (
        "import sys, time; from pathlib import Path; from spy_assets.warehouse import WriteLock\n"
        "with WriteLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(own_lake.root / "write.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        found = lines(checks.check_lock(own_lake))["write lock"]
        holder.kill()
    assert found.status == "warn"
    assert f"process {holder.pid}" in found.detail
    assert lines(checks.check_lock(own_lake))["write lock"].status == "ok"


def test_a_taken_port_names_its_process():
    with socket.create_server(("127.0.0.1", 0)) as server:
        holder = checks.port_holder(server.getsockname()[1])
    assert holder is not None
    assert str(os.getpid()) in holder


class _WrongClock(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", formatdate(time.time() - 30, usegmt=True))
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.mark.fault(41)
def test_a_clock_that_is_off_fails(tmp_path: Path):
    with http.server.HTTPServer(("127.0.0.1", 0), _WrongClock) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        found = lines(checks.check_clock(load_settings(home=tmp_path, live={"clock_url": url})))
    assert found["clock"].status == "fail"
    assert "+30" in found["clock"].detail or "+29" in found["clock"].detail


def test_the_clock_is_not_asked_about_unless_told(settings: Settings):
    assert lines(checks.check_clock(settings))["clock"].status == "skip"


@pytest.mark.fault(41)
def test_a_live_source_s_clock_is_held_against_its_rates_vendor(tmp_path: Path):
    with http.server.HTTPServer(("127.0.0.1", 0), _WrongClock) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        vendor = {"fred_url": f"http://127.0.0.1:{server.server_port}"}
        live = load_settings(home=tmp_path, source="yfinance", http=vendor)
        assert lines(checks.check_clock(live))["clock"].status == "fail"
    silent = lines(checks.check_clock(live))["clock"]  # as for signals: nothing was measured
    assert (silent.status, silent.fix is None) == ("warn", False)


def test_secrets_are_masked(tmp_path: Path):
    settings = load_settings(
        home=tmp_path, fred_api_key="abc123", catalogue="postgresql://me:pw77@host/db"
    )
    shown = str(checks.changed_settings(settings))
    assert "abc123" not in shown
    assert "pw77" not in shown
    assert "postgresql://me:***@host/db" in shown


def test_only_changed_settings_are_listed(tmp_path: Path):
    changed = checks.changed_settings(load_settings(home=tmp_path, risk={"capital": 5000.0}))
    assert changed == {"SPY_HOME": str(tmp_path), "SPY_RISK__CAPITAL": "5000.0"}


def test_another_dagster_home_is_pointed_out(settings: Settings, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "other"))
    assert lines(checks.check_dagster_home(settings))["DAGSTER_HOME"].status == "warn"


def test_a_missing_or_old_manifest_fails(tmp_path: Path, monkeypatch, settings: Settings):
    project = tmp_path / "dbt_features"
    (project / "models").mkdir(parents=True)
    monkeypatch.setattr(checks, "PROJECT_ROOT", tmp_path)
    assert "missing" in next(checks.check_manifest(settings)).detail
    manifest = project / "target" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text("{}")
    assert next(checks.check_manifest(settings)).status == "ok"
    (project / "models" / "a.sql").write_text("select 1")
    os.utime(project / "models" / "a.sql", (time.time() + 60,) * 2)
    assert "older than models/a.sql" in next(checks.check_manifest(settings)).detail


def test_an_error_of_ours_is_a_line_and_not_the_end(monkeypatch, settings: Settings):
    def broken(_: Settings) -> Iterator[checks.Check]:
        raise SpyError("the disk sings", hint="listen")
        yield

    monkeypatch.setattr(checks, "check_disk", broken)
    found = lines(checks.all_checks(settings))
    assert found["disk"] == checks.Check("disk", "fail", "the disk sings", "listen")
    assert "port 3000" in found


def test_pins_of_the_project_are_read():
    pins = checks._pins(PROJECT_ROOT / "constraints.txt")
    assert pins["duckdb"].startswith("1.")
