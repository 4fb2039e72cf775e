"""Every table of the warehouse: its key, its columns with their DuckDB types, and what they mean.

Plain strings only, so that asset definitions can import this page without DuckDB or Polars. The
tables that dbt builds (``features.market_daily``, ``features.daily_15``, ...) are declared in the
dbt project; only their keys are here, in ``DERIVED_KEYS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spy_assets.warehouse.agent_tables import (
    ENSEMBLE_WEIGHTS,
    HYPERPARAMETERS,
    MULTI_ASSET,
    PREFERENCES,
    REGIME_ROUTING,
    REWARD_MODELS,
)
from spy_assets.warehouse.evaluation_tables import (
    COMBINATORIAL_EQUITY,
    COMBINATORIAL_PATHS,
    INTRADAY_WALK_FORWARD,
    INTRADAY_WALK_FORWARD_TRADES,
    PATHS_KEY,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
    WALK_FORWARD_TRADES,
    WALK_KEY,
)
from spy_assets.warehouse.option_tables import (
    CHAIN_BACKTEST_KEY,
    CHAIN_BACKTESTS,
    CHAIN_FEATURES,
    CHAIN_QUOTES,
)

SYSTEM_COLUMNS: Mapping[str, str] = {
    "available_at": "TIMESTAMPTZ",
    "ingested_at": "TIMESTAMPTZ",
    "source": "VARCHAR",
}
SYSTEM_DOCS: Mapping[str, str] = {
    "available_at": "Moment (UTC) from which this version of the row could be known.",
    "ingested_at": "Moment (UTC) at which this version was written.",
    "source": "Source or program that the row comes from.",
}

DERIVED_KEYS: Mapping[str, tuple[str, ...]] = {
    "features.indicators": ("symbol", "session"),
    "features.market_daily": ("symbol", "session"),
    "features.daily_15": ("symbol", "session"),
    "features.regime": ("symbol", "session"),
    "models.model_versions": ("model", "version"),
}

JSON = "VARCHAR"  # JSON text: plain VARCHAR keeps Parquet, Polars and SQL clients indifferent


@dataclass(frozen=True)
class TableSpec:
    """A table of the warehouse.

    Parameters
    ----------
    name
        ``schema.table``.
    key
        Columns that name one fact; its versions differ only in the other columns.
    columns
        Column to DuckDB type, key and payload, without the system columns.
    append_only
        True: a revision is a new row. False: it replaces the earlier version (snapshots keep it).
    column_docs
        Meaning and unit of each column.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    append_only: bool = True
    description: str = ""
    column_docs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [column for column in self.key if column not in self.columns]
        if missing or not self.key:
            raise ValueError(f"{self.name}: key {self.key} names unknown columns {missing}")
        clash = sorted(set(self.columns) & set(SYSTEM_COLUMNS))
        if clash:
            raise ValueError(f"{self.name}: system columns are implied, not declared: {clash}")

    @property
    def schema(self) -> str:
        """The part of the name before the dot."""
        return self.name.split(".", 1)[0]

    @property
    def payload(self) -> tuple[str, ...]:
        """The columns that are neither key nor system columns."""
        return tuple(column for column in self.columns if column not in self.key)

    @property
    def all_columns(self) -> dict[str, str]:
        """Key, payload and system columns in stored order, with their DuckDB types."""
        return {**self.columns, **SYSTEM_COLUMNS}


def _spec(
    name: str, key: str, description: str, *columns: tuple[str, str, str], append_only: bool = True
) -> TableSpec:
    return TableSpec(
        name=name,
        key=tuple(key.split()),
        columns={column: kind for column, kind, _ in columns},
        append_only=append_only,
        description=description,
        column_docs={column: doc for column, _, doc in columns} | dict(SYSTEM_DOCS),
    )


