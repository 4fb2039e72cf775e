"""The lake for notebooks: read-only, in Polars frames, as it was known at any moment.

    import spy_assets

    with spy_assets.open() as lake:
        lake.read("features.daily_15", as_of=date(2018, 6, 29), symbols="SPY")

Each read sees what the last committed write left; a pipeline that runs meanwhile is not
disturbed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from spy_assets import sessions
from spy_assets.errors import ConfigError
from spy_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.warehouse import Warehouse

#: Columns that can name an instrument, in order of preference.
_INSTRUMENT = ("symbol", "name", "series")
_SOURCES = frozenset({"sample", "files", "yfinance"})


class Lake:
    """An open, read-only lake. A context manager; made by :func:`open_lake`."""

    def __init__(self, settings: Settings) -> None:
        from spy_assets.warehouse import Warehouse

        self.settings = settings
        self._warehouse: Warehouse = Warehouse.open(settings, read_only=True)

    def read(
        self,
        table: str,
        *,
        as_of: date | datetime | None = None,
        symbols: str | Iterable[str] | None = None,
        start: date | None = None,
        end: date | None = None,
        snapshot: int | None = None,
        columns: Iterable[str] | None = None,
    ) -> pl.DataFrame:
        """The last version of each row, in key order.

        Parameters
        ----------
        table
            ``schema.table``; :meth:`tables` lists them.
        as_of
            Only what could be known at this moment. A timezone-aware time, or a session, which
            means its decision time (22:00 UTC). None: the last versions.
        symbols
            One symbol, or some; for ``market.volatility`` and ``market.rates`` their names.
        start, end
            First and last session, both included.
        snapshot
            Read the lake as it was at this snapshot id, for instance a signal's.
        columns
            Columns to return; all by default.

        Raises
        ------
        WarehouseError
            If there is no such table.
        ConfigError
            If ``as_of`` is no session, or the table has no column to filter by.
        NaiveTimestamp
            If ``as_of`` is a time without zone.
        SnapshotExpired
            If the snapshot is no longer kept.
        """
        conditions: list[str] = []
        params: list[Any] = []
        if symbols is not None:
            wanted = [symbols] if isinstance(symbols, str) else sorted(symbols)
            conditions.append(f'list_contains(?, "{self._column(table, _INSTRUMENT)}")')
            params.append(wanted)
        for operator, day in ((">=", start), ("<=", end)):
            if day is not None:
                conditions.append(f'"{self._column(table, ("session",))}" {operator} ?')
                params.append(day)
        return self._warehouse.read(
            table,
            as_of=_moment(as_of),
            snapshot=snapshot,
            where=" AND ".join(conditions) or None,
            params=params,
            columns=None if columns is None else list(columns),
        )

    def history(self, table: str) -> pl.DataFrame:
        """All versions of all rows: what was published when, and how it was revised."""
        return self._warehouse.history(table)

    def sql(self, query: str, *, limit: int | None = None) -> pl.DataFrame:
        """Run one SELECT in a sandbox that can only read the lake.

        ``limit`` (rows) defaults to ``SPY_SQL_ROW_LIMIT``; ``SPY_SQL_TIMEOUT_S`` is the time-out.

        Raises
        ------
        UnsafeQuery
            If it is anything but one SELECT on the lake.
        QueryTimeout
            If it runs for too long.
        """
        from spy_assets.warehouse import run_query

        return run_query(self.settings, query, limit=limit).frame

    def signals(self, **filters: Any) -> pl.DataFrame:
        """The signals as issued; takes the filters of :meth:`read`."""
        return self.read("ledger.signals", **filters)

    def outcomes(self, **filters: Any) -> pl.DataFrame:
        """The settled outcomes; takes the filters of :meth:`read`."""
        return self.read("ledger.outcomes", **filters)

    def tables(self) -> list[str]:
        """Names of all tables."""
        return self._warehouse.tables()

    @property
    def snapshot(self) -> int:
        """Id of the lake's present snapshot; note it to read the same again."""
        return self._warehouse.snapshot_id()

    def close(self) -> None:
        """Close the connection."""
        self._warehouse.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Lake of profile {self.settings.profile_name!r} at snapshot {self.snapshot}>"

    def _column(self, table: str, candidates: tuple[str, ...]) -> str:
        stored = self._warehouse.read(table, where="FALSE").columns
        for name in candidates:
            if name in stored:
                return name
        raise ConfigError(
            f"{table} has none of the columns {', '.join(candidates)} to filter by",
            hint=f"its columns are {', '.join(stored)}",
        )


def open_lake(profile: str | None = None, **overrides: Any) -> Lake:
    """Open a profile's lake for reading; also as ``spy_assets.open``.

    Parameters
    ----------
    profile
        Name of the data root. A source's name (``"yfinance"``) selects that source, too.
    overrides
        Settings that win over the environment, e.g. ``home="/data"``.

    Raises
    ------
    WarehouseError
        If the profile has no warehouse yet.
    ConfigError
        If a setting is wrong.
    """
    if profile is not None:
        overrides["profile"] = profile
        if profile in _SOURCES:
            overrides.setdefault("source", profile)
    return Lake(load_settings(**overrides))


def _moment(as_of: date | datetime | None) -> datetime | None:
    if as_of is None:
        return None
    return (
        sessions.require_aware(as_of)
        if isinstance(as_of, datetime)
        else sessions.decision_time(as_of)
    )
