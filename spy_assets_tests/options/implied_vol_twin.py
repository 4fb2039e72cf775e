"""Implied volatility one option at a time, to be read beside the compiled kernel and compared with it.

The same mathematics (Jäckel 2015, see ``spy_assets.options._iv_kernel``) in plain Python, with SciPy's
special functions, only the option's own zone, the inputs prepared as log1p and expm1, and six steps, so
that it also shows that two are enough.
"""

from __future__ import annotations

import math

from scipy.special import erfcx, ndtri

_SQRT_2PI = math.sqrt(2.0 * math.pi)


def mills(z: float) -> float:
    """Y(z) = N(z)/phi(z)."""
    return math.sqrt(math.pi / 2.0) * float(erfcx(-z / math.sqrt(2.0)))


def cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def gap(h: float, t: float) -> float:
    """Y(h + t) - Y(h - t), by Taylor's series where the difference would cancel."""
    if t > 0.7 or -2.0 * h * t > 1.0:
        return mills(h + t) - mills(h - t)
    before, last = mills(h), 1.0 + h * mills(h)
    total, term = t * last, t
    for n in range(1, 25):
        before, last = last, h * last + n * before
        term *= t / (n + 1)
        total += term * last if n % 2 == 0 else 0.0
    return 2.0 * total


def vega(x: float, s: float) -> float:
    return math.exp(-0.5 * ((x / s) ** 2 + 0.25 * s * s)) / _SQRT_2PI


def black(x: float, s: float) -> float:
    """The normalised price b(x, s) of an out-of-the-money call."""
    return vega(x, s) * gap(x / s, 0.5 * s)


def cubic(b, left, right, y_left, y_right, slope_left, slope_right, control):
    """Delbourgo and Gregory 1985, eq. 2.4."""
    w, r = right - left, control
    u = (b - left) / w
    o = 1.0 - u
    above = y_right * u**3 + (r * y_right - w * slope_right) * u * u * o
    above += (r * y_left + w * slope_left) * u * o * o + y_left * o**3
    return above / (1.0 + (r - 3.0) * u * o)


def lowest(x: float, beta: float, s: float, b: float) -> float:
    """The guess below b(s_l): there 2 pi |x| / sqrt(27) N(x / (sqrt(3) s))^3 is nearly straight."""
    z, most = x / (math.sqrt(3.0) * s), 2.0 * math.pi * -x / math.sqrt(27.0)
    f = most * cdf(z) ** 3
    slope = 2.0 * math.pi * z * z * cdf(z) ** 2 * math.exp(z * z + s * s / 8.0)
    bend = slope * (-2.0 - 2.0 * z / mills(z) - 2.0 * z * z + 0.25 * s * s) / (s * vega(x, s))
    control = (0.5 * b * bend + slope - 1.0) / (slope - f / b)
    control = max(control, (1.0 + slope) * b / f)
    value = cubic(beta, 0.0, b, 0.0, f, 1.0, slope, control)
    return x / (math.sqrt(3.0) * float(ndtri((value / most) ** (1.0 / 3.0))))


def highest(x: float, beta: float, s: float, b: float, most: float) -> float:
    """The guess above b(s_h): there N(-s/2) is nearly straight."""
    h = x / s
    f, slope = cdf(-0.5 * s), -0.5 * math.exp(0.5 * h * h)
    bend = math.sqrt(math.pi / 2.0) * h * h / s * math.exp(h * h + s * s / 8.0)
    control = (0.5 * (most - b) * bend - 0.5 - slope) / (-f / (most - b) - slope)
    return -2.0 * float(ndtri(cubic(beta, b, most, f, 0.0, slope, -0.5, control)))


def guess(x: float, beta: float) -> tuple[str, float]:
    """The zone and the first guess of s."""
    x = min(x, -1e-14)
    c, most = math.sqrt(-2.0 * x), math.exp(0.5 * x)
    b_c, v_c = black(x, c), vega(x, c)
    low, high = c - b_c / v_c, c + (most - b_c) / v_c
    b_l, b_h = black(x, low), black(x, high)
    if beta < b_l:
        return "lowest", lowest(x, beta, low, b_l)
    if beta > b_h:
        return "highest", highest(x, beta, high, b_h, most)
    if beta <= b_c:
        ends = (b_l, b_c, low, c, 1.0 / vega(x, low), 1.0 / v_c)
        control = (ends[5] - ends[4]) / (ends[5] - (c - low) / (b_c - b_l))
    else:
        ends = (b_c, b_h, c, high, 1.0 / v_c, 1.0 / vega(x, high))
        control = (ends[5] - ends[4]) / ((high - c) / (b_h - b_c) - ends[4])
    return "middle", cubic(beta, *ends, control)


def improved(x: float, s: float, beta: float, zone: str) -> float:
    """One Householder step of third order for the zone's objective."""
    b, slope = black(x, s), vega(x, s)
    second = x * x / s**3 - 0.25 * s
    third = second**2 - 3.0 * x * x / s**4 - 0.25
    if zone == "lowest":  # g = 1/ln b - 1/ln beta, with p = b'/b
        p, log_b = slope / b, math.log(b)
        newton = -(log_b / math.log(beta)) * math.log(b / beta) / p
        eta = second - p * (1.0 + 2.0 / log_b)
        change = third - second**2 - p * (second - p) * (1.0 + 2.0 / log_b) + 2.0 * (p / log_b) ** 2
    elif zone == "highest":  # g = ln(bmax - b) - ln(bmax - beta), with p = b'/(bmax - b)
        rest = math.exp(0.5 * x) - b
        p = slope / rest
        newton = math.log(rest / (math.exp(0.5 * x) - beta)) / p
        eta = second + p
        change = third - second**2 + p * eta
    else:  # g = b - beta
        newton, eta, change = (beta - b) / slope, second, third - second**2
    ratio = (1.0 + 0.5 * eta * newton) / (
        1.0 + newton * (eta + (eta * eta + change) * newton / 6.0)
    )
    return s + newton * ratio


def total_deviation(x: float, beta: float, steps: int = 6) -> float:
    """The s with b(x, s) = beta."""
    zone, s = guess(x, beta)
    for _ in range(steps):
        s = improved(x, s, beta, zone)
    return s


def implied_volatility(price, spot, strike, years, rate, dividend_yield, right):
    """The volatility of one quote that has one; NaN if it has no time value or too much."""
    sign = 1.0 if right == "C" else -1.0
    x = math.log1p((spot - strike) / strike) + (rate - dividend_yield) * years
    carried = spot * math.expm1(-dividend_yield * years) - strike * math.expm1(-rate * years)
    value = (price - sign * (spot - strike)) - sign * carried if sign * x > 0.0 else price
    scale = math.sqrt(spot * strike) * math.exp(-0.5 * (rate + dividend_yield) * years)
    beta, x = value / scale, -abs(x)
    if not 0.0 < beta < math.exp(0.5 * x):
        return math.nan
    return total_deviation(x, beta) / math.sqrt(years)
