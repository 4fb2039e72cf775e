"""Compiled: put the rows of a chain table in order, and count the quotes that nobody can use.

Rows are grouped by snapshot and series by counting, which takes one pass whatever their order was, and
keeps the order within a group: rows that came sorted by strike need no sorting at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spy_assets.options.compiled import kernel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int32]

#: What :func:`count_quotes` counts, in order.
COUNTS = ("missing", "crossed", "negative", "zero_bid", "usable")


class Order(NamedTuple):
    """Where the segments of a table begin. A segment has the rows of one series in one snapshot."""

    row: CodeArray
    """(rows,) which given row comes at each place."""
    first_segment: IntArray
    """(snapshots + 1,)"""
    segment_series: IntArray
    """(segments,) ascending within a snapshot."""
    segment_row: IntArray
    """(segments + 1,)"""


@kernel
def by_snapshot(snapshot: CodeArray, snapshots: int) -> tuple[CodeArray, IntArray]:
    """Rows in the order of their snapshots, otherwise as they came, and where each begins."""
    first = np.zeros(snapshots + 1, np.int64)
    for one in snapshot:
        first[one + 1] += 1
    for i in range(snapshots):
        first[i + 1] += first[i]
    place, rows = first[:-1].copy(), np.empty(snapshot.size, np.int32)
    for i in range(snapshot.size):
        rows[place[snapshot[i]]] = i
        place[snapshot[i]] += 1
    return rows, first


@kernel
def count_segments(
    rows: CodeArray, first: IntArray, series: CodeArray, counts: IntArray
) -> IntArray:
    """How many series each snapshot has; ``counts`` is zero for each series before and after."""
    found = np.zeros(first.size, np.int64)
    for s in range(first.size - 1):
        for i in range(first[s], first[s + 1]):
            one = series[rows[i]]
            found[s + 1] += counts[one] == 0
            counts[one] += 1
        for i in range(first[s], first[s + 1]):
            counts[series[rows[i]]] = 0
    return found


@kernel
def group(rows: CodeArray, first: IntArray, series: CodeArray, n_series: int) -> Order:
    """Order the rows of each snapshot by series, otherwise as they came."""
    counts = np.zeros(n_series, np.int64)
    first_segment = np.cumsum(count_segments(rows, first, series, counts))
    segments = first_segment[-1]
    segment_series = np.empty(segments, np.int64)
    segment_row = np.empty(segments + 1, np.int64)
    segment_row[segments] = rows.size
    ordered = np.empty(rows.size, np.int32)
    at = 0
    for s in range(first.size - 1):
        begin = at
        for i in range(first[s], first[s + 1]):
            one = series[rows[i]]
            if counts[one] == 0:
                segment_series[at] = one
                at += 1
            counts[one] += 1
        segment_series[begin:at].sort()
        place = first[s]
        for k in range(begin, at):
            segment_row[k] = place
            place += counts[segment_series[k]]
            counts[segment_series[k]] = segment_row[k]
        for i in range(first[s], first[s + 1]):
            one = series[rows[i]]
            ordered[counts[one]] = rows[i]
            counts[one] += 1
        for k in range(begin, at):
            counts[segment_series[k]] = 0
    return Order(ordered, first_segment, segment_series, segment_row)


@kernel
def sort_strikes(row: CodeArray, segment_row: IntArray, strike: FloatArray) -> int:
    """Order the rows of each segment by strike; gives a row whose strike comes twice, or -1."""
    for k in range(segment_row.size - 1):
        begin, end = segment_row[k], segment_row[k + 1]
        ascending = True
        for i in range(begin + 1, end):
            ascending &= strike[row[i - 1]] < strike[row[i]]
        if not ascending:
            part = row[begin:end].copy()
            order = np.argsort(strike[part])
            for i in range(part.size):
                row[begin + i] = part[order[i]]
        for i in range(begin + 1, end):
            if not strike[row[i - 1]] < strike[row[i]]:
                return int(row[i])
    return -1


@kernel
def is_counting(row: CodeArray) -> bool:
    """Whether the rows are in order already: 0, 1, 2, ..."""
    different = 0
    for i in range(row.size):
        different += row[i] != i
    return different == 0


@kernel
def count_quotes(bid: FloatArray, ask: FloatArray) -> IntArray:
    """Rows by :data:`COUNTS`; one that lacks a side, is negative or crossed cannot be used."""
    missing = crossed = negative = zero_bid = 0
    for i in range(bid.size):
        known = np.isfinite(bid[i]) and np.isfinite(ask[i]) and ask[i] != 0.0
        if not known:
            missing += 1
        elif bid[i] < 0.0 or ask[i] < 0.0:
            negative += 1
        elif bid[i] > ask[i]:
            crossed += 1
        elif bid[i] == 0.0:
            zero_bid += 1
    usable = bid.size - missing - crossed - negative
    return np.array([missing, crossed, negative, zero_bid, usable])
