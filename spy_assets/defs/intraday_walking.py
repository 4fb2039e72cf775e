"""The walk-forward over minute bars: its configuration, its fold on the sessions there are, its page.

Its rows are kept apart from those of the daily one: option prices here are a model's, for every fill,
and each row says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spy_assets.defs import walk_windows, walking
from spy_assets.defs.intraday_market import SYNTHETIC, IntradayMarket, intraday_market
from spy_assets.sessions import decision_time

if TYPE_CHECKING:
    from spy_assets.evaluation.intraday_walk_forward import IntradayFold
    from spy_assets.evaluation.splits import Fold
    from spy_assets.evaluation.tearsheet import TearsheetFacts
    from spy_assets.evaluation.walk_forward_summary import WalkForwardSummary
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.models.policy.short_premium import ShortPremiumTrading
    from spy_assets.settings import Settings
    from spy_assets.warehouse import Warehouse

RESULTS = "evaluation.intraday_walk_forward"
TABLES_OF = walking.WalkTables(
    RESULTS,
    "evaluation.intraday_walk_forward_equity",
    "evaluation.intraday_walk_forward_trades",
    "intraday",
)


def preset_of(settings: Settings) -> str:
    """Under which name the rows are kept: bars and actions, such as ``5min_5``."""
    return f"{settings.intraday.minutes}min_{settings.intraday.actions}"


def agent_of(settings: Settings, timesteps: int = 0, seed_count: int = 0) -> AgentConfig:
    """Give the short-premium PPO with what a run or the settings change of it; 0 changes nothing."""
    from spy_assets.models.policy.config import seeds
    from spy_assets.models.policy.short_premium import SHORT_PREMIUM

    own, changes = settings.intraday, dict[str, Any]()
    if timesteps or own.timesteps:
        changes["timesteps"] = timesteps or own.timesteps
    if seed_count or own.seeds:
        changes["seeds"] = seeds(seed_count or own.seeds or 1)
    return type(SHORT_PREMIUM)(**{**SHORT_PREMIUM.model_dump(), **changes})


def trading(settings: Settings) -> ShortPremiumTrading:
    """The account of training and test: the plan of the settings at a model's bid and ask."""
    from spy_assets.models.policy.short_premium import ShortPremiumTrading
    from spy_assets.simulator.short_premium_plan import (
        ORIGINAL_RISK,
        REDUCED_RISK,
        ShortPremiumPlan,
    )

    own = settings.intraday
    risk = {"reduced": REDUCED_RISK, "original": ORIGINAL_RISK}[own.plan]
    return ShortPremiumTrading(ShortPremiumPlan(actions=own.actions, naked=own.naked, risk=risk))


def configuration(settings: Settings, agent: AgentConfig) -> walking.Configuration:
    """Give the configuration of the settings and of a training."""
    from spy_assets.evaluation.intraday_walk_forward import MODEL_FILLS
    from spy_assets.features.contracts import INTRADAY_8_V1

    training = agent.hyperparameters()
    training.pop("checkpoint_every", None)  # changes no weights
    values = {
        "symbol": settings.symbol,
        "contract": INTRADAY_8_V1.name,
        "contract_sha256": INTRADAY_8_V1.sha256,
        **_cut(settings),
        "training": training,
        "account": repr(trading(settings)),
        "fills": MODEL_FILLS,
    }
    return walking.Configuration(preset_of(settings), values)


def _cut(settings: Settings) -> dict[str, Any]:
    """What decides where each fold begins and ends, and what it is made of."""
    own, (first, last) = settings.intraday, settings.minute_span
    return {
        "source": settings.source,
        "start": str(first),
        "end": str(last),
        "windows": {
            "train": own.train_sessions,
            "test": own.test_sessions,
            "embargo": own.embargo_sessions,
        },
        "bar_minutes": own.minutes,
    }


@dataclass(frozen=True, eq=False)
class FoldMarkets:
    """A fold on the sessions that there are, and its markets: for the training, and for the test."""

    fold: Fold
    known: IntradayMarket
    tested: IntradayMarket

    @property
    def skipped(self) -> dict[date, str]:
        """Sessions of training and test that were left out, with why."""
        return {**self.known.skipped, **self.tested.skipped}

    def labels(self, settings: Settings) -> dict[str, Any]:
        """Columns of the results that the rows of other clocks do not have."""
        from spy_assets.evaluation.intraday_walk_forward import MODEL_FILLS

        origins = dict(self.known.origins)
        for name, count in self.tested.origins.items():
            origins[name] = origins.get(name, 0) + count
        told = {day.isoformat(): reason for day, reason in self.skipped.items()}
        return {
            "bar_minutes": settings.intraday.minutes,
            "actions": settings.intraday.actions,
            "fills": MODEL_FILLS,
            "bars": json.dumps(origins, sort_keys=True),
            "skipped_sessions": len(told),
            "skipped": json.dumps(told, sort_keys=True),
        }


def fold_markets(
    lake: Warehouse, settings: Settings, fold: Fold, snapshot: int | None = None
) -> FoldMarkets:
    """Read a fold's markets: the training as it was known when it ended, the test likewise.

    The fold keeps its dates and its name, and counts the sessions that there are.
    """
    known, tested = (
        intraday_market(
            lake, settings, first, last, known_by=decision_time(last), snapshot=snapshot
        )
        for first, last in (
            (fold.train_first, fold.train_last),
            (fold.test_first, fold.test_last),
        )
    )
    trained, walked = len(known.path.sessions), len(tested.path.sessions)
    start = trained + fold.purge + fold.embargo
    there = replace(
        fold, train_start=0, train_stop=trained, test_start=start, test_stop=start + walked
    )
    return FoldMarkets(there, known, tested)


