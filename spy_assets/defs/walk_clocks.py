"""The two walk-forwards as the shell sees them: of days, and of minute bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dagster import AssetKey

from spy_assets.defs import intraday_walking, walk_windows, walking
from spy_assets.defs.models import TrainConfig, agent_config
from spy_assets.errors import ConfigError

if TYPE_CHECKING:
    from spy_assets.defs.resources import SpyResource
    from spy_assets.evaluation.splits import Fold
    from spy_assets.settings import Settings

ClockName = Literal["daily", "intraday"]


@dataclass(frozen=True)
class WalkClock:
    """What tells one walk-forward from the other.

    Attributes
    ----------
    name
        As `--clock` takes it.
    asset, target
        The asset of its folds, and its short name in :data:`~spy_assets.plan_cost.TARGETS`.
    report, report_job
        The asset of its tearsheet, and the job that makes it.
    tables
        Where its rows are.
    preset_of
        The name that its rows are kept under.
    folds
        All folds, or the last ones of so many years.
    agent
        The configuration of a training, from what a run asks for.
    configuration
        All that decides the result but the data.
    page
        Where the tearsheet of a preset and configuration is.
    """

    name: ClockName
    asset: AssetKey
    target: str
    report: AssetKey
    report_job: str
    tables: walking.WalkTables
    preset_of: Callable[[Settings], str]
    folds: Callable[[Settings, datetime, float | None], Sequence[Fold]]
    agent: Callable[[SpyResource, Mapping[str, Any]], Any]
    configuration: Callable[[Settings, Any], walking.Configuration]
    page: Callable[[Settings, str, str], Path]


def _intraday_agent(spy: SpyResource, asked: Mapping[str, Any]) -> Any:
    if "preset" in asked:
        raise ConfigError(
            f"training preset {asked['preset']!r} is of the daily policy",
            hint="the plan over minute bars has one; give timesteps and seeds",
        )
    return intraday_walking.agent_of(spy.settings, asked.get("timesteps", 0), asked.get("seeds", 0))


DAILY = WalkClock(
    "daily",
    AssetKey(["evaluation", "walk_forward"]),
    "walk_forward",
    AssetKey(["evaluation", "walk_forward_report"]),
    "walk_forward_tearsheet",
    walking.DAILY,
    lambda settings: settings.walk.preset,
    walk_windows.last_folds,
    lambda spy, asked: agent_config(spy, TrainConfig(**asked)),
    walking.configuration,
    walking.tearsheet_path,
)
INTRADAY = WalkClock(
    "intraday",
    AssetKey(["evaluation", "intraday_walk_forward"]),
    "intraday_walk_forward",
    AssetKey(["evaluation", "intraday_walk_forward_report"]),
    "intraday_walk_forward_tearsheet",
    intraday_walking.TABLES_OF,
    intraday_walking.preset_of,
    walk_windows.last_intraday_folds,
    _intraday_agent,
    intraday_walking.configuration,
    intraday_walking.tearsheet_path,
)
CLOCKS: Mapping[ClockName, WalkClock] = {one.name: one for one in (DAILY, INTRADAY)}


def clock_of(asset: AssetKey) -> WalkClock | None:
    """The clock whose folds an asset walks; None of any other asset."""
    return next((one for one in CLOCKS.values() if one.asset == asset), None)
