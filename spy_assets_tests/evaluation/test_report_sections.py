"""What the report's sections say, read back from their tables."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from spy_assets.evaluation import markup
from spy_assets.evaluation import report_sections as sections
from spy_assets.evaluation.backtest import BacktestResult
from spy_assets.evaluation.statistics import Interval
from spy_assets_tests.evaluation.runs import FIRST, SESSIONS, result
from spy_assets_tests.evaluation.trades import trade

RUN = result(5.0)
MARKET = {"buy_and_hold": result(2.0, seed=4, name="buy_and_hold")}


def cells(page: str) -> list[list[str]]:
    """Texts of every row of a page's tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    plain = [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row)]
             for row in rows]  # fmt: skip
    return [row for row in plain if any(row)]


def facts(page: str) -> dict[str, str]:
    return {row[0]: row[1] for row in cells(page) if len(row) == 2}


def test_the_numbers_by_hand() -> None:
    said = facts(sections.numbers(RUN, MARKET, 0.95, 0))
    returns = RUN.returns
    assert said["total return"] == f"{100 * (np.prod(1 + returns) - 1):.1f}%"
    assert said["worst drawdown"] == f"-{100 * RUN.daily.max_drawdown:.1f}%"
    assert said["Sharpe ratio, 95%"].startswith(f"{RUN.daily.sharpe:.2f} (")
    market = MARKET["buy_and_hold"].returns
    beta = np.cov(returns, market, ddof=0)[0, 1] / market.var()
    assert said["beta"] == f"{beta:.2f}"
    ahead = np.mean(returns > market)
    assert said["days ahead of it"] == f"{100 * ahead:.0f}%"


def test_the_trades_by_hand() -> None:
    trades = tuple(trade(pnl, pnl_pct=pnl / 100) for pnl in (30.0, -10.0, 20.0, -15.0))
    said = facts(sections.numbers(replace(RUN, trades=trades), {}, 0.95, 0))
    assert said["win rate, 95%"] == "50% (15% to 85%)"
    assert said["best, worst of risk"] == "30.0%, -15.0%"
    assert said["average win over average loss"] == "2.00"
    assert said["profit factor"] == "2.00"
    assert "beta" not in said


@pytest.mark.parametrize(
    ("alpha", "words"), [(0.0, "unknown: filled at mid"), (0.5, "half-spreads off mid")]
)
def test_the_break_even_knows_what_fills_paid(alpha: float, words: str) -> None:
    trades = tuple(replace(trade(1.0), gross=500.0) for _ in range(3))
    run = replace(RUN, trades=trades)
    said = facts(sections.numbers(run, {}, 0.95, 0, fill_alpha=alpha))
    assert said["breaks even when filled"].endswith(words)


def month_run(name: str, moves: dict[int, float]) -> BacktestResult:
    """A run that moves once, on the given session, by the given share."""
    growth = np.ones(len(SESSIONS) + 1)
    for position, move in moves.items():
        growth[position + 1 :] *= 1 + move
    return replace(RUN, name=name, equity=10_000 * growth)


def test_months_by_hand() -> None:
    """Sessions 0, 25 and 45 lie in January, February and March 2016."""
    policy = month_run("policy", {0: 0.10, 25: -0.20})
    market = {"buy_and_hold": month_run("buy_and_hold", {45: 0.05})}
    heads, ours, theirs = cells(sections.monthly(policy, market))
    assert (FIRST.year, heads[2:]) == (2016, ["Jan", "Feb", "Mar", "whole year"])
    assert ours == ["2016", "policy", "10.0%", "-20.0%", "0.0%", "-12.0%"]
    assert theirs == ["", "buy_and_hold", "0.0%", "0.0%", "5.0%", "5.0%"]


def test_groups_name_their_dimension_once() -> None:
    trades = (trade(5.0), trade(-5.0), trade(7.0, structure="butterfly"))
    rows = cells(sections.groups(replace(RUN, trades=trades), None, 0.95))
    assert [row[:4] for row in rows[1:]] == [
        ["structure", "butterfly", "1", "7.00"],
        ["", "long_call", "2", "0.00"],
    ]
    assert rows[1][4] == markup.DASH


def test_steps_are_listed_and_say_what_is_not_proven() -> None:
    trades = tuple(trade(pnl) for pnl in np.tile([21.0, -19.0], 20))
    page = sections.next_steps(replace(RUN, trades=trades), None, 0.95)
    assert "<b>more assets</b>: 40 trades earned $1.00" in page
    assert page.count("(not proven)") == 1


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (markup.dollars(-0.001), "0.00"),
        (markup.dollars(-1234.5), "-1,234.50"),
        (markup.percent(-0.0001, 1), "0.0%"),
        (markup.percent(None), markup.DASH),
        (markup.number(1234.567, 1), "1,234.6"),
        (markup.days(timedelta(hours=36)), "1.5 days"),
        (markup.rate(Interval(0.5, 0.25, 0.75, 0.95)), "50% (25% to 75%)"),
        (markup.shown_interval(None), markup.DASH),
    ],
)
def test_cells_have_no_negative_zero_and_no_unknown_number(made: str, text: str) -> None:
    assert made == text


@pytest.mark.parametrize(
    ("value", "tone"), [(1.0, "good"), (-1.0, "bad"), (-0.001, "soft"), (0.0, "soft")]
)
def test_colours_follow_what_is_shown(value: float, tone: str) -> None:
    assert markup.signed(value).startswith(f'<span class="{tone}">')
