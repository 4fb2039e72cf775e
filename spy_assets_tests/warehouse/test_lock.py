from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from spy_assets.errors import LockTimeout
from spy_assets.warehouse import WriteLock

HOLD = """
import sys, time
from pathlib import Path
from spy_assets.warehouse import WriteLock
with WriteLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(path, seconds: float) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_it_is_re_entrant_in_a_thread(tmp_path):
    lock = WriteLock(tmp_path / "lock", 0.1)
    with lock, WriteLock(tmp_path / "lock", 0.1):
        assert f"process {os.getpid()}" in lock.holder()
    assert lock.holder() == "nobody"


def test_the_time_out_names_the_holder(tmp_path):
    process = holder(tmp_path / "lock", 60)
    with pytest.raises(LockTimeout, match=f"process {process.pid} "):
        WriteLock(tmp_path / "lock", 0.2).acquire()
    process.kill()
    process.wait()


def test_a_killed_holder_leaves_no_lock(tmp_path):
    process = holder(tmp_path / "lock", 60)
    process.kill()
    process.wait()
    with WriteLock(tmp_path / "lock", 1.0) as lock:
        assert f"process {os.getpid()}" in lock.holder()


def test_a_long_wait_is_logged_with_the_holder(tmp_path, caplog):
    process = holder(tmp_path / "lock", 1.5)
    with caplog.at_level(logging.WARNING), WriteLock(tmp_path / "lock", 20):
        pass
    process.wait()
    assert f"held by process {process.pid}" in caplog.text


def test_threads_of_a_process_take_turns(tmp_path):
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with WriteLock(tmp_path / "lock", 10):
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_another_thread_times_out_while_it_is_held(tmp_path):
    errors: list[Exception] = []

    def work() -> None:
        try:
            WriteLock(tmp_path / "lock", 0.1).acquire()
        except LockTimeout as error:
            errors.append(error)

    with WriteLock(tmp_path / "lock"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(errors) == 1


def test_it_may_be_released_by_another_thread(tmp_path):
    lock = WriteLock(tmp_path / "lock", 1)
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert lock.holder() == "nobody"


def test_releasing_what_is_not_held_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="not held"):
        WriteLock(tmp_path / "lock").release()


def test_a_forked_child_does_not_hold_it(tmp_path):
    lock = WriteLock(tmp_path / "lock", 1)
    with lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if lock._held.depth == 0 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert lock._held.depth == 1
