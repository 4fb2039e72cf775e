"""A backfill of signals in one run beside as many empty events of Dagster.

python benchmarks/backfill.py [--sessions 250] [--rounds 3]

A model is trained on what lies before the sessions, so that it is asked for every one. Then, in turn
and each on a fresh copy of the data and in a process of its own: one run that makes the signals, and
one run of an asset with the same partitions that does nothing, with as many materializations and
check results, on an instance of the same kind. Each process first makes one session more, because
imports and the first opening of lake and registry are paid once a process, not by session; that
run is shown apart. Target: at most 1.3 times, in processor time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from measuring import Figure, Took, clean_environment, report, timed

AT_MOST = 1.3
QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def settings_of(home: Path, sessions: int) -> Any:
    """The sample's settings, with a model that may speak for all of the sessions."""
    from spy_assets.settings import load_settings

    train = {"holdout_sessions": sessions + 1, "max_age_sessions": 2 * sessions + 200}
    return load_settings(home=home, train=train)


def days_of(home: Path, sessions: int) -> list[str]:
    """The sample's last sessions, after one to warm up with."""
    from spy_assets.market.sources import open_source
    from spy_assets.sessions import previous_session, sessions_between

    last: date = open_source(settings_of(home, sessions)).last_session()
    return [str(day) for day in sessions_between(previous_session(last, sessions), last)]


def prepare(home: Path, sessions: int) -> None:
    """History, features and a model, but no signal."""
    from rich.console import Console

    from spy_assets import plan

    plan.train(settings_of(home, sessions), Console(quiet=True))


def execute(job: Any, instance: Any, days: Sequence[str]) -> list[Took]:
    """A run of the first day and one of the others, measured."""
    return [one_run(job, instance, some) for some in (days[:1], days[1:])]


def one_run(job: Any, instance: Any, days: Sequence[str]) -> Took:
    """One run over some days, measured."""
    tags = {
        "dagster/asset_partition_range_start": days[0],
        "dagster/asset_partition_range_end": days[-1],
    }
    results = []

    def work() -> None:
        results.append(job.execute_in_process(instance=instance, tags=tags, run_config=QUIET))

    took = timed(work)
    made = len(results[0].get_asset_materialization_events())
    if made != len(days):
        raise RuntimeError(f"{made} materializations of {len(days)}")
    return took


def signals(home: Path, sessions: int) -> list[Took]:
    """Make the signals of all sessions in one run."""
    from spy_assets.dagster_home import instance as open_instance
    from spy_assets.definitions import build
    from spy_assets.defs.resources import SpyResource
    from spy_assets.settings import SECRETS

    settings = settings_of(home, sessions)
    overrides = settings.model_dump(mode="json", exclude_unset=True, exclude=set(SECRETS))
    job = build(SpyResource(overrides=overrides)).resolve_job_def("daily_signal_job")
    with open_instance(settings) as instance:
        return execute(job, instance, days_of(home, sessions))


def empty(home: Path, sessions: int) -> list[Took]:
    """The same events with nothing behind them."""
    from spy_assets.dagster_home import instance as open_instance
    from spy_assets.defs.partitions import SESSIONS

    names = ("replays_equal", "decided")

    @dg.asset(
        partitions_def=SESSIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec(name, asset="nothing") for name in names],
    )
    def nothing() -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult(
            check_results=[dg.AssetCheckResult(check_name=name, passed=True) for name in names]
        )

    defs = dg.Definitions(
        assets=[nothing],
        jobs=[dg.define_asset_job("empty", ["nothing"], executor_def=dg.in_process_executor)],
    )
    with open_instance(settings_of(home, sessions)) as instance:
        return execute(defs.resolve_job_def("empty"), instance, days_of(home, sessions))


def child(what: str, home: Path, sessions: int) -> list[Took]:
    """Run one side in a process of its own."""
    command = [sys.executable, __file__, "--side", what, "--home", str(home)]
    done = subprocess.run(
        [*command, "--sessions", str(sessions)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{what} failed:\n{done.stderr[-3000:]}")
    return [Took(**one) for one in json.loads(done.stdout.strip().splitlines()[-1])]


def measure(sessions: int, rounds: int, prepared: Path | None) -> dict[str, list[list[Took]]]:
    """Times of both sides, in turn."""
    took: dict[str, list[list[Took]]] = {"signals": [], "empty": []}
    with tempfile.TemporaryDirectory() as folder:
        made = prepared or Path(folder, "made")
        if not made.exists():
            made.mkdir()
            prepare(made, sessions)
        for number in range(rounds):
            for what, times in took.items():
                home = Path(folder, f"{what}{number}")
                if what == "signals":
                    shutil.copytree(made, home)
                else:
                    home.mkdir()
                times.append(child(what, home, sessions))
                shutil.rmtree(home)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--side", choices=["signals", "empty"], help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help="where the model is; made there if missing")
    arguments = parser.parse_args()
    clean_environment()
    if arguments.side:
        side = signals if arguments.side == "signals" else empty
        print(json.dumps([asdict(one) for one in side(arguments.home, arguments.sessions)]))
        return
    took = measure(arguments.sessions, arguments.rounds, arguments.home)

    def median(what: str, kind: str, run: int = 1) -> float:
        return statistics.median(getattr(one[run], kind) for one in took[what])

    ours, theirs = median("signals", "processor"), median("empty", "processor")
    report(
        "backfill",
        f"{arguments.sessions} signals in one run (medians)",
        [
            Figure("first session of a process, signals", median("signals", "processor", 0), "s"),
            Figure("first session of a process, empty", median("empty", "processor", 0), "s"),
            Figure("signals, processor time", ours, "s"),
            Figure("empty events, processor time", theirs, "s"),
            Figure("ratio of processor time", ours / theirs, "x", AT_MOST),
            Figure(
                "ratio of elapsed time", median("signals", "wall") / median("empty", "wall"), "x"
            ),
        ],
    )


if __name__ == "__main__":
    main()
