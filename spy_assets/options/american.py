r"""American options: prices, Greeks, the value of early exercise and when to exercise.

Two methods, by how dividends are given:

- **a continuous yield** (:func:`price`, :func:`greeks`, :func:`exercise_boundary`): the boundary below
  which a put is exercised solves an integral equation, by the fixed-point iteration of Andersen, Lake
  and Offengenden (2016), "High-performance American option pricing", J. Computational Finance 20(1),
  from a start by asymptotes and Li's (2010) QD+; the premium over the European price is Kim's (1990)
  integral. Microseconds.
- **cash dividends** (:func:`price_with_dividends`, :func:`greeks_with_dividends`): finite differences
  in the spot model (the spot is lognormal between ex-dates and falls by the cash on each).
  Milliseconds. The *escrowed* model (:func:`escrowed_spot` and then :func:`price`) is faster and
  wrong where dividends matter: it takes a call's early exercise before an ex-date away, and gives all
  strikes the smaller volatility in dollars.

====================  ==========  =======================  ============  =======================
preset                yield       error, of S = 688        cash          error, of S = 688
====================  ==========  =======================  ============  =======================
``"fast"``            3 us        2e-4                     1 ms          1e-3
``"accurate"``        7 us        2e-5                     3 ms          2e-4
``"reference"``       0.2 ms      1e-6                     80 ms         2e-5
====================  ==========  =======================  ============  =======================

(largest of 1,500 contracts, strikes 0.5 to 1.5 of the spot, 1 day to 2 years, volatility 8 to 90 %; for
cash of 24 contracts within 10 % of the spot, 1 week to 1 year, volatility 12 to 40 %. Of 150 as wide as
the others, with 8 dividends, 95 % are within 4e-4, 1e-4 and 4e-6; a put next to its boundary, or with
``sigma sqrt(T)`` near 1, can be off by 6e-3, 4e-3 and 1e-4. ``benchmarks/american.py`` measures them
again. With a yield, lives of 5 years and any volatility add nothing worse than 5e-4 of 100 to
``"accurate"``; lives of 30 years can be off by cents and more.)

Special cases: without interest on what is received (rate <= 0 for a put, yield <= 0 for a call) early
exercise does not pay, and the price is European; unless the other is lower still (``yield < rate < 0``
for a put, ``rate < yield < 0`` for a call): then there are two boundaries, and finite differences give
price and Greeks, but no boundary (NaN). At expiry the price is intrinsic; without volatility it is the
best discounted payment along the certain path.

Arguments, broadcasting and units as in :mod:`spy_assets.options.black_scholes`: per-year rates, theta
per year, vega and rho per 1.00.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.errors import DataError
from spy_assets.options import _american_batch, _american_fd, black_scholes
from spy_assets.options._american_grid import Grid, make_grid
from spy_assets.options.black_scholes import FloatArray, Number, RightLike, sign_of

__all__ = [
    "PRESETS",
    "AmericanGreeks",
    "CashDividend",
    "Preset",
    "early_exercise_premium",
    "escrowed_spot",
    "exercise_boundary",
    "greeks",
    "greeks_with_dividends",
    "price",
    "price_with_dividends",
    "should_exercise_call_before_dividend",
    "should_exercise_call_given_put",
]

BoolArray = npt.NDArray[np.bool_]
Preset = Literal["fast", "accurate", "reference"]


class _Effort(NamedTuple):
    """How hard a preset works."""

    nodes: int
    """Times at which the boundary is kept."""
    points: int
    """Quadrature points of the boundary's equation."""
    price_points: int
    """Quadrature points of the premium."""
    steps: int
    """Newton steps on QD+ before the iteration."""
    iterations: int
    """Fixed-point iterations; each divides the boundary's error by about 13."""
    negligible: float
    """A premium provably below this times the strike is taken as 0."""
    cells: int
    """Cells of the finite differences; half as many time steps."""


#: Chosen on the contracts of the table above: the least work for its error.
PRESETS: dict[Preset, _Effort] = {
    "fast": _Effort(8, 8, 16, 2, 3, 1e-7, 200),
    "accurate": _Effort(12, 12, 24, 3, 5, 1e-9, 400),
    "reference": _Effort(24, 40, 96, 4, 14, 0.0, 1600),
}


