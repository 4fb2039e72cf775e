"""A profile that holds a market and registered policies, and nothing else: enough to judge them.

The market rises so steadily that a policy which buys calls is proven and one which does nothing is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from spy_assets.defs import judging, models, refusals, registering
from spy_assets.defs.resources import SpyResource
from spy_assets.features.contracts import DAILY_15_PROXY_V1, ObservationContract
from spy_assets.models.policy.weights import encode_weights, policy_hash
from spy_assets.registry import Registry, SeedRun
from spy_assets.sessions import decision_time, previous_session
from spy_assets.settings import Settings, load_settings
from spy_assets.signals.champion import Champion, champion_effective_at
from spy_assets.simulator.actions import HOLD
from spy_assets.simulator.market_path import MARKET_DIMS
from spy_assets.warehouse import Warehouse
from spy_assets.warehouse.tables import TABLES, TableSpec
from spy_assets_tests.evaluation.markets import random_walk
from spy_assets_tests.graph.worlds import read
from spy_assets_tests.models.policies import random_tensors, training_record
from spy_assets_tests.registry.templates import fresh_registry

SESSIONS = 420
CALLS, PUTS, IDLE = 0, 1, HOLD
DAILY_15 = TableSpec(
    name="features.daily_15",
    key=("symbol", "session"),
    columns={"symbol": "VARCHAR", "session": "DATE"}
    | dict.fromkeys(("open", "close", "vix_open", "vix_close", "rate", *MARKET_DIMS), "DOUBLE"),
)


def market(drift: float) -> pl.DataFrame:
    """Rows of the features that a policy is trained and judged on."""
    path = random_walk(1, SESSIONS, drift=drift)
    days = list(path.sessions)
    return pl.DataFrame(
        {
            "symbol": ["SPY"] * len(days),
            "session": days,
            "open": path.open,
            "close": path.close,
            "vix_open": path.iv_open * 100,
            "vix_close": path.iv_close * 100,
            "rate": path.rate,
            **{name: path.observation[:, k] for k, name in enumerate(MARKET_DIMS)},
            "available_at": [decision_time(day) for day in days],
            "source": ["test"] * len(days),
        }
    )


def wants(action: int) -> dict[str, Any]:
    """Weights of a policy that wants one action whenever it may, and else to hold."""
    tensors = {name: np.zeros_like(values) for name, values in random_tensors().items()}
    tensors["action_net.bias"][HOLD] = 3.0
    tensors["action_net.bias"][action] = 6.0
    return tensors


def seed_run(seed: int, action: int, contract: ObservationContract) -> SeedRun:
    """A seed whose policy wants one action."""
    tensors = wants(action)
    return SeedRun(seed, policy_hash(tensors), {}, [], encode_weights(tensors, contract))


@dataclass(frozen=True)
class Court:
    """A profile with a market; policies are registered and judged at fixed times."""

    settings: Settings

    @classmethod
    def sit(cls, home: Path, drift: float = 0.006, **changes: Any) -> Court:
        """Make the profile; ``source="yfinance"`` makes it a live one."""
        settings = load_settings(home=home, **changes)
        with Warehouse.open(settings) as lake:
            rows = market(drift)
            lake.write(DAILY_15, rows, ingested_at=rows["available_at"].max())  # type: ignore[arg-type]
        return cls(settings)

    @property
    def days(self) -> list[Any]:
        """Sessions of the market."""
        return list(random_walk(1, SESSIONS).sessions)

    @cached_property
    def registry(self) -> Registry:
        return fresh_registry(self.settings)

    def chains(self, days: Sequence[date], late: timedelta = timedelta(0)) -> None:
        """Give some sessions the features of a chain, known at their decision or later."""
        spec = TABLES["features.chain"]
        said = {"pcr_volume": 1.2, "iv_skew_25d": 0.05, "gex_near_balance": -0.2, "quality": "ok"}
        said |= {"symbol": "SPY", "quote_kind": "chain", "source": "test"}
        rows = [said | {"session": day, "available_at": decision_time(day) + late} for day in days]
        with Warehouse.open(self.settings) as lake:
            lake.write(
                spec, registering.frame(spec, rows), ingested_at=decision_time(max(days)) + late
            )

    def register(self, window: Any, action: int, **how: Any) -> str:
        """Register a policy, see :meth:`record`, for the window that ends with a session.

        Gives its version.
        """
        version = self.registry.log_training(self.record(window, action, **how)).version
        assert version is not None
        return version

    def record(
        self,
        window: Any,
        action: int,
        nudge: float = 0.0,
        contract: ObservationContract = DAILY_15_PROXY_V1,
        seeds: Sequence[int] = (),
        **changes: Any,
    ) -> Any:
        """A training that ended in a policy that wants one action.

        ``nudge`` makes it another policy of the same actions; ``seeds`` are the actions that the
        policies of its seeds want, this one's included.
        """
        tensors = wants(action)
        tensors["value_net.bias"][0] = nudge  # another policy hash, the same actions
        train = self.settings.train
        end = previous_session(window, train.validation_sessions + train.purge_sessions)
        return training_record(
            str(window),
            profile=self.settings.profile_name,
            policy_hash=policy_hash(tensors),
            weights=encode_weights(tensors, contract),
            contract=contract.name,
            contract_sha256=contract.sha256,
            observation=contract.names,
            train_end=end,
            seeds=[seed_run(k, wanted, contract) for k, wanted in enumerate(seeds)],
            **changes,
        )

    def make(self, assets: list[Any], window: Any, now: datetime | None = None, **how: Any) -> Any:
        """Materialize model assets for a window, at a fixed time."""
        overrides = self.settings.model_dump(mode="json", exclude_unset=True)
        moment = (now or decision_time(window)).isoformat()
        return dg.materialize(
            assets,
            partition_key=str(window),
            resources={"spy": SpyResource(overrides=overrides, now=moment)},
            **how,
        )

    def judge(self, window: Any, now: datetime | None = None) -> dict[str, Any]:
        """Evaluate the newest version of a window, promote, and give the recorded decision.

        A refusal is an answer too; any other failure is none.
        """
        how = {"raise_on_error": False}
        made = self.make([models.evaluation, models.promotions], window, now, **how)
        assert made.success or refusals.refusal_of(made.all_events)
        with Warehouse.open(self.settings) as lake:
            return judging.recorded_decision(lake, window)

    def champion_at(self, moment: datetime) -> Champion | None:
        with Warehouse.open(self.settings) as lake:
            rows = judging.promotion_rows(lake)
        return champion_effective_at(rows, moment, self.settings.train.purge_sessions)

    def rows(self, table: str) -> pl.DataFrame:
        return read(self.settings, table)
