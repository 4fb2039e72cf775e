"""From a source to publishable rows: ask, clean, stamp with availability. Writes nothing.

An asset calls :func:`ingest` or :func:`ingest_minutes` and writes the frames of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from spy_assets.errors import CheckFailed, DataError, NotProvided
from spy_assets.market import cleaning, gaps
from spy_assets.market.availability import is_crypto, with_availability
from spy_assets.market.crosscheck import hold_against
from spy_assets.market.protocol import HasFiveMinutes, HasSecondOpinion, Source
from spy_assets.market.schemas import KEYS, Dataset, bars_of
from spy_assets.sessions import decision_time, session_close

#: Volatility indices of the inventory; a source returns those that it has.
VOLATILITY_NAMES = ("VIX", "VIX9D", "VIX3M", "VVIX", "SKEW", "VIX1D")
#: Interest rates: overnight, bills, notes. FRED's names; a source returns those that it has.
RATE_SERIES = (
    "DFF",
    "SOFR",
    "DGS1MO",
    "DGS3MO",
    "DGS6MO",
    "DGS1",
    "DGS2",
    "DGS5",
    "DGS10",
    "DGS30",
)


@dataclass(frozen=True)
class Ingested:
    """What an asset writes after one ingest."""

    dataset: Dataset
    #: Payload, `available_at` and `source`, sorted by key.
    frame: pl.DataFrame
    #: Rows for `quarantine.rows`, with `available_at` (= `as_of`) and `source`.
    quarantined: pl.DataFrame
    #: Rows for `market.coverage`, with `available_at` and `source`.
    coverage: pl.DataFrame
    notes: tuple[str, ...]

    @property
    def errors(self) -> int:
        """How many rows were withheld as errors."""
        return self.quarantined.filter(pl.col("severity") == "error").height

    @property
    def warnings(self) -> int:
        """How many warnings there are."""
        return self.quarantined.height - self.errors


def default_as_of(source: Source) -> datetime:
    """The decision time of the source's last session."""
    return decision_time(source.last_session())


def fetch(
    source: Source, dataset: Dataset, *, keys: Sequence[str], start: date, end: date
) -> pl.DataFrame:
    """Ask the source for the raw rows of a data set that is kept by day.

    Raises
    ------
    NotProvided, SourceError
        As the source.
    DataError
        For minute bars, which are asked for by session.
    """
    if dataset == "daily_bars":
        return source.daily_bars(keys, start, end)
    if dataset == "volatility":
        return source.volatility(keys, start, end)
    if dataset == "rates":
        return source.rates(keys, start, end)
    if dataset == "put_call":
        return source.put_call(start, end)
    raise DataError(f"{dataset} is not kept by day", hint="use ingest_minutes")


def clean(
    raw: pl.DataFrame,
    dataset: Dataset,
    *,
    as_of: date | datetime,
    history: pl.DataFrame | None = None,
) -> cleaning.Cleaned:
    """Clean a data set that is kept by day."""
    if dataset == "daily_bars":
        return cleaning.clean_daily_bars(raw, as_of=as_of, history=history)
    if dataset == "volatility":
        return cleaning.clean_volatility(raw, as_of=as_of, history=history)
    if dataset == "rates":
        return cleaning.clean_rates(raw, as_of=as_of)
    if dataset == "put_call":
        return cleaning.clean_put_call(raw, as_of=as_of)
    raise DataError(f"{dataset} is not kept by day", hint="use clean_minute_bars")


def ingest(
    source: Source,
    dataset: Dataset,
    *,
    start: date,
    end: date,
    keys: Sequence[str] = (),
    as_of: datetime | None = None,
    history: pl.DataFrame | None = None,
) -> Ingested:
    """Fetch and clean the rows of a data set from `start` to `end`, both included.

    Parameters
    ----------
    keys
        Symbols, index names or rate series; the inventory's names by default (for daily bars: all
        symbols of the source).
    as_of
        Rows that describe a later moment are future rows. The source's last decision time by
        default.
    history
        Published rows before `start`, so that short ranges have neighbours to be judged by.
    """
    moment = as_of or default_as_of(source)
    wanted = tuple(keys) or _default_keys(source, dataset)
    raw = fetch(source, dataset, keys=wanted, start=start, end=end)
    cleaned = clean(raw, dataset, as_of=moment, history=history)
    if isinstance(source, HasSecondOpinion):
        second = source.second_opinion(dataset, wanted, start, end)
        if second is not None:
            cleaned = hold_against(cleaned, second, dataset)
    span = source.span(dataset)
    last = min(end, moment.date(), span[1]) if span else min(end, moment.date())
    coverage = _coverage(cleaned.frame, history, dataset, start, last)
    return _stamp(source, dataset, cleaned, coverage, moment)


