"""Ask, clean, write: what every market asset does, once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets.defs.describe import line_plot, write_metadata
from spy_assets.defs.partitions import bounds_of_years
from spy_assets.defs.resources import SpyResource
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.errors import SpyError
    from spy_assets.market.increment import Gap
    from spy_assets.market.ingest import Ingested
    from spy_assets.market.schemas import Dataset
    from spy_assets.market.sources import Source
    from spy_assets.warehouse import Warehouse, WriteResult

#: Published rows before the range that new rows are judged by.
_NEIGHBOURS = timedelta(days=120)
#: Put/call files are asked for as a whole.
WHOLE = "all"
#: What an asset's page plots: the column that names a line, the time axis, the values, the title.
_PLOTTED = {
    "daily_bars": ("symbol", "session", "close", "Close, raw, USD"),
    "volatility": ("name", "session", "close", "Volatility indices, points"),
    "rates": ("series", "session", "rate", "Rates, decimal per year"),
    "put_call": ("series", "session", "ratio", "Put/call ratio"),
    "minute_bars": (
        "symbol",
        "bar_start",
        "close",
        "One-minute closes of the last session, UTC, USD",
    ),
    "minute_bars_5": (
        "symbol",
        "bar_start",
        "close",
        "Five-minute closes of the last session, UTC, USD",
    ),
}


class IngestConfig(dg.Config):
    """How much to ask for."""

    refetch: bool = False
    """Ask for the whole range again, not just for what is missing."""


@dataclass
class Outcome:
    """What an ingest did: its parts, its writes, and what did not come, and why."""

    parts: list[Ingested] = field(default_factory=list)
    results: list[WriteResult] = field(default_factory=list)
    not_provided: str = ""
    #: Symbols that the settings name and the source does not have.
    not_offered: tuple[str, ...] = ()
    #: Keys that the source could not answer for, and its errors.
    failed: dict[str, SpyError] = field(default_factory=dict)
    #: Why the source was asked no further.
    stopped: SpyError | None = None

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
    """Ask for the missing days of the run's years, clean, and write in one transaction.

    Raises
    ------
    SpyError, Failure
        If the source failed, or failed for some keys. What came is stored before.
    """
    from spy_assets.market.increment import gaps_to_ask

    source = spy.source()
    start, end = bounds_of_years(list(context.partition_keys))
    keys, not_offered = wanted_keys(source, dataset, spy)
    outcome = Outcome(not_offered=not_offered)
    with spy.warehouse() as lake:
        lake.ensure(TABLES[f"market.{dataset}"])
        stored = {} if config.refetch else stored_days(lake, dataset, start, end)
        due = spy.last_session()
        for gap in gaps_to_ask(stored, keys, start=start, end=end, due=due, dataset=dataset):
            context.log.info(
                f"{source.name}: {dataset} {gap.start} to {gap.end}, {len(gap.keys)} keys"
            )
            ask(source, dataset, gap, outcome, as_of=spy.as_of(), lake=lake)
            if outcome.stopped is not None:
                break
        store(lake, dataset, outcome, spy)
    _raise_failures(outcome)
    return outcome


def ask(
    source: Source,
    dataset: Dataset,
    gap: Gap,
    outcome: Outcome,
    *,
    as_of: datetime,
    lake: Warehouse,
) -> None:
    """Ask for one gap; what cannot be had is noted in ``outcome`` beside what came.

    A live vendor is asked key by key, which takes as many requests: one dead symbol then costs
    nobody else's answer, now or in the next attempt.
    """
    from spy_assets.errors import (
        DataError,
        EmptyResponse,
        NotProvided,
        SchemaDrift,
        SourceError,
        WrongContent,
    )
    from spy_assets.market import ingest

    for keys in [gap.keys] if source.historical else [(key,) for key in gap.keys]:
        try:
            part = ingest.ingest(
                source, dataset, start=gap.start, end=gap.end,
                keys=() if keys == (WHOLE,) else keys,
                as_of=as_of, history=_history(lake, dataset, gap.start, keys),
            )  # fmt: skip
        except NotProvided as error:
            outcome.not_provided = str(error)
        except (EmptyResponse, WrongContent, SchemaDrift, DataError) as error:
            outcome.failed[", ".join(keys)] = error
        except SourceError as error:  # down, or the budget is spent: the other keys would fail too
            outcome.stopped = error
            return
        else:
            outcome.parts.append(part)


def _raise_failures(outcome: Outcome) -> None:
    if outcome.stopped is not None:
        raise outcome.stopped
    if not outcome.failed:
        return
    if len(outcome.failed) == 1 and not outcome.parts:
        raise next(iter(outcome.failed.values()))
    listing = "\n".join(f"{key}: {error.message}" for key, error in outcome.failed.items())
    raise dg.Failure(
        f"no answer for {', '.join(outcome.failed)}; the rest is stored:\n{listing}"
    ) from next(iter(outcome.failed.values()))


def ingest_sessions(
    context: dg.AssetExecutionContext, spy: SpyResource, symbols: Sequence[str], minutes: int = 1
) -> Outcome:
    """The minute bars of the run's sessions; sessions that fail are named after the rest is stored."""
    from spy_assets.errors import SpyError
    from spy_assets.market import ingest
    from spy_assets.market.schemas import bars_of

    source, dataset = spy.source(), bars_of(minutes)
    outcome, failed = Outcome(), []
    for key in context.partition_keys:
        for symbol in symbols:
            try:
                day = date.fromisoformat(key)
                part = ingest.ingest_minutes(source, symbol, day, minutes=minutes)
            except SpyError as error:
                failed.append(f"{symbol} {key}: {error.message}")
            else:
                outcome.parts.append(part)
    with spy.warehouse() as lake:
        lake.ensure(TABLES[f"market.{dataset}"])
        store(lake, dataset, outcome, spy)
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
    shown: dict[str, Any] = {}
    if outcome.not_provided:
        shown["not_provided"] = outcome.not_provided
    if outcome.not_offered:
        shown["not_offered"] = ", ".join(outcome.not_offered)
    if outcome.parts:
        shown |= write_metadata(outcome.results[0]) | {"quarantined": outcome.quarantined.height}
    return shown or {"asked": "nothing is missing"}


