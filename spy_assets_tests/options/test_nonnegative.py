"""Least squares without negative unknowns, beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from spy_assets.options import _nonnegative
from spy_assets.options._nonnegative import nonnegative_least_squares


def problem(seed: int, size: int = 40):
    chance = np.random.default_rng(seed)
    matrix = np.concatenate([chance.normal(size=(2 * size, size)), 0.1 * np.eye(size)])
    return matrix, chance.normal(size=3 * size)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_scipys(seed):
    matrix, wanted = problem(seed)
    found = nonnegative_least_squares(matrix, wanted)
    np.testing.assert_allclose(found, nnls(matrix, wanted)[0], atol=1e-10)
    assert found.min() == 0.0


def test_all_or_none_may_be_positive():
    assert nonnegative_least_squares(np.eye(3), np.array([1.0, 2.0, 3.0])).tolist() == [
        1.0,
        2.0,
        3.0,
    ]
    assert nonnegative_least_squares(np.eye(2), np.array([-1.0, -2.0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("name", "value"), [("_PATIENCE", 0), ("_MOST_STEPS", 0)])
def test_slow_exchanges_end_too(monkeypatch: pytest.MonkeyPatch, name: str, value: int):
    monkeypatch.setattr(_nonnegative, name, value)
    matrix, wanted = problem(3)
    found = nonnegative_least_squares(matrix, wanted)
    np.testing.assert_allclose(found, nnls(matrix, wanted)[0], atol=1e-10)
