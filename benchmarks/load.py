"""Loading the code location beside importing Dagster, each in fresh processes, in turn.

python benchmarks/load.py [--rounds 5]

Target: at most 3.5 times. The dbt manifest must be prepared (``make bench`` sees to it).
"""

from __future__ import annotations

import argparse
import statistics
import sys

from measuring import Figure, clean_environment, report, timed_process

AT_MOST = 3.5
STATEMENTS = {"dagster": "import dagster", "location": "import spy_assets.definitions"}


def measure(rounds: int) -> dict[str, list[float]]:
    """User seconds of each statement; the first round only warms the file cache."""
    took: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for number in range(rounds + 1):
        for name, statement in STATEMENTS.items():
            one = timed_process([sys.executable, "-c", statement])
            if number:
                took[name].append(one.user)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind")
    arguments = parser.parse_args()
    clean_environment()
    median = {name: statistics.median(all_) for name, all_ in measure(arguments.rounds).items()}
    report(
        "load",
        "Loading the code location (user time, medians)",
        [
            Figure("import dagster", median["dagster"], "s"),
            Figure("import spy_assets.definitions", median["location"], "s"),
            Figure("ratio", median["location"] / median["dagster"], "x", AT_MOST),
        ],
    )


if __name__ == "__main__":
    main()
