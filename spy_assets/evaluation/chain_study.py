"""Every structure over the stored real chains, at several fill alphas: one row each.

A few sessions of chains are a check of the machinery and of what spreads cost, not of a strategy: the
number of trades and of sessions stands in every row, and nothing here is pooled with fills at model
prices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import polars as pl

from spy_assets.evaluation.break_even import BreakEven, solve_line
from spy_assets.options.structures import DEFAULT_WIDTH, STRUCTURES
from spy_assets.simulator.chain_backtest import ChainBacktest, backtest_chain
from spy_assets.simulator.chain_strategy import (
    DTE_BUCKETS,
    ChainFill,
    ChainStrategy,
    EntryRule,
    LegRule,
    legs_by_delta,
    legs_by_width,
)
from spy_assets.simulator.chain_table import ChainTable
from spy_assets.simulator.costs import PRESETS, CostModel

#: At mid, half-way, and at bid and ask.
ALPHAS: Final = (0.0, 0.5, 1.0)
#: Structures that open something.
TRADED: Final = tuple(name for name, one in STRUCTURES.items() if one.templates)
#: Absolute delta of short strikes that lie out of the money.
SHORT_DELTA: Final = 0.16
#: An entry each session, however many positions that makes.
EACH_SESSION: Final = EntryRule(most_open=1_000)

#: One row per structure, bucket of days to expiry and alpha.
STUDY_SCHEMA: Final[dict[str, pl.DataType]] = {
    "structure": pl.String(),
    "bucket": pl.String(),
    "alpha": pl.Float64(),
    "fill": pl.String(),
    "costs": pl.String(),
    "first_session": pl.Date(),
    "last_session": pl.Date(),
    "sessions": pl.Int64(),
    "entries": pl.Int64(),
    "trades": pl.Int64(),
    "wins": pl.Int64(),
    "pnl": pl.Float64(),
    "gross": pl.Float64(),
    "spread": pl.Float64(),
    "slippage": pl.Float64(),
    "commission": pl.Float64(),
    "mean_pnl_pct": pl.Float64(),
    "worst_pnl": pl.Float64(),
    "breakeven_alpha": pl.Float64(),
    "exits": pl.String(),
    "outcomes": pl.String(),
    "carried_marks": pl.Int64(),
    "exit_waits": pl.Int64(),
    "quote_kind": pl.String(),
}


def usual_legs(structure: str, *, with_delta: bool = True) -> tuple[LegRule, ...]:
    """Condors and strangles at 16 delta with wings five dollars on, all others five dollars wide.

    Without deltas in the chain condors and strangles are placed by width too.
    """
    if with_delta and structure in ("iron_condor", "long_strangle"):
        return legs_by_delta(structure, SHORT_DELTA, width=DEFAULT_WIDTH)
    return legs_by_width(structure, DEFAULT_WIDTH)


def strategies(
    *,
    alphas: Sequence[float] = ALPHAS,
    buckets: Sequence[str] = ("1-7", "7-45"),
    fill: ChainFill = "next",
    costs: CostModel = PRESETS["tradier"],
    with_delta: bool = True,
) -> Iterator[tuple[str, ChainStrategy]]:
    """Bucket and strategy of every row: each structure entered in each session, stop and target."""
    for structure in TRADED:
        for bucket in buckets:
            for alpha in alphas:
                yield (
                    bucket,
                    ChainStrategy(
                        structure,
                        usual_legs(structure, with_delta=with_delta),
                        expiry=DTE_BUCKETS[bucket],
                        entry=EACH_SESSION,
                        fill=fill,
                        costs=costs.at_alpha(alpha),
                        allow_naked=True,
                        capital=1_000_000.0,
                    ),
                )


def study_row(made: ChainBacktest, bucket: str) -> dict[str, Any]:
    """What a backtest gave, in one row of :data:`STUDY_SCHEMA`."""
    trades, strategy = made.trades, made.strategy
    sums = trades.select(pl.col("pnl", "gross", "spread", "slippage", "commission").sum())
    everything = made.all_trades
    return {
        "structure": strategy.structure,
        "bucket": bucket,
        "alpha": strategy.costs.alpha,
        "fill": strategy.fill,
        "costs": strategy.costs.at_alpha(1.0).name,
        "first_session": made.table.sessions[0],
        "last_session": made.table.sessions[-1],
        "sessions": len(set(made.table.sessions)),
        "entries": everything.height,
        "trades": trades.height,
        "wins": int((trades["pnl"] > 0.0).sum()),
        **sums.row(0, named=True),
        "mean_pnl_pct": trades["pnl_pct"].mean(),
        "worst_pnl": trades["pnl"].min(),
        "breakeven_alpha": break_even_of_chain(made).alpha,
        "exits": _counts(trades["exit_reason"]),
        "outcomes": _counts(made.entries["outcome"]),
        "carried_marks": int(everything["stale_marks"].sum()),
        "exit_waits": int(everything["exit_waits"].sum()),
        "quote_kind": made.quote_kind,
    }


def break_even_of_chain(made: ChainBacktest) -> BreakEven:
    """The alpha at which the closed trades would have made nothing, other costs as they were.

    The trades are taken as they are: with another alpha stops and targets could fire elsewhere.
    """
    sums = made.trades.select(pl.col("gross", "half_spread", "slippage", "commission").sum())
    gross, half_spread, slippage, commission = sums.row(0)
    return solve_line(gross, half_spread, slippage + commission)


def _counts(values: pl.Series) -> str:
    """How often each value occurs, as a JSON object."""
    return json.dumps(dict(values.value_counts().sort(values.name).iter_rows()))


def study_structures(
    table: ChainTable,
    *,
    alphas: Sequence[float] = ALPHAS,
    buckets: Sequence[str] = ("1-7", "7-45"),
    fill: ChainFill = "next",
    costs: CostModel = PRESETS["tradier"],
) -> tuple[pl.DataFrame, Mapping[tuple[str, str, float], ChainBacktest]]:
    """Backtest every structure; rows of :data:`STUDY_SCHEMA`, and the backtests by their key."""
    runs: dict[tuple[str, str, float], ChainBacktest] = {}
    rows = []
    wanted = strategies(
        alphas=alphas,
        buckets=buckets,
        fill=fill,
        costs=costs,
        with_delta=table.delta_source is not None,
    )
    for bucket, strategy in wanted:
        made = backtest_chain(table, strategy)
        runs[strategy.structure, bucket, strategy.costs.alpha] = made
        rows.append(study_row(made, bucket))
    return pl.DataFrame(rows, schema=pl.Schema(STUDY_SCHEMA), orient="row"), runs