class CashDividend(NamedTuple):
    """A dividend in dollars per share, ``ex_years`` (ACT/365) from now to its ex-date's open."""

    ex_years: float
    cash: float


class AmericanGreeks(NamedTuple):
    """Price and sensitivities per share: vega and rho per 1.00, theta per year of calendar time."""

    price: FloatArray
    delta: FloatArray
    gamma: FloatArray
    vega: FloatArray
    theta: FloatArray
    rho: FloatArray


#: Spot, strike, years, rate, dividend yield, volatility and "is a call": flat arrays of one length.
_Market = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, BoolArray]


class _Contracts(NamedTuple):
    """What the kernels take, and the shape that results return to."""

    market: _Market
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many contracts."""
        return len(self.market[0])

    def subset(self, chosen: BoolArray) -> _Contracts:
        """The chosen contracts."""
        s, k, t, r, q, v, call = self.market
        market = (s[chosen], k[chosen], t[chosen], r[chosen], q[chosen], v[chosen], call[chosen])
        return _Contracts(market, (int(chosen.sum()),))


_NAMES = ("spot", "strike", "years", "rate", "dividend_yield", "volatility")


def _contracts(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
) -> _Contracts:
    given = [np.asarray(x, dtype=np.float64) for x in (spot, strike, years, rate, dividend_yield)]
    arrays = np.broadcast_arrays(*given, np.asarray(volatility, dtype=np.float64), sign_of(right))
    for name, values in zip(_NAMES, arrays, strict=False):
        bad = ~np.isfinite(values)
        if name in {"spot", "strike"}:
            bad |= values <= 0.0
        elif name in {"years", "volatility"}:
            bad |= values < 0.0
        if bad.any():
            raise DataError(
                f"{name} {float(values[bad].flat[0])!r} cannot be priced",
                hint="all must be finite, spot and strike positive, years and volatility not negative",
            )
    s, k, t, r, q, v, sign = (np.ascontiguousarray(x).reshape(-1) for x in arrays)
    return _Contracts((s, k, t, r, q, v, sign > 0.0), arrays[0].shape)


def _effort(preset: Preset) -> _Effort:
    if preset not in PRESETS:
        raise DataError(f"no preset {preset!r}", hint=f"presets are {', '.join(PRESETS)}")
    return PRESETS[preset]


def _grid(effort: _Effort) -> Grid:
    return make_grid(*effort[:6])


def price(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
    *,
    preset: Preset = "accurate",
) -> FloatArray:
    """Price in dollars per share, never below intrinsic.

    Raises
    ------
    DataError
        If spot or strike is not positive, years or volatility negative, any of them not finite, or the
        preset unknown.

    >>> round(float(price(100.0, 100.0, 1.0, 0.05, 0.0, 0.2, "P")), 4)
    6.0904
    """
    effort = _effort(preset)
    contracts = _contracts(spot, strike, years, rate, dividend_yield, volatility, right)
    out = np.empty(contracts.size)
    _american_batch.price_all(*contracts.market, _grid(effort), out)
    left = np.isnan(out)
    if left.any():
        out[left] = _by_differences(contracts.subset(left), (), effort, greeks=False)[0]
    return out.reshape(contracts.shape)


def greeks(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
    *,
    preset: Preset = "accurate",
) -> AmericanGreeks:
    """Price and Greeks; arguments, units and errors as for :func:`price`; five times its work.

    Delta and gamma are the integral's derivatives, theta follows from the pricing equation, vega and
    rho are central differences. Where exercise is due now, delta is a step and the others are 0.
    """
    effort = _effort(preset)
    contracts = _contracts(spot, strike, years, rate, dividend_yield, volatility, right)
    out = np.empty((6, contracts.size))
    _american_batch.greeks_all(*contracts.market, _grid(effort), out)
    left = np.isnan(out[0])
    if left.any():
        out[:, left] = _by_differences(contracts.subset(left), (), effort, greeks=True)
    return AmericanGreeks(*(row.reshape(contracts.shape) for row in out))


def early_exercise_premium(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
    *,
    preset: Preset = "accurate",
) -> FloatArray:
    """What the right to exercise before expiry adds to the European price; never negative."""
    market = (spot, strike, years, rate, dividend_yield, volatility, right)
    return np.maximum(price(*market, preset=preset) - black_scholes.price(*market), 0.0)


def exercise_boundary(
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
    *,
    preset: Preset = "accurate",
) -> FloatArray:
    """The spot at which exercise is due with ``years`` to go: a put's at or below it, a call's at or
    above.

    0 for a put and infinity for a call that is never exercised early; NaN where there are two
    boundaries (see the module's docstring). At expiry the limit from before it: ``K min(1, r/q)`` for
    a put.

    >>> float(exercise_boundary(100.0, 0.25, 0.05, 0.0, 0.2, "C"))
    inf
    >>> round(float(exercise_boundary(100.0, 0.25, 0.05, 0.0, 0.2, "P")), 2)
    86.81
    """
    c = _contracts(strike, strike, years, rate, dividend_yield, volatility, right)
    out = np.empty(c.size)
    _american_batch.boundary_all(*c.market[2:], _grid(_effort(preset)), out)
    away = np.where(c.market[6], -out, out)
    return np.multiply(c.market[1], np.exp(away)).reshape(c.shape)


def _schedule(dividends: Iterable[CashDividend]) -> tuple[FloatArray, FloatArray]:
    ordered = sorted(dividends)
    for one in ordered:
        if not (math.isfinite(one[0]) and math.isfinite(one[1]) and one[1] >= 0.0):
            raise DataError(
                f"dividend {one!r} cannot be used",
                hint="ex_years and cash must be finite, cash not negative",
            )
    times = np.array([one[0] for one in ordered], dtype=np.float64)
    return times, np.array([one[1] for one in ordered], dtype=np.float64)


def _by_differences(
    contracts: _Contracts, dividends: Iterable[CashDividend], effort: _Effort, *, greeks: bool
) -> FloatArray:
    """(6, n) by finite differences, (1, n) without ``greeks``."""
    out = np.empty((6 if greeks else 1, contracts.size))
    times, cash = _schedule(dividends)
    live = contracts.market[5] * np.sqrt(contracts.market[2]) > _CERTAIN
    if not live.all():
        out[:, ~live] = _without_volatility(contracts.subset(~live), times, cash)[: len(out)]
    part = np.empty((out.shape[0], int(live.sum())))
    _american_fd.dividends_all(
        *contracts.subset(live).market, times, cash, effort.cells, greeks, part
    )
    out[:, live] = part
    return out


#: As in the kernels: below this standard deviation of the log spot the future counts as known.
_CERTAIN = 1e-8


def _certain_path(
    spot: float, drift: float, years: float, times: FloatArray, cash: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Times at which exercise may pay, and the spot then: just before each fall, and at expiry."""
    when = np.union1d(np.linspace(0.0, years, 1001), times)
    path = spot * np.exp(drift * when)
    for t, amount in zip(times, cash, strict=True):
        path = path - np.where(when > t, amount * np.exp(drift * (when - t)), 0.0)
    last = path[-1] - cash[times == years].sum()
    return np.append(when, years), np.maximum(np.append(path, last), 0.0)


def _without_volatility(contracts: _Contracts, times: FloatArray, cash: FloatArray) -> FloatArray:
    """(6, n) price and delta of exercise at the best time of the certain path, the rest 0."""
    out = np.zeros((6, contracts.size))
    for i, (s, k, years, r, q, _, call) in enumerate(zip(*contracts.market, strict=True)):
        due = (times > 0.0) & (times <= years)
        when, path = _certain_path(s, r - q, years, times[due], cash[due])
        sign = 1.0 if call else -1.0
        value = np.exp(-r * when) * sign * (path - k)
        best = int(value.argmax())
        if value[best] > 0.0:
            out[:2, i] = value[best], sign * math.exp(-q * when[best])
    return out


def price_with_dividends(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
    dividends: Iterable[CashDividend],
    *,
    preset: Preset = "accurate",
) -> FloatArray:
    """Price with cash dividends of the underlying (spot model), beside a continuous yield if not 0.

    A contract sees the dividends with ``0 < ex_years <= years``; those at or before 0 are paid already.

    Raises
    ------
    DataError
        As :func:`price`, and if a dividend is negative or not finite.

    >>> quarterly = [CashDividend(0.1, 1.8), CashDividend(0.35, 1.8)]
    >>> market = (688.0, 650.0, 0.5, 0.04, 0.0, 0.15)
    >>> round(float(price_with_dividends(*market, "C", quarterly)), 2)
    57.78
    """
    effort = _effort(preset)
    contracts = _contracts(spot, strike, years, rate, dividend_yield, volatility, right)
    out = _by_differences(contracts, dividends, effort, greeks=False)
    return np.asarray(out[0], dtype=np.float64).reshape(contracts.shape)


def greeks_with_dividends(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
    dividends: Iterable[CashDividend],
    *,
    preset: Preset = "accurate",
) -> AmericanGreeks:
    """Price and Greeks as for :func:`price_with_dividends`, five times its work.

    Theta is that of the coming instant: the fall on an ex-date is not part of it. Without volatility
    only price and delta are given, the others are 0.
    """
    effort = _effort(preset)
    contracts = _contracts(spot, strike, years, rate, dividend_yield, volatility, right)
    out = _by_differences(contracts, dividends, effort, greeks=True)
    return AmericanGreeks(*(row.reshape(contracts.shape) for row in out))


def escrowed_spot(
    spot: Number, years: Number, rate: Number, dividends: Iterable[CashDividend]
) -> FloatArray:
    """The spot less the present value of the dividends before expiry: the escrowed model's spot.

    Raises
    ------
    DataError
        If nothing of the spot is left.
    """
    s, t, r = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (spot, years, rate)))
    times, cash = _schedule(dividends)
    due = (times > 0.0) & (times <= t[..., None])
    worth = np.where(due, cash * np.exp(-r[..., None] * times), 0.0).sum(axis=-1)
    if np.any(worth >= s):
        raise DataError(
            f"dividends worth {float(np.max(worth))!r} are no less than the spot",
            hint="check the dividends' unit: dollars per share",
        )
    return np.asarray(s - worth, dtype=np.float64)


