"""FinRL's StockTradingEnv of one stock with the eight indicators of its configuration.

Imported by the workers in FinRL's environments; knows nothing of this project.
"""

import importlib.util
import sys
import types
from pathlib import Path

import pandas as pd

INDICATORS = [
    "macd", "boll_ub", "boll_lb", "rsi_30", "cci_30", "dx_30", "close_30_sma", "close_60_sma",
]  # fmt: skip


def environment(closes, indicators, first_day):
    """One stock at these closes; ``indicators`` gives the numbers of one of them."""
    frame = pd.DataFrame({"close": closes, "tic": "SPY"})
    frame["date"] = pd.date_range(first_day, periods=len(closes), freq="B").astype(str)
    for name in INDICATORS:
        frame[name] = indicators()
    return _stock_trading_env()(
        df=frame,
        stock_dim=1,
        hmax=100,
        initial_amount=1_000_000,
        num_stock_shares=[0],
        buy_cost_pct=[0.001],
        sell_cost_pct=[0.001],
        reward_scaling=1e-4,
        state_space=3 + len(INDICATORS),
        action_space=1,
        tech_indicator_list=list(INDICATORS),
        print_verbosity=10**9,
    )


def _stock_trading_env():
    """The class out of its file: the package's own import wants brokers, Ray and torch.

    Of stable-baselines3 the file takes one name, for a method that is not called here; where it is not
    installed, an empty module has it.
    """
    if importlib.util.find_spec("stable_baselines3") is None:
        for name in (
            "stable_baselines3",
            "stable_baselines3.common",
            "stable_baselines3.common.vec_env",
        ):
            sys.modules[name] = types.ModuleType(name)
        sys.modules[name].DummyVecEnv = None
    package = importlib.util.find_spec("finrl").submodule_search_locations[0]
    path = Path(package) / "meta" / "env_stock_trading" / "env_stocktrading.py"
    spec = importlib.util.spec_from_file_location("env_stocktrading", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.StockTradingEnv
