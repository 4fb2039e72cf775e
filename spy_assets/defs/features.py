"""Feature assets: forward-adjusted bars and indicators in Polars, the rest in dbt, and the audit.

Recursive indicators are Polars, everything that SQL says well is dbt; both are computed over the whole
history up to the run's last year and written for the run's years only, so that no window starts cold.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliResource,
    DbtProject,
    dbt_assets,
)
from dagster_dbt.asset_utils import get_upstream_unique_ids
from dagster_dbt.compat import DBT_PYTHON_VERSION

from spy_assets.defs import freshness
from spy_assets.defs.children import no_child_left
from spy_assets.defs.describe import (
    OWNERS,
    column_lineage,
    dbt_test_in_words,
    table_metadata,
    write_metadata,
)
from spy_assets.defs.lineage import indicator_lineage, model_lineage
from spy_assets.defs.market import RETRY
from spy_assets.defs.partitions import YEARS, bounds_of_years
from spy_assets.defs.resources import SpyResource
from spy_assets.settings import PROJECT_ROOT
from spy_assets.warehouse.dbt_sql import indicators_spec
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    import polars as pl

GROUP = "features"
#: One dbt at a time: a second one would only wait for the lake's write lock.
DBT_POOL = "dbt"
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
    retry_policy=RETRY,
    freshness_policy=freshness.DAILY,
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
    metadata=table_metadata(indicators_spec()) | indicator_lineage(),
    partitions_def=YEARS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRY,
    freshness_policy=freshness.DAILY,
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


#: The moment that dbt stamps on new rows; it is part of the compiled SQL and not of the formula.
_STAMP = re.compile(r"timestamptz '[^']*' as ingested_at")


class Translator(DagsterDbtTranslator):
    """Keys are schema and name; group, owners, freshness and lineage are set here for all models."""

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """Models age like what they are made of, and say what their columns are made of."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        props = self.get_resource_props(manifest, unique_id)
        if props["resource_type"] != "model":
            return spec
        upstream = {
            dep.asset_key: tuple(self.get_resource_props(manifest, parent)["columns"])
            for dep, parent in zip(spec.deps, get_upstream_unique_ids(manifest, props), strict=True)
        }
        lineage = model_lineage(props["name"], props["columns"], upstream)
        return spec.replace_attributes(freshness_policy=freshness.DAILY).merge_attributes(
            metadata=lineage
        )

    def get_code_version(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """Digest of the compiled SQL, in which intermediate models and macros stand in full.

        dbt's own checksum is of the model's file, which the formulas of a mart are not in.
        """
        compiled = dbt_resource_props.get("compiled_code")
        if not compiled:
            return super().get_code_version(dbt_resource_props)
        formula = _STAMP.sub("ingested_at", compiled)
        return hashlib.sha256(formula.encode()).hexdigest()[:16]

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:  # noqa: ARG002
        """All models have one owner."""
        return OWNERS

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:  # noqa: ARG002
        """One group: staging reads what Python adjusted and marts read staging, so two would loop."""
        return GROUP

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """Tests of dbt as checks that say in words what they hold."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        if spec is None:
            return None
        return dg.AssetCheckSpec(
            name=spec.name,
            asset=spec.asset_key,
            description=dbt_test_in_words(manifest["nodes"][unique_id]),
            additional_deps=[dep.asset_key for dep in spec.additional_deps],
            blocking=spec.blocking,
            metadata=spec.metadata,
        )


@dbt_assets(
    manifest=MANIFEST,
    name="dbt_features",
    partitions_def=YEARS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    # No retry: a dbt that was told to stop ends like one that failed, and would be started again.
    pool=DBT_POOL,
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
        with dbt_environment_set(spy.settings), no_child_left():
            yield from dbt.cli(["build", "--vars", variables], context=context).stream()
    finally:  # what was built before a failure is published, so it needs its checksums too
        record_checksums(spy.settings)


AUDITED = ("adjusted_bars", "indicators", "market_daily", "daily_15", "regime")
#: What models and signals read. The others are above these, so to block on them would be a loop.
BLOCKING = ("market_daily", "daily_15", "regime")


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "no_lookahead",
            asset=["features", name],
            blocking=name in BLOCKING,
            description="Changing or cutting off the future at six points changes no column before.",
        )
        for name in AUDITED
    ],
    can_subset=True,
)
def no_lookahead(
    context: dg.AssetCheckExecutionContext, spy: SpyResource
) -> Iterator[dg.AssetCheckResult]:
    """Audit every feature column of every table at once, by the SQL and Python that made them.

    One symbol is enough: the SQL partitions by symbol everywhere.
    """
    from spy_assets.features.lookahead import as_first_published, audit
    from spy_assets.warehouse.dbt_sql import INPUTS, compute_features, load_models

    models = load_models()
    with spy.warehouse() as lake:
        inputs = {name: as_first_published(lake.history(name), TABLES[name].key) for name in INPUTS}
    bars = inputs["market.daily_bars"]
    inputs["market.daily_bars"] = bars.filter(bars["symbol"] == spy.settings.symbol)
    report = audit(lambda tables: compute_features(tables, models), inputs)
    for key in sorted(context.selected_asset_check_keys):
        found = [leak for leak in report.leaks if leak.table == ".".join(key.asset_key.path)]
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=not found,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={
                "cuts": ", ".join(str(cut) for cut in report.cuts),
                "columns": report.columns,
                "leaks": "; ".join(f"{one.column} from {one.first_session}" for one in found)
                or "none",
            },
        )


class InstalledDbt(DbtCliResource):
    """The dbt of this environment, without what each call asks of it and never uses.

    Dagster's own starts ``dbt --version`` and sets up a second dbt in this process, through which row
    counts could be fetched: four seconds a call. Were these hooks renamed, only the time comes back.
    """

    @property
    def _cli_version(self) -> Any:
        return DBT_PYTHON_VERSION

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:  # noqa: ARG002
        return None


def dbt_resource() -> DbtCliResource:
    """The dbt of this environment; found beside the interpreter, not on the PATH."""
    return InstalledDbt(
        project_dir=str(DBT_PROJECT),
        profiles_dir=str(DBT_PROJECT),
        dbt_executable=str(Path(sys.executable).parent / "dbt"),
    )


ASSETS = [adjusted_bars, indicators, dbt_features]
CHECKS = [no_lookahead]
