"""Columns of the tables about agents, as plain strings; see :mod:`spy_assets.warehouse.tables`."""

from __future__ import annotations

Column = tuple[str, str, str]

#: One row per window and member of the ensemble.
ENSEMBLE_WEIGHTS: tuple[Column, ...] = (
    ("window_end", "DATE", "Session that the ensemble was made at: its partition."),
    ("member", "VARCHAR", "Registered model's name, e.g. ppo_daily."),
    ("version", "VARCHAR", "Registered model's version."),
    ("weight", "DOUBLE", "Weight from out-of-sample results, 0 to 1; all members sum to 1."),
    ("preset_weight", "DOUBLE", "Published weight, scaled to the members that are there."),
    ("information_ratio", "DOUBLE", "Annualised mean over deviation of daily P&L."),
    ("net_pnl", "DOUBLE", "Profit after costs over the sessions of evidence, USD."),
    ("evidence_start", "DATE", "First session of the results that the weights are from."),
    ("evidence_end", "DATE", "Last one; the ensemble is judged after it."),
    ("agreement", "DOUBLE", "Weight that must want an entry, or the ensemble abstains."),
    ("abstain_rate", "DOUBLE", "Share of chances to enter at which it abstained, judged sessions."),
    ("ensemble_pnl", "DOUBLE", "Profit after costs of the ensemble on the judged sessions, USD."),
)

#: One row per window.
REWARD_MODELS: tuple[Column, ...] = (
    ("window_end", "DATE", "Session up to which trades and answers are known: its partition."),
    ("pairs", "BIGINT", "Answers that were fitted."),
    ("skipped", "BIGINT", "Pairs that were skipped."),
    ("lost", "BIGINT", "Answers about trades that are not there."),
    ("held_out", "BIGINT", "Answers foretold without having been fitted."),
    ("correct", "BIGINT", "Of these, how many came true."),
    ("accuracy", "DOUBLE", "Share of them, 0 to 1; null where nothing could be held out."),
    ("ci_low", "DOUBLE", "Lower end of the accuracy's 95 % Wilson interval."),
    ("ci_high", "DOUBLE", "Upper end of it."),
    ("l2", "DOUBLE", "Penalty of the fit."),
    ("per_feature", "VARCHAR", "Log odds that one unit of each feature adds, JSON object."),
    ("payload", "VARCHAR", "The model, JSON object of numbers."),
)

#: One row per window and algorithm.
HYPERPARAMETERS: tuple[Column, ...] = (
    ("window_end", "DATE", "Session that the training window ends before: its partition."),
    ("algorithm", "VARCHAR", "ppo, a2c or dqn."),
    ("trials", "BIGINT", "Configurations tried, the base and the pruned ones included."),
    ("complete", "BIGINT", "Trained to their end."),
    ("pruned", "BIGINT", "Given up early as worse than the median."),
    ("failed", "BIGINT", "Ended by an error, or with their process."),
    ("best_pnl", "DOUBLE", "Net P&L of the best on the inner validation tail, USD."),
    ("base_pnl", "DOUBLE", "Net P&L there of the configuration that the search began with, USD."),
    ("params", "VARCHAR", "What the best changes of that, JSON object."),
    ("config", "VARCHAR", "All hyper-parameters of the best, JSON object."),
    ("dataset_digest", "VARCHAR", "SHA-256 of the training data."),
    ("lake_snapshot", "BIGINT", "Snapshot id of the lake that was read."),
)

#: One row per window.
REGIME_ROUTING: tuple[Column, ...] = (
    ("window_end", "DATE", "Session that the window ends with: its partition."),
    ("better", "BOOLEAN", "True only if the whole interval of the lead lies above zero."),
    ("lead", "DOUBLE", "Mean daily P&L of routing less that of one policy seeing the regime, USD."),
    ("ci_low", "DOUBLE", "Lower end of the lead's 95 % interval, USD."),
    ("ci_high", "DOUBLE", "Upper end of it, USD."),
    ("routed_pnl", "DOUBLE", "Net P&L of routing on the validation window, USD."),
    ("single_pnl", "DOUBLE", "Net P&L of the one policy there, USD."),
    ("policies", "VARCHAR", "Regime -> registered version of its policy, JSON object."),
    ("sessions", "VARCHAR", "Regime -> training sessions, JSON object."),
    ("by_regime", "VARCHAR", "Regime -> judged sessions and summed difference, JSON object."),
    ("lake_snapshot", "BIGINT", "Snapshot id of the lake that was read."),
)

#: One row per window, symbol and strategy.
MULTI_ASSET: tuple[Column, ...] = (
    ("window_end", "DATE", "Session that the window ends with: its partition."),
    ("symbol", "VARCHAR", "Underlying that was traded."),
    ("strategy", "VARCHAR", "multi_asset, single_symbol, ppo_daily or cash."),
    ("version", "VARCHAR", "Registered version of the policy for all symbols."),
    ("sessions", "INTEGER", "Sessions of the validation window that were judged."),
    ("net_pnl", "DOUBLE", "Profit after costs over the validation window, USD."),
    ("sharpe", "DOUBLE", "Annualised Sharpe ratio of daily returns."),
    ("max_drawdown", "DOUBLE", "Largest fall from a peak, as a share of the peak."),
    ("trades", "BIGINT", "Round trips."),
    ("lead", "DOUBLE", "Mean daily P&L of multi_asset less that of this strategy, USD."),
    ("ci_low", "DOUBLE", "Lower end of the lead's 95 % interval, USD."),
    ("ci_high", "DOUBLE", "Upper end of it, USD."),
    ("better", "BOOLEAN", "True only if the one policy leads the single ones, all symbols summed."),
    ("lake_snapshot", "BIGINT", "Snapshot id of the lake that was read."),
)

#: One row per pair and person.
PREFERENCES: tuple[Column, ...] = (
    ("preference_id", "VARCHAR", "Hash of the two trades, in any order, and the person."),
    ("first_trade", "VARCHAR", "Signal id of the trade shown on the left."),
    ("second_trade", "VARCHAR", "Signal id of the trade shown on the right."),
    ("preferred", "VARCHAR", "1, 2 or skip."),
    ("rater", "VARCHAR", "Who answered."),
)
