"""Market data assets: raw bars, volatility indices, rates, put/call ratios, minute bars.

Every one asks its source for what is missing, cleans it, and writes rows, quarantine and coverage in
one transaction.
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets.defs import completeness, freshness, ingestion
from spy_assets.defs.describe import OWNERS, line_plot, table, table_metadata
from spy_assets.defs.ingestion import IngestConfig
from spy_assets.defs.partitions import SESSIONS, YEARS, bounds_of_years
from spy_assets.defs.resources import SpyResource
from spy_assets.defs.staleness import THROUGH
from spy_assets.errors import EmptyResponse

if TYPE_CHECKING:
    from spy_assets.market.schemas import Dataset

GROUP = "market"
#: One vendor is asked by one step at a time, whatever runs in parallel.
VENDOR_POOL = "vendor"
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)


def _yearly(dataset: "Dataset", description: str) -> dg.AssetsDefinition:
    key = ["market", dataset]

    @dg.asset(
        key=key,
        group_name=GROUP,
        kinds={"python", "polars", "ducklake"},
        owners=OWNERS,
        tags={"layer": "raw"},
        description=description,
        metadata=table_metadata(f"market.{dataset}"),
        partitions_def=YEARS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=RETRY,
        freshness_policy=freshness.DAILY,
        pool=VENDOR_POOL,
        check_specs=completeness.check_specs(dataset),
        code_version="1",
    )
    def ingest(
        context: dg.AssetExecutionContext, spy: SpyResource, config: IngestConfig
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        outcome = ingestion.ingest_years(context, spy, dataset, config)
        scope = completeness.Scope(dataset, *bounds_of_years(list(context.partition_keys)))
        found = completeness.checks(spy, scope, outcome)
        if any(not one.passed and one.severity == dg.AssetCheckSeverity.ERROR for one in found):
            yield from found  # nothing is materialized, so that the next run asks again
            raise EmptyResponse(
                f"{spy.settings.source}: no row of {dataset} from {scope.start} to {scope.end}, "
                "though the source has them"
            )
        ingestion.add_plot(context, spy, dataset, outcome)
        yield dg.MaterializeResult(
            metadata=ingestion.metadata(outcome) | {THROUGH: spy.last_session().isoformat()},
            check_results=found,
        )

    return ingest


daily_bars = _yearly(
    "daily_bars",
    "Raw daily bars of all symbols: unadjusted prices, volume, dividends, splits. Crypto by UTC day.",
)
volatility = _yearly(
    "volatility", "Volatility indices in points: VIX, VIX9D, VIX3M, VVIX, SKEW, VIX1D."
)
rates = _yearly(
    "rates", "Interest rates as decimals per year, by observation date, known a session later."
)
put_call = _yearly("put_call", "Put/call volumes and ratios of the exchanges, known next morning.")


def _by_session(dataset: "Dataset", minutes: int, description: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=["market", dataset],
        group_name=GROUP,
        kinds={"python", "polars", "ducklake"},
        owners=OWNERS,
        tags={"layer": "raw"},
        description=description,
        metadata=table_metadata(f"market.{dataset}"),
        partitions_def=SESSIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=RETRY,
        freshness_policy=freshness.DAILY if minutes == 1 else None,
        pool=VENDOR_POOL,
        check_specs=completeness.check_specs(dataset),
        code_version="1",
    )
    def ingest(context: dg.AssetExecutionContext, spy: SpyResource) -> dg.MaterializeResult:
        outcome = ingestion.ingest_sessions(context, spy, [spy.settings.symbol], minutes)
        ingestion.add_plot(context, spy, dataset, outcome)
        days = [date.fromisoformat(key) for key in context.partition_keys]
        return dg.MaterializeResult(
            metadata=ingestion.metadata(outcome),
            check_results=completeness.minute_checks(spy, days, outcome, dataset),
        )

    return ingest


minute_bars = _by_session(
    "minute_bars",
    1,
    "One-minute bars of regular hours: 390 are due, 210 on half days. Bars of the sample "
    "are bridged between real daily open, high, low and close, and marked synthetic.",
)
minute_bars_5 = _by_session(
    "minute_bars_5",
    5,
    "Five-minute bars of regular hours, of sources that have them where single minutes are not to be "
    "had: 78 are due, 42 on half days. No schedule asks for them: `spy walkforward --clock intraday` "
    "does.",
)


#: The index that a symbol follows, and how many times the symbol's price it is.
FOLLOWS = {"SPY": ("^GSPC", 10.0)}


@dg.asset_check(
    asset=["market", "daily_bars"],
    name="jumps_confirmed",
    description="A close of the traded symbol that moved ten sigma is confirmed by the index that "
    "the symbol follows.",
)
def jumps_confirmed(spy: SpyResource) -> dg.AssetCheckResult:
    """Ask the index, scaled, about the symbol's jumps; a jump that nobody confirms is a warning."""
    import polars as pl

    from spy_assets.market.crosscheck import judge_jumps

    symbol = spy.settings.symbol
    follows, scale = FOLLOWS.get(symbol, ("", 1.0))
    with spy.warehouse() as lake:
        bars = lake.read("market.daily_bars", where="symbol IN (?, ?)", params=(symbol, follows))
    # Fees and dividends move a fund against its scaled index by under 2 %.
    index = bars.filter(symbol=follows).with_columns(pl.col("close") / scale, symbol=pl.lit(symbol))
    own = bars.filter(symbol=symbol)
    verdicts = judge_jumps(own, index, rtol=0.02)
    star = "*" if spy.settings.source == "sample" else ""
    found: dict[str, Any] = {
        name: verdicts.filter(verdict=name).height
        for name in ("confirmed", "contradicted", "unconfirmed")
    }
    return dg.AssetCheckResult(
        passed=found["confirmed"] == verdicts.height,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "jumps": verdicts.height,
            **found,
            "verdicts": table(verdicts, 20),
            "closes": line_plot(own, "session", ["close"], f"{symbol}{star}, raw close"),
        },
    )


ASSETS = [daily_bars, volatility, rates, put_call, minute_bars, minute_bars_5]
CHECKS = [jumps_confirmed]
