"""From a split to its rows and back: glue between the combinatorial cross-validation and the lake."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spy_assets.defs import account, walk_windows, walking
from spy_assets.defs.registering import frame
from spy_assets.errors import ConfigError, DataError
from spy_assets.sessions import decision_time
from spy_assets.warehouse.tables import TABLES, TableSpec

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.evaluation.backtest import EntryFilter
    from spy_assets.evaluation.combinatorial import Piece, SplitResult
    from spy_assets.evaluation.combinatorial_report import PathsFacts
    from spy_assets.evaluation.splits import CombinatorialPaths
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.settings import Settings
    from spy_assets.simulator.market_path import MarketPath
    from spy_assets.warehouse import Warehouse

RESULTS = "evaluation.combinatorial_paths"
EQUITY = "evaluation.combinatorial_equity"
_NAME = "combinatorial"


@dataclass(frozen=True)
class Cut:
    """How the settings cut the sessions: groups, what lies around a test, and the sessions."""

    sessions: tuple[date, ...]
    groups: int
    test_groups: int
    purge: int
    embargo: int
    fill_delay: int

    @classmethod
    def of(cls, settings: Settings, now: datetime) -> Cut:
        """The cut of the settings; the final period is in no group.

        Raises
        ------
        ConfigError
            The purge is less than the longest holding time and the fill delay, or there is no session.
        """
        windows, until = walk_windows.windows_of(settings), walk_windows.final_from(settings, now)
        days = tuple(day for day in walk_windows.walk_sessions(settings, now) if day < until)
        if not days:
            raise ConfigError(
                f"no session from {settings.walk_start} to {until}",
                hint="set an earlier SPY_WALK__START, or let the final period begin later",
            )
        walk = settings.walk
        return cls(
            days,
            walk.groups,
            walk.test_groups,
            windows.purge,
            windows.embargo,
            windows.fill_delay,
        )

    @cached_property
    def paths(self) -> CombinatorialPaths:
        """The splits and paths over the sessions.

        Raises
        ------
        ConfigError
            The groups are too short, or too many of them are tested.
        """
        from spy_assets.evaluation.splits import combinatorial_purged

        return combinatorial_purged(
            len(self.sessions),
            groups=self.groups,
            test_groups=self.test_groups,
            purge=self.purge,
            embargo=self.embargo,
            fill_delay=self.fill_delay,
        )

    def agent(self, config: AgentConfig) -> AgentConfig:
        """A training's configuration with episodes that fit on every stretch."""
        from spy_assets.evaluation.combinatorial import fitted

        return fitted(config, self.paths)

    def values(self) -> dict[str, Any]:
        """What decides the cut, as JSON types."""
        return {
            "from": self.sessions[0].isoformat(),
            "to": self.sessions[-1].isoformat(),
            "groups": self.groups,
            "test_groups": self.test_groups,
            "purge": self.purge,
            "embargo": self.embargo,
        }


def configuration(settings: Settings, agent: AgentConfig, now: datetime) -> walking.Configuration:
    """Everything that decides a cross-validation but the data.

    Raises
    ------
    ConfigError
        The settings have no cut; see :class:`Cut`.
    """
    cut = Cut.of(settings, now)
    training = cut.agent(agent).hyperparameters()
    training.pop("checkpoint_every", None)  # changes no weights
    contract = account.desk(settings).contract
    values = {
        "symbol": settings.symbol,
        "source": settings.source,
        "contract": contract.name,
        "contract_sha256": contract.sha256,
        **cut.values(),
        "training": training,
        "account": repr(account.trading(settings)),
        "min_confidence": settings.risk.min_confidence,
    }
    return walking.Configuration(_NAME, values)