def add_plot(
    context: dg.AssetExecutionContext, spy: SpyResource, dataset: Dataset, outcome: Outcome
) -> None:
    """Plot what was ingested, on the run's last partition only: each event stores its picture."""
    if not outcome.parts:
        return
    import polars as pl

    line, x, value, title = _PLOTTED[dataset]
    rows = pl.concat([part.frame for part in outcome.parts])
    names = rows[line].unique(maintain_order=True).to_list()
    if line == "symbol":
        names = names[:1]  # prices of several symbols share no scale
    if x == "bar_start":
        rows = rows.filter(session=rows["session"].max())
    shown = rows.filter(pl.col(line).is_in(names)).pivot(line, index=x, values=value).sort(x)
    if shown.is_empty():
        return
    # Prices of the sample are the index's, and never shown as the fund's.
    star = "*" if line == "symbol" and spy.settings.source == "sample" else ""
    picture = line_plot(shown, x, names, f"{title}: {', '.join(names)}{star}")
    context.add_asset_metadata(
        {"plot": picture}, asset_key=context.asset_key, partition_key=context.partition_keys[-1]
    )


def wanted_keys(
    source: Source, dataset: Dataset, spy: SpyResource
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to ask for, and the symbols that the source does not have."""
    from spy_assets.market.ingest import RATE_SERIES, VOLATILITY_NAMES

    if dataset == "daily_bars":
        offered, wanted = set(source.symbols()), spy.settings.symbols
        return (
            tuple(symbol for symbol in wanted if symbol in offered),
            tuple(symbol for symbol in wanted if symbol not in offered),
        )
    return {"volatility": VOLATILITY_NAMES, "rates": RATE_SERIES}.get(dataset, (WHOLE,)), ()


def key_column(dataset: Dataset) -> str:
    """SQL for what a data set is asked by."""
    columns = {"daily_bars": "symbol", "volatility": "name", "rates": "series"}
    return columns.get(dataset, f"'{WHOLE}'")


def stored_days(lake: Warehouse, dataset: Dataset, start: date, end: date) -> dict[str, set[date]]:
    """The days of each key that are stored."""
    frame = lake.execute(
        f"SELECT {key_column(dataset)} AS k, session FROM market.{dataset}"
        " WHERE session BETWEEN ? AND ? GROUP BY ALL",
        [start, end],
    )
    days: defaultdict[str, set[date]] = defaultdict(set)
    for key, session in frame.iter_rows():
        days[key].add(session)
    return dict(days)


def _history(
    lake: Warehouse, dataset: Dataset, start: date, keys: Sequence[str]
) -> pl.DataFrame | None:
    if dataset not in {"daily_bars", "volatility"}:
        return None
    return lake.read(
        f"market.{dataset}",
        where=f"session >= ? AND session < ? AND list_contains(?, {key_column(dataset)})",
        params=(start - _NEIGHBOURS, start, list(keys)),
    )