def _default_keys(source: Source, dataset: Dataset) -> tuple[str, ...]:
    defaults = {"volatility": VOLATILITY_NAMES, "rates": RATE_SERIES, "put_call": ()}
    return defaults[dataset] if dataset in defaults else source.symbols()


def _coverage(
    frame: pl.DataFrame, history: pl.DataFrame | None, dataset: Dataset, start: date, last: date
) -> list[gaps.Coverage]:
    """One row per key that has rows now or had some before; a key is due from its first row on."""
    key = KEYS[dataset][0]
    seen = frame.select(key, "session")
    if history is not None:
        seen = pl.concat([seen, history.select(key, "session")])
    firsts = seen.group_by(key).agg(pl.col("session").min()).sort(key)
    return [
        gaps.daily_coverage(
            frame,
            dataset=dataset,
            symbol=name,
            start=max(start, first),
            end=_due(dataset, name, last),
            key=key,
        )
        for name, first in firsts.iter_rows()
        if max(start, first) <= _due(dataset, name, last)
    ]


def _due(dataset: Dataset, name: str, last: date) -> date:
    """A crypto day ends at midnight UTC, after the decision, so the last one due is the day
    before.
    """
    crypto = dataset == "daily_bars" and is_crypto(name)
    return last - timedelta(days=1) if crypto else last


def ingest_minutes(
    source: Source,
    symbol: str,
    session: date,
    *,
    as_of: datetime | None = None,
    minutes: int = 1,
) -> Ingested:
    """Fetch and clean the bars of one session, of one minute or of five.

    Parameters
    ----------
    as_of
        Bars that end later are future bars: give the present moment while the session runs. By
        default the decision time of the session, or of the source's last one.

    Raises
    ------
    CheckFailed
        If no bar at all is left: a session without bars is an outage, not a result.
    NotProvided
        If the source has no such bars.
    """
    raw = _raw_minutes(source, symbol, session, minutes)
    limit = as_of or max(default_as_of(source), decision_time(session))
    cleaned = cleaning.clean_minute_bars(
        raw, symbol=symbol, session=session, as_of=limit, minutes=minutes
    )
    if cleaned.frame.is_empty():
        raise CheckFailed(
            f"{source.name}: no usable minute bar of {symbol} on {session}; "
            f"{raw.height} came, {cleaned.quarantined.height} are in quarantine",
            hint="check that the source covers the session (`span`)",
        )
    covered = gaps.minute_coverage(
        cleaned.frame,
        symbol=symbol,
        session=session,
        minutes=minutes,
        note="; ".join(cleaned.notes),
    )
    return _stamp(source, bars_of(minutes), cleaned, [covered], session_close(session))


def _raw_minutes(source: Source, symbol: str, session: date, minutes: int) -> pl.DataFrame:
    if bars_of(minutes) == "minute_bars":
        return source.minute_bars(symbol, session)
    if isinstance(source, HasFiveMinutes):
        return source.five_minute_bars(symbol, session)
    raise NotProvided(
        f"{source.name} has no {minutes}-minute bars of its own",
        hint="five minutes are put together from market.minute_bars where they are needed",
    )


def _stamp(
    source: Source,
    dataset: Dataset,
    cleaned: cleaning.Cleaned,
    coverage: Sequence[gaps.Coverage],
    moment: datetime,
) -> Ingested:
    """Add `available_at` and `source`: quarantine and coverage are known at `moment`."""
    name = pl.lit(source.name).alias("source")
    known = pl.lit(moment).dt.cast_time_unit("us").alias("available_at")
    return Ingested(
        dataset,
        with_availability(cleaned.frame, dataset).with_columns(name),
        cleaned.quarantined.with_columns(known, name),
        gaps.coverage_frame(coverage).with_columns(known, name),
        cleaned.notes,
    )
