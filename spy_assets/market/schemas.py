"""The canonical schema of every market data set, once, as types and as pandera checks.

A source returns the *raw* columns of a data set (:func:`raw_columns`); cleaning adds `event_time`
and gives the *canonical* columns (:data:`CANONICAL`), which are the payload of the table of the
same name.

Prices are unadjusted and in dollars (volatility indices in points), volumes in shares, rates are
decimals per year (0.02 is 2 %), `split` is the ratio new/old (1.0 without a split) and `dividend`
is in dollars per share on the ex-date (0.0 without one). Timestamps are UTC with microseconds.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

import polars as pl

from spy_assets.errors import ConfigError, SchemaDrift

if TYPE_CHECKING:
    import pandera.polars as pa

Dataset = Literal["daily_bars", "volatility", "rates", "put_call", "minute_bars", "minute_bars_5"]
DATASETS: tuple[Dataset, ...] = get_args(Dataset)
#: Length in minutes of the bars of each data set that is kept by session.
BAR_MINUTES: dict[Dataset, int] = {"minute_bars": 1, "minute_bars_5": 5}
TIMESTAMP = pl.Datetime("us", "UTC")
Columns = dict[str, pl.DataType]

_OHLC: Columns = {name: pl.Float64() for name in ("open", "high", "low", "close")}
_MINUTES: Columns = {
    "symbol": pl.String(),
    "bar_start": TIMESTAMP,
    "session": pl.Date(),
    "event_time": TIMESTAMP,
    **_OHLC,
    "volume": pl.Float64(),
    "vwap": pl.Float64(),
    "trades": pl.Int64(),
    "synthetic": pl.Boolean(),
}

#: Payload columns of each table, in order.
CANONICAL: dict[Dataset, Columns] = {
    "daily_bars": {
        "symbol": pl.String(),
        "session": pl.Date(),
        "event_time": TIMESTAMP,
        **_OHLC,
        "volume": pl.Float64(),
        "dividend": pl.Float64(),
        "split": pl.Float64(),
    },
    "volatility": {
        "name": pl.String(),
        "session": pl.Date(),
        "event_time": TIMESTAMP,
        **_OHLC,
    },
    "rates": {
        "series": pl.String(),
        "session": pl.Date(),
        "event_time": TIMESTAMP,
        "rate": pl.Float64(),
        "is_constant": pl.Boolean(),
    },
    "put_call": {
        "series": pl.String(),
        "session": pl.Date(),
        "event_time": TIMESTAMP,
        "put_volume": pl.Float64(),
        "call_volume": pl.Float64(),
        "ratio": pl.Float64(),
    },
    "minute_bars": _MINUTES,
    "minute_bars_5": _MINUTES,
}

#: The key of each data set.
KEYS: dict[Dataset, tuple[str, str]] = {
    "daily_bars": ("symbol", "session"),
    "volatility": ("name", "session"),
    "rates": ("series", "session"),
    "put_call": ("series", "session"),
    "minute_bars": ("symbol", "bar_start"),
    "minute_bars_5": ("symbol", "bar_start"),
}

#: Data sets whose days need not be sessions: rates are observed on every weekday, or every day.
CALENDAR_FREE: frozenset[Dataset] = frozenset({"rates"})

#: Columns of `quarantine.rows` that cleaning fills.
QUARANTINE: Columns = {
    "dataset": pl.String(),
    "row_id": pl.String(),
    "symbol": pl.String(),
    "session": pl.Date(),
    "reason": pl.String(),
    "severity": pl.String(),
    "payload": pl.String(),
    "event_time": TIMESTAMP,
}

#: Columns of `market.coverage`.
COVERAGE: Columns = {
    "dataset": pl.String(),
    "symbol": pl.String(),
    "session": pl.Date(),
    "due": pl.Int64(),
    "present": pl.Int64(),
    "gaps": pl.Int64(),
    "note": pl.String(),
}

#: Raw columns that a source may leave out: `origin` names the file or feed of a row.
OPTIONAL_RAW: frozenset[str] = frozenset({"event_time", "origin"})


def bars_of(minutes: int) -> Dataset:
    """The data set of the bars of that length.

    Raises
    ------
    ConfigError
        If there is none.

    >>> bars_of(5)
    'minute_bars_5'
    """
    for dataset, length in BAR_MINUTES.items():
        if length == minutes:
            return dataset
    lengths = " or ".join(map(str, BAR_MINUTES.values()))
    raise ConfigError(f"no data set of {minutes}-minute bars", hint=f"bars have {lengths} minutes")


def raw_columns(dataset: Dataset) -> Columns:
    """The columns that a source must return for `dataset`: the payload without `event_time`."""
    return {name: kind for name, kind in CANONICAL[dataset].items() if name != "event_time"}


def empty(columns: Columns) -> pl.DataFrame:
    """A frame of those columns and no row."""
    return pl.DataFrame(schema=columns)


def require_names(found: Iterable[str], due: Iterable[str], what: str) -> None:
    """Refuse columns or fields other than the expected ones, showing the difference.

    Raises
    ------
    SchemaDrift
        With what is missing, what is new, and which new name is nearest to which missing one.
    """
    have, want = list(found), list(due)
    missing = [name for name in want if name not in have]
    added = [name for name in have if name not in want]
    if not missing and not added:
        return
    renamed = []
    for name in missing:
        near = difflib.get_close_matches(name, added, n=1)
        if near:
            renamed.append(f"{name} -> {near[0]}")
    raise SchemaDrift(
        f"{what}: missing {missing}, new {added}" + (f", renamed? {renamed}" if renamed else ""),
        hint="the vendor changed its format; adapt the source and its test",
    )


#: Slack of comparisons between prices, relative: vendors divide by split factors in floats.
PRICE_SLACK = 1e-9
#: Rates outside of this are a unit error (percent read as decimal), not a rate. The effective
#: federal funds rate peaked at 22.36 % in 1981.
RATE_RANGE = (-0.05, 0.50)
#: Values outside of these are not that index. Wider than all that was ever published (VIX
#: 9.14-82.69, VIX9D 7.10-106.66, VIX3M 11.85-72.98, VIX1D 7.01-45.75, SKEW 101.23-180.09, VVIX
#: 59.74-207.59); the exchange's VVIX file begins with a few values of 15 to 39 from 2006, before
#: the index existed.
INDEX_RANGES: dict[str, tuple[float, float]] = {
    "VIX": (5.0, 150.0),
    "VIX9D": (4.0, 200.0),
    "VIX3M": (5.0, 120.0),
    "VIX1D": (2.0, 250.0),
    "VVIX": (45.0, 300.0),
    "SKEW": (90.0, 250.0),
}


def _finite(*names: str) -> list[pa.Check]:
    import pandera.polars as pa

    def check(name: str) -> pa.Check:
        finite = pl.col(name).is_null() | pl.col(name).is_finite()
        return pa.Check(lambda data: data.lazyframe.select(finite), name="not_finite")

    return [check(name) for name in names]


def _row_check(reason: str, passes: pl.Expr) -> pa.Check:
    import pandera.polars as pa

    # A comparison with null is null; a missing value is the business of the nullable flag.
    return pa.Check(
        lambda data: data.lazyframe.select(passes.fill_null(True).alias("passes")), name=reason
    )


def _prices(*, required: tuple[str, ...]) -> list[pa.Check]:
    names = ("open", "high", "low", "close")
    up, down = 1 + PRICE_SLACK, 1 - PRICE_SLACK
    return [
        *[_row_check("zero_price", pl.col(name) != 0) for name in names],
        *[_row_check("negative_price", pl.col(name) >= 0) for name in names],
        *[_row_check("missing_price", pl.col(name).is_not_null()) for name in required],
        *_finite(*names),
        _row_check("high_below_low", pl.col("high") >= pl.col("low") * down),
        _row_check(
            "close_outside_range",
            (pl.col("close") <= pl.col("high") * up) & (pl.col("close") >= pl.col("low") * down),
        ),
    ]


def open_in_range() -> pl.Expr:
    """Whether the open lies within high and low; null where one of them is missing."""
    up, down = 1 + PRICE_SLACK, 1 - PRICE_SLACK
    return (pl.col("open") <= pl.col("high") * up) & (pl.col("open") >= pl.col("low") * down)


def _in_index_range() -> pl.Expr:
    """Whether the close is possible for that index; true for names without a known range."""
    passes = pl.lit(True)
    for name, (low, high) in INDEX_RANGES.items():
        inside = pl.col("close").is_between(low, high)
        passes = pl.when(pl.col("name") == name).then(inside).otherwise(passes)
    return passes


def _volume() -> list[pa.Check]:
    return [
        _row_check("missing_volume", pl.col("volume").is_not_null()),
        _row_check("negative_volume", pl.col("volume") >= 0),
        *_finite("volume"),
    ]


def _checks(dataset: Dataset) -> list[pa.Check]:
    keys = [_row_check("missing_key", pl.col(name).is_not_null()) for name in KEYS[dataset]]
    return keys + _value_checks(dataset)


def _value_checks(dataset: Dataset) -> list[pa.Check]:
    bar = ("open", "high", "low", "close")
    if dataset == "daily_bars":
        return [
            *_prices(required=bar),
            *_volume(),
            _row_check("open_outside_range", open_in_range()),
            _row_check("negative_dividend", pl.col("dividend") >= 0),
            _row_check("bad_split", pl.col("split") > 0),
            *_finite("dividend", "split"),
        ]
    if dataset == "volatility":
        return [*_prices(required=("close",)), _row_check("index_out_of_range", _in_index_range())]
    if dataset == "rates":
        low, high = RATE_RANGE
        return [
            _row_check("missing_rate", pl.col("rate").is_not_null()),
            _row_check("rate_out_of_range", pl.col("rate").is_between(low, high)),
            *_finite("rate"),
        ]
    if dataset == "put_call":
        return [
            _row_check("missing_ratio", pl.col("ratio").is_not_null()),
            _row_check("ratio_out_of_range", (pl.col("ratio") > 0) & (pl.col("ratio") < 10)),
            _row_check("negative_volume", pl.col("put_volume") >= 0),
            _row_check("negative_volume", pl.col("call_volume") >= 0),
            *_finite("ratio", "put_volume", "call_volume"),
        ]
    # Sessions open on a half hour, so that the grid of the clock is that of the session.
    grid = pl.col("bar_start").dt.truncate(f"{BAR_MINUTES[dataset]}m")
    return [
        *_prices(required=bar),
        *_volume(),
        _row_check("open_outside_range", open_in_range()),
        _row_check("off_grid", grid == pl.col("bar_start")),
        _row_check("negative_trades", pl.col("trades") >= 0),
        *_finite("vwap"),
    ]


@lru_cache(maxsize=8)
def row_schema(dataset: Dataset) -> pa.DataFrameSchema:
    """The pandera schema of the raw rows of `dataset`: every check is named by its reason.

    Types are strict; nullability is in the checks, so that a missing value has a reason of its own.
    """
    import pandera.polars as pa

    columns = {
        name: pa.Column(kind, nullable=True, coerce=False)
        for name, kind in raw_columns(dataset).items()
    }
    return pa.DataFrameSchema(columns, checks=_checks(dataset), strict=False, name=dataset)


def row_failures(frame: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """Which rows of a raw frame break which check.

    Returns
    -------
    pl.DataFrame
        Columns `row` (UInt32, position in `frame`) and `reason` (String), sorted, without repeats.
    """
    from pandera.errors import SchemaErrors

    none = pl.DataFrame(schema={"row": pl.UInt32, "reason": pl.String})
    if frame.is_empty():
        return none
    try:
        row_schema(dataset).validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases: pl.DataFrame = errors.failure_cases
        found = cases.select(
            pl.col("index").cast(pl.UInt32).alias("row"), pl.col("check").alias("reason")
        )
        return found.drop_nulls("row").unique().sort("row", "reason")
    return none
