"""uvicorn's connections, with what they lack: bounds on headers, on what is sent ahead or behind,
on how many there are and on how long a client may not read, and sockets that may finish."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from service.guard.writing import Cut, CutReason, WriteTimer, no_matter

MAX_HEADER_BYTES = 64 * 1024
"""Of an address, headers and trailers together."""
MAX_HEADERS = 100
HEAD_TIMEOUT_S = 30.0
MAX_PIPELINED = 32
"""Requests that wait for the answer to one before them."""

MAX_SOCKET_LINE = 8_000
"""Of a WebSocket's handshake: what reads it next gives up at 8192, without a word."""
MAX_FRAGMENTS = 1_024
"""Of one message: each takes memory, also an empty one, and only their bytes are counted."""


class _Refused(Exception):
    """Ends the parser; what there was to say is said."""


def protocols(
    *, write_timeout: float, max_connections: int, cut: Cut
) -> tuple[type["BoundedHeaders"], type["PatientSockets"]]:
    """The classes for one server: uvicorn makes their objects and passes no settings on."""
    shared = {"write_timeout": write_timeout, "cut": staticmethod(cut)}
    http = {"max_connections": max_connections, **shared}
    return (
        type("BoundedHeaders", (BoundedHeaders,), http),
        type("PatientSockets", (PatientSockets,), shared),
    )


class BoundedHeaders(HttpToolsProtocol):
    """The parser waits for a whole header, however long and however slow; here it is cut. So is who
    goes on sending what nobody reads: trailers, a body behind its answer, requests ahead of it."""

    write_timeout = 60.0
    max_connections = 768
    cut: Cut = staticmethod(no_matter)

    _in_head = True
    _upgraded = False
    _fields = 0
    _field_bytes = 0
    _loose_bytes = 0
    _between = True
    _begun = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._writing = WriteTimer(self.loop, transport, self.write_timeout, self.cut)
        if len(self.connections) > self.max_connections and not self._make_room():
            self._cut(_TOO_MANY, "too_many_connections")
            return
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._writing.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing.paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writing.resumed()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._writing.closing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._writing.closing()

    def _make_room(self) -> bool:
        """Closes a connection that is only kept for a next request, if there is one."""
        for other in self.connections:
            waiting = isinstance(other, BoundedHeaders) and other.timeout_keep_alive_task
            if waiting and not other.transport.is_closing():
                other.transport.abort()
                return True
        return False

    def on_message_begin(self) -> None:
        self._begun += 1
        if len(self.pipeline) >= MAX_PIPELINED:
            self.transport.abort()
            raise _Refused
        self._begin_head()
        self._between = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(len(name) + len(value) + len(": \r\n"))
        if self._in_head:  # trailers would join the headers, behind whoever checked those
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = -1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._loose_bytes = -1
        self._between = True
        super().on_message_complete()
        if self._answered() and not (self._upgraded or self.transport.is_closing()):
            # The answer came first, and whatever was sent since then ended the wait for a request.
            self._stop_timer()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def data_received(self, data: bytes) -> None:
        between, begun = self._between, self._begun
        super().data_received(data)
        if self._upgraded or self.transport.is_closing():
            return
        # Bytes of which the parser has told nothing yet: it holds those of one endless line.
        self._loose_bytes = max(0, self._loose_bytes + len(data)) if self._loose_bytes >= 0 else 0
        # A head that began with these bytes and is not done has all of them.
        head = len(data) if between and self._in_head and self._begun == begun + 1 else 0
        if max(head, self._loose_bytes) > MAX_HEADER_BYTES:
            self._cut(_TOO_LARGE, "large_head")
        elif self._answered() and not (self._head_timer or self.timeout_keep_alive_task):
            self._start_timer()

    def handle_websocket_upgrade(self) -> None:
        longest = max(len(name) + len(value) for name, value in self.headers)
        if max(longest, len(self.url)) > MAX_SOCKET_LINE:
            self._cut(_TOO_LARGE, "large_head")
            return
        self._upgraded = True
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """What is no request behind one that is still answered is not told in the midst of it."""
        if not self.transport.is_closing():
            self.cut("not_http", self.transport)
        if self._speaking():
            self.transport.abort()
        elif not self.transport.is_closing():
            super().send_400_response(msg)
            self._writing.closing()

    def _count(self, more: int) -> None:
        self._loose_bytes = -1
        self._field_bytes += more
        if self._field_bytes > MAX_HEADER_BYTES or self._fields > MAX_HEADERS:
            self._cut(_TOO_LARGE, "large_head")
            raise _Refused

    def _begin_head(self) -> None:
        self._in_head = True
        self._fields = self._field_bytes = self._loose_bytes = 0
        self._start_timer()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._cut, _TOO_SLOW, "slow_head")

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _speaking(self) -> bool:
        """Whether another word would stand amid an answer, or be taken for one."""
        return bool(self.pipeline) or (not self._answered() and self.cycle.response_started)

    def _cut(self, reply: bytes, reason: CutReason) -> None:
        if self.transport.is_closing():
            return
        self.cut(reason, self.transport)
        if self._speaking():
            self.transport.abort()
            return
        self.transport.write(reply)
        self.transport.close()
        self._writing.closing()


