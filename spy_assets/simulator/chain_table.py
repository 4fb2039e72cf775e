"""A table of option chains as arrays, in the order in which a backtest walks through it.

Rows are quotes in the canonical schema (:data:`spy_assets.options.chain.CHAIN_SCHEMA`, or those of the
warehouse's `options.chain_quotes`), sorted by snapshot, expiry, root, right and strike. What many rows
share is kept once: a **snapshot** is a session's chain (or one moment of it, where the rows carry
`snapshot_at`), a **term** is a root and an expiry, a **segment** the calls or the puts of a term in a
snapshot. A contract is a number of its term and right, and a strike; a row is four numbers: strike,
bid, ask and delta. Columns that come in order are used where they lie, without a copy.

Left out, and counted: prices of a model (`quote_kind` other than ``"chain"``), which are never mixed
with quotes, and adjusted contracts, which deliver something else than 100 shares. Quotes that cannot be
used stay in the table, and no fill ever happens at them: a side that is missing, a bid above its ask, a
negative price; at a bid of zero nobody sells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from spy_assets.errors import ConfigError, DataError, NaiveTimestamp
from spy_assets.market.schemas import TIMESTAMP
from spy_assets.options.contracts import OptionContract
from spy_assets.options.expiries import options_close, settlement, trading_day
from spy_assets.sessions import (
    next_session,
    session_close,
    session_open,
    sessions_apart,
    trading_minutes_between,
)
from spy_assets.simulator._chain_kernel import Chain
from spy_assets.simulator._chain_order_kernel import (
    COUNTS,
    Order,
    by_snapshot,
    count_quotes,
    group,
    is_counting,
    sort_strikes,
)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int32]

#: Columns without which there is no table; `snapshot_at` takes the place of `session` where it is.
NEEDED: Final = ("session", "root", "expiry", "right", "strike", "bid", "ask")
#: Columns that are read where they are there. Of the deltas and of the spots the first one counts.
DELTAS: Final = ("delta", "vendor_delta")
SPOTS: Final = ("spot_used", "spot")
_FURTHER: Final = (
    "symbol",
    "snapshot_at",
    "quoted_at",
    "quote_kind",
    "is_adjusted",
    *DELTAS,
    *SPOTS,
)

EPOCH: Final = date(1970, 1, 1)
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Sessions and closing bells are counted from this session on.
_FIRST_SESSION: Final = date(1990, 1, 2)


class Dividend(NamedTuple):
    """A cash dividend of the underlying."""

    ex_date: date
    #: Dollars a share.
    amount: float


class TermKey(NamedTuple):
    """What a term's contracts have in common."""

    root: str
    expiry: date


@dataclass(frozen=True)
class QuoteCounts:
    """Rows of the table by what their quote is good for, and rows that were left out."""

    missing: int
    crossed: int
    negative: int
    zero_bid: int
    usable: int
    model_prices: int = 0
    adjusted: int = 0


