"""``spy run`` on the sample in a fresh home, and again.

python benchmarks/run.py

Installing is not counted. Targets on two idle cores: at most 90 s, and 15 s when nothing is missing.
On a machine that others load, read the processor time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

from measuring import Figure, clean_environment, report, timed_process

FIRST_S, SECOND_S = 90.0, 15.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    clean_environment()
    command = [sys.executable, "-m", "spy_assets.cli", "run"]
    with tempfile.TemporaryDirectory() as home:
        environment = {"SPY_HOME": home}
        first, second = (timed_process(command, environment) for _ in range(2))
    report(
        "run",
        "`spy run` on the sample",
        [
            Figure("first run, elapsed", first.wall, "s", FIRST_S),
            Figure("first run, processor time", first.processor, "s", FIRST_S),
            Figure("second run, elapsed", second.wall, "s", SECOND_S),
            Figure("second run, processor time", second.processor, "s", SECOND_S),
        ],
    )


if __name__ == "__main__":
    main()
