"""The canonical option chain: one schema for every vendor, and cleaning with reasons.

A vendor's adapter returns a :class:`RawChain`: rows in :data:`CHAIN_SCHEMA` plus the contracts that
it could not read. :func:`clean_chain` decides which rows may be published. As with bars, nothing is
repaired silently and nothing is dropped without a note:

| reason                                                        | severity | the row          |
|---------------------------------------------------------------|----------|------------------|
| bad_occ: no OCC symbol, or not the one of the row's own fields | error    | quarantined      |
| missing_key, bad_strike, bad_right, bad_settlement, bad_multiplier | error    | quarantined      |
| not_finite (NaN, infinity in a price)                         | error    | quarantined      |
| negative_price, negative_size, negative_count                 | error    | quarantined      |
| crossed: bid above ask                                        | warn     | its quote is     |
| no_price: neither a quote, a trade nor open interest          | error    | quarantined      |
| expired: the expiry is before the session                     | error    | quarantined      |
| bad_expiry: more than ten years ahead                         | error    | quarantined      |
| closed_expiry: on a day on which nothing can expire           | error    | quarantined      |
| stale: the snapshot is too old, or the quote is of a day before | warn     | its quote is     |
| future: quoted after `as_of`                                  | error    | quarantined      |
| wrong_session, wrong_symbol: a row of another day or symbol   | error    | quarantined      |
| duplicate_key: different rows of one contract and moment      | error    | all of them      |
| superseded: an earlier quote of a contract that came twice    | warn     | quarantined      |

A bad quote says nothing against the contract's counts. The row of a crossed or stale quote stays, with
its volume and open interest and without anything of the quote: bid, ask, sizes, the vendor's volatility
and Greeks, and of a stale one its time. It goes to quarantine as an error, and is not published, if
something else is wrong with it, if it has no counts, or, stale, if no quote of the chain is fresh: the
snapshot itself is then too old, and its counts are too.

A quote's time is when it last changed, so that its age does not say that it is no longer in force:
nobody touches a deep strike for hours. What can be too old is the snapshot, which is as old as its
newest quote (:func:`stale_before`).

A zero bid is no defect: the contract is listed and nobody bids (it gets no implied volatility). An
adjusted contract is kept, flagged in ``is_adjusted``. The same row twice is one row.

Units: dollars per share, sizes and counts in contracts, volatilities and Greeks as decimals (theta
per year, vega per 1.00 of volatility), times in UTC.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import polars as pl

from spy_assets.errors import NaiveTimestamp, SchemaDrift
from spy_assets.market.cleaning import Cleaned
from spy_assets.market.quarantine import (
    FLAGS,
    flag,
    number_rows,
    quarantine_frame,
    quarantined_rows,
)
from spy_assets.market.schemas import QUARANTINE, TIMESTAMP, empty
from spy_assets.options.contracts import AM_ROOTS, MULTIPLIER, OCC_PATTERN
from spy_assets.options.expiries import is_expiry, options_close, trading_day
from spy_assets.sessions import require_aware, session_open

if TYPE_CHECKING:
    import pandera.polars as pa

#: Name of the data set in `quarantine.rows`.
DATASET = "option_chain"

#: One row per contract and snapshot, in order.
CHAIN_SCHEMA: dict[str, pl.DataType] = {
    "session": pl.Date(),
    "symbol": pl.String(),
    "root": pl.String(),
    "occ": pl.String(),
    "expiry": pl.Date(),
    "right": pl.String(),
    "strike": pl.Float64(),
    "settlement": pl.String(),
    "multiplier": pl.Int32(),
    "is_adjusted": pl.Boolean(),
    "quoted_at": TIMESTAMP,
    "bid": pl.Float64(),
    "ask": pl.Float64(),
    "bid_size": pl.Int64(),
    "ask_size": pl.Int64(),
    "last": pl.Float64(),
    "last_at": TIMESTAMP,
    "volume": pl.Int64(),
    "open_interest": pl.Int64(),
    "vendor_iv": pl.Float64(),
    "vendor_delta": pl.Float64(),
    "vendor_gamma": pl.Float64(),
    "vendor_theta": pl.Float64(),
    "vendor_vega": pl.Float64(),
    "vendor_rho": pl.Float64(),
    "spot": pl.Float64(),
    "quote_kind": pl.String(),
    "source": pl.String(),
    "available_at": TIMESTAMP,
}
#: Columns that name a contract, once per snapshot.
CHAIN_KEY = ("symbol", "occ")
#: What an adapter could not read: the vendor's own text and a reason such as `bad_occ`.
REJECTED_SCHEMA: dict[str, pl.DataType] = {"raw": pl.String(), "reason": pl.String()}
#: Vendor values: absent where the vendor's number is no number.
VENDOR_COLUMNS = tuple(name for name in CHAIN_SCHEMA if name.startswith("vendor_"))

#: A snapshot older than this at the end of options trading (or at `as_of`, if earlier) is stale: the
#: 15 minutes of a delayed feed, and 5 for the snapshot itself.
STALE_AFTER = timedelta(minutes=20)

#: What is withheld of a row whose quote alone is bad.
QUOTE_COLUMNS = ("bid", "ask", "bid_size", "ask_size", *VENDOR_COLUMNS)

#: No contract lives longer; a later expiry is a misread date.
LONGEST_LIFE = "10y"


@dataclass(frozen=True)
class RawChain:
    """What an adapter read: rows in :data:`CHAIN_SCHEMA`, and contracts that it could not read."""

    frame: pl.DataFrame
    rejected: pl.DataFrame = field(default_factory=lambda: empty(REJECTED_SCHEMA))


def occ_columns(symbol: pl.Expr) -> list[pl.Expr]:
    """Read OCC symbols of a column: padded, unpadded, or with the prefix ``O:``.

    Returns
    -------
    list[pl.Expr]
        `root`, `expiry`, `right`, `strike`, `occ` (padded) and `is_adjusted` (by the root's
        digit); all null where the text is no OCC symbol or its date does not exist.

    Examples
    --------
    >>> pl.DataFrame({"s": ["O:SPY260722C00747500"]}).select(occ_columns(pl.col("s"))).row(0)
    ('SPY', datetime.date(2026, 7, 22), 'C', 747.5, 'SPY   260722C00747500', False)
    """
    part = symbol.str.extract_groups(f"^{OCC_PATTERN}$")
    day = pl.lit("20") + part.struct.field("day")
    expiry = day.str.to_date("%Y%m%d", strict=False)
    mills = part.struct.field("strike").cast(pl.Int64)
    sound = expiry.is_not_null() & (mills > 0)
    root, right = part.struct.field("root"), part.struct.field("right")
    padded = root.str.pad_end(6) + pl.concat_str(part.struct.field("day", "right", "strike"))
    fields = {
        "root": root,
        "expiry": expiry,
        "right": right,
        "strike": mills / 1000.0,
        "occ": padded,
        "is_adjusted": root.str.contains(r"\d$"),
    }
    return [pl.when(sound).then(value).alias(name) for name, value in fields.items()]


def occ_of_fields() -> pl.Expr:
    """The padded OCC symbol that `root`, `expiry`, `right` and `strike` spell."""
    mills = (pl.col("strike") * 1000.0).round().cast(pl.Int64, strict=False)
    return pl.concat_str(
        pl.col("root").str.pad_end(6),
        pl.col("expiry").dt.strftime("%y%m%d"),
        pl.col("right"),
        mills.cast(pl.String).str.zfill(8),
    )


def trading_days(expiries: pl.Series) -> pl.Series:
    """The session on which each expiry ends: the Friday of an old Saturday symbol; null if none is.

    >>> trading_days(pl.Series([date(2012, 1, 21), date(2024, 12, 25)])).to_list()
    [datetime.date(2012, 1, 20), None]
    """
    known = {day: trading_day(day) for day in expiries.drop_nulls().unique() if is_expiry(day)}
    return expiries.replace_strict(known, default=None, return_dtype=pl.Date)


def settlement_of(root: pl.Expr) -> pl.Expr:
    """``"AM"`` for the roots of index options that settle on opening prices, else ``"PM"``."""
    return pl.when(root.is_in(sorted(AM_ROOTS))).then(pl.lit("AM")).otherwise(pl.lit("PM"))


def as_chain(frame: pl.DataFrame, **constants: object) -> pl.DataFrame:
    """Bring a frame into :data:`CHAIN_SCHEMA`: constants set, absent columns null, order and types.

    Derived where absent are `settlement` (by the root), `is_adjusted` (by the root's digit or another
    multiplier than 100), `multiplier` (100, but null for an adjusted contract, whose symbol does not
    tell how many shares it delivers) and `quote_kind` (``"chain"``).

    Raises
    ------
    SchemaDrift
        If a column is not one of the schema, or cannot hold its type.
    """
    unknown = [name for name in (*frame.columns, *constants) if name not in CHAIN_SCHEMA]
    if unknown:
        raise SchemaDrift(
            f"{DATASET}: unknown columns {unknown}", hint=f"the schema is {list(CHAIN_SCHEMA)}"
        )
    filled = frame.with_columns(
        pl.lit(value, CHAIN_SCHEMA[name]).alias(name) for name, value in constants.items()
    )
    absent = [name for name in CHAIN_SCHEMA if name not in filled.columns]
    filled = filled.with_columns(pl.lit(None, CHAIN_SCHEMA[name]).alias(name) for name in absent)
    told = ("is_adjusted", pl.col("root").str.contains(r"\d$"), pl.col("multiplier") != MULTIPLIER)
    adjusted = pl.any_horizontal(told).fill_null(False)
    filled = filled.with_columns(
        settlement=pl.coalesce("settlement", settlement_of(pl.col("root"))),
        multiplier=pl.coalesce("multiplier", pl.when(~adjusted).then(MULTIPLIER)),
        is_adjusted=adjusted,
        quote_kind=pl.col("quote_kind").fill_null("chain"),
    )
    return _typed(filled)


def require_chain(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of :data:`CHAIN_SCHEMA`, in order and typed.

    Raises
    ------
    SchemaDrift
        If a column is missing, unknown, or cannot hold its type; the difference is shown.
    NaiveTimestamp
        If a timestamp column has no time zone.
    """
    missing = [name for name in CHAIN_SCHEMA if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in CHAIN_SCHEMA]
    if missing or unknown:
        raise SchemaDrift(
            f"{DATASET}: missing columns {missing}, unknown columns {unknown}",
            hint=f"the adapter must return exactly {list(CHAIN_SCHEMA)}",
        )
    return _typed(frame)


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    for name, kind in CHAIN_SCHEMA.items():
        given = frame.schema[name]
        if kind == TIMESTAMP and isinstance(given, pl.Datetime) and given.time_zone is None:
            raise NaiveTimestamp(
                f"{DATASET}.{name} has no time zone",
                hint="localize it in the adapter, for instance .dt.replace_time_zone('UTC')",
            )
    try:
        return frame.select(pl.col(name).cast(kind) for name, kind in CHAIN_SCHEMA.items())
    except pl.exceptions.PolarsError as error:
        raise SchemaDrift(
            f"{DATASET}: {dict(frame.schema)} does not fit: {error}",
            hint="cast the columns in the adapter",
        ) from error


