"""Signals, fills and outcomes tell one story: what a signal names is what the simulator trades."""

from __future__ import annotations

import numpy as np
import pytest

from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.sessions import decision_time
from spy_assets.signals.build import AccountInput, Desk, build_signal
from spy_assets.signals.contract import Signal
from spy_assets.signals.outcomes import settle_outcomes
from spy_assets.signals.risk import AccountState, Conditions, RiskLimits, RiskSizing
from spy_assets.signals.setup import Held
from spy_assets.simulator.book import DailyConfig
from spy_assets.simulator.costs import PRESETS
from spy_assets.simulator.daily import DailySimulator
from spy_assets_tests.evaluation.markets import random_walk
from spy_assets_tests.signals import scenes

PATH = random_walk(11, 60)
LIMITS = RiskLimits(max_drawdown=1.0)
CONFIG = DailyConfig(sizing=RiskSizing(LIMITS))
DESK = Desk(LIMITS, PRESETS["tradier"], config=CONFIG)
WEIGHTS = np.random.default_rng(3).normal(size=(15, 7))


def noise(observation: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A policy with random weights."""
    scores = np.where(mask, np.exp((observation - 0.5) @ WEIGHTS), 0.0)
    return np.asarray(scores / scores.sum())


def account_of(simulator: DailySimulator) -> AccountInput:
    positions = simulator.positions
    return AccountInput(
        portfolio=simulator.portfolio(),
        mask=simulator.mask(),
        state=AccountState(
            simulator.account.available, simulator.value, simulator.value, len(positions)
        ),
        held=tuple(Held(one.legs, one.structure, one.quantity) for one in positions),
    )


def signal_at(simulator: DailySimulator) -> Signal:
    index, day = simulator.index, simulator.session
    row = dict(zip(DAILY_15_PROXY_V1.market_names, PATH.observation[index].tolist(), strict=True))
    row["gamma_proxy"] = min(row["gamma_proxy"], 0.5)
    market = scenes.market(
        session=day, as_of=decision_time(day), row=row, spot=float(PATH.close[index]),
        vix=float(PATH.iv_close[index]), rate=float(PATH.rate[index]),
    )  # fmt: skip
    policy = scenes.policy(3, probabilities=noise)
    return build_signal(market, account_of(simulator), policy, Conditions(day, day), DESK)


@pytest.fixture(scope="module")
def walked() -> tuple[list[Signal], DailySimulator]:
    simulator = DailySimulator(PATH, DESK.costs, config=CONFIG, close_at_end=False)
    signals = []
    while not simulator.done:
        signals.append(signal_at(simulator))
        simulator.step(signals[-1].action)
    return signals, simulator


def test_every_entry_signal_is_filled_in_its_own_legs_and_size(
    walked: tuple[list[Signal], DailySimulator],
) -> None:
    signals, simulator = walked
    by_session = {signal.session: signal for signal in signals}
    assert len(simulator.trades) > 10
    for trade in simulator.trades:
        signal = by_session[trade.decision_session]
        assert (signal.structure, signal.size) == (trade.structure, trade.quantity)
        assert [leg.occ for leg in signal.legs] == [leg.contract.occ for leg in trade.legs]


def test_close_signals_name_the_legs_that_were_closed(
    walked: tuple[list[Signal], DailySimulator],
) -> None:
    signals, simulator = walked
    closing = [signal for signal in signals if signal.action_name == "CLOSE"]
    held = {tuple(leg.contract.occ for leg in trade.legs) for trade in simulator.trades}
    assert closing
    assert all(tuple(leg.occ for leg in signal.legs) in held for signal in closing)


def test_outcomes_add_up_to_the_account(walked: tuple[list[Signal], DailySimulator]) -> None:
    signals, simulator = walked
    position = simulator.position
    settled = settle_outcomes(
        signals,
        simulator.trades,
        decision_time(PATH.sessions[-1]),
        source="test",
        open_sessions=[position.decision_session] if position else [],
    )
    open_pnl = position.pnl if position else 0.0
    total = sum(row["pnl"] for row in settled.rows) + open_pnl
    assert total == pytest.approx(simulator.value - simulator.account.initial)
    assert len(settled.pending) == int(position is not None)


def test_a_prefix_of_the_market_gives_the_same_signals(
    walked: tuple[list[Signal], DailySimulator],
) -> None:
    signals, _ = walked
    simulator = DailySimulator(PATH, DESK.costs, config=CONFIG, stop=31, close_at_end=False)
    for expected in signals[:30]:
        assert signal_at(simulator).to_json() == expected.to_json()
        simulator.step(expected.action)
