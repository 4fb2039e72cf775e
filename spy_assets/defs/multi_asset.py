"""One daily policy for several symbols, and whether it is worth it: asset and glue.

The symbols share sessions, account and observation contract. The observation is scaled by constants of
the contract, so that nothing of it is fitted; what is fitted (weights, the choice among seeds) sees the
training window only, which ends a purge before the validation window, as for the daily policy.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from spy_assets.defs import account, agent_training, registering
from spy_assets.defs.agents import OBSERVED, TrainingRun, agent_asset, agent_preset, final_failures
from spy_assets.defs.describe import bar_plot, table, write_metadata
from spy_assets.defs.models import ppo_daily, select, training, training_metadata
from spy_assets.defs.resources import SpyResource
from spy_assets.sessions import decision_time
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.evaluation.backtest import BacktestResult, Venue
    from spy_assets.evaluation.multi_asset import SharingVerdict
    from spy_assets.features.contracts import ObservationContract
    from spy_assets.models.policy.asking import Probabilities
    from spy_assets.models.policy.config import AgentConfig
    from spy_assets.models.policy.multi_symbol import SymbolMarket
    from spy_assets.models.policy.select import Selection
    from spy_assets.models.policy.windows import Windows
    from spy_assets.registry import TrainingRecord
    from spy_assets.settings import Settings
    from spy_assets.warehouse import Warehouse

MODEL = "ppo_multi_asset"
TABLE = "models.multi_asset"
#: What prices the options of every symbol, whatever the symbol.
PRICED_BY = "options of every symbol are priced from VIX, the index of the S&P 500's"


class SymbolWindows(NamedTuple):
    """A symbol's settings, and its windows over the sessions that all symbols have."""

    settings: "Settings"
    cut: "Windows"

    @property
    def market(self) -> "SymbolMarket":
        """What is trained on."""
        from spy_assets.models.policy.multi_symbol import SymbolMarket

        return SymbolMarket(self.cut.training, account.trading(self.settings))

    @property
    def venue(self) -> "Venue":
        """Where policies are judged."""
        return account.venue(self.settings, self.cut)


def symbol_windows(
    lake: "Warehouse", settings: "Settings", session: date, snapshot: int | None = None
) -> dict[str, SymbolWindows]:
    """Cut the windows of every symbol, all to the sessions that each of them has.

    Raises
    ------
    DataError
        The lake lacks a symbol, it has too few sessions, or they do not have the same sessions.
    """
    from spy_assets.errors import DataError

    found = {}
    for symbol in settings.train.symbols:
        own = settings.model_copy(update={"symbol": symbol})
        try:
            found[symbol] = SymbolWindows(
                own, account.windows(lake, own, session, snapshot=snapshot)
            )
        except DataError as error:
            raise DataError(
                f"{symbol}: {error.message}",
                hint="name symbols that the source has in SPY_TRAIN__SYMBOLS and SPY_SYMBOLS; the "
                "sample has SPY alone, SPY_SOURCE=files has QQQ too",
            ) from error
    first = max(one.cut.training.sessions[0] for one in found.values())
    common = {name: _from(one, first) for name, one in found.items()}
    days = {one.cut.path.sessions[one.cut.train_start :] for one in common.values()}
    if len(days) > 1:
        raise DataError(
            f"{', '.join(common)} do not have the same sessions from {first} to {session}",
            hint="materialize the features of all symbols for these years",
        )
    return common


def _from(one: SymbolWindows, first: date) -> SymbolWindows:
    cut = one.cut
    return one._replace(cut=replace(cut, train_start=cut.path.index_of(first)))