def run(
    markets: FoldMarkets,
    settings: Settings,
    agent: AgentConfig,
    checkpoint_dir: Path,
    ways: AbstractContextManager[Mapping[str, Any]],
) -> IntradayFold:
    """Train every seed on the fold's training sessions, and walk them and all baselines over its test.

    ``ways`` says what to tell of the progress, and when to stop.
    """
    from functools import partial

    from spy_assets.evaluation.intraday_walk_forward import run_intraday_fold, train_seeds

    with ways as how:
        return run_intraday_fold(
            markets.tested.path,
            markets.fold,
            agent,
            known_to_training=markets.known.path,
            trading=trading(settings),
            select=partial(
                train_seeds,
                checkpoint_dir=checkpoint_dir,
                progress=how["progress"],
                stop=how["stop"],
            ),
        )


# ---------------------------------------------------------------- the page


def shown_walk(
    lake: Warehouse, settings: Settings, digest: str, now: datetime
) -> walking.StoredWalk:
    """Read a configuration's walk-forward as the settings cut it now, or whole if they cut otherwise.

    Raises
    ------
    DataError
        It has no such fold.
    """
    folds = walk_windows.intraday_folds(settings, now)
    return walking.walk_as_cut(lake, preset_of(settings), digest, _cut(settings), folds, TABLES_OF)


def latest_configuration(lake: Warehouse, settings: Settings) -> str | None:
    """The configuration whose fold was written last, of the symbol and cut of the settings."""
    wanted = {"symbol": settings.symbol} | _cut(settings)
    return walking.newest_configuration(lake, preset_of(settings), wanted, TABLES_OF)


def labels_of(lake: Warehouse, walk: walking.StoredWalk) -> dict[str, Any]:
    """What the shown folds say of their bars: origin -> sessions of training and test, and skipped."""
    rows = lake.read(
        RESULTS,
        where="preset = ? AND configuration = ? AND strategy = 'cash'",
        params=(walk.preset, walk.digest),
        columns=["test_start", "bars", "skipped"],
    )
    shown = {run.fold.test_first for run in walk.runs}
    origins, skipped = dict[str, int](), dict[str, str]()
    for row in rows.filter(rows["test_start"].is_in(list(shown))).iter_rows(named=True):
        for name, count in json.loads(row["bars"]).items():
            origins[name] = origins.get(name, 0) + count
        skipped |= json.loads(row["skipped"])
    return {"origins": origins, "skipped": skipped}


def verdict_of(summary: WalkForwardSummary) -> str:
    """What the policy beats and what not, and on which prices."""
    from spy_assets.evaluation.intraday_walk_forward import MODEL_FILLS

    return f"{summary.verdict} Prices: {MODEL_FILLS}."


def notices(settings: Settings, labels: Mapping[str, Any]) -> tuple[str, ...]:
    """What must be said of the numbers before they are read."""
    from spy_assets.evaluation.intraday_walk_forward import MODEL_FILLS
    from spy_assets.signals.build import SOURCE_NOTICES

    counted = ", ".join(f"{count} {name}" for name, count in labels["origins"].items())
    bars = f"Bars of {settings.intraday.minutes} minute(s)"
    told = [
        f"Prices: {MODEL_FILLS}; no result of real quotes is pooled with these.",
        f"{bars}; sessions of training and test, counted in each fold: {counted}.",
    ]
    if SYNTHETIC in labels["origins"]:
        told.append(
            "Synthetic bars are bridged at random between a day's real open, high, low and close: what "
            "is made on them says nothing of a market."
        )
    skipped = labels["skipped"]
    if skipped:
        day = min(skipped)
        told.append(f"{len(skipped)} session(s) left out, the first on {day}: {skipped[day]}.")
    return (*told, *SOURCE_NOTICES.get(settings.source, ()))


def tearsheet_path(settings: Settings, preset: str, digest: str) -> Path:
    """Where the tearsheet of a configuration is; a new one takes the old one's place."""
    return walking.tearsheet_path(settings, preset, digest, TABLES_OF)


def tearsheet_facts(
    settings: Settings,
    walk: walking.StoredWalk,
    labels: Mapping[str, Any],
    shown: str,
    made_at: datetime,
) -> TearsheetFacts:
    """What the tearsheet says of where its numbers are from; ``shown`` is the symbol's display."""
    from spy_assets.evaluation.tearsheet import TearsheetFacts
    from spy_assets.simulator.intraday_book import BID_ASK_COSTS

    commission = BID_ASK_COSTS.commission
    return TearsheetFacts(
        title=f"Walk-forward over minute bars, {shown}",
        symbol=shown,
        source=settings.source,
        preset=walk.preset,
        configuration=walk.digest,
        parameters=walk.parameters,
        seeds=walk.seeds,
        timesteps=walk.timesteps,
        costs=f"a model's bid and ask, ${commission:.2f} a contract",
        lake_snapshots=walk.lake_snapshots,
        due_folds=len(walk_windows.intraday_folds(settings, made_at)),
        final_from=None,
        made_at=made_at,
        notices=notices(settings, labels),
        intraday=True,
    )
