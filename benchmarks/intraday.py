"""A rule over minute bars, and the short-premium accounts: processor time a bar, a step, a new process.

python benchmarks/intraday.py [--files /path/to/files]

With a folder of files (or SPY_FILES_DIR) the bars are SPY's one-minute bars of 2024 there, and the note
says what selling the 15-delta put at 10:00 gave, and a random policy, beside cash. Fills are a model's.
Without it the bars are a random walk of as many sessions.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from measuring import Figure, clean_environment, report, timed_process

from spy_assets.sessions import bars_due, previous_session, session_open, sessions_between
from spy_assets.simulator.exits import CreditStop, ExitRules
from spy_assets.simulator.intraday_batch import EntryRule, IntradayBacktest, backtest, timed_entries
from spy_assets.simulator.intraday_book import IntradayConfig
from spy_assets.simulator.intraday_path import IntradayPath

FIRST, LAST = date(2024, 3, 26), date(2024, 12, 31)
CHAINS = (ExitRules((CreditStop(3.0),)),)
NAKED = IntradayConfig(allow_naked=True)
RULE = EntryRule("P", -1, 0.15, minute=30.0)
ACCOUNTS, STEPS = 1024, 200


def real_bars(files: Path, minutes: int) -> pl.DataFrame:
    found = sorted((files / "bars" / f"{minutes}min" / "SPY").glob("2*.parquet"))
    return pl.read_parquet(found[-1], columns=["ts", "open", "high", "low", "close"]).rename(
        {"ts": "bar_start"}
    )


def real_daily(files: Path) -> pl.DataFrame:
    """VIX and the federal funds rate by session, each as of its close."""
    vix = pl.read_parquet(files / "vol" / "VIX.parquet").select(session="date", vix_close="close")
    rates = (
        pl.read_parquet(files / "fred" / "fred_rates_daily.parquet")
        .filter(pl.col("series") == "DFF")
        .select("date", rate=pl.col("value") / 100.0)
        .sort("date")
    )
    # A day's rate is published on the next one.
    known = rates.with_columns(session=pl.col("date") + pl.duration(days=1)).select(
        "session", "rate"
    )
    return vix.sort("session").join_asof(known, on="session", strategy="backward")


def made_bars(minutes: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A random walk over the same sessions."""
    chance, price, parts = np.random.default_rng(7), 520.0, []
    days = sessions_between(FIRST, LAST)
    for day in days:
        due = bars_due(day, minutes)
        close = price * np.exp(np.cumsum(chance.normal(0.0, 0.0004, due)))
        opened = np.append(price, close[:-1])
        price = float(close[-1])
        starts = [session_open(day) + timedelta(minutes=minutes * n) for n in range(due)]
        bounds = {"high": np.maximum(opened, close), "low": np.minimum(opened, close)}
        parts.append(pl.DataFrame({"bar_start": starts, "open": opened, **bounds, "close": close}))
    daily = pl.DataFrame({"session": [previous_session(day) for day in days]})
    known = daily.with_columns(vix_close=pl.lit(16.0), rate=pl.lit(0.05))
    return pl.concat(parts).with_columns(pl.col("bar_start").cast(pl.Datetime("us", "UTC"))), known


def path_of(files: Path | None, minutes: int) -> IntradayPath:
    bars, daily = (
        made_bars(minutes) if files is None else (real_bars(files, minutes), real_daily(files))
    )
    return IntradayPath.from_bars(bars, daily, minutes=minutes)


def run(path: IntradayPath) -> IntradayBacktest:
    return backtest(path, timed_entries(path, RULE, NAKED), chains=CHAINS, config=NAKED)


def nanoseconds(work: Callable[[], object], count: int, rounds: int) -> float:
    """Median processor time of one of ``count`` pieces of work."""
    work()
    taken = []
    for _ in range(rounds):
        before = time.process_time()
        for _ in range(5):
            work()
        taken.append((time.process_time() - before) / 5)
    return statistics.median(taken) / count * 1e9


