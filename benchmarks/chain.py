"""A day's whole option chain, from the vendor's JSON to rows with volatilities and features.

python benchmarks/chain.py [--files DIR] [--day 2026-07-30] [--rounds 5]

Needs SPY_FILES_DIR (or --files) with `chains/cboe` in the layout of docs/chains.md: the largest chain
there, or the day's, is spelled as CBOE sends it. Every round writes to a fresh lake; making that is not
counted, nor is a first round that compiles. Target: at most a second.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
from measuring import Figure, Took, clean_environment, report, skip, timed

from spy_assets.features.chain import chain_features
from spy_assets.market.sources.chains.cboe import BASE_URL, DELAY, CboeChains, read_delayed_quotes
from spy_assets.market.sources.http import Answer, validate
from spy_assets.options.chain import RawChain, clean_chain
from spy_assets.options.chain_analytics import ChainAnalytics, analyse_chain
from spy_assets.options.chain_checks import check_chain
from spy_assets.options.expiries import options_close
from spy_assets.settings import load_settings
from spy_assets.warehouse import TABLES, Warehouse

SYMBOL = "SPY"
AT_MOST_S = 1.0
RATE, DIVIDEND_YIELD = 0.037, 0.011
#: Ex-dates that are expected; the amounts are round.
DIVIDENDS = tuple(
    (date(year, month, 18), 1.9) for year in (2026, 2027, 2028) for month in (3, 6, 9, 12)
)
QUOTES, FEATURES = TABLES["options.chain_quotes"], TABLES["features.chain"]
#: Fields that CBOE sends and that the file does not keep.
UNREAD = ("theo", "change", "open", "high", "low", "percent_change", "prev_day_close", "tick")


@dataclass(frozen=True)
class Day:
    """A chain as CBOE sends it."""

    session: date
    body: bytes
    contracts: int

    @property
    def asked_at(self) -> datetime:
        """When its quotes of the close are out."""
        return options_close(self.session, SYMBOL) + DELAY


def spelled(files: Path, session: date) -> Day:
    """The JSON of a kept chain."""
    folder = files / "chains" / "cboe"
    rows = pl.read_parquet(folder / SYMBOL / f"{session}.parquet")
    kept = pl.read_parquet(folder / "underlying.parquet").filter(
        (pl.col("ticker") == SYMBOL) & (pl.col("session_date").cast(pl.String) == str(session))
    )
    given = rows.drop("session_date", "ticker", "expiry", "right", "strike", strict=False)
    given = given.with_columns(
        pl.col("last_trade_time").dt.strftime("%Y-%m-%dT%H:%M:%S"),
        *(pl.lit(0.0).alias(name) for name in UNREAD if name not in given.columns),
    )
    price = {name: kept[name][-1] for name in ("current_price", "close")}
    data = {"symbol": SYMBOL, **price, "options": given.to_dicts()}
    body = {"timestamp": str(kept["payload_timestamp"][-1]), "data": data, "symbol": SYMBOL}
    return Day(session, json.dumps(body).encode(), rows.height)


def parse(day: Day) -> RawChain:
    """What the source does with an answer that has come."""
    answer = Answer(200, {}, day.body, BASE_URL)
    body = validate(answer, "json", CboeChains.name)
    return read_delayed_quotes(body, SYMBOL, day.session, available_at=day.asked_at)


def rows_of(found: ChainAnalytics) -> pl.DataFrame:
    """Rows of the table of quotes."""
    return found.contracts.with_columns(
        spot_used=pl.lit(found.spot, pl.Float64), spot_source=pl.lit(found.spot_source)
    )


def features_of(found: ChainAnalytics, day: Day) -> pl.DataFrame:
    """The row of the table of features."""
    return chain_features(found, session=day.session).with_columns(
        symbol=pl.lit(SYMBOL),
        quote_kind=pl.lit("chain"),
        available_at=pl.lit(day.asked_at),
        source=pl.lit("option_chain"),
    )


class Stopwatch:
    """Time of the parts of a round."""

    def __init__(self) -> None:
        self.parts: dict[str, Took] = {}

    def take(self, part: str, work: Callable[[], Any]) -> Any:
        """What `work` gives; its time is kept."""
        got: list[Any] = []
        self.parts[part] = timed(lambda: got.append(work()))
        return got[0]


def round_of(day: Day, lake: Warehouse) -> tuple[dict[str, Took], int, int]:
    """Times of the parts, rows written, and how many of them have a volatility."""
    watch = Stopwatch()
    now = day.asked_at
    raw = watch.take("parse", lambda: parse(day))
    cleaned = watch.take(
        "clean", lambda: clean_chain(raw, session=day.session, as_of=now, symbol=SYMBOL)
    )
    found = watch.take(
        "analyse",
        lambda: analyse_chain(
            cleaned.frame,
            rate=RATE,
            dividend_yield=DIVIDEND_YIELD,
            dividends=[one for one in DIVIDENDS if one[0] > day.session],
        ),
    )
    measured = watch.take("features", lambda: features_of(found, day))
    written = watch.take(
        "write",
        lambda: lake.write_many([(QUOTES, rows_of(found)), (FEATURES, measured)], ingested_at=now),
    )
    watch.take("checks", lambda: checks(raw, day))
    return watch.parts, written[0].inserted, found.contracts["iv"].count()


def checks(raw: RawChain, day: Day) -> None:
    """What the asset checks besides, on the chain as it came."""
    check_chain(
        raw.frame,
        root=SYMBOL,
        session=day.session,
        as_of=day.asked_at,
        rate=RATE,
        dividend_yield=DIVIDEND_YIELD,
    )


def fresh_round(day: Day) -> tuple[dict[str, Took], int, int]:
    """A round in a lake of its own."""
    with tempfile.TemporaryDirectory() as home, Warehouse.open(load_settings(home=home)) as lake:
        for spec in (QUOTES, FEATURES):
            lake.ensure(spec)
        return round_of(day, lake)


def figures_of(rounds: list[dict[str, Took]]) -> list[Figure]:
    """Medians of the sum and of each part."""
    checked = [one.pop("checks") for one in rounds]
    sums = {
        "processor time": [sum(took.processor for took in one.values()) for one in rounds],
        "elapsed": [sum(took.wall for took in one.values()) for one in rounds],
    }
    figures = [
        Figure(f"JSON to rows, {name}", statistics.median(values), "s", AT_MOST_S)
        for name, values in sums.items()
    ]
    parts = {part: [one[part] for one in rounds] for part in rounds[0]}
    for part, took in (parts | {"beside it: checks of the asset": checked}).items():
        figures += [
            Figure(f"{part}, processor time", statistics.median(t.processor for t in took), "s"),
            Figure(f"{part}, elapsed", statistics.median(t.wall for t in took), "s"),
        ]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, default=os.environ.get("SPY_FILES_DIR"))
    parser.add_argument("--day", type=date.fromisoformat, help="of a file; else the largest")
    parser.add_argument("--rounds", type=int, default=5, help="at least three")
    arguments = parser.parse_args()
    clean_environment()
    files = Path(arguments.files) if arguments.files else None
    chains = sorted(files.glob(f"chains/cboe/{SYMBOL}/*.parquet")) if files else []
    if files is None or not chains:
        skip("chain", "SPY_FILES_DIR (or --files) has no chains/cboe: docs/chains.md")
        return
    largest = max(chains, key=lambda path: pl.scan_parquet(path).select(pl.len()).collect().item())
    day = spelled(files, arguments.day or date.fromisoformat(largest.stem))
    fresh_round(day)
    rounds = [fresh_round(day) for _ in range(max(3, arguments.rounds))]
    _, rows, volatilities = rounds[-1]
    report(
        "chain",
        f"{day.session}: {day.contracts} contracts, {len(day.body) / 1e6:.1f} MB of JSON",
        [
            *figures_of([parts for parts, _, _ in rounds]),
            Figure("rows written", rows, ""),
            Figure("of them with a volatility", volatilities, ""),
        ],
        "Medians; each round in a fresh lake. Rate and dividend yield are constants.",
    )


if __name__ == "__main__":
    main()
