"""Condors over a Parquet file of chains in a process of its own; what it took as JSON.

python chain_worker.py rate FILE.parquet ROUNDS    # seconds of each round, and of the pass alone
python chain_worker.py memory FILE.parquet         # bytes of the rows, and at most held beyond them
python chain_worker.py first FILE.parquet          # the first result of a new process, untimed
"""

from __future__ import annotations

import json
import sys
import time
from datetime import date
from pathlib import Path

import polars as pl

from spy_assets.simulator.chain_backtest import ChainBacktest, backtest_chain
from spy_assets.simulator.chain_strategy import ChainStrategy, ExpiryRule, legs_by_delta
from spy_assets.simulator.chain_table import ChainTable
from spy_assets.simulator.costs import CostModel
from spy_assets.simulator.exits import ExitRules, ProfitTarget, StopLoss

#: As the peer is asked to trade: stop at the credit, target at half of it, bid and ask, 65 cents.
CONDOR = ChainStrategy(
    "iron_condor",
    legs_by_delta("iron_condor", 0.16, wing_delta=0.05),
    expiry=ExpiryRule(1, 45, 30),
    rules=ExitRules((StopLoss(), ProfitTarget())),
    fill="same",
    costs=CostModel("commission", 0.65, 0.0, 0.0),
)


def closes_of(rows: pl.DataFrame) -> dict[date, float]:
    """The spot of each session stands for its close."""
    spots = rows.select("session", "spot").unique("session", keep="last")
    return dict(spots.iter_rows())


def backtest(rows: pl.DataFrame, closes: dict[date, float]) -> ChainBacktest:
    """From rows to trades."""
    made = backtest_chain(ChainTable.from_frame(rows, closes=closes), CONDOR)
    made.trades  # noqa: B018 - rows of trades are part of the work
    return made


def rate(rows: pl.DataFrame, rounds: int) -> dict[str, object]:
    closes = closes_of(rows)
    backtest(rows, closes)
    table = ChainTable.from_frame(rows, closes=closes)
    whole, alone = [], []
    for _ in range(rounds):
        began = time.process_time()
        made = backtest(rows, closes)
        whole.append(time.process_time() - began)
        began = time.process_time()
        for _ in range(10):
            backtest_chain(table, CONDOR)
        alone.append((time.process_time() - began) / 10)
    trades = made.trades.height
    return {"seconds": whole, "alone": alone, "rows": rows.height, "trades": trades}


def status(name: str) -> int:
    """A line of the process's own account of its memory, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(one.split()[1]) * 1024 for one in lines if one.startswith(name))


def memory(path: str) -> dict[str, object]:
    """Held at most while rows become trades, less what was held before, rows included."""
    small = pl.read_parquet(path, n_rows=60_000)
    closes = closes_of(pl.read_parquet(path, columns=["session", "spot"]))
    backtest(small, closes)
    before = status("VmRSS")
    rows = pl.read_parquet(path).rechunk()
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts anew
    made = backtest(rows, closes)
    held = status("VmHWM") - before
    return {"data": size_of(rows), "held": held, "table": made.table.nbytes}


def size_of(rows: pl.DataFrame) -> int:
    """Bytes of the rows' columns; a short text takes the sixteen bytes of its view."""
    texts = sum(kind == pl.String for kind in rows.dtypes)
    numbers = rows.select(pl.exclude(pl.String)).estimated_size()
    return int(numbers) + 16 * texts * rows.height


def main() -> None:
    job, path = sys.argv[1:3]
    if job == "memory":
        told: dict[str, object] = memory(path)
    elif job == "rate":
        told = rate(pl.read_parquet(path).rechunk(), int(sys.argv[3]))
    else:
        rows = pl.read_parquet(path)
        told = {"trades": backtest(rows, closes_of(rows)).trades.height}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
