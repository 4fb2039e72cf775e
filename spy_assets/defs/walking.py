"""From a fold to its rows and back: glue between the walk-forward, the registry and the lake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spy_assets.defs import account
from spy_assets.defs.registering import frame
from spy_assets.defs.walk_windows import final_from, folds_of, walk_sessions, windows_of
from spy_assets.errors import ConfigError, RegistryUnavailable
from spy_assets.sessions import decision_time
from spy_assets.warehouse.tables import TABLES, TableSpec

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.evaluation.intraday_walk_forward import IntradayFold
    from spy_assets.evaluation.splits import Fold
    from spy_assets.evaluation.tearsheet import TearsheetFacts
    from spy_assets.evaluation.walk_forward import FilterOf, FoldResult, WindowRun
    from spy_assets.evaluation.walk_forward_summary import WalkForwardSummary
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.registry import FoldRecord, Registry
    from spy_assets.settings import Settings
    from spy_assets.warehouse import Warehouse

RESULTS = "evaluation.walk_forward"
#: Its groups are tested on the sessions of the daily walk-forward.
COMBINATORIAL = "evaluation.combinatorial_paths"
EQUITY = "evaluation.walk_forward_equity"
TRADES = "evaluation.walk_forward_trades"


class WalkTables(NamedTuple):
    """Where the rows of a walk-forward are; those of one clock never mix with those of another."""

    results: str
    equity: str
    trades: str
    clock: str = "daily"


DAILY = WalkTables(RESULTS, EQUITY, TRADES)
#: Hexadecimal digits of a configuration's hash.
_DIGITS = 12


@dataclass(frozen=True)
class Configuration:
    """Everything that decides a walk-forward but the data.

    ``digest`` is a hash of ``values``; two results of one digest are of one experiment.
    """

    preset: str
    values: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:_DIGITS]

    def to_json(self) -> str:
        """The values as JSON, in one order."""
        return json.dumps(self.values, sort_keys=True)


def configuration(settings: Settings, agent: AgentConfig) -> Configuration:
    """Give the configuration of the settings and of a training."""
    contract = account.desk(settings).contract
    training = agent.hyperparameters()
    training.pop("checkpoint_every", None)  # changes no weights
    values = {
        "symbol": settings.symbol,
        "contract": contract.name,
        "contract_sha256": contract.sha256,
        **_cut(settings),
        "training": training,
        "account": repr(account.trading(settings)),
        "min_confidence": settings.risk.min_confidence,
    }
    return Configuration(settings.walk.preset, values)


def _cut(settings: Settings) -> dict[str, Any]:
    """What decides where each fold begins and ends, and what it is made of.

    The final period is not among it: it says how many folds there are, and not what any of them is.
    Folds that were walked stay good when it moves, and :func:`require_untouched` finds those in it.
    """
    return {
        "source": settings.source,
        "start": settings.walk_start.isoformat(),
        "windows": asdict(windows_of(settings)),
    }


def filter_of(settings: Settings, fold: Fold) -> FilterOf:
    """Make the risk layer's filter that signals obey, for the policies of a fold.

    A model's age is no reason to hold here: how long a fold tests is what its preset says.
    """
    from dataclasses import replace

    from spy_assets.sessions import sessions_apart
    from spy_assets.signals.risk import risk_filter

    limits = account.desk(settings).limits
    age = sessions_apart(fold.train_last, fold.test_last)
    limits = replace(
        limits,
        min_confidence=0.0,  # the policy itself holds below it
        max_model_age_sessions=max(age, limits.max_model_age_sessions),
    )
    return lambda train_end: risk_filter(limits, train_end=train_end)


def regimes(
    lake: Warehouse, settings: Settings, through: date, snapshot: int | None
) -> dict[date, str]:
    """The market's regime by session, each as it was known at the end."""
    if "features.regime" not in lake.tables():
        return {}
    rows = lake.read(
        "features.regime",
        as_of=decision_time(through),
        snapshot=snapshot,
        columns=["symbol", "session", "regime"],
        where="symbol = ? AND regime IS NOT NULL",
        params=(settings.symbol,),
    )
    return dict(rows.select("session", "regime").iter_rows())


