"""The indicators once more, as slow loops over plain lists: the twin of the Polars code."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

Values = Sequence[float | None]


def smooth(values: Values, alpha: float, n: int) -> list[float | None]:
    """Recursive mean, seeded by the mean of the first n values that are there."""
    result: list[float | None] = []
    seen: list[float] = []
    last: float | None = None
    for value in values:
        if value is not None:
            seen.append(value)
            if len(seen) == n:
                last = sum(seen) / n
            elif len(seen) > n and last is not None:
                last = last + alpha * (value - last)
        result.append(last)
    return result


def ema(values: Values, n: int) -> list[float | None]:
    return smooth(values, 2 / (n + 1), n)


def minus(left: Values, right: Values) -> list[float | None]:
    pairs = zip(left, right, strict=True)
    return [None if a is None or b is None else a - b for a, b in pairs]


def macd_hist(close: Values, fast: int, slow: int, signal: int) -> list[float | None]:
    line = minus(ema(close, fast), ema(close, slow))
    return minus(line, ema(line, signal))


def rsi_wilder(close: Sequence[float], n: int = 14) -> list[float | None]:
    changes = [None, *(b - a for a, b in pairwise(close))]
    up = smooth([None if c is None else max(c, 0.0) for c in changes], 1 / n, n)
    down = smooth([None if c is None else max(-c, 0.0) for c in changes], 1 / n, n)
    return [
        None if u is None or d is None else 100 - 100 / (1 + u / d)
        for u, d in zip(up, down, strict=True)
    ]


def rsi_cutler(close: Sequence[float], n: int = 14) -> list[float | None]:
    result: list[float | None] = []
    for i in range(len(close)):
        changes = [close[j] - close[j - 1] for j in range(i - n + 1, i + 1)] if i >= n else []
        up, down = sum(c for c in changes if c > 0), -sum(c for c in changes if c < 0)
        result.append(100 * up / (up + down) if changes else None)
    return result


def atr_and_adx(
    high: Sequence[float], low: Sequence[float], close: Sequence[float], n: int = 14
) -> tuple[list[float | None], list[float | None]]:
    ranges: list[float | None] = [None]
    plus: list[float | None] = [None]
    less: list[float | None] = [None]
    for i in range(1, len(close)):
        span = (high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1]))
        ranges.append(max(span))
        up, down = high[i] - high[i - 1], low[i - 1] - low[i]
        plus.append(up if up > down and up > 0 else 0.0)
        less.append(down if down > up and down > 0 else 0.0)
    atr, up_mean, down_mean = (smooth(values, 1 / n, n) for values in (ranges, plus, less))
    dx: list[float | None] = []
    for a, u, d in zip(atr, up_mean, down_mean, strict=True):
        dx.append(None if a is None or u is None or d is None else 100 * abs(u - d) / (u + d))
    return atr, smooth(dx, 1 / n, n)


def bollinger(close: Sequence[float], n: int = 20) -> list[tuple[float, float] | None]:
    result: list[tuple[float, float] | None] = []
    for i in range(len(close)):
        window = close[i - n + 1 : i + 1] if i >= n - 1 else []
        spread = 2 * statistics.pstdev(window) if window else 0.0
        result.append((statistics.fmean(window) - spread, spread) if window else None)
    return result


def mfi(
    high: Sequence[float],
    low: Sequence[float],
    close: Sequence[float],
    volume: Sequence[float],
    n: int = 14,
) -> list[float | None]:
    typical = [(h + lo + c) / 3 for h, lo, c in zip(high, low, close, strict=True)]
    result: list[float | None] = []
    for i in range(len(close)):
        if i < n:
            result.append(None)
            continue
        days = range(i - n + 1, i + 1)
        into = sum(typical[j] * volume[j] for j in days if typical[j] > typical[j - 1])
        out = sum(typical[j] * volume[j] for j in days if typical[j] < typical[j - 1])
        result.append(100 - 100 / (1 + into / out))
    return result


def realized_vol(close: Sequence[float], n: int = 20) -> list[float | None]:
    logs = [math.log(b / a) for a, b in pairwise(close)]
    return [
        math.sqrt(252) * statistics.stdev(logs[i - n : i]) if i >= n else None
        for i in range(len(close))
    ]