_SYMBOL = ("symbol", "VARCHAR", "Ticker as the source spells it, e.g. SPY.")
_SESSION = ("session", "DATE", "XNYS trading day (crypto: UTC day).")
_EVENT = ("event_time", "TIMESTAMPTZ", "Moment (UTC) that the row is about, e.g. the bar's end.")
_OHLC = (
    ("open", "DOUBLE", "First price, USD (index points for an index)."),
    ("high", "DOUBLE", "Highest price."),
    ("low", "DOUBLE", "Lowest price."),
    ("close", "DOUBLE", "Last price."),
)
_MINUTE_BARS = (
    _SYMBOL,
    ("bar_start", "TIMESTAMPTZ", "Start of the bar, UTC."),
    _SESSION,
    _EVENT,
    *_OHLC,
    ("volume", "DOUBLE", "Shares traded."),
    ("vwap", "DOUBLE", "Volume-weighted average price."),
    ("trades", "BIGINT", "Number of trades."),
    ("synthetic", "BOOLEAN", "True where the bar is bridged between real daily prices."),
)
_MODEL = ("model", "VARCHAR", "Registered model's name.")
_VERSION = ("version", "VARCHAR", "Registered model's version.")
_LAKE = ("lake_snapshot", "BIGINT", "Snapshot id of the lake that was read.")
_SIGNAL_ID = ("signal_id", "VARCHAR", "Hash of symbol, as_of, model version and contract version.")
_ACTION = (
    ("action", "INTEGER", "Action's number in the model's action map."),
    ("action_name", "VARCHAR", "Action's name, e.g. BUY_CALL."),
)

_MARKET = (
    _spec(
        "market.daily_bars",
        "symbol session",
        "Raw daily bars, unadjusted.",
        _SYMBOL,
        _SESSION,
        _EVENT,
        *_OHLC,
        ("volume", "DOUBLE", "Shares traded."),
        ("dividend", "DOUBLE", "Cash dividend per share going ex on this session, USD."),
        ("split", "DOUBLE", "Shares after over shares before on this session; 1 without a split."),
    ),
    _spec(
        "market.volatility",
        "name session",
        "Published volatility indices, in index points.",
        ("name", "VARCHAR", "VIX, VIX9D, VIX3M, VVIX, SKEW or VIX1D."),
        _SESSION,
        _EVENT,
        *_OHLC,
    ),
    _spec(
        "market.rates",
        "series session",
        "Interest rates.",
        ("series", "VARCHAR", "Series, e.g. DTB3."),
        ("session", "DATE", "Observation date."),
        _EVENT,
        ("rate", "DOUBLE", "Rate per year as a decimal (0.02 is 2 %)."),
        ("is_constant", "BOOLEAN", "True where the rate is a labelled constant, not a quote."),
    ),
    _spec(
        "market.put_call",
        "series session",
        "Put and call volume.",
        ("series", "VARCHAR", "Series, e.g. total or equity."),
        _SESSION,
        _EVENT,
        ("put_volume", "DOUBLE", "Puts traded, contracts."),
        ("call_volume", "DOUBLE", "Calls traded, contracts."),
        ("ratio", "DOUBLE", "Put volume over call volume."),
    ),
    _spec("market.minute_bars", "symbol bar_start", "One-minute bars.", *_MINUTE_BARS),
    _spec(
        "market.minute_bars_5",
        "symbol bar_start",
        "Five-minute bars of sources that have them; they are never made from single minutes.",
        *_MINUTE_BARS,
    ),
    _spec(
        "market.coverage",
        "dataset symbol session",
        "What was due and what came.",
        ("dataset", "VARCHAR", "Data set, e.g. minute_bars."),
        _SYMBOL,
        ("session", "DATE", "Session; for yearly data the last session of the year's part."),
        ("due", "BIGINT", "Rows due; of option_chain one, the session's chain."),
        ("present", "BIGINT", "Rows present."),
        ("gaps", "INTEGER", "Number of runs of missing rows."),
        ("note", "VARCHAR", "Remark, e.g. half day."),
    ),
    _spec(
        "quarantine.rows",
        "dataset row_id",
        "Rows that were refused, with the reason; the rest of their batch was published.",
        ("dataset", "VARCHAR", "Data set that the row was meant for."),
        ("row_id", "VARCHAR", "Hash of the row."),
        _SYMBOL,
        _SESSION,
        ("reason", "VARCHAR", "Rule that refused it."),
        ("severity", "VARCHAR", "error or warn."),
        ("payload", JSON, "The row as it came, JSON."),
        _EVENT,
    ),
)