def market(lake: Warehouse, settings: Settings, cut: Cut, snapshot: int) -> MarketPath:
    """The sessions of the cut as they were known when the last of them was decided.

    Raises
    ------
    DataError
        The lake lacks sessions of it.
    """
    path = account.market_path(lake, settings, cut.sessions[-1], snapshot=snapshot)
    first = sum(day < cut.sessions[0] for day in path.sessions)
    own = path.window(first, len(path))
    if own.sessions != cut.sessions:
        raise DataError(
            f"the market has {len(own)} of the {len(cut.sessions)} sessions from {cut.sessions[0]} to "
            f"{cut.sessions[-1]}",
            hint="materialize the features of these years first",
        )
    return own


def entry_filter(settings: Settings) -> EntryFilter:
    """The risk layer that signals obey; a model's age means nothing where it saw what came after."""
    from dataclasses import replace

    from spy_assets.signals.risk import risk_filter

    limits = account.desk(settings).limits
    return risk_filter(replace(limits, min_confidence=0.0))  # the policy itself holds below it


@dataclass(frozen=True)
class RunSplit:
    """A split's result with all that its rows say beside it."""

    result: SplitResult
    configuration: walking.Configuration
    last: date
    source: str
    lake_snapshot: int
    dagster_run_id: str

    def batches(self) -> list[tuple[TableSpec, pl.DataFrame]]:
        """The rows of both tables."""
        split, pieces = self.result.split, self.result.pieces
        timesteps = {one.seed: one.timesteps for one in self.result.policies}
        own = {
            "train_sessions": len(split.train),
            "dataset_digest": self.result.dataset_digest,
            "parameters": self.configuration.to_json(),
            "lake_snapshot": self.lake_snapshot,
            "dagster_run_id": self.dagster_run_id,
        }
        rows: dict[str, Iterable[Mapping[str, Any]]] = {
            RESULTS: (
                own | piece_row(piece) | {"timesteps": timesteps.get(piece.seed, 0)}
                for piece in pieces
            ),
            EQUITY: (row for piece in pieces for row in equity_rows(piece)),
        }
        shared = {
            "configuration": self.configuration.digest,
            "available_at": decision_time(self.last),
            "source": self.source,
        }
        return [
            (TABLES[name], frame(TABLES[name], [{**row, **shared} for row in found]))
            for name, found in rows.items()
        ]


def _key(piece: Piece) -> dict[str, Any]:
    return {
        "split": piece.split,
        "test_start": piece.sessions[0],
        "strategy": piece.strategy,
        "seed": piece.seed,
    }


def piece_row(piece: Piece) -> dict[str, Any]:
    """The row of ``evaluation.combinatorial_paths`` as far as the piece itself knows it."""
    daily = piece.daily
    return _key(piece) | {
        "path": piece.path,
        "test_end": piece.sessions[-1],
        "test_sessions": len(piece.sessions),
        "capital": float(piece.equity[0]),
        "net_pnl": daily.net_pnl,
        "sharpe": daily.sharpe,
        "max_drawdown": daily.max_drawdown,
        "trades": piece.trade_count,
        "costs": piece.costs,
        "policy_hash": piece.policy_hash,
    }


def equity_rows(piece: Piece) -> list[dict[str, Any]]:
    """The rows of ``evaluation.combinatorial_equity``, without the capital at the start."""
    key, values = _key(piece), piece.equity[1:].tolist()
    return [
        key | {"session": day, "equity": value}
        for day, value in zip(piece.sessions, values, strict=True)
    ]


def run_splits(lake: Warehouse, digest: str) -> set[str]:
    """Keys of the splits that have rows of a configuration."""
    lake.ensure(TABLES[RESULTS])
    found = lake.execute(f"SELECT DISTINCT split FROM {RESULTS} WHERE configuration = ?", (digest,))
    return {walk_windows.split_key(number) for number in found["split"]}


def latest_configuration(lake: Warehouse, settings: Settings, now: datetime) -> str | None:
    """The configuration whose split was written last, of the symbol and cut of the settings."""
    wanted = _same_market(settings, now)
    for digest, parameters in walking.stored_configurations(lake, RESULTS):
        if wanted.items() <= parameters.items():
            return digest
    return None


