"""The spread model: its shape, its ticks, and the real chains that it was fitted to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.errors import ConfigError, DataError
from spy_assets.options.spread_model import (
    NICKEL_CLASS,
    PENNIES,
    PENNY_CLASS,
    SPY_SPREADS,
    model_quote,
    phase_of,
)
from spy_assets_tests.options import real_chains

values, vegas, times = st.floats(0, 100), st.floats(0, 5), st.floats(0, 2)
classes = st.sampled_from([PENNIES, PENNY_CLASS, NICKEL_CLASS])


@given(values, vegas, times, st.floats(0, 300), classes)
@settings(deadline=None, max_examples=50)
def test_spreads_are_whole_ticks_and_at_least_one(value, vega, years, inner, ticks):
    spread = float(SPY_SPREADS.spread(value, vega, years, intrinsic=inner, spot=700, ticks=ticks))
    tick = float(ticks.of(value + inner))
    assert spread / tick == pytest.approx(round(spread / tick), abs=1e-6)
    assert tick <= spread < 15.0 + tick


@given(values, vegas, times)
@settings(deadline=None, max_examples=50)
def test_more_value_vega_or_time_never_narrows(value, vega, years):
    base = SPY_SPREADS.spread(value, vega, years)
    assert SPY_SPREADS.spread(value + 1, vega, years) >= base
    assert SPY_SPREADS.spread(value, vega + 0.1, years) >= base
    assert SPY_SPREADS.spread(value, vega, years + 0.1) >= base


def test_regular_hours_are_the_tightest():
    spreads = {
        phase: float(SPY_SPREADS.spread(8.0, 0.8, 0.1, intrinsic=5.0, spot=700, phase=phase))
        for phase in ("regular", "last", "open", "closed")
    }
    assert list(spreads.values()) == sorted(spreads.values())
    assert spreads["regular"] < spreads["closed"]


def test_a_same_day_option_trades_at_a_tick():
    assert float(SPY_SPREADS.spread(0.6, 0.08, 2 / 24 / 365)) == 0.01


def test_what_thirty_days_at_the_money_cost():
    """As the table of real quotes: three to four cents in hours, six after."""
    assert float(SPY_SPREADS.spread(12.0, 0.84, 30 / 365)) == pytest.approx(0.04)
    assert float(SPY_SPREADS.spread(12.0, 0.84, 30 / 365, phase="closed")) == pytest.approx(0.06)


def test_deep_in_the_money_it_is_as_wide_as_exchanges_let_it_be():
    assert float(SPY_SPREADS.spread(0.5, 0.1, 0.1, intrinsic=300, spot=700)) == pytest.approx(
        3.3, abs=0.3
    )


@given(st.floats(0, 200), st.floats(0, 5), classes)
@settings(deadline=None, max_examples=50)
def test_quotes_enclose_the_price_on_ticks(price, spread, ticks):
    bid, ask = (float(side) for side in model_quote(price, spread, ticks))
    tick = float(ticks.of(price))
    assert 0.0 <= bid <= price + 1e-6 <= ask + 2e-6
    assert ask - bid >= max(tick, spread - tick / 2) - 1e-6
    assert bid / tick == pytest.approx(round(bid / tick), abs=1e-6)
    assert ask / tick == pytest.approx(round(ask / tick), abs=1e-6)


def test_next_to_nothing_there_is_no_bid():
    bid, ask = model_quote([0.0, 0.003, 0.02], 0.01)
    assert bid.tolist() == [0.0, 0.0, 0.01]
    assert ask == pytest.approx([0.01, 0.01, 0.02])


@pytest.mark.parametrize(
    ("minutes", "session", "phase"),
    [(-1, 390, "closed"), (0, 390, "open"), (30, 390, "regular"), (375, 390, "last"),
     (390, 390, "closed"), (200, 210, "last"), (float("nan"), 390, "closed")],
)  # fmt: skip
def test_phases_of_the_session(minutes, session, phase):
    assert phase_of(minutes, session) == phase


def test_ticks_change_at_three_dollars():
    assert PENNY_CLASS.of([2.99, 3.0]).tolist() == [0.01, 0.05]
    assert NICKEL_CLASS.of([2.99, 3.0]).tolist() == [0.05, 0.10]
    assert PENNIES.of([2.99, 300.0]).tolist() == [0.01, 0.01]


@pytest.mark.parametrize("bad", [(-1.0, 0.1, 0.1), (1.0, float("nan"), 0.1), (1.0, 0.1, -0.1)])
def test_a_missing_price_has_no_spread(bad):
    with pytest.raises(DataError, match="has no spread"):
        SPY_SPREADS.spread(*bad)


def test_an_unknown_phase_is_refused():
    with pytest.raises(ConfigError, match="lunch"):
        SPY_SPREADS.spread(1.0, 0.1, 0.1, phase="lunch")


@pytest.fixture(scope="module")
def real(shared_data: Path):
    """Real and model spreads after the close, over all days; and which are out of the money."""
    pairs = []
    for name in real_chains.DAYS:
        day = real_chains.load(shared_data, name)
        inner = {"intrinsic": day.intrinsic, "spot": day.spot}
        model = SPY_SPREADS.spread(day.time_value, day.vega, day.years, phase="closed", **inner)
        pairs.append((day.ask - day.bid, model, day.otm))
    return [np.concatenate(column) for column in zip(*pairs, strict=True)]


@pytest.mark.parametrize(
    ("otm", "quantiles", "r_squared"),
    [(True, [0.50, 0.75, 1.00, 1.20, 2.00], 0.80), (False, [0.62, 0.89, 0.99, 1.14, 2.60], 0.70)],
)
def test_real_spreads_after_the_close_are_as_the_table_says(real, otm, quantiles, r_squared):
    spread, model, is_otm = real
    spread, model = spread[is_otm == otm], model[is_otm == otm]
    found = np.quantile(model / spread, [0.05, 0.25, 0.5, 0.75, 0.95])
    assert spread.size > 40_000
    assert found == pytest.approx(quantiles, abs=0.1)
    error = np.log(model / spread)
    assert 1 - np.var(error) / np.var(np.log(spread)) == pytest.approx(r_squared, abs=0.02)
