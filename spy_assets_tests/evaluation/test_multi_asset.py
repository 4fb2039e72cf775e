"""One policy for several symbols against one for each: better only if the interval says so."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from spy_assets.errors import ConfigError
from spy_assets.evaluation.backtest import BacktestResult
from spy_assets.evaluation.multi_asset import MULTI, SINGLE, compare_sharing
from spy_assets.sessions import sessions_between

DAYS = tuple(sessions_between(date(2018, 1, 2), date(2018, 6, 29)))


def result(name: str, daily: float, noise: float = 0.0, seed: int = 0) -> BacktestResult:
    rng = np.random.default_rng(seed)
    steps = daily + noise * rng.normal(size=len(DAYS))
    equity = np.concatenate(([10_000.0], 10_000.0 + np.cumsum(steps)))
    return BacktestResult(name, DAYS, equity, (), (), 0.0)


def test_a_lead_on_every_session_is_better() -> None:
    multi = {"SPY": result(MULTI, 3.0), "QQQ": result(MULTI, 1.0)}
    single = {"SPY": result(SINGLE, 1.0), "QQQ": result(SINGLE, 2.0)}
    found = compare_sharing(multi, single)
    assert found.better
    assert found.lead.estimate == pytest.approx(1.0)  # +2 on SPY and -1 on QQQ, every session
    assert {name: one.estimate for name, one in found.by_symbol.items()} == pytest.approx(
        {"SPY": 2.0, "QQQ": -1.0}
    )
    assert (found.multi, found.single) == pytest.approx((4.0 * len(DAYS), 3.0 * len(DAYS)))
    assert "is better than a policy for each: +1.00 $ a session" in found.words
    assert "shown to beat cash on SPY, QQQ" in found.words


def test_noise_is_not_better_and_beats_no_cash() -> None:
    multi = {"SPY": result(MULTI, 0.0, 50.0, 1), "QQQ": result(MULTI, 0.0, 50.0, 2)}
    single = {"SPY": result(SINGLE, 0.0, 50.0, 3), "QQQ": result(SINGLE, 0.0, 50.0, 4)}
    found = compare_sharing(multi, single)
    assert not found.better
    assert found.lead.low < 0.0 < found.lead.high
    assert "is not better" in found.words
    assert "shown to beat cash on none" in found.words


def test_what_cannot_be_paired_is_refused() -> None:
    one = {"SPY": result(MULTI, 1.0)}
    with pytest.raises(ConfigError, match="run both over the same sessions"):
        compare_sharing(one, {"QQQ": result(SINGLE, 1.0)})
