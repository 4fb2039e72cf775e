"""Backtests over the stored real chains: every structure at mid, half-way and at bid and ask.

Made when somebody asks for it (job `chain_backtest`): it reads all chains at once, and its answer grows
with them. `spy run` leaves it alone.
"""

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from spy_assets.defs import chains
from spy_assets.defs.describe import (
    OWNERS,
    bar_plot,
    line_plot,
    table,
    table_metadata,
    write_metadata,
)
from spy_assets.defs.resources import SpyResource
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from spy_assets.simulator.chain_backtest import ChainBacktest
    from spy_assets.simulator.chain_table import ChainTable
    from spy_assets.warehouse import Warehouse

RESULTS = "evaluation.chain_backtests"
#: Its equity is drawn, at each alpha.
SHOWN = ("iron_condor", "7-45")
#: Columns of the quotes that the backtest reads.
COLUMNS = [
    "symbol", "session", "root", "occ", "expiry", "right", "strike", "quoted_at", "bid", "ask", "delta",
    "vendor_delta", "spot", "spot_used", "quote_kind", "is_adjusted", "available_at",
]  # fmt: skip


class ChainBacktestConfig(dg.Config):
    """How orders are filled."""

    fill: Literal["next", "same"] = "next"
    """At the chain after the one that the order was decided on, or at that one itself."""


def table_of(lake: "Warehouse", symbol: str) -> "tuple[ChainTable, datetime] | None":
    """The stored real chains of an underlying, and when the last came; None if there are none.

    Closes and dividends are those of the daily bars: what expires in a session without a bar is not
    traded.
    """
    from spy_assets.simulator.chain_table import ChainTable, Dividend

    lake.ensure(TABLES[chains.QUOTES])
    rows = lake.read(
        chains.QUOTES,
        where="symbol = ? AND quote_kind = 'chain'",
        params=(symbol,),
        columns=COLUMNS,
    )
    if rows.is_empty():
        return None
    lake.ensure(TABLES["market.daily_bars"])
    bars = lake.read(
        "market.daily_bars",
        where="symbol = ? AND session >= ?",
        params=(symbol, rows["session"].min()),
        columns=["session", "open", "close", "dividend"],
    )
    paid = bars.filter(bars["dividend"] > 0.0)
    made = ChainTable.from_frame(
        rows,
        closes=_by_session(bars, "close"),
        openings=_by_session(bars, "open"),
        dividends=[Dividend(*row) for row in paid.select("session", "dividend").iter_rows()],
    )
    return made, max(rows["available_at"])


def _by_session(bars: "pl.DataFrame", column: str) -> dict[date, float]:
    known = bars.select("session", column).drop_nulls()
    return dict(known.iter_rows())


@dg.asset(
    key=["evaluation", "chain_backtest"],
    deps=[
        dg.AssetDep(chains.ASSET, partition_mapping=dg.AllPartitionMapping()),
        dg.AssetDep(["market", "daily_bars"], partition_mapping=dg.AllPartitionMapping()),
    ],
    group_name="evaluation",
    kinds={"python", "polars", "ducklake"},
    owners=OWNERS,
    tags={"layer": "evaluation"},
    description="Every structure traded over the stored real chains with stop and target, at their own "
    "bid and ask: what it made at mid, half-way and at the quote, and what the spread may cost. For "
    "the sessions of the chains only, and never pooled with fills at model prices.",
    metadata=table_metadata(RESULTS),
    code_version="1",
)
def chain_backtest(spy: SpyResource, config: ChainBacktestConfig) -> dg.MaterializeResult:
    """Backtest the chains of each underlying, and write a row per structure, bucket and alpha."""
    import polars as pl

    from spy_assets.evaluation.chain_study import study_structures

    shown: dict[str, Any] = {}
    made = []
    with spy.warehouse() as lake:
        lake.ensure(TABLES[RESULTS])
        for symbol in spy.settings.chain_symbols:
            found = table_of(lake, symbol)
            if found is None:
                shown[f"{symbol}: chains"] = "no real chain is stored"
                continue
            rows, runs = study_structures(found[0], fill=config.fill)
            shown |= describe(symbol, found[0], rows, runs)
            made.append(
                rows.with_columns(
                    symbol=pl.lit(symbol),
                    available_at=pl.lit(found[1]),
                    source=pl.lit("option_chain"),
                )
            )
        if not made:
            return dg.MaterializeResult(metadata=shown)
        written = lake.write(TABLES[RESULTS], pl.concat(made), ingested_at=spy.utc_now())
    return dg.MaterializeResult(metadata=write_metadata(written) | shown)


def describe(
    symbol: str,
    chain: "ChainTable",
    rows: "pl.DataFrame",
    runs: "Mapping[tuple[str, str, float], ChainBacktest]",
) -> dict[str, Any]:
    """The rows at bid and ask as a table, profits as bars, and the equity of condors."""
    import polars as pl

    sessions = sorted(set(chain.sessions))
    quoted = rows.filter(pl.col("alpha") == 1.0)
    told = quoted.select(
        "structure", "bucket", "trades", "wins", "pnl", "gross", "spread", "breakeven_alpha", "exits",
        "outcomes",
    )  # fmt: skip
    bars = quoted.filter(pl.col("bucket") == SHOWN[1])
    curves = {
        f"alpha {alpha:g}": made.equity["value"] - made.strategy.capital
        for (structure, bucket, alpha), made in sorted(runs.items())
        if (structure, bucket) == SHOWN
    }
    equity = pl.DataFrame({"session": sessions, **curves})
    counts = chain.counts
    return {
        f"{symbol}: chains": f"{len(chain)} quotes of {len(sessions)} sessions, "
        f"{sessions[0]} to {sessions[-1]}",
        f"{symbol}: quotes": f"{counts.usable} usable, {counts.zero_bid} of them without a bid; "
        f"{counts.missing} missing, {counts.crossed} crossed",
        f"{symbol}: results": table(told, told.height),
        f"{symbol}: profits": bar_plot(
            bars["structure"].to_list(),
            bars["pnl"].to_list(),
            f"{symbol}, {SHOWN[1]} days, at bid and ask, {len(sessions)} sessions, $",
        ),
        f"{symbol}: equity": line_plot(
            equity, "session", list(curves), f"{symbol} iron condors, {SHOWN[1]} days, $"
        ),
    }


ASSETS = [chain_backtest]