@dataclass(frozen=True)
class WalkedFold:
    """A fold's result with all that its rows and its MLflow runs say beside it.

    ``labels`` are columns that every row of the results has beside those of all clocks.
    """

    result: FoldResult | IntradayFold
    configuration: Configuration
    profile: str
    source: str
    symbol: str
    lake_snapshot: int
    dagster_run_id: str
    tables: WalkTables = DAILY
    labels: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> FoldRecord:
        """What the registry is told."""
        from spy_assets.evaluation.walk_forward import POLICY
        from spy_assets.registry import FoldRecord, SeedRun

        result, fold = self.result, self.result.fold
        policies = [run for run in result.runs if run.strategy == POLICY]
        return FoldRecord(
            profile=self.profile,
            symbol=self.symbol,
            preset=self.configuration.preset,
            window=fold.key,
            configuration=self.configuration.digest,
            parameters=self.configuration.values,
            fold=asdict(fold),
            metrics=_metrics(result.chosen),
            chosen_seed=result.chosen.seed,
            dataset_digest=result.dataset_digest,
            dataset_rows=fold.train_sessions,
            lake_snapshot=self.lake_snapshot,
            dagster_run_id=self.dagster_run_id,
            clock=self.tables.clock,
            seeds=[
                SeedRun(
                    run.seed,
                    run.policy_hash,
                    candidate.metrics | _metrics(run),
                    candidate.policy.curve,
                )
                for run, candidate in zip(policies, result.selection.candidates, strict=True)
            ],
        )

    def batches(self, mlflow_run_id: str | None) -> list[tuple[TableSpec, pl.DataFrame]]:
        """The rows of the three tables."""
        timesteps = {
            one.policy.seed: one.policy.timesteps for one in self.result.selection.candidates
        }
        own = {
            "dataset_digest": self.result.dataset_digest,
            "parameters": self.configuration.to_json(),
            "lake_snapshot": self.lake_snapshot,
            "mlflow_run_id": mlflow_run_id,
            "dagster_run_id": self.dagster_run_id,
            **self.labels,
        }
        runs = self.result.runs
        rows: dict[str, Iterable[Mapping[str, Any]]] = {
            self.tables.results: (
                result_row(run) | own | {"timesteps": timesteps.get(run.seed, 0)} for run in runs
            ),
            self.tables.equity: (row for run in runs for row in equity_rows(run)),
            self.tables.trades: (row for run in runs for row in trade_rows(run)),
        }
        shared = {
            "preset": self.configuration.preset,
            "configuration": self.configuration.digest,
            "test_start": self.result.fold.test_first,
            "available_at": decision_time(self.result.fold.test_last),
            "source": self.source,
        }
        return [
            (TABLES[name], frame(TABLES[name], [{**row, **shared} for row in found]))
            for name, found in rows.items()
        ]


def log_fold(registry: Registry, walked: WalkedFold) -> tuple[str | None, str | None]:
    """Log a fold in MLflow; gives the run id, or why there is none: its rows go to the lake anyway."""
    try:
        return registry.log_fold(walked.record()), None
    except RegistryUnavailable as error:
        return None, error.message


def _metrics(run: WindowRun) -> dict[str, float]:
    """Out-of-sample figures under the names that the registry shows."""
    daily = run.daily
    return {
        "test_net_pnl": daily.net_pnl,
        "test_return": daily.total_return,
        "test_sharpe": daily.sharpe,
        "test_max_drawdown": daily.max_drawdown,
        "test_trades": float(run.trade_count),
        "test_costs": run.costs,
    }


def result_row(run: WindowRun) -> dict[str, Any]:
    """The row of ``evaluation.walk_forward`` as far as the run itself knows it."""
    from spy_assets.evaluation.statistics import bootstrap_mean

    fold, daily, trades = run.fold, run.daily, run.trade_statistics
    interval = bootstrap_mean(run.daily_pnl, seed=0)
    return {
        "strategy": run.strategy,
        "seed": run.seed,
        "selected": run.selected,
        "fold": fold.number,
        "train_start": fold.train_first,
        "train_end": fold.train_last,
        "train_sessions": fold.train_sessions,
        "test_end": fold.test_last,
        "test_sessions": fold.test_sessions,
        "purge_sessions": fold.purge,
        "embargo_sessions": fold.embargo,
        "capital": float(run.equity[0]),
        "net_pnl": daily.net_pnl,
        "total_return": daily.total_return,
        "mean_daily": interval.estimate,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "sharpe": daily.sharpe,
        "max_drawdown": daily.max_drawdown,
        "trades": run.trade_count,
        "win_rate": trades.win_rate,
        "profit_factor": trades.profit_factor,
        "costs": run.costs,
        "policy_hash": run.policy_hash,
    }


