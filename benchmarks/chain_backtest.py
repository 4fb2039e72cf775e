"""Iron condors with stop and target over a year of chains: rows a second, memory, the first result.

python benchmarks/chain_backtest.py [--sessions 250] [--rounds 5] [--peer-venv DIR]

The chains are made by a formula, in SPY's size: 14,000 contracts a session, in the order in which the
warehouse gives them. One thread; processor time, medians. With --peer-venv (or OPTOPSY_VENV) optopsy
takes its turn over the same quotes, in an environment of its own with Python 3.12. Targets: 3 million
rows a second from the frame to the trades, at most 3 times the data in memory, 2 s from the start of a
process to its first result.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from measuring import ROOT, Figure, Took, clean_environment, optopsy_peer, report, timed_process
from measuring.chain_market import year_of_chains

WORKER = Path(__file__).with_name("measuring") / "chain_worker.py"
ONE_THREAD = {
    "POLARS_MAX_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
}
FEWEST_ROWS_S = 3e6
MOST_TIMES_DATA = 3.0
FIRST_S = 2.0
#: Sessions of the file that the first result of a process is of.
SMALL = 12


def worker(*arguments: str) -> dict[str, Any]:
    """Run the worker to its end.

    Raises
    ------
    RuntimeError
        If it fails, with the end of what it said.
    """
    done = subprocess.run(
        [sys.executable, WORKER, *arguments],
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{arguments} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def rate_figures(told: dict[str, Any], name: str) -> list[Figure]:
    """Seconds a million rows, which have a target, and rows a second."""
    seconds = statistics.median(told["seconds"])
    rows = told["rows"]
    return [
        Figure(f"{name}: a million rows", 1e6 * seconds / rows, "s", 1e6 / FEWEST_ROWS_S),
        Figure(f"{name}: million rows a second", rows / seconds / 1e6, ""),
    ]


def first_result(file: Path, rounds: int) -> list[Took]:
    """Times of processes from their start to their end, machine code kept by the one before."""
    command = [sys.executable, str(WORKER), "first", str(file)]
    timed_process(command, ONE_THREAD)
    return [timed_process(command, ONE_THREAD) for _ in range(rounds)]


def peer_figures(
    arguments: argparse.Namespace, rows: pl.DataFrame, folder: Path, own: float
) -> tuple[list[Figure], str]:
    """What optopsy took for the same rows; no figures, with the reason, where it cannot run."""
    python = arguments.peer_python or optopsy_peer.newer_python()
    if arguments.peer_venv is None or python is None:
        lacking = "no --peer-venv" if arguments.peer_venv is None else "no Python 3.12"
        return [], f"Without optopsy: {lacking}."
    file = folder / "year.npz"
    optopsy_peer.write_rows(rows, file)
    own_python = optopsy_peer.optopsy_python(Path(arguments.peer_venv), python)
    told = optopsy_peer.measure(own_python, file, arguments.rounds)
    seconds = statistics.median(told["seconds"])
    return [
        Figure("optopsy 2.3: million rows a second", told["rows"] / seconds / 1e6, ""),
        Figure("optopsy 2.3: times the data beyond it", told["more_bytes"] / told["bytes"], ""),
        Figure("optopsy 2.3: trades", told["trades"], ""),
        Figure("times as fast as optopsy 2.3", seconds / own, ""),
    ], ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=250, help="of chains, at most 252")
    parser.add_argument("--rounds", type=int, default=5, help="at least three")
    optopsy_peer.add_options(parser)
    arguments = parser.parse_args()
    arguments.rounds = max(3, arguments.rounds)
    clean_environment()
    rows, _ = year_of_chains(arguments.sessions)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given, ordered, small = (folder / f"{one}.parquet" for one in ("given", "ordered", "small"))
        rows.write_parquet(given)
        rows.sort("session", "expiry", "root", "right", "strike").write_parquet(ordered)
        days = rows["session"].unique().sort()
        rows.filter(pl.col("session") < days[min(SMALL, days.len() - 1)]).write_parquet(small)
        told, sorted_ = (
            worker("rate", str(one), str(arguments.rounds)) for one in (given, ordered)
        )
        held = worker("memory", str(given))
        first = first_result(small, arguments.rounds)
        seconds = statistics.median(told["seconds"])
        peers, note = peer_figures(arguments, rows, folder, seconds)
    report(
        "chain_backtest",
        f"Iron condors over {rows.height} quotes of {arguments.sessions} sessions",
        [
            *rate_figures(told, "frame to trades"),
            *rate_figures(sorted_, "frame to trades, rows sorted before"),
            Figure("the pass alone, over a table", statistics.median(told["alone"]), "s"),
            Figure("trades", told["trades"], ""),
            Figure("memory, times the data", held["held"] / held["data"], "", MOST_TIMES_DATA),
            Figure("the table, times the data", held["table"] / held["data"], ""),
            Figure(
                "first result of a process, processor time",
                statistics.median(one.processor for one in first),
                "s",
                FIRST_S,
            ),
            Figure(
                "first result of a process, elapsed",
                statistics.median(one.wall for one in first),
                "s",
                FIRST_S,
            ),
            *peers,
        ],
        f"One thread, processor time, medians of {arguments.rounds}. Both trade one condor at a time; "
        f"among the expiries each chooses by a rule of its own. {note}",
    )


if __name__ == "__main__":
    main()
