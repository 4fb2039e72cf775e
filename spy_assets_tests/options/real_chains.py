"""Real SPY chains of the Cboe as the surface's tests need them; the files are not the project's."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy.special import ndtr

from spy_assets.options.chain_calibration import ChainQuotes

#: Sessions whose file is what its name says: the 23rd repeats the 22nd.
DAYS = (
    "2026-07-22", "2026-07-24", "2026-07-27", "2026-07-28", "2026-07-29", "2026-07-30", "2026-07-31",
)  # fmt: skip
#: Near the carry that the parity of long expiries shows; out of the money it hardly matters.
RATE = 0.037
LONGEST_DAYS = 740


class DayQuotes(NamedTuple):
    """Quotes with a bid of all expiries after the session, one row per right and strike."""

    years: np.ndarray
    k: np.ndarray
    otm: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    time_value: np.ndarray
    intrinsic: np.ndarray
    iv: np.ndarray
    bid_iv: np.ndarray
    ask_iv: np.ndarray
    vega: np.ndarray
    spot: float


def volatility(price: np.ndarray, k: np.ndarray, years: float) -> np.ndarray:
    """Bisection on the undiscounted price, per unit of the forward, of options out of the money."""
    low, high = np.full(price.shape, 1e-5), np.full(price.shape, 5.0)
    away = np.abs(k)
    for _ in range(50):
        s = 0.5 * (low + high)
        call = ndtr(-away / s + s / 2) - np.exp(away) * ndtr(-away / s - s / 2)
        short = call * np.exp(np.minimum(k, 0.0)) < price
        low, high = np.where(short, s, low), np.where(short, high, s)
    return low / np.sqrt(years)


def load(folder: Path, day: str) -> DayQuotes:
    """One session's chain, forwards from parity near the money."""
    spot = (
        pl.read_parquet(folder / "chains/cboe/underlying.parquet")
        .filter((pl.col("ticker") == "SPY") & (pl.col("session_date") == day))["close"]
        .item()
    )
    rows = pl.read_parquet(folder / f"chains/cboe/SPY/{day}.parquet")
    parts = []
    for (expiry,), group in rows.sort("expiry").group_by(["expiry"], maintain_order=True):
        days = (expiry - date.fromisoformat(day)).days
        if 0 < days <= LONGEST_DAYS:
            parts.append(expiry_quotes(group, days / 365.0, spot))
    joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    return DayQuotes(*joined, spot=spot)


def expiry_quotes(group: pl.DataFrame, years: float, spot: float) -> tuple[np.ndarray, ...]:
    """Columns of :class:`DayQuotes` but the spot, of one expiry: `right`, `strike`, `bid`, `ask`."""
    sides = [
        group.filter(pl.col("right") == right).select(
            "strike", pl.col("bid").alias(f"{right}bid"), pl.col("ask").alias(f"{right}ask")
        )
        for right in "CP"
    ]
    both = sides[0].join(sides[1], on="strike").sort("strike")
    strike, cb, ca, pb, pa = (
        both[c].to_numpy() for c in ("strike", "Cbid", "Cask", "Pbid", "Pask")
    )
    near = np.abs(np.log(strike / spot)) < max(0.01, 0.045 * np.sqrt(years))
    growth = np.exp(RATE * years)
    forward = np.median((strike + growth * 0.5 * (cb + ca - pb - pa))[near])
    k, calls = np.log(strike / forward), strike >= forward
    bid, ask = np.where(calls, cb, pb), np.where(calls, ca, pa)
    value = 0.5 * (bid + ask)
    iv, bid_iv, ask_iv = (volatility(p * growth / forward, k, years) for p in (value, bid, ask))
    deviation = iv * np.sqrt(years)
    density = np.exp(-0.5 * (k / deviation - 0.5 * deviation) ** 2) / np.sqrt(2 * np.pi)
    vega = 0.01 * forward / growth * density * np.sqrt(years)
    inner = np.abs(strike - forward) / growth
    time = np.full(strike.shape, years)
    out = []
    for right_bid, right_ask, is_otm in ((cb, ca, calls), (pb, pa, ~calls)):
        use = (right_bid > 0) & (right_ask > right_bid) & (bid > 0)
        columns = (time, k, is_otm, right_bid, right_ask, value, np.where(is_otm, 0.0, inner))
        out.append([c[use] for c in (*columns, iv, bid_iv, ask_iv, vega)])
    return tuple(np.concatenate(pair) for pair in zip(*out, strict=True))


def quotes(day: DayQuotes) -> ChainQuotes:
    """What the surface is fitted to: out of the money, bids of at least five cents."""
    use = day.otm & (day.bid >= 0.05)
    return ChainQuotes(*(c[use] for c in (day.k, day.years, day.iv, day.bid_iv, day.ask_iv)))
