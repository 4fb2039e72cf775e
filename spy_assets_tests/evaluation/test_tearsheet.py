"""The tearsheet: well-formed, self-contained, allowed to run its own script only, and complete."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spy_assets.evaluation.markup import dollars, percent, signed, tone
from spy_assets.evaluation.report import DISCLAIMER
from spy_assets.evaluation.splits import SessionWindows
from spy_assets.evaluation.tearsheet import TearsheetFacts, render_tearsheet
from spy_assets.evaluation.tearsheet_charts import (
    anatomy_chart,
    equity_chart,
    log_ticks,
    round_ticks,
    timeline_chart,
)
from spy_assets.evaluation.walk_forward_summary import summarise
from spy_assets.sessions import sessions_between
from spy_assets_tests.evaluation.sheets import FACTS, made_sheet
from spy_assets_tests.evaluation.test_report import _Balance
from spy_assets_tests.evaluation.walks import made_folds, made_run, made_walk

RUNS = made_walk(24)
DAYS = sessions_between(date(1994, 1, 3), date(2023, 12, 29))
SUMMARY = summarise(RUNS, trials=3)


@pytest.fixture(scope="module")
def page() -> str:
    return made_sheet()


def test_the_page_is_well_formed(page: str) -> None:
    parser = _Balance()
    parser.feed(re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL))
    assert parser.open == []


def test_the_page_loads_nothing(page: str) -> None:
    assert not re.search(r"(?:src|href)\s*=|@import|https?://(?!www\.w3\.org)", page)
    assert set(re.findall(r"url\(([^)]*)\)", page)) == {"#hatch"}
    assert " style=" not in page  # its Content-Security-Policy would forbid it


@pytest.mark.parametrize(("tag", "rule"), [("style", "style-src"), ("script", "script-src")])
def test_style_and_script_are_those_of_the_policy(page: str, tag: str, rule: str) -> None:
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"{rule} 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_the_page_is_small_and_the_same_for_the_same_runs(page: str) -> None:
    assert len(page.encode()) < 250_000
    assert made_sheet() == page


@pytest.mark.parametrize(
    "text",
    [
        "Walk-forward &lt;SPY*&gt;", "S&amp;P 500 / 10", "no market quoted them", "24 of 25 folds",
        "from 2018-01-01 on, is in no fold", "3 configuration(s) walked", "12, 13", "0123456789ab",
        "iron_condor", "unknown", "profit_target", "deflated Sharpe", "prefers-color-scheme:dark",
        "purge 6, embargo 2", DISCLAIMER,
    ],
)  # fmt: skip
def test_the_page_says(page: str, text: str) -> None:
    assert text in page


def test_the_page_says_what_is_not_beaten_for_every_baseline(page: str) -> None:
    from html import escape

    assert escape(SUMMARY.verdict) in page
    for sentence in SUMMARY.sentences():
        assert escape(sentence) in page


def test_every_strategy_fold_and_seed_is_there(page: str) -> None:
    assert page.count("<polyline") == 4 + 1  # equity of each, and the drawdown of buy and hold
    assert page.count('class="train"') == 24 + 2  # folds, anatomy, legend
    for fold in SUMMARY.folds:
        assert f"{fold.test_first}–{fold.test_last}" in page
    assert len(re.findall(r"seed \d+</text>", page)) == 3
    assert page.count('class="dot"') == 24 * 3


def test_numbers_to_sort_by_are_numbers(page: str) -> None:
    values = re.findall(r'data-v="([^"]*)"', page)
    assert len(values) > 24 * 8
    assert np.isfinite([float(value) for value in values]).all()
    assert "nan" not in re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)


def test_a_policy_that_never_trades_has_a_page_too() -> None:
    runs = []
    for fold in made_folds(2):
        runs += [made_run(fold, [0.0] * 20), made_run(fold, [0.0] * 20, strategy="cash")]
    facts = TearsheetFacts(**(FACTS | {"final_from": None, "seeds": (42,)}))
    page = render_tearsheet(facts, summarise(runs), runs)
    assert "made no trade" in page
    assert "One seed says nothing of the spread" in page
    assert "final period" not in page


def test_trades_that_begin_at_any_minute_are_shown_by_the_hour(page: str) -> None:
    intraday = made_sheet(2, intraday=True)
    assert "by hour of entry" in intraday
    assert "by regime" not in intraday
    assert "by regime" in page
    assert "by hour of entry" not in page


def test_the_final_period_is_called_untouched_only_where_it_is() -> None:
    assert "not untouched" not in made_sheet()
    seen = made_sheet(final_seen_by=("0123456789ab", "fedcba987654"))
    assert "is not untouched: tested on it were configuration(s) 0123456789ab, fedc" in seen
    walked = made_sheet(final_from=SUMMARY.folds[-2].test_last)
    assert "2 fold(s) here test sessions from" in walked
    assert "in no fold and in no number" not in walked
    assert 'class="final"' in seen
    assert 'class="final"' not in walked


def test_gaps_are_wide_enough_to_be_seen() -> None:
    folds = SessionWindows().folds(DAYS)
    picture = timeline_chart(folds, None, None)
    widths = [
        float(w) for w in re.findall(r'width="([\d.]+)" height="[\d.]+" class="purge"', picture)
    ]
    assert len(widths) == len(folds) + 1
    assert min(widths) >= 1.2


def test_the_anatomy_is_to_scale() -> None:
    fold = SessionWindows().folds(DAYS)[0]
    found = re.findall(r'width="([\d.]+)" height="26.0" class="(\w+)"', anatomy_chart(fold))
    widths = {css: float(width) for width, css in found}
    scale = widths["train"] / 504
    assert widths["test"] == pytest.approx(63 * scale, abs=0.1)
    assert widths["purge"] == pytest.approx(6 * scale, abs=0.1)
    assert widths["embargo"] == pytest.approx(5 * scale, abs=0.1)


def test_accounts_that_differ_by_far_are_on_a_logarithmic_scale() -> None:
    assert "Logarithmic" not in equity_chart(SUMMARY.chains[:2])
    folds = made_folds(8)
    wild = [made_run(fold, [0.02] * 20) for fold in folds]
    wild += [made_run(fold, [-0.03] * 20, strategy="cash") for fold in folds]
    assert "Logarithmic" in equity_chart(summarise(wild).chains)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 12))
def test_round_ticks_lie_in_the_range_at_equal_steps(low: float, span: float, count: int) -> None:
    ticks = round_ticks(low, low + span, count)
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    steps = [b - a for a, b in pairwise(ticks)]
    assert len(ticks) <= count + 2
    assert np.allclose(steps, steps[:1] * len(steps), rtol=1e-6, atol=1e-7)


@given(st.floats(1.0, 1e5), st.floats(4.0, 1e4))
def test_log_ticks_are_in_the_range_and_few(low: float, factor: float) -> None:
    ticks = log_ticks(low, low * factor)
    assert all(low <= tick <= low * factor for tick in ticks)
    assert 1 <= len(ticks) <= 9


@pytest.mark.parametrize(
    ("value", "text", "css"),
    [
        (-12.0, "-12.00", "bad"),
        (3.5, "3.50", "good"),
        (-0.001, "0.00", "soft"),
        (0.0, "0.00", "soft"),
    ],
)
def test_the_tone_is_that_of_what_is_shown(value: float, text: str, css: str) -> None:
    assert dollars(value) == text
    assert tone(value, text) == css
    assert signed(value) == f'<span class="{css}">{text}</span>'


def test_percentages_have_no_negative_zero() -> None:
    assert (percent(-0.00001), percent(0.12345, 2)) == ("0.0%", "12.35%")