def should_exercise_call_before_dividend(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    dividend: Number,
    *,
    later: Iterable[CashDividend] = (),
    preset: Preset = "accurate",
) -> BoolArray:
    """Whether a call's holder does best to exercise on the last day before an ex-date.

    He gives up the call on the spot that has fallen by ``dividend`` for ``spot - strike``: exercise
    is due where the *time value after the fall is below the dividend*. A writer should expect
    assignment there.

    Parameters
    ----------
    spot
        The price before the fall.
    dividend
        Cash per share that goes ex now.
    later
        Dividends after this one, if any.
    """
    s, cash = np.asarray(spot, dtype=np.float64), np.asarray(dividend, dtype=np.float64)
    market = (s - cash, strike, years, rate, dividend_yield, volatility, "C")
    following = list(later)
    held = (
        price_with_dividends(*market, following, preset=preset)
        if following
        else price(*market, preset=preset)
    )
    return np.asarray(s - np.asarray(strike, dtype=np.float64) > held, dtype=np.bool_)


def should_exercise_call_given_put(
    strike: Number, years: Number, rate: Number, put_price: Number, dividend: Number
) -> BoolArray:
    """The same rule from a quoted put of the same strike and expiry, without any model.

    By parity the call's time value after the fall is (at least) the put and the interest on the strike:
    exercise is due where the dividend exceeds ``put_price + strike (1 - exp(-rate years))``. The put's
    price is the one after the fall; that before it contains the fall, and is too high by up to the
    dividend.
    """
    k, t, r, p, cash = (
        np.asarray(x, dtype=np.float64) for x in (strike, years, rate, put_price, dividend)
    )
    return np.asarray(cash > p - k * np.expm1(-r * t), dtype=np.bool_)
