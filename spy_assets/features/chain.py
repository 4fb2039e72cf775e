"""Features of an option chain, each a number or a reason why it is none.

All come from one analysed chain (:func:`~spy_assets.options.chain_analytics.analyse_chain`) of
standard contracts. S is the spot at the time of the quotes, F the forward of an expiry, IV a
decimal per year. ``quality`` lists what is missing as ``name:reason``, joined by ``;``, or is
``ok``; nothing is ever filled in.

**Constant maturity.** A volatility "at n days" is interpolated between the last expiry before and
the first after n calendar days, linearly in total variance (iv² · years), as VIX does.

**At the money** is K = F, between the two strikes around it, linearly in the strike.

Definitions of single features are in :data:`CHAIN_FEATURES`. Signs of GEX are those of the system's
inventory (calls −, puts +), which is the opposite of what some vendors publish.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl

from spy_assets.errors import DataError
from spy_assets.options.chain import trading_days
from spy_assets.options.chain_analytics import ChainAnalytics
from spy_assets.options.contracts import nearest_expiry
from spy_assets.sessions import previous_session, sessions_between

#: Half width of "near the money", relative to the spot.
NEAR = 0.02
#: Maturities, calendar days: the month of VIX, and the quarter of VIX3M.
MONTH, QUARTER = 30, 90
#: Days to the expiry of max pain and expected move: that of the daily structures.
FRONT_DAYS = 7
#: Moneyness K/F of the two wings of `iv_skew_otm`.
OTM_WINGS = (0.95, 1.05)
#: Delta of the two wings of `iv_skew_25d`.
WING_DELTA = 0.25
#: Of the open interest that somebody bids for, this share must have a gamma, else a sum of gammas says
#: nothing.
GAMMA_COVERAGE = 0.90
#: Of the contracts of a side (calls, puts) so many must have a volume, or open interest, else their
#: sum is none: a null may be any number. Of a real Yahoo chain 97 % have open interest, of eight real
#: CBOE chains all.
COUNT_COVERAGE = 0.95
#: Observations, today included, of rank and percentile: a year.
RANK_WINDOW = 252
#: The sessions, today included, among which they must lie: a year and a month.
RANK_SPAN = 273

#: Reason ids and when they are given.
REASONS: Final[dict[str, str]] = {
    "no_chain": "the session has no chain that passed its checks",
    "no_spot": "neither the quotes nor the vendor tell the spot",
    "no_expiry": "no expiries before and after the maturity have the quotes that it needs",
    "no_strikes": "no quoted strikes on both sides of the point asked for",
    "no_volume": "the denominator's volume is zero, or the vendor gives no volume",
    "no_open_interest": "the denominator's open interest is zero, or the vendor gives none",
    "partial_volume": "the vendor gives the volume of less than 95 % of the contracts of a side",
    "partial_open_interest": "the vendor gives less than 95 % of a side's open interest",
    "no_gamma": "less than 90 % of the open interest that has a bid has a gamma",
    "warmup": "fewer than 252 of the last 273 sessions, today included, have a volatility",
    "flat": "the volatility had one and the same value all the time",
}

#: Name -> definition, in order. The first fourteen are the inventory's, then five near the money.
CHAIN_FEATURES: Final[dict[str, str]] = {
    "atm_iv_call": "IV of calls at the money at 30 days",
    "atm_iv_put": "IV of puts at the money at 30 days",
    "atm_iv_avg": "(atm_iv_call + atm_iv_put) / 2",
    "iv_skew_25d": "IV of the put with delta -0.25 less IV of the call with delta 0.25, at 30 days",
    "iv_skew_otm": "IV of the put at 0.95 F less IV of the call at 1.05 F, at 30 days",
    "iv_term_slope": "atm_iv_avg at 90 days less atm_iv_avg at 30 days",
    "call_volume": "contracts traded, calls of all expiries",
    "put_volume": "contracts traded, puts of all expiries",
    "pcr_volume": "put_volume / call_volume",
    "call_open_interest": "contracts open, calls that have not expired",
    "put_open_interest": "contracts open, puts that have not expired",
    "pcr_open_interest": "put_open_interest / call_open_interest",
    "gex_total": "sum of gamma * S^2 * open interest * 100, calls -, puts +, dollars",
    "gex_near_atm": "gex_total of strikes within 2 % of S, dollars",
    "near_call_volume": "call_volume of strikes within 2 % of S",
    "near_put_volume": "put_volume of strikes within 2 % of S",
    "near_call_open_interest": "call_open_interest of strikes within 2 % of S",
    "near_put_open_interest": "put_open_interest of strikes within 2 % of S",
    "near_pcr_volume": "near_put_volume / near_call_volume",
    "risk_reversal_25d": "IV of the 25-delta call less IV of the 25-delta put, at 30 days",
    "iv_rank": "(x - min) / (max - min) of atm_iv_avg over the last 252 sessions that have it",
    "iv_percentile": "share of the 251 sessions before with atm_iv_avg below today's",
    "gex_near_balance": "gex_near_atm / the same sum without signs: -1 only calls, +1 only puts",
    "max_pain": "strike at which the contracts of the expiry nearest to 7 days pay out least, dollars",
    "max_pain_distance": "max_pain / S - 1",
    "expected_move": "mid of call + mid of put at the money, expiry nearest to 7 days, over S",
}


@dataclass(frozen=True)
class Measured:
    """A number, or the reason why there is none."""

    value: float | None
    reason: str | None = None


def _missing(reason: str) -> Measured:
    return Measured(None, reason)


def _measured(value: float | None, reason: str) -> Measured:
    return Measured(value) if value is not None and math.isfinite(value) else _missing(reason)


def _both(a: Measured, b: Measured, combine: Callable[[float, float], float]) -> Measured:
    if a.value is None or b.value is None:
        return _missing(a.reason or b.reason or "no_strikes")
    return Measured(combine(a.value, b.value))


def interpolate(x: Sequence[float], y: Sequence[float], at: float) -> float | None:
    """The value at a point between known ones, linearly; None outside of them.

    >>> interpolate([1.0, 2.0], [10.0, 20.0], 1.5), interpolate([1.0, 2.0], [10.0, 20.0], 2.5)
    (15.0, None)
    """
    order = np.argsort(x, kind="stable")
    points, values = np.asarray(x, float)[order], np.asarray(y, float)[order]
    if not len(points) or not points[0] <= at <= points[-1]:
        return None
    return float(np.interp(at, points, values))


def at_maturity(points: Sequence[tuple[float, float]], days: float) -> float | None:
    """IV at a maturity, from (years, IV) of single expiries, linearly in total variance.

    None unless an expiry lies on each side of it (or on it).

    >>> round(at_maturity([(20 / 365, 0.20), (40 / 365, 0.20)], 30), 6)
    0.2
    """
    target = days / 365.0
    for (near, low), (far, high) in pairwise(sorted(points)):
        if near <= target <= far and far > near:
            weight = (target - near) / (far - near)
            return math.sqrt(((1 - weight) * low**2 * near + weight * high**2 * far) / target)
    return None


def _expiries(contracts: pl.DataFrame) -> Iterator[tuple[float, pl.DataFrame]]:
    """Years and contracts of each living expiry that has forwards and volatilities."""
    alive = contracts.filter((pl.col("years") > 0) & pl.col("forward").is_not_null())
    for (years, _root, _expiry), group in alive.group_by(
        ["years", "root", "expiry"], maintain_order=True
    ):
        yield float(str(years)), group


def _around(contracts: pl.DataFrame, days: int) -> list[tuple[float, pl.DataFrame]]:
    """The expiries nearest to a maturity, two on each side, one series a day."""
    by_years = dict(_expiries(contracts))
    target = days / 365.0
    before = sorted(years for years in by_years if years <= target)[-2:]
    after = sorted(years for years in by_years if years > target)[:2]
    return [(years, by_years[years]) for years in (*before, *after)]


def _atm(group: pl.DataFrame, right: str) -> float | None:
    side = group.filter((pl.col("right") == right) & pl.col("iv").is_not_null())
    forward = float(group["forward"][0])
    return interpolate(side["strike"].to_list(), side["iv"].to_list(), forward)


def _wing(group: pl.DataFrame, right: str) -> float | None:
    """IV at a delta of 0.25 (put: -0.25), among contracts out of the money."""
    side = group.filter((pl.col("right") == right) & pl.col("is_otm") & pl.col("iv").is_not_null())
    sign = 1.0 if right == "C" else -1.0
    deltas = [sign * delta for delta in side["delta"].to_list()]
    return interpolate(deltas, side["iv"].to_list(), WING_DELTA)


def _at_moneyness(group: pl.DataFrame, right: str, moneyness: float) -> float | None:
    side = group.filter((pl.col("right") == right) & pl.col("iv").is_not_null())
    strike = moneyness * float(group["forward"][0])
    return interpolate(side["strike"].to_list(), side["iv"].to_list(), strike)


def _constant_maturity(
    groups: list[tuple[float, pl.DataFrame]],
    measure: Callable[[pl.DataFrame], float | None],
    days: int,
) -> Measured:
    if len(groups) < 2:
        return _missing("no_expiry")
    found = [(years, measure(group)) for years, group in groups]
    points = [(years, value) for years, value in found if value is not None]
    reason = "no_strikes" if len(points) < len(found) else "no_expiry"
    return _measured(at_maturity(points, days), reason)


def volatility_features(contracts: pl.DataFrame) -> dict[str, Measured]:
    """The features of the smile and its term structure."""
    month, quarter = _around(contracts, MONTH), _around(contracts, QUARTER)

    def atm(groups: list[tuple[float, pl.DataFrame]], right: str, days: int) -> Measured:
        return _constant_maturity(groups, lambda group: _atm(group, right), days)

    def mean(a: float, b: float) -> float:
        return (a + b) / 2.0

    def less(a: float, b: float) -> float:
        return a - b

    call, put = atm(month, "C", MONTH), atm(month, "P", MONTH)
    average = _both(call, put, mean)
    later = _both(atm(quarter, "C", QUARTER), atm(quarter, "P", QUARTER), mean)
    wing = {
        right: _constant_maturity(month, lambda group, right=right: _wing(group, right), MONTH)  # type: ignore[misc]
        for right in ("P", "C")
    }
    low, high = OTM_WINGS
    otm_put = _constant_maturity(month, lambda group: _at_moneyness(group, "P", low), MONTH)
    otm_call = _constant_maturity(month, lambda group: _at_moneyness(group, "C", high), MONTH)
    return {
        "atm_iv_call": call,
        "atm_iv_put": put,
        "atm_iv_avg": average,
        "iv_skew_25d": _both(wing["P"], wing["C"], less),
        "iv_skew_otm": _both(otm_put, otm_call, less),
        "iv_term_slope": _both(later, average, less),
        "risk_reversal_25d": _both(wing["C"], wing["P"], less),
    }


def _gap(rows: pl.DataFrame, column: str) -> str | None:
    """Why the counts of these contracts cannot be summed; None if they can."""
    known = rows[column].count()
    if known == 0:
        return f"no_{column}"
    return f"partial_{column}" if known < COUNT_COVERAGE * rows.height else None


def _side_gap(rows: pl.DataFrame, column: str) -> str | None:
    """:func:`_gap` of calls and puts apart: one side without the other misleads."""
    gaps = [_gap(rows.filter(right=right), column) for right in ("C", "P")]
    if all(gaps):
        return gaps[0]
    return f"partial_{column}" if any(gaps) else None


def _total(rows: pl.DataFrame, column: str) -> Measured:
    gap = _gap(rows, column)
    return Measured(float(rows[column].sum())) if gap is None else _missing(gap)


def _ratio(put: Measured, call: Measured, reason: str) -> Measured:
    if put.value is None or call.value is None:
        return _missing(put.reason or call.reason or reason)
    if call.value == 0.0:
        return _missing(reason)
    return Measured(put.value / call.value)


def activity_features(contracts: pl.DataFrame, prefix: str = "") -> dict[str, Measured]:
    """Volume, open interest and put/call ratios of the contracts given."""
    found: dict[str, Measured] = {}
    for name, rows in (("volume", contracts), ("open_interest", contracts.filter(_alive()))):
        put, call = (_total(rows.filter(right=right), name) for right in ("P", "C"))
        found[f"{prefix}call_{name}"], found[f"{prefix}put_{name}"] = call, put
        found[f"{prefix}pcr_{name}"] = _ratio(put, call, f"no_{name}")
    return found


def _alive() -> pl.Expr:
    """Not settled at the time of the quote; without one, not on the session itself."""
    return (pl.col("years") > 0).fill_null(pl.col("expiry") > pl.col("session"))


def gamma_exposure(contracts: pl.DataFrame, spot: float) -> tuple[Measured, Measured]:
    """GEX of the contracts given, dollars, and its balance between puts (+1) and calls (-1).

    gamma · S² · open interest · 100, calls −, puts +. A contract without a gamma counts for nothing,
    and there is no sum if more than a tenth of the open interest is of that kind. Contracts that
    nobody bids for are not asked for one: they are worth a cent or less. Nor is there one if the open
    interest of one side is not known (:data:`COUNT_COVERAGE`).
    """
    living = contracts.filter(~(pl.col("years") <= 0).fill_null(False))
    gap = _side_gap(living, "open_interest")
    if gap is not None:
        return _missing(gap), _missing(gap)
    held = living.filter(pl.col("open_interest") > 0)
    known = held.filter(pl.col("gamma").is_not_null())
    unknown = held.filter(pl.col("gamma").is_null() & (pl.col("bid").fill_null(1.0) > 0))
    if held.is_empty():
        return _missing("no_open_interest"), _missing("no_open_interest")
    there, lacking = (int(rows["open_interest"].sum()) for rows in (known, unknown))
    if there == 0 or there < GAMMA_COVERAGE * (there + lacking):
        return _missing("no_gamma"), _missing("no_gamma")
    sign = pl.when(pl.col("right") == "C").then(-1.0).otherwise(1.0)
    size = pl.col("gamma") * pl.col("open_interest") * 100.0 * spot**2
    net, gross = known.select((sign * size).sum().alias("net"), size.sum().alias("gross")).row(0)
    return Measured(net), _measured(net / gross if gross > 0 else None, "no_gamma")


def max_pain(contracts: pl.DataFrame) -> Measured:
    """The strike at which the open contracts of one expiry pay out least; the lowest on a tie."""
    held = contracts.filter(pl.col("open_interest") > 0)
    if held.is_empty():
        return _missing("no_open_interest")
    strikes = np.unique(contracts["strike"].to_numpy())
    sign = np.where(held["right"].to_numpy() == "C", 1.0, -1.0)
    worth = np.maximum(sign * (strikes[:, None] - held["strike"].to_numpy()), 0.0)
    return Measured(float(strikes[np.argmin(worth @ held["open_interest"].to_numpy())]))


def expected_move(contracts: pl.DataFrame, spot: float) -> Measured:
    """Price of the straddle at the money of one expiry, over the spot.

    The straddle at K = F, between the strikes around it. It is the mean absolute move that the
    market pays for, about 0.8 standard deviations.
    """
    quoted = contracts.filter(pl.col("mid").is_not_null() & pl.col("forward").is_not_null())
    if quoted.is_empty():
        return _missing("no_expiry")
    forward = float(quoted["forward"][0])
    near = quoted.with_columns((pl.col("strike") - forward).alias("distance"))
    mids = [near.filter(right=r).select("strike", "mid").sort("strike") for r in ("C", "P")]
    both = mids[0].join(mids[1], on="strike", suffix="_put").sort("strike")
    straddle = (both["mid"] + both["mid_put"]).to_list()
    value = interpolate(both["strike"].to_list(), straddle, forward)
    return _measured(None if value is None else value / spot, "no_strikes")


def front_features(contracts: pl.DataFrame, session: date, spot: float) -> dict[str, Measured]:
    """Max pain and expected move of the expiry that the daily structures use."""
    front = contracts.filter(
        trading_days(contracts["expiry"]) == nearest_expiry(session, FRONT_DAYS)
    )
    if front.is_empty():
        names = ("max_pain", "max_pain_distance", "expected_move")
        return dict.fromkeys(names, _missing("no_expiry"))
    gap = _side_gap(front, "open_interest")
    pain = max_pain(front) if gap is None else _missing(gap)
    distance = pain if pain.value is None else Measured(pain.value / spot - 1.0)
    return {
        "max_pain": pain,
        "max_pain_distance": distance,
        "expected_move": expected_move(front, spot),
    }


def rank_and_percentile(today: Measured, history: Sequence[float | None]) -> dict[str, Measured]:
    """IV rank and percentile of today's volatility among those of the sessions before.

    Parameters
    ----------
    history
        The feature on each session before, oldest first; None where it was missing. Of the last
        272 (:data:`RANK_SPAN`, less today) the last 251 that are numbers count.
    """
    if today.value is None:
        both = _missing(today.reason or "no_expiry")
        return {"iv_rank": both, "iv_percentile": both}
    recent = history[-(RANK_SPAN - 1) :]
    known = [value for value in recent if value is not None and math.isfinite(value)]
    before = known[-(RANK_WINDOW - 1) :]
    if len(before) < RANK_WINDOW - 1:
        return {"iv_rank": _missing("warmup"), "iv_percentile": _missing("warmup")}
    low, high = min(*before, today.value), max(*before, today.value)
    rank = _measured((today.value - low) / (high - low) if high > low else None, "flat")
    below = sum(value < today.value for value in before) / len(before)
    return {"iv_rank": rank, "iv_percentile": Measured(below)}


def rank_sessions(session: date) -> list[date]:
    """The sessions before one whose volatilities its rank may look at, oldest first."""
    first = previous_session(session, RANK_SPAN - 1)
    return sessions_between(first, previous_session(session))


def _measure(
    contracts: pl.DataFrame, session: date, spot: float, history: Mapping[date, float | None]
) -> dict[str, Measured]:
    near = contracts.filter((pl.col("strike") / spot - 1.0).abs() <= NEAR)
    found = volatility_features(contracts) | activity_features(contracts)
    found |= activity_features(near, "near_")
    found["gex_total"], _ = gamma_exposure(contracts.filter(_alive()), spot)
    found["gex_near_atm"], found["gex_near_balance"] = gamma_exposure(near.filter(_alive()), spot)
    found |= front_features(contracts, session, spot)
    before = [history.get(day) for day in rank_sessions(session)] if history else []
    return found | rank_and_percentile(found["atm_iv_avg"], before)


def chain_features(
    analytics: ChainAnalytics,
    *,
    session: date,
    iv_history: Mapping[date, float | None] = MappingProxyType({}),
) -> pl.DataFrame:
    """The features of one session's chain.

    Parameters
    ----------
    analytics
        The analysed chain. Adjusted contracts are left out.
    session
        The day of the chain.
    iv_history
        `atm_iv_avg` of the sessions before that have it; :func:`rank_sessions` are looked at.

    Returns
    -------
    pl.DataFrame
        One row: `session`, the columns of :data:`CHAIN_FEATURES` (Float64), `spot`, `quality`.

    Raises
    ------
    DataError
        If the chain has rows of another session.
    """
    contracts = analytics.contracts.filter(~pl.col("is_adjusted"))
    days = set(contracts["session"].unique())
    if days - {session}:
        found_days = ", ".join(str(day) for day in sorted(days))
        raise DataError(f"the chain has rows of {found_days}, not only of {session}")
    if contracts.is_empty():
        found = dict.fromkeys(CHAIN_FEATURES, _missing("no_chain"))
    elif analytics.spot is None:
        # What was traded is known all the same; a list of trades has nothing else.
        found = dict.fromkeys(CHAIN_FEATURES, _missing("no_spot")) | activity_features(contracts)
    else:
        found = _measure(contracts, session, analytics.spot, iv_history)
    return feature_row({name: found[name] for name in CHAIN_FEATURES}, session, analytics.spot)


def feature_row(found: Mapping[str, Measured], session: date, spot: float | None) -> pl.DataFrame:
    """One row of features with their `quality`."""
    missing = [f"{name}:{m.reason}" for name, m in found.items() if m.value is None]
    row = {name: m.value for name, m in found.items()}
    return pl.DataFrame(
        {"session": session, **row, "spot": spot, "quality": ";".join(missing) or "ok"},
        schema={
            "session": pl.Date,
            **dict.fromkeys(found, pl.Float64),
            "spot": pl.Float64,
            "quality": pl.String,
        },
    )
