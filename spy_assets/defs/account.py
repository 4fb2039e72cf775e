"""The account of the settings: the same limits, costs and clock in training, evaluation and live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from spy_assets.defs import chains
from spy_assets.sessions import decision_time, next_session, session_open
from spy_assets.warehouse.tables import TABLES

if TYPE_CHECKING:
    import polars as pl

    from spy_assets.evaluation.backtest import Venue
    from spy_assets.models.policy.train import Trading
    from spy_assets.models.policy.windows import Windows
    from spy_assets.registry import Registry
    from spy_assets.settings import Settings
    from spy_assets.signals.build import ChampionPolicy, Desk
    from spy_assets.signals.champion import Champion
    from spy_assets.signals.paper import PaperSetup
    from spy_assets.signals.recorded import Recorded
    from spy_assets.simulator.book import DailyConfig
    from spy_assets.simulator.chain_fills import ChainFills
    from spy_assets.simulator.mandate import Mandate
    from spy_assets.simulator.market_path import MarketPath
    from spy_assets.warehouse import Warehouse


def cleared_halts(settings: Settings) -> tuple[date, ...]:
    """Sessions at whose close a person let entries go on after a drawdown halt.

    Each line of the file begins with the session as an ISO date, and says who and why; it is dated so
    that sessions before it are decided as they were. A line without a date clears nothing.
    """
    file = settings.resume_file
    lines = file.read_text().splitlines() if file.exists() else []
    days = {_date_of(line) for line in lines}
    return tuple(sorted(day for day in days if day is not None))


def _date_of(line: str) -> date | None:
    try:
        return date.fromisoformat(line.split(maxsplit=1)[0])
    except (ValueError, IndexError):
        return None


def desk(settings: Settings) -> Desk:
    """Limits, costs, exit rules, fill clock and observation of the settings."""
    from spy_assets.features.contracts import get_contract
    from spy_assets.options.spread_model import SPY_SPREADS
    from spy_assets.signals.build import Desk
    from spy_assets.signals.risk import RiskLimits, RiskSizing
    from spy_assets.simulator.actions import action_map
    from spy_assets.simulator.book import DailyConfig
    from spy_assets.simulator.costs import PRESETS

    risk = settings.risk
    limits = RiskLimits(
        max_drawdown=risk.max_drawdown,
        max_clock_skew_s=risk.max_clock_skew_s,
        max_staleness_sessions=risk.max_staleness_sessions,
        max_model_age_sessions=settings.train.max_age_sessions,
        risk_fraction=risk.risk_fraction,
        max_contracts=risk.max_contracts,
        max_positions=risk.max_positions,
        min_confidence=risk.min_confidence,
        blocking_flags=("quarantined", "minute_gaps"),
    )
    config = DailyConfig(
        fill=settings.fill,
        sizing=RiskSizing(limits),
        root=settings.symbol,
        actions=action_map(settings.train.actions),
        allow_naked=risk.allow_naked,
        max_positions=risk.max_positions,
        spreads=SPY_SPREADS if settings.spreads == "model" else None,
        short_puts=risk.short_puts,
    )
    return Desk(
        limits=limits,
        costs=PRESETS[settings.costs],
        config=config,
        contract=get_contract(settings.observation),
    )


def mandate(settings: Settings) -> Mandate:
    """What the account may trade; a version is trained for it, and only then asked."""
    return desk(settings).config.mandate


def cost_label(settings: Settings) -> str:
    """The cost preset, and that spreads are a model's where they are: shown with every result."""
    return settings.costs if settings.spreads == "constant" else f"{settings.costs}, spread model"


def chain_fills(
    lake: Warehouse, settings: Settings, *, snapshot: int | None = None
) -> ChainFills | None:
    """The real quotes that the account fills at; None where no chain is stored, or none can serve.

    An evening's chain is of the close. An account that fills at opens does not mark at it either: its
    P&L would be the difference between a model and a market. A session's chain counts if it was known
    at the session's own decision time, so that a replay fills as the session did.
    """
    from spy_assets.simulator.chain_fills import COLUMNS, ChainFills

    symbol = settings.symbol
    if settings.fill != "next_close" or chains.QUOTES not in lake.tables():
        return None
    at = "" if snapshot is None else f" AT (VERSION => {snapshot})"
    found = lake.execute(
        f"SELECT session, min(available_at) AS known FROM {chains.QUOTES}{at}"
        " WHERE symbol = ? AND quote_kind = 'chain' GROUP BY session",
        [symbol],
    )
    days = [day for day, known in found.iter_rows() if known <= decision_time(day)]
    if not days:
        return None

    def read(session: date) -> pl.DataFrame:
        return lake.read(
            chains.QUOTES,
            as_of=decision_time(session),
            snapshot=snapshot,
            where="symbol = ? AND session = ? AND quote_kind = 'chain'",
            params=(symbol, session),
            columns=list(COLUMNS),
        )

    return ChainFills(days, read, root=symbol)


