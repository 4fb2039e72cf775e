"""The one layer through which every vendor is asked: budget, retries, validation of the answer.

    answer                                        what happens
    time-out, reset, cut-off connection           asked again with back-off
    429, 500, 502, 503, 504                       asked again, not before Retry-After
    JSON that does not end                        asked again
    another 4xx or 5xx                            SourceUnavailable at once
    200 without a body                            EmptyResponse; never "no data"
    HTML where JSON or CSV was due                WrongContent
    redirect to an address that is not public     ForbiddenRedirect
    still failing after `max_attempts`            SourceUnavailable (truncated JSON: WrongContent)
    more requests than `budget`                   BudgetExceeded

Retries count against the budget. The layer works for any transport: :class:`HttpClient` sends with
httpx; :mod:`.yahoo` lends it to yfinance's own client through :class:`Gate`.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any, Literal, Protocol, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx
import orjson
import polars as pl
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from spy_assets.clock import utc_now
from spy_assets.errors import (
    BudgetExceeded,
    EmptyResponse,
    ForbiddenRedirect,
    SchemaDrift,
    SourceError,
    SourceUnavailable,
    WrongContent,
)
from spy_assets.market.schemas import require_names

Expect = Literal["json", "csv", "any"]
T = TypeVar("T")
R = TypeVar("R")

RETRY_STATUS = frozenset({429, 500, 502, 503, 504})
MAX_REDIRECTS = 5
USER_AGENT = "spy-assets"
_SECRET = re.compile(r"((?:api_?key|token|crumb)=)[^&\s'\"]+", re.IGNORECASE)
_log = logging.getLogger(__name__)


class Policy(Protocol):
    """What the layer needs to know; `settings.HttpSettings` fits."""

    @property
    def timeout_s(self) -> float: ...  # noqa: D102
    @property
    def max_attempts(self) -> int: ...  # noqa: D102
    @property
    def backoff_s(self) -> float: ...  # noqa: D102
    @property
    def max_backoff_s(self) -> float: ...  # noqa: D102
    @property
    def budget(self) -> int: ...  # noqa: D102


class RequestBudget:
    """How many requests a run may still make; shared by all vendors of the run, thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.spent = 0
        self._lock = threading.Lock()

    def spend(self, what: str) -> None:
        """Take one request.

        Raises
        ------
        BudgetExceeded
            If none is left.
        """
        with self._lock:
            if self.spent >= self.limit:
                raise BudgetExceeded(
                    f"{what}: the budget of {self.limit} requests per run is spent",
                    hint="raise SPY_HTTP__BUDGET, or ask for fewer symbols or days",
                )
            self.spent += 1


@dataclass(frozen=True)
class Answer:
    """An HTTP response, whatever the transport."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class _Transient(Exception):
    """Worth another attempt; `final` is raised if that was the last one."""

    def __init__(self, final: SourceError, retry_after: float | None = None) -> None:
        super().__init__(str(final))
        self.final = final
        self.retry_after = retry_after


def redact(text: str) -> str:
    """The text without keys and tokens in query strings.

    >>> redact("https://x/?api_key=abc&id=1")
    'https://x/?api_key=***&id=1'
    """
    return _SECRET.sub(r"\1***", text)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None if absent or odd."""
    value = next((v for k, v in headers.items() if k.lower() == "retry-after"), None)
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - _now()).total_seconds())


def _now() -> datetime:
    return utc_now()


def _is_html(answer: Answer) -> bool:
    start = answer.body.lstrip()[:15].lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body"))


def _check_status(answer: Answer, what: str) -> None:
    status = answer.status
    if status in RETRY_STATUS:
        final = SourceUnavailable(
            f"{what}: HTTP {status}", hint="the vendor is overloaded or down; try again later"
        )
        raise _Transient(final, _retry_after(answer.headers))
    if status >= 400:
        said = redact(answer.body[:200].decode("utf-8", "replace")).strip()
        raise SourceUnavailable(
            f"{what}: HTTP {status}: {said!r}",
            hint="check the symbol, the key and the address of the vendor",
        )


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:  # NaN, which is no JSON, but which Python's own reader takes
        return json.loads(body)


def _read_body(answer: Answer, expect: Expect, what: str) -> Any:
    if expect == "any":
        return None
    if not answer.body.strip():
        raise EmptyResponse(
            f"{what}: HTTP {answer.status} with an empty body",
            hint="this is an outage, not an empty result; try again later",
        )
    if _is_html(answer):
        raise WrongContent(
            f"{what}: HTML where {expect.upper()} was due: {answer.body.lstrip()[:80]!r}",
            hint="a login page, a block page or a changed address; open it in a browser",
        )
    if expect != "json":
        return None
    try:
        return _parsed(answer.body)
    except ValueError as error:
        final = WrongContent(
            f"{what}: {len(answer.body)} bytes that are not JSON ({error})",
            hint="the answer was cut off; try again",
        )
        raise _Transient(final) from error


