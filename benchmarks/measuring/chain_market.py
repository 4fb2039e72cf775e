"""A year of option chains of SPY's size and shape, made by a formula: the same for every machine."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from spy_assets.options.black_scholes import all_greeks
from spy_assets.options.contracts import YEAR_SECONDS, years_to_expiry
from spy_assets.options.expiries import expiries_listed, options_close
from spy_assets.sessions import sessions_between

FIRST, LAST = date(2024, 1, 2), date(2024, 12, 31)
SPOT, RATE, YIELD = 690.0, 0.04, 0.012
#: What has expired at the close is quoted near its intrinsic value until the options stop trading.
MINUTE = 60.0 / YEAR_SECONDS
#: Strikes at every dollar so far from the spot: with some 25 expiries 14,000 contracts a session.
REACH = 0.19


def spot_path(days: list[date]) -> np.ndarray:
    """A price for each session."""
    moves = np.random.default_rng(11).normal(0.0003, 0.009, len(days))
    return SPOT * np.exp(np.cumsum(moves))


def chain_of(day: date, spot: float) -> pl.DataFrame:
    """One session's chain in the order of the warehouse: expiry, strike, right."""
    expiries = [one.day for one in expiries_listed("SPY", day) if one.certain]
    low, high = int(spot * (1.0 - REACH)), int(spot * (1.0 + REACH))
    years = {one: max(years_to_expiry(options_close(day), one), MINUTE) for one in expiries}
    grid = (
        pl.DataFrame({"expiry": expiries, "years": [years[one] for one in expiries]})
        .join(pl.DataFrame({"strike": np.arange(low, high + 1.0)}), how="cross")
        .join(pl.DataFrame({"right": ["C", "P"]}), how="cross")
    )
    strike, time = grid["strike"].to_numpy(), grid["years"].to_numpy()
    sigma = np.clip(0.16 - 0.35 * np.log(strike / spot), 0.08, 0.9)
    found = all_greeks(spot, strike, time, RATE, YIELD, sigma, grid["right"].to_numpy())
    half = np.maximum(0.01, 0.004 * found.price)
    bid = np.maximum(np.round(found.price - half, 2), 0.0)
    return grid.select(
        session=pl.lit(day),
        root=pl.lit("SPY"),
        expiry="expiry",
        right="right",
        strike="strike",
        bid=pl.Series(bid),
        ask=pl.Series(np.maximum(np.round(found.price + half, 2), bid + 0.01)),
        delta=pl.Series(found.delta),
        spot=pl.lit(spot),
    )


def year_of_chains(sessions: int) -> tuple[pl.DataFrame, dict[date, float]]:
    """Chains of the first sessions of the year, and the closes of the whole year."""
    days = sessions_between(FIRST, LAST)
    spots = spot_path(days)
    made = [chain_of(day, float(spots[at])) for at, day in enumerate(days[:sessions])]
    return pl.concat(made).rechunk(), dict(zip(days, spots.tolist(), strict=True))
