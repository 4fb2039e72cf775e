"""The spread model's constants: fitted anew to the real chains, beside those in use, and how both fit.

python benchmarks/spread_model.py --files DIR

``DIR`` (or SPY_FILES_DIR) has the layout of docs/chains.md: ``chains/cboe/`` (after the close) and the
snapshots of Yahoo in ``chains/yfinance/`` (within trading hours); with ``lean/`` beside it also LEAN's
sample of minute quotes. Used are all SPY quotes with a bid, out to two years.

How the constants of :mod:`spy_assets.options.spread_model` are derived:

1. time value and vega of each contract from the mid of the pair's out-of-the-money option, forwards by
   parity near the money (``spy_assets_tests/options/real_chains.py``);
2. least squares of ln(model / real spread), unrounded, under the soft L1 loss with scale 0.3, both
   samples (in hours, after them) with the same total weight. In hours m = 1; after them m and m_I are
   searched with the rest. nu_0 is not searched: the quotes do not tell it from 0, and it is there so
   that an option without vega keeps a spread;
3. the hours' factors from LEAN: each contract's spread by minute over its median of the day, averaged
   over the first half hour and over the last quarter of one.

R squared is of the logarithm of the rounded model; errors are of whole quotes. Nothing here is a target:
what the sources are is in the module's docstring.
"""

from __future__ import annotations

import argparse
import io
import os
import zipfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from measuring import skip

from spy_assets.options.contracts import YEAR_SECONDS
from spy_assets.options.spread_model import LAST_MINUTES, OPEN_MINUTES, SPY_SPREADS, SpreadModel
from spy_assets.sessions import session_close
from spy_assets_tests.options import real_chains

TICK = 0.01
LOSS_SCALE = 0.3
#: LEAN's minute quotes: milliseconds since midnight, then bid and ask with open, high, low, close, size.
LEAN = [
    "time", "bid_open", "bid_high", "bid_low", "bid", "bid_size",
    "ask_open", "ask_high", "ask_low", "ask", "ask_size",
]  # fmt: skip
#: The open in the session in LEAN's milliseconds, New York, and the session's minutes.
OPEN_MS, SESSION_MINUTES = 34_200_000, 390
NAMES = ("A", "a", "b", "c", "B", "d", "C_0", "C_1", "m closed", "m_I closed")


class Sample(NamedTuple):
    """Quotes of one part of the day."""

    spread: np.ndarray
    value: np.ndarray
    vega: np.ndarray
    years: np.ndarray
    inner: np.ndarray
    spot: np.ndarray
    otm: np.ndarray