def validate(answer: Answer, expect: Expect, what: str) -> Any:
    """What JSON says, None for other bodies, or the error that fits; see the module's table."""
    _check_status(answer, what)
    return _read_body(answer, expect, what)


class Gate:
    """Budget, retries and validation around any transport.

    Parameters
    ----------
    policy
        Attempts and pauses.
    budget
        Shared budget of the run; a fresh one of `policy.budget` if not given.
    sleep
        Waits that many seconds.
    """

    def __init__(
        self,
        policy: Policy,
        budget: RequestBudget | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.policy = policy
        self.budget = budget or RequestBudget(policy.budget)
        self._sleep = sleep

    def _pause(self, state: RetryCallState) -> float:
        backoff = self.policy.backoff_s * 2.0 ** (state.attempt_number - 1)
        pause = min(backoff, self.policy.max_backoff_s)
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _Transient) and error.retry_after is not None:
            pause = max(pause, error.retry_after)
        return pause

    def _told_to_wait_too_long(self, error: _Transient) -> SourceError | None:
        wait = error.retry_after
        if wait is None or wait <= self.policy.max_backoff_s:
            return None
        return SourceUnavailable(
            f"{error.final.message}, and asks to wait {wait:.0f} s",
            hint=f"try again after that; SPY_HTTP__MAX_BACKOFF_S={self.policy.max_backoff_s:.0f} "
            "is the longest wait",
        )

    def call(
        self,
        send: Callable[[], R],
        view: Callable[[R], Answer],
        *,
        expect: Expect,
        what: str,
        transient: tuple[type[Exception], ...],
    ) -> tuple[R, Any]:
        """Send until a valid answer comes; the response, and what its JSON says (else None).

        Parameters
        ----------
        send
            One attempt.
        view
            The answer in a response of the transport.
        expect
            What the body must be.
        what
            Names the request in errors; must hold no secret.
        transient
            Exceptions of the transport that are worth another attempt.

        Raises
        ------
        SourceError
            One of its kinds; see the module's table.
        """

        def attempt() -> tuple[R, Any]:
            self.budget.spend(what)
            try:
                response = send()
            except transient as error:
                final = SourceUnavailable(
                    f"{what}: {type(error).__name__}: {redact(str(error))}",
                    hint="check the network; try again later",
                )
                raise _Transient(final) from error
            try:
                return response, validate(view(response), expect, what)
            except _Transient as error:
                too_long = self._told_to_wait_too_long(error)
                if too_long is not None:
                    raise too_long from error
                raise

        retrying = Retrying(
            stop=stop_after_attempt(self.policy.max_attempts),
            wait=self._pause,
            retry=retry_if_exception_type(_Transient),
            sleep=self._sleep,
            before_sleep=_report,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except _Transient as error:
            final = error.final
            final.message += f" (after {self.policy.max_attempts} attempts)"
            raise final from error


def _report(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0.0
    _log.warning("attempt %d failed: %s; next in %.1f s", state.attempt_number, error, pause)


def _addresses(host: str) -> list[str]:
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None)]
    except OSError:  # cannot be resolved: connecting will fail by itself
        return []


def is_loopback(url: str) -> bool:
    """Whether the host of the address is this machine."""
    addresses = _addresses(urlsplit(url).hostname or "")
    return bool(addresses) and all(
        ipaddress.ip_address(a.split("%")[0]).is_loopback for a in addresses
    )


def check_redirect(base_url: str, target: str) -> None:
    """Refuse a redirect to an address that is not public.

    This machine is allowed only if the vendor's own address is this machine, as in tests.

    Raises
    ------
    ForbiddenRedirect
        Naming the target and its address.
    """
    parts = urlsplit(target)
    if parts.scheme not in {"http", "https"}:
        raise ForbiddenRedirect(
            f"{redact(base_url)} redirects to {redact(target)!r}, which is not HTTP",
            hint="check the address of the vendor",
        )
    local = is_loopback(base_url)
    for address in _addresses(parts.hostname or ""):
        ip = ipaddress.ip_address(address.split("%")[0])
        if ip.is_global or (local and ip.is_loopback):
            continue
        raise ForbiddenRedirect(
            f"{redact(base_url)} redirects to {parts.hostname!r} ({ip}), which is not public",
            hint="check the address of the vendor; a proxy or a captive portal may be in between",
        )


