"""Implied forwards, time to expiry, implied volatility and Greeks of a whole chain.

**Time.** Quotes stand still when the options stop trading, so a snapshot of the evening is valued at
the end of options trading (16:15 in New York for SPY), and a contract ends at its settlement: the
close of its last day, 13:00 on half days, the open for AM-settled ones. ACT/365 by seconds.

**Forward.** An underlying price of the evening, or even of the 16:00 bell, is not the price that
option quotes of 16:15 were made for. The chain knows better: by put-call parity every strike K with
two-sided quotes says F = K + (C - P) / D. The forward of an expiry is the median over the
:data:`PARITY_PAIRS` strikes where call and put are nearest to each other, so that a few bad quotes
do not move it. ``dividend_yield`` is what this forward implies, given spot and rate.

**Early exercise.** SPY options are American, so that C - P is D (F - K) plus the early-exercise
premium of the call less that of the put: at a rate of 4 % a tenth of a per cent of the forward at
half a year, one per cent at two years, and a dollar where the call expires on an ex-date or soon after
it. The premiums (:mod:`spy_assets.options.exercise`: cash dividends where they are known, else the
yield that the forward implies) are therefore taken off the mids, first near the money to find the
forward, then from all contracts, in :data:`FORWARD_ROUNDS` and :data:`PREMIUM_ROUNDS` rounds, as they
depend on forward and volatility. In a real chain the single forwards of an expiry of one year then
agree 18 times better (0.9 cents instead of 17). Options on indices
(:data:`~spy_assets.options.expiries.EUROPEAN_ROOTS`) have no premium. ``forward_low`` and
``forward_high`` are what the spreads of the quotes leave open.

**Volatility** is that of the contract's own mid less its premium (``early_exercise``). The Greeks, those
of the American contract where it is one, use the volatility of the out-of-the-money contract of the
same strike where it has one, since the wide quotes of the other side say little: ``iv_used`` is that
number. Nothing
replaces a volatility that the quotes do not give: the row then has nulls and an ``iv_status``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import polars as pl

from spy_assets.errors import DataError
from spy_assets.market.schemas import TIMESTAMP
from spy_assets.options.chain import CHAIN_SCHEMA
from spy_assets.options.chain_exercise import ChainExercise, Dividend, cash_due
from spy_assets.options.contracts import YEAR_SECONDS
from spy_assets.options.expiries import EUROPEAN_ROOTS, options_close, settlement

if TYPE_CHECKING:
    from numpy.typing import NDArray

FloatArray: TypeAlias = "NDArray[np.float64]"
SpotSource = Literal["parity", "vendor", "none"]

#: Strikes whose parity forwards are averaged (by their median), nearest to the money first.
PARITY_PAIRS = 12
#: Fewer pairs than this give no forward by parity.
MIN_PAIRS = 3
#: Pairs with a spread beyond this multiple of their expiry's median spread are left out.
SPREAD_LIMIT = 3.0
#: The spot implied by parity is taken from expiries within so many years (ten days): dividends and
#: rates have next to no say in it.
SPOT_YEARS = 10.0 / 365.0

#: Rounds of forward and premium near the money. Each leaves a fifth of the error at two years and
#: less before, and the third is led on by what the first two left.
FORWARD_ROUNDS = 3
#: A share of the error above this, left by a round, is noise.
MOST_LEFT = 0.6
#: Rounds of volatility and premium over all contracts. Each leaves a tenth of the error: after three
#: at most 0.00002 out of the money.
PREMIUM_ROUNDS = 3
#: `iv_status` of a quote without two sides, and of one whose market is not known, by the column that
#: is null then.
MISSING = {"mid": "no_quote", "years": "no_time", "rate": "no_rate", "forward": "no_forward"}

#: Columns that :func:`analyse_chain` adds to a chain, in order.
ANALYTICS_SCHEMA: dict[str, pl.DataType] = {
    "years": pl.Float64(),
    "rate": pl.Float64(),
    "dividend_yield": pl.Float64(),
    "forward": pl.Float64(),
    "mid": pl.Float64(),
    "early_exercise": pl.Float64(),
    "is_otm": pl.Boolean(),
    "iv": pl.Float64(),
    "iv_status": pl.String(),
    "iv_error": pl.Float64(),
    "iv_used": pl.Float64(),
    "delta": pl.Float64(),
    "gamma": pl.Float64(),
    "theta": pl.Float64(),
    "vega": pl.Float64(),
    "rho": pl.Float64(),
}
GREEKS = ("delta", "gamma", "theta", "vega", "rho")

#: One row per root and expiry.
FORWARDS_SCHEMA: dict[str, pl.DataType] = {
    "root": pl.String(),
    "expiry": pl.Date(),
    "years": pl.Float64(),
    "rate": pl.Float64(),
    "dividend_yield": pl.Float64(),
    "forward": pl.Float64(),
    "forward_low": pl.Float64(),
    "forward_high": pl.Float64(),
    "pairs": pl.UInt32(),
    "dispersion": pl.Float64(),
    "method": pl.String(),
}


@dataclass(frozen=True)
class ChainAnalytics:
    """A chain with forwards, volatilities and Greeks."""

    #: :data:`~spy_assets.options.chain.CHAIN_SCHEMA` and :data:`ANALYTICS_SCHEMA`.
    contracts: pl.DataFrame
    #: :data:`FORWARDS_SCHEMA`; ``method`` is `parity`, `carry` (spot, rate and yield given) or `none`.
    forwards: pl.DataFrame
    #: The underlying's price at the time of the quotes, None if nothing tells it.
    spot: float | None
    spot_source: SpotSource


def with_years(chain: pl.DataFrame, at: datetime | None = None) -> pl.DataFrame:
    """Add `years` to settlement, ACT/365 by seconds, 0 once settled.

    Parameters
    ----------
    chain
        A clean chain of one session.
    at
        When rows without `quoted_at` were quoted; without it their `years` are null. The others count
        from the newest quote of their session: an older one still stands.
    """
    keys = chain.select("session", "root", "expiry").unique()
    moments = pl.DataFrame(
        [
            (day, root, expiry, settlement(root, expiry).settles_at, options_close(day, root))
            for day, root, expiry in keys.iter_rows()
        ],
        schema={
            "session": pl.Date,
            "root": pl.String,
            "expiry": pl.Date,
            "_settles_at": TIMESTAMP,
            "_still_at": TIMESTAMP,
        },
        orient="row",
    )
    # A quote's time is when it last changed; what it is worth is of the snapshot's moment.
    newest = pl.col("quoted_at").max().over("session")
    quoted = (
        pl.when(pl.col("quoted_at").is_not_null()).then(newest).otherwise(pl.lit(at, TIMESTAMP))
    )
    # min_horizontal ignores nulls, and a quote without a time has no age.
    valued = pl.when(quoted.is_not_null()).then(pl.min_horizontal(quoted, "_still_at"))
    seconds = (pl.col("_settles_at") - valued).dt.total_microseconds() / 1e6
    joined = chain.join(
        moments, on=["session", "root", "expiry"], how="left", maintain_order="left"
    )
    years = pl.max_horizontal(seconds, pl.lit(0.0)) / YEAR_SECONDS
    years = pl.when(seconds.is_not_null()).then(years)
    return joined.with_columns(years.alias("years")).drop("_settles_at", "_still_at")


def with_rate(chain: pl.DataFrame, rate: float | Mapping[date, float]) -> pl.DataFrame:
    """Add `rate`, continuously compounded: one number, or one per expiry (null where it has none)."""
    if isinstance(rate, Mapping):
        column = pl.col("expiry").replace_strict(
            list(rate), list(rate.values()), default=None, return_dtype=pl.Float64
        )
        return chain.with_columns(column.alias("rate"))
    if not math.isfinite(rate):
        raise DataError(f"rate {rate!r} is not a number", hint="give a decimal per year, like 0.04")
    return chain.with_columns(pl.lit(rate, pl.Float64).alias("rate"))


def _mid() -> pl.Expr:
    """The middle of a quote with both sides; null where a side is missing or nobody offers."""
    return pl.when(pl.col("ask") > 0).then((pl.col("bid") + pl.col("ask")) / 2.0)


def parity_pairs(chain: pl.DataFrame) -> pl.DataFrame:
    """Strikes of each root and expiry where both call and put have two-sided quotes.

    Returns
    -------
    pl.DataFrame
        `root`, `expiry`, `strike`, `years`, `rate`, `call`, `put` (mids), `half_spread` (half of
        the two spreads together), and the parity forward `forward` = K + (C - P) / D.
    """
    quoted = chain.filter(
        (pl.col("bid") > 0) & (pl.col("ask") > 0) & ~pl.col("is_adjusted")
    ).select("root", "expiry", "strike", "right", "years", "rate", "bid", "ask")
    calls = quoted.filter(right="C").drop("right")
    puts = quoted.filter(right="P").select("root", "expiry", "strike", pbid="bid", pask="ask")
    pairs = calls.join(puts, on=["root", "expiry", "strike"], how="inner")
    call, put = (pl.col("bid") + pl.col("ask")) / 2.0, (pl.col("pbid") + pl.col("pask")) / 2.0
    spread = (pl.col("ask") - pl.col("bid") + pl.col("pask") - pl.col("pbid")) / 2.0
    grown = ((call - put) * (pl.col("rate") * pl.col("years")).exp()).alias("_grown")
    return pairs.select(
        "root",
        "expiry",
        "strike",
        "years",
        "rate",
        call=call,
        put=put,
        half_spread=spread,
        forward=pl.col("strike") + grown,
    )


def near_pairs(chain: pl.DataFrame) -> pl.DataFrame:
    """The :data:`PARITY_PAIRS` pairs of each root and expiry that are nearest to the money.

    Nearest is where call and put cost nearly the same; pairs with unusual spreads are left out.
    """
    group = ["root", "expiry"]
    pairs = parity_pairs(chain).filter(pl.col("forward").is_finite())
    sound = pl.col("half_spread") <= SPREAD_LIMIT * pl.col("half_spread").median().over(group)
    nearest = pl.col("_gap").rank("ordinal").over(group)
    return (
        pairs.with_columns((pl.col("call") - pl.col("put")).abs().alias("_gap"))
        .filter(nearest <= 2 * PARITY_PAIRS)
        .filter(sound)
        .filter(nearest <= PARITY_PAIRS)
        .drop("_gap")
    )


def implied_forwards(chain: pl.DataFrame, near: pl.DataFrame | None = None) -> pl.DataFrame:
    """The parity forward of each root and expiry: a median over strikes near the money.

    Parameters
    ----------
    chain
        A clean chain with `years` and `rate`.
    near
        Pairs whose `forward` is to be used, by default :func:`near_pairs` of the quotes as they are.

    Returns
    -------
    pl.DataFrame
        `root`, `expiry`, `years`, `rate`, `forward` (null below :data:`MIN_PAIRS` pairs), `pairs`,
        `dispersion` (median distance of the single forwards to it) and `_noise` (median half
        spread of the pairs).
    """
    group = ["root", "expiry"]
    pairs = near_pairs(chain) if near is None else near
    found = pairs.group_by(group).agg(
        pl.col("forward").median(),
        (pl.col("forward") - pl.col("forward").median()).abs().median().alias("dispersion"),
        pl.col("half_spread").median().alias("_noise"),
        pl.len().alias("pairs"),
    )
    enough = pl.col("pairs") >= MIN_PAIRS
    found = found.with_columns(pl.when(enough).then(pl.col("forward")).alias("forward"))
    due = (
        chain.filter(~pl.col("is_adjusted"))
        .group_by(group)
        .agg(pl.col("years").median(), pl.col("rate").first())
    )
    return (
        due.join(found, on=group, how="left").with_columns(pl.col("pairs").fill_null(0)).sort(group)
    )


def american_forwards(
    chain: pl.DataFrame, spot: float | None, dividends: Sequence[Dividend] | None = None
) -> pl.DataFrame:
    """:func:`implied_forwards` of an American chain, its early-exercise premiums taken off.

    Parameters
    ----------
    spot
        Price of the underlying at the time of the quotes; without one the quotes stay as they are.
    dividends
        Ex-dates and dollars a share, where known.
    """
    near = near_pairs(chain)
    forwards = implied_forwards(chain, near)
    if spot is None or near.is_empty():
        return forwards
    strike, years, rate, call, put = (
        _numbers(near[name]) for name in ("strike", "years", "rate", "call", "put")
    )
    calls, puts = np.ones(near.height, dtype=np.int8), np.full(near.height, -1, dtype=np.int8)
    premium = [np.zeros(near.height), np.zeros(near.height)]
    levels = [_numbers(forwards["forward"])]
    while len(levels) <= FORWARD_ROUNDS:
        level = near.select("root", "expiry").join(
            forwards.select("root", "expiry", "forward"), on=["root", "expiry"], how="left",
            maintain_order="left",
        )  # fmt: skip
        forward = _numbers(level["forward"])
        is_call = strike >= forward
        own = np.where(is_call, call - premium[0], put - premium[1])
        yields = _yields(forward, spot, years, rate)
        sigma = _volatility(own, spot, strike, years, rate, yields, np.where(is_call, 1, -1))
        exercise = ChainExercise(near, forwards, spot, sigma, dividends)
        premium = [exercise.premium(sigma, sign) for sign in (calls, puts)]
        net = call - premium[0] - (put - premium[1])
        implied = strike + net * np.exp(rate * years)
        found = implied_forwards(chain, near.with_columns(pl.Series("forward", implied)))
        levels.append(_numbers(found["forward"]))
        settled = pl.Series("forward", _settled(levels)).fill_nan(None)
        forwards = found.with_columns(settled)
    return forwards


def _settled(levels: list[FloatArray]) -> FloatArray:
    """Where rounds that each leave the same share of the error lead (Aitken 1926).

    The share is told by the first three; the last level is replaced by what is found.
    """
    if len(levels) < 3:
        return levels[-1]
    first, second = levels[1] - levels[0], levels[2] - levels[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.where(np.abs(second) < MOST_LEFT * np.abs(first), second / first, 0.0)
    levels[-1] = levels[-1] + (levels[-1] - levels[-2]) * left / (1.0 - left)
    return levels[-1]


def _yields(forward: FloatArray, spot: float, years: FloatArray, rate: FloatArray) -> FloatArray:
    """The dividend yields that forwards imply; 0 where no time is left."""
    left = years > 0
    with np.errstate(invalid="ignore"):
        told = rate - np.log(forward / spot) / np.where(left, years, 1.0)
    return np.where(left, told, 0.0)


def _volatility(
    price: FloatArray,
    spot: float,
    strike: FloatArray,
    years: FloatArray,
    rate: FloatArray,
    dividend_yield: FloatArray,
    sign: NDArray[np.int_],
) -> FloatArray:
    from spy_assets.options.implied_vol import implied_volatility

    return implied_volatility(price, spot, strike, years, rate, dividend_yield, sign).iv


def implied_spot(
    forwards: pl.DataFrame, dividend_yield: float, dividends: Sequence[Dividend] | None = None
) -> float | None:
    """The spot that the nearest forwards imply; None if no expiry within ten days has one.

    Where the ``dividends`` are known, they take the place of the yield.
    """
    near = forwards.filter((pl.col("years") <= SPOT_YEARS) & pl.col("forward").is_not_null())
    if near.is_empty():
        return None
    spots = _back_to_spot(near.sort("years").head(5), dividend_yield, dividends)
    median = spots.median()
    return median if isinstance(median, float) and math.isfinite(median) else None


def _back_to_spot(
    forwards: pl.DataFrame, dividend_yield: float, dividends: Sequence[Dividend] | None
) -> pl.Series:
    grown = ((pl.col("rate") - dividend_yield) * pl.col("years")).exp()
    if dividends is None:
        return forwards.select(pl.col("forward") / grown).to_series()
    discounted = pl.col("forward") * (-pl.col("rate") * pl.col("years")).exp()
    return forwards.select(discounted + cash_due(forwards, dividends)).to_series()


def _vendor_spot(chain: pl.DataFrame) -> float | None:
    known = chain["spot"].drop_nulls()
    median = known.median() if len(known) else None
    return median if isinstance(median, float) and median > 0 else None


def _carried(
    forwards: pl.DataFrame,
    spot: float | None,
    dividend_yield: float,
    dividends: Sequence[Dividend] | None,
) -> pl.DataFrame:
    """Fill forwards without parity by the cost of carry, and add yields, bounds and methods."""
    price = pl.lit(spot, pl.Float64)
    if dividends is None:
        carry = price * ((pl.col("rate") - dividend_yield) * pl.col("years")).exp()
    else:
        carry = (price - cash_due(forwards, dividends)) * (pl.col("rate") * pl.col("years")).exp()
    by_parity = pl.col("forward").is_not_null()
    method = (
        pl.when(by_parity)
        .then(pl.lit("parity"))
        .when(carry.is_not_null())
        .then(pl.lit("carry"))
        .otherwise(pl.lit("none"))
    )
    filled = forwards.with_columns(method.alias("method"), pl.coalesce("forward", carry))
    implied = pl.col("rate") - (pl.col("forward") / price).log() / pl.col("years")
    growth = (pl.col("rate") * pl.col("years")).exp()
    noise = pl.col("_noise").fill_null(0.0) * growth
    return filled.with_columns(
        pl.when(pl.col("years") > 0).then(implied).otherwise(0.0).alias("dividend_yield"),
        (pl.col("forward") - noise).alias("forward_low"),
        (pl.col("forward") + noise).alias("forward_high"),
    ).select(pl.col(name).cast(kind) for name, kind in FORWARDS_SCHEMA.items())


def _implied(frame: pl.DataFrame, spot: float) -> pl.DataFrame:
    """Add `iv`, `iv_status` and `iv_error` of each contract's own mid less its premium."""
    from spy_assets.options.implied_vol import IvStatus, implied_volatility

    strike, years, rate, dividend_yield = _market(frame)
    found = implied_volatility(
        _numbers(frame["mid"]) - _numbers(frame["early_exercise"]),
        spot,
        strike,
        years,
        rate,
        dividend_yield,
        signs(frame["right"]),
        bid=_numbers(frame["bid"]),
    )
    names = {int(status): status.name.lower() for status in IvStatus}
    status = pl.Series("iv_status", found.status, dtype=pl.Int8).replace_strict(
        names, return_dtype=pl.String
    )
    return frame.with_columns(
        pl.Series("iv", found.iv).fill_nan(None),
        _told(status),
        pl.Series("iv_error", found.attainable).fill_nan(None),
    )


