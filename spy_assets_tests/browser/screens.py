"""A browser that remembers what went wrong on its pages, and servers to look at."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from spy_assets.cli.services import Service, child_environment, stop_all
from spy_assets.cli.up import services
from spy_assets.dagster_home import prepare_dagster_home
from spy_assets.settings import Settings
from spy_assets_tests.graph.worlds import SMALL_ENVIRONMENT

#: A headless Chromium that asks nobody for anything.
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
START_S = 120.0


@dataclass
class Screen:
    """One tab, and what its pages complained about or asked others for."""

    page: Page
    home: str
    folder: Path
    complaints: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.home, "data:", "blob:")):
            self.strangers.append(request.url)

    def show(self, path: str, *words: str) -> Page:
        """Open a page, wait for its words, keep a screenshot."""
        self.page.goto(self.home + path)
        for word in words:
            self.page.get_by_text(word, exact=True).first.wait_for(timeout=60_000)
        self.shoot(path)
        return self.page

    def shoot(self, name: str) -> None:
        file = "".join(c if c.isalnum() else "_" for c in name).strip("_")
        self.page.screenshot(path=str(self.folder / f"{file}.png"), animations="disabled")


@contextmanager
def screen(browser: Browser, home: str, folder: Path, **context: Any) -> Iterator[Screen]:
    """A tab whose pages must stay quiet: no error in the console, nothing from other hosts."""
    opened = browser.new_context(viewport={"width": 1400, "height": 1000}, **context)
    one = Screen(opened.new_page(), home, folder)
    one.listen()
    yield one
    opened.close()
    assert one.complaints == []
    assert one.strangers == []


def free_ports(count: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


@contextmanager
def serving(settings: Settings, name: str, *others: str) -> Iterator[str]:
    """The address of one of `spy up`'s services, started on a profile as `spy up` starts it.

    ``others`` are services without an address that run beside it.
    """
    found = {one.name: one for one in services(settings, *free_ports(2))}
    service, beside = found[name], [found[other] for other in others]
    environment = child_environment(
        SMALL_ENVIRONMENT
        | {
            "SPY_HOME": str(settings.home),
            "SPY_ENV_FILE": str(settings.home / "no.env"),
            "DAGSTER_HOME": str(prepare_dagster_home(settings)),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "DO_NOT_TRACK": "true",
        }
    )
    try:
        service.start(environment)
        _await(service)
        for other in beside:
            other.start(environment)
        assert service.url is not None
        yield service.url
    finally:
        stop_all([*beside, service])


def _await(service: Service) -> None:
    deadline = time.monotonic() + START_S
    while not service.answers():
        service.check()
        assert time.monotonic() < deadline, f"{service.name} is late:\n{service.tail()}"
        time.sleep(0.3)


def loads(url: str) -> bool:
    return httpx.get(url, trust_env=False).is_success


def machine_chromium() -> str | None:
    """The Chromium of this machine, or None."""
    from shutil import which

    given = os.environ.get("CHROMIUM")
    return given or which("chromium") or which("chromium-browser") or which("google-chrome")