def equity_rows(run: WindowRun) -> list[dict[str, Any]]:
    """The rows of ``evaluation.walk_forward_equity``, without the capital at the start."""
    name = {"strategy": run.strategy, "seed": run.seed}
    values = run.equity[1:].tolist()
    return [
        name | {"session": day, "equity": value}
        for day, value in zip(run.sessions, values, strict=True)
    ]


def trade_rows(run: WindowRun) -> list[dict[str, Any]]:
    """The rows of ``evaluation.walk_forward_trades``."""
    name = {"strategy": run.strategy, "seed": run.seed}
    rows = []
    for number, trade in enumerate(run.trades):
        values = asdict(trade)
        values["trade_costs"] = values.pop("costs")
        rows.append(name | values | {"number": number})
    return rows


def latest_configuration(lake: Warehouse, settings: Settings) -> str | None:
    """The configuration whose fold was written last, of the preset, symbol and cut of the settings.

    None where there is no such fold.
    """
    return newest_configuration(
        lake, settings.walk.preset, {"symbol": settings.symbol} | _cut(settings)
    )


def newest_configuration(
    lake: Warehouse, preset: str, wanted: Mapping[str, Any], tables: WalkTables = DAILY
) -> str | None:
    """The configuration with ``wanted`` among its values whose fold was written last."""
    stored = stored_configurations(lake, tables.results, "preset = ?", (preset,))
    return next(
        (digest for digest, values in stored if wanted.items() <= values.items()),
        None,
    )


def stored_configurations(
    lake: Warehouse, results: str, where: str = "true", params: Sequence[Any] = ()
) -> list[tuple[str, dict[str, Any]]]:
    """Configurations of a table with what they are a hash of, the one that was written last first."""
    lake.ensure(TABLES[results])
    found = lake.execute(
        f"SELECT configuration, parameters FROM {results} WHERE {where}"
        " GROUP BY configuration, parameters ORDER BY max(ingested_at) DESC",
        params,
    )
    return [(str(digest), json.loads(parameters)) for digest, parameters in found.iter_rows()]


def walked_windows(
    lake: Warehouse, preset: str, digest: str, tables: WalkTables = DAILY
) -> set[str]:
    """Keys of the folds that have rows of a configuration."""
    lake.ensure(TABLES[tables.results])
    found = lake.execute(
        f"SELECT DISTINCT test_start FROM {tables.results} WHERE preset = ? AND configuration = ?",
        (preset, digest),
    )
    return {day.isoformat() for day in found["test_start"]}


def final_preset(preset: str) -> str:
    """Under which preset the rows of the final test are kept, apart from those of the folds."""
    return f"{preset}_final"


def require_untouched(lake: Warehouse, own: Configuration, fold: Fold, due: Sequence[Fold]) -> None:
    """Refuse a second look at the final period, and a first one before all folds were walked.

    Raises
    ------
    ConfigError
        A configuration was tested on a session of it, in a fold too; only its own final test may be
        repeated. Or folds are missing.
    """
    missing = {one.key for one in due} - walked_windows(lake, own.preset, own.digest)
    if missing:
        raise ConfigError(
            f"{len(missing)} of {len(due)} folds of configuration {own.digest} are missing, the first "
            f"is {min(missing)}",
            hint="walk all folds first: the final period is looked at once, at the end",
        )
    looks = looks_from(lake, fold.test_first)
    mine = (looks["configuration"] == own.digest) & (looks["preset"] == final_preset(own.preset))
    earlier = looks.filter(~mine)
    if not earlier.is_empty():
        first = earlier.row(0, named=True)
        raise ConfigError(
            f"configuration {first['configuration']} was tested on the final period from "
            f"{fold.test_first} on, at {first['seen_at']:%Y-%m-%d %H:%M} UTC, by preset "
            f"{first['preset']!r}",
            hint="it is no untouched period any more: set SPY_WALK__FINAL_FROM to later sessions",
        )