_OPTIONS = (
    _spec(
        "options.chain_quotes",
        "symbol session quote_kind occ",
        "Option chains: a row per contract, session and kind, with implied volatility and Greeks.",
        _SYMBOL,
        _SESSION,
        *CHAIN_QUOTES,
    ),
)

_FEATURES = (
    _spec(
        "features.chain",
        "symbol session",
        "Features of the session's option chain; null with a reason in quality.",
        _SYMBOL,
        _SESSION,
        *CHAIN_FEATURES,
    ),
    _spec(
        "features.adjusted_bars",
        "symbol session",
        "Forward-adjusted daily bars, anchored at the first bar and never rewritten.",
        _SYMBOL,
        _SESSION,
        _EVENT,
        *_OHLC,
        ("volume", "DOUBLE", "Adjusted shares traded."),
        ("factor", "DOUBLE", "Adjusted price over raw price."),
    ),
)

_MODELS = (
    _spec(
        "models.training_runs",
        "model version",
        "Trained model versions and all that reproduces them.",
        _MODEL,
        _VERSION,
        ("train_start", "DATE", "First training session."),
        ("train_end", "DATE", "Last training session."),
        ("purge_sessions", "INTEGER", "Sessions left out after train_end."),
        ("contract", "VARCHAR", "Observation contract."),
        _LAKE,
        ("dataset_digest", "VARCHAR", "SHA-256 of the training data."),
        ("policy_hash", "VARCHAR", "SHA-256 of the ordered weights."),
        ("file_sha256", "VARCHAR", "SHA-256 of the weights file."),
        ("file_bytes", "BIGINT", "Size of the weights file."),
        ("seeds", JSON, "Seeds, JSON list."),
        ("hyperparameters", JSON, "Hyper-parameters, JSON object."),
        ("mlflow_run_id", "VARCHAR", "MLflow run."),
        ("dagster_run_id", "VARCHAR", "Dagster run."),
        ("timesteps", "BIGINT", "Environment steps trained."),
    ),
    _spec(
        "models.evaluations",
        "model version window_start window_end strategy",
        "Out-of-sample results of a version and of its baselines.",
        _MODEL,
        _VERSION,
        ("window_start", "DATE", "First session evaluated."),
        ("window_end", "DATE", "Last session evaluated."),
        ("strategy", "VARCHAR", "policy, champion, the baseline's name, or a seed: seed_N."),
        ("net_pnl", "DOUBLE", "Profit after costs, USD."),
        ("mean_daily", "DOUBLE", "Mean daily profit, USD."),
        ("ci_low", "DOUBLE", "Lower end of the mean's confidence interval, USD."),
        ("ci_high", "DOUBLE", "Upper end of the mean's confidence interval, USD."),
        ("sharpe", "DOUBLE", "Annualised Sharpe ratio."),
        ("trades", "BIGINT", "Round trips."),
        ("win_rate", "DOUBLE", "Share of winning trades, 0 to 1."),
        ("max_drawdown", "DOUBLE", "Largest fall from a peak, as a share of the peak."),
        ("costs", "DOUBLE", "Commissions and slippage, USD."),
    ),
    _spec(
        "models.promotions",
        "model alias effective_from version",
        "What was decided about each version: from when on it is champion, or why it is not.",
        _MODEL,
        ("alias", "VARCHAR", "champion or challenger."),
        ("effective_from", "TIMESTAMPTZ", "Moment from which the decision counts."),
        _VERSION,
        ("window_end", "DATE", "Session that the version's window ends with: its partition."),
        ("accepted", "BOOLEAN", "False where the gate refused the version."),
        ("basis", "VARCHAR", "gate, bootstrap or refused."),
        ("reason", "VARCHAR", "The gate's words."),
        ("train_end", "DATE", "Last training session of the version."),
        _LAKE,
        ("metrics", JSON, "Numbers that the gate saw, JSON object."),
    ),
    _spec(
        "models.ensemble_weights",
        "window_end member",
        "Weights of the ensemble's members, and how it did with them.",
        *ENSEMBLE_WEIGHTS,
    ),
    _spec(
        "models.reward_models",
        "window_end",
        "Rewards learnt from preferences, with their held-out accuracy.",
        *REWARD_MODELS,
    ),
    _spec(
        "models.regime_routing",
        "window_end",
        "Whether a policy per regime was better than one that sees the regime.",
        *REGIME_ROUTING,
    ),
    _spec(
        "models.multi_asset",
        "window_end symbol strategy",
        "One policy for several symbols beside a policy of each alone, out of sample.",
        *MULTI_ASSET,
    ),
    _spec(
        "models.hyperparameters",
        "window_end algorithm",
        "Best hyper-parameters of each search, and how many were tried.",
        *HYPERPARAMETERS,
    ),
)

