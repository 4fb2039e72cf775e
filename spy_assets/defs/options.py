"""Option chains by session and underlying, and the features of a chain.

A vendor's chain is judged before it is cleaned: one that fails a blocking check is not written, and
the run fails, with the reason in quarantine. A session that no source has stays without a chain.
"""

from collections.abc import Iterator

import dagster as dg

from spy_assets.defs import chains, freshness
from spy_assets.defs.describe import OWNERS, table, table_metadata, write_metadata
from spy_assets.defs.lineage import chain_feature_lineage, chain_lineage
from spy_assets.defs.market import RETRY, VENDOR_POOL
from spy_assets.defs.partitions import CHAINS, ChainPart
from spy_assets.defs.resources import SpyResource
from spy_assets.warehouse.tables import TABLES

GROUP = "options"
#: The session's year. The one before is read as well, as far as it is known: Dagster has no mapping
#: from two dimensions to an earlier window of one.
OWN_YEAR = dg.MultiToSingleDimensionPartitionMapping("session")


@dg.asset(
    key=chains.ASSET,
    deps=[
        dg.AssetDep(["market", "daily_bars"], partition_mapping=OWN_YEAR),
        dg.AssetDep(["market", "rates"], partition_mapping=OWN_YEAR),
        dg.AssetDep(["market", "volatility"], partition_mapping=OWN_YEAR),
    ],
    group_name=GROUP,
    kinds={"python", "polars", "ducklake"},
    owners=OWNERS,
    tags={"layer": "raw"},
    description="The option chain of an underlying in a session: quotes as the vendor gave them, "
    "with implied volatility and Greeks of our own. A session without a chain has no rows, and says "
    "why.",
    metadata=table_metadata(chains.QUOTES) | chain_lineage(),
    partitions_def=CHAINS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRY,
    freshness_policy=freshness.CHAINS,
    pool=VENDOR_POOL,
    check_specs=chains.check_specs(),
    code_version="1",
)
def option_chain(
    context: dg.AssetExecutionContext, spy: SpyResource
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Ask for the run's partitions, judge, clean, analyse, and write what may be published."""
    from spy_assets.errors import SpyError
    from spy_assets.market.sources.chains import open_chain_source

    source = open_chain_source(spy.settings)
    parts = [ChainPart.of(key) for key in context.partition_keys]
    taken, failed = [], []
    with spy.warehouse() as lake:
        for part in parts:
            try:
                taken.append(chains.take(lake, spy, source, part))
            except SpyError as error:
                failed.append(error)
        written = chains.store(lake, spy, taken)
        stored = chains.stored(lake, parts)
    found = chains.results(taken, stored)
    kept_out = [one for one in taken if one.blocked]
    if failed or kept_out:
        yield from found  # nothing is materialized, so that the next run asks again
        if failed and not kept_out:
            for other in failed[1:]:
                context.log.error(other.message)
            raise failed[0]
        told = "\n".join(f"{one.part}: {f.message}" for one in kept_out for f in one.blocked)
        raise dg.Failure(
            f"{len(kept_out)} of {len(parts)} chains are kept out, the others stored:\n{told}",
            allow_retries=False,
        )
    if taken:
        context.add_asset_metadata(
            chains.describe(taken[-1]),
            asset_key=context.asset_key,
            partition_key=context.partition_keys[-1],
        )
    absent = [f"{one.part}: {one.absent}" for one in taken if one.absent]
    yield dg.MaterializeResult(
        metadata=(write_metadata(written[0]) if written else {})
        | {"chains_asked_for": len(taken), "without_chain": len(absent)}
        | ({"not_provided": "\n".join(absent[:20])} if absent else {}),
        check_results=found,
    )


@dg.asset(
    key=["features", "chain"],
    deps=[option_chain],
    group_name=GROUP,
    kinds={"python", "polars", "ducklake"},
    owners=OWNERS,
    tags={"layer": "mart"},
    description="What a session's chain says: volatility at the money, skew, term slope, put/call, "
    "gamma exposure, max pain, expected move. Null with the reason in `quality`.",
    metadata=table_metadata(chains.FEATURES) | chain_feature_lineage(),
    partitions_def=CHAINS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=RETRY,
    freshness_policy=freshness.CHAINS,
    code_version="2",
)
def chain_features(context: dg.AssetExecutionContext, spy: SpyResource) -> dg.MaterializeResult:
    """Measure the run's chains in order; rank and percentile look back over the ones before.

    What was measured on a chain that is lost, and that no source gives any more, stays.
    """
    import polars as pl

    parts = sorted(ChainPart.of(key) for key in context.partition_keys)
    with spy.warehouse() as lake:
        lake.ensure(TABLES[chains.FEATURES])
        rows, lost = chains.measure(lake, parts)
        if not rows:
            return dg.MaterializeResult(metadata=_lost_chains(lost))
        made = pl.concat(rows)
        result = lake.write(TABLES[chains.FEATURES], made, ingested_at=spy.utc_now())
    last = made.tail(1).drop("symbol", "available_at", "source", "session").cast(pl.String)
    shown = last.unpivot(variable_name="feature", value_name="value")
    return dg.MaterializeResult(
        metadata=write_metadata(result)
        | {"features": table(shown, shown.height)}
        | _lost_chains(lost)
    )


def _lost_chains(parts: list[ChainPart]) -> dict[str, str]:
    told = ", ".join(map(str, parts[:20]))
    return {"measured_on_a_chain_that_is_lost": told} if parts else {}


ASSETS = [option_chain, chain_features]
