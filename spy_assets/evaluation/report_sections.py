"""Sections of the report that say what a policy's returns and trades look like, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from spy_assets.evaluation.backtest import BacktestResult
from spy_assets.evaluation.baselines import BUY_AND_HOLD, PRICE_ONLY
from spy_assets.evaluation.break_even import break_even_of_trades
from spy_assets.evaluation.breakdown import GroupProfit, Regimes, breakdowns
from spy_assets.evaluation.improvement import recommendations
from spy_assets.evaluation.markup import (
    DASH,
    days,
    number,
    percent,
    rate,
    shown_interval,
    signed,
    table,
)
from spy_assets.evaluation.returns_metrics import (
    aggregate_returns,
    benchmark_metrics,
    returns_metrics,
)
from spy_assets.evaluation.selection_bias import (
    minimum_track_record,
    probabilistic_sharpe,
    sharpe_interval,
)
from spy_assets.evaluation.trade_metrics import equity_metrics_of, trade_metrics

_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


def numbers(
    policy: BacktestResult,
    baselines: Mapping[str, BacktestResult],
    level: float,
    seed: int,
    *,
    fill_alpha: float = 1.0,
) -> str:
    """Lay out three small tables: growth and risk, against the market, and trades."""
    blocks = (
        ("Returns", _returns(policy, level)),
        ("Against the market", _against(policy, _market(baselines))),
        ("Trades", _trades(policy, seed, fill_alpha)),
    )
    cards = "".join(
        f"<div><h3>{title}</h3>{table(('', ''), rows)}</div>" for title, rows in blocks if rows
    )
    return f'<h2>Numbers</h2><div class="cards">{cards}</div>'


def monthly(policy: BacktestResult, baselines: Mapping[str, BacktestResult]) -> str:
    """Returns of each month and year, the market's below the policy's."""
    market = _market(baselines)
    runs = [policy] if market is None else [policy, market]
    found = {
        run.name: (
            aggregate_returns(run.returns, run.sessions, "monthly"),
            aggregate_returns(run.returns, run.sessions, "yearly"),
        )
        for run in runs
    }
    months = sorted({month for by_month, _ in found.values() for _, month in by_month})
    years = sorted({year for _, by_year in found.values() for (year,) in by_year})
    rows = [
        [
            str(year) if place == 0 else "",
            escape(name),
            *(_change(by_month.get((year, month))) for month in months),
            _change(by_year.get((year,))),
        ]
        for year in years
        for place, (name, (by_month, by_year)) in enumerate(found.items())
    ]
    heads = ("year", "", *(_MONTHS[month - 1] for month in months), "whole year")
    return f"<h2>Months</h2>{table(heads, rows, text=(0, 1))}"


def groups(policy: BacktestResult, regimes: Regimes | None, level: float) -> str:
    """Where the profit is: one row a group, a heading row a dimension."""
    found = breakdowns(policy.trades, regimes=regimes, level=level)
    if not found:
        return ""
    rows = [
        _group_row(dimension.replace("_", " ") if place == 0 else "", group)
        for dimension, members in found.items()
        for place, group in enumerate(members)
    ]
    heads = ("by", "", "trades", "net P&L", f"mean a trade, {level:.0%}", f"win rate, {level:.0%}")
    note = (
        "<p class=soft>Each interval is its own group's: among this many, some differ from zero by "
        "chance.</p>"
    )
    return f"<h2>Where the profit is</h2>{note}{table(heads, rows, text=(0, 1))}"


def next_steps(policy: BacktestResult, regimes: Regimes | None, level: float) -> str:
    """List what the numbers call for, in the fixed order of priority."""
    found = recommendations(
        policy.trades, regimes=regimes, max_drawdown=policy.daily.max_drawdown, level=level
    )
    if not found:
        return ""
    items = "".join(
        f"<li><b>{escape(one.topic)}</b>: {escape(one.text)}"
        f"{'' if one.proven else ' <span class=soft>(not proven)</span>'}</li>"
        for one in found
    )
    return f"<h2>What to improve next</h2><ol>{items}</ol>"


def _market(baselines: Mapping[str, BacktestResult]) -> BacktestResult | None:
    return baselines.get(BUY_AND_HOLD) or baselines.get(PRICE_ONLY)


def _returns(policy: BacktestResult, level: float) -> list[tuple[str, str]]:
    found = returns_metrics(policy.returns)
    ratio = sharpe_interval(policy.returns, level=level)
    spread = (
        number(found.sharpe)
        if ratio is None
        else f"{number(ratio.estimate)} ({number(ratio.low)} to {number(ratio.high)})"
    )
    return [
        ("total return", percent(found.total_return)),
        ("annual return", percent(found.annual_return)),
        ("annual volatility", percent(found.annual_volatility)),
        (f"Sharpe ratio, {level:.0%}", spread),
        *_proof(policy),
        ("Sortino ratio", number(found.sortino)),
        ("Calmar ratio", number(found.calmar)),
        ("worst drawdown", percent(found.max_drawdown)),
        ("worst 5 % of days, mean", percent(found.conditional_value_at_risk, 2)),
        ("skewness, excess kurtosis", f"{number(found.skewness)}, {number(found.kurtosis)}"),
    ]


def _proof(policy: BacktestResult) -> list[tuple[str, str]]:
    alone = probabilistic_sharpe(policy.returns)
    needed = minimum_track_record(policy.returns)
    record = "no number would do" if needed is None else f"{needed:,}"
    return [
        ("probability of a true ratio above 0", number(alone, 3)),
        ("sessions until that is 95 %", DASH if alone is None else record),
    ]


def _against(policy: BacktestResult, market: BacktestResult | None) -> list[tuple[str, str]]:
    if market is None:
        return []
    found = benchmark_metrics(policy.returns, market.returns)
    return [
        ("beta", number(found.beta)),
        ("alpha, annual", percent(found.alpha)),
        ("up capture", percent(found.up_capture, 0)),
        ("down capture", percent(found.down_capture, 0)),
        ("days ahead of it", percent(found.batting_average, 0)),
        ("information ratio a day", number(found.excess_sharpe, 3)),
    ]


def _trades(policy: BacktestResult, seed: int, fill_alpha: float) -> list[tuple[str, str]]:
    if not policy.trades:
        return []
    found = trade_metrics(policy.trades, seed=seed)
    equity = equity_metrics_of(policy)
    rows = [
        ("win rate, 95%", rate(found.win_rate)),
        ("mean a trade, 95%", shown_interval(found.average_pnl)),
        ("best, worst of risk", f"{percent(found.best)}, {percent(found.worst)}"),
        ("average win over average loss", number(found.risk_reward)),
        ("profit factor", number(found.profit_factor)),
        ("system quality number", number(found.sqn)),
        ("time in the market", percent(equity.exposure, 0)),
        ("mean holding time", days(found.mean_duration)),
        ("longest drawdown", days(equity.longest_drawdown)),
    ]
    return [*rows, ("breaks even when filled", _break_even(policy, fill_alpha))]


def _break_even(policy: BacktestResult, fill_alpha: float) -> str:
    if fill_alpha == 0:
        return "unknown: filled at mid"
    found = break_even_of_trades(policy.trades, booked_alpha=fill_alpha)
    if found.alpha is not None:
        return f"{found.alpha:.2f} half-spreads off mid"
    return f"never, even at mid ({signed(found.at_mid)})" if found.at_mid <= 0 else "no spread paid"


def _change(value: float | None) -> str:
    return DASH if value is None else signed(value, percent(value))


def _group_row(dimension: str, group: GroupProfit) -> Sequence[str]:
    return (
        f"<b>{escape(dimension)}</b>" if dimension else "",
        escape(group.value),
        str(group.trades),
        signed(group.net_pnl),
        shown_interval(group.mean),
        rate(group.win_rate),
    )