def _row_checks() -> dict[str, list[pl.Expr]]:
    """Reason -> what must hold in each row; null passes (nullability has reasons of its own)."""
    prices = ("bid", "ask", "last", "spot")
    return {
        "missing_key": [pl.col(n).is_not_null() for n in ("session", "symbol", "root", "expiry")]
        + [pl.col("strike").is_not_null(), pl.col("right").is_not_null()],
        "bad_strike": [pl.col("strike").is_finite() & (pl.col("strike") > 0)],
        "bad_right": [pl.col("right").is_in(["C", "P"])],
        "bad_settlement": [pl.col("settlement").is_in(["AM", "PM"])],
        "bad_multiplier": [pl.col("multiplier") > 0],
        "bad_occ": [(pl.col("occ") == occ_of_fields()).fill_null(False)],
        "not_finite": [pl.col(name).is_finite() for name in prices],
        # NaN is above every number in Polars, so that it passes here and fails above.
        "negative_price": [pl.col(name) >= 0 for name in prices],
        "negative_size": [pl.col(name) >= 0 for name in ("bid_size", "ask_size")],
        "negative_count": [pl.col(name) >= 0 for name in ("volume", "open_interest")],
        "crossed": [
            (pl.col("bid") <= pl.col("ask")) | pl.col("bid").is_nan() | pl.col("ask").is_nan()
        ],
        "no_price": [
            pl.any_horizontal(pl.col("bid", "ask", "last", "open_interest").is_not_null())
        ],
    }


