from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from spy_assets.evaluation.backtest import Venue, run_policy
from spy_assets.evaluation.baselines import random_entries, run_baselines
from spy_assets.evaluation.gate import promotion_gate
from spy_assets.evaluation.report import DISCLAIMER, ReportFacts, render_report
from spy_assets_tests.evaluation.markets import random_walk

FACTS = ReportFacts(
    title="Hold-out <60 sessions>",
    symbol="SPY*",
    source="sample",
    model="ppo_daily",
    version="3",
    made_at=datetime(2018, 12, 31, 22, tzinfo=UTC),
    costs="rltrade",
    notices=("SPY* is S&P 500 / 10",),
)
REGIMES = dict.fromkeys(random_walk(2, 60).sessions[::2], "high_<vol>")


@pytest.fixture(scope="module")
def page() -> str:
    venue = Venue(random_walk(2, 60))
    policy = run_policy(venue, random_entries(0.5, 0.2, seed=3))
    baselines = run_baselines(venue, policy, seeds=(0,))
    verdict = promotion_gate(policy, None, baselines, bootstrap=True)
    return render_report(FACTS, policy, baselines, verdict, regimes=REGIMES)


class _Balance(HTMLParser):
    """Counts tags that are opened and never closed."""

    void = frozenset({"meta", "br", "line"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed(page: str) -> None:
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []


def test_the_page_loads_nothing(page: str) -> None:
    assert not re.search(r"(src|href)\s*=|url\(|@import|<script|http", page)


@pytest.mark.parametrize(
    "text",
    [
        "SPY*", "S&amp;P 500 / 10", "no market quoted them", "Not shown to beat", "buy_and_hold",
        "always_iron_condor", "prefers-color-scheme:dark", "Promotion gate", "BEAR_SPREAD",
        "Hold-out &lt;60 sessions&gt;", DISCLAIMER, "Numbers", "Months", "Where the profit is",
        "What to improve next", "high_&lt;vol&gt;", "first week&#x27;s band", "deflated Sharpe",
    ],
)  # fmt: skip
def test_the_page_says(page: str, text: str) -> None:
    assert text in page


def test_every_strategy_has_a_curve(page: str) -> None:
    assert page.count("<polyline") == 16
    assert "nan" not in page


def test_the_same_run_gives_the_same_page(page: str) -> None:
    venue = Venue(random_walk(2, 60))
    policy = run_policy(venue, random_entries(0.5, 0.2, seed=3))
    baselines = run_baselines(venue, policy, seeds=(0,))
    verdict = promotion_gate(policy, None, baselines, bootstrap=True)
    assert render_report(FACTS, policy, baselines, verdict, regimes=REGIMES) == page


def test_a_policy_that_never_trades_has_a_page_too() -> None:
    venue = Venue(random_walk(2, 60))
    page = render_report(FACTS, run_policy(venue, random_entries(0, 0, seed=0)), {})
    assert "<p>None.</p>" in page
    assert "Where the profit is" not in page
    assert "What to improve next" not in page
