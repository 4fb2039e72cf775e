"""MLflow's UI lists the profile's experiment and the registered model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spy_assets_tests.graph.worlds import World

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def address(
    browser: Browser, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    from spy_assets_tests.browser.screens import serving

    with serving(world.copy(tmp_path_factory.mktemp("mlflow")), "MLflow UI") as url:
        yield url


@pytest.mark.parametrize(
    ("path", "word"), [("/#/experiments", "sample"), ("/#/models", "ppo_daily")]
)
def test_mlflow_lists_what_was_made(
    browser: Browser, address: str, screens: Path, path: str, word: str
) -> None:
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.goto(address + path)
    page.get_by_text(word).first.wait_for(timeout=60_000)
    page.screenshot(path=str(screens / f"mlflow_{word}.png"))
    assert word in page.locator("body").inner_text()
