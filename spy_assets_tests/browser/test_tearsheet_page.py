"""The tearsheet in a real browser: it opens quietly, sorts, and fits, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spy_assets_tests.browser.test_pages import (
    DARK,
    OVERFLOWING,
    SCHEMES,
    brightness,
    scheme,
)
from spy_assets_tests.evaluation.sheets import made_sheet

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from spy_assets_tests.browser.screens import Screen

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FOLDS = "table.sortable:has(th:has-text('purge'), th:has-text('gap'))"
#: Text of a picture that sticks out of it.
CUT_OFF = """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(text => {
        const box = text.getBoundingClientRect();
        return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
    }).map(text => text.textContent);
})"""


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sheet") / "s0.html"
    path.write_text(made_sheet())
    return path


@pytest.fixture(params=SCHEMES)
def paper(browser: Browser, screens: Path, request: pytest.FixtureRequest) -> Iterator[Screen]:
    """A tab that must stay quiet: no error in its console, no request to anybody."""
    from spy_assets_tests.browser.screens import screen

    with screen(browser, "file://", screens, color_scheme=request.param) as opened:
        yield opened


def test_it_is_readable_and_quiet_in_light_and_dark(paper: Screen, sheet: Path) -> None:
    paper.show(str(sheet), "Folds", "Months", "Where the profit came from", "Configuration")
    paper.page.screenshot(path=str(paper.folder / f"sheet_{scheme(paper)}.png"), full_page=True)
    ground, ink = brightness(paper, "body", "backgroundColor"), brightness(paper, "body", "color")
    assert (ground < DARK) == (scheme(paper) == "dark")
    assert abs(ground - ink) > 150


def test_nothing_is_cut_off(paper: Screen, sheet: Path) -> None:
    paper.show(str(sheet), "Folds")
    assert paper.page.evaluate(OVERFLOWING) == []
    assert paper.page.evaluate(CUT_OFF) == []


def test_it_fits_a_telephone(paper: Screen, sheet: Path) -> None:
    paper.page.set_viewport_size({"width": 390, "height": 800})
    paper.show(str(sheet), "Folds")
    assert paper.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_folds_sort_by_number_and_back(paper: Screen, sheet: Path) -> None:
    paper.show(str(sheet), "Folds")
    rows = paper.page.locator(f"{FOLDS} tbody tr")
    button = paper.page.locator(f"{FOLDS} th", has_text="net P&L").locator("button")

    def shown() -> list[float]:
        texts = rows.evaluate_all("rows => rows.map(row => row.cells[5].textContent)")
        return [float(text.replace(",", "")) for text in texts]

    before = shown()
    button.click()
    assert shown() == sorted(before, reverse=True) != before
    button.click()
    assert shown() == sorted(before)


def test_folds_sort_by_words(paper: Screen, sheet: Path) -> None:
    paper.show(str(sheet), "Folds")
    paper.page.locator(f"{FOLDS} th", has_text="best baseline").locator("button").click()
    cells = paper.page.locator(f"{FOLDS} tbody td:nth-child(12)").all_text_contents()
    assert cells == sorted(cells, reverse=True)
    assert len(set(cells)) > 1


def test_headings_sort_from_the_keyboard_and_say_how(paper: Screen, sheet: Path) -> None:
    paper.show(str(sheet), "Folds")
    head = paper.page.locator(f"{FOLDS} th", has_text="Sharpe")
    head.locator("button").focus()
    paper.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"


def test_no_foreign_script_runs_on_it(browser: Browser, sheet: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.html"
    taken = "document.title = 'taken'"
    planted = f'<body><script>{taken}</script><img src=x onerror="{taken}">'
    hostile.write_text(sheet.read_text().replace("<body>", planted, 1))
    page = browser.new_page()
    page.goto(f"file://{hostile}")
    page.wait_for_load_state()
    assert page.title() == "Walk-forward <SPY*>"
    page.close()
