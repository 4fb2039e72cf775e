"""Ask, clean, write: what every market asset does, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets.defs.describe import line_plot, table, write_metadata
from spy_assets.defs.partitions import bounds_of_years
from spy_assets.defs.resources import SpyResource
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.market.ingest import Ingested
    from spy_assets.market.schemas import Dataset
    from spy_assets.market.sources import Source
    from spy_assets.warehouse import Warehouse, WriteResult

#: Published rows before the range that new rows are judged by.
_NEIGHBOURS = timedelta(days=120)
#: Put/call files are asked for as a whole.
_WHOLE = "all"
#: What an asset's page plots: the column that names a line, the time axis, the values, the title.
_PLOTTED = {
    "daily_bars": ("symbol", "session", "close", "Close, raw, USD"),
    "volatility": ("name", "session", "close", "Volatility indices, points"),
    "rates": ("series", "session", "rate", "Rates, decimal per year"),
    "put_call": ("series", "session", "ratio", "Put/call ratio"),
    "minute_bars": ("symbol", "bar_start", "close", "One-minute closes, USD"),
}


class IngestConfig(dg.Config):
    """How much to ask for."""

    refetch: bool = False
    """Ask for the whole range again, not just for what is missing."""


@dataclass
class Outcome:
    """What an ingest did: its parts, its writes, and why nothing came if nothing did."""

    parts: list[Ingested] = field(default_factory=list)
    results: list[WriteResult] = field(default_factory=list)
    not_provided: str = ""

    @property
    def quarantined(self) -> pl.DataFrame:
        """All rows that were withheld or warned about."""
        import polars as pl

        return pl.concat([part.quarantined for part in self.parts])

    @property
    def coverage(self) -> pl.DataFrame:
        """Rows due and present."""
        import polars as pl

        return pl.concat([part.coverage for part in self.parts])


def ingest_years(
    context: dg.AssetExecutionContext, spy: SpyResource, dataset: Dataset, config: IngestConfig
) -> Outcome:
    """Ask for the missing days of the run's years, clean, and write in one transaction."""
    from spy_assets.errors import NotProvided
    from spy_assets.market import ingest
    from spy_assets.market.increment import gaps_to_ask

    source = spy.source()
    start, end = bounds_of_years(list(context.partition_keys))
    keys = _keys(source, dataset, spy)
    with spy.warehouse() as lake:
        lake.ensure(TABLES[f"market.{dataset}"])
        stored = {} if config.refetch else _last_stored(lake, dataset)
        outcome = Outcome()
        for gap in gaps_to_ask(stored, keys, start=start, end=end, due=spy.last_session()):
            asked = () if gap.keys == (_WHOLE,) else gap.keys
            context.log.info(
                f"{source.name}: {dataset} {gap.start} to {gap.end}, {len(gap.keys)} keys"
            )
            try:
                part = ingest.ingest(
                    source, dataset, start=gap.start, end=gap.end, keys=asked,
                    as_of=spy.as_of(), history=_history(lake, dataset, gap.start),
                )  # fmt: skip
            except NotProvided as error:
                outcome.not_provided = str(error)
                return outcome
            outcome.parts.append(part)
        store(lake, dataset, outcome, spy)
    return outcome


def ingest_sessions(
    context: dg.AssetExecutionContext, spy: SpyResource, symbols: Sequence[str]
) -> Outcome:
    """The minute bars of the run's sessions; sessions that fail are named after the rest is stored."""
    from spy_assets.errors import SpyError
    from spy_assets.market import ingest

    source = spy.source()
    outcome, failed = Outcome(), []
    for key in context.partition_keys:
        for symbol in symbols:
            try:
                part = ingest.ingest_minutes(source, symbol, date.fromisoformat(key))
            except SpyError as error:
                failed.append(f"{symbol} {key}: {error.message}")
            else:
                outcome.parts.append(part)
    with spy.warehouse() as lake:
        lake.ensure(TABLES["market.minute_bars"])
        store(lake, "minute_bars", outcome, spy)
    if failed:
        listing = "\n".join(failed[:20])
        raise dg.Failure(
            f"{len(failed)} of {len(context.partition_keys)} sessions have no minute bars; the "
            f"others are stored:\n{listing}",
            allow_retries=False,
        )
    return outcome