@dataclass(frozen=True, eq=False)
class ChainTable:
    """Chains of one underlying, sorted and checked; see the module's docstring.

    Attributes
    ----------
    chain
        The arrays, as the compiled backtest reads them.
    sessions
        Session of each snapshot.
    terms
        Root and expiry of each term; series 2 t are the calls of term t, 2 t + 1 its puts.
    counts
        What the quotes are good for.
    delta_source
        The column that the deltas are from; None where there are none.
    """

    chain: Chain
    sessions: tuple[date, ...]
    terms: tuple[TermKey, ...]
    counts: QuoteCounts
    delta_source: str | None = None
    _numbers: dict[TermKey, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {key: n for n, key in enumerate(self.terms)})

    @classmethod
    def from_frame(
        cls,
        frame: pl.DataFrame | pl.LazyFrame,
        *,
        closes: Mapping[date, float] | None = None,
        openings: Mapping[date, float] | None = None,
        dividends: Iterable[Dividend] = (),
        delta: str | None = None,
    ) -> ChainTable:
        """Build the table of a frame; of a lazy one only the needed columns are read.

        Parameters
        ----------
        frame
            Rows in the canonical schema, in any order. With a column `snapshot_at` (UTC) each of its
            moments is a snapshot; without it each session is one, of its newest `quoted_at` or, if
            that is later or not known, the end of options trading.
        closes
            The underlying's close by session, dollars: what expiring contracts are settled at. Without
            one, nothing is opened that ends on that day.
        openings
            The same for contracts that settle on opening prices (:data:`AM_ROOTS`).
        dividends
            For the early assignment of short calls.
        delta
            The column of deltas; by default the first of `delta` and `vendor_delta` that has any.

        Raises
        ------
        DataError
            If a column is missing, rows are of several underlyings, a contract comes twice in a
            snapshot, a key is null, or an expiry is on a day on which nothing can expire.
        NaiveTimestamp
            If a moment has no time zone.
        """
        rows, left_out = _read(frame)
        moments = _snapshots(rows)
        keys = _series(rows)
        columns, order = _ordered(rows, moments, keys, _delta_column(rows, delta))
        sessions, times = _moments(rows, moments, keys.terms)
        ends = [settlement(key.root, key.expiry) for key in keys.terms]
        known = (closes or {}, openings or {})
        last_days = [trading_day(key.expiry) for key in keys.terms]
        opening = np.array([end.style == "AM" for end in ends], dtype=np.bool_)
        chain = Chain(
            time=times,
            day=_days(sessions),
            session=_session_numbers(sessions),
            closes=_session_numbers(sessions) + _is_after_close(sessions, times),
            minutes=_minutes(sessions, times, sessions[0]),
            last=_is_last(sessions),
            spot=_spots(rows, moments),
            dividend=_dividends(sessions, dividends),
            first_segment=order.first_segment,
            segment_series=order.segment_series,
            segment_row=order.segment_row,
            **columns,
            expiry=_days(last_days),
            end_session=_session_numbers(last_days),
            end_minutes=_minutes(last_days, _ends(last_days), sessions[0]),
            opening=opening,
            settles=np.array([_microseconds(end.settles_at) for end in ends], dtype=np.int64),
            settlement=np.array(
                [
                    known[am].get(day, math.nan)
                    for am, day in zip(opening.tolist(), last_days, strict=True)
                ],
                dtype=np.float64,
            ),
        )
        for array in chain:
            array.flags.writeable = False
        counted = dict(zip(COUNTS, count_quotes(chain.bid, chain.ask).tolist(), strict=True))
        source = _delta_column(rows, delta)
        return cls(chain, sessions, keys.terms, QuoteCounts(**counted, **left_out), source)

    @classmethod
    def from_parquet(
        cls,
        path: Path | str,
        *,
        closes: Mapping[date, float] | None = None,
        openings: Mapping[date, float] | None = None,
        dividends: Iterable[Dividend] = (),
        delta: str | None = None,
    ) -> ChainTable:
        """As :meth:`from_frame`, of one or more Parquet files (a path or a pattern)."""
        return cls.from_frame(
            pl.scan_parquet(path),
            closes=closes,
            openings=openings,
            dividends=dividends,
            delta=delta,
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.chain.strike)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.chain)

    def moment(self, snapshot: int) -> datetime:
        """When a snapshot was taken, UTC."""
        return _START + timedelta(microseconds=int(self.chain.time[snapshot]))

    def settles_at(self, term: int) -> datetime:
        """When a term is settled, UTC."""
        return _START + timedelta(microseconds=int(self.chain.settles[term]))

    def last_day(self, term: int) -> date:
        """The last session of a term."""
        return EPOCH + timedelta(days=int(self.chain.expiry[term]))

    def closes_at(self, term: int) -> int:
        """How many closing bells have rung when a term is settled, counted as in `chain.closes`."""
        return int(self.chain.end_session[term]) + int(not self.chain.opening[term])

    def contract(self, term: int, put: bool, strike: float) -> OptionContract:
        """The contract of a term, right and strike."""
        key = self.terms[term]
        return OptionContract(key.root, key.expiry, "P" if put else "C", strike)

    def term_of(self, root: str, expiry: date) -> int | None:
        """The number of a root and expiry; None if the table has none."""
        return self._numbers.get(TermKey(root, expiry))