def record_of(
    settings: "Settings",
    partition: str,
    windows: Mapping[str, SymbolWindows],
    selection: "Selection",
    config: "AgentConfig",
    snapshot: int,
    run_id: str,
) -> "TrainingRecord":
    """What the training has to say to the registry: the window and the data of all symbols."""
    from spy_assets.models.policy.multi_symbol import MultiSymbolTask

    cut = next(iter(windows.values())).cut
    record = registering.training_record(
        settings, partition, cut, selection, config, snapshot, run_id, MODEL
    )
    task = MultiSymbolTask({name: one.market for name, one in windows.items()})
    return replace(
        record,
        dataset_digest=task.dataset_digest,
        dataset_rows=sum(len(one.cut.training) for one in windows.values()),
        hyperparameters=dict(record.hyperparameters) | {"symbols": ",".join(windows)},
    )


class Judged(NamedTuple):
    """Every run of every symbol over the validation window, and the verdict."""

    runs: Mapping[str, tuple["BacktestResult", ...]]
    verdict: "SharingVerdict"


def judge(
    windows: Mapping[str, SymbolWindows],
    multi: "Probabilities",
    singles: Mapping[str, "Probabilities"],
    champions: Mapping[str, "Probabilities"],
) -> Judged:
    """Walk the one policy and its rivals over each symbol's validation window.

    Parameters
    ----------
    windows
        Of each symbol.
    multi, singles
        The one policy; that of each symbol alone, trained for as long on the same sessions.
    champions
        Registered policies of some of the symbols, such as the daily PPO of the window.
    """
    from spy_assets.evaluation.backtest import greedy, run_policy
    from spy_assets.evaluation.baselines import cash
    from spy_assets.evaluation.multi_asset import MULTI, SINGLE, compare_sharing

    runs, ours, theirs = {}, {}, {}
    for name, one in windows.items():
        venue = one.venue
        ours[name] = run_policy(venue, greedy(multi), name=MULTI)
        theirs[name] = run_policy(venue, greedy(singles[name]), name=SINGLE)
        others = [
            run_policy(venue, greedy(asked), name="ppo_daily")
            for symbol, asked in champions.items()
            if symbol == name
        ]
        runs[name] = (ours[name], theirs[name], *others, cash(venue))
    return Judged(runs, compare_sharing(ours, theirs))


def rows_of(
    settings: "Settings", session: date, judged: Judged, version: str, snapshot: int
) -> list[dict[str, Any]]:
    """Rows of ``models.multi_asset``: each run of each symbol, and the lead of the one policy."""
    from spy_assets.evaluation.statistics import bootstrap_difference

    rows = []
    for symbol, runs in judged.runs.items():
        multi = runs[0]
        for run in runs:
            lead = None
            if run is not multi:
                lead = bootstrap_difference(multi.daily_pnl, run.daily_pnl, seed=0)
            rows.append(
                {
                    "window_end": session,
                    "symbol": symbol,
                    "strategy": run.name,
                    "version": version,
                    "sessions": len(run.sessions),
                    "net_pnl": run.daily.net_pnl,
                    "sharpe": run.daily.sharpe,
                    "max_drawdown": run.daily.max_drawdown,
                    "trades": run.trade_count,
                    "lead": None if lead is None else lead.estimate,
                    "ci_low": None if lead is None else lead.low,
                    "ci_high": None if lead is None else lead.high,
                    "better": judged.verdict.better,
                    "lake_snapshot": snapshot,
                    "available_at": decision_time(session),
                    "source": settings.source,
                }
            )
    return rows


def _registered(lake: "Warehouse", spy: SpyResource, partition: str) -> dict[str, "Probabilities"]:
    """The daily PPO that was trained for the window and the settings' mandate, of the traded symbol.

    None where there is none, or MLflow does not answer: it is one strategy more to stand beside.
    """
    from spy_assets.errors import ModelFileMismatch, RegistryUnavailable

    try:
        base = agent_training.base_policy(
            lake, spy.registry(), partition, account.mandate(spy.settings)
        )
    except (ModelFileMismatch, RegistryUnavailable):
        return {}
    return {spy.settings.symbol: base.net.probabilities}


