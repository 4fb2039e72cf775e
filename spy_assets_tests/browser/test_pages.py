"""The pages that are files: the HTML report and the picture of the graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spy_assets_tests.conftest import REPOSITORY
from spy_assets_tests.graph.worlds import World

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from spy_assets_tests.browser.screens import Screen

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCHEMES = ["light", "dark"]
#: Red, green and blue below which a page is dark.
DARK = 60
#: Elements that stick out of the page, or of the box that they belong to.
OVERFLOWING = """() => [...document.querySelectorAll('.wide, figure')]
    .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.innerText)"""
OUTSIDE = """() => [...document.querySelectorAll('svg g')].filter(g => {
    const box = g.querySelector('rect').getBBox();
    return [...g.querySelectorAll('.name, .note')].map(t => t.getBBox())
        .some(t => t.x < box.x + 2 || t.x + t.width > box.x + box.width - 2);
}).map(g => g.textContent)"""


@pytest.fixture(params=SCHEMES)
def paper(browser: Browser, screens: Path, request: pytest.FixtureRequest) -> Iterator[Screen]:
    from spy_assets_tests.browser.screens import screen

    with screen(browser, "file://", screens, color_scheme=request.param) as opened:
        yield opened


def brightness(paper: Screen, selector: str, rule: str) -> int:
    style = f"element => getComputedStyle(element)['{rule}']"
    colour = paper.page.locator(selector).first.evaluate(style)
    return max(int(part) for part in colour.strip("rgba()").split(",")[:3])


def scheme(paper: Screen) -> str:
    dark = paper.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    return "dark" if dark else "light"


def test_the_report_is_readable_in_light_and_dark(paper: Screen, world: World) -> None:
    paper.show(str(world.first.report_path), "Against the baselines", "Trades", "Risk")
    paper.page.screenshot(path=str(paper.folder / f"report_{scheme(paper)}.png"), full_page=True)
    ground, ink = brightness(paper, "body", "backgroundColor"), brightness(paper, "body", "color")
    assert (ground < DARK) == (scheme(paper) == "dark")
    assert abs(ground - ink) > 150


def test_nothing_of_the_report_is_cut_off(paper: Screen, world: World) -> None:
    paper.show(str(world.first.report_path), "Against the baselines")
    assert paper.page.evaluate(OVERFLOWING) == []
    assert "nan" not in paper.page.locator("body").inner_text().lower().split()


def test_the_report_fits_a_telephone(paper: Screen, world: World) -> None:
    paper.page.set_viewport_size({"width": 390, "height": 800})
    paper.show(str(world.first.report_path), "Against the baselines")
    assert paper.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_picture_of_the_graph_is_readable_in_light_and_dark(paper: Screen) -> None:
    paper.show(str(REPOSITORY / "docs" / "asset-graph.svg"))
    paper.page.screenshot(path=str(paper.folder / f"graph_{scheme(paper)}.png"))
    assert paper.page.evaluate(OUTSIDE) == []
    assert (brightness(paper, ".page", "fill") < DARK) == (scheme(paper) == "dark")
    assert (brightness(paper, ".name", "fill") > 200) == (scheme(paper) == "dark")
