"""Rows and accounts become vectors, or are refused with every reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import DataError
from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.features.observation import (
    POSITION_TYPE_CODES,
    IncompleteObservation,
    build_observation,
    missing_reasons,
    portfolio_dimensions,
)

MARKET: dict[str, object] = {name: i / 20 for i, name in enumerate(DAILY_15_PROXY_V1.market_names)}
FLAT = portfolio_dimensions(value=10_000.0, initial_capital=10_000.0)


def test_order_and_type() -> None:
    vector = build_observation(MARKET, FLAT)
    assert vector.dtype == np.float32
    expected = [i / 20 for i in range(10)] + [0.5, 0.0, 0.0, 0.5, 0.0]
    np.testing.assert_allclose(vector, expected, rtol=1e-6)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_missing_number_is_refused_with_the_row_s_reason(value: float | None) -> None:
    row = MARKET | {"iv": value, "quality": "iv:vix_missing"}
    with pytest.raises(IncompleteObservation, match="iv:vix_missing") as caught:
        build_observation(row, FLAT)
    assert caught.value.reasons == ("iv:vix_missing",)


def test_all_reasons_come_at_once() -> None:
    row = MARKET | {"iv": None, "mom5": None, "price": 1.5, "quality": "mom5:warmup"}
    reasons = missing_reasons(row)
    assert reasons == ["price:out_of_range(1.5)", "iv:missing", "mom5:warmup"]


def test_an_absent_column_is_a_missing_number() -> None:
    row = {name: value for name, value in MARKET.items() if name != "pcr"}
    assert missing_reasons(row) == ["pcr:missing"]


def test_a_bad_portfolio_is_refused() -> None:
    with pytest.raises(IncompleteObservation, match="balance:missing"):
        build_observation(MARKET, FLAT | {"balance": math.nan})


def test_portfolio_of_an_open_condor() -> None:
    dimensions = portfolio_dimensions(
        value=11_000.0,
        initial_capital=10_000.0,
        structure="iron_condor",
        pnl=-100.0,
        capital_at_risk=500.0,
        sessions_held=2,
    )
    assert list(dimensions) == list(DAILY_15_PROXY_V1.portfolio_names)
    assert list(dimensions.values()) == pytest.approx([0.55, 1.0, 0.8, 0.3, 0.4])


def test_an_unknown_structure_is_refused() -> None:
    with pytest.raises(DataError, match="'butterfly'"):
        portfolio_dimensions(value=1.0, initial_capital=1.0, structure="butterfly")


@settings(deadline=None, max_examples=50)
@given(
    value=st.floats(0, 1e9),
    pnl=st.floats(-100, 100),
    held=st.integers(0, 1000),
    structure=st.sampled_from([None, *POSITION_TYPE_CODES]),
)
def test_every_account_fits_the_contract(
    value: float, pnl: float, held: int, structure: str | None
) -> None:
    portfolio = portfolio_dimensions(
        value=value,
        initial_capital=10_000.0,
        structure=structure,
        pnl=pnl,
        sessions_held=held,
    )
    assert np.isfinite(build_observation(MARKET, portfolio)).all()