_WALK = " ".join(column for column, _, _ in WALK_KEY)
_PATHS = " ".join(column for column, _, _ in PATHS_KEY)
_EVALUATION = (
    _spec(
        "evaluation.walk_forward",
        _WALK,
        "Out-of-sample results of a walk-forward: a row per fold, strategy and seed.",
        *WALK_KEY,
        *WALK_FORWARD,
        _LAKE,
    ),
    _spec(
        "evaluation.walk_forward_equity",
        f"{_WALK} session",
        "Daily equity of each run of a walk-forward.",
        *WALK_KEY,
        *WALK_FORWARD_EQUITY,
    ),
    _spec(
        "evaluation.walk_forward_trades",
        f"{_WALK} number",
        "Closed trades of each run of a walk-forward; none of the averaged random baseline.",
        *WALK_KEY,
        *WALK_FORWARD_TRADES,
    ),
    _spec(
        "evaluation.intraday_walk_forward",
        _WALK,
        "Out-of-sample results over minute bars at a model's option prices: a row per fold, strategy "
        "and seed.",
        *WALK_KEY,
        *INTRADAY_WALK_FORWARD,
        _LAKE,
    ),
    _spec(
        "evaluation.intraday_walk_forward_equity",
        f"{_WALK} session",
        "Equity at the last bar of each session, of each run over minute bars.",
        *WALK_KEY,
        *WALK_FORWARD_EQUITY,
    ),
    _spec(
        "evaluation.intraday_walk_forward_trades",
        f"{_WALK} number",
        "Closed trades of each run over minute bars; none of the averaged random baseline.",
        *WALK_KEY,
        *INTRADAY_WALK_FORWARD_TRADES,
    ),
    _spec(
        "evaluation.combinatorial_paths",
        _PATHS,
        "Combinatorial cross-validation: a row per split, tested group, strategy and seed.",
        *PATHS_KEY,
        *COMBINATORIAL_PATHS,
        _LAKE,
    ),
    _spec(
        "evaluation.combinatorial_equity",
        f"{_PATHS} session",
        "Daily equity of each piece of a combinatorial cross-validation.",
        *PATHS_KEY,
        *COMBINATORIAL_EQUITY,
    ),
    _spec(
        "evaluation.chain_backtests",
        f"symbol {' '.join(column for column, _, _ in CHAIN_BACKTEST_KEY)}",
        "Structures traded over the stored real chains, never pooled with fills at model prices.",
        _SYMBOL,
        *CHAIN_BACKTEST_KEY,
        *CHAIN_BACKTESTS,
    ),
)