def paper_setup(settings: Settings, fills: ChainFills | None = None) -> PaperSetup:
    """What the paper account starts with; with real quotes where it is given some."""
    from spy_assets.signals.paper import PaperSetup

    own = desk(settings)
    return PaperSetup(
        symbol=settings.symbol,
        source=settings.source,
        desk=own,
        capital=settings.risk.capital,
        config=own.config,
        cleared=cleared_halts(settings),
        chains=fills,
    )


def trading(settings: Settings) -> Trading:
    """The account that a policy is trained on; its mandate goes with the version."""
    from spy_assets.models.policy.train import Trading

    own = desk(settings)
    return Trading(own.costs, own.rules, settings.risk.capital, own.config)


def market_path(
    lake: Warehouse,
    settings: Settings,
    session: date,
    *,
    snapshot: int | None = None,
    contract: str | None = None,
) -> MarketPath:
    """The market up to ``session`` as it was known at its decision time, at a snapshot or now.

    Observed by ``contract``, or else by that of the settings.
    """
    from spy_assets.features.contracts import get_contract
    from spy_assets.simulator.market_path import MarketPath

    rows = lake.read(
        "features.daily_15",
        as_of=decision_time(session),
        snapshot=snapshot,
        where="symbol = ? AND session <= ?",
        params=(settings.symbol, session),
    )
    moment, observed = decision_time(session), get_contract(contract or settings.observation)
    if observed.needs_chain:
        rows = _with_chain(lake, rows, settings.symbol, moment, snapshot=snapshot)
    rows = with_dividends(lake, rows, settings.symbol, moment, snapshot=snapshot)
    return MarketPath.from_frame(with_growth(lake, rows, moment, snapshot=snapshot), observed)


def _with_chain(
    lake: Warehouse, rows: pl.DataFrame, symbol: str, moment: datetime, *, snapshot: int | None
) -> pl.DataFrame:
    """Rows of ``features.daily_15`` with the dimensions of `daily_15_chain_v1` in place of its own.

    A chain that came after its own session's decision counts as none, as it did for the signal.
    """
    from spy_assets.features.chain_observation import in_time, with_chain

    if snapshot is None:
        lake.ensure(TABLES[chains.FEATURES])
    chain = versions_of(lake, chains.FEATURES, symbol, snapshot=snapshot)
    return with_chain(rows, in_time(chain.filter(chain["available_at"] <= moment)))


def observations(
    lake: Warehouse, symbol: str, through: date, *, snapshot: int | None = None
) -> pl.DataFrame:
    """All versions of ``features.daily_15``, with the dividends known at the decision of ``through``.

    What an account is walked along: every place that rebuilds one takes the market from here.
    """
    rows = versions_of(lake, "features.daily_15", symbol, snapshot=snapshot)
    return with_dividends(lake, rows, symbol, decision_time(through), snapshot=snapshot)


def with_dividends(
    lake: Warehouse,
    rows: pl.DataFrame,
    symbol: str,
    moment: datetime,
    *,
    snapshot: int | None = None,
) -> pl.DataFrame:
    """Rows with the cash that goes ex on their sessions, as known at a moment.

    By it a sold call is assigned in the night before. Null where there is no bar, and no such
    column where the lake has no bars at all: then the rule is not applied, and says so.
    """
    if "market.daily_bars" not in lake.tables():
        return rows
    cash = lake.read(
        "market.daily_bars",
        as_of=moment,
        snapshot=snapshot,
        columns=["symbol", "session", "dividend"],
        where="symbol = ?",
        params=(symbol,),
    )
    return rows.join(cash, on=["symbol", "session"], how="left")


def with_growth(
    lake: Warehouse, rows: pl.DataFrame, moment: datetime, *, snapshot: int | None = None
) -> pl.DataFrame:
    """Rows of ``features.daily_15`` with the ``factor`` of their adjusted bars, as known at a moment.

    A lake without adjusted bars says nothing of dividends: then there is no such column.
    """
    if "features.adjusted_bars" not in lake.tables():
        return rows
    factors = lake.read(
        "features.adjusted_bars",
        as_of=moment,
        snapshot=snapshot,
        columns=["symbol", "session", "factor"],
    )
    return rows.join(factors, on=["symbol", "session"], how="left")


def windows(
    lake: Warehouse,
    settings: Settings,
    session: date,
    *,
    snapshot: int | None = None,
    contract: str | None = None,
) -> Windows:
    """Training and validation windows that end with ``session``, from a snapshot or from now."""
    from spy_assets.models.policy.windows import split_windows

    return split_windows(
        market_path(lake, settings, session, snapshot=snapshot, contract=contract),
        validation_sessions=settings.train.validation_sessions,
        purge_sessions=settings.train.purge_sessions,
    )