def accounts_figure(path: IntradayPath, rounds: int) -> list[Figure]:
    from spy_assets.simulator.short_premium_batch import ShortPremiumAccounts

    accounts = ShortPremiumAccounts(path, ACCOUNTS)
    chance = np.random.default_rng(3)

    def random_steps() -> None:
        for _ in range(STEPS):
            accounts.step((chance.random(accounts.masks.shape) * accounts.masks).argmax(axis=1))

    def quiet_steps() -> None:
        for _ in range(STEPS):
            accounts.step(np.zeros(ACCOUNTS, dtype=np.int64))

    return [
        Figure(
            f"short premium, {ACCOUNTS} accounts, {name}", nanoseconds(work, steps, rounds), "ns"
        )
        for name, work, steps in (
            ("a step of a random policy, its choice included", random_steps, STEPS * ACCOUNTS),
            ("a step of holding", quiet_steps, STEPS * ACCOUNTS),
        )
    ]


def random_policy(path: IntradayPath) -> np.ndarray:
    """Dollars made over the whole path by each of 256 accounts that follow a random policy."""
    from spy_assets.simulator.short_premium_batch import ShortPremiumAccounts

    usable = path.window(1, len(path.sessions)) if np.isnan(path.volatility[0]) else path
    accounts, ends = ShortPremiumAccounts(usable, 256, seed=11), []
    chance = np.random.default_rng(11)
    for session in range(len(usable.sessions)):
        accounts.restart(np.full(256, session))
        total = np.zeros(256)
        length = int(usable.first_bar[session + 1] - usable.first_bar[session])
        for _ in range(length - 1):
            # Mostly it holds: what is drawn evenly sells at the first chance of each session.
            draw = chance.random(accounts.masks.shape) * accounts.masks
            draw[:, 0] += 1.0 - 1.0 / 60.0
            accounts.step(draw.argmax(axis=1))
            total += accounts.desks.change
        ends.append(total)
    return np.sum(ends, axis=0)


def told(files: Path | None) -> str:
    """What the rule and a random policy gave on real bars, beside cash."""
    if files is None:
        return "bars are a random walk: --files or SPY_FILES_DIR names no folder"
    lines = ["Fills are a model's (quote_kind surface), dollars of $125,000, cash earns nothing:"]
    for minutes in (1, 5):
        path = path_of(files, minutes)
        rule, chance = run(path), random_policy(path)
        lines.append(
            f"{minutes}-minute bars {path.sessions[0]} to {path.sessions[-1]}, "
            f"{len(path.sessions)} sessions, {len(path)} bars: cash 0.00; 15-delta put at 10:00, "
            f"stop at 3 credits: {len(rule.pnl)} trades, {np.mean(rule.pnl > 0):.1%} won, "
            f"{rule.pnl.sum():+.2f}; random policy on spreads: mean {chance.mean():+.2f}, "
            f"5 % to 95 % {np.quantile(chance, 0.05):+.2f} to {np.quantile(chance, 0.95):+.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, default=os.environ.get("SPY_FILES_DIR"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", action="store_true", help="one run, for the time of a process")
    arguments = parser.parse_args()
    clean_environment()
    files = None if arguments.files is None else Path(arguments.files)
    path = path_of(files, 1)
    if arguments.once:
        print(f"{run(path).pnl.sum():.2f}")
        return
    orders = timed_entries(path, RULE, NAKED)
    walk = nanoseconds(
        lambda: backtest(path, orders, chains=CHAINS, config=NAKED), len(path), arguments.rounds
    )
    whole = nanoseconds(lambda: run(path), len(path), arguments.rounds)
    command = [sys.executable, __file__, "--once"] + (["--files", str(files)] if files else [])
    fresh = [timed_process(command) for _ in range(3)]
    note = told(files)
    report(
        "intraday",
        "Intraday backtest and accounts (processor time, medians)",
        [
            Figure(
                f"a bar of {len(path)}, entries given ({1e3 / walk:.1f} M/s)", walk, "ns", 200.0
            ),
            Figure(f"a bar, entries found ({1e3 / whole:.1f} M/s)", whole, "ns", 200.0),
            Figure(
                "first result in a new process, processor time",
                statistics.median(one.processor for one in fresh),
                "s",
                2.0,
            ),
            Figure("the same, elapsed", statistics.median(one.wall for one in fresh), "s", 2.0),
            *accounts_figure(path_of(files, 5), arguments.rounds),
        ],
        note,
    )


if __name__ == "__main__":
    main()
