"""A real HTTP server on loopback that answers what a test tells it to."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Reply:
    """One answer; `cut` closes the socket early, `reset` drops it, `wait_s` answers late."""

    body: bytes | str = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    reset: bool = False
    cut: int | None = None


@dataclass
class Asked:
    """One request that came."""

    path: str
    query: dict[str, str]


Rule = Callable[[Asked], Reply]


class ScriptedServer:
    """Answers by path prefix: a list of replies is used up (its last one repeats), a rule is
    called."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._rules: dict[str, list[Reply] | Rule] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._serve(self)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def on(self, prefix: str, *replies: Reply) -> None:
        self._rules[prefix] = list(replies)

    def rule(self, prefix: str, rule: Rule) -> None:
        self._rules[prefix] = rule

    def count(self, prefix: str = "/") -> int:
        return sum(asked.path.startswith(prefix) for asked in self.asked)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _reply(self, asked: Asked) -> Reply:
        matching = [prefix for prefix in self._rules if asked.path.startswith(prefix)]
        if not matching:
            return Reply(status=404, body="no such page")
        rule = self._rules[max(matching, key=len)]
        if callable(rule):
            return rule(asked)
        return rule.pop(0) if len(rule) > 1 else rule[0]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        asked = Asked(parts.path, query)
        self.asked.append(asked)
        reply = self._reply(asked)
        time.sleep(reply.wait_s)
        if reply.reset:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
            handler.close_connection = True
            return
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        try:
            handler.send_response(reply.status)
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            handler.send_header("content-length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body if reply.cut is None else body[: reply.cut])
        except OSError:
            pass  # the client gave up, as the test wants
        handler.close_connection = True
