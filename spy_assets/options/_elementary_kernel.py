r"""Exponential, logarithm and Mills ratio as branch-free compiled arithmetic.

The C library's functions are called once per number. These are inlined into the loop that uses them,
and the compiler then works on four or eight numbers at a time; that is most of the speed of
the pricing kernels. Each is accurate to about one unit in the last place (the tests compare them with
50-digit values). The polynomials are Chebyshev expansions of the functions named beside
them, computed with 50 digits and cut where the rest is below :math:`2 \cdot 10^{-17}`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from numba import types
from numba.extending import intrinsic

from spy_assets.options.compiled import inlined_kernel

_LOG2_E = 1.4426950408889634
#: ln 2 in two parts; the first has 32 trailing zero bits, so that its product with an exponent is exact.
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
#: 1.5 * 2**52: a float64 added to it is rounded to an integer that stands in its last bits.
_ROUNDER = 6755399441055744.0
_BIAS = 1023
_MANTISSA_BITS = 52
#: Bits of the square root of one half.
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
#: Arguments of the exponential beyond these would leave the normal numbers.
_LOWEST, _HIGHEST = -708.0, 709.0
#: Beyond this the Mills ratio is 1/x to the last bit, and the mapping below must not divide infinities.
_FAR = 1e9


def _cast_bits(result: Any, argument: Any) -> Any:
    """A compiled function that reads the bits of one type as another."""

    def typed(_context: Any, _number: Any) -> Any:
        def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(result))

        return result(argument), emit

    return intrinsic(typed)


#: The 64 bits of a float64 as an integer.
float_bits = cast("Callable[[float], int]", _cast_bits(types.int64, types.float64))
#: The float64 of 64 bits.
bits_float = cast("Callable[[int], float]", _cast_bits(types.float64, types.int64))


@inlined_kernel
def reduced(y: float) -> tuple[float, float]:
    """``(r, scale)`` with exp(y) = scale * exp(r), scale a power of two and abs(r) <= ln(2)/2."""
    clipped = min(max(y, _LOWEST), _HIGHEST)
    shifted = clipped * _LOG2_E + _ROUNDER
    exponent = shifted - _ROUNDER
    scale = bits_float((float_bits(shifted) + _BIAS) << _MANTISSA_BITS)
    return (clipped - exponent * _LN2_HIGH) - exponent * _LN2_LOW, scale


@inlined_kernel
def small_expm1(r: float) -> float:
    """exp(r) - 1 for abs(r) <= ln(2)/2: r + r^2/2 + r^3 P(r)."""
    s = r * r
    p = 2.5100386186397813e-08 + r * 2.091468739985978e-09
    p = 2.755726845833706e-06 + r * 2.7557273641943187e-07 + s * p
    p = 0.00019841269863054865 + r * 2.4801587325548793e-05 + s * p
    p = 0.008333333333330062 + r * 0.0013888888888883748 + s * p
    p = 0.16666666666666669 + r * 0.04166666666666667 + s * p
    return r + (0.5 * s + (r * s) * p)


@inlined_kernel
def exponential(y: float) -> float:
    """exp(y); 0 below -708 and no more than exp(709)."""
    r, scale = reduced(y)
    scale *= 1.0 if y >= _LOWEST else 0.0
    return scale + scale * small_expm1(r)


@inlined_kernel
def exponential_minus_one(y: float) -> float:
    """exp(y) - 1, accurate for small y too."""
    r, scale = reduced(y)
    return scale * small_expm1(r) + (scale - 1.0)


@inlined_kernel
def log_ratio(a: float, b: float) -> float:
    r"""ln(a/b) of positive normal numbers, accurate for a close to b too.

    With ``b`` scaled by a power of two to the size of ``a``, the logarithm is
    :math:`2 \operatorname{artanh} f`, :math:`f = (a - b)/(a + b)`, and a - b is exact: as good as
    log1p((a - b)/b), for all ratios.
    """
    exponent = (float_bits(a / b) - _SQRT_HALF_BITS) >> _MANTISSA_BITS
    scaled = b * bits_float((exponent + _BIAS) << _MANTISSA_BITS)
    f = (a - scaled) / (a + scaled)
    w = f * f
    v = w * w
    even = 0.6666666666666666 + v * 0.2857142857080074
    odd = 0.40000000000000885 + v * 0.22222222392309024
    even = even + v * v * (0.18181795581488394 + v * 0.13268698800146927)
    odd = odd + v * v * (0.1538624266836552 + v * 0.13087358019991335)
    e = float(exponent)
    return e * _LN2_HIGH + (2.0 * f + (f * w * (even + w * odd) + e * _LN2_LOW))


@inlined_kernel
def mills_ratio(z: float) -> float:
    r"""The upper tail over the density of the standard normal, :math:`N(-z)/\varphi(z)`, for z >= 0.

    :math:`(z + 1) N(-z)/\varphi(z)` is smooth in :math:`t = (z - 5)/(z + 5) \in [-1, 1)` (the
    substitution of Schonfelder 1978, "Chebyshev expansions for the error and related functions"); its
    polynomial of degree 24 is summed in four interleaved chains, which a processor can work on side
    by side.
    """
    z = min(z, _FAR)
    t = (z - 5.0) / (z + 5.0)
    s = t * t
    q = s * s
    a = 6.288377855498677e-11
    a = 1.0082895646260188e-08 + q * a
    a = 3.2197131609042185e-07 + q * a
    a = -2.48054584472145e-05 + q * a
    a = -0.004201290310663574 + q * a
    a = -0.0661776007789934 + q * a
    a = 1.1568486282918946 + q * a
    b = 1.1032071151574336e-08
    b = 4.91996233147834e-07 + q * b
    b = 2.270961270923768e-05 + q * b
    b = 1.9530638370790786e-05 + q * b
    b = 0.0615050458401865 + q * b
    b = -0.22948753825211315 + q * b
    c = -1.0846925288860795e-09
    c = -6.738323465177047e-08 + q * c
    c = -1.7723438185601556e-07 + q * c
    c = 0.00045704381820007954 + q * c
    c = -0.038026592187762366 + q * c
    c = 0.07778159886873554 + q * c
    d = -9.564832934712551e-10
    d = -7.758520236786343e-08 + q * d
    d = -3.277287633208865e-06 + q * d
    d = -0.0001343742785571135 + q * d
    d = 0.01634823128102938 + q * d
    d = 0.0250721793016388 + q * d
    return ((a + t * b) + s * (c + t * d)) / (z + 1.0)