@lru_cache(maxsize=1)
def chain_schema() -> pa.DataFrameSchema:
    """The pandera schema of a chain: strict types, every check named by its reason."""
    import pandera.polars as pa

    def check(reason: str, holds: pl.Expr) -> pa.Check:
        passes = holds.fill_null(True).alias("passes")
        return pa.Check(lambda data: data.lazyframe.select(passes), name=reason)

    checks = [check(reason, e) for reason, exprs in _row_checks().items() for e in exprs]
    columns = {
        name: pa.Column(kind, nullable=True, coerce=False) for name, kind in CHAIN_SCHEMA.items()
    }
    return pa.DataFrameSchema(columns, checks=checks, strict=True, name=DATASET)


def _schema_flags(rows: pl.DataFrame) -> pl.DataFrame:
    """What the schema says against which rows.

    The rules run as one Polars query; pandera, which takes 15 times as long to report failures, is
    asked to confirm the published rows.
    """
    broken = rows.select(
        "row",
        *[
            pl.any_horizontal(~e.fill_null(True) for e in exprs).alias(reason)
            for reason, exprs in _row_checks().items()
        ],
    )
    return (
        broken.unpivot(index="row", variable_name="reason", value_name="broken")
        .filter("broken")
        .select("row", "reason", pl.lit("error").alias("severity"))
    )


