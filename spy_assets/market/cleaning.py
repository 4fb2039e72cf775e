"""Cleaning: from a source's raw rows to rows that may be published, and a quarantine with reasons.

Nothing is repaired silently. A row either is published as it came, or is published with one bad
value set to null and a warning in quarantine, or goes to quarantine as an error. Nothing is
dropped without a note. Cleaning is idempotent: cleaning published rows again changes nothing.

| reason                                              | severity | what happens to the row         |
|-----------------------------------------------------|----------|---------------------------------|
| zero_price, negative_price, missing_price           | error    | quarantined                     |
| not_finite (NaN, infinity)                          | error    | quarantined                     |
| high_below_low, close_outside_range                 | error    | quarantined                     |
| open_outside_range (bars)                           | error    | quarantined                     |
| open_outside_range (volatility indices)             | warn     | published, open null            |
| negative_volume, missing_volume, bad_split, ...     | error    | quarantined                     |
| rate_out_of_range, ratio_out_of_range, missing_*    | error    | quarantined                     |
| unit_error: 20 times off the neighbours' median     | error    | quarantined                     |
| index_out_of_range: impossible for that index       | error    | quarantined                     |
| duplicate_key: different rows with one key          | error    | all of them quarantined         |
| future: of a day after `as_of`                      | error    | quarantined                     |
| a bar of the day of `as_of` that is not over        | -        | left out, counted in `notes`    |
| not_a_session (holiday rows)                        | warn     | quarantined                     |
| wrong_session, off_grid (minute bars)               | error    | quarantined                     |
| jump: 10 sigma of the 60 returns before             | warn     | published; see `crosscheck`     |
| vwap_outside_range (minute bars)                    | warn     | published, vwap null            |

The same row twice is one row. A naive timestamp, or columns other than the schema's, refuse the
frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from spy_assets.errors import DataError, NaiveTimestamp, SchemaDrift
from spy_assets.market.availability import with_event_time
from spy_assets.market.quarantine import FLAGS, flag, number_rows, quarantined_rows
from spy_assets.market.schemas import (
    CALENDAR_FREE,
    CANONICAL,
    KEYS,
    OPTIONAL_RAW,
    TIMESTAMP,
    Dataset,
    bars_of,
    open_in_range,
    raw_columns,
    row_failures,
)
from spy_assets.sessions import (
    DECISION_HOUR_UTC,
    require_aware,
    session_close,
    session_open,
    sessions_between,
)

#: A price this many times above or below the median of its neighbours is in another unit.
UNIT_RATIO = 20.0
#: Neighbours on each side that the median is taken of.
UNIT_NEIGHBOURS = 5
#: A log return this many standard deviations of the returns before it is worth a second look.
JUMP_SIGMA = 10.0
JUMP_WINDOW = 60
JUMP_MIN_RETURNS = 20

#: How far outside of high and low a vendor's VWAP may be, relative: it counts odd lots and late
#: prints that do not move high and low, by up to 0.1 % in real bars.
VWAP_SLACK = 1e-3

#: Row number of rows that are context only.
_OUTSIDE = 2**32 - 1
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Cleaned:
    """Rows that may be published, the quarantine, and what else is worth knowing."""

    #: Canonical columns, sorted by key, one row per key.
    frame: pl.DataFrame
    #: Columns of `quarantine.rows`; `severity` is `error` or `warn`.
    quarantined: pl.DataFrame
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class _Flagged:
    """Rows with a row number, what is wrong with which of them, and how many were left out."""

    rows: pl.DataFrame
    flags: pl.DataFrame  # row, reason, severity
    running: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        left_out = (f"{self.running} bars of the running day left out",) if self.running else ()
        return _origins(self.rows) + left_out


def require_columns(frame: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """The raw columns of `frame` in canonical order and type, with `origin` and `event_time` if
    given.

    Raises
    ------
    SchemaDrift
        If a column is missing, unknown, or cannot hold the canonical type; the difference is shown.
    NaiveTimestamp
        If a timestamp column has no time zone.
    """
    due = raw_columns(dataset)
    missing = [name for name in due if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in due and name not in OPTIONAL_RAW]
    if missing or unknown:
        raise SchemaDrift(
            f"{dataset}: missing columns {missing}, unknown columns {unknown}",
            hint=f"the source must return exactly {list(due)}",
        )
    for name in ("bar_start", "event_time"):
        if name in frame.columns:
            _require_zone(frame, name, dataset)
    extra = [name for name in frame.columns if name in OPTIONAL_RAW]
    try:
        return frame.select(
            *[pl.col(name).cast(kind) for name, kind in due.items()],
            *[pl.col(name).cast(TIMESTAMP) if name == "event_time" else name for name in extra],
        )
    except pl.exceptions.InvalidOperationError as error:
        raise SchemaDrift(
            f"{dataset}: {dict(frame.schema)} does not fit {due}: {error}",
            hint="cast the columns in the source",
        ) from error


def _require_zone(frame: pl.DataFrame, name: str, dataset: Dataset) -> None:
    kind = frame.schema[name]
    if not isinstance(kind, pl.Datetime):
        raise SchemaDrift(
            f"{dataset}.{name} is {kind}, not a timestamp", hint=f"give {name} as {TIMESTAMP}"
        )
    if kind.time_zone is None:
        first = str(frame.get_column(name).first()) if frame.height else "none"
        raise NaiveTimestamp(
            f"{dataset}.{name} has no time zone (first value {first})",
            hint="localize it in the source, for instance .dt.replace_time_zone('UTC')",
        )


def _limit(as_of: date | datetime) -> datetime:
    if isinstance(as_of, datetime):
        return require_aware(as_of)
    return datetime.combine(as_of, time(DECISION_HOUR_UTC), UTC)


def _duplicates(rows: pl.DataFrame, dataset: Dataset) -> _Flagged:
    """Keep one of equal rows; flag rows that share a key and differ."""
    payload = list(raw_columns(dataset))
    once = rows.unique(subset=payload, keep="first", maintain_order=True)
    twice = once.select(KEYS[dataset]).is_duplicated()
    flags = flag(once.filter(twice), pl.lit(True), "duplicate_key", "error")
    return _Flagged(once, flags)


def _schema_flags(rows: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    found = row_failures(rows.select(raw_columns(dataset).keys()), dataset)
    numbers = rows.select(pl.row_index("position").cast(pl.UInt32), "row")
    return (
        found.join(numbers, left_on="row", right_on="position")
        .select(pl.col("row_right").alias("row"), "reason", pl.lit("error").alias("severity"))
        .cast(pl.Schema(FLAGS))
    )


def _session_flags(rows: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """Rows on days without a session: the exchange's own files carry some."""
    days = rows.select(pl.col("session").min().alias("a"), pl.col("session").max().alias("b"))
    first, last = days.row(0)
    known = pl.Series(sessions_between(first, last) if first is not None else [], dtype=pl.Date)
    free = pl.lit(dataset in CALENDAR_FREE)
    if dataset == "daily_bars":
        free = pl.col("symbol").str.ends_with("-USD").fill_null(False)
    inside = pl.col("session").is_in(known.implode()).fill_null(False)
    return flag(rows, ~(free | inside), "not_a_session", "warn")


