"""What a step starts ends with it."""

import subprocess
import sys

import psutil
import pytest

from spy_assets.defs.children import no_child_left

OBEDIENT = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {OBEDIENT}"


def start(code: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child


def interrupted(code: str, started: list[subprocess.Popen[str]]) -> None:
    with no_child_left(stop_s=1.0):
        started.append(start(code))
        raise KeyboardInterrupt


@pytest.mark.fault(53)
@pytest.mark.parametrize("code", [OBEDIENT, STUBBORN])
def test_an_interrupted_step_leaves_no_child(code: str) -> None:
    started: list[subprocess.Popen[str]] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(code, started)
    (child,) = started
    with child:
        assert not psutil.pid_exists(child.pid)


def test_a_child_of_before_goes_on() -> None:
    with start(OBEDIENT) as child:
        with no_child_left():
            pass
        assert psutil.pid_exists(child.pid)
        assert child.poll() is None
        child.kill()