class HttpClient:
    """Asks one vendor over httpx, through a :class:`Gate`.

    Parameters
    ----------
    base_url
        Scheme and host, for instance `https://fred.stlouisfed.org`.
    gate
        The gate of the run.
    """

    def __init__(
        self, base_url: str, gate: Gate, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._gate = gate
        self._client = httpx.Client(
            timeout=gate.policy.timeout_s,
            headers={"user-agent": USER_AGENT, **(headers or {})},
            follow_redirects=False,
            trust_env=not is_loopback(self.base_url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def check_target(self, target: str) -> None:
        """Refuse a redirect to this address, if it is not one to follow.

        Raises
        ------
        ForbiddenRedirect
            Naming the target; see :func:`check_redirect`.
        """
        check_redirect(self.base_url, target)

    def _send(self, path: str, params: Mapping[str, str]) -> httpx.Response:
        response = self._client.get(f"{self.base_url}{path}", params=dict(params))
        for _ in range(MAX_REDIRECTS):
            if not response.has_redirect_location:
                return response
            target = urljoin(str(response.url), response.headers["location"])
            self.check_target(target)
            response = self._client.get(target)
        raise SourceUnavailable(
            f"{self.base_url}{path}: more than {MAX_REDIRECTS} redirects",
            hint="check the address of the vendor",
        )

    def _ask(
        self, path: str, params: Mapping[str, str], expect: Expect
    ) -> tuple[httpx.Response, Any]:
        query = "&".join(f"{name}={value}" for name, value in params.items())
        return self._gate.call(
            lambda: self._send(path, params),
            _view,
            expect=expect,
            what=redact(f"{self.base_url}{path}?{query}"),
            transient=(httpx.TransportError,),
        )

    def get_json(self, path: str, params: Mapping[str, str]) -> Any:
        """The parsed JSON body of a GET; errors as in the module's table."""
        return self._ask(path, params, "json")[1]

    def get_csv(self, path: str, params: Mapping[str, str], columns: Sequence[str]) -> pl.DataFrame:
        """The CSV body of a GET, all columns as strings; the header must be exactly `columns`.

        Raises
        ------
        SchemaDrift
            If the header differs; the difference is shown.
        WrongContent
            If a line has another number of fields than the header.
        """
        body = self._ask(path, params, "csv")[0].content
        what = redact(f"{self.base_url}{path}")
        header = body.splitlines()[0].decode("utf-8-sig", "replace")
        require_names([name.strip() for name in header.split(",")], columns, what)
        return whole_csv(body, what)


def whole_csv(body: bytes, what: str) -> pl.DataFrame:
    """CSV without quoted commas, all columns as strings.

    Raises
    ------
    WrongContent
        If a line has another number of fields than the header, as the last of a cut-off file.
    """
    header, *lines = body.strip().splitlines()
    due = header.count(b",")
    ragged = next((line for line in lines if line.count(b",") != due), None)
    if ragged is not None:
        raise WrongContent(
            f"{what}: a line without {due + 1} fields: {ragged[:80]!r}",
            hint="it was cut off; fetch it again",
        )
    return pl.read_csv(BytesIO(body), infer_schema=False, encoding="utf8-lossy").rename(str.strip)


def _view(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.headers, response.content, str(response.url))


def gather(
    keys: Sequence[str],
    ask: Callable[[Sequence[str]], tuple[Mapping[str, T], Mapping[str, SourceError]]],
    *,
    rounds: int = 2,
    what: str,
) -> dict[str, T]:
    """Ask for many keys; after a partial success ask again for the failed ones only.

    Parameters
    ----------
    ask
        Given keys, returns the results and the errors, each by key. A key in neither counts as
        failed.
    rounds
        How often to ask at most, the first time included.

    Raises
    ------
    SourceError
        If keys are still failing, of the first error's kind; all of them are named.
    """
    results: dict[str, T] = {}
    failed: dict[str, SourceError] = {}
    for _ in range(rounds):
        open_keys = [key for key in keys if key not in results]
        if not open_keys:
            break
        got, errors = ask(open_keys)
        results.update(got)
        failed = dict(errors)
    lost = [key for key in keys if key not in results]
    if not lost:
        return {key: results[key] for key in keys}
    first = next(iter(failed.values()), None)
    kind = type(first) if first else SourceUnavailable
    raise kind(
        f"{what}: no answer for {lost} of {len(keys)} keys"
        + (f"; first error: {first.message}" if first else ""),
        hint=(first and first.hint) or "nothing was published; run it again, or drop these keys",
    ) from first


def one_by_one(
    fetch: Callable[[str], T],
) -> Callable[[Sequence[str]], tuple[Mapping[str, T], Mapping[str, SourceError]]]:
    """An `ask` for :func:`gather` that fetches key by key.

    A spent budget and a forbidden redirect end the run at once: asking for the next key would meet
    them again.
    """

    def ask(keys: Sequence[str]) -> tuple[Mapping[str, T], Mapping[str, SourceError]]:
        got: dict[str, T] = {}
        errors: dict[str, SourceError] = {}
        for key in keys:
            try:
                got[key] = fetch(key)
            except (BudgetExceeded, ForbiddenRedirect, SchemaDrift):
                raise
            except SourceError as error:
                errors[key] = error
        return got, errors

    return ask