# ---------------------------------------------------------------- reading


def _read(frame: pl.DataFrame | pl.LazyFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """The columns that are used, without model prices and adjusted contracts; how many those are."""
    lazy = frame.lazy()
    names = lazy.collect_schema().names()
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise DataError(f"the chain lacks the columns {missing}", hint=f"it needs {list(NEEDED)}")
    rows = lazy.select(name for name in (*NEEDED, *_FURTHER) if name in names).collect()
    _require_one_market(rows)
    left_out = {"model_prices": 0, "adjusted": 0}
    for name, column, wanted in (
        ("model_prices", "quote_kind", pl.col("quote_kind") != "chain"),
        ("adjusted", "is_adjusted", pl.col("is_adjusted")),
    ):
        if column in names:
            other = int(rows.select(wanted.fill_null(False).sum()).item())
            left_out[name] = other
            rows = rows.filter(~wanted.fill_null(False)) if other else rows
    if rows.height > np.iinfo(np.int32).max:
        raise DataError(
            f"{rows.height} rows are more than a table holds", hint="split the sessions"
        )
    if rows.is_empty():
        raise DataError(f"the chain has no rows ({left_out})", hint="ask for sessions with a chain")
    nulls = [name for name in NEEDED[:5] if rows[name].null_count()]
    if nulls:
        raise DataError(f"the columns {nulls} have nulls", hint="clean the chain first")
    return rows, left_out


def _require_one_market(rows: pl.DataFrame) -> None:
    """Chains of one underlying, at moments whose time zone is known."""
    symbols = rows["symbol"].unique().sort().to_list() if "symbol" in rows.columns else []
    if len(symbols) > 1:
        raise DataError(f"the chain is of {symbols}", hint="build a table for each underlying")
    for name in ("snapshot_at", "quoted_at"):
        kind = rows.schema.get(name)
        if isinstance(kind, pl.Datetime) and kind.time_zone is None:
            raise NaiveTimestamp(
                f"the column {name} has no time zone", hint="say .dt.replace_time_zone('UTC')"
            )


def _delta_column(rows: pl.DataFrame, asked: str | None) -> str | None:
    if asked is not None and asked not in rows.columns:
        raise ConfigError(f"no column of deltas {asked!r}", hint=f"choose of: {', '.join(DELTAS)}")
    known = (name for name in DELTAS if name in rows.columns)
    return asked or next((name for name in known if rows[name].count()), None)


def _floats(column: pl.Series) -> FloatArray:
    """A column as an array, without a copy where it has neither nulls nor chunks."""
    one = column.cast(pl.Float64).rechunk()
    filled = one.fill_null(math.nan) if one.null_count() else one
    values = np.ascontiguousarray(filled.to_numpy(), dtype=np.float64)
    values.flags.writeable = False
    return values


def _integers(column: pl.Series) -> IntArray:
    """Dates as days, and moments as microseconds; UTC."""
    moments = column.dtype != pl.Date
    plain = column.cast(TIMESTAMP).to_physical() if moments else column.to_physical()
    return np.asarray(plain.rechunk().to_numpy())


# ---------------------------------------------------------------- snapshots


class _Snapshots(NamedTuple):
    """Which snapshot each row is of, and the row at which each snapshot was met first."""

    codes: CodeArray
    first_row: IntArray


def _snapshots(rows: pl.DataFrame) -> _Snapshots:
    values = _integers(rows["snapshot_at" if "snapshot_at" in rows.columns else "session"])
    starts = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))
    _, first, codes = np.unique(values[starts], return_index=True, return_inverse=True)
    lengths = np.diff(np.append(starts, values.size))
    return _Snapshots(np.repeat(codes.astype(np.int32), lengths), starts[first])


