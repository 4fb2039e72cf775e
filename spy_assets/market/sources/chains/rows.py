"""From a vendor's rows to canonical columns: fields checked, missing numbers null, units one.

Vendors quote theta per calendar day and vega and rho per point (0.01) of volatility and of rate;
the canonical chain has them per year and per 1.00.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import polars as pl
import polars.selectors as cs

from spy_assets.errors import EmptyResponse, SchemaDrift, WrongContent
from spy_assets.market.schemas import TIMESTAMP, require_names
from spy_assets.options.chain import CHAIN_SCHEMA, RawChain, as_chain, occ_columns, occ_of_fields

Types = Mapping[str, pl.DataType]

DAYS_PER_YEAR = 365.0
POINTS = 100.0
#: Below this an implied volatility stands for none (Yahoo's 1e-5, everybody's 0).
LEAST_IV = 1e-3
#: Roots of indices (product specifications of Cboe and Nasdaq); other symbols have their own name,
#: and that with a digit.
_ROOTS = {
    "SPX": ("SPX", "SPXW"),
    "NDX": ("NDX", "NDXP"),
    "RUT": ("RUT", "RUTW"),
    "VIX": ("VIX", "VIXW"),
    **{index: (index,) for index in ("DJX", "MRUT", "OEX", "XND", "XSP")},
}


def is_of(symbol: str, root: pl.Expr) -> pl.Expr:
    """Whether option roots belong to an underlying: `SPY`, `SPY1`; `SPX`, `SPXW`."""
    roots = "|".join(_ROOTS.get(symbol, (symbol,)))
    return root.str.contains(f"^(?:{roots})[0-9]?$").fill_null(False)


def index_prefix(symbol: str, prefix: str) -> str:
    """The symbol as vendors write it that mark an index by a prefix (`_SPX`, `^SPX`, `I:SPX`)."""
    return f"{prefix}{symbol}" if symbol in _ROOTS else symbol


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Name a value that cannot be read as what it should be (a date, a number) a drift.

    Raises
    ------
    SchemaDrift
        Instead of the data frame library's own error.
    """
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise SchemaDrift(
            f"{what}: {error}", hint="the vendor changed its format; adapt the source and its test"
        ) from error


def require_rows(rows: object, what: str) -> list[dict[str, Any]]:
    """The rows of an answer: a list of objects, at least one.

    Raises
    ------
    SchemaDrift
        If it is not such a list.
    EmptyResponse
        If it is empty: a listed underlying always has contracts.
    """
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SchemaDrift(
            f"{what}: {type(rows).__name__} where a list of objects was due",
            hint="the vendor changed its format; adapt the source and its test",
        )
    if not rows:
        raise EmptyResponse(
            f"{what}: not one contract",
            hint="check the symbol; this is an outage or a wrong name, not an empty chain",
        )
    return rows


def require_field(body: object, name: str, what: str) -> Any:
    """The value of a field of a JSON object.

    Raises
    ------
    SchemaDrift
        If there is no such field, or no object.
    """
    if isinstance(body, dict) and name in body:
        return body[name]
    found = sorted(body) if isinstance(body, dict) else type(body).__name__
    raise SchemaDrift(
        f"{what}: no {name!r} in {found}",
        hint="the vendor changed its format; adapt the source and its test",
    )


def require_symbol(body: object, name: str, symbol: str, what: str) -> None:
    """Make sure that an answer, by its field `name`, is about the symbol; indices have a prefix.

    Raises
    ------
    WrongContent
        If it is about another one.
    """
    about = str(require_field(body, name, what)).lstrip("_^")
    if about != symbol:
        raise WrongContent(
            f"{what}: the answer is about {about!r}", hint="check the symbol and the address"
        )


def table(
    rows: Sequence[Mapping[str, Any]],
    types: Types,
    what: str,
    *,
    optional: Collection[str] = (),
    ignored: Collection[str] = (),
) -> pl.DataFrame:
    """Columns of JSON objects.

    Parameters
    ----------
    rows
        One object per row.
    types
        Fields to read, and their types.
    what
        Names the answer in errors.
    optional
        Fields of `types` that a row may lack; they are null there.
    ignored
        Fields that are known and not read.

    Raises
    ------
    SchemaDrift
        If a field is missing, new, or of another type.
    """
    found = set().union(*rows)
    due = [name for name in types if name not in optional]
    require_names([name for name in found if name not in {*optional, *ignored}], due, what)
    columns = {}
    for name, kind in types.items():
        try:
            values = [row.get(name) for row in rows] if name in optional else _all(rows, name)
            columns[name] = pl.Series(name, values, dtype=kind)
        except KeyError as error:
            lacking = sum(name not in row for row in rows)
            raise SchemaDrift(
                f"{what}: missing {[name]} in {lacking} of {len(rows)} rows",
                hint="the vendor changed its format; adapt the source and its test",
            ) from error
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise SchemaDrift(
                f"{what}: {name!r} is not {kind}: {error}",
                hint="the vendor changed its format; adapt the source and its test",
            ) from error
    return pl.DataFrame(columns)


def _all(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]


def nested(
    rows: Sequence[Mapping[str, Any]],
    field: str,
    types: Types,
    what: str,
    *,
    optional: Collection[str] = (),
    ignored: Collection[str] = (),
) -> pl.DataFrame:
    """Columns of an object within each row, named `field.name`; null where a row lacks it."""
    inner = [row.get(field) or {} for row in rows]
    given = [row for row in inner if row]
    if given:
        due = [name for name in types if name not in optional]
        found = {name for row in given for name in row} - {*optional, *ignored}
        require_names(found, due, f"{what} {field}")
    frame = table(inner, types, f"{what} {field}", optional=[*types], ignored=ignored)
    return frame.rename({name: f"{field}.{name}" for name in types})