def fresh_since(session: date, as_of: datetime, root: str, limit: timedelta) -> datetime:
    """The moment that the newest quote of a fresh snapshot is not before."""
    return min(require_aware(as_of), options_close(session, root)) - limit


def stale_before(
    quoted_at: pl.Series,
    *,
    session: date,
    as_of: datetime,
    root: str = "SPY",
    limit: timedelta = STALE_AFTER,
) -> datetime:
    """The moment before which the quotes of a snapshot are stale.

    A quote's time is when it last changed. If the newest one (but those after `as_of`) is within
    `limit` of `as_of` or the end of options trading, the snapshot is fresh, and so is every quote since
    the session's open. Of any other snapshot all older quotes are stale.

    >>> times = pl.Series([datetime.fromisoformat(f"2024-06-12T{at}Z") for at in ("14:00", "20:10")])
    >>> asked = datetime.fromisoformat("2024-06-12T21:00Z")
    >>> stale_before(times, session=date(2024, 6, 12), as_of=asked).isoformat()
    '2024-06-12T13:30:00+00:00'
    >>> stale_before(times.head(1), session=date(2024, 6, 12), as_of=asked).isoformat()
    '2024-06-12T19:55:00+00:00'
    """
    oldest = fresh_since(session, as_of, root, limit)
    newest = quoted_at.filter(quoted_at <= require_aware(as_of)).max()
    fresh = isinstance(newest, datetime) and newest >= oldest
    return min(oldest, session_open(session)) if fresh else oldest


def _day_flags(
    rows: pl.DataFrame, session: date, symbol: str | None, as_of: datetime
) -> list[pl.DataFrame]:
    """Rows of another day or symbol, expired contracts, quotes of the future."""
    day = pl.lit(session)
    wrong_symbol = pl.col("symbol") != symbol if symbol is not None else pl.lit(False)
    far = pl.col("expiry") > day.dt.offset_by(LONGEST_LIFE)
    impossible = [one for one in rows["expiry"].drop_nulls().unique() if not is_expiry(one)]
    closed = pl.col("expiry").is_in(impossible) & ~far
    return [
        flag(rows, pl.col("session") != day, "wrong_session", "error"),
        flag(rows, wrong_symbol, "wrong_symbol", "error"),
        flag(rows, pl.col("expiry") < day, "expired", "error"),
        flag(rows, far, "bad_expiry", "error"),
        flag(rows, closed, "closed_expiry", "error"),
        flag(rows, pl.col("quoted_at") > pl.lit(as_of), "future", "error"),
    ]