def _told(status: pl.Series) -> pl.Expr:
    """`iv_status`, with what is missing in the place of `invalid`."""
    invalid = pl.lit(status) == "invalid"
    missing = [
        pl.when(invalid & pl.col(column).is_null()).then(pl.lit(reason))
        for column, reason in MISSING.items()
    ]
    return pl.coalesce(*missing, pl.lit(status)).alias("iv_status")


def _market(frame: pl.DataFrame) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Strike, years, rate and dividend yield as arrays, null as NaN."""
    names = ("strike", "years", "rate", "dividend_yield")
    strike, years, rate, dividend_yield = (_numbers(frame[name]) for name in names)
    return strike, years, rate, dividend_yield


def _solved(
    frame: pl.DataFrame,
    forwards: pl.DataFrame,
    spot: float,
    dividends: Sequence[Dividend] | None,
) -> tuple[pl.DataFrame, ChainExercise | None]:
    """Add premiums and volatilities, which depend on each other, and `iv_used`."""
    found = _with_used_iv(_implied(frame.with_columns(early_exercise=pl.lit(0.0)), spot))
    if set(frame["root"].unique()) <= EUROPEAN_ROOTS or not math.isfinite(spot):
        return found, None
    sign = signs(frame["right"])
    exercise = ChainExercise(frame, forwards, spot, _numbers(found["iv_used"]), dividends)
    for _ in range(PREMIUM_ROUNDS):
        premium = exercise.premium(_numbers(found["iv_used"]), sign)
        found = _implied(frame.with_columns(early_exercise=pl.Series(premium)), spot)
        found = _with_used_iv(found)
    return found, exercise


def _numbers(values: pl.Series) -> FloatArray:
    """The values as an array, null as NaN."""
    return values.cast(pl.Float64).fill_null(math.nan).to_numpy()


def signs(rights: pl.Series) -> NDArray[np.int8]:
    """+1 for calls and -1 for puts."""
    sign = pl.when(pl.col("right") == "C").then(1).otherwise(-1).cast(pl.Int8)
    return rights.to_frame("right").select(sign).to_series().to_numpy()


def _with_used_iv(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `iv_used`: the volatility of the strike's out-of-the-money side, else the own one."""
    key = ["root", "expiry", "strike"]
    side = (
        frame.filter("is_otm", pl.col("iv").is_not_null(), ~pl.col("is_adjusted"))
        .select(*key, _otm_iv="iv")
        .unique(subset=key, keep="first")
    )
    joined = frame.join(side, on=key, how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce("_otm_iv", "iv").alias("iv_used")).drop("_otm_iv")