def store(lake: Warehouse, dataset: Dataset, outcome: Outcome, spy: SpyResource) -> None:
    """Write rows, quarantine and coverage in one transaction."""
    if not outcome.parts:
        return
    import polars as pl

    rows = pl.concat([part.frame for part in outcome.parts])
    outcome.results = lake.write_many(
        [
            (TABLES[f"market.{dataset}"], rows),
            (TABLES["quarantine.rows"], outcome.quarantined.unique()),
            (TABLES["market.coverage"], outcome.coverage.unique()),
        ],
        ingested_at=spy.utc_now(),
    )


def metadata(outcome: Outcome) -> dict[str, Any]:
    """What the UI shows of an ingest."""
    if outcome.not_provided:
        return {"not_provided": outcome.not_provided}
    if not outcome.parts:
        return {"asked": "nothing is missing"}
    return write_metadata(outcome.results[0]) | {"quarantined": outcome.quarantined.height}


def add_plot(context: dg.AssetExecutionContext, dataset: Dataset, outcome: Outcome) -> None:
    """Plot what was ingested, on the run's last partition only: each event stores its picture."""
    if not outcome.parts:
        return
    import polars as pl

    line, x, value, title = _PLOTTED[dataset]
    rows = pl.concat([part.frame for part in outcome.parts])
    names = rows[line].unique(maintain_order=True).to_list()
    if dataset in {"daily_bars", "minute_bars"}:
        names = names[:1]  # prices of several symbols share no scale
    if dataset == "minute_bars":
        rows = rows.filter(session=rows["session"].max())
    shown = rows.filter(pl.col(line).is_in(names)).pivot(line, index=x, values=value).sort(x)
    if shown.is_empty():
        return
    picture = line_plot(shown, x, names, f"{title}: {', '.join(names)}")
    context.add_asset_metadata(
        {"plot": picture}, asset_key=context.asset_key, partition_key=context.partition_keys[-1]
    )


def checks(asset: Sequence[str], outcome: Outcome) -> list[dg.AssetCheckResult]:
    """The two checks that an ingest answers itself: what was withheld, and what is missing."""
    key = dg.AssetKey(list(asset))
    if not outcome.parts:
        note = {"note": outcome.not_provided or "nothing was missing"}
        return [_passed(key, name, note) for name in ("quarantine", "coverage")]
    errors = outcome.quarantined.filter(severity="error")
    short = outcome.coverage.filter(outcome.coverage["present"] < outcome.coverage["due"])
    reasons = (
        outcome.quarantined.group_by("symbol", "reason", "severity").len().sort("symbol", "reason")
    )
    return [
        dg.AssetCheckResult(
            asset_key=key, check_name="quarantine", passed=errors.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"withheld": errors.height, "reasons": table(reasons, 40)},
        ),
        dg.AssetCheckResult(
            asset_key=key, check_name="coverage", passed=short.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"incomplete": short.height, "rows": table(short, 40)},
        ),
    ]  # fmt: skip


def check_specs(asset: Sequence[str]) -> list[dg.AssetCheckSpec]:
    """Specs of :func:`checks`."""
    return [
        dg.AssetCheckSpec(
            "quarantine", asset=list(asset), description="No row was withheld as an error."
        ),
        dg.AssetCheckSpec(
            "coverage", asset=list(asset), description="Every session due has its rows."
        ),
    ]


def _passed(key: dg.AssetKey, name: str, note: dict[str, Any]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(asset_key=key, check_name=name, passed=True, metadata=note)


def _keys(source: Source, dataset: Dataset, spy: SpyResource) -> tuple[str, ...]:
    from spy_assets.market.ingest import RATE_SERIES, VOLATILITY_NAMES

    if dataset == "daily_bars":
        offered = set(source.symbols())
        return tuple(symbol for symbol in spy.settings.symbols if symbol in offered)
    return {"volatility": VOLATILITY_NAMES, "rates": RATE_SERIES}.get(dataset, (_WHOLE,))


def _last_stored(lake: Warehouse, dataset: Dataset) -> dict[tuple[str, int], date]:
    key = {"daily_bars": "symbol", "volatility": "name", "rates": "series"}.get(dataset)
    column = key or f"'{_WHOLE}'"
    frame = lake.execute(
        f"SELECT {column} AS k, year(session) AS y, max(session) AS last"
        f" FROM market.{dataset} GROUP BY ALL"
    )
    return {(name, int(year)): last for name, year, last in frame.iter_rows()}


def _history(lake: Warehouse, dataset: Dataset, start: date) -> pl.DataFrame | None:
    if dataset not in {"daily_bars", "volatility"}:
        return None
    return lake.read(
        f"market.{dataset}",
        where="session >= ? AND session < ?",
        params=(start - _NEIGHBOURS, start),
    )