def venue(settings: Settings, cut: Windows, trained_for: Mandate | None = None) -> Venue:
    """Where a challenger and its baselines run against each other: the validation window.

    A version of another mandate than the settings' runs under its own.

    Raises
    ------
    ContractMismatch
        This program has another map of that name, or none.
    """
    from spy_assets.evaluation.backtest import Venue

    own = desk(settings)
    config = own.config if trained_for is None else _under(own.config, trained_for)
    return Venue(
        cut.path,
        cut.validation_start,
        None,
        own.costs,
        own.rules,
        settings.risk.capital,
        config,
    )


def _under(config: DailyConfig, trained_for: Mandate) -> DailyConfig:
    """The configuration under a recorded mandate."""
    from spy_assets.errors import ContractMismatch
    from spy_assets.simulator.actions import ACTION_MAPS

    actions = ACTION_MAPS.get(trained_for.actions)
    if actions is None or actions.sha256 != trained_for.actions_sha256:
        raise ContractMismatch(
            f"the model was trained for action map {trained_for.actions!r} "
            f"({trained_for.actions_sha256[:12]}), which this program does not have",
            hint="train the window again",
        )
    return replace(
        config,
        actions=actions,
        allow_naked=config.allow_naked or bool(actions.naked),
        max_positions=trained_for.max_positions,
    )


def policy_of(lake: Warehouse, registry: Registry, champion: Champion) -> ChampionPolicy:
    """The champion's network, its file checked against what the lake recorded of it.

    A version of another mandate or contract is handed on with its own, for the signal to hold with that
    reason; a file that is not the recorded one raises.
    """
    from spy_assets.errors import ContractMismatch
    from spy_assets.models.policy.weights import FileIdentity
    from spy_assets.signals.build import ChampionPolicy

    recorded = lake.read(
        "models.training_runs",
        where="model = ? AND version = ?",
        params=(champion.model, champion.version),
    )
    for row in recorded.iter_rows(named=True):
        identity = FileIdentity(row["file_sha256"], row["file_bytes"])
        try:
            net = registry.load_recorded(champion.version, identity, row["contract"])
        except ContractMismatch:
            break  # the registry knows which definition it was trained on
        own = net.weights
        return ChampionPolicy(
            champion, net.probabilities, own.contract, own.contract_sha, own.mandate
        )
    return _registered_policy(registry, champion)


def _registered_policy(registry: Registry, champion: Champion) -> ChampionPolicy:
    """As the registry alone knows it: a version that the lake has no record of, or cannot ask."""
    from spy_assets.errors import ContractMismatch, ModelFileMismatch
    from spy_assets.features.contracts import DAILY_15_PROXY_V1
    from spy_assets.signals.build import ChampionPolicy
    from spy_assets.simulator.mandate import Mandate

    found = registry.versions().filter(version=champion.version)
    if found.is_empty():
        raise ModelFileMismatch(
            f"{registry.name} has no version {champion.version!r}, which is champion",
            hint="restore mlruns from a backup, or train that window again",
        )
    known = found.row(0, named=True)
    contract, sha256 = known["contract"], known["contract_sha256"]
    trained_for = Mandate.recorded(known)
    try:
        probabilities = registry.load(champion.version).probabilities
    except ContractMismatch as error:
        return replace(
            ChampionPolicy.refusing(champion, error, DAILY_15_PROXY_V1, trained_for),
            contract=contract,
            contract_sha256=sha256,
        )
    return ChampionPolicy(champion, probabilities, contract, sha256, trained_for)


def versions_of(
    lake: Warehouse, table: str, symbol: str, *, snapshot: int | None = None
) -> pl.DataFrame:
    """All versions of one symbol's rows of a feature table, at a snapshot or now."""
    at = "" if snapshot is None else f" AT (VERSION => {snapshot})"
    return lake.execute(f"SELECT * FROM {table}{at} WHERE symbol = ?", (symbol,))


def standing_decisions(rows: list[Mapping[str, Any]]) -> dict[date, Recorded]:
    """The decision of each session that the account follows.

    Of several signals for a session (the champion changed before the fill) it is the last one that
    was recorded before the next open. Signals recorded later (a backfill) never replace an earlier
    one: the first stands.
    """
    from spy_assets.signals.recorded import Recorded

    standing: dict[date, Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["session"], row["ingested_at"])):
        day, known = row["session"], standing.get(row["session"])
        fill: datetime = session_open(next_session(day))
        if known is None or row["ingested_at"] < fill:
            standing[day] = row
    return {day: Recorded.from_row(row) for day, row in standing.items()}
