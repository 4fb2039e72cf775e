"""The chained account, its rivals and its seeds, against hand calculations and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import trim_mean

from spy_assets.errors import ConfigError, DataError
from spy_assets.evaluation.selection_bias import deflated_sharpe
from spy_assets.evaluation.walk_forward import POLICY, selected_runs
from spy_assets.evaluation.walk_forward_summary import (
    GROUPINGS,
    Chain,
    WalkForwardSummary,
    drawdowns,
    grouped,
    monthly_returns,
    summarise,
)
from spy_assets_tests.evaluation.walks import made_folds, made_run, made_walk

RUNS = made_walk()


@pytest.fixture(scope="module")
def summary() -> WalkForwardSummary:
    return summarise(RUNS, trials=3)


def chain(*fold_returns: list[float]) -> Chain:
    folds = made_folds(len(fold_returns))
    padded = [[*own, *([0.0] * (20 - len(own)))] for own in fold_returns]
    return Chain(POLICY, tuple(made_run(f, r) for f, r in zip(folds, padded, strict=True)))


def test_the_chained_account_compounds_one_test_after_the_other() -> None:
    one = chain([0.10, -0.05], [0.20])
    assert one.equity[0] == 10_000.0
    assert one.equity[2] == pytest.approx(10_000.0 * 1.10 * 0.95)
    assert one.equity[-1] == pytest.approx(10_000.0 * 1.10 * 0.95 * 1.20)
    assert one.fold_returns == pytest.approx([1.10 * 0.95 - 1, 0.20])
    assert one.daily_pnl.sum() == pytest.approx(10_000 * (1.10 * 0.95 - 1 + 0.20))


def test_sessions_of_the_chain_are_those_of_the_tests_in_order(summary: WalkForwardSummary) -> None:
    for one in summary.chains:
        assert list(one.sessions) == sorted(set(one.sessions))
        assert len(one.sessions) == len(one.returns) == len(one.equity) - 1 == 80


def test_lines_of_the_table_are_what_a_hand_calculation_gives(summary: WalkForwardSummary) -> None:
    runs = selected_runs(RUNS, POLICY)
    returns = [float(run.equity[-1] / run.equity[0] - 1) for run in runs]
    falls = [float((1 - run.equity / np.maximum.accumulate(run.equity)).max()) for run in runs]
    line = summary.policy
    assert line.avg_return == pytest.approx(sum(returns) / 4)
    assert line.std_return == pytest.approx(float(np.std(returns, ddof=1)))
    assert (line.min_return, line.max_return) == pytest.approx((min(returns), max(returns)))
    assert line.avg_drawdown == pytest.approx(sum(falls) / 4)
    assert line.worst_drawdown == pytest.approx(max(falls))
    assert (line.trades, line.folds, line.costs) == (24, 4, 50.0)
    assert line.chained_return == pytest.approx(float(np.prod(np.add(returns, 1))) - 1)


def test_a_lead_is_paired_by_session(summary: WalkForwardSummary) -> None:
    own, cash = summary.chains[0], summary.chains[1]
    assert cash.strategy == "cash"
    assert summary.baselines[0].lead == summary.policy.mean_daily  # cash earns nothing
    mean = float((own.daily_pnl - summary.chains[2].daily_pnl).mean())
    assert summary.baselines[1].lead is not None
    assert summary.baselines[1].lead.estimate == pytest.approx(mean)


def test_a_baseline_of_fewer_folds_is_compared_over_its_own() -> None:
    runs = [run for run in RUNS if run.strategy != "cash" or run.fold.number > 0]
    line = summarise(runs).baselines[-1]
    policy = Chain(POLICY, tuple(selected_runs(RUNS, POLICY)[1:]))
    assert (line.strategy, line.folds) == ("cash", 3)
    assert line.lead is not None
    assert line.lead.estimate == pytest.approx(float(policy.daily_pnl.mean()))


def test_the_verdict_names_what_is_not_beaten(summary: WalkForwardSummary) -> None:
    assert summary.verdict.startswith("Over 4 folds and 80 sessions out of sample the policy ")
    for name in summary.against("not shown to beat") + summary.against("loses to"):
        assert name in summary.verdict
    assert len(summary.sentences()) == 3


@pytest.mark.parametrize(
    ("drift", "outcome", "words"),
    [
        (0.01, "beats", "beats 3 of 3 baselines at 95%."),
        (-0.01, "loses to", "beats none of 3 baselines"),
    ],
)
def test_what_is_clear_is_said_so(drift: float, outcome: str, words: str) -> None:
    made = summarise(made_walk(drift=drift))
    assert {row.outcome for row in made.baselines} == {outcome}
    assert words in made.verdict
    assert ("makes $" in made.verdict) == (drift > 0)


def test_more_trials_deflate_more(summary: WalkForwardSummary) -> None:
    returns = summary.chains[0].returns
    assert summary.deflated_sharpe == deflated_sharpe(returns, trials=3)
    one = summarise(RUNS, trials=1).deflated_sharpe
    assert one is not None
    assert summary.deflated_sharpe is not None
    assert one > summary.deflated_sharpe


def test_seeds_have_an_account_each(summary: WalkForwardSummary) -> None:
    assert [row.seed for row in summary.seeds] == [42, 84, 126]
    assert sum(row.selected_folds for row in summary.seeds) == 4
    own = [run for run in RUNS if run.seed == 84]
    total = float(np.prod([run.equity[-1] / run.equity[0] for run in own])) - 1
    assert summary.seeds[1].chained_return == pytest.approx(total)


def test_one_seed_tells_nothing_of_the_spread() -> None:
    assert summarise(made_walk(2, seeds=(42,))).spread is None


def test_the_spread_is_over_all_folds_and_seeds(summary: WalkForwardSummary) -> None:
    policies = [run for run in RUNS if run.strategy == POLICY]
    returns = [float(run.equity[-1] / run.equity[0] - 1) for run in policies]
    assert summary.spread is not None
    assert (summary.spread.seeds, summary.spread.windows) == (3, 4)
    assert summary.spread.iqm.estimate == pytest.approx(trim_mean(returns, 0.25))
    assert summary.spread.iqm.low < summary.spread.iqm.estimate < summary.spread.iqm.high


def test_months_compound_to_the_whole(summary: WalkForwardSummary) -> None:
    one = summary.chains[0]
    months = monthly_returns(one)
    assert set(months) == {(day.year, day.month) for day in one.sessions}
    total = float(np.prod([1 + value for value in months.values()])) - 1
    assert total == pytest.approx(one.daily.total_return)


@pytest.mark.parametrize("name", GROUPINGS)
def test_groups_add_up_to_all_trades(summary: WalkForwardSummary, name: str) -> None:
    trades = summary.chains[0].trades
    groups = grouped(trades, GROUPINGS[name])
    assert sum(group.trades for group in groups) == len(trades) == 24
    assert sum(group.net_pnl for group in groups) == pytest.approx(sum(t.pnl for t in trades))
    assert [group.net_pnl for group in groups] == sorted((g.net_pnl for g in groups), reverse=True)
    assert len(groups) == 3


def test_the_deepest_fall_is_the_drawdown_of_the_statistics(summary: WalkForwardSummary) -> None:
    for one in summary.chains:
        assert drawdowns(one.equity).max() == pytest.approx(one.daily.max_drawdown)


@pytest.mark.parametrize(
    ("runs", "trials", "error", "words"),
    [
        (RUNS, 0, ConfigError, "trials=0"),
        ([], 1, DataError, "no run of 'policy' among 0"),
        ([run for run in RUNS if run.strategy == "cash"], 1, DataError, "no run of 'policy'"),
        ([*RUNS, *RUNS], 1, DataError, "is in two folds"),
    ],
)
def test_what_cannot_be_summed_up_is_refused(runs, trials, error, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=words):
        summarise(runs, trials=trials)
