r"""The time value of an in-the-money price in twice the precision of float64.

Deep in the money the price is almost all intrinsic value. Where what remains is a few units in the
last place of the price, float64 arithmetic cannot say whether it is positive. A number is held here
as the unevaluated sum of two float64 (Dekker 1971, "A floating-point technique for extending the
available precision"), about 32 digits; that is slow, and rarely needed.
"""

# Plain `kernel` throughout: fused multiply-adds would break the error-free transformations.

from __future__ import annotations

from spy_assets.options.compiled import kernel

Double = tuple[float, float]

_SPLITTER = 134217729.0
#: exp(y) - 1 is summed for y / 2**HALVINGS and doubled back.
_HALVINGS = 12
_SERIES_TERMS = 9


@kernel
def two_sum(a: float, b: float) -> Double:
    """The sum a + b without error (Knuth)."""
    s = a + b
    back = s - a
    return s, (a - (s - back)) + (b - back)


@kernel
def two_product(a: float, b: float) -> Double:
    """The product a b without error (Veltkamp's splitting, Dekker's product)."""
    p = a * b
    split = _SPLITTER * a
    a_high = split - (split - a)
    a_low = a - a_high
    split = _SPLITTER * b
    b_high = split - (split - b)
    b_low = b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


@kernel
def add(a: Double, b: Double) -> Double:
    """The sum of two double numbers."""
    s, e = two_sum(a[0], b[0])
    f, g = two_sum(a[1], b[1])
    s, e = two_sum(s, e + f)
    return two_sum(s, e + g)


@kernel
def multiply(a: Double, b: Double) -> Double:
    """The product of two double numbers."""
    p, e = two_product(a[0], b[0])
    return two_sum(p, e + (a[0] * b[1] + a[1] * b[0]))


@kernel
def divide_by(a: Double, n: float) -> Double:
    """A double number over an integer."""
    q = a[0] / n
    p, e = two_product(q, n)
    return two_sum(q, ((a[0] - p) - e + a[1]) / n)


@kernel
def expm1(y: Double) -> Double:
    """exp(y) - 1 for abs(y) up to some hundreds: Taylor's series of a small part, doubled back.

    With e = exp(y/2) - 1, exp(y) - 1 = 2e + e^2.
    """
    scale = 0.5**_HALVINGS
    z = (y[0] * scale, y[1] * scale)
    total = (1.0, 0.0)
    for n in range(_SERIES_TERMS, 1, -1):
        total = add((1.0, 0.0), divide_by(multiply(z, total), float(n)))
    result = multiply(z, total)
    for _ in range(_HALVINGS):
        result = add((2.0 * result[0], 2.0 * result[1]), multiply(result, result))
    return result


@kernel
def exact_time_value(
    spot: float,
    strike: float,
    years: float,
    rate: float,
    dividend_yield: float,
    sign: float,
    price: float,
) -> float:
    """The price less the intrinsic value of the forward, g(S exp(-qT) - K exp(-rT))."""
    lost_spot = multiply((spot, 0.0), expm1(two_product(-dividend_yield, years)))
    lost_strike = multiply((strike, 0.0), expm1(two_product(-rate, years)))
    gap = add((spot, 0.0), (-strike, 0.0))
    inside = add(gap, add(lost_spot, (-lost_strike[0], -lost_strike[1])))
    left = add((price, 0.0), (-sign * inside[0], -sign * inside[1]))
    return left[0] + left[1]
