r"""Black-Scholes-Merton prices and Greeks of European options.

With the sign :math:`\phi = +1` for a call and :math:`-1` for a put,

.. math::

    V = \phi \left( S e^{-qT} N(\phi d_1) - K e^{-rT} N(\phi d_2) \right), \qquad
    d_{1,2} = \frac{\ln(S/K) + (r - q \pm \sigma^2/2) T}{\sigma \sqrt{T}}

(Black and Scholes 1973, "The Pricing of Options and Corporate Liabilities", eq. 13, with the
continuous yield of Merton 1973). At ``years == 0`` or ``volatility == 0`` the option is worth the
discounted intrinsic value of the forward, and delta is a step (one half exactly at the money).

Every function takes scalars or arrays that broadcast against each other and gives float64. Units:
prices in dollars per share, ``years`` ACT/365, ``rate`` and ``dividend_yield`` continuous per year,
``volatility`` per square-root year as a decimal; vega and rho per 1.00, theta per year.

:func:`price_scalar` is the same price for plain floats, without NumPy's cost per call; the tests
hold the two equal.

:func:`all_greeks` is compiled (:mod:`spy_assets.options._bsm_kernel`): price and eight sensitivities in
one pass, some tens of nanoseconds per option, and accurate to 1e-12 of each value far into the tails,
where the readable formulas above lose their digits to cancellation. The simulator keeps the readable
ones: its recorded results are those of their arithmetic.
"""

# The seven arguments of the formula keep their textbook order, by position.

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import erfc

from spy_assets.errors import DataError

FloatArray = npt.NDArray[np.float64]
Number = npt.ArrayLike
#: ``"C"``/``"P"``, an array of them, or an array of +1 (call) and -1 (put).
RightLike = Literal["C", "P"] | npt.ArrayLike

_SQRT2 = math.sqrt(2.0)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
#: Beyond this many standard deviations the normal density is 0 in float64.
_FAR = 40.0
#: Below this standard deviation of the log price there is nothing left to be uncertain about, and a
#: quotient by it could overflow.
_CERTAIN = 1e-100
#: Options handed to a kernel at a time: their arguments stay in the processor's cache.
_CHUNK = 16_384


class Greeks(NamedTuple):
    """Sensitivities per share; vega and rho per 1.00, theta per year of calendar time."""

    delta: FloatArray
    gamma: FloatArray
    vega: FloatArray
    theta: FloatArray
    rho: FloatArray


class AllGreeks(NamedTuple):
    r"""Price and sensitivities per share, each of the arguments' broadcast shape.

    vega :math:`V_\sigma` and rho :math:`V_r` per 1.00; theta :math:`-V_T` per year of calendar time;
    vanna :math:`V_{S\sigma}`, volga :math:`V_{\sigma\sigma}` per 1.00; charm :math:`-V_{ST}` per year.
    """

    price: FloatArray
    delta: FloatArray
    gamma: FloatArray
    vega: FloatArray
    theta: FloatArray
    rho: FloatArray
    vanna: FloatArray
    volga: FloatArray
    charm: FloatArray


class _Terms(NamedTuple):
    """What price and Greeks share, broadcast to one shape."""

    sign: FloatArray
    spot_pv: FloatArray
    strike_pv: FloatArray
    d1: FloatArray
    d2: FloatArray
    deviation: FloatArray
    live: npt.NDArray[np.bool_]
    spot: FloatArray
    years: FloatArray
    rate: FloatArray
    dividend_yield: FloatArray
    volatility: FloatArray


def sign_of(right: RightLike) -> FloatArray:
    """+1 for calls, -1 for puts.

    Raises
    ------
    DataError
        If anything but ``"C"``, ``"P"``, 1 or -1 is given.
    """
    sign = lenient_sign_of(right)
    if not np.all(sign):
        raise DataError(f"option right {right!r} is neither 'C' nor 'P'", hint="give 'C' or 'P'")
    return sign


