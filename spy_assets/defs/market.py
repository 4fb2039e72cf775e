"""Market data assets: raw bars, volatility indices, rates, put/call ratios, minute bars.

Every one asks its source for what is missing, cleans it, and writes rows, quarantine and coverage in
one transaction.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from spy_assets.defs import ingestion
from spy_assets.defs.describe import OWNERS, line_plot, table, table_metadata
from spy_assets.defs.ingestion import IngestConfig
from spy_assets.defs.partitions import HISTORICAL, SESSIONS, YEARS
from spy_assets.defs.resources import SpyResource
from spy_assets.defs.staleness import THROUGH

if TYPE_CHECKING:
    from spy_assets.market.schemas import Dataset

GROUP = "market"
#: One vendor is asked by one step at a time, whatever runs in parallel.
VENDOR_POOL = "vendor"
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
#: Rows of a session are due an hour after its decision time, on weekdays. History does not age.
FRESH_DAILY = (
    None
    if HISTORICAL
    else dg.FreshnessPolicy.cron("0 23 * * 1-5", timedelta(hours=1), timezone="UTC")
)


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
        freshness_policy=FRESH_DAILY,
        pool=VENDOR_POOL,
        check_specs=ingestion.check_specs(key),
        code_version="1",
    )
    def ingest(
        context: dg.AssetExecutionContext, spy: SpyResource, config: IngestConfig
    ) -> dg.MaterializeResult:
        outcome = ingestion.ingest_years(context, spy, dataset, config)
        ingestion.add_plot(context, dataset, outcome)
        return dg.MaterializeResult(
            metadata=ingestion.metadata(outcome) | {THROUGH: spy.last_session().isoformat()},
            check_results=ingestion.checks(key, outcome),
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


@dg.asset(
    key=["market", "minute_bars"],
    group_name=GROUP,
    kinds={"python", "polars", "ducklake"},
    owners=OWNERS,
    tags={"layer": "raw"},
    description="One-minute bars of regular hours: 390 are due, 210 on half days. Bars of the sample "
    "are bridged between real daily open, high, low and close, and marked synthetic.",
    metadata=table_metadata("market.minute_bars"),
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRY,
    pool=VENDOR_POOL,
    check_specs=ingestion.check_specs(["market", "minute_bars"]),
    code_version="1",
)
def minute_bars(context: dg.AssetExecutionContext, spy: SpyResource) -> dg.MaterializeResult:
    """Fetch, clean and store the minutes of the run's sessions."""
    outcome = ingestion.ingest_sessions(context, spy, [spy.settings.symbol])
    ingestion.add_plot(context, "minute_bars", outcome)
    return dg.MaterializeResult(
        metadata=ingestion.metadata(outcome),
        check_results=ingestion.checks(["market", "minute_bars"], outcome),
    )


@dg.asset_check(
    asset=["market", "daily_bars"],
    name="jumps_confirmed",
    description="A close that moved ten sigma is confirmed by the index the symbol follows.",
)
def jumps_confirmed(spy: SpyResource) -> dg.AssetCheckResult:
    """Ask ^GSPC (scaled) about SPY's jumps."""
    import polars as pl

    from spy_assets.market.crosscheck import judge_jumps

    with spy.warehouse() as lake:
        bars = lake.read("market.daily_bars", where="symbol IN (?, '^GSPC')", params=("SPY",))
    # The fund is a tenth of the index by construction; fees and dividends move that by under 2 %.
    index = bars.filter(symbol="^GSPC").with_columns(pl.col("close") / 10, symbol=pl.lit("SPY"))
    verdicts = judge_jumps(bars.filter(symbol="SPY"), index, rtol=0.02)
    contradicted = verdicts.filter(verdict="contradicted").height
    return dg.AssetCheckResult(
        passed=contradicted == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "jumps": verdicts.height,
            "contradicted": contradicted,
            "verdicts": table(verdicts, 20),
            "closes": line_plot(bars.filter(symbol="SPY"), "session", ["close"], "SPY, raw close"),
        },
    )


ASSETS = [daily_bars, volatility, rates, put_call, minute_bars]
CHECKS = [jumps_confirmed]
