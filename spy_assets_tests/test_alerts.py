from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spy_assets.alerts import Alert, Alerter, alerter
from spy_assets.settings import load_settings

NOW = datetime(2018, 12, 21, 22, tzinfo=UTC)
ALERT = Alert("source_outage:SPY", "The source does not answer", "down for 3 h", NOW)


class Webhook:
    """A real server on the loopback that answers with the statuses given, then with 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.received: list[dict[str, Any]] = []
        self.requests = 0
        self.keys: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.requests += 1
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = outer.statuses.pop(0) if outer.statuses else 200
                if status < 300:
                    outer.received.append(body)
                    outer.keys.append(self.headers["Idempotency-Key"])
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook?token=s3cret"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


@pytest.fixture
def sender(webhook: Webhook, tmp_path: Path) -> Alerter:
    return Alerter(tmp_path / "incidents", webhook.url, backoff_s=0.01)


def test_an_alert_arrives_as_json(webhook: Webhook, sender: Alerter) -> None:
    assert sender.deliver(ALERT) == "sent"
    assert webhook.received == [ALERT.to_json()]
    assert webhook.keys == ["source_outage:SPY"]
    assert webhook.received[0]["text"].startswith("[error] The source does not answer")


@pytest.mark.fault(39)
def test_one_incident_is_one_alert(webhook: Webhook, sender: Alerter) -> None:
    deliveries = [sender.deliver(ALERT) for _ in range(3)]
    assert deliveries == ["sent", "duplicate", "duplicate"]
    assert len(webhook.received) == 1


def test_one_incident_is_one_alert_from_many_threads(webhook: Webhook, sender: Alerter) -> None:
    with ThreadPoolExecutor(8) as pool:
        deliveries = sorted(pool.map(lambda _: sender.deliver(ALERT), range(8)))
    assert deliveries == ["duplicate"] * 7 + ["sent"]
    assert len(webhook.received) == 1


def test_a_new_alerter_remembers_what_was_sent(webhook: Webhook, sender: Alerter) -> None:
    sender.deliver(ALERT)
    assert Alerter(sender.incidents, webhook.url).deliver(ALERT) == "duplicate"


def test_a_resolved_incident_alerts_again(webhook: Webhook, sender: Alerter) -> None:
    sender.deliver(ALERT)
    assert sender.resolve(ALERT.key)
    assert not sender.resolve(ALERT.key)
    assert sender.deliver(ALERT) == "sent"


@pytest.mark.parametrize("statuses", [[500, 503], [429], [502]])
def test_passing_trouble_is_tried_again(
    webhook: Webhook, sender: Alerter, statuses: list[int]
) -> None:
    webhook.statuses = list(statuses)
    assert sender.deliver(ALERT) == "sent"
    assert webhook.requests == len(statuses) + 1


def test_a_refusal_is_not_tried_again(webhook: Webhook, sender: Alerter) -> None:
    webhook.statuses = [403]
    assert sender.deliver(ALERT) == "failed"
    assert webhook.requests == 1


def test_what_failed_is_sent_when_it_is_next_raised(webhook: Webhook, sender: Alerter) -> None:
    webhook.statuses = [500, 500, 500]
    assert [sender.deliver(ALERT) for _ in range(3)] == ["failed", "sent", "duplicate"]


def test_a_dead_webhook_stops_nothing(tmp_path: Path) -> None:
    dead = Alerter(tmp_path, "http://127.0.0.1:9/hook", backoff_s=0.01, timeout_s=1)
    assert dead.deliver(ALERT) == "failed"
    assert [body["delivered"] for body in dead.open_incidents()] == [False]


def test_the_secret_address_is_written_nowhere(
    webhook: Webhook, sender: Alerter, caplog: pytest.LogCaptureFixture
) -> None:
    webhook.statuses = [500, 500, 500]
    with caplog.at_level(logging.DEBUG, logger="spy_assets"):
        sender.deliver(ALERT)
    files = "".join(path.read_text() for path in sender.incidents.iterdir())
    assert "webhook failed" in caplog.text
    assert "s3cret" not in files + "".join(
        r.getMessage() for r in caplog.records if r.name.startswith("spy_assets")
    )


def test_without_a_webhook_it_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quiet = Alerter(tmp_path)
    assert [quiet.deliver(ALERT), quiet.deliver(ALERT)] == ["logged", "duplicate"]
    assert caplog.text.count("down for 3 h") == 1


def test_a_damaged_incident_file_alerts_again(sender: Alerter) -> None:
    sender.deliver(ALERT)
    next(sender.incidents.glob("*.json")).write_text("{")
    assert sender.deliver(ALERT) == "sent"


def test_settings_make_the_alerter(webhook: Webhook, tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, alert_webhook=webhook.url)
    delivery = alerter(settings).send(key="run-1", title="failed", text="why", now=NOW)
    assert delivery == "sent"
    assert webhook.received[0]["title"] == "failed"
    assert (settings.root / "incidents").is_dir()


def test_open_incidents_are_listed_in_order(tmp_path: Path) -> None:
    quiet = Alerter(tmp_path)
    for hour, key in ((22, "b"), (20, "a")):
        quiet.send(key=key, title="t", text="x", now=NOW.replace(hour=hour))
    assert [body["key"] for body in quiet.open_incidents()] == ["a", "b"]