def _duplicates(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One of equal rows; flags for contracts that came with different values.

    Of quotes of one contract at different moments the last counts (pages of a vendor overlap); of
    different quotes at one moment none can be believed.
    """
    once = rows.unique(subset=list(CHAIN_SCHEMA), keep="first", maintain_order=True)
    if not once.select(CHAIN_KEY).is_duplicated().any():
        return once, pl.DataFrame(schema=FLAGS)
    known = once.filter(pl.col("occ").is_not_null())
    twice = known.filter(known.select(CHAIN_KEY).is_duplicated())
    at = pl.col("quoted_at")
    newest = (at == at.max().over(CHAIN_KEY)) | at.max().over(CHAIN_KEY).is_null()
    newest = newest.fill_null(False)
    clash = newest & (newest.sum().over(CHAIN_KEY) > 1)
    flags = [
        flag(twice, clash, "duplicate_key", "error"),
        flag(twice, ~newest, "superseded", "warn"),
    ]
    return once, pl.concat(flags)


def _quarantine(rows: pl.DataFrame, flags: pl.DataFrame) -> pl.DataFrame:
    # When it was fetched is no part of the row: the same row fetched again is the same.
    names = [name for name in CHAIN_SCHEMA if name != "available_at"]
    return quarantined_rows(rows, flags, DATASET, names=names, event_time="quoted_at")


def _rejected(raw: RawChain, session: date, symbol: str | None) -> pl.DataFrame:
    """Quarantine rows of what the adapter could not read."""
    if raw.rejected.is_empty():
        return empty(QUARANTINE)
    payloads = [json.dumps({"raw": text}) for text in raw.rejected["raw"]]
    told = raw.rejected.select(
        pl.lit(symbol, pl.String).alias("symbol"),
        pl.lit(session).alias("session"),
        "reason",
        pl.lit("error").alias("severity"),
        pl.lit(None, TIMESTAMP).alias("event_time"),
    )
    return quarantine_frame(told, payloads, DATASET)


def _numeric_vendor_values(rows: pl.DataFrame) -> pl.DataFrame:
    """Vendor volatilities and Greeks that are no numbers become null: they are never an input."""
    return rows.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in VENDOR_COLUMNS
    )


def _spare_counts(
    rows: pl.DataFrame, flags: pl.DataFrame, before: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows whose quote alone is bad, without it; and the flags, theirs as warnings."""
    fresh = (rows.join(flags, on="row", how="anti")["quoted_at"] >= before).any()
    forgiven = pl.col("reason").is_in(["crossed", "stale"] if fresh else ["crossed"])
    traded = pl.col("volume").is_not_null() & pl.col("last").is_not_null()
    spared = (
        rows.join(flags.filter(forgiven), on="row", how="semi")
        .join(flags.filter(~forgiven), on="row", how="anti")
        .filter(traded | pl.col("open_interest").is_not_null())
    )
    bare = spared.with_columns(
        *(pl.lit(None, CHAIN_SCHEMA[name]).alias(name) for name in QUOTE_COLUMNS),
        quoted_at=pl.when(pl.col("quoted_at") >= before).then("quoted_at"),
    )
    kept = pl.col("row").is_in(spared["row"].implode())
    severity = pl.when(kept).then(pl.lit("warn")).otherwise("severity").alias("severity")
    return bare, flags.with_columns(severity)


def clean_chain(
    raw: RawChain,
    *,
    session: date,
    as_of: datetime,
    symbol: str | None = None,
    stale_after: timedelta = STALE_AFTER,
) -> Cleaned:
    """Clean one chain.

    Parameters
    ----------
    raw
        What the adapter read.
    session
        The day that the chain is of.
    as_of
        The moment of cleaning; a quote after it is refused.
    symbol
        If given, rows of another underlying are quarantined.
    stale_after
        Age that the newest quote may have when the options of the session stop trading, or at `as_of`
        if that is earlier (:func:`stale_before`). A quote without a time is not judged; see the
        staleness check.

    Returns
    -------
    Cleaned
        The rows that may be published, in :data:`CHAIN_SCHEMA`, sorted by expiry, strike and right;
        the quarantine; and how many rows were repeated.

    Raises
    ------
    SchemaDrift, NaiveTimestamp
        If the frame is not in :data:`CHAIN_SCHEMA`.
    ConfigError
        If `session` is none.
    """
    typed = _numeric_vendor_values(require_chain(raw.frame))
    numbered = number_rows(typed)
    rows, clashes = _duplicates(numbered)
    as_of = require_aware(as_of)
    flags = pl.concat([clashes, _schema_flags(rows), *_day_flags(rows, session, symbol, as_of)])
    before = stale_before(
        rows.join(flags, on="row", how="anti")["quoted_at"],
        session=session,
        as_of=as_of,
        root=symbol or "SPY",
        limit=stale_after,
    )
    stale = flag(rows, pl.col("quoted_at") < pl.lit(before), "stale", "error")
    without_quote, flags = _spare_counts(rows, pl.concat([flags, stale]), before)
    kept = pl.concat([rows.join(flags, on="row", how="anti"), without_quote])
    frame = kept.select(CHAIN_SCHEMA.keys()).sort("symbol", "expiry", "strike", "right", "occ")
    if not frame.is_empty():
        chain_schema().validate(frame, lazy=False)
    refused = pl.concat([_quarantine(rows, flags), _rejected(raw, session, symbol)])
    repeated = numbered.height - rows.height
    notes = (f"{repeated} repeated rows left out",) if repeated else ()
    return Cleaned(frame, refused, notes)


def without_adjusted(chain: pl.DataFrame) -> pl.DataFrame:
    """The standard contracts of a chain: an adjusted one delivers something else."""
    return chain.filter(~pl.col("is_adjusted"))