def _greeks(frame: pl.DataFrame, spot: float, exercise: ChainExercise | None) -> pl.DataFrame:
    """Add the Greeks at `iv_used`; a settled contract needs no volatility (step delta)."""
    from spy_assets.options.black_scholes import all_greeks

    settled = pl.when(pl.col("years") <= 0).then(0.0)
    sigma = _numbers(frame.select(pl.coalesce(pl.col("iv_used"), settled)).to_series())
    strike, years, rate, dividend_yield = _market(frame)
    sign = signs(frame["right"])
    found = all_greeks(spot, strike, years, rate, dividend_yield, sigma, sign)
    greeks = {name: getattr(found, name) for name in GREEKS}
    if exercise is not None:
        greeks = exercise.greeks({"price": found.price, **greeks}, rate, sigma, sign)
    return frame.with_columns(pl.Series(name, greeks[name]).fill_nan(None) for name in GREEKS)


def analyse_chain(
    chain: pl.DataFrame,
    *,
    rate: float | Mapping[date, float],
    dividend_yield: float,
    spot: float | None = None,
    at: datetime | None = None,
    dividends: Sequence[Dividend] | None = None,
) -> ChainAnalytics:
    """Forwards, years, mids, implied volatilities and Greeks of a clean chain of one underlying.

    Parameters
    ----------
    chain
        Rows of :func:`~spy_assets.options.chain.clean_chain`.
    rate
        Continuously compounded, decimal per year: one number or one per expiry.
    dividend_yield
        Continuous, decimal per year; used where parity does not tell the forward, and for the few
        days from the nearest expiries back to the spot.
    spot
        Price of the underlying at the time of the quotes, if it is known that well. By default
        the nearest expiries tell it by parity, else the vendor's own column.
    at
        When rows without `quoted_at` were quoted.
    dividends
        Ex-dates and dollars a share that are known or expected
        (:func:`~spy_assets.options.carry.expected_dividends`), as far as the last expiry; they take
        the place of the yield. None where nothing is known of them, empty where none is due.

    Raises
    ------
    DataError
        If the chain has several underlyings, or a number given is not finite.
    """
    symbols = chain["symbol"].unique().to_list()
    if len(symbols) > 1:
        raise DataError(f"the chain has the underlyings {sorted(symbols)}; give one at a time")
    if not math.isfinite(dividend_yield) or (spot is not None and not spot > 0):
        raise DataError(f"dividend yield {dividend_yield!r} or spot {spot!r} is not a number")
    timed = with_rate(with_years(chain, at), rate)
    by_parity = implied_forwards(timed)
    price, source = _spot_of(spot, timed, by_parity, dividend_yield, dividends)
    if not set(timed["root"].unique()) <= EUROPEAN_ROOTS:
        by_parity = american_forwards(timed, price, dividends)
    forwards = _carried(by_parity, price, dividend_yield, dividends)
    joined = timed.join(
        forwards.select("root", "expiry", "forward", "dividend_yield"),
        on=["root", "expiry"],
        how="left",
        maintain_order="left",
    )
    above = pl.col("strike") >= pl.col("forward")
    otm = pl.when(pl.col("right") == "C").then(above).otherwise(~above)
    ready = joined.with_columns(_mid().alias("mid"), otm.alias("is_otm"))
    schema = {**CHAIN_SCHEMA, **ANALYTICS_SCHEMA}
    if ready.is_empty():
        return ChainAnalytics(pl.DataFrame(schema=schema), forwards, price, source)
    told = math.nan if price is None else price
    solved, exercise = _solved(ready, forwards, told, dividends)
    valued = _greeks(solved, told, exercise)
    contracts = valued.select(pl.col(name).cast(kind) for name, kind in schema.items())
    return ChainAnalytics(contracts, forwards, price, source)


def _spot_of(
    given: float | None,
    chain: pl.DataFrame,
    forwards: pl.DataFrame,
    dividend_yield: float,
    dividends: Sequence[Dividend] | None,
) -> tuple[float | None, SpotSource]:
    if given is not None:
        return given, "vendor"
    by_parity = implied_spot(forwards, dividend_yield, dividends)
    if by_parity is not None:
        return by_parity, "parity"
    told = _vendor_spot(chain)
    return told, "none" if told is None else "vendor"