def lenient_sign_of(right: RightLike) -> FloatArray:
    """As :func:`sign_of`, with 0 for what is neither a call nor a put."""
    given = np.asarray(right)
    if given.dtype == np.dtype("U1"):
        # Comparing the characters' codes is ten times faster than comparing strings.
        codes = np.ascontiguousarray(given).view(np.uint32).reshape(given.shape)
        call, put = codes == ord("C"), codes == ord("P")
    elif given.dtype.kind in "US":
        call, put = given == "C", given == "P"
    elif given.dtype.kind == "O":
        # Text as Polars gives it, or numbers among objects.
        call, put = (given == "C") | (given == 1), (given == "P") | (given == -1)
    else:
        call, put = given == 1, given == -1
    return np.asarray(call, dtype=np.float64) - np.asarray(put, dtype=np.float64)


def in_chunks(*columns: Number) -> tuple[tuple[int, ...], Iterator[tuple[int, FloatArray]]]:
    """The columns' broadcast shape, and their values as ``(start, matrix)`` with a row for each.

    A matrix holds the next values of the flattened columns, few enough for the processor's cache; it is
    overwritten by the next.
    """
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    size = math.prod(shape)
    flat = [a.reshape(1) if a.size == 1 else np.broadcast_to(a, shape).reshape(-1) for a in arrays]

    def chunks() -> Iterator[tuple[int, FloatArray]]:
        rows = np.empty((len(flat), min(size, _CHUNK)))
        for start in range(0, size, _CHUNK):
            length = min(_CHUNK, size - start)
            if length < rows.shape[1]:
                rows = np.empty((len(flat), length))
            for k, one in enumerate(flat):
                rows[k] = one if one.size == 1 else one[start : start + length]
            yield start, rows

    return shape, chunks()


def _cdf(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * erfc(-x / _SQRT2), dtype=np.float64)


def _pdf(x: FloatArray) -> FloatArray:
    clipped = np.clip(x, -_FAR, _FAR)
    density = _INV_SQRT_2PI * np.exp(-0.5 * clipped * clipped)
    return np.where(np.abs(x) < _FAR, density, 0.0)


def _require_domain(*named: tuple[str, FloatArray, bool]) -> None:
    for name, values, positive in named:
        bad = ~(np.isfinite(values) & ((values > 0.0) if positive else (values >= 0.0)))
        if np.any(bad):
            raise DataError(
                f"{name} {float(values[bad].flat[0])!r} cannot be priced",
                hint=f"{name} must be finite and {'positive' if positive else 'not negative'}",
            )


def _terms(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
) -> _Terms:
    sign, s, k, t, r, q, v = np.broadcast_arrays(
        sign_of(right),
        *(np.asarray(x, dtype=np.float64) for x in (spot, strike, years, rate, dividend_yield)),
        np.asarray(volatility, dtype=np.float64),
    )
    _require_domain(
        ("spot", s, True), ("strike", k, True), ("years", t, False), ("volatility", v, False)
    )
    deviation = v * np.sqrt(t)
    live = deviation > _CERTAIN
    drift = np.log(s / k) + (r - q) * t
    # Where nothing is uncertain any more, d1 and d2 become a step at the forward.
    step = np.sign(drift) * (2.0 * _FAR)
    safe = np.where(live, deviation, 1.0)
    d1 = np.where(live, drift / safe + 0.5 * deviation, step)
    d2 = np.where(live, drift / safe - 0.5 * deviation, step)
    spot_pv, strike_pv = s * np.exp(-q * t), k * np.exp(-r * t)
    return _Terms(sign, spot_pv, strike_pv, d1, d2, deviation, live, s, t, r, q, v)


def price(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
) -> FloatArray:
    """Price in dollars per share, never below 0.

    Raises
    ------
    DataError
        If spot or strike is not positive, or years or volatility is negative or not finite.

    >>> round(float(price(100.0, 100.0, 1.0, 0.05, 0.0, 0.2, "C")), 4)
    10.4506
    """
    m = _terms(spot, strike, years, rate, dividend_yield, volatility, right)
    value = m.sign * (m.spot_pv * _cdf(m.sign * m.d1) - m.strike_pv * _cdf(m.sign * m.d2))
    return np.maximum(value, 0.0)


