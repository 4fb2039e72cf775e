"""Early exercise in a chain: which rows have it, their premiums and their American Greeks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from spy_assets import sessions
from spy_assets.options.contracts import YEAR_SECONDS
from spy_assets.options.exercise import REACH, ExerciseTables, Slopes, Term, drift_of
from spy_assets.options.expiries import EUROPEAN_ROOTS, settlement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    SignArray = NDArray[np.int8]

#: Ex-date and dollars a share of a dividend, known or projected.
Dividend = tuple[date, float]
#: A contract worth no more than this share of the spot above what exercise pays now is due.
_DUE: Final = 2e-6
#: Rho compares premiums at rates so far apart.
_RATE_STEP: Final = 5e-4
#: Volatilities from which tables are made.
_VOLATILITIES: Final = (0.01, 5.0)


def due_dividends(
    root: str, expiry: date, years: float, dividends: Sequence[Dividend]
) -> list[tuple[float, float]]:
    """Years from the valuation to the falls of the spot before an expiry's end, and the cash.

    The moment is the close before the ex-date: who exercises for the dividend has to say so that evening
    and does not know the morning.
    """
    ends = settlement(root, expiry).settles_at
    found = []
    for ex_date, cash in dividends:
        if ex_date <= expiry:
            last = sessions.session_close(sessions.previous_session(ex_date))
            left = (ends - last).total_seconds() / YEAR_SECONDS
            if 0.0 < left < years:
                found.append((years - left, cash))
    return sorted(found)


def cash_due(forwards: pl.DataFrame, dividends: Sequence[Dividend]) -> pl.Series:
    """What the dividends before each expiry (`root`, `expiry`, `years`, `rate`) are worth now."""
    worth = [
        sum(cash * np.exp(-rate * when) for when, cash in due_dividends(root, day, t, dividends))
        if t is not None and rate is not None
        else None
        for root, day, t, rate in forwards.select("root", "expiry", "years", "rate").iter_rows()
    ]
    return pl.Series("cash_due", worth, dtype=pl.Float64)


class ChainExercise:
    """The premiums of some rows of a chain, at the forwards of their expiries.

    Parameters
    ----------
    rows
        `root`, `expiry`, `strike`, in the order of all arrays that follow.
    forwards
        `root`, `expiry`, `years`, `rate`, `forward`, one row each.
    spot
        Price of the underlying.
    volatility
        About what volatility each row has; NaN where unknown.
    dividends
        None where nothing is known: then the yield that each forward implies is paid all the time.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        forwards: pl.DataFrame,
        spot: float,
        volatility: FloatArray,
        dividends: Sequence[Dividend] | None,
    ) -> None:
        self._spot = spot
        self._strike = rows["strike"].cast(pl.Float64).to_numpy()
        american = forwards.filter(
            ~pl.col("root").is_in(sorted(EUROPEAN_ROOTS)),
            (pl.col("years") > 0) & pl.col("forward").is_not_null() & pl.col("rate").is_not_null(),
        )
        keys = american.select("root", "expiry").with_row_index("_term")
        index = rows.select("root", "expiry").join(
            keys, on=["root", "expiry"], how="left", maintain_order="left"
        )["_term"]
        number = index.cast(pl.Int64).fill_null(-1).to_numpy()
        columns = american.select("root", "expiry", "years", "rate", "forward")
        terms = [
            _term(root, expiry, (years, rate, forward), dividends)
            for root, expiry, years, rate, forward in columns.iter_rows()
        ]
        self._terms: list[Term] = []
        self._ranges: list[FloatArray] = []
        place = np.full(len(terms) + 1, -1)
        for i, term in enumerate(terms):
            near = _near(term, self._strike[number == i], volatility[number == i])
            if near.size:
                place[i] = len(self._terms)
                self._terms.append(term)
                self._ranges.append(np.clip(near, *_VOLATILITIES))
        self._term = place[number]
        self._tables = self._tables_at(0.0) if self._terms else None

    def _tables_at(self, rate_step: float) -> ExerciseTables:
        terms = [
            one._replace(
                rate=one.rate + rate_step,
                forward=one.forward * math.exp(rate_step * one.years),
            )
            for one in self._terms
        ]
        return ExerciseTables(self._spot, terms, self._ranges)

    def premium(self, volatility: FloatArray, sign: SignArray) -> FloatArray:
        """Early-exercise premiums in dollars a share; 0 where no volatility tells one."""
        found = np.zeros(volatility.size)
        known = self._known(volatility)
        if self._tables is not None:
            found[known] = self._read(self._tables, known, volatility, sign).premium
        return found

    def greeks(
        self,
        european: Mapping[str, FloatArray],
        rate: FloatArray,
        volatility: FloatArray,
        sign: SignArray,
    ) -> dict[str, FloatArray]:
        """American Greeks from the European price and Greeks at the same forward.

        Theta follows from the pricing equation, with the drift between ex-dates: the fall on an ex-date
        is no part of it. Rho is a difference of premiums at two rates, at the same yield or dividends.
        Where exercise is due now delta is a step and the others are 0.
        """
        out = {name: values.copy() for name, values in european.items()}
        known = self._known(volatility)
        if self._tables is None or not known.any():
            return out
        spot, strike, right = self._spot, self._strike[known], sign[known]
        found = self._read(self._tables, known, volatility, sign)
        raised = self._read(self._tables_at(_RATE_STEP), known, volatility, sign)
        price, delta, gamma, vega = (
            european[name][known] + more
            for name, more in zip(("price", "delta", "gamma", "vega"), found, strict=True)
        )
        drift = np.array([drift_of(spot, one) for one in self._terms])[self._term[known]]
        theta = rate[known] * price - drift * spot * delta
        theta -= 0.5 * (volatility[known] * spot) ** 2 * gamma
        rho = european["rho"][known] + (raised.premium - found.premium) / _RATE_STEP
        due = price <= right * (spot - strike) + _DUE * spot
        out["delta"][known] = np.where(due, right, delta)
        for name, values in (("gamma", gamma), ("vega", vega), ("theta", theta), ("rho", rho)):
            out[name][known] = np.where(due, 0.0, values)
        return out

    def _known(self, volatility: FloatArray) -> NDArray[np.bool_]:
        return np.asarray((self._term >= 0) & np.isfinite(volatility), dtype=np.bool_)

    def _read(
        self,
        tables: ExerciseTables,
        known: NDArray[np.bool_],
        volatility: FloatArray,
        sign: SignArray,
    ) -> Slopes:
        return tables.read(self._term[known], self._strike[known], volatility[known], sign[known])


def _near(term: Term, strike: FloatArray, volatility: FloatArray) -> FloatArray:
    """The volatilities that are known within the tables' reach of the money."""
    away = np.abs(np.log(term.forward / strike))
    near = away <= REACH * volatility * math.sqrt(term.years)
    return np.asarray(volatility[near], dtype=np.float64)


def _term(
    root: str,
    expiry: date,
    market: tuple[float, float, float],
    dividends: Sequence[Dividend] | None,
) -> Term:
    due = due_dividends(root, expiry, market[0], dividends or ())
    return Term(*market, tuple(at for at, _ in due), tuple(cash for _, cash in due))
