"""Where the machine code of the kernels is kept, and that a changed kernel is compiled again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spy_assets.options import compiled

#: Prints how many kernels were compiled because the cache did not have them.
PROGRAM = """
from spy_assets.options.black_scholes import all_greeks
from spy_assets.options.implied_vol import implied_volatility
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    price = all_greeks(100.0, 110.0, 0.25, 0.04, 0.01, 0.2, "C").price
    implied_volatility(price, 100.0, 110.0, 0.25, 0.04, 0.01, "C")
print(sum(one.is_start for _, one in recorder.buffer))
"""


@pytest.fixture(autouse=True)
def _decided_anew():
    compiled.cache_directory.cache_clear()
    yield
    compiled.cache_directory.cache_clear()


def test_the_named_directory_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "named"))
    chosen = compiled.cache_directory()
    assert chosen is not None
    assert chosen.parent == tmp_path / "named"
    assert chosen.is_dir()


def test_then_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(compiled, "user_cache", lambda: tmp_path)
    chosen = compiled.cache_directory()
    assert chosen is not None
    assert chosen.parent == tmp_path / "spy-assets" / "kernels"


def test_what_cannot_be_written_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(compiled, "user_cache", lambda: tmp_path / "file")
    monkeypatch.setattr(compiled.tempfile, "gettempdir", lambda: str(tmp_path))
    chosen = compiled.cache_directory()
    assert chosen is not None
    assert chosen.parent.name.startswith("spy-assets-kernels-")


def test_a_changed_kernel_module_changes_the_directory(tmp_path):
    (tmp_path / "_one.py").write_text("from spy_assets.options.compiled import kernel\nx = 1\n")
    (tmp_path / "constants.py").write_text("x = 1\n")
    before = compiled.sources_digest(tmp_path)
    (tmp_path / "constants.py").write_text("x = 2\n")
    assert compiled.sources_digest(tmp_path) != before
    before = compiled.sources_digest(tmp_path)
    (tmp_path / "_one.py").write_text("from spy_assets.options.compiled import kernel\nx = 2\n")
    assert compiled.sources_digest(tmp_path) != before


def test_kernels_of_the_simulator_count_too(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    options = Path(compiled.__file__).parent
    others = (options.parent / "simulator", options.parent / "models" / "policy")
    chosen = compiled.cache_directory()
    assert chosen is not None
    assert chosen.name == compiled.sources_digest(options, *others)
    assert chosen.name != compiled.sources_digest(options)


def test_all_kernel_modules_count(tmp_path):
    package = Path(compiled.__file__).parent
    state = compiled.sources_digest(package)
    for name in ("_elementary_kernel.py", "_bsm_kernel.py", "_iv_kernel.py", "_exact_kernel.py"):
        for path in package.glob("*.py"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        assert compiled.sources_digest(tmp_path) == state
        (tmp_path / name).write_bytes((package / name).read_bytes() + b"#\n")
        assert compiled.sources_digest(tmp_path) != state


def test_a_kernel_computes_and_divides_as_numpy():
    @compiled.kernel
    def quotient(a: float, b: float) -> float:
        return a / b

    assert quotient(1.0, 0.0) == float("inf")
    assert quotient.py_func(1.0, 2.0) == 0.5


@pytest.mark.slow
def test_a_new_process_loads_the_kernels_instead_of_compiling_them(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    compiled_by: list[int] = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=Path(compiled.__file__).parents[2],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        compiled_by.append(int(done.stdout))
    assert compiled_by[0] > 0
    assert compiled_by[1] == 0
    assert list(tmp_path.rglob("*.nbi"))
