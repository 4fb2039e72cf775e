"""`spy up`: a real start and a real stop of Dagster and MLflow, and what goes wrong on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from spy_assets.cli.services import (
    GROUP_S,
    KILL_S,
    TERM_S,
    Service,
    ServiceFailed,
    program,
    runs,
    stop_all,
)
from spy_assets.cli.up import services
from spy_assets.settings import Settings


def free_ports(count: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def sleeper(tmp_path: Path, code: str) -> Service:
    service = Service("sleeper", [sys.executable, "-c", code], tmp_path / "sleeper.log")
    service.start(dict(os.environ))
    return service


def test_a_taken_port_is_refused_and_names_the_option(spy, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ran = spy("--home", tmp_path, "up", "--port", port, "--no-mlflow", "--json")
    assert ran.code == 2
    assert str(port) in ran.json["error"]["message"]
    assert str(os.getpid()) in ran.json["error"]["message"]
    assert "--port" in ran.json["error"]["mend"]


def test_one_port_for_two_services_is_refused(spy, tmp_path: Path):
    port = free_ports(1)[0]
    assert spy("--home", tmp_path, "up", "--port", port, "--mlflow-port", port).code == 2


def test_all_listen_on_the_loopback_only(settings: Settings):
    for service in services(settings, 3000, 5000):
        assert "0.0.0.0" not in service.command
        assert service.url is None or service.url.startswith("http://127.0.0.1:")


def test_without_mlflow_there_are_two(settings: Settings):
    assert [one.name for one in services(settings, 1, None)] == ["Dagster UI", "Dagster daemon"]


def test_a_service_that_dies_tells_the_end_of_its_log(tmp_path: Path):
    service = sleeper(tmp_path, "print('no luck'); raise SystemExit(7)")
    assert service.process is not None
    service.process.wait(20)
    with pytest.raises(ServiceFailed, match="ended with code 7:\nno luck") as caught:
        service.check()
    assert str(tmp_path / "sleeper.log") in (caught.value.hint or "")
    stop_all([service])


@pytest.mark.fault(53)
def test_grandchildren_that_ignore_sigterm_are_killed(tmp_path: Path):
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); "
    # A test before this one may have left SIGTERM ignored, which children inherit.
    code = (
        "import signal, subprocess, sys; signal.signal(15, signal.SIG_DFL); "
        f"subprocess.Popen([sys.executable, '-c', "
        f"{stubborn + 'time.sleep(99)'!r}]).wait()"
    )
    service = sleeper(tmp_path, code)
    while "up" not in service.tail():
        time.sleep(0.05)
    assert service.process is not None
    family = psutil.Process(service.process.pid).children(recursive=True)
    killed = stop_all([service], term_s=10.0, group_s=0.3)  # its parent obeys at once
    assert killed == [child.pid for child in family]
    assert not any(runs(child) for child in family)


def test_politeness_and_force_fit_into_ten_seconds():
    assert TERM_S + GROUP_S + KILL_S < 10


def test_program_needs_no_path():
    assert program("mlflow", "server")[:3] == [sys.executable, "-m", "mlflow"]


def start_up(home: Path) -> subprocess.Popen[str]:
    port, mlflow_port = free_ports(2)
    command = [sys.executable, "-m", "spy_assets.cli", "--home", str(home), "up", "--json"]
    command += ["--port", str(port), "--mlflow-port", str(mlflow_port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def stopped_in_time(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Whether it ends with 0 in ten seconds and leaves nothing behind."""
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3
    process.send_signal(number)
    return process.wait(10) == 0 and not any(runs(child) for child in family)


@pytest.mark.slow
@pytest.mark.fault(53)
def test_up_answers_and_stops_without_orphans(tmp_path: Path):
    with start_up(tmp_path) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        for url in told["urls"].values():
            assert httpx.get(url, trust_env=False).is_success
        assert len(told["urls"]) == 2
        assert stopped_in_time(process, signal.SIGTERM)
    profile = tmp_path / ".spy" / "sample"
    assert (profile / "dagster" / "dagster.yaml").is_file()
    assert (profile / "logs" / "mlflow.log").is_file()


@pytest.mark.fault(53)
def test_ctrl_c_while_starting_stops_all(tmp_path: Path):
    with start_up(tmp_path) as process:
        while not (tmp_path / ".spy" / "sample" / "logs" / "mlflow.log").is_file():
            time.sleep(0.05)
        time.sleep(0.3)
        assert stopped_in_time(process, signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.read() == ""
