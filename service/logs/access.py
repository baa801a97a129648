"""One line for each request, when it has ended: only then it is known what it cost."""

import logging
from collections.abc import Callable, Collection
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.guard.visits import current_visit
from service.logs.lines import quoted
from service.logs.record import Record, current_record

log = logging.getLogger("pollux.access")

MAX_PATH = 512
PROBES = frozenset(("/healthz", "/readyz", "/health", "/ping", "/metrics"))


class AccessLog:
    """Pure ASGI, inside of what gives a request its id. Streams and WebSockets are written when
    they are over; probes never. The path goes without its query, which may hold a key.

    protocol: the name of the one that a request speaks.
    """

    def __init__(
        self,
        app: ASGIApp,
        protocol: Callable[[Scope], str],
        quiet: Collection[str] = PROBES,
    ) -> None:
        self._app = app
        self._protocol = protocol
        self._quiet = frozenset(quiet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        # A connection's next request begins in the context of the one before.
        current_visit.set(None)
        current_record.set(None)
        if scope["type"] == "http" and scope["path"] in self._quiet:
            await self._app(scope, receive, send)
            return
        record = Record(
            request_id=scope.get("state", {}).get("request_id", ""),
            stream=scope["type"] == "websocket",
        )
        current_record.set(record)
        ending = _Ending()
        heard = receive if scope["type"] == "http" else ending.hearing(receive)
        try:
            await self._app(scope, heard, ending.sending(send))
        finally:
            if log.isEnabledFor(logging.INFO):
                self._write(scope, record, ending)

    def _write(self, scope: Scope, record: Record, ending: "_Ending") -> None:
        method = scope.get("method", "WEBSOCKET")
        path = scope["path"][:MAX_PATH]
        facts: dict[str, Any] = {"method": method, "path": path}
        if ending.status is not None:
            facts["status"] = ending.status
        if ending.close_code is not None:
            facts["close_code"] = ending.close_code
        facts["protocol"] = self._protocol(scope)
        visit = current_visit.get()
        if visit is not None:
            facts["key_name"] = visit.account.name
        if scope.get("client"):
            host, port = scope["client"]
            facts["client"] = f"{host}:{port}"
        facts.update(record.facts())
        shown = "-" if ending.status is None else ending.status
        log.info("%s %s %s", method, quoted(path), shown, extra={"facts": facts})


class _Ending:
    """How a request was answered. close_code: whichever side closed first."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.close_code: int | None = None

    def sending(self, send: Send) -> Send:
        async def watched(message: Message) -> None:
            match message["type"]:
                case "http.response.start" | "websocket.http.response.start":
                    self.status = message["status"]
                case "websocket.accept":
                    self.status = 101
                case "websocket.close" if self.status is None:
                    self.status = 403  # in place of a handshake
                case "websocket.close":
                    self._closed(message)
            await send(message)

        return watched

    def hearing(self, receive: Receive) -> Receive:
        async def watched() -> Message:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self._closed(message)
            return message

        return watched

    def _closed(self, message: Message) -> None:
        if self.close_code is None:
            self.close_code = message.get("code", 1000)
