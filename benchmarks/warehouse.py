"""Lost writes of this warehouse beside a plain DuckDB file: four writers, two readers.

    python benchmarks/warehouse.py [--writes 15] [--json out.json]

All are processes. Each writer commits partitions of 390 minute-like rows as fast as it can, each
reader counts rows as fast as it can. A write is lost if its process got an error instead of a
commit, or if its rows are not there at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from spy_assets.settings import Settings, load_settings
from spy_assets.warehouse import TableSpec, Warehouse

WRITERS, READERS, ROWS = 4, 2, 390
NOW = datetime(2024, 1, 2, tzinfo=UTC)
SPEC = TableSpec(
    "market.bench",
    ("symbol", "session", "minute"),
    {"symbol": "VARCHAR", "session": "DATE", "minute": "INTEGER", "close": "DOUBLE"},
)


def partition(writer: int, number: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "symbol": [f"W{writer}"] * ROWS,
            "session": [date(2020, 1, 1) + timedelta(days=number)] * ROWS,
            "minute": list(range(ROWS)),
            "close": [float(number)] * ROWS,
            "available_at": [NOW] * ROWS,
            "source": ["bench"] * ROWS,
        }
    )


def lake_writer(home: str, writer: int, writes: int, start: Any, out: Any) -> None:
    times, failed = [], 0
    with Warehouse.open(load_settings(home=home)) as lake:
        start.wait()
        for number in range(writes):
            began = time.perf_counter()
            lake.write(SPEC, partition(writer, number), ingested_at=NOW)
            times.append(time.perf_counter() - began)
    out.put(("write", times, failed))


def lake_reader(home: str, stop: Any, start: Any, out: Any) -> None:
    times = []
    with Warehouse.open(load_settings(home=home), read_only=True) as lake:
        start.wait()
        while not stop.is_set():
            began = time.perf_counter()
            lake.row_count(SPEC.name)
            times.append(time.perf_counter() - began)
    out.put(("read", times, 0))


def file_writer(home: str, writer: int, writes: int, start: Any, out: Any) -> None:
    times, failed = [], 0
    start.wait()
    for number in range(writes):
        began = time.perf_counter()
        try:
            with duckdb.connect(f"{home}/plain.duckdb") as connection:
                connection.register("rows_", partition(writer, number))
                connection.execute("INSERT INTO bench SELECT * FROM rows_")
        except duckdb.Error:
            failed += 1
        times.append(time.perf_counter() - began)
    out.put(("write", times, failed))


def file_reader(home: str, stop: Any, start: Any, out: Any) -> None:
    times, failed = [], 0
    start.wait()
    while not stop.is_set():
        began = time.perf_counter()
        try:
            with duckdb.connect(f"{home}/plain.duckdb", read_only=True) as connection:
                connection.execute("SELECT count(*) FROM bench").fetchall()
        except duckdb.Error:
            failed += 1
        times.append(time.perf_counter() - began)
    out.put(("read", times, failed))


def run(
    home: str, writes: int, writer: Callable[..., None], reader: Callable[..., None]
) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    start, stop, out = context.Event(), context.Event(), context.Queue()
    writers = [
        context.Process(target=writer, args=(home, i, writes, start, out)) for i in range(WRITERS)
    ]
    readers = [
        context.Process(target=reader, args=(home, stop, start, out)) for _ in range(READERS)
    ]
    for process in (*writers, *readers):
        process.start()
    time.sleep(8)  # let all of them import and connect before the race
    start.set()
    results = [out.get() for _ in writers]
    stop.set()
    results += [out.get() for _ in readers]
    for process in (*writers, *readers):
        process.join()
    return summary(results)


def summary(results: list[tuple[str, list[float], int]]) -> dict[str, Any]:
    took = {
        kind: [t for k, times, _ in results if k == kind for t in times]
        for kind in ("write", "read")
    }
    failed = {kind: sum(f for k, _, f in results if k == kind) for kind in ("write", "read")}
    return {
        "writes": len(took["write"]),
        "write_errors": failed["write"],
        "write_ms_median": round(statistics.median(took["write"]) * 1000, 1),
        "reads": len(took["read"]),
        "read_errors": failed["read"],
        "read_ms_median": round(statistics.median(took["read"]) * 1000, 1),
    }


def alone(settings: Settings, writes: int) -> float:
    """Median milliseconds of a transaction without a competitor."""
    times = []
    with Warehouse.open(settings) as lake:
        for number in range(writes):
            began = time.perf_counter()
            lake.write(SPEC, partition(99, number), ingested_at=NOW)
            times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1000, 1)


def measure(writes: int) -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings(home=home)
        with Warehouse.open(settings) as lake:
            lake.ensure(SPEC)
        ours = run(home, writes, lake_writer, lake_reader)
        with Warehouse.open(settings) as lake:
            ours["lost"] = ours["writes"] - lake.row_count(SPEC.name) // ROWS
        ours["alone_ms_median"] = alone(settings, writes)
        with duckdb.connect(f"{home}/plain.duckdb") as connection:
            connection.register("rows_", partition(0, 0))
            connection.execute("CREATE TABLE bench AS SELECT * FROM rows_ LIMIT 0")
        plain = run(home, writes, file_writer, file_reader)
        with duckdb.connect(f"{home}/plain.duckdb") as connection:
            stored = connection.execute("SELECT count(*) FROM bench").fetchall()[0][0]
        plain["lost"] = plain["writes"] - stored // ROWS
    return {"warehouse": ours, "plain DuckDB file": plain}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=15, help="transactions per writer")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    arguments = parser.parse_args()
    results = measure(arguments.writes)
    print(f"{'':18} {'lost':>10} {'ms/write':>9} {'read errors':>14} {'ms/read':>8}")
    for name, row in results.items():
        lost = f"{row['lost']} of {row['writes']}"
        errors = f"{row['read_errors']} of {row['reads']}"
        write_ms, read_ms = row["write_ms_median"], row["read_ms_median"]
        print(f"{name:18} {lost:>10} {write_ms:9} {errors:>14} {read_ms:8}")
    print(json.dumps(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