def greeks(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
) -> Greeks:
    """Delta, gamma, vega, theta and rho; arguments, units and errors as for :func:`price`.

    At expiry (or without volatility) gamma and vega are 0 and theta is only the carry.
    """
    m = _terms(spot, strike, years, rate, dividend_yield, volatility, right)
    exercised, held = _cdf(m.sign * m.d2), _cdf(m.sign * m.d1)
    density = np.where(m.live, _pdf(m.d1), 0.0)
    carry = np.exp(-m.dividend_yield * m.years)
    root_years = np.sqrt(m.years)
    safe = np.where(m.live, m.deviation, 1.0)
    safe_root = np.where(m.years > 0.0, root_years, 1.0)
    decay = -m.spot_pv * density * m.volatility / (2.0 * safe_root)
    interest = m.dividend_yield * m.spot_pv * held - m.rate * m.strike_pv * exercised
    at_expiry = m.years == 0.0
    return Greeks(
        delta=m.sign * carry * held,
        gamma=np.where(m.live, carry * density / (m.spot * safe), 0.0),
        vega=m.spot_pv * density * root_years,
        theta=np.where(at_expiry, 0.0, decay + m.sign * interest),
        rho=m.sign * m.strike_pv * m.years * exercised,
    )


def all_greeks(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    sigma: Number,
    right: RightLike,
) -> AllGreeks:
    """Price, delta, gamma, vega, theta, rho, vanna, volga and charm, compiled.

    Arguments and units as for :func:`price`, the results float64 of the broadcast shape. For valid
    arguments every value is finite, also at ``years == 0`` (intrinsic value, step delta, the rest 0) and
    at ``sigma == 0`` (the discounted intrinsic value of the forward). Where an argument is NaN, infinite
    or impossible, all results are NaN: a missing volatility in a chain stays a missing delta. Nothing is
    raised for values.

    >>> values = all_greeks(100.0, [90.0, 110.0], 0.25, 0.04, 0.01, 0.2, ["P", "C"])
    >>> values.delta.round(4).tolist()
    [-0.119, 0.2033]
    """
    # The kernel brings numba with it; what only reads this module's formulas does not wait for that.
    from spy_assets.options._bsm_kernel import all_greeks_loop

    shape, chunks = in_chunks(
        spot, strike, years, rate, dividend_yield, sigma, lenient_sign_of(right)
    )
    results = np.empty((len(AllGreeks._fields), math.prod(shape)))
    for start, market in chunks:
        part = slice(start, start + market.shape[1])
        all_greeks_loop(market, tuple(row[part] for row in results))
    return AllGreeks(*results.reshape(len(results), *shape))


def delta(
    spot: Number,
    strike: Number,
    years: Number,
    rate: Number,
    dividend_yield: Number,
    volatility: Number,
    right: RightLike,
) -> FloatArray:
    """Dollars per dollar of the underlying; arguments as for :func:`price`."""
    return greeks(spot, strike, years, rate, dividend_yield, volatility, right).delta


def intrinsic(spot: Number, strike: Number, right: RightLike) -> FloatArray:
    """Value per share at expiry."""
    s, k = np.asarray(spot, dtype=np.float64), np.asarray(strike, dtype=np.float64)
    return np.maximum(sign_of(right) * (s - k), 0.0)


def price_scalar(
    spot: float,
    strike: float,
    years: float,
    rate: float,
    dividend_yield: float,
    volatility: float,
    is_call: bool,
) -> float:
    """:func:`price` for plain floats: the same formula in the same order, no array overhead.

    The arguments are not checked; callers pass values that they checked once.
    """
    deviation = volatility * math.sqrt(years)
    spot_pv = spot * math.exp(-dividend_yield * years)
    strike_pv = strike * math.exp(-rate * years)
    sign = 1.0 if is_call else -1.0
    if deviation <= _CERTAIN:
        return max(0.0, sign * (spot_pv - strike_pv))
    drift = math.log(spot / strike) + (rate - dividend_yield) * years
    d1 = sign * (drift / deviation + 0.5 * deviation)
    d2 = sign * (drift / deviation - 0.5 * deviation)
    held, exercised = 0.5 * math.erfc(-d1 / _SQRT2), 0.5 * math.erfc(-d2 / _SQRT2)
    return max(0.0, sign * (spot_pv * held - strike_pv * exercised))
