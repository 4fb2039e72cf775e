"""Alerts: one per incident, to the log and to a webhook.

An incident is a key such as ``source_outage:yfinance:2026-11-20``. However often, and from however
many processes, it is raised, one alert goes out; :meth:`Alerter.resolve` closes the incident, so
that the next one alerts again. An alert that could not be delivered is tried again when it is next
raised. An alert never stops the pipeline: a dead webhook is logged and reported as ``failed``.

The webhook's address may hold a token, so it is never written to a log or a file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from spy_assets.sessions import require_aware
from spy_assets.settings import Settings

LOG: Final = logging.getLogger("spy_assets.alerts")

Severity = Literal["info", "warning", "error"]
Delivery = Literal["sent", "logged", "duplicate", "failed"]

_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_LOCK_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class Alert:
    """One thing that a person should know. ``key`` names the incident; ``occurred_at`` is UTC."""

    key: str
    title: str
    detail: str
    occurred_at: datetime
    severity: Severity = "error"

    def to_json(self) -> dict[str, Any]:
        """Give the body of the webhook; ``text`` is what chat systems show."""
        return {
            "key": self.key,
            "severity": self.severity,
            "title": self.title,
            "detail": self.detail,
            "occurred_at": require_aware(self.occurred_at).isoformat(),
            "text": f"[{self.severity}] {self.title}: {self.detail}",
        }


@dataclass(frozen=True)
class Alerter:
    """Sends alerts and remembers which incidents are open.

    Parameters
    ----------
    incidents
        Folder with one small file per open incident; made when needed.
    webhook
        Address that gets a JSON POST, or ``None`` for the log only.
    timeout_s, max_attempts, backoff_s
        Time-out of one request, attempts in all, first pause between them (doubled each time).
    """

    incidents: Path
    webhook: str | None = None
    timeout_s: float = 5.0
    max_attempts: int = 3
    backoff_s: float = 0.5

    def send(
        self, *, key: str, title: str, text: str, now: datetime, severity: Severity = "error"
    ) -> Delivery:
        """Send one alert; see :meth:`deliver`."""
        return self.deliver(Alert(key, title, text, now, severity))

    def deliver(self, alert: Alert) -> Delivery:
        """Send one alert, once per open incident, and say what became of it."""
        from filelock import FileLock

        self.incidents.mkdir(parents=True, exist_ok=True)
        record = self._record(alert.key)
        with FileLock(f"{record}.lock", timeout=_LOCK_TIMEOUT_S):
            if _delivered(record):
                return "duplicate"
            LOG.log(_LEVELS[alert.severity], "%s: %s (%s)", alert.title, alert.detail, alert.key)
            delivery: Delivery = "logged" if self.webhook is None else self._post(alert)
            body = {**alert.to_json(), "delivered": delivery != "failed"}
            temporary = record.with_suffix(".tmp")
            temporary.write_text(json.dumps(body, sort_keys=True, indent=1))
            temporary.replace(record)
        return delivery

    def resolve(self, key: str) -> bool:
        """Close an incident; True if it was open."""
        record = self._record(key)
        was_open = record.exists()
        record.unlink(missing_ok=True)
        return was_open

    def open_incidents(self) -> list[dict[str, Any]]:
        """List the open incidents, oldest first."""
        found = [json.loads(path.read_text()) for path in self.incidents.glob("*.json")]
        return sorted(found, key=lambda body: (body["occurred_at"], body["key"]))

    def _record(self, key: str) -> Path:
        return self.incidents / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"

    def _post(self, alert: Alert) -> Delivery:
        import httpx
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        attempts = Retrying(
            stop=stop_after_attempt(self.max_attempts),
            wait=wait_exponential(multiplier=self.backoff_s, max=30),
            retry=retry_if_exception(_is_transient),
            reraise=True,
        )
        try:
            attempts(self._post_once, alert)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            LOG.error("webhook failed for %s: %s", alert.key, _without_address(error))
            return "failed"
        return "sent"

    def _post_once(self, alert: Alert) -> None:
        import httpx

        headers = {"Idempotency-Key": alert.key.encode("ascii", "backslashreplace").decode()}
        response = httpx.post(
            str(self.webhook), json=alert.to_json(), headers=headers, timeout=self.timeout_s
        )
        response.raise_for_status()


def alerter(settings: Settings) -> Alerter:
    """Make the profile's alerter: its webhook, and its incidents under the data root."""
    secret = settings.alert_webhook
    return Alerter(
        incidents=settings.root / "incidents",
        webhook=None if secret is None else secret.get_secret_value(),
    )


def _is_transient(error: BaseException) -> bool:
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx.TransportError)


def _without_address(error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}"
    return type(error).__name__


def _delivered(record: Path) -> bool:
    if not record.exists():
        return False
    try:
        return bool(json.loads(record.read_text())["delivered"])
    except (json.JSONDecodeError, KeyError):
        LOG.warning("incident file %s is damaged; alerting again", record.name)
        return False
