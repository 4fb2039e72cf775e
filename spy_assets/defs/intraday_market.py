"""From the lake to a path of minute bars: each session priced by what was known before it opened.

Bars of five minutes are the vendor's own where the lake has some of a session; the bars of other
sessions are put together from single minutes, on the grid that begins with the session's open. Never
are the two mixed within one session.

The VIX and the rate of a session are those of the row of ``features.market_daily`` of the session
before, in the last version that was known when the session opened. A session without bars, or without
one of the two, is left out with the reason, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from spy_assets.errors import DataError
from spy_assets.sessions import previous_session, session_open, sessions_between

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.settings import Settings
    from spy_assets.simulator.intraday_path import IntradayPath
    from spy_assets.warehouse import Warehouse

SINGLE, FIVE = "market.minute_bars", "market.minute_bars_5"
KNOWN: Final = "features.market_daily"
#: Where a session's bars are from.
OWN, PUT_TOGETHER, SYNTHETIC = "from the source", "put together from minutes", "synthetic"
#: Largest share of the sessions asked for that may be left out: more is no market any more.
MOST_SKIPPED: Final = 0.1
_COLUMNS: Final = ("session", "bar_start", "open", "high", "low", "close", "synthetic")


@dataclass(frozen=True, eq=False)
class IntradayMarket:
    """A path and what it is made of.

    Attributes
    ----------
    path
        The sessions that have bars, VIX and rate.
    origins
        Where their bars are from -> sessions.
    skipped
        Sessions left out -> why.
    """

    path: IntradayPath
    origins: Mapping[str, int]
    skipped: Mapping[date, str]


def intraday_market(
    lake: Warehouse,
    settings: Settings,
    first: date,
    last: date,
    *,
    known_by: datetime,
    snapshot: int | None = None,
) -> IntradayMarket:
    """Read the sessions from ``first`` to ``last`` as a path of bars of the settings' length.

    Parameters
    ----------
    known_by
        Moment (UTC) after which no version of a bar counts: a later revision is none of a training's.
    snapshot
        Of the lake; its present state by default.

    Raises
    ------
    DataError
        More than a tenth of the sessions would have to be left out.
    """
    from spy_assets.simulator.intraday_path import IntradayPath

    days = sessions_between(first, last)
    bars = _bars(lake, settings, days, known_by, snapshot)
    daily = known_before_open(lake, settings.symbol, days, snapshot=snapshot)
    skipped = _reasons(days, bars, daily, settings.intraday.minutes)
    if len(skipped) > MOST_SKIPPED * len(days):
        raise _too_few(settings, days, skipped)
    kept = bars.filter(~bars["session"].is_in(list(skipped)))
    path = IntradayPath.from_bars(
        kept, daily, symbol=settings.symbol, minutes=settings.intraday.minutes, volatility="vix"
    )
    return IntradayMarket(path, _origins(kept), skipped)


def _bars(
    lake: Warehouse,
    settings: Settings,
    days: Sequence[date],
    known_by: datetime,
    snapshot: int | None,
) -> pl.DataFrame:
    """Bars of the sessions, each session's from one table; ``origin`` says from where."""
    import polars as pl

    def read(table: str, wanted: Sequence[date]) -> pl.DataFrame:
        return lake.read(
            table,
            as_of=known_by,
            snapshot=snapshot,
            columns=list(_COLUMNS),
            where="symbol = ? AND list_contains(?, session)",
            params=(settings.symbol, list(wanted)),
        )

    single = PUT_TOGETHER if settings.intraday.minutes > 1 else OWN
    parts, missing = [], list(days)
    if settings.intraday.minutes == 5:
        parts.append(read(FIVE, missing).with_columns(origin=pl.lit(OWN)))
        missing = sorted(set(days) - set(parts[0]["session"]))
    if missing:
        parts.append(read(SINGLE, missing).with_columns(origin=pl.lit(single)))
    return pl.concat(parts)


def known_before_open(
    lake: Warehouse, symbol: str, days: Sequence[date], *, snapshot: int | None = None
) -> pl.DataFrame:
    """VIX (points) and rate (decimal) at the close before each session, as known when it opened.

    Returns
    -------
    pl.DataFrame
        ``session`` (the one before), ``vix`` and ``rate``; null where missing. A version that became
        known after the open, such as a revision, is no row of it.
    """
    import polars as pl

    opens = pl.DataFrame(
        {
            "session": [previous_session(day) for day in days],
            "opens": [session_open(day) for day in days],
        },
        schema={"session": pl.Date, "opens": pl.Datetime("us", "UTC")},
    )
    if KNOWN not in lake.tables():
        return opens.select("session", vix=pl.lit(None, pl.Float64), rate=pl.lit(None, pl.Float64))
    at = "" if snapshot is None else f" AT (VERSION => {snapshot})"
    rows = lake.execute(
        f"SELECT session, vix, rate, available_at, ingested_at FROM {KNOWN}{at}"
        " WHERE symbol = ? AND session BETWEEN ? AND ?",
        (symbol, opens["session"].min(), opens["session"].max()),
    )
    known = rows.join(opens, on="session").filter(pl.col("available_at") <= pl.col("opens"))
    return (
        known.sort("available_at", "ingested_at")
        .unique("session", keep="last", maintain_order=True)
        .select("session", "vix", "rate")
        .sort("session")
    )


def _reasons(
    days: Sequence[date], bars: pl.DataFrame, daily: pl.DataFrame, minutes: int
) -> dict[date, str]:
    """Why sessions are left out; those that are kept are not among them."""
    counted = _bars_of_paths(bars, minutes)
    known = {day: (vix, rate) for day, vix, rate in daily.iter_rows()}
    found = {}
    for day in days:
        before = previous_session(day)
        vix, rate = known.get(before, (None, None))
        if counted.get(day, 0) < 2:
            found[day] = f"{counted.get(day, 0)} bar(s)"
        elif vix is None:
            found[day] = f"no VIX of {before} was known at the open"
        elif rate is None:
            found[day] = f"no rate was known at the decision of {before}"
    return found


def _bars_of_paths(bars: pl.DataFrame, minutes: int) -> dict[date, int]:
    """Bars of each session once its rows are put together; several minutes are one of five."""
    import polars as pl

    slots = bars.select("session", slot=pl.col("bar_start").dt.truncate(f"{minutes}m")).unique()
    return dict(slots.group_by("session").len().iter_rows())


def _origins(bars: pl.DataFrame) -> dict[str, int]:
    import polars as pl

    named = bars.select(
        "session", origin=pl.when("synthetic").then(pl.lit(SYNTHETIC)).otherwise("origin")
    )
    return dict(named.unique().group_by("origin").len().sort("origin").iter_rows())


def _too_few(settings: Settings, days: Sequence[date], skipped: Mapping[date, str]) -> DataError:
    day, reason = next(iter(skipped.items()))
    return DataError(
        f"{len(skipped)} of {len(days)} sessions from {days[0]} to {days[-1]} cannot be walked over "
        f"{settings.intraday.minutes}-minute bars; the first is {day}: {reason}",
        hint=_mend(settings),
    )


def _mend(settings: Settings) -> str:
    first, last = settings.minute_span
    bars = "market/minute_bars"
    if settings.intraday.minutes == 5:
        bars = "market/minute_bars_5 (or market/minute_bars)"
    return (
        f"materialize {bars} and features/market_daily of these sessions, as `spy walkforward --clock "
        f"intraday` does; or choose others: SPY_INTRADAY__START={first}, SPY_INTRADAY__END={last}"
    )