def _with_split(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `_split`: the split ratio where it is one, else 1."""
    if "split" not in rows.columns:
        return rows.with_columns(pl.lit(1.0).alias("_split"))
    ratio = pl.col("split")
    usable = (ratio > 0) & ratio.is_finite()
    return rows.with_columns(pl.when(usable).then(ratio).otherwise(1.0).alias("_split"))


def _unit_flags(rows: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """Rows with a price far off the median close of the rows around it, splits accounted for."""
    name = KEYS[dataset][0]
    usable = pl.col("close").is_finite() & (pl.col("close") > 0)
    ordered = _with_split(rows.sort(KEYS[dataset])).with_columns(
        pl.col("_split").cum_prod().over(name).alias("_scale")
    )
    level = pl.when(usable).then(pl.col("close") * pl.col("_scale"))
    median = level.rolling_median(2 * UNIT_NEIGHBOURS + 1, min_samples=3, center=True).over(name)
    ratios = [pl.col(p) * pl.col("_scale") / pl.col("_median") for p in _PRICES]
    off = pl.any_horizontal(
        [(r.is_finite() & (r > 0) & ((r >= UNIT_RATIO) | (r <= 1 / UNIT_RATIO))) for r in ratios]
    )
    return flag(ordered.with_columns(median.alias("_median")), off, "unit_error", "error")


def jumps(bars: pl.DataFrame, key: str = "symbol") -> pl.DataFrame:
    """Closes whose log return exceeds 10 standard deviations of the 60 returns before it.

    Splits are taken out first. The window ends before the return that is judged.

    Returns
    -------
    pl.DataFrame
        The rows of `bars` concerned, with `log_return` and `sigmas`.
    """
    returns = (pl.col("close") * pl.col("_split") / pl.col("close").shift(1)).log().over(key)
    sigma = pl.col("log_return").shift(1).rolling_std(JUMP_WINDOW, min_samples=JUMP_MIN_RETURNS)
    measured = _with_split(bars.sort(key, "session")).with_columns(returns.alias("log_return"))
    measured = measured.with_columns(sigma.over(key).alias("_sigma"))
    measured = measured.filter(pl.col("_sigma") > 0)
    measured = measured.with_columns((pl.col("log_return") / pl.col("_sigma")).alias("sigmas"))
    return measured.filter(pl.col("sigmas").abs() > JUMP_SIGMA).drop("_sigma", "_split")


def _quarantine(rows: pl.DataFrame, flags: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    return quarantined_rows(rows, flags, dataset, symbol=KEYS[dataset][0])


def quarantine_rows(
    rows: pl.DataFrame, dataset: Dataset, *, reason: str, severity: str
) -> pl.DataFrame:
    """Quarantine rows for all of `rows`, which has the key, `session`, and whatever explains it."""
    numbered = number_rows(rows)
    return _quarantine(numbered, flag(numbered, pl.lit(True), reason, severity), dataset)


def _moments(rows: pl.DataFrame, bad: pl.DataFrame, dataset: Dataset, minutes: int) -> pl.DataFrame:
    """Set `event_time` where the session allows it; a given one wins, so that it can be judged."""
    if "event_time" in rows.columns:
        return rows
    dated = rows.join(bad, on="row", how="anti").filter(pl.col("session").is_not_null())
    stamped = with_event_time(dated, dataset, minutes=minutes).select("row", "event_time")
    return rows.join(stamped, on="row", how="left", maintain_order="left")


def _future_flags(rows: pl.DataFrame, as_of: date | datetime) -> pl.DataFrame:
    return flag(rows, pl.col("event_time") > _limit(as_of), "future", "error")


def _split_unfinished(rows: pl.DataFrame, as_of: date | datetime) -> tuple[pl.DataFrame, int]:
    """Leave out the bar of the running day: vendors show it, and it is no error, but it will
    change.
    """
    limit = _limit(as_of)
    today = pl.col("session") <= limit.date()
    running = (today & (pl.col("event_time") > limit)).fill_null(False)
    kept = rows.filter(~running)
    return kept, rows.height - kept.height


def _withheld(flags: pl.DataFrame) -> pl.DataFrame:
    """Row numbers that must not be published."""
    refused = (pl.col("severity") == "error") | (pl.col("reason") == "not_a_session")
    return flags.filter(refused).select("row").unique()


def _publish(
    rows: pl.DataFrame, flags: pl.DataFrame, dataset: Dataset, minutes: int
) -> pl.DataFrame:
    kept = rows.join(_withheld(flags), on="row", how="anti").drop("event_time", strict=False)
    kept = with_event_time(kept, dataset, minutes=minutes)
    return (
        kept.select(CANONICAL[dataset].keys())
        .cast(pl.Schema(CANONICAL[dataset]))
        .sort(KEYS[dataset])
    )


def _origins(rows: pl.DataFrame) -> tuple[str, ...]:
    if "origin" not in rows.columns:
        return ()
    return tuple(f"from {name}" for name in rows["origin"].drop_nulls().unique().sort())


def _snap(frame: pl.DataFrame) -> pl.DataFrame:
    """Take out float noise: a close one ulp above its high becomes the high."""
    return frame.with_columns(
        pl.when(pl.col("high").is_not_null())
        .then(pl.max_horizontal("open", "high", "close"))
        .alias("high"),
        pl.when(pl.col("low").is_not_null())
        .then(pl.min_horizontal("open", "low", "close"))
        .alias("low"),
    )


def _clean(
    raw: pl.DataFrame,
    dataset: Dataset,
    as_of: date | datetime,
    *,
    history: pl.DataFrame | None = None,
    extra: pl.DataFrame | None = None,
) -> tuple[_Flagged, pl.DataFrame]:
    """The steps that all data sets by day share; returns the flagged rows and their sound part.

    `history` is published rows before the batch: context for the unit and jump checks, never
    output.
    """
    rows = number_rows(require_columns(raw, dataset))
    once = _duplicates(rows, dataset)
    rows = once.rows
    off_calendar = _session_flags(rows, dataset)
    given = "event_time" in rows.columns
    rows = _moments(rows, off_calendar, dataset, 1)
    rows, running = (rows, 0) if given else _split_unfinished(rows, as_of)
    flags = [once.flags, off_calendar, _schema_flags(rows, dataset), _future_flags(rows, as_of)]
    if extra is not None:
        flags.append(extra)
    if "close" in rows.columns:
        flags += _context_flags(rows, flags, history, dataset)
    flagged = _Flagged(rows, pl.concat(flags), running)
    return flagged, _publish(rows, flagged.flags, dataset, 1)


def _sound(rows: pl.DataFrame, flags: list[pl.DataFrame]) -> pl.DataFrame:
    """Rows that are not withheld so far: a bad row must not make its neighbours look bad."""
    return rows.join(_withheld(pl.concat(flags)), on="row", how="anti", maintain_order="left")


def _context_flags(
    rows: pl.DataFrame, flags: list[pl.DataFrame], history: pl.DataFrame | None, dataset: Dataset
) -> list[pl.DataFrame]:
    """What only the neighbours of a row can tell: another unit, a jump."""
    context = _with_history(_sound(rows, flags), history, dataset)
    units = _unit_flags(context, dataset).filter(pl.col("row") != _OUTSIDE)
    plausible = context.join(units, on="row", how="anti", maintain_order="left")
    leaps = flag(jumps(plausible, KEYS[dataset][0]), pl.lit(True), "jump", "warn")
    return [units, leaps.filter(pl.col("row") != _OUTSIDE)]


def _with_history(
    rows: pl.DataFrame, history: pl.DataFrame | None, dataset: Dataset
) -> pl.DataFrame:
    columns = ["row", *raw_columns(dataset)]
    if history is None or history.is_empty():
        return rows.select(columns)
    key = list(KEYS[dataset])
    before = history.join(rows.select(key), on=key, how="anti").with_columns(
        pl.lit(_OUTSIDE, pl.UInt32).alias("row")
    )
    return pl.concat([before.select(columns), rows.select(columns)])


def clean_daily_bars(
    raw: pl.DataFrame,
    *,
    symbol: str | None = None,
    as_of: date | datetime,
    history: pl.DataFrame | None = None,
) -> Cleaned:
    """Clean daily bars.

    Parameters
    ----------
    raw
        Raw columns of `daily_bars`, of one or more symbols, in any order.
    symbol
        If given, every row must be of this symbol.
    as_of
        Rows after this moment (a date stands for its decision time) are refused as future.
    history
        Published bars before the batch, so that short batches have neighbours to be judged by.

    Raises
    ------
    SchemaDrift, NaiveTimestamp
        See :func:`require_columns`.
    DataError
        If a row is of another symbol.
    """
    if symbol is not None:
        _require_symbol(raw, symbol)
    flagged, frame = _clean(raw, "daily_bars", as_of, history=history)
    quarantined = _quarantine(flagged.rows, flagged.flags, "daily_bars")
    return Cleaned(_snap(frame), quarantined, flagged.notes)


def _require_symbol(raw: pl.DataFrame, symbol: str) -> None:
    others = raw.filter(pl.col("symbol").ne_missing(symbol)) if "symbol" in raw.columns else raw
    if "symbol" in raw.columns and not others.is_empty():
        raise DataError(
            f"asked for {symbol!r}, got a row of {others['symbol'][0]!r}",
            hint="check the symbol map of the source",
        )


def clean_volatility(
    raw: pl.DataFrame, *, as_of: date | datetime, history: pl.DataFrame | None = None
) -> Cleaned:
    """Clean volatility indices.

    The exchange's own file has holiday rows (quarantined, `not_a_session`) and opens outside of
    high and low, by up to 28 points: the first print of the day was wrong. Close, high and low are
    sound, so the row is published with its open null, and quarantine keeps the original as a
    warning.
    """
    rows = require_columns(raw, "volatility")
    outside = flag(number_rows(rows), ~open_in_range(), "open_outside_range", "warn")
    flagged, frame = _clean(raw, "volatility", as_of, history=history, extra=outside)
    quarantined = _quarantine(flagged.rows, flagged.flags, "volatility")
    sound = pl.when(open_in_range().fill_null(True)).then(pl.col("open"))
    return Cleaned(_snap(frame.with_columns(sound.alias("open"))), quarantined, flagged.notes)


def clean_rates(raw: pl.DataFrame, *, as_of: date | datetime) -> Cleaned:
    """Clean interest rates (decimals per year); `session` is the observation date, any weekday."""
    flagged, frame = _clean(raw, "rates", as_of)
    return Cleaned(frame, _quarantine(flagged.rows, flagged.flags, "rates"), flagged.notes)


def clean_put_call(raw: pl.DataFrame, *, as_of: date | datetime) -> Cleaned:
    """Clean put/call ratios and volumes (contracts); a ratio of 10 or more is a digit lost."""
    flagged, frame = _clean(raw, "put_call", as_of)
    return Cleaned(frame, _quarantine(flagged.rows, flagged.flags, "put_call"), flagged.notes)


def clean_minute_bars(
    raw: pl.DataFrame,
    *,
    symbol: str,
    session: date,
    as_of: datetime | None = None,
    minutes: int = 1,
) -> Cleaned:
    """Clean the bars of one symbol and session.

    Bars outside of regular hours (extended trading, bars after an early close) are left out and
    counted in `notes`; a bar of another day is quarantined. Missing minutes stay missing: see
    :mod:`spy_assets.market.gaps`.

    Raises
    ------
    SchemaDrift, NaiveTimestamp, DataError
        As :func:`clean_daily_bars`.
    ConfigError
        If no data set has bars of ``minutes``.
    """
    _require_symbol(raw, symbol)
    dataset = bars_of(minutes)
    typed = require_columns(raw, dataset)
    opened, closed = session_open(session), session_close(session)
    midnight = datetime.combine(session, time(0), opened.tzinfo)
    window = (pl.col("bar_start") >= midnight) & (
        pl.col("bar_start") < midnight + timedelta(days=1, hours=5)
    )
    regular = (pl.col("bar_start") >= opened) & (pl.col("bar_start") < closed)
    same_day = (pl.col("session") == session) & window
    kept = typed.filter((same_day & ~regular).fill_null(False).not_())
    dropped = typed.height - kept.height
    notes = (f"{dropped} bars outside regular hours left out",) if dropped else ()

    once = _duplicates(number_rows(kept), dataset)
    rows = with_event_time(once.rows, dataset, minutes=minutes)
    wrong = flag(rows, same_day.fill_null(False).not_(), "wrong_session", "error")
    up, down = pl.col("high") * (1 + VWAP_SLACK), pl.col("low") * (1 - VWAP_SLACK)
    vwap_off = (pl.col("vwap") > up) | (pl.col("vwap") < down)
    flags = [
        once.flags,
        wrong,
        _schema_flags(rows, dataset),
        flag(rows, vwap_off, "vwap_outside_range", "warn"),
        _future_flags(rows, as_of or closed + timedelta(minutes=minutes)),
    ]
    told = pl.concat([*flags, _unit_flags(_sound(rows, flags), dataset)])
    frame = _publish(rows, told, dataset, minutes)
    frame = frame.with_columns(
        pl.when(~vwap_off.fill_null(False)).then(pl.col("vwap")).alias("vwap")
    )
    return Cleaned(_snap(frame), _quarantine(rows, told, dataset), _origins(rows) + notes)
