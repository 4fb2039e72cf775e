"""Thirty years of bars and features of all symbols in one run, from files, in a fresh home.

SPY_FILES_DIR=... python benchmarks/history.py

Reads the folder layout of docs/files-source.md. Without SPY_FILES_DIR it is skipped. Targets: at most
60 s elapsed and 60 s of processor time. On a machine that others load, read the latter.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

from measuring import Figure, clean_environment, report, skip, timed_process

AT_MOST_S = 60.0
#: In a process of its own, because the partitions are those of the environment's source.
RUN = """
from datetime import date
from rich.console import Console
from spy_assets import plan
from spy_assets.dagster_home import instance
from spy_assets.defs.partitions import years_of
from spy_assets.settings import load_settings

settings = load_settings()
with instance(settings) as opened:
    runner = plan.Runner(settings, Console(quiet=True), opened)
    years = years_of(date(settings.first_year, 1, 1), runner.spy.last_session())
    step = runner.stage("history", "refresh_history", years)
    with runner.spy.warehouse() as lake:
        rows = lake.execute("SELECT count(*) n, count(DISTINCT symbol) s FROM features.daily_15")
assert len(years) >= 30 and step.materialized, (years, step)
assert rows["s"][0] >= 29, rows
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    files = os.environ.get("SPY_FILES_DIR")
    if not files:
        skip("history", "SPY_FILES_DIR is not set: there are no files to read")
        return
    clean_environment()
    with tempfile.TemporaryDirectory() as home:
        environment = {"SPY_SOURCE": "files", "SPY_FILES_DIR": files, "SPY_HOME": home}
        took = timed_process([sys.executable, "-c", RUN], environment)
    report(
        "history",
        "Thirty years of bars and features, one run",
        [
            Figure("elapsed", took.wall, "s", AT_MOST_S),
            Figure("user time", took.user, "s"),
            Figure("system time", took.system, "s"),
            Figure("processor time", took.processor, "s", AT_MOST_S),
        ],
    )


if __name__ == "__main__":
    main()