def looks_from(lake: Warehouse, day: date) -> pl.DataFrame:
    """Who was tested on sessions from a day on: ``configuration``, ``preset``, ``seen_at``, by time.

    Folds count as final tests do: a later SPY_WALK__FINAL_FROM lets them into the period. So do the
    groups of a combinatorial cross-validation, and rows that a later version replaced.
    """
    for name in (RESULTS, COMBINATORIAL):
        lake.ensure(TABLES[name])
    return lake.execute(
        "SELECT configuration, preset, min(ingested_at) AS seen_at FROM ("
        f"SELECT configuration, preset, ingested_at, test_end FROM {RESULTS} UNION ALL "
        f"SELECT configuration, 'combinatorial', ingested_at, test_end FROM {COMBINATORIAL})"
        " WHERE test_end >= ? GROUP BY configuration, preset ORDER BY seen_at",
        (day,),
    )


def trials(lake: Warehouse, registry: Registry, symbol: str, tables: WalkTables = DAILY) -> int:
    """How many configurations were walked, by MLflow and by the lake; at least 1.

    MLflow remembers those of a lake that was built anew, the lake those of an MLflow that was down.
    By days those of combinatorial cross-validations count too, which test on the same sessions.
    """
    found = set()
    for name in (tables.results, *([COMBINATORIAL] if tables == DAILY else [])):
        lake.ensure(TABLES[name])
        found |= set(lake.execute(f"SELECT DISTINCT configuration FROM {name}")["configuration"])
    with suppress(RegistryUnavailable):  # then the lake's own count is all that is known
        found |= registry.walk_forward_trials(symbol, tables.clock)
    return max(1, len(found))


@dataclass(frozen=True)
class StoredWalk:
    """A walk-forward as the lake has it."""

    preset: str
    digest: str
    parameters: Mapping[str, Any]
    runs: tuple[WindowRun, ...]
    lake_snapshots: tuple[int, ...]
    seeds: tuple[int, ...]
    timesteps: int


def stored_walk(
    lake: Warehouse,
    preset: str,
    digest: str,
    windows: Iterable[str] | None = None,
    tables: WalkTables = DAILY,
) -> StoredWalk:
    """Read the runs of a configuration back, each fold as it was walked last.

    Parameters
    ----------
    windows
        Keys of the folds to read; all that are stored by default.

    Raises
    ------
    DataError
        If it has none.
    """
    from spy_assets.errors import DataError

    names = (tables.results, tables.equity, tables.trades)
    for name in names:
        lake.ensure(TABLES[name])
    results, equity, trades = (
        lake.read(name, where="preset = ? AND configuration = ?", params=(preset, digest))
        for name in names
    )
    results = _walked_last(results)
    if windows is not None:
        days = [date.fromisoformat(key) for key in windows]
        results = results.filter(results["test_start"].is_in(days))
    if results.is_empty():
        raise DataError(
            f"no fold of preset {preset!r} and configuration {digest!r} is stored",
            hint="run it first: spy walkforward"
            + (f" --preset {preset}" if tables is DAILY else f" --clock {tables.clock}"),
        )
    trained = results.filter(results["timesteps"] > 0)
    return StoredWalk(
        preset=preset,
        digest=digest,
        parameters=json.loads(results["parameters"][0]),
        runs=tuple(_runs(results, equity, trades)),
        lake_snapshots=tuple(sorted(set(results["lake_snapshot"]))),
        seeds=tuple(sorted(set(trained["seed"]))),
        timesteps=int(trained["timesteps"].max() or 0),  # type: ignore[arg-type]
    )


def shown_walk(lake: Warehouse, settings: Settings, digest: str, now: datetime) -> StoredWalk:
    """Read a configuration's walk-forward as the settings cut it now.

    A fold that the settings no longer have is left out: the final period may begin earlier than when
    it was walked, and a closed day that was added moves all folds after it. A configuration that is
    cut by another start or other windows is shown whole.

    Raises
    ------
    DataError
        It has no such fold.
    """
    return walk_as_cut(
        lake, settings.walk.preset, digest, _cut(settings), folds_of(settings, now), DAILY
    )


def walk_as_cut(
    lake: Warehouse,
    preset: str,
    digest: str,
    cut: Mapping[str, Any],
    folds: Iterable[Fold],
    tables: WalkTables,
) -> StoredWalk:
    """Read those of ``folds`` that a configuration of this cut has, or another one whole."""
    walk = stored_walk(lake, preset, digest, tables=tables)
    if not cut.items() <= walk.parameters.items():
        return walk
    return stored_walk(lake, preset, digest, [fold.key for fold in folds], tables)


