"""Dagster's UI on a profile that the main job made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spy_assets_tests.graph.worlds import SIGNALS, World

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from spy_assets_tests.browser.screens import Screen

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def address(
    browser: Browser, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    from spy_assets_tests.browser.screens import serving

    with serving(world.copy(tmp_path_factory.mktemp("ui")), "Dagster UI") as url:
        yield url


@pytest.fixture
def ui(browser: Browser, address: str, screens: Path) -> Iterator[Screen]:
    from spy_assets_tests.browser.screens import screen

    with screen(browser, address, screens) as opened:
        yield opened


def unfold(page: Page, key: str) -> None:
    """Open what the metadata table shows as a link: long Markdown, plots too."""
    row = f"//tr[td[1][normalize-space()='{key}']]"
    page.locator(f"{row}//*[text()='[Show Markdown]']").click()


def plot_of(page: Page, key: str) -> Locator:
    unfold(page, key)
    picture = page.locator("img[src^='data:image/png']")
    picture.wait_for()
    return picture


def test_the_lineage_has_one_box_a_group(ui: Screen) -> None:
    page = ui.show("/asset-groups", "market", "features", "models", "signals", "evaluation")
    assert page.get_by_text("features_stg", exact=True).count() == 0


@pytest.mark.parametrize(
    ("asset", "words"),
    [
        ("market/daily_bars", ["Shares traded.", "market.daily_bars", "DuckLake"]),
        ("features/daily_15", ["gamma_proxy", "ok, or dimension:reason for every null dimension"]),
        ("models/ppo_daily", ["SHA-256 of the ordered weights.", "models.training_runs"]),
        ("signals/daily_signal", ["ledger.signals", "Decision time."]),
    ],
)
def test_an_asset_tells_what_it_is(ui: Screen, asset: str, words: list[str]) -> None:
    page = ui.show(f"/assets/{asset}", "Description", "Columns", "research")
    for word in words:
        page.get_by_text(word).first.wait_for()
        assert page.get_by_text(word).first.is_visible()


@pytest.mark.parametrize(
    ("asset", "key"),
    [
        ("market/daily_bars", "plot"),
        ("market/volatility", "plot"),
        ("market/minute_bars", "plot"),
        ("models/ppo_daily", "learning_curve"),
        ("models/evaluation", "net_pnl"),
        ("signals/statistics", "actions"),
        ("evaluation/report", "net_pnl"),
    ],
)
def test_an_asset_shows_its_plot(ui: Screen, asset: str, key: str) -> None:
    picture = plot_of(ui.show(f"/assets/{asset}", "Metadata"), key)
    ui.shoot(f"{asset}-{key}")
    size = picture.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size[0] >= 600
    assert size[1] >= 120


def test_the_latest_signal_reads_like_on_the_terminal(ui: Screen, world: World) -> None:
    page = ui.show("/assets/signals/daily_signal", "Metadata")
    unfold(page, "signal")
    page.get_by_text("OPTIONS SIGNAL <<<").wait_for()
    ui.shoot("signal")
    shown = " ".join(
        page.locator("[role=dialog], .bp5-dialog, .bp4-dialog").first.inner_text().split()
    )
    assert " ".join(world.first.rendered.split()) in shown


def test_row_count_is_that_of_the_assets_own_table(ui: Screen) -> None:
    page = ui.show("/assets/signals/daily_signal", "Row count")
    assert f"Row count\n{SIGNALS}\n" in page.locator("body").inner_text()


@pytest.mark.parametrize(
    ("asset", "words"),
    [
        ("market/daily_bars", "Every session due has its rows."),
        ("features/daily_15", "Never null: symbol, session,"),
        ("ledger/outcomes", "equals the sum of trade P&L"),
    ],
)
def test_all_checks_of_an_asset_succeeded_and_say_what_they_hold(
    ui: Screen, asset: str, words: str
) -> None:
    page = ui.show(f"/assets/{asset}?view=checks", "Succeeded")
    page.get_by_text(words).first.wait_for()
    assert page.get_by_text("Not Evaluated", exact=True).count() == 0
    assert page.get_by_text("Failed", exact=True).count() == 0


def test_the_runs_are_green(ui: Screen, world: World) -> None:
    page = ui.show("/runs", "refresh_history", "train_daily", "daily_signal_job", "report")
    assert page.get_by_text("Success", exact=True).count() == len(world.first.steps)
    assert page.get_by_text("Failure", exact=True).count() == 0


def test_schedules_and_sensors_are_listed(ui: Screen) -> None:
    names = ("daily_refresh", "weekly_retrain", "features_ready", "run_failed")
    page = ui.show("/automation", *names)
    assert all(page.get_by_text(name, exact=True).first.is_visible() for name in names)