def _moments(
    rows: pl.DataFrame, snapshots: _Snapshots, terms: tuple[TermKey, ...]
) -> tuple[tuple[date, ...], IntArray]:
    """Session and moment (UTC microseconds) of each snapshot."""
    sessions = tuple(rows["session"].gather(snapshots.first_row).to_list())
    if "snapshot_at" in rows.columns:
        times = _integers(rows["snapshot_at"])[snapshots.first_row]
        return sessions, np.ascontiguousarray(times, dtype=np.int64)
    ends = [_microseconds(options_close(day, terms[0].root)) for day in sessions]
    still = np.array(ends, dtype=np.int64)
    newest = _newest(rows, snapshots)
    return sessions, np.where((newest > 0) & (newest < still), newest, still)


def _newest(rows: pl.DataFrame, snapshots: _Snapshots) -> IntArray:
    """The newest `quoted_at` of each snapshot, 0 where there is none."""
    newest = np.zeros(snapshots.first_row.size, np.int64)
    if "quoted_at" in rows.columns and rows["quoted_at"].null_count() < rows.height:
        quoted = _integers(rows["quoted_at"].fill_null(_START))
        starts = np.concatenate(([0], np.flatnonzero(np.diff(snapshots.codes)) + 1))
        np.maximum.at(newest, snapshots.codes[starts], np.maximum.reduceat(quoted, starts))
    return newest


def _spots(rows: pl.DataFrame, snapshots: _Snapshots) -> FloatArray:
    """The underlying at each snapshot, of its first row that tells it; NaN where none does."""
    spots = np.full(snapshots.first_row.size, math.nan)
    for name in SPOTS:
        if name in rows.columns and not np.isfinite(spots).all():
            found = _first_known(_floats(rows[name]), snapshots)
            spots = np.where(np.isfinite(spots), spots, found)
    return spots


def _first_known(values: FloatArray, snapshots: _Snapshots) -> FloatArray:
    found = values[snapshots.first_row]
    for unknown in np.flatnonzero(~np.isfinite(found)):
        own = values[snapshots.codes == unknown]
        known = own[np.isfinite(own)]
        found[unknown] = known[0] if known.size else math.nan
    return found


def _days(days: Iterable[date]) -> IntArray:
    return np.array([(day - EPOCH).days for day in days], dtype=np.int64)


def _microseconds(moment: datetime) -> int:
    return (moment - _START) // timedelta(microseconds=1)


def _session_numbers(days: Sequence[date]) -> IntArray:
    """Sessions counted from the first one that is counted."""
    numbers = {day: sessions_apart(_FIRST_SESSION, day) for day in set(days)}
    return np.array([numbers[day] for day in days], dtype=np.int64)


def _ends(days: Sequence[date]) -> IntArray:
    """Closing bells, UTC microseconds."""
    ends = {day: _microseconds(session_close(day)) for day in set(days)}
    return np.array([ends[day] for day in days], dtype=np.int64)


def _is_after_close(days: Sequence[date], times: IntArray) -> IntArray:
    """1 where the session's closing bell has rung, else 0."""
    return (times >= _ends(days)).astype(np.int64)


def _minutes(days: Sequence[date], times: IntArray, start: date) -> FloatArray:
    """Minutes of trading from the opening bell of ``start`` up to each moment of a session."""
    before, passed, last = {}, 0.0, session_open(start)
    for day in sorted(set(days)):
        passed += trading_minutes_between(last, session_open(day))
        before[day], last = passed, session_open(day)
    opened = np.array([_microseconds(session_open(day)) for day in days], dtype=np.int64)
    within = np.clip(times, opened, _ends(days)) - opened
    return np.array([before[day] for day in days], dtype=np.float64) + within / 60e6


