r"""Compiled implied volatility after Jäckel 2015, "Let's Be Rational" (Wilmott, January 2015).

Notation of the paper, on the out-of-the-money side: :math:`x = -|\ln(F/K)|`, :math:`s = \sigma \sqrt T`,
:math:`\beta = V_{otm} / \sqrt{F K}` undiscounted, :math:`b(s)` the normalised Black function, and
of :mod:`spy_assets.options._bsm_kernel`: :math:`h = x/s`, :math:`t = s/2`, the Mills ratio Y and

.. math::

    v = b'(s) = \frac{e^{-(h^2+t^2)/2}}{\sqrt{2\pi}}, \qquad b = v D, \quad D = Y(h+t) - Y(h-t), \qquad
    b_{max} - b = v U, \quad U = Y(-h-t) + Y(h-t), \quad b_{max} = e^{x/2}

so that the Newton step of every objective below needs no exponential that could underflow. The
inflection point of b is :math:`s_c = \sqrt{2|x|}`; its tangent there meets 0 at :math:`s_l` and
:math:`b_{max}` at :math:`s_h`. These cut the prices into four zones, each with a rational cubic
interpolation (Delbourgo and Gregory 1985) as first guess, then two Householder steps of third order:

====================  =======================================  ===============================
zone                  interpolated                             objective of the steps
====================  =======================================  ===============================
b <= b(s_l)           2 pi |x| / sqrt(27) N(x/(sqrt(3) s))^3   1/ln b - 1/ln beta
b(s_l) to b(s_c)      s                                        b - beta
b(s_c) to b(s_h)      s                                        b - beta
above b(s_h)          N(-s/2)                                  ln((bmax - beta)/(bmax - b))
====================  =======================================  ===============================

The options go through in blocks; each step of the way is a loop over the block without branches
(all zones are computed, one is chosen), which the compiler turns into vector instructions. That is
cheaper than one option at a time with only its own zone. The readable twin is
``spy_assets_tests/options/implied_vol_twin.py``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spy_assets.options._bsm_kernel import SMALL_DEVIATION, half_gap
from spy_assets.options._elementary_kernel import (
    bits_float,
    exponential,
    exponential_minus_one,
    float_bits,
    log_ratio,
    mills_ratio,
)
from spy_assets.options._exact_kernel import exact_time_value
from spy_assets.options.compiled import fused_kernel, inlined_kernel

FloatArray = npt.NDArray[np.float64]
StatusArray = npt.NDArray[np.int8]

OK, BELOW_INTRINSIC, ABOVE_MAX, ZERO_BID, EXPIRED, UNINFORMATIVE, INVALID = range(7)

BLOCK = 256
_INV_SQRT_2PI = 0.3989422804014327
_SQRT_2PI = 2.5066282746310002
_SQRT_HALF_PI = 1.2533141373155003
_SQRT_3 = 1.7320508075688772
_TWO_PI = 6.283185307179586
#: Nearer to the money the guesses take this |x|: their quotients need one that is not 0.
_LEAST_X = 1e-14
#: Below this s_c its tangents are summed as series; the differences would cancel.
_SMALL_CENTRE = 0.02
#: A control parameter of the rational cubic must stay above -1 (the curve has a pole there).
_LEAST_CONTROL, _GREATEST_CONTROL = -0.999, 1e18
_LEAST = 1e-300

# Where each column of a block begins in the flat scratch array. The offsets are constants, so that the
# compiler can see that no column overlaps another.
(
    _S, _K, _T, _R, _Q, _G, _P,
    _X, _M, _TV, _BETA, _LNB, _GAMMA, _VALUE, _BMAX, _NOISE, _S0, _ZONE, _ROOT, _TOP, _SIGMA, _ATT,
) = range(0, 22 * BLOCK, BLOCK)  # fmt: skip
WORK = 22 * BLOCK


@inlined_kernel
def normal_quantile(p: float) -> float:
    """The quantile of the lower tail p <= 1/2, to 5e-4 (Abramowitz and Stegun 26.2.23): for guesses."""
    w = math.sqrt(-2.0 * log_ratio(p, 1.0))
    above = 2.515517 + w * (0.802853 + w * 0.010328)
    below = 1.0 + w * (1.432788 + w * (0.189269 + w * 0.001308))
    return above / below - w


@inlined_kernel
def cube_root(a: float) -> float:
    """The cube root of a positive number, to about 1e-14: for guesses."""
    return exponential(log_ratio(a, 1.0) / 3.0)


@inlined_kernel
def rational_cubic(
    b: float,
    left: float,
    right: float,
    y_left: float,
    y_right: float,
    slope_left: float,
    slope_right: float,
    control: float,
) -> float:
    """The rational cubic through both ends with their slopes (Delbourgo and Gregory 1985, eq. 2.4)."""
    width = right - left
    r = min(max(control, _LEAST_CONTROL), _GREATEST_CONTROL)
    u = min(max((b - left) / width, 0.0), 1.0)
    o = 1.0 - u
    above = (
        y_right * u * u * u
        + (r * y_right - width * slope_right) * u * u * o
        + (r * y_left + width * slope_left) * u * o * o
        + y_left * o * o * o
    )
    return above / (1.0 + (r - 3.0) * u * o)


@inlined_kernel
def spacing(a: float) -> float:
    """The distance from a positive normal number to the next: its unit in the last place."""
    exponent = (float_bits(a) >> 52) - 52
    return bits_float(max(exponent, 1) << 52)


@inlined_kernel
def normalise(
    spot: float,
    strike: float,
    years: float,
    rate: float,
    dividend_yield: float,
    sign: float,
    price: float,
) -> tuple[float, float, float, float, float]:
    """x, the scale sqrt(S_pv K_pv), the time value, the highest price, and how much of it is noise.

    The time value of an in-the-money price is (p - g(S - K)) - g(S expm1(-qT) - K expm1(-rT)); the
    rounding error of S - K is added back.
    """
    forward = log_ratio(spot, strike) + (rate - dividend_yield) * years
    lost_spot = spot * exponential_minus_one(-dividend_yield * years)
    lost_strike = strike * exponential_minus_one(-rate * years)
    scale = math.sqrt(spot * strike)
    scale *= exponential(-0.5 * (rate + dividend_yield) * years)
    gap = spot - strike
    back = gap - spot
    rest = (spot - (gap - back)) - (strike + back)
    inside = ((price - sign * gap) - sign * rest) - sign * (lost_spot - lost_strike)
    is_in = sign * forward > 0.0
    value = inside if is_in else price
    top = spot + lost_spot if sign > 0.0 else strike + lost_strike
    # Of the units in the last place of the price, those that the sum above may have lost.
    noise = (abs(lost_spot) + abs(lost_strike)) / max(price, _LEAST)
    noise = noise if is_in else -1.0
    return -abs(forward), scale, value, top, noise


@inlined_kernel
def first_guess(x: float, beta: float, top: float) -> tuple[float, float]:
    """The guess of s and the zone (0 lowest to 3 highest).

    One long function: the zones share their ends, and all four guesses are computed.
    """
    a = max(-x, _LEAST_X)
    c = math.sqrt(2.0 * a)
    v_c = _INV_SQRT_2PI * top
    far = mills_ratio(c)
    tangent = _SQRT_HALF_PI - far
    series = c * (_SQRT_HALF_PI / 2.0 - c * (1.0 / 3.0 - c * (_SQRT_HALF_PI / 8.0 - c / 15.0)))
    is_small = c < _SMALL_CENTRE
    low = c * series if is_small else c - tangent
    high = c + _SQRT_HALF_PI + far
    b_c = v_c * (c - low)

    h_l, t_l = a / low, 0.5 * low
    d_l = mills_ratio(h_l - t_l) - mills_ratio(h_l + t_l)
    v_l = _INV_SQRT_2PI * exponential(-0.5 * (h_l * h_l + t_l * t_l))
    b_l = v_l * d_l
    h_h, t_h = a / high, 0.5 * high
    v_h = _INV_SQRT_2PI * exponential(-0.5 * (h_h * h_h + t_h * t_h))
    rest_h = v_h * (mills_ratio(t_h - h_h) + mills_ratio(t_h + h_h))
    b_h = top - rest_h

    # Lowest: f = A N(z)^3 with z = x/(sqrt(3) s); f' = z^2 Y(z)^2 exp(s^2/8), f' = 1 at 0.
    z = h_l / _SQRT_3
    y = mills_ratio(z)
    tail = y * _INV_SQRT_2PI * exponential(-0.5 * z * z)
    most = _TWO_PI * a / (3.0 * _SQRT_3)
    f_l = most * tail * tail * tail
    df_l = z * z * y * y * exponential(0.125 * low * low)
    bend = df_l * (-2.0 + 2.0 * z / y - 2.0 * z * z + 0.25 * low * low) / (low * v_l)
    control = (0.5 * b_l * bend + (df_l - 1.0)) / (df_l - f_l / b_l)
    # Where f is nearly straight that quotient is 0/0; from here on the cubic is monotone.
    control = max(control, (1.0 + df_l) * b_l / f_l)
    f = rational_cubic(beta, 0.0, b_l, 0.0, f_l, 1.0, df_l, control)
    p = min(max(cube_root(max(f, _LEAST) / most), 1e-100), 0.5)
    lowest = a / (_SQRT_3 * -normal_quantile(p))

    # The middle two interpolate s itself, which has no curvature at s_c.
    i_l, i_c, i_h = 1.0 / v_l, 1.0 / v_c, 1.0 / v_h
    control = (i_c - i_l) / (i_c - (c - low) / (b_c - b_l))
    lower = rational_cubic(beta, b_l, b_c, low, c, i_l, i_c, control)
    control = (i_h - i_c) / ((high - c) / (b_h - b_c) - i_c)
    upper = rational_cubic(beta, b_c, b_h, c, high, i_c, i_h, control)

    # Highest: f = N(-s/2), f' = -exp(h^2/2)/2.
    f_h = mills_ratio(t_h) * _INV_SQRT_2PI * exponential(-0.5 * t_h * t_h)
    steep = exponential(0.5 * h_h * h_h)
    bend = _SQRT_HALF_PI * h_h * h_h / high * steep * steep * exponential(0.125 * high * high)
    control = (0.5 * rest_h * bend + (0.5 * steep - 0.5)) / (0.5 * steep - f_h / rest_h)
    f = rational_cubic(beta, b_h, top, f_h, 0.0, -0.5 * steep, -0.5, control)
    highest = -2.0 * normal_quantile(min(max(f, _LEAST), 0.5))

    zone = 0.0 if beta < b_l else (1.0 if beta <= b_c else (2.0 if beta <= b_h else 3.0))
    guess = lowest if beta < b_l else lower
    guess = guess if beta <= b_c else upper
    guess = guess if beta <= b_h else highest
    return guess, zone


@inlined_kernel
def improved(s: float, x: float, beta: float, log_beta: float, gamma: float, zone: float) -> float:
    """One Householder step of third order; gamma = bmax - beta."""
    h, t = x / s, 0.5 * s
    hh = h * h
    exponent = 0.5 * (hh + t * t)
    near, far = mills_ratio(abs(h + t)), mills_ratio(t - h)
    gap = 2.0 * half_gap(h, min(t, SMALL_DEVIATION), mills_ratio(-h))
    # As in the pricing kernel: the series where the difference would cancel.
    is_small = (t if h * t > -0.5 else 1.0) < SMALL_DEVIATION
    is_below = h + t <= 0.0
    d = max(gap if is_small else near - far, _LEAST)
    u = near + far
    is_lowest, is_highest = zone == 0.0, zone == 3.0
    inverse = 1.0 / (d if is_lowest else u)
    log_v = -exponent - 0.9189385332046728
    # ln(b/beta), or ln((bmax - b)/(bmax - beta)), as one logarithm of one quotient.
    excess = log_v + log_ratio(d if is_lowest else u, beta if is_lowest else gamma)
    bent = hh / s - 0.5 * t
    bent_slope = -3.0 * hh / (s * s) - 0.25

    # The middle, b - beta: each side of s_c by the form that does not cancel.
    inverse_v = _SQRT_2PI * exponential(exponent)
    from_below = beta * inverse_v - d
    from_above = u - gamma * inverse_v
    newton = from_below if is_small else (from_below if is_below else from_above)
    second = bent
    third = bent * bent + bent_slope

    # The lowest: 1/ln b - 1/ln beta.
    log_b = log_beta + excess
    two = 2.0 / log_b
    newton = -d * log_b * excess / log_beta if is_lowest else newton
    second_l = bent - inverse * (1.0 + two)
    third_l = second_l * second_l + bent_slope
    third_l -= inverse * ((bent - inverse) * (1.0 + two) - 0.5 * inverse * two * two)
    second = second_l if is_lowest else second
    third = third_l if is_lowest else third

    # The highest: ln((bmax - beta)/(bmax - b)).
    newton = u * excess if is_highest else newton
    second_h = bent + inverse
    second = second_h if is_highest else second
    third = second_h * second_h + bent_slope + inverse * second_h if is_highest else third

    step = newton * (1.0 + 0.5 * second * newton)
    step /= 1.0 + newton * (second + third * newton / 6.0)
    return s + min(max(step, -0.5 * s), s)


@fused_kernel
def take_block(
    market: FloatArray, start: int, size: int, work: FloatArray, code: StatusArray
) -> None:
    """Copy a block; what is no option, or no price, becomes a harmless one and keeps its reason."""
    for i in range(BLOCK):
        k = min(start + i, start + size - 1)
        spot, strike, years = market[0, k], market[1, k], market[2, k]
        rate, dividend_yield, sign = market[3, k], market[4, k], market[5, k]
        price, bid = market[6, k], market[7, k]
        sane = 0.0 < spot < math.inf and 0.0 < strike < math.inf and abs(years) < math.inf
        sane = sane and abs(rate) < math.inf and abs(dividend_yield) < math.inf
        sane = sane and abs(price) < math.inf and abs(sign) == 1.0
        code[i] = OK
        if not sane:
            code[i] = INVALID
        elif years <= 0.0:
            code[i] = EXPIRED
        elif not bid > 0.0:
            code[i] = ZERO_BID
        if code[i] != OK:
            spot, strike, years, rate, dividend_yield = 100.0, 100.0, 1.0, 0.0, 0.0
            sign, price = 1.0, 8.0
        work[_S + i], work[_K + i], work[_T + i] = spot, strike, years
        work[_R + i], work[_Q + i], work[_G + i], work[_P + i] = rate, dividend_yield, sign, price


@fused_kernel
def normalise_block(work: FloatArray) -> None:
    """The arguments of :func:`normalise` to its results."""
    for i in range(BLOCK):
        x, scale, value, top, noise = normalise(
            work[_S + i],
            work[_K + i],
            work[_T + i],
            work[_R + i],
            work[_Q + i],
            work[_G + i],
            work[_P + i],
        )
        work[_X + i], work[_M + i], work[_TV + i] = x, scale, value
        work[_TOP + i], work[_NOISE + i] = top, noise


@fused_kernel
def judge_block(work: FloatArray, code: StatusArray) -> None:
    """Settle which prices have a volatility; look again, exactly, where float64 was too coarse."""
    for i in range(BLOCK):
        price, value = work[_P + i], work[_TV + i]
        unit = abs(price) * 2.220446049250313e-16
        if work[_NOISE + i] > 2.0 or (work[_NOISE + i] >= 0.0 and abs(value) < 64.0 * unit):
            value = exact_time_value(
                work[_S + i],
                work[_K + i],
                work[_T + i],
                work[_R + i],
                work[_Q + i],
                work[_G + i],
                price,
            )
        if code[i] == OK:
            if price < 0.0 or value < -unit:
                code[i] = BELOW_INTRINSIC
            elif price >= work[_TOP + i]:
                code[i] = ABOVE_MAX
            elif not value > _LEAST:
                code[i] = UNINFORMATIVE
        if code[i] != OK:
            value = 0.08 * work[_M + i]
        work[_TV + i] = value


@fused_kernel
def start_block(work: FloatArray) -> None:
    """What the steps need, and their first guess."""
    for i in range(BLOCK):
        x = work[_X + i]
        beta = work[_TV + i] / work[_M + i]
        top = exponential(0.5 * x)
        guess, zone = first_guess(x, beta, top)
        work[_BETA + i], work[_S0 + i], work[_ZONE + i] = beta, guess, zone
        work[_LNB + i], work[_GAMMA + i] = log_ratio(work[_TV + i], work[_M + i]), top - beta


@fused_kernel
def improve_block(work: FloatArray) -> None:
    """One Householder step for each."""
    for i in range(BLOCK):
        work[_S0 + i] = improved(
            work[_S0 + i],
            work[_X + i],
            work[_BETA + i],
            work[_LNB + i],
            work[_GAMMA + i],
            work[_ZONE + i],
        )


@fused_kernel
def finish_block(work: FloatArray) -> None:
    """The volatility, and what the last bit of the price (or of itself) is worth in it."""
    for i in range(BLOCK):
        s, root = work[_S0 + i], math.sqrt(work[_T + i])
        h, t = work[_X + i] / s, 0.5 * s
        density = exponential(-0.5 * (h * h + t * t))
        vega = work[_M + i] * _INV_SQRT_2PI * density * root
        sigma = s / root
        work[_SIGMA + i] = sigma
        work[_ATT + i] = max(spacing(work[_P + i]) / vega, spacing(sigma))


@fused_kernel
def implied_volatility_loop(
    market: FloatArray, iv: FloatArray, status: StatusArray, attainable: FloatArray
) -> None:
    """Fill the results from ``market`` (8, n): spot, strike, years, rate, yield, sign, price, bid."""
    work = np.empty(WORK)
    code = np.empty(BLOCK, dtype=np.int8)
    n = market.shape[1]
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        take_block(market, start, size, work, code)
        normalise_block(work)
        judge_block(work, code)
        start_block(work)
        improve_block(work)
        improve_block(work)
        finish_block(work)
        for i in range(size):
            sigma, error = work[_SIGMA + i], work[_ATT + i]
            if code[i] == OK and not (0.0 < error < sigma < math.inf):
                code[i] = UNINFORMATIVE
            status[start + i] = code[i]
            iv[start + i] = sigma if code[i] == OK else math.nan
            attainable[start + i] = error if code[i] == OK else math.nan
