"""A backfill launched in Dagster's UI by a person, and run by the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spy_assets.settings import Settings
from spy_assets.warehouse import Warehouse
from spy_assets_tests.graph.worlds import YEARS, World

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from spy_assets_tests.browser.screens import Screen

pytestmark = [pytest.mark.browser, pytest.mark.slow]
#: The daemon asks every two seconds, and the run is a process of its own.
RUN_MS = 240_000


@pytest.fixture
def settings(world: World, tmp_path: Path) -> Settings:
    return world.copy(tmp_path)


@pytest.fixture
def ui(browser: Browser, settings: Settings, screens: Path) -> Iterator[Screen]:
    from spy_assets_tests.browser.screens import screen, serving

    with (
        serving(settings, "Dagster UI", "Dagster daemon") as url,
        screen(browser, url, screens) as opened,
    ):
        yield opened


def rows_of(settings: Settings) -> int:
    with Warehouse.open(settings, read_only=True) as lake:
        return int(lake.execute("SELECT count(*) AS n FROM features.adjusted_bars")["n"][0])


def test_all_years_are_made_again_by_a_click(ui: Screen, settings: Settings) -> None:
    before = rows_of(settings)
    page = ui.show("/assets/features/adjusted_bars", "Description")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("button", name="Launch backfill").click()
    page.get_by_text("Launch runs to materialize").wait_for(state="hidden")
    page = ui.show("/runs", "Backfill")
    page.locator("a[href^='/runs/b/']").first.click()
    page.get_by_text("100% completed").wait_for(timeout=RUN_MS)
    ui.shoot("backfill")
    assert f"{YEARS[0]}...{YEARS[-1]}" in page.locator("body").inner_text()
    assert page.get_by_text("Failed", exact=True).count() == 1  # the column's head
    # The same input is the same rows: none was written twice.
    assert rows_of(settings) == before
