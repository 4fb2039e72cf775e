"""One trading day as a signal sees it, with every part replaceable."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from spy_assets.features.contracts import DAILY_15_PROXY_V1
from spy_assets.features.observation import portfolio_dimensions
from spy_assets.options.contracts import nearest_expiry
from spy_assets.options.structures import legs_for
from spy_assets.sessions import decision_time
from spy_assets.signals.build import (
    AccountInput,
    ChampionPolicy,
    Desk,
    MarketInput,
    build_signal,
)
from spy_assets.signals.champion import Champion
from spy_assets.signals.contract import MarketView, Signal
from spy_assets.signals.risk import AccountState, Conditions, RiskLimits
from spy_assets.signals.setup import Held
from spy_assets.simulator.actions import CLOSE, ENTRIES, HOLD
from spy_assets.simulator.costs import PRESETS

DAY = date(2018, 12, 21)
TRAIN_END = date(2018, 11, 30)
ROW: dict[str, object] = {
    **dict.fromkeys(DAILY_15_PROXY_V1.market_names, 0.25),
    "quality": "ok",
}
DESK = Desk(RiskLimits(), PRESETS["rltrade"])
FLAT_MASK = np.array([True] * 6 + [False])
HELD_MASK = np.array([False] * 5 + [True, True])


def market(**changes: Any) -> MarketInput:
    """The close of the session, complete."""
    given = MarketInput(
        symbol="SPY",
        session=DAY,
        as_of=decision_time(DAY),
        source="sample",
        row=ROW,
        spot=241.66,
        vix=0.3011,
        rate=0.02,
        regime="high_volatility",
        view=MarketView(spot=241.66, iv=0.3011, iv_rank=94.2, rsi14=23.4, macd_hist=-1.234),
    )
    return replace(given, **changes)


def account(*, held: bool = False, **changes: Any) -> AccountInput:
    """Ten thousand dollars, flat or holding a bear put spread."""
    structure = "bear_put_debit" if held else None
    legs = legs_for("bear_put_debit", 250.0, nearest_expiry(date(2018, 12, 18), 7)) if held else ()
    given = AccountInput(
        portfolio=portfolio_dimensions(
            value=10_000.0, initial_capital=10_000.0, structure=structure, sessions_held=2 * held
        ),
        mask=HELD_MASK if held else FLAT_MASK,
        state=AccountState(10_000.0, 10_000.0, 10_000.0, int(held)),
        held=(Held(legs, "bear_put_debit", 1),) if held else (),
    )
    return replace(given, **changes)


def policy(action: int, share: float = 0.704, **changes: Any) -> ChampionPolicy:
    """A champion that gives ``action`` this probability and the others the rest."""

    def probabilities(
        observation: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        values = np.where(mask, (1 - share) / max(1, mask.sum() - 1), 0.0)
        values[action] = share
        return values

    given = ChampionPolicy(
        Champion("ppo_daily", "3", "gate", "beat all", TRAIN_END, decision_time(TRAIN_END)),
        probabilities,
        DAILY_15_PROXY_V1.name,
        DAILY_15_PROXY_V1.sha256,
    )
    return replace(given, **changes)


def conditions(**changes: Any) -> Conditions:
    """Nothing wrong."""
    return replace(Conditions(DAY, DAY, TRAIN_END), **changes)


def signal(action: int = 3, **parts: Any) -> Signal:
    """The signal of a champion that asks for ``action``, or of the parts given."""
    held = action == CLOSE
    return build_signal(
        parts.get("market", market()),
        parts.get("account", account(held=held)),
        parts["policy"] if "policy" in parts else policy(action),
        parts.get("conditions", conditions()),
        parts.get("desk", DESK),
        lake_snapshot=parts.get("lake_snapshot", 42),
    )


ACTIONS = (*ENTRIES, HOLD, CLOSE)