def sample_of(days: Iterable[real_chains.DayQuotes]) -> Sample:
    columns = [
        (
            day.ask - day.bid, day.time_value, day.vega, day.years, day.intrinsic,
            np.full(day.k.shape, day.spot), day.otm,
        )
        for day in days
    ]  # fmt: skip
    return Sample(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def yahoo_days(files: Path) -> list[real_chains.DayQuotes]:
    """The snapshots within trading hours; the moment is that of the last trade in each."""
    found = []
    for path in sorted((files / "chains/yfinance").glob("*.parquet")):
        rows = pl.read_parquet(path)
        if "src_file" not in rows.columns:
            continue
        plain = rows.select(
            "src_file", "strike", "bid", "ask",
            spot="underlyingPrice",
            at=pl.col("lastTradeDate").max().over("src_file").dt.replace_time_zone("UTC"),
            expiry=pl.col("expirationDate").str.to_date(),
            right=pl.col("optionType").str.slice(0, 1).str.to_uppercase(),
        )  # fmt: skip
        for _, snapshot in plain.group_by("src_file", maintain_order=True):
            found.append(snapshot_quotes(snapshot, snapshot["at"][0], snapshot["spot"][0]))
    return found


def snapshot_quotes(rows: pl.DataFrame, at: datetime, spot: float) -> real_chains.DayQuotes:
    parts = []
    for (expiry,), group in rows.sort("expiry").group_by(["expiry"], maintain_order=True):
        years = (session_close(expiry) - at).total_seconds() / YEAR_SECONDS
        if 0.0 < years <= real_chains.LONGEST_DAYS / 365.0:
            parts.append(real_chains.expiry_quotes(group, years, spot))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return real_chains.DayQuotes(*columns, spot=spot)


def raw_spread(x: np.ndarray, sample: Sample, *, closed: bool) -> np.ndarray:
    """The module's formula before it is rounded; ``x`` in the order of NAMES."""
    scale, a, b, growth, itm, d, cap_0, cap_1, m, m_inner = x
    offset = SPY_SPREADS.vega_offset
    m, m_inner = (m, m_inner) if closed else (1.0, 1.0)
    outer = (
        m * scale * sample.value**a * (sample.vega + offset) ** b * np.exp(growth * sample.years)
    )
    cap = cap_0 + cap_1 * np.minimum(sample.years, 1.0)
    extra = m_inner * itm * (100.0 * sample.inner / sample.spot) ** d
    return TICK + outer + cap * extra / (cap + extra)


def constants_in_use() -> np.ndarray:
    s = SPY_SPREADS
    return np.array(
        [
            s.scale, s.value_power, s.vega_power, s.growth, s.itm_scale, s.itm_power,
            s.cap, s.cap_per_year, s.hours[3], s.closed_itm,
        ]
    )  # fmt: skip


def fit(hours: Sample, closed: Sample) -> np.ndarray:
    """The constants, by robust least squares from a round start."""
    from scipy.optimize import least_squares

    parts = ((hours, False), (closed, True))
    weights = [np.full(one.spread.size, one.spread.size**-0.5) for one, _ in parts]
    weight = np.concatenate(weights)

    def residuals(log_x: np.ndarray) -> np.ndarray:
        x = np.exp(log_x)
        errors = [np.log(raw_spread(x, one, closed=c) / one.spread) for one, c in parts]
        e = np.concatenate(errors) / LOSS_SCALE
        # Soft L1 by hand, so that the samples' weights stay outside of the loss.
        return weight * LOSS_SCALE * np.sqrt(2.0 * (np.sqrt(1.0 + e * e) - 1.0))

    start = np.log([0.01, 0.4, 0.4, 0.4, 0.07, 1.5, 3.0, 1.0, 1.5, 10.0])
    return np.exp(least_squares(residuals, start, x_scale="jac").x)


def model_of(x: np.ndarray) -> SpreadModel:
    scale, a, b, *rest, m, m_inner = x.tolist()
    inner = (scale, a, b, SPY_SPREADS.vega_offset, *rest)
    return SpreadModel(*inner, hours=(*SPY_SPREADS.hours[:3], m), closed_itm=m_inner)


def hour_factors(files: Path) -> tuple[float, float] | None:
    """Mean spread over the day's median: the first half hour and the last quarter, of LEAN's sample."""
    path = files / "lean" / "20230803_quote_american.zip"
    if not path.exists():
        return None
    first, last = [], []
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            rows = pl.read_csv(io.BytesIO(archive.read(name)), has_header=False, new_columns=LEAN)
            minute = (rows["time"].to_numpy() - OPEN_MS) / 60_000
            spread = (rows["ask"] - rows["bid"]).cast(pl.Float64).to_numpy() / 1e4
            ratio = spread / np.nanmedian(spread)
            first.append(np.nanmean(ratio[(minute >= 0) & (minute < OPEN_MINUTES)]))
            late = (minute >= SESSION_MINUTES - LAST_MINUTES) & (minute < SESSION_MINUTES)
            last.append(np.nanmean(ratio[late]))
    return float(np.mean(first)), float(np.mean(last))


def show(title: str, model: SpreadModel, sample: Sample, *, closed: bool) -> None:
    made = model.spread(
        sample.value, sample.vega, sample.years, intrinsic=sample.inner, spot=sample.spot,
        phase="closed" if closed else "regular",
    )  # fmt: skip
    days = 365.0 * sample.years
    inside = ~sample.otm
    buckets = {
        "out of the money": sample.otm,
        "  to 7 days": sample.otm & (days <= 7),
        "  8 to 45 days": sample.otm & (days > 7) & (days <= 45),
        "  46 to 365 days": sample.otm & (days > 45) & (days <= 365),
        "  beyond": sample.otm & (days > 365),
        "in the money": inside,
        "  by up to 2 %": inside & (sample.inner <= 0.02 * sample.spot),
        "  by 2 to 10 %": inside
        & (sample.inner > 0.02 * sample.spot)
        & (sample.inner <= 0.10 * sample.spot),
        "  deeper": inside & (sample.inner > 0.10 * sample.spot),
    }
    print(f"\n{title}")
    print(f"{'':20}{'quotes':>8}{'R2':>7}{'median real':>13}{'abs error':>11}{'in a tick':>11}"
          "   model / real at 5 25 50 75 95 %")  # fmt: skip
    for name, rows in buckets.items():
        if not rows.any():
            continue
        real, model_spread = sample.spread[rows], made[rows]
        error = np.log(model_spread / real)
        r2 = 1.0 - np.var(error) / np.var(np.log(real))
        away = np.abs(model_spread - real)
        quantiles = np.quantile(model_spread / real, [0.05, 0.25, 0.5, 0.75, 0.95])
        shown = " ".join(f"{q:5.2f}" for q in quantiles)
        print(f"{name:20}{real.size:>8,}{r2:>7.2f}{np.median(real):>13.3f}{np.median(away):>11.3f}"
              f"{np.mean(away <= TICK * 1.001):>11.0%}   {shown}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, default=os.environ.get("SPY_FILES_DIR"))
    arguments = parser.parse_args()
    if arguments.files is None:
        skip(
            "spread_model", "no --files and no SPY_FILES_DIR: the real chains are not the project's"
        )
        return
    files = Path(arguments.files)
    hours = sample_of(yahoo_days(files))
    closed = sample_of(real_chains.load(files, day) for day in real_chains.DAYS)
    found, used = fit(hours, closed), constants_in_use()
    print(f"{'constant':12}{'in use':>10}{'fitted':>10}")
    for name, a, b in zip(NAMES, used, found, strict=True):
        print(f"{name:12}{a:>10.4g}{b:>10.4g}")
    factors = hour_factors(files)
    if factors is not None:
        print(f"{'m open':12}{SPY_SPREADS.hours[0]:>10.4g}{factors[0]:>10.4g}")
        print(f"{'m last':12}{SPY_SPREADS.hours[2]:>10.4g}{factors[1]:>10.4g}")
    for label, model in (("in use", SPY_SPREADS), ("fitted anew", model_of(found))):
        show(f"constants {label}, in hours", model, hours, closed=False)
        show(f"constants {label}, after the close", model, closed, closed=True)


if __name__ == "__main__":
    main()
