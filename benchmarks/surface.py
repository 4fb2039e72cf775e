"""A day's volatility surface from the indices: time, replication error, arbitrage violations.

python benchmarks/surface.py [--days 200] [--files DIR]

Calibrates VIX from 9 to 90 with calm and inverted terms, in one thread, and checks every surface from a
minute to two years, on the smile and on prices. With SPY_FILES_DIR (or --files), the layout of
docs/files-source.md, it also meets every day of VIX, VIX9D and VIX3M there is, and fits the real chains
below ``chains/cboe/SPY``. Targets: 50 ms a day, no violation, 1e-6 points.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path

import numpy as np
from measuring import Figure, clean_environment, report, timed
from threadpoolctl import threadpool_limits

from spy_assets.options.calibration import IndexFit, calibrate_to_indices
from spy_assets.options.chain_calibration import ChainQuotes, calibrate_to_chain
from spy_assets.options.surface_checks import check_surface

AT_MOST_MS = 50.0
POINTS = 1e-6
#: Of July 2026, which the real chains at hand are of.
RATE, YIELD = 0.036, 0.0105
#: VIX9D and VIX3M over VIX: calm, flat, and as inverted as in March 2020.
TERMS = ((0.6, 0.85), (0.8, 1.2), (1.0, 1.0), (1.29, 0.88), (1.0, 1.6))


def levels_of(count: int) -> list[dict[str, float | None]]:
    """VIX from 9 to 90 under each term structure."""
    vix = np.linspace(9.0, 90.0, max(2, count // len(TERMS))).tolist()
    return [{"VIX": v, "VIX9D": v * near, "VIX3M": v * far} for v in vix for near, far in TERMS]


def history(files: Path) -> list[dict[str, float | None]]:
    """Every published day since VIX9D began."""
    import polars as pl

    names = ("VIX", "VIX9D", "VIX3M")
    frames = [
        pl.read_parquet(files / f"vol/{name}.parquet").select("date", pl.col("close").alias(name))
        for name in names
    ]
    joined = frames[0].join(frames[1], on="date").join(frames[2], on="date", how="left")
    return joined.drop("date").to_dicts()


def calibrate(levels: list[dict[str, float | None]]) -> tuple[list[IndexFit], list[float]]:
    """Fits and milliseconds of processor time a day, in rounds of ten."""
    calibrate_to_indices(levels[0])
    fits: list[IndexFit] = []
    times = []
    for start in range(0, len(levels), 10):
        batch = levels[start : start + 10]
        took = timed(lambda batch=batch: fits.extend(map(calibrate_to_indices, batch)))
        times.append(1e3 * took.processor / len(batch))
    return fits, times


def quotes_of(files: Path, file: Path) -> ChainQuotes | None:
    """Volatilities of a chain's file out of the money, or None if its trades are of another day."""
    from datetime import UTC, date, datetime

    import polars as pl

    from spy_assets.market.sources.chains.cboe import CboeFileChains
    from spy_assets.options.chain import clean_chain
    from spy_assets.options.chain_analytics import analyse_chain

    session, now = date.fromisoformat(file.stem), datetime.now(UTC)
    raw = CboeFileChains(files).chain("SPY", session, now=now)
    clean = clean_chain(raw, session=session, as_of=now, symbol="SPY").frame
    if clean.filter(pl.col("expiry") == session).is_empty():
        return None
    found = analyse_chain(clean, rate=RATE, dividend_yield=YIELD).contracts
    usable = found.filter(
        pl.col("is_otm"), pl.col("iv").is_not_null(), ~pl.col("is_adjusted"), pl.col("bid") >= 0.05
    )
    k = usable.select((pl.col("strike") / pl.col("forward")).log())["strike"]
    return ChainQuotes(
        *(one.cast(pl.Float64).to_numpy() for one in (k, usable["years"], usable["iv"]))
    )


def fitted_chains(files: Path) -> list[Figure]:
    """Time, violations and errors of the surfaces fitted to real chains."""
    read = [
        quotes_of(files, file) for file in sorted((files / "chains/cboe/SPY").glob("*.parquet"))
    ]
    chains = [quotes for quotes in read if quotes is not None]
    if not chains:
        return []
    fits, times = [], []
    calibrate_to_chain(chains[0])
    with threadpool_limits(1):  # threads that wait for small matrices would count twice
        for quotes in chains:
            took = [timed(lambda q=quotes: fits.append(calibrate_to_chain(q))) for _ in range(3)]
            times.append(1e3 * statistics.median(one.processor for one in took))
    reports = [
        check_surface(fit.surface, np.unique(np.append(np.geomspace(1 / 525600, 2.0, 60), q.years)))
        for fit, q in zip(fits[::3], chains, strict=True)
    ]
    far = [(fit, ends) for fit in fits[::3] for ends in fit.by_deviation if ends[1] <= -6.0]
    return [
        Figure("a real chain's calibration, median", statistics.median(times), "ms", AT_MOST_MS),
        Figure("real chains fitted", len(chains), "days"),
        Figure("arbitrage violations of theirs", sum(one.violations for one in reports), "", 0),
        Figure("error near the money, worst day", max(fit.errors.near for fit in fits), "points"),
        Figure(
            "error beyond six deviations below, worst day",
            max(fit.by_deviation[ends].rmse for fit, ends in far),
            "points",
        ),
    ]


def worst_error(fits: list[IndexFit]) -> float:
    """Largest distance of a met index from what was published, in points."""
    return max(abs(pin.error) for fit in fits for pin in fit.pins if pin.reason is None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=200, help="made days to calibrate")
    parser.add_argument("--files", type=Path, default=os.environ.get("SPY_FILES_DIR"))
    arguments = parser.parse_args()
    clean_environment()
    fits, times = calibrate(levels_of(arguments.days))
    years = np.unique(
        np.concatenate([np.geomspace(1 / 525600, 2.0, 80), np.array([9, 30, 93]) / 365])
    )
    reports = [check_surface(fit.surface, years) for fit in fits]
    figures = [
        Figure("a day's calibration, median", statistics.median(times), "ms", AT_MOST_MS),
        Figure("a day's calibration, slowest round of ten", max(times), "ms", AT_MOST_MS),
        Figure("arbitrage violations", sum(one.violations for one in reports), "", 0),
        Figure("comparisons made", sum(one.checked for one in reports) / 1e6, "million"),
        Figure("worst replication error, 1e-6 points", 1e6 * worst_error(fits), "", 1.0),
    ]
    if arguments.files:
        met, _ = calibrate(history(Path(arguments.files)))
        figures += [
            Figure("days of history calibrated", len(met), "days"),
            Figure("indices of history not met", sum(len(fit.unmet) for fit in met), "", 0),
            Figure("worst error of history, 1e-6 points", 1e6 * worst_error(met), "", 1.0),
            *fitted_chains(Path(arguments.files)),
        ]
    report("surface", f"{len(fits)} surfaces, VIX 9 to 90, a minute to two years", figures)


if __name__ == "__main__":
    main()
