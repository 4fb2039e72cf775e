"""Signals read as the golden files say.

``python -m spy_assets_tests.signals.test_rendering`` writes them after a change that is meant.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spy_assets.signals.contract import Signal
from spy_assets.signals.rendering import (
    DISCLAIMER,
    GLYPHS,
    bar,
    render_markdown,
    render_plain,
    render_rich,
)
from spy_assets.simulator.actions import CLOSE
from spy_assets_tests.signals import scenes

GOLDEN = Path(__file__).parent / "golden"


def examples() -> dict[str, Signal]:
    """One signal of each kind that looks different."""
    unproven = replace(
        scenes.policy(4).champion, basis="bootstrap", reason="bootstrap: not shown to beat cash"
    )
    missing = scenes.ROW | {"iv": None, "quality": "iv:vix_missing"}
    return {
        "bear_spread": scenes.signal(3),
        "long_call": scenes.signal(0, market=scenes.market(source="yfinance")),
        "condor_bootstrap": scenes.signal(4, policy=scenes.policy(4, champion=unproven)),
        "close": scenes.signal(CLOSE),
        "no_model": scenes.signal(policy=None),
        "missing_input": scenes.signal(market=scenes.market(row=missing, vix=None)),
        "blocked": scenes.signal(3, conditions=scenes.conditions(outage="source down for 3 h")),
    }


@pytest.mark.parametrize("name", sorted(examples()))
def test_plain_text_is_the_golden_one(name: str) -> None:
    assert render_plain(examples()[name]) == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", sorted(examples()))
def test_markdown_is_the_golden_one(name: str) -> None:
    assert render_markdown(examples()[name]) == (GOLDEN / f"{name}.md").read_text()


@pytest.mark.parametrize("name", sorted(examples()))
def test_colour_changes_no_character(name: str) -> None:
    signal = examples()[name]
    assert render_rich(signal).plain == render_plain(signal)


def test_the_seeds_layout_is_kept() -> None:
    text = render_plain(scenes.signal(3, market=scenes.market(source="yfinance")))
    for part in (
        ">>> SPY OPTIONS SIGNAL <<<", "2018-12-21T22:00:00", "MARKET DATA", "AI RECOMMENDATION",
        "[v] BEAR_SPREAD  70.4% confidence", "SPY 181228 P 242/237", "BEAR PUT SPREAD",
        "MAX PROFIT $", "MAX LOSS $", DISCLAIMER,
    ):  # fmt: skip
        assert part in text


def test_all_seven_actions_have_a_bar() -> None:
    lines = render_plain(scenes.signal(3)).splitlines()
    assert sum(line.strip().split(" ")[0] in GLYPHS and "%" in line for line in lines) == 7


def test_the_sample_is_never_shown_as_spy() -> None:
    text = render_plain(scenes.signal(3))
    assert ">>> SPY* OPTIONS SIGNAL <<<" in text
    assert "! SPY* is S&P 500 / 10 without dividends, not traded SPY prices" in text


@given(st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_a_bar_is_twenty_characters_long(probability: float) -> None:
    drawn = bar(probability)
    assert len(drawn) == 20
    assert abs(drawn.count("#") / 20 - probability) <= 0.025 + 1e-12


def test_bars_round_half_up() -> None:
    assert [bar(p).count("#") for p in (0.0, 0.024, 0.025, 0.704, 1.0)] == [0, 0, 1, 14, 20]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", sorted(examples()))
def test_lines_fit_the_terminal_and_lose_nothing(name: str, width: int) -> None:
    text, wide = (render_plain(examples()[name], width=one) for one in (width, 1000))
    assert max(len(line) for line in text.splitlines() if " " in line.strip()) <= width
    assert text.split() == wide.split()
    assert render_rich(examples()[name], width=width).plain == text


def test_a_broken_line_goes_on_under_its_text() -> None:
    signal = examples()["blocked"].model_copy(update={"reasons": ("source_outage: " + "x " * 50,)})
    lines = render_plain(signal, width=60).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("  - source_outage"))
    assert lines[first + 1].startswith("    x x")


def _write() -> None:
    for name, signal in examples().items():
        (GOLDEN / f"{name}.txt").write_text(render_plain(signal))
        (GOLDEN / f"{name}.md").write_text(render_markdown(signal))


if __name__ == "__main__":
    _write()
