"""Columns of the tables of evaluations, as plain strings; see :mod:`spy_assets.warehouse.tables`."""

from __future__ import annotations

Column = tuple[str, str, str]

#: What names one run of one fold.
WALK_KEY: tuple[Column, ...] = (
    (
        "preset",
        "VARCHAR",
        "How sessions are cut, e.g. s0; of minute bars length and actions: 5min_5.",
    ),
    ("test_start", "DATE", "First session of the test: the fold's name and partition."),
    ("configuration", "VARCHAR", "Hash of source, windows, hyper-parameters, account, symbol."),
    ("strategy", "VARCHAR", "policy, or the baseline's name."),
    ("seed", "BIGINT", "Seed of the training; 0 of a baseline."),
)

#: One row per fold, strategy and seed.
WALK_FORWARD: tuple[Column, ...] = (
    ("selected", "BOOLEAN", "True for the seed that the training window chose, and for baselines."),
    ("fold", "INTEGER", "Number of the fold, from 0."),
    ("train_start", "DATE", "First training session."),
    ("train_end", "DATE", "Last training session."),
    ("train_sessions", "INTEGER", "Sessions of the training window."),
    ("test_end", "DATE", "Last session of the test."),
    ("test_sessions", "INTEGER", "Sessions of the test."),
    ("purge_sessions", "INTEGER", "Sessions left out because the last trades could end in them."),
    ("embargo_sessions", "INTEGER", "Sessions left out beyond the purge."),
    ("capital", "DOUBLE", "Account at the start of the test, USD."),
    ("net_pnl", "DOUBLE", "Profit over the test after costs, USD."),
    ("total_return", "DOUBLE", "Return over the test, as a decimal."),
    ("mean_daily", "DOUBLE", "Mean daily profit, USD."),
    ("ci_low", "DOUBLE", "Lower end of the mean's confidence interval, USD."),
    ("ci_high", "DOUBLE", "Upper end of the mean's confidence interval, USD."),
    ("sharpe", "DOUBLE", "Annualised Sharpe ratio of daily returns."),
    ("max_drawdown", "DOUBLE", "Largest fall from a peak, as a share of the peak."),
    ("trades", "BIGINT", "Round trips."),
    ("win_rate", "DOUBLE", "Share of winning trades, 0 to 1."),
    ("profit_factor", "DOUBLE", "Dollars won over dollars lost; null without a loss."),
    ("costs", "DOUBLE", "Commissions, spreads and slippage, USD."),
    ("policy_hash", "VARCHAR", "SHA-256 of the ordered weights; empty for a baseline."),
    ("timesteps", "BIGINT", "Environment steps trained; 0 for a baseline."),
    ("dataset_digest", "VARCHAR", "SHA-256 of the training data."),
    ("parameters", "VARCHAR", "What the configuration is a hash of, JSON object."),
    ("mlflow_run_id", "VARCHAR", "MLflow run of the fold; null if MLflow did not answer."),
    ("dagster_run_id", "VARCHAR", "Dagster run."),
)

#: One row per session of a test.
WALK_FORWARD_EQUITY: tuple[Column, ...] = (
    ("session", "DATE", "Session of the test."),
    ("equity", "DOUBLE", "Account at the close, USD; each fold begins with the capital."),
)

#: One row per closed trade of a test.
WALK_FORWARD_TRADES: tuple[Column, ...] = (
    ("number", "INTEGER", "Number of the trade in its run, from 0."),
    ("decision_session", "DATE", "Session at whose close the entry was decided."),
    ("entry_session", "DATE", "Session of the entry fill."),
    ("exit_session", "DATE", "Session of the exit."),
    ("structure", "VARCHAR", "Option structure."),
    ("exit_reason", "VARCHAR", "Exit rule that fired."),
    ("quantity", "INTEGER", "Structures traded."),
    ("holding_sessions", "INTEGER", "Closes held through."),
    ("pnl", "DOUBLE", "Profit after costs, USD."),
    ("trade_costs", "DOUBLE", "Commissions, spreads and slippage, USD."),
    ("regime", "VARCHAR", "Market regime at the decision; null where it is not known."),
)

#: What the rows of a walk-forward over minute bars say beside those of the daily one.
INTRADAY_WALK_FORWARD: tuple[Column, ...] = (
    *WALK_FORWARD,
    ("bar_minutes", "INTEGER", "Length of the bars, minutes."),
    ("actions", "INTEGER", "Actions of the policy: 3 or 5."),
    ("fills", "VARCHAR", "Where option prices are from; they are never pooled with others."),
    ("bars", "VARCHAR", "Sessions of the fold by where their bars are from, JSON object."),
    ("skipped_sessions", "INTEGER", "Sessions of training and test that were left out."),
    ("skipped", "VARCHAR", "Session left out -> why, JSON object."),
)

#: One row per closed trade of a test.
INTRADAY_WALK_FORWARD_TRADES: tuple[Column, ...] = (
    *WALK_FORWARD_TRADES,
    ("entry_hour", "INTEGER", "Hour of the entry in New York, 0 to 23."),
)

#: What names one piece of a path: one strategy over one tested group of one split.
PATHS_KEY: tuple[Column, ...] = (
    ("configuration", "VARCHAR", "Hash of source, cut, hyper-parameters, account, symbol."),
    ("split", "INTEGER", "Number of the training, from 0."),
    ("test_start", "DATE", "First session of the tested group at whose close equity is measured."),
    ("strategy", "VARCHAR", "policy, or the baseline's name."),
    ("seed", "BIGINT", "Seed of the training; 0 of a baseline."),
)

#: One row per split, tested group, strategy and seed.
COMBINATORIAL_PATHS: tuple[Column, ...] = (
    ("path", "INTEGER", "Path that the piece belongs to; 0 of what needs no training."),
    ("test_end", "DATE", "Last session of the group."),
    ("test_sessions", "INTEGER", "Sessions of the group at whose close equity is measured."),
    ("train_sessions", "INTEGER", "Sessions that were trained on, before and after the test."),
    ("capital", "DOUBLE", "Account at the start of the group, USD."),
    ("net_pnl", "DOUBLE", "Profit over the group after costs, USD."),
    ("sharpe", "DOUBLE", "Annualised Sharpe ratio of daily returns."),
    ("max_drawdown", "DOUBLE", "Largest fall from a peak, as a share of the peak."),
    ("trades", "BIGINT", "Round trips."),
    ("costs", "DOUBLE", "Commissions, spreads and slippage, USD."),
    ("policy_hash", "VARCHAR", "SHA-256 of the ordered weights; empty for a baseline."),
    ("timesteps", "BIGINT", "Environment steps trained; 0 for a baseline."),
    ("dataset_digest", "VARCHAR", "SHA-256 of the training data."),
    ("parameters", "VARCHAR", "What the configuration is a hash of, JSON object."),
    ("dagster_run_id", "VARCHAR", "Dagster run."),
)

#: One row per session of a tested group.
COMBINATORIAL_EQUITY: tuple[Column, ...] = (
    ("session", "DATE", "Session of the group."),
    ("equity", "DOUBLE", "Account at the close, USD; each group begins with the capital."),
)