def read_csv_columns(
    frame: pl.DataFrame, types: Types, what: str, *, optional: Collection[str] = ()
) -> pl.DataFrame:
    """A frame of strings with blanks as nulls, cast; its columns must be the expected ones.

    Raises
    ------
    SchemaDrift
        If a column is missing, new, or holds what is no number.
    """
    found = [name for name in frame.columns if name not in optional]
    require_names(found, [name for name in types if name not in optional], what)
    text = frame.with_columns(cs.string().str.strip_chars().replace("", None))
    with reading(what):
        return text.select(pl.col(n).cast(types[n]) for n in types if n in text.columns)


def never_traded(bar: pl.Expr) -> pl.Expr:
    """Where a contract has no bar (null) but others have; without any, the vendor does not tell."""
    return bar.is_null() & bar.is_not_null().any()


def known_iv(iv: pl.Expr, *, also: pl.Expr | None = None) -> pl.Expr:
    """An implied volatility, null where it stands for none (or where `also` is false)."""
    known = iv >= LEAST_IV if also is None else (iv >= LEAST_IV) & also
    return pl.when(known).then(iv)


def vendor_greeks(prefix: str = "", *, known: pl.Expr | None = None, **names: str) -> list[pl.Expr]:
    """The vendor's Greeks in the schema's units, from columns `{prefix}delta` and so on.

    Parameters
    ----------
    prefix
        In front of the columns' names.
    known
        Null where this is false.
    names
        Columns of another name: `rho="..."`.
    """
    factors = {"delta": 1.0, "gamma": 1.0, "theta": DAYS_PER_YEAR, "vega": POINTS, "rho": POINTS}
    found = []
    for name, factor in factors.items():
        value = pl.col(names.get(name, f"{prefix}{name}")) * factor
        shown = value if known is None else pl.when(known).then(value)
        found.append(shown.alias(f"vendor_{name}"))
    return found


def traded(price: pl.Expr, *, where: pl.Expr | None = None) -> pl.Expr:
    """A last price; vendors write 0 where there was no trade."""
    known = price > 0 if where is None else (price > 0) & where
    return pl.when(known).then(price)


def epoch(column: pl.Expr, unit: str) -> pl.Expr:
    """A moment from an integer of seconds, `ms`, `us` or `ns`; vendors write 0 where there is none.

    Nanoseconds are cut to microseconds.
    """
    known = pl.when(column > 0).then(column.cast(pl.Int64))
    whole = {"s": known * 1_000_000, "ms": known * 1_000, "us": known, "ns": known // 1_000}[unit]
    return whole.cast(TIMESTAMP)


def new_york(column: pl.Expr, form: str | None = None) -> pl.Expr:
    """A moment from New York's wall clock, as text or naive; the earlier of two in autumn."""
    naive = column.str.to_datetime(form, time_unit="us") if form else column.cast(pl.Datetime("us"))
    local = naive.dt.replace_time_zone(
        "America/New_York", ambiguous="earliest", non_existent="null"
    )
    return local.dt.convert_time_zone("UTC")


def unread(count: str, price: str) -> pl.Expr:
    """Whether a side of a quote says nothing: neither a price nor a size."""
    return (pl.col(price) == 0) & (pl.col(count) == 0)


def joined(frame: pl.DataFrame, other: pl.DataFrame, on: Sequence[str], what: str) -> pl.DataFrame:
    """The rows of `frame` with what another answer of the vendor says of the same contracts.

    Raises
    ------
    SchemaDrift
        If it is about other contracts only: the two answers spell them differently.
    """
    if frame.join(other, on=on, how="semi").is_empty():
        theirs, ours = other.select(on).row(0), frame.select(on).row(0)
        raise SchemaDrift(
            f"{what}: none of its {other.height} contracts is one of the quotes': {theirs}, {ours}",
            hint="the vendor changed its format; adapt the source and its test",
        )
    return frame.join(other, on=on, how="left", maintain_order="left")


def finish(
    frame: pl.DataFrame,
    *,
    symbol: str,
    session: date,
    source: str,
    available_at: datetime,
    ticker: str | None = None,
) -> RawChain:
    """Canonical columns, by the schema's names, to a :class:`RawChain`.

    With `ticker` (a column of OCC symbols) the contract is read from it; fields of the contract
    that the vendor gives beside it are kept as they are, so that cleaning can compare them. Without
    it the OCC symbol is spelled from `root`, `expiry`, `right` and `strike`.

    Where the vendor does not say how many shares a contract is of,
    :func:`~spy_assets.options.chain.as_chain` decides.
    """
    if ticker is None:
        raw, named = "occ", frame.with_columns(occ=occ_of_fields())
    else:
        raw = ticker
        read = occ_columns(pl.col(ticker))
        named = frame.with_columns(e for e in read if e.meta.output_name() not in frame.columns)
    good = named.filter(pl.col("occ").is_not_null())
    bad = named.filter(pl.col("occ").is_null())
    rejected = bad.select(
        pl.col(raw).cast(pl.String).fill_null("null").alias("raw"),
        pl.lit("bad_occ", pl.String).alias("reason"),
    )
    chain = as_chain(
        good.select(name for name in good.columns if name in CHAIN_SCHEMA).with_columns(
            cs.float().fill_nan(None)
        ),
        symbol=symbol,
        session=session,
        source=source,
        available_at=available_at,
    )
    return RawChain(chain, rejected)