@agent_asset(
    MODEL,
    "One masked PPO for several symbols, an account each, beside a policy of each symbol alone with the "
    "same hyper-parameters and sessions, the window's daily PPO and cash, out of sample; not better "
    "unless the interval says so.",
    deps=[*OBSERVED, ppo_daily],
    kinds={"pytorch", "mlflow", "python"},
    table_name=TABLE,
)
def ppo_multi_asset(
    context: dg.AssetExecutionContext, spy: SpyResource, config: TrainingRun
) -> dg.MaterializeResult:
    """Train on the windows that end with the partition's session, register, judge, and record."""
    settings, session = spy.settings, date.fromisoformat(context.partition_key)
    spec = TABLES[TABLE]
    with spy.warehouse() as lake, final_failures():
        own = _ppo_config(config)
        snapshot = lake.snapshot_id()
        windows = symbol_windows(lake, settings, session, snapshot)
        selection, alone = _train(context, settings, windows, own)
        contract = next(iter(windows.values())).cut.path.contract
        asked = partial(_probabilities, activation=own.activation, contract=contract)
        judged = judge(
            windows,
            asked(selection),
            {name: asked(one) for name, one in alone.items()},
            _registered(lake, spy, context.partition_key),
        )
        record = record_of(
            settings, context.partition_key, windows, selection, own, snapshot, context.run.run_id
        )
        logged, written = registering.register(lake, spy, record)
        rows = registering.frame(
            spec, rows_of(settings, session, judged, logged.version or "spooled", snapshot)
        )
        result = lake.write(spec, rows, ingested_at=spy.utc_now())
    return dg.MaterializeResult(
        metadata=training_metadata(selection, record, logged, written)
        | write_metadata(result)
        | _judged_metadata(judged, rows)
    )


def _ppo_config(config: TrainingRun) -> "AgentConfig":
    from spy_assets.models.policy.config import require_algorithm

    own = agent_preset(config, "sample")
    require_algorithm(own, "ppo", MODEL)
    return own


def _train(
    context: dg.AssetExecutionContext,
    settings: "Settings",
    windows: Mapping[str, SymbolWindows],
    config: "AgentConfig",
) -> tuple["Selection", dict[str, "Selection"]]:
    """Train the one policy, and one of each symbol alone for as long on the same sessions."""
    from spy_assets.models.policy.multi_symbol import train_and_select_symbols

    with training(context, 0, f"{MODEL} ") as ways:
        together = train_and_select_symbols(
            {name: one.market for name, one in windows.items()},
            config,
            checkpoint_dir=settings.root / "checkpoints" / MODEL / context.partition_key,
            progress=ways["progress"],
            stop=ways["stop"],
        )
    alone = {
        name: select(context, one.settings, f"{MODEL}_{name}", one.cut.training, config)
        for name, one in windows.items()
    }
    return together, alone


def _probabilities(
    selection: "Selection", *, activation: str, contract: "ObservationContract"
) -> "Probabilities":
    from spy_assets.models.policy.select import as_net

    return as_net(selection.chosen.policy, activation, contract).probabilities


def _judged_metadata(judged: Judged, rows: "pl.DataFrame") -> dict[str, Any]:
    """What the page shows of the comparison, whatever it says."""
    names = [f"{symbol} {run.name}" for symbol, runs in judged.runs.items() for run in runs]
    shown = ("symbol", "strategy", "net_pnl", "sharpe", "trades", "lead", "ci_low", "ci_high")
    return {
        "verdict": judged.verdict.words,
        "better": judged.verdict.better,
        "symbols": ", ".join(judged.runs),
        "priced_by": PRICED_BY,
        "net_pnl": bar_plot(names, rows["net_pnl"].to_list(), "Net P&L out of sample, $"),
        "results": table(rows.select(shown), 20),
    }


ASSETS = [ppo_multi_asset]