def _bare(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()


_TOO_LARGE = _bare("431 Request Header Fields Too Large")
_TOO_SLOW = _bare("408 Request Timeout")
_TOO_MANY = _bare("503 Service Unavailable")


FAREWELLS = "pollux.farewells"
"""The extension of a WebSocket's scope: a list of what is called when the server is to stop. Where
there is anything in it, the application closes the socket."""


class PatientSockets(WebSocketsSansIOProtocol):
    """On shutdown a socket that has asked something gets its answer, within the server's grace;
    uvicorn would cut it at once. One that has asked nothing yet is closed (1012). What a client
    has not read some seconds after the application was done with it is thrown away."""

    write_timeout = 60.0
    cut: Cut = staticmethod(no_matter)

    _asked = False
    _farewells: list[Callable[[], None]] | None = None

    async def run_asgi(self) -> None:
        self._farewells = []
        extensions: dict[str, Any] = {**self.scope["extensions"], FAREWELLS: self._farewells}
        self.scope["extensions"] = extensions
        await super().run_asgi()
        if not self.disconnected:
            self.loop.call_later(self.close_timeout, self.transport.abort)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._writing = WriteTimer(self.loop, transport, self.write_timeout, self.cut)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._writing.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Who does not read is not read from either: each ping would add a pong."""
        super().pause_writing()
        self._writing.paused()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writing.resumed()
        if not (self.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._fail(CloseCode.MESSAGE_TOO_BIG, f"more than {MAX_FRAGMENTS} fragments")

    def send_receive_event_to_app(self) -> None:
        self._asked = True
        if self.curr_msg_data_type == "text" and not self.close_sent:
            self.frames = [b"".join(self.frames)]
            try:
                str(self.frames[0], "utf-8")
            except UnicodeDecodeError:  # of which uvicorn would log the stack
                self._fail(CloseCode.INVALID_DATA, "not UTF-8")
                return
        super().send_receive_event_to_app()

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.frames = []
        if not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent:
            self._writing.closing()
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            # A refusal is an end too; uvicorn would log it as an application that went astray.
            self.handshake_complete = True

    def keepalive_timeout(self) -> None:
        """A peer that answers no ping may never take what is still to be sent, and the application
        is told that it has left only when the connection is gone."""
        super().keepalive_timeout()
        self.cut("no_pong", self.transport)
        self.loop.call_later(self.close_timeout, self.transport.abort)

    def shutdown(self) -> None:
        if self._farewells:
            for farewell in self._farewells:
                farewell()
            return
        if self._asked and not self.close_sent:
            return
        super().shutdown()
