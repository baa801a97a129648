"""uvicorn's connections, with what they lack: bounds on headers, and sockets that may finish."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_HEADER_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 30.0


class BoundedHeaders(HttpToolsProtocol):
    """The parser waits for a whole header, however long and however slow; here it is cut."""

    _in_head = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEADER_BYTES:
            self._cut(_TOO_LARGE)

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._stop_timer()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._cut, _TOO_SLOW)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cut(self, reply: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(reply)
            self.transport.close()


def _bare(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()


_TOO_LARGE = _bare("431 Request Header Fields Too Large")
_TOO_SLOW = _bare("408 Request Timeout")


FAREWELLS = "pollux.farewells"
"""The extension of a WebSocket's scope: a list of what is called when the server is to stop. Where
there is anything in it, the application closes the socket."""


class PatientSockets(WebSocketsSansIOProtocol):
    """On shutdown a socket that has asked something gets its answer, within the server's grace;
    uvicorn would cut it at once. One that has asked nothing yet is closed (1012). What a client
    has not read some seconds after the application was done with it is thrown away."""

    _asked = False
    _farewells: list[Callable[[], None]] | None = None

    async def run_asgi(self) -> None:
        self._farewells = []
        extensions: dict[str, Any] = {**self.scope["extensions"], FAREWELLS: self._farewells}
        self.scope["extensions"] = extensions
        await super().run_asgi()
        if not self.disconnected:
            self.loop.call_later(self.close_timeout, self.transport.abort)

    def send_receive_event_to_app(self) -> None:
        self._asked = True
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            # A refusal is an end too; uvicorn would log it as an application that went astray.
            self.handshake_complete = True

    def keepalive_timeout(self) -> None:
        """A peer that answers no ping may never take what is still to be sent, and the application
        is told that it has left only when the connection is gone."""
        super().keepalive_timeout()
        self.loop.call_later(self.close_timeout, self.transport.abort)

    def shutdown(self) -> None:
        if self._farewells:
            for farewell in self._farewells:
                farewell()
            return
        if self._asked and not self.close_sent:
            return
        super().shutdown()