def _is_last(sessions: tuple[date, ...]) -> npt.NDArray[np.bool_]:
    following = (*sessions[1:], None)
    return np.array([a != b for a, b in zip(sessions, following, strict=True)], dtype=np.bool_)


def _dividends(sessions: tuple[date, ...], dividends: Iterable[Dividend]) -> FloatArray:
    """Dollars a share that go ex at the open of the session after each snapshot's."""
    due: dict[date, float] = {}
    for one in dividends:
        due[one.ex_date] = due.get(one.ex_date, 0.0) + one.amount
    following = {day: next_session(day) for day in set(sessions)} if due else {}
    return np.array([due.get(following.get(day, EPOCH), 0.0) for day in sessions], dtype=np.float64)


# ---------------------------------------------------------------- contracts


class _Series(NamedTuple):
    """Which series each row is of, and the terms: series 2 t are calls of term t, 2 t + 1 puts."""

    codes: CodeArray
    terms: tuple[TermKey, ...]


def _series(rows: pl.DataFrame) -> _Series:
    """Number the terms by expiry and root."""
    roots, root = _roots(rows["root"])
    expiry = _integers(rows["expiry"])
    first = int(expiry.min())
    wide = (expiry - np.int32(first)) * np.int32(len(roots)) + root
    present = np.zeros(int(wide.max()) + 1, np.bool_)
    present[wide] = True
    number = (np.cumsum(present, dtype=np.int32) - 1) * 2
    terms = tuple(
        TermKey(roots[code % len(roots)], EPOCH + timedelta(days=first + code // len(roots)))
        for code in np.flatnonzero(present).tolist()
    )
    return _Series(number[wide] + _puts(rows["right"]), terms)


def _roots(column: pl.Series) -> tuple[list[str], CodeArray | np.int32]:
    """The roots in order, and each row's place among them: one number where there is one root."""
    first = column[0]
    if bool((column == first).all()):
        return [first], np.int32(0)
    roots = column.unique().sort().to_list()
    places = column.replace_strict(roots, list(range(len(roots))), return_dtype=pl.Int32)
    return roots, np.asarray(places.to_numpy())


def _puts(right: pl.Series) -> CodeArray:
    puts, calls = right == "P", right == "C"
    if not bool((puts | calls).all()):
        other = right.filter(~(puts | calls))[0]
        raise DataError(f"right {other!r} is neither 'C' nor 'P'", hint="clean the chain first")
    return np.asarray(puts.cast(pl.Int32).to_numpy())


# ---------------------------------------------------------------- order


def _ordered(
    rows: pl.DataFrame, snapshots: _Snapshots, series: _Series, delta: str | None
) -> tuple[dict[str, FloatArray], Order]:
    """Strike, bid, ask and delta in the table's order, and where its segments begin."""
    strike = _floats(rows["strike"])
    order = group(
        *by_snapshot(snapshots.codes, snapshots.first_row.size), series.codes, 2 * len(series.terms)
    )
    twice = sort_strikes(order.row, order.segment_row, strike)
    if twice >= 0:
        row = rows.row(twice, named=True)
        told = " ".join(str(row[name]) for name in NEEDED[:5])
        raise DataError(
            f"{told} comes twice in its snapshot, or its strike is no number",
            hint="clean the chain; quotes of several moments need a column snapshot_at",
        )
    in_order = is_counting(order.row)
    columns: dict[str, FloatArray] = {}
    for name in ("strike", "bid", "ask", "delta"):
        source = delta if name == "delta" else name
        if source is None:
            columns[name] = np.broadcast_to(np.float64(math.nan), strike.shape).copy()
            continue
        values = strike if name == "strike" else _floats(rows[source])
        columns[name] = values if in_order else values[order.row]
    return columns, order
