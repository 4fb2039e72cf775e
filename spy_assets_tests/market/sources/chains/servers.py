"""Real servers on loopback for the chain sources: one that also notes headers, and one for S3."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import httpx

from spy_assets_tests.scripted_server import Asked, Reply, ScriptedServer

Where = Callable[[str], bool]


class RecordingServer(ScriptedServer):
    """Notes the headers of each request, and gives prepared faults before its own answers."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self._faults: list[Reply] = []
        self._where: Where = lambda _: True
        super().__init__()

    def fail(self, *faults: Reply, where: Where = lambda _: True) -> None:
        """Answer requests whose path fits with these first."""
        self._faults, self._where = list(faults), where

    def _fault(self, path: str) -> Reply | None:
        return self._faults.pop(0) if self._faults and self._where(path) else None

    def _reply(self, asked: Asked) -> Reply:
        return self._fault(asked.path) or super()._reply(asked)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        super()._serve(handler)


class FaultyProxy(RecordingServer):
    """Hands requests on to an S3 server, and spoils the answers that a test names."""

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self._upstream = upstream
        kind: Any = self._server.RequestHandlerClass
        kind.do_HEAD = kind.do_GET
        self.verbs: list[str] = []

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        self.verbs.append(handler.command)
        upcoming = self._faults[0] if self._faults and handler.command == "GET" else None
        if upcoming is not None and upcoming.cut is None:
            super()._serve(handler)
            return
        fault = self._fault(path) if upcoming else None
        sent = {name.lower(): value for name, value in handler.headers.items()}
        self.headers.append(sent)
        answer = httpx.request(
            handler.command, f"{self._upstream}{handler.path}", headers=sent, trust_env=False
        )
        body = answer.content
        handler.send_response(answer.status_code)
        for name in ("etag", "content-length", "content-range"):
            if name in answer.headers:
                handler.send_header(name, answer.headers[name])
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body if fault is None else body[: fault.cut])
        handler.close_connection = True