def rival_configurations(
    lake: Warehouse, digest: str, parameters: Mapping[str, Any], due: int
) -> list[str]:
    """The other configurations that were run over the same sessions, all splits of them."""
    names = ("symbol", "source", "from", "to", "groups", "test_groups")
    wanted = {name: parameters[name] for name in names}
    return [
        other
        for other, values in walking.stored_configurations(lake, RESULTS)
        if other != digest
        and wanted.items() <= values.items()
        and len(run_splits(lake, other)) == due
    ]


def _same_market(settings: Settings, now: datetime) -> dict[str, Any]:
    cut = Cut.of(settings, now).values()
    return {"symbol": settings.symbol, "source": settings.source, **cut}


@dataclass(frozen=True)
class StoredPaths:
    """A cross-validation as the lake has it."""

    digest: str
    parameters: Mapping[str, Any]
    pieces: tuple[Piece, ...]
    seeds: tuple[int, ...]
    timesteps: int

    @property
    def keys(self) -> list[str]:
        """Keys of all splits of its cut."""
        return walk_windows.split_keys_of(self.parameters["groups"], self.parameters["test_groups"])


def stored_paths(lake: Warehouse, digest: str) -> StoredPaths:
    """Read the pieces of a configuration back.

    Raises
    ------
    DataError
        It has none.
    """
    for name in (RESULTS, EQUITY):
        lake.ensure(TABLES[name])
    results, equity = (
        lake.read(name, where="configuration = ?", params=(digest,)) for name in (RESULTS, EQUITY)
    )
    if results.is_empty():
        raise DataError(
            f"no split of configuration {digest!r} is stored",
            hint="run it first: spy plan paths --run",
        )
    trained = results.filter(results["timesteps"] > 0)
    return StoredPaths(
        digest=digest,
        parameters=json.loads(results["parameters"][0]),
        pieces=tuple(_pieces(results, equity)),
        seeds=tuple(sorted(set(trained["seed"]))),
        timesteps=int(trained["timesteps"].max() or 0),  # type: ignore[arg-type]
    )


def _pieces(results: pl.DataFrame, equity: pl.DataFrame) -> Iterable[Piece]:
    import numpy as np

    from spy_assets.evaluation.combinatorial import Piece

    key = ["split", "test_start", "strategy", "seed"]
    curves = equity.sort("session").partition_by(key, as_dict=True)
    for row in results.sort(key).iter_rows(named=True):
        curve = curves[tuple(row[column] for column in key)]
        yield Piece(
            split=row["split"],
            path=row["path"],
            strategy=row["strategy"],
            seed=row["seed"],
            sessions=tuple(curve["session"]),
            equity=np.concatenate(([row["capital"]], curve["equity"].to_numpy())),
            trade_count=row["trades"],
            costs=row["costs"],
            policy_hash=row["policy_hash"],
        )


def report_path(settings: Settings, digest: str) -> Path:
    """Where the page of a configuration is; a new one takes the old one's place."""
    return settings.root / "reports" / _NAME / f"{digest}.html"


def report_facts(stored: StoredPaths, shown: str, made_at: datetime, due: int) -> PathsFacts:
    """What the page says of where its numbers are from; ``shown`` is the symbol's display."""
    from spy_assets.evaluation.combinatorial_report import PathsFacts
    from spy_assets.signals.build import SOURCE_NOTICES

    values = stored.parameters
    return PathsFacts(
        title=f"Combinatorial paths, {shown}",
        symbol=shown,
        source=values["source"],
        configuration=stored.digest,
        parameters=values,
        seeds=stored.seeds,
        timesteps=stored.timesteps,
        groups=values["groups"],
        test_groups=values["test_groups"],
        purge=values["purge"],
        embargo=values["embargo"],
        due_splits=due,
        made_at=made_at,
        notices=tuple(SOURCE_NOTICES.get(values["source"], ())),
    )


def pieces_of(lake: Warehouse, digests: Sequence[str]) -> dict[str, tuple[Piece, ...]]:
    """The stored pieces of some configurations, by hash."""
    return {digest: stored_paths(lake, digest).pieces for digest in digests}