def _walked_last(results: pl.DataFrame) -> pl.DataFrame:
    """The rows of each fold's last walk, without runs that only an earlier one had."""
    import polars as pl

    last = pl.col("dagster_run_id").sort_by("ingested_at").last().over("test_start")
    return results.filter(pl.col("dagster_run_id") == last)


def _runs(results: pl.DataFrame, equity: pl.DataFrame, trades: pl.DataFrame) -> Iterable[WindowRun]:
    import numpy as np

    from spy_assets.evaluation.walk_forward import WindowRun

    key = ["test_start", "strategy", "seed"]
    curves = equity.sort("session").partition_by(key, as_dict=True)
    closed = trades.sort("number").partition_by(key, as_dict=True)
    for row in results.sort(key).iter_rows(named=True):
        name = tuple(row[column] for column in key)
        curve = curves[name]
        yield WindowRun(
            fold=_fold(row),
            strategy=row["strategy"],
            seed=row["seed"],
            selected=row["selected"],
            sessions=tuple(curve["session"]),
            equity=np.concatenate(([row["capital"]], curve["equity"].to_numpy())),
            trades=tuple(_trades(closed[name], row["trades"])) if name in closed else (),
            trade_count=row["trades"],
            costs=row["costs"],
            policy_hash=row["policy_hash"],
        )


def _fold(row: Mapping[str, Any]) -> Fold:
    """The fold of a row; positions count from the training's first session, as the lake has dates."""
    from spy_assets.evaluation.splits import Fold

    stop, gap = row["train_sessions"], row["purge_sessions"] + row["embargo_sessions"]
    return Fold(
        number=row["fold"],
        train_start=0,
        train_stop=stop,
        test_start=stop + gap,
        test_stop=stop + gap + row["test_sessions"],
        train_first=row["train_start"],
        train_last=row["train_end"],
        test_first=row["test_start"],
        test_last=row["test_end"],
        purge=row["purge_sessions"],
        embargo=row["embargo_sessions"],
    )


def _trades(rows: pl.DataFrame, count: int) -> Iterable[Any]:
    """The trades of a run; later numbers are left from an earlier walk of the fold, which had more."""
    from spy_assets.evaluation.walk_forward import ClosedTrade

    own = rows.filter(rows["number"] < count).rename({"trade_costs": "costs"})
    names = [name for name in ClosedTrade.__dataclass_fields__ if name in own.columns]
    for row in own.iter_rows(named=True):
        yield ClosedTrade(**{name: row[name] for name in names})


def summary_of(walk: StoredWalk, trials: int) -> WalkForwardSummary:
    """Sum up a stored walk-forward."""
    from spy_assets.evaluation.walk_forward_summary import summarise

    return summarise(walk.runs, trials=trials)


def tearsheet_path(
    settings: Settings, preset: str, digest: str, tables: WalkTables = DAILY
) -> Path:
    """Where the tearsheet of a configuration is; a new one takes the old one's place."""
    folder = tables.results.rsplit(".", 1)[-1]
    return settings.root / "reports" / folder / f"{preset}_{digest}.html"


def keep_page(path: Path, html: str, figures: Mapping[str, Any]) -> None:
    """Write a page, and its figures as JSON beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html)
    path.with_suffix(".json").write_text(json.dumps(figures, sort_keys=True))


def tearsheet_facts(
    settings: Settings,
    walk: StoredWalk,
    shown: str,
    made_at: datetime,
    seen_by: Iterable[str] = (),
) -> TearsheetFacts:
    """What the tearsheet says of where its numbers are from.

    ``shown`` is the symbol's display, ``seen_by`` who was tested on the final period.
    """
    from spy_assets.evaluation.tearsheet import TearsheetFacts
    from spy_assets.signals.build import SOURCE_NOTICES

    return TearsheetFacts(
        title=f"Walk-forward, {shown}",
        symbol=shown,
        source=settings.source,
        preset=walk.preset,
        configuration=walk.digest,
        parameters=walk.parameters,
        seeds=walk.seeds,
        timesteps=walk.timesteps,
        costs=account.cost_label(settings),
        lake_snapshots=walk.lake_snapshots,
        due_folds=len(folds_of(settings, made_at)),
        final_from=final_from(settings, made_at),
        final_to=walk_sessions(settings, made_at)[-1],
        final_seen_by=tuple(sorted(set(seen_by))),
        made_at=made_at,
        notices=tuple(SOURCE_NOTICES.get(settings.source, ())),
    )
