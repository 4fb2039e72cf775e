"""Checks of market tables: what was withheld, what is missing, and whether anything is there at all.

All are read from the tables, for the partitions of the run: a run that has nothing to ask for does not
make an earlier finding good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from spy_assets.defs.describe import table
from spy_assets.defs.ingestion import Outcome, key_column, stored_days, wanted_keys
from spy_assets.defs.partitions import HISTORICAL
from spy_assets.defs.resources import SpyResource
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.market.schemas import Dataset
    from spy_assets.market.sources import Source
    from spy_assets.warehouse import Warehouse

_ROWS = 40
#: Data sets that are kept by session.
_MINUTES = ("minute_bars", "minute_bars_5")


@dataclass(frozen=True)
class Scope:
    """A data set over the days of a run."""

    dataset: Dataset
    start: date
    end: date

    @property
    def asset(self) -> dg.AssetKey:
        """The asset that keeps the data set."""
        return dg.AssetKey(["market", self.dataset])


def check_specs(dataset: Dataset) -> list[dg.AssetCheckSpec]:
    """Specs of :func:`checks` and :func:`minute_checks`."""
    asset = dg.AssetKey(["market", dataset])
    specs = [
        dg.AssetCheckSpec(
            "quarantine", asset=asset, description="No row is withheld as an error."
        ),
        dg.AssetCheckSpec(
            "coverage", asset=asset, description="Every session due has its rows."
        ),
    ]  # fmt: skip
    if dataset in _MINUTES:
        return specs
    specs.append(
        dg.AssetCheckSpec(
            "not_empty",
            asset=asset,
            blocking=True,
            description="Where the source has the data set, its years have rows.",
        )
    )
    if not HISTORICAL:
        specs.append(
            dg.AssetCheckSpec(
                "fresh",
                asset=asset,
                description="The last session that is decided, by the calendar, has its rows.",
            )
        )
    return specs


def checks(spy: SpyResource, scope: Scope, outcome: Outcome) -> list[dg.AssetCheckResult]:
    """Judge the stored rows of a data set that is kept by day."""
    source = spy.source()
    with spy.warehouse() as lake:
        lake.ensure(TABLES["quarantine.rows"])
        withheld = _withheld(lake, scope, outcome)
        covered = _coverage(lake, scope, _last(source, scope, spy))
        rows = _row_count(lake, scope)
        results = [
            _quarantine(scope, withheld),
            _covered(scope, covered, _told(spy, outcome)),
            not_empty(scope, rows, _due(source, scope, spy), outcome),
        ]
        if not HISTORICAL:
            results.append(_fresh(lake, scope, spy))
    return results


def minute_checks(
    spy: SpyResource, days: Sequence[date], outcome: Outcome, dataset: Dataset = "minute_bars"
) -> list[dg.AssetCheckResult]:
    """Judge the stored minutes of some sessions, by the coverage that was measured."""
    scope = Scope(dataset, min(days), max(days))
    with spy.warehouse() as lake:
        withheld = _withheld(lake, scope, outcome)
        covered = lake.read(
            "market.coverage",
            where="dataset = ? AND session BETWEEN ? AND ?",
            params=(scope.dataset, scope.start, scope.end),
        )
    mine = withheld["session"].is_null() | withheld["session"].is_in(list(days))
    covered = covered.filter(covered["session"].is_in(list(days)))
    return [_quarantine(scope, withheld.filter(mine)), _covered(scope, covered, ())]


def not_empty(scope: Scope, rows: int, due: int, outcome: Outcome) -> dg.AssetCheckResult:
    """Fail where rows are due, the source has the data set, and there is none."""
    note = outcome.not_provided or (
        "" if due else "the source has nothing of these years yet, or any more"
    )
    found: dict[str, Any] = {"rows": rows, "days_due": due}
    return dg.AssetCheckResult(
        asset_key=scope.asset,
        check_name="not_empty",
        passed=bool(rows or note),
        severity=dg.AssetCheckSeverity.ERROR,
        metadata=found | ({"note": note} if note else {}),
    )


def _quarantine(scope: Scope, withheld: pl.DataFrame) -> dg.AssetCheckResult:
    errors = withheld.filter(severity="error").height
    reasons = withheld.group_by("symbol", "reason", "severity").len().sort("symbol", "reason")
    return dg.AssetCheckResult(
        asset_key=scope.asset,
        check_name="quarantine",
        passed=errors == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"withheld": errors, "reasons": table(reasons, _ROWS)},
    )


def _covered(scope: Scope, covered: pl.DataFrame, absent: Sequence[str]) -> dg.AssetCheckResult:
    short = covered.filter(covered["present"] < covered["due"])
    found: dict[str, Any] = {"incomplete": short.height, "rows": table(short, _ROWS)}
    if absent:
        found["note"] = f"not offered: {', '.join(absent)}"
    return dg.AssetCheckResult(
        asset_key=scope.asset,
        check_name="coverage",
        passed=short.is_empty() and not absent,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=found,
    )


def _told(spy: SpyResource, outcome: Outcome) -> tuple[str, ...]:
    """Symbols missed by someone: those that were set, not the default list."""
    return outcome.not_offered if "symbols" in spy.settings.model_fields_set else ()


def _withheld(lake: Warehouse, scope: Scope, outcome: Outcome) -> pl.DataFrame:
    """Quarantined rows that were not mended: no row of their key was published after them."""
    import polars as pl

    found = lake.read(
        "quarantine.rows",
        where="dataset = ? AND session BETWEEN ? AND ?",
        params=(scope.dataset, scope.start, scope.end),
    )
    if outcome.parts:  # rows without a day belong to no partition, so only their run tells them
        undated = outcome.quarantined.filter(pl.col("session").is_null())
        found = pl.concat([found, undated], how="diagonal")
    if found.is_empty():
        return found
    name = "symbol" if scope.dataset in _MINUTES else key_column(scope.dataset)
    column = "series" if scope.dataset == "put_call" else name
    keys = ["symbol", "session", *(["event_time"] if scope.dataset in _MINUTES else [])]
    moments = ", event_time" if scope.dataset in _MINUTES else ""
    published = lake.execute(
        f"SELECT {column} AS symbol, session{moments}, max(ingested_at) AS published_at"
        f" FROM market.{scope.dataset} WHERE session BETWEEN ? AND ? GROUP BY ALL",
        [scope.start, scope.end],
    )
    joined = found.join(published, on=keys, how="left", maintain_order="left")
    mended = (pl.col("published_at") > pl.col("ingested_at")).fill_null(False)
    return joined.filter(~mended).drop("published_at")


def _coverage(lake: Warehouse, scope: Scope, last: date) -> pl.DataFrame:
    """One row per key that has rows at all; a key is due from its first row on."""
    import polars as pl

    from spy_assets.market import gaps
    from spy_assets.market.increment import due_days

    stored = stored_days(lake, scope.dataset, scope.start, scope.end)
    firsts = lake.execute(
        f"SELECT {key_column(scope.dataset)} AS k, min(session) AS first"
        f" FROM market.{scope.dataset} GROUP BY ALL ORDER BY ALL"
    )
    rows = []
    for name, first in firsts.drop_nulls().iter_rows():
        days = due_days(scope.dataset, name, max(scope.start, first), scope.end, last)
        if days:
            there = pl.DataFrame(
                {"symbol": name, "session": sorted(stored.get(name, ()))},
                schema={"symbol": pl.String, "session": pl.Date},
            )
            rows.append(
                gaps.daily_coverage(
                    there, dataset=scope.dataset, symbol=name, start=days[0], end=days[-1]
                )
            )
    return gaps.coverage_frame(rows)


def _last(source: Source, scope: Scope, spy: SpyResource) -> date:
    span = source.span(scope.dataset)
    return min(spy.last_session(), span[1]) if span else spy.last_session()


def _due(source: Source, scope: Scope, spy: SpyResource) -> int:
    """Days of the run that the source can have, of the key that has most."""
    from spy_assets.market.increment import due_days

    span = source.span(scope.dataset)
    start = max(scope.start, span[0]) if span else scope.start
    last = _last(source, scope, spy)
    keys, _ = wanted_keys(source, scope.dataset, spy)
    return max(
        (len(due_days(scope.dataset, key, start, scope.end, last)) for key in keys), default=0
    )


def _row_count(lake: Warehouse, scope: Scope) -> int:
    frame = lake.execute(
        f"SELECT count(*) AS n FROM market.{scope.dataset} WHERE session BETWEEN ? AND ?",
        [scope.start, scope.end],
    )
    return int(frame["n"][0])


def _fresh(lake: Warehouse, scope: Scope, spy: SpyResource) -> dg.AssetCheckResult:
    from spy_assets.market.increment import due_days

    last = spy.last_session()
    since = date(last.year - 1, 1, 1)
    days = stored_days(lake, scope.dataset, since, last)
    if scope.dataset == "daily_bars":
        days = {name: found for name, found in days.items() if name == spy.settings.symbol}
    stored = max((max(found) for found in days.values()), default=None)
    due = due_days(scope.dataset, spy.settings.symbol, since, last, last)[-1]
    provided = spy.source().span(scope.dataset) is not None
    return dg.AssetCheckResult(
        asset_key=scope.asset,
        check_name="fresh",
        passed=not provided or (stored is not None and stored >= due),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"due": str(due), "stored": str(stored or "none")},
    )
