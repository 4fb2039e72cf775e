"""Market paths: completion of missing opens, and what is refused."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from spy_assets.errors import DataError
from spy_assets.simulator.market_path import MARKET_DIMS, MarketPath
from spy_assets_tests.simulator.paths import path_of, random_path


def frame(**columns):
    base = {
        "session": [date(2016, 1, 4), date(2016, 1, 5), date(2016, 1, 6)],
        "open": [200.0, 201.0, 202.0],
        "close": [201.0, 202.0, 203.0],
        "vix_open": [20.0, None, 22.0],
        "vix_close": [20.5, 21.5, None],
        "rate": [0.02, 0.02, None],
        **{name: [0.1, 0.2, 0.3] for name in MARKET_DIMS},
    }
    return pl.DataFrame({**base, **columns}, strict=False)


def test_a_frame_becomes_arrays_in_decimals():
    path = MarketPath.from_frame(frame(iv_skew=[0.1, None, float("nan")]))
    assert path.iv_close.tolist()[:2] == [0.205, 0.215]
    assert np.isnan(path.iv_close[2])
    assert np.isnan(path.rate[2])
    assert path.valid.tolist() == [True, False, False]
    assert path.observation.shape == (3, 10)
    assert path.observation.dtype == np.float64


def test_a_missing_vix_open_is_the_previous_close_and_flagged():
    path = MarketPath.from_frame(frame())
    assert path.iv_open.tolist() == [0.20, 0.205, 0.22]
    assert path.iv_open_is_previous_close.tolist() == [False, True, False]


def test_a_missing_open_after_a_missing_close_stays_missing():
    path = MarketPath.from_frame(frame(vix_open=[None] * 3, vix_close=[None, 21.0, 22.0]))
    assert np.isnan(path.iv_open[:2]).all()
    assert path.iv_open_is_previous_close.tolist() == [False, False, True]


def test_rows_are_sorted_by_session():
    path = MarketPath.from_frame(frame().reverse())
    assert path.close.tolist() == [201.0, 202.0, 203.0]
    assert path.index_of(date(2016, 1, 6)) == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"close": [201.0, None, 203.0]}, "close of 2016-01-05 is nan"),
        ({"open": [0.0, 201.0, 202.0]}, "open of 2016-01-04 is 0.0"),
        ({"vix_close": [2050.0, 21.0, 22.0]}, "iv_close of 2016-01-04 is 20.5"),
        ({"session": [date(2016, 1, 2), date(2016, 1, 5), date(2016, 1, 6)]}, "2016-01-02 is not"),
        ({"session": [date(2016, 1, 4)] * 3}, "2016-01-04 follows 2016-01-04"),
    ],
)
def test_what_cannot_be_walked_through_is_refused(columns, message):
    with pytest.raises(DataError, match=message):
        MarketPath.from_frame(frame(**columns))


def test_missing_columns_are_listed():
    with pytest.raises(DataError, match=r"\['vix_open', 'mom5'\]"):
        MarketPath.from_frame(frame().drop("vix_open", "mom5"))


def test_an_empty_path_and_wrong_shapes_are_refused():
    with pytest.raises(DataError, match="at least one session"):
        MarketPath.from_frame(frame().clear())
    with pytest.raises(DataError, match=r"observation has shape \(3, 9\)"):
        path_of([200.0] * 3, observation=np.zeros((3, 9)))
    with pytest.raises(DataError, match=r"open has shape \(2,\)"):
        path_of([200.0] * 3, open=[200.0] * 2)


def test_a_session_off_the_path_is_named():
    with pytest.raises(DataError, match="2017-01-03 is not on the path"):
        path_of([200.0] * 3).index_of(date(2017, 1, 3))


def test_a_window_is_a_path_of_its_own():
    path = random_path(3, 30)
    part = path.window(10, 20)
    assert len(part) == 10
    assert part.sessions == path.sessions[10:20]
    assert np.array_equal(part.observation, path.observation[10:20])


def test_arrays_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        random_path(1, 5).close[0] = 1.0


def test_what_goes_ex_is_cash_or_unknown():
    assert np.isnan(MarketPath.from_frame(frame()).dividend).all()
    path = MarketPath.from_frame(frame(dividend=[0.0, 1.25, None]))
    assert path.dividend.tolist()[:2] == [0.0, 1.25]
    assert np.isnan(path.dividend[2])
    assert path.window(1, 3).dividend[0] == 1.25
    with pytest.raises(DataError, match=r"dividend of 2016-01-05 is -1\.0"):
        MarketPath.from_frame(frame(dividend=[0.0, -1.0, 0.0]))
