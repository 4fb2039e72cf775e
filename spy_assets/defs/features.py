"""Feature assets: forward-adjusted bars and indicators in Polars, the rest in dbt, and the audit.

Recursive indicators are Polars, everything that SQL says well is dbt; both are computed over the whole
history up to the run's last year and written for the run's years only, so that no window starts cold.
"""

import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliResource,
    dbt_assets,
)

from spy_assets.defs.describe import OWNERS, column_lineage, table_metadata, write_metadata
from spy_assets.defs.market import FRESH_DAILY
from spy_assets.defs.partitions import YEARS, bounds_of_years
from spy_assets.defs.resources import SpyResource
from spy_assets.settings import PROJECT_ROOT
from spy_assets.warehouse.dbt_sql import indicators_spec
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    import polars as pl

GROUP = "features"
DBT_PROJECT = PROJECT_ROOT / "dbt_features"
MANIFEST = DBT_PROJECT / "target" / "manifest.json"
BARS = TABLES["market.daily_bars"]


@dg.asset(
    key=["features", "adjusted_bars"],
    deps=[["market", "daily_bars"]],
    group_name=GROUP,
    kinds={"python", "polars", "ducklake"},
    owners=OWNERS,
    tags={"layer": "intermediate"},
    description="Daily bars adjusted forward from the first one, so that no later split or dividend "
    "changes an earlier row.",
    metadata=table_metadata("features.adjusted_bars")
    | column_lineage("features.adjusted_bars", {"market.daily_bars": tuple(BARS.payload)}),
    partitions_def=YEARS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    freshness_policy=FRESH_DAILY,
    code_version="1",
)
def adjusted_bars(context: dg.AssetExecutionContext, spy: SpyResource) -> dg.MaterializeResult:
    """Adjust the whole history, write the run's years."""
    from spy_assets.features import pipeline

    start, end = bounds_of_years(list(context.partition_keys))
    with spy.warehouse() as lake:
        bars = lake.read("market.daily_bars", where="session <= ?", params=(end,))
        rows = within(pipeline.adjusted_bars(bars), start, end)
        result = lake.write(TABLES["features.adjusted_bars"], rows, ingested_at=spy.utc_now())
    return dg.MaterializeResult(metadata=write_metadata(result))


@dg.asset(
    key=["features", "indicators"],
    deps=[adjusted_bars],
    group_name=GROUP,
    kinds={"python", "polars", "ducklake"},
    owners=OWNERS,
    tags={"layer": "intermediate"},
    description="MACD, RSI, ATR, ADX, EMA, Bollinger, MFI, lags and seasonality; null until a window "
    "is full, in each session's own dollars.",
    metadata=table_metadata(indicators_spec()),
    partitions_def=YEARS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    freshness_policy=FRESH_DAILY,
    code_version="1",
)
def indicators(context: dg.AssetExecutionContext, spy: SpyResource) -> dg.MaterializeResult:
    """Compute over the whole history, write the run's years."""
    from spy_assets.features.indicators import compute_indicators

    start, end = bounds_of_years(list(context.partition_keys))
    with spy.warehouse() as lake:
        bars = lake.read("features.adjusted_bars", where="session <= ?", params=(end,))
        rows = within(compute_indicators(bars), start, end)
        result = lake.write(indicators_spec(), rows, ingested_at=spy.utc_now())
    return dg.MaterializeResult(metadata=write_metadata(result))


def within(rows: "pl.DataFrame", start: date, end: date) -> "pl.DataFrame":
    """The rows of the run's partitions."""
    import polars as pl

    return rows.filter(pl.col("session").is_between(start, end))


class Translator(DagsterDbtTranslator):
    """Keys are schema and name; group and owners are set here for all models."""

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:  # noqa: ARG002
        """All models have one owner."""
        return OWNERS

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:  # noqa: ARG002
        """One group: staging reads what Python adjusted and marts read staging, so two would loop."""
        return GROUP


@dbt_assets(
    manifest=MANIFEST,
    name="dbt_features",
    partitions_def=YEARS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    dagster_dbt_translator=Translator(
        DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True)
    ),
)
def dbt_features(
    context: dg.AssetExecutionContext, dbt: DbtCliResource, spy: SpyResource
) -> Iterator[Any]:
    """Build staging views and marts for the run's years in one dbt invocation under the lock."""
    from spy_assets.warehouse.checksums import record_checksums
    from spy_assets.warehouse.dbt_sql import dbt_environment_set, window_vars

    start, end = bounds_of_years(list(context.partition_keys))
    variables = window_vars(start, end, spy.utc_now().isoformat())
    try:
        with dbt_environment_set(spy.settings):
            yield from dbt.cli(["build", "--vars", variables], context=context).stream()
    finally:  # what was built before a failure is published, so it needs its checksums too
        record_checksums(spy.settings)


AUDITED = ("adjusted_bars", "indicators", "market_daily", "daily_15", "regime")


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "no_lookahead",
            asset=["features", name],
            description="Changing or cutting off the future at six points changes no column before.",
        )
        for name in AUDITED
    ],
    can_subset=True,
)
def no_lookahead(
    context: dg.AssetCheckExecutionContext, spy: SpyResource
) -> Iterator[dg.AssetCheckResult]:
    """Audit every feature column of every table at once, by the SQL and Python that made them."""
    from spy_assets.features.lookahead import audit
    from spy_assets.warehouse.dbt_sql import INPUTS, compute_features, load_models

    models = load_models()
    with spy.warehouse() as lake:
        inputs = {
            name: lake.read(name, where=AUDIT_WINDOW if name == "market.daily_bars" else None)
            for name in INPUTS
        }
    report = audit(lambda tables: compute_features(tables, models), inputs)
    for key in sorted(context.selected_asset_check_keys):
        found = [leak for leak in report.leaks if leak.table == ".".join(key.asset_key.path)]
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=not found,
            metadata={
                "cuts": ", ".join(str(cut) for cut in report.cuts),
                "columns": report.columns,
                "leaks": "; ".join(f"{one.column} from {one.first_session}" for one in found)
                or "none",
            },
        )


#: The audit looks at one symbol: the SQL partitions by symbol everywhere.
AUDIT_WINDOW = "symbol = 'SPY'"


def dbt_resource() -> DbtCliResource:
    """The dbt of this environment; found beside the interpreter, not on the PATH."""
    return DbtCliResource(
        project_dir=str(DBT_PROJECT),
        profiles_dir=str(DBT_PROJECT),
        dbt_executable=str(Path(sys.executable).parent / "dbt"),
    )


ASSETS = [adjusted_bars, indicators, dbt_features]
CHECKS = [no_lookahead]