_LEDGER = (
    _spec(
        "ledger.signals",
        "signal_id",
        "Signals as they were issued.",
        _SIGNAL_ID,
        _SYMBOL,
        _SESSION,
        ("as_of", "TIMESTAMPTZ", "Decision time."),
        _MODEL,
        ("model_version", "VARCHAR", "Version of the model."),
        ("contract", "VARCHAR", "Observation contract."),
        *_ACTION,
        ("structure", "VARCHAR", "Option structure."),
        ("legs", JSON, "Legs: OCC symbol, side, ratio, quotes; JSON list."),
        ("probabilities", JSON, "Probability of each action, JSON object."),
        ("confidence", "DOUBLE", "Probability of a profit, or of the action: see confidence_kind."),
        ("entry", "DOUBLE", "Entry price of the structure, USD a share."),
        ("stop", "DOUBLE", "Stop level, USD a share."),
        ("target", "DOUBLE", "Target level, USD a share."),
        ("max_profit", "DOUBLE", "Largest profit, USD; null if unlimited."),
        ("max_loss", "DOUBLE", "Largest loss, USD; null if unlimited."),
        ("breakevens", JSON, "Underlying prices at which profit is zero, JSON list."),
        ("size", "INTEGER", "Structures to trade."),
        ("regime", "VARCHAR", "Market regime."),
        ("reasons", JSON, "Why, JSON list."),
        ("risk_verdict", "VARCHAR", "allowed, blocked or reduced."),
        ("risk_rules", JSON, "Rules that spoke, JSON list."),
        ("quality_flags", JSON, "Data-quality flags, JSON list."),
        ("state_vector", JSON, "Observation that the model saw, JSON list."),
        _LAKE,
        ("display_symbol", "VARCHAR", "Symbol as shown, e.g. SPY* for the sample."),
        ("payload", JSON, "The whole signal contract, JSON object."),
    ),
    _spec(
        "ledger.decisions",
        "decision_id",
        "What was done about each signal.",
        ("decision_id", "VARCHAR", "Hash of signal and decision."),
        _SIGNAL_ID,
        _SESSION,
        _SYMBOL,
        *_ACTION,
        ("held", "BOOLEAN", "True where the answer was HOLD."),
        ("hold_reason", "VARCHAR", "Why it was held, e.g. no_model_yet."),
    ),
    _spec(
        "ledger.fills",
        "fill_id",
        "Fills, one per leg.",
        ("fill_id", "VARCHAR", "Hash of signal, leg and side."),
        _SIGNAL_ID,
        _SESSION,
        _EVENT,
        ("leg_symbol", "VARCHAR", "OCC symbol."),
        ("side", "VARCHAR", "buy or sell."),
        ("quantity", "INTEGER", "Contracts."),
        ("price", "DOUBLE", "Fill price, USD a share."),
        ("mid", "DOUBLE", "Mid quote at the fill, USD a share."),
        ("commission", "DOUBLE", "Commission, USD."),
        ("slippage", "DOUBLE", "Cost against mid, USD."),
        (
            "quote_kind",
            "VARCHAR",
            "chain (real quote), surface (model price) or spread_model (model price and spread).",
        ),
    ),
    _spec(
        "ledger.outcomes",
        "signal_id",
        "Settled outcomes of signals.",
        _SIGNAL_ID,
        _SYMBOL,
        _SESSION,
        ("entry_session", "DATE", "Session of the entry fill."),
        ("exit_session", "DATE", "Session of the exit."),
        ("exit_reason", "VARCHAR", "Exit rule that fired."),
        ("entry_value", "DOUBLE", "Value paid (+) or received (-) at entry, USD."),
        ("exit_value", "DOUBLE", "Value at exit, USD."),
        ("pnl", "DOUBLE", "Profit after costs, USD."),
        ("pnl_pct", "DOUBLE", "Profit over capital at risk, as a decimal."),
        ("costs", "DOUBLE", "Commissions and slippage, USD."),
        (
            "quote_kind",
            "VARCHAR",
            "Fills: chain (real quotes), surface or spread_model (models), or mixed; null if unknown.",
        ),
        ("holding_sessions", "INTEGER", "Sessions held."),
        ("was_profitable", "BOOLEAN", "pnl > 0."),
        ("rule_label", "VARCHAR", "Label by the rule-based grader."),
        ("spot_entry", "DOUBLE", "Underlying at entry, USD."),
        ("spot_exit", "DOUBLE", "Underlying at exit, USD."),
    ),
    _spec(
        "ledger.preferences",
        "preference_id",
        "Which of two trades a person called the better one.",
        _SYMBOL,
        _EVENT,
        *PREFERENCES,
    ),
)

TABLES: dict[str, TableSpec] = {
    spec.name: spec for spec in (*_MARKET, *_OPTIONS, *_FEATURES, *_MODELS, *_EVALUATION, *_LEDGER)
}

SCHEMAS: tuple[str, ...] = (
    "market",
    "options",
    "features_stg",
    "features",
    "models",
    "evaluation",
    "ledger",
    "signals",
    "quarantine",
    "meta",
)
