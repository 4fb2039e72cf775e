"""Evaluation: backtests over the one simulator, baselines, statistics, promotion gate, report."""
