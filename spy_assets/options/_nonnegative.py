"""Least squares with unknowns that are not negative, fast where most of them are positive.

Block principal pivoting (Kim and Park 2011, "Fast nonnegative matrix factorization: an active-set-like
method and comparisons", section 4): a guess of which unknowns are positive is solved for, and all that
break the conditions change sides at once. SciPy's ``nnls`` lets one in at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

#: Exchanges of all that break a condition which may fail to lower their number.
_PATIENCE: Final = 3
_MOST_STEPS: Final = 60
#: Share of the largest gradient below which a slope is none.
_FLAT: Final = 1e-12


def nonnegative_least_squares(matrix: FloatArray, wanted: FloatArray) -> FloatArray:
    """The x >= 0 with the least ``|matrix x - wanted|``; the columns must be independent.

    >>> nonnegative_least_squares(np.eye(2), np.array([3.0, -1.0])).tolist()
    [3.0, 0.0]
    """
    from scipy.optimize import nnls

    normal, gradient = matrix.T @ matrix, matrix.T @ wanted
    free = np.ones(gradient.size, dtype=np.bool_)
    least, patience = gradient.size + 1, _PATIENCE
    for _ in range(_MOST_STEPS):
        x = np.zeros(gradient.size)
        x[free] = np.linalg.solve(normal[np.ix_(free, free)], gradient[free])
        slope = normal @ x - gradient
        broken = np.where(free, x < 0.0, slope < -_FLAT * np.abs(gradient).max(initial=0.0))
        count = int(broken.sum())
        if count == 0:
            return x
        if count < least:
            least, patience = count, _PATIENCE
        elif patience > 0:
            patience -= 1
        else:  # only the last one, which cannot go in circles
            broken = np.arange(gradient.size) == np.flatnonzero(broken)[-1]
        free ^= broken
    return np.asarray(nnls(matrix, wanted)[0], dtype=np.float64)
