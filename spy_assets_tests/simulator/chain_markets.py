"""Chains made at random, with every defect that real ones have, and chains written by hand."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from spy_assets.market.sources.chains.cboe import CboeFileChains
from spy_assets.options.chain import clean_chain
from spy_assets.options.expiries import options_close
from spy_assets.sessions import sessions_between
from spy_assets.simulator.chain_table import ChainTable, Dividend

MONDAY = date(2024, 6, 3)
#: Sessions whose file is what its name says; the close of the 23rd is a copy of the 22nd's.
REAL_DAYS = (22, 24, 27, 28, 29, 30, 31)


def random_rows(seed: int, sessions: int = 10, shuffled: bool = True) -> pl.DataFrame:
    """Chains of up to ten sessions, up to three moments each, strikes every dollar around 100."""
    rng = np.random.default_rng(seed)
    days = sessions_between(MONDAY, MONDAY + timedelta(days=60))[: sessions + 8]
    kept = [day for day in days[:sessions] if rng.random() < 0.85] or days[:2]
    spot, rows = 100.0, []
    for day in kept:
        for moment in range(int(rng.integers(1, 4))):
            spot *= float(np.exp(rng.normal(0.0, 0.01)))
            at = options_close(day) - timedelta(hours=2 * (2 - moment))
            ahead = [one for one in days if one >= day][: int(rng.integers(2, 7))]
            rows.append(_snapshot(rng, day, at, spot, ahead))
    made = pl.concat(rows)
    return made.sample(fraction=1.0, shuffle=True, seed=seed) if shuffled else made


def _snapshot(
    rng: np.random.Generator, day: date, at: datetime, spot: float, expiries: list[date]
) -> pl.DataFrame:
    grid = pl.DataFrame({"expiry": expiries}).join(pl.DataFrame({"right": ["C", "P"]}), how="cross")
    strikes = pl.DataFrame({"strike": np.arange(88.0, 113.0)})
    grid = grid.join(strikes, how="cross")
    grid = grid.filter(pl.Series(rng.random(grid.height) < 0.97))
    call = (grid["right"] == "C").to_numpy()
    strike = grid["strike"].to_numpy()
    years = (grid["expiry"] - day).dt.total_days().to_numpy() / 365.0 + 0.001
    away = (spot - strike) / (spot * 0.2 * np.sqrt(years))
    delta = 1.0 / (1.0 + np.exp(-1.7 * away)) - ~call
    worth = np.maximum(np.where(call, spot - strike, strike - spot), 0.0)
    worth += (
        spot * 0.08 * np.sqrt(years) * np.exp(-0.5 * away**2) * rng.uniform(0.9, 1.1, len(away))
    )
    half = rng.uniform(0.005, 0.08, worth.size)
    bid, ask = np.maximum(worth - half, 0.0), worth + half
    luck = rng.random(worth.size)
    bid = np.where(luck < 0.02, np.nan, np.where(luck < 0.04, ask + 0.1, bid))
    bid = np.where((luck > 0.96) & (worth < 0.5), 0.0, bid)
    return grid.with_columns(
        session=pl.lit(day),
        root=pl.lit("SPY"),
        snapshot_at=pl.lit(at),
        bid=pl.Series(bid),
        ask=pl.Series(np.where(luck > 0.99, np.nan, ask)),
        delta=pl.Series(delta),
        spot=pl.lit(spot),
        quote_kind=pl.lit("chain"),
        is_adjusted=pl.lit(False),
    )


def random_table(seed: int, sessions: int = 10) -> ChainTable:
    """The table of :func:`random_rows`, some closes unknown, a dividend now and then."""
    rng = np.random.default_rng(seed + 1)
    rows = random_rows(seed, sessions)
    days = sessions_between(MONDAY, MONDAY + timedelta(days=60))
    closes = {day: float(rng.normal(100.0, 3.0)) for day in days if rng.random() < 0.9}
    dividends = [Dividend(day, 0.8) for day in days if rng.random() < 0.3]
    return ChainTable.from_frame(rows, closes=closes, dividends=dividends)


def written(
    *chains: tuple[date, float, dict[str, tuple[float | None, float | None]]],
    expiry: date,
    root: str = "SPY",
    **given: object,
) -> ChainTable:
    """The table of chains by hand: session, spot, and bid and ask by name, like `P 98`."""
    rows = [
        (day, root, expiry, name[0], float(name[1:]), bid, ask, spot)
        for day, spot, quotes in chains
        for name, (bid, ask) in quotes.items()
    ]
    names = ("session", "root", "expiry", "right", "strike", "bid", "ask", "spot")
    return ChainTable.from_frame(pl.DataFrame(rows, schema=names, orient="row"), **given)


def real_rows(folder: Path) -> pl.DataFrame:
    """The cleaned CBOE chains of the shared files, by vendor delta."""
    source, chains = CboeFileChains(folder), []
    for day in REAL_DAYS:
        session = date(2026, 7, day)
        now = options_close(session) + timedelta(hours=3)
        raw = source.chain("SPY", session, now=now)
        chains.append(clean_chain(raw, session=session, as_of=now, symbol="SPY").frame)
    return pl.concat(chains)


def real_closes(folder: Path) -> dict[date, float]:
    """SPY's closes on those days."""
    told = pl.read_parquet(folder / "chains" / "cboe" / "underlying.parquet")
    rows = told.filter(ticker="SPY").select(pl.col("session_date").str.to_date(), "close")
    return {day: close for day, close in rows.iter_rows() if day.day in REAL_DAYS}
